"""What the job of a reservation runs while its owner works beside it: it waits for the end, and tells of it.

It ends by itself when the time is over, also while no manager runs; what a person has started beside it ends
with it, as beside any job. A manager ends it at the same moment, and is the one who decides. Whoever works
there is this job's user, and may stop it: its launcher, which is root's, ends it some seconds later then.
Time is what was slept, so that no clock that is set ends it early or late. Where what is started beside it
has taken all processes for a while it goes on: what cannot be begun within ``command eval`` ends no dash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mayfly.core.commands import Payload
from mayfly.core.reservations import WARNINGS

UNTIL = "/tmp/.mayfly-reserved-until"  # noqa: S108  in the agent's own files: where an end is told that is later
GRACE = (
    15.0  # seconds after its end in which the job, or a manager, ends it before its launcher does
)
WAIT = rf"""
end=$1
passed=0
terminals=${{4:-/dev/pts}}
told=
say() {{
  printf '%s\n' "$1"
  for tty in "${{terminals}}"/[0-9]*; do
    [ -w "$tty" ] || continue
    command eval '(printf "\r\n%s\r\n" "mayfly: $1" >"$tty") 2>/dev/null &' 2>/dev/null || :
  done
}}
while :; do
  later=
  [ ! -r "$2" ] || read -r later <"$2" || :
  case $later in '' | *[!0-9]*) ;; *) [ "$later" -le "$end" ] || {{ end=$later; told=; }} ;; esac
  left=$((end - passed))
  [ "$left" -gt 0 ] || break
  for minutes in {" ".join(str(one) for one in sorted(WARNINGS))}; do
    if [ "$left" -le $((minutes * 60)) ]; then
      if [ "$minutes" != "$told" ] && [ $((minutes * 60)) -lt "$1" ]; then
        told=$minutes
        say "this reservation ends in $(((left + 59) / 60)) minutes; longer: mayfly reserve --extend $3"
      fi
      break
    fi
  done
  nap=$((left < 5 ? left : 5))
  if command eval 'sleep "$nap"' 2>/dev/null; then
    passed=$((passed + nap))
  else
    read -r was _ </proc/uptime
    now=$was
    while [ $((${{now%.*}} - ${{was%.*}})) -lt 2 ]; do read -r now _ </proc/uptime; done
    passed=$((passed + 1))
  fi
done
say "this reservation is over"
"""


def waiting(reservation: str, seconds: float) -> Payload:
    """What the job of that id runs for so long."""
    argv = ("/bin/sh", "-c", WAIT, "mayfly-reserved", str(math.ceil(seconds)), UNTIL, reservation)
    return Payload(argv, {"MAYFLY_RESERVATION": reservation})


def shown(argv: Sequence[str]) -> Sequence[str]:
    """The command as lists show it: nobody wants to read the script."""
    return ("mayfly-reserved", argv[4]) if tuple(argv[1:3]) == ("-c", WAIT) else argv


def lasts(seconds: float) -> str:
    """So many seconds, and those after which its launcher ends it, as that reads them."""
    return f"{max(1, math.ceil(seconds + GRACE))}\n"


def told_later(seconds: float) -> tuple[str, ...]:
    """The command by which it learns in its agent that it lasts so long in all."""
    return ("/bin/sh", "-c", 'printf "%s\\n" "$1" >"$2"', "mayfly", str(math.ceil(seconds)), UNTIL)
