# shellcheck shell=bash
# Where packages of a suite come from: what this machine's apt is set up with, or what the operator names. No address is ours to
# choose. Sourced after step.sh.

# apt_site FAMILY SUITE prints the address that has that suite of debian or ubuntu. For a suite that apt is not set up with, it is
# the address of this machine's own, where a distribution keeps its other suites too. MAYFLY_APT_SITE goes before both.
apt_site() {
  local family=$1 suite=$2 id own found
  # shellcheck source=/dev/null
  id=$(. /etc/os-release 2>/dev/null && printf '%s' "${ID:-}") || id=
  # shellcheck source=/dev/null
  own=$(. /etc/os-release 2>/dev/null && printf '%s' "${VERSION_CODENAME:-}") || own=
  found=${MAYFLY_APT_SITE:-$(_apt_site "$family" "$suite")}
  if [ -z "$found" ] && [ "$id" = "$family" ]; then
    found=$(_apt_site "$family" "$own")
  fi
  [ -n "$found" ] ||
    fail "apt here is set up with no place that has $suite of $family: name one, as in MAYFLY_APT_SITE=http://HOST/$family."
  found=$(_apt_listed "$found")
  printf '%s\n' "${found%/}"
}

# As the images of clouds have it, an address may stand in a list that apt alone reads: its first one.
_apt_listed() {
  case $1 in
    mirror+file:*) awk '/^[^#]/ { print $1; exit }' "${1#mirror+file:}" ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# The suite itself, and not its updates or somebody else's packages for it. Whose they are is told where apt has fetched its lists
# before; where it has not, those come that are set up for this suite by name.
_apt_site() {
  # shellcheck disable=SC2016 # apt-get expands it
  local form='$(SITE)|$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)'
  {
    apt-get indextargets --format "$form" 'Identifier: Packages' || :
    apt-get indextargets --no-release-info --format "$form" 'Identifier: Packages' || :
  } 2>/dev/null | awk -F'|' -v family="$1" -v suite="$2" '
    ($2 == suite || $3 == suite && $2 !~ /-/) && $4 == "main" && (tolower($5) == family || $5 ~ /^\$/) && !found++ { print $1 }'
}
