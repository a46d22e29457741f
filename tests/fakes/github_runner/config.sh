#!/bin/bash
# As in the official package: what config.sh is told goes to the listener's `configure`.
if [ "$(id -u)" -eq 0 ] && [ -z "$RUNNER_ALLOW_RUNASROOT" ]; then
  echo "Must not run with sudo"
  exit 1
fi
cd "$(dirname "$0")" || exit 1
# What .NET needs is looked for as the official one does it.
if ! command -v ldd >/dev/null; then
  echo "Can not find 'ldd'. Please install 'ldd' and try again."
  exit 1
fi
ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
if [ ! -x "$ldconfig" ]; then
  echo "Can not find 'ldconfig' in PATH and '/sbin/ldconfig' doesn't exists either. Please install 'ldconfig' and try again."
  exit 1
fi
IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}"
if ! "$ldconfig" -NXv "${folders[@]}" 2>&1 | grep libicu >/dev/null; then
  echo "Libicu's dependencies is missing for Dotnet Core 6.0"
  echo "Execute sudo ./bin/installdependencies.sh to install any missing Dotnet Core 6.0 dependencies."
  exit 1
fi
if [ "$1" = remove ]; then
  ./bin/Runner.Listener "$@"
else
  ./bin/Runner.Listener configure "$@"
fi
