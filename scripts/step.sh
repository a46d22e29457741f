# shellcheck shell=bash
# How the set-up scripts talk: one line when a long step begins, one every ten seconds while it goes on, and the end of its
# log where it fails. Quiet where there is nothing to do. Sourced.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
  printf '· %s\n' "$*" >&2
}

fail() {
  printf 'mayfly set-up: %s\n' "$*" >&2
  exit 1
}

# step TEXT COMMAND… runs it with its output in build/log/.
step() {
  local text=$1 log began=$SECONDS shown=0 pid code=0
  shift
  mkdir -p "$root/build/log"
  log=$(mktemp "$root/build/log/$(date +%H%M%S)-XXXX.log")
  say "$text"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - began >= shown + 10)); then
      shown=$((SECONDS - began))
      say "  still at it after $shown s: $(tail -n 1 "$log" | tr -d '\r' | cut -c 1-90)"
    fi
  done
  wait "$pid" || code=$?
  if ((code)); then
    tail -n 25 "$log" | sed 's/^/    /' >&2
    say "  that ended with $code; all of it is in ${log#"$root/"}"
    return "$code"
  fi
  rm -f "$log"
}

# Installs Debian packages where that may be done: packages NEED PACKAGE…, where NEED says what they are for.
packages() {
  local need=$1
  shift
  [ "$(id -u)" -eq 0 ] || fail "$need is missing: install it (Debian: $*) or run this as root."
  command -v apt-get >/dev/null || fail "$need is missing, and this is no Debian or Ubuntu: install it by hand."
  export DEBIAN_FRONTEND=noninteractive
  step "fetching the lists of packages" apt-get update || say "  going on with the lists there are"
  step "installing $*" apt-get install -y --no-install-recommends "$@" ||
    fail "$need is missing, and apt-get could not install $*."
}

# Installs what the tests run beside Python: for the stub of NVML and the clocks a C compiler.
tools() {
  command -v git >/dev/null || packages git git
  command -v curl >/dev/null || packages curl curl
  command -v gcc >/dev/null || packages 'a C compiler' gcc libc6-dev
}
