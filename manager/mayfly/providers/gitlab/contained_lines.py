"""The first and the last lines of the log of a job that runs in a container: what its shell reads before its
script and after it.

Pure. The shell is of the job's image, which has nothing of Mayfly's: `bash`, or any other `sh`. So all is
said with what a shell has built in, and no process is begun, since a job may have left none to be had. What
is read is the agent's figures, which the container mounts read-only (``core/job_lines.py``); where they are
not, nothing is printed. Nothing here may fail or end the job's shell, or change its options; its trap is the
job's to replace. Nothing is printed into a file that a job has made its output: it may be what it makes.
"""

from __future__ import annotations

from mayfly.core.model import FIGURES_TARGET

# The first line of each is what gitlab-runner shows of it. After a script that fails it runs nothing more of
# it, and so the last lines come by a trap.
FIRST = f""": mayfly: what this job runs on
_mayfly_lines() {{
  if [ "$1" = last ]; then
    for _mayfly_file in /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes; do
      if [ -r "$_mayfly_file" ] && read -r _mayfly_line <"$_mayfly_file"; then
        _mayfly_line=$((_mayfly_line / 1048576))
        printf 'mayfly: memory: %s MiB at most, files that the kernel kept in it included\\n' "$_mayfly_line"
        break
      fi
    done
  fi
  if [ -r "{FIGURES_TARGET}/$1" ]; then
    while IFS= read -r _mayfly_line; do printf '%s\\n' "$_mayfly_line"; done <"{FIGURES_TARGET}/$1"
  fi
}} 2>/dev/null
_mayfly_over=
_mayfly_lines first || :
trap '[ -n "${{_mayfly_over:-}}" ] || [ -f /proc/self/fd/1 ] || _mayfly_lines last || :' EXIT"""
LAST = """: mayfly: what this job used
_mayfly_over=yes
[ -f /proc/self/fd/1 ] || _mayfly_lines last || :"""
VOLUME = f"{FIGURES_TARGET}:{FIGURES_TARGET}:ro"
KEYS = {"pre_build_script": FIRST, "post_build_script": LAST}
