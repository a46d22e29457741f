#!/bin/bash
# As in the official archive: after an update the listener is run once more.
cd "$(dirname "$0")" || exit 1
./bin/Agent.Listener run "$@"
code=$?
if [ "$code" -eq 4 ]; then
  sleep 5
  ./bin/Agent.Listener run "$@"
  code=$?
fi
exit "$code"
