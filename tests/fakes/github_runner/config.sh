#!/bin/bash
# As in the official package: what config.sh is told goes to the listener's `configure`.
if [ "$(id -u)" -eq 0 ] && [ -z "$RUNNER_ALLOW_RUNASROOT" ]; then
  echo "Must not run with sudo"
  exit 1
fi
cd "$(dirname "$0")" || exit 1
if [ "$1" = remove ]; then
  ./bin/Runner.Listener "$@"
else
  ./bin/Runner.Listener configure "$@"
fi
