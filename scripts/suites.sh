# shellcheck shell=bash
# Debian's packages of suites that this machine's apt knows nothing of, to be unpacked and not installed. Sourced after step.sh.
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

suites=(trixie forky sid experimental)
# apt with lists of its own: it knows every suite, and this host's knows none of them.
lists=${MAYFLY_ENGINES:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/mayfly/engines}/apt

# sites TOOL ARGUMENT…
sites() {
  local tool=$1
  shift
  "$tool" -o "Dir::Etc::sourcelist=$lists/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
    -o "Dir::State::lists=$lists/lists" -o "Dir::Cache=$lists/cache" "$@"
}

fetch_lists() {
  local suite site
  mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
  for suite in "${suites[@]}"; do
    site=$(apt_site debian "$suite") || return
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $suite main"
  done >"$lists/sources.list"
  sites apt-get update
}
