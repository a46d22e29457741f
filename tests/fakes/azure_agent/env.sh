#!/bin/bash
# As in the official archive: LANG and PATH as they are now go into .env and .path.
for name in LANG JAVA_HOME http_proxy https_proxy no_proxy; do
  [ -z "${!name}" ] || grep -qs "^$name=" .env || echo "$name=${!name}" >>.env
done
echo "$PATH" >.path
