#!/bin/bash
# As in the official archive: the environment is noted, then the listener's `configure` is told everything.
if [ "$(id -u)" -eq 0 ] && [ -z "$AGENT_ALLOW_RUNASROOT" ]; then
  echo "Must not run with sudo"
  exit 1
fi
cd "$(dirname "$0")" || exit 1
if [ "$1" = remove ]; then
  ./bin/Agent.Listener "$@"
else
  ./env.sh
  ./bin/Agent.Listener configure "$@"
fi
