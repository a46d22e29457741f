#!/bin/sh
# What GitHub's runner runs when a job has begun (ACTIONS_RUNNER_HOOK_JOB_STARTED), as the job user: the first lines of its log, and
# then the hook that the pool or the image names.
#
# Exit: that hook's own; 0 without one.
set -eu
/bin/sh "${0%/*}/job-lines" first || :
exec /bin/sh "${0%/*}/own-hook" MAYFLY_HOOK_STARTED "$PPID"
