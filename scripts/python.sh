# shellcheck shell=bash
# The Python that Mayfly wants, which is installed where that may be done: sets `python`. Sourced after step.sh.

find_python() {
  local name
  for name in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

python=$(find_python) || {
  packages 'Python 3.11 or newer' python3 python3-venv
  python=$(find_python) || fail 'Python 3.11 or newer is missing: this release of the distribution has an older one.'
}

# Whether it can make an environment; installs what that takes.
want_venv() {
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    packages 'the Python module venv' "$(basename "$(readlink -f "$(command -v "$python")")")-venv"
}
