"""What Gitea's runner says and how it ends: its lines and exit codes, and what they mean.

Pure. The runner ends with 0 after every job, whatever became of it, and no line tells that: what came of a
job stands on Gitea's page of it alone. A runner that Gitea does not know any more goes on asking for ever.
"""

from __future__ import annotations

import re

from mayfly.core.model import Cause, DoomReason
from mayfly.core.outcomes import End, Outcome
from mayfly.edge.web import clean
from mayfly.providers import Sign
from mayfly.providers.account import JobEnd, Told, account

LONGEST = 4096  # characters of a line that is read
_QUOTED = r'"((?:[^"\\]|\\.)*)(?:"|\\?\Z)'  # cut or whole
_LINE = re.compile(rf'time="[^"]{{1,40}}" level=[a-z]{{1,10}} msg={_QUOTED}(.*)', re.DOTALL)
_ERROR = re.compile(rf" error=(?:{_QUOTED}|(\S+))")
# (Its labels follow, which may be more than is read of a line.)
_LISTENING = re.compile(r"runner: \S+, with version: \S+, with labels: \[")
_TASK = re.compile(r"task ([0-9]{1,18}) repo is (\S{1,201}) ")
_TROUBLE = ("failed to fetch task", "fail to invoke Declare")
_UNKNOWN = "unregistered runner"
_ENDING = "context canceled"  # a call that was under way when the runner was told to end

REFUSED = "Gitea does not know this runner any more: somebody has deleted it"
ENDED = "its job has ended; how, Gitea's page of it tells"
BROKEN_OFF = "its job was broken off, and Gitea was told that it failed"
TAKEN_BACK = (
    "Gitea has ended its job and shows its end: cancelled, over a limit, or its runner was deleted"
)


def read(line: str) -> Sign | None:
    """What one line of the runner's log means; ``None``: nothing."""
    found = _LINE.match(line[:LONGEST])
    if found is None:
        return None
    words, rest = found[1], found[2]
    if _LISTENING.match(words):
        return Sign("listening")
    task = _TASK.match(words)
    if task is not None:
        return Sign("job_started", clean(f"task {task[1]} of {task[2]}"))
    if words not in _TROUBLE:
        return None
    error = _ERROR.match(rest)
    why = (error[1] or error[2] or "") if error is not None else ""
    if _UNKNOWN in why:
        return Sign("refused", REFUSED)
    if _ENDING in why:
        return None
    return Sign("trouble", clean(f"{words}: {why}"))


def judge(end: End, signs: tuple[str, ...]) -> Outcome:
    """What came of an agent that ended so and left these lines in its witness."""
    return account(end, told(end, signs))


def told(end: End, signs: tuple[str, ...]) -> Told:
    """What its lines and its exit code tell."""
    said = [sign for sign in map(read, signs) if sign is not None]
    code = end.exit.code if end.exit is not None else None
    if any(sign.kind == "job_started" for sign in said):
        return _of_job(end, code)
    refused = any(sign.kind == "refused" for sign in said)
    troubles = [sign.text for sign in said if sign.kind == "trouble"]
    trouble = REFUSED if refused else troubles[-1] if troubles else ""
    told_to_end = end.signalled and code == 0
    return Told(
        no_job="it was told from outside to end, and had no job" if told_to_end else "",
        why=trouble or f"gitea-runner ended with {code} and had no job",
        trouble=trouble,
    )


def _short_of_memory(end: End) -> str:
    kills = end.exit.oom_kills if end.exit is not None else None
    return f" ({kills} of its processes were killed for memory)" if kills else ""


def _of_job(end: End, code: int | None) -> Told:
    if end.doom is DoomReason.TAKEN_BACK:
        return Told(ended=JobEnd(TAKEN_BACK, succeeded=False))
    if code == 0 and end.signalled:
        return Told(ended=JobEnd(BROKEN_OFF, succeeded=False, cause=Cause.KILLED))
    if code == 0:
        return Told(ended=JobEnd(ENDED + _short_of_memory(end), succeeded=None))
    after = f" (exit code {code})" if code is not None else ""
    return Told(
        broken_off=f"its job was broken off without a word to Gitea{after}, which shows it as running for "
        "ten minutes or more"
    )
