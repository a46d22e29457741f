#!/bin/sh
# What GitHub's runner runs when a job is over (ACTIONS_RUNNER_HOOK_JOB_COMPLETED), as the job user: the hook that the pool or the
# image names, and then the last lines of the job's log.
#
# Exit: that hook's own; 0 without one.
set -eu
code=0
# Where no more process is to be had this shell ends at once; that is no failure of the job's, unless there is a hook to run.
[ -n "${MAYFLY_HOOK_COMPLETED:-}" ] || trap 'exit "$code"' EXIT
/bin/sh "${0%/*}/own-hook" MAYFLY_HOOK_COMPLETED "$PPID" || code=$?
trap 'exit "$code"' EXIT
/bin/sh "${0%/*}/job-lines" last || :
exit "$code"
