"""What gitlab-runner says and how it ends: its JSON lines, and what they mean.

Pure. ``run-single`` ends with 0 after every job, whatever became of it, and does not end at all while its
token is refused: the lines tell, the exit code does not (gitlab-runner, ``commands/single.go``). The launcher
keeps those that tell the result in the witness, shortened to ``job=ID reason=REASON exit=CODE msg=TEXT``.
"""

from __future__ import annotations

import json
import re

from mayfly.core.model import Cause, DoomReason
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.edge.web import clean
from mayfly.providers import Sign

LONGEST = 64 * 1024  # characters of a line that is read
LISTENING = "Starting runner for "
RECEIVED = "Checking for jobs... received"
FORBIDDEN = "Checking for jobs... forbidden"
SUCCEEDED = "Job succeeded"
FAILED = "Job failed"
SYSTEM_FAILURE = "Job failed (system failure)"
_TROUBLE = (
    "Checking for jobs... failed",
    "Checking for jobs... client error",
    "GitLab instance currently unavailable",
)
_SIGN = re.compile(r"job=(?P<job>\d*) reason=(?P<reason>\w*) exit=(?P<exit>\d*) msg=(?P<msg>.*)")
_FATAL = "fatal: "

REFUSED = "GitLab lets this runner have no jobs: its token is not valid any more, or the runner was deleted"
_CAUSES = {
    "job_execution_timeout": Cause.TIMEOUT,
    "job_canceled": Cause.CANCELLED,
    "runner_interrupted": Cause.KILLED,
}
_BY_DOOM = {
    DoomReason.TIMEOUT: Cause.TIMEOUT,
    DoomReason.DISK: Cause.DISK,
    DoomReason.FORCED: Cause.CANCELLED,
    DoomReason.CANCELLED: Cause.CANCELLED,
}


def read(line: str) -> Sign | None:
    """What one line of the runner's log means; ``None``: nothing."""
    if not line.startswith("{") or len(line) > LONGEST:
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = said.get("msg") if isinstance(said, dict) else None
    if not isinstance(text, str):
        return None
    job = f"job {said['job']}" if isinstance(said.get("job"), int) else ""
    if text.startswith(LISTENING):
        return Sign("listening")
    if text == RECEIVED:
        return Sign("job_started", job)
    if text.startswith((SUCCEEDED, FAILED)):
        return Sign("job_ended", clean(f"{job}: {text}"))
    if text == FORBIDDEN:
        return Sign("refused", REFUSED)
    if text.startswith(_TROUBLE):
        return Sign("trouble", clean(f"{text} {said.get('status', '')}"))
    return None


def judge(end: End, signs: tuple[str, ...]) -> Outcome:
    """What came of an agent that ended so and left these signs in its witness."""
    if not end.opened:
        return _unopened(end)
    told = [match for match in map(_SIGN.fullmatch, signs) if match is not None]
    for sign in reversed(told):
        if sign["msg"].startswith((SUCCEEDED, FAILED)):
            return _result(sign, end)
    for sign in told:
        if sign["msg"] == RECEIVED:
            return _broken_off(sign["job"], end)
    if any(sign["msg"] == FORBIDDEN for sign in told):
        return Outcome(Result.DIED_YOUNG, detail=REFUSED)
    if end.doom is not None or end.engine_stopped:
        return Outcome(Result.NO_JOB, detail="it had not taken a job")
    for sign in told:
        if sign["msg"].startswith(_FATAL):
            return Outcome(Result.DIED_YOUNG, detail=f"gitlab-runner: {clean(sign['msg'])}")
    return _without_word(end)


def _unopened(end: End) -> Outcome:
    if end.doom is not None or end.engine_stopped:
        return Outcome(Result.NO_JOB, detail="it had not taken a job")
    code = f" with exit code {end.exit.code}" if end.exit is not None else ""
    return Outcome(Result.DIED_YOUNG, detail=f"the agent ended at its gate{code}")


def _result(sign: re.Match[str], end: End) -> Outcome:
    text = clean(sign["msg"])
    if text == SUCCEEDED:
        return Outcome(Result.JOB_DONE, detail=f"job {sign['job']} succeeded")
    detail = f"job {sign['job']} failed{text.removeprefix(FAILED)}"
    if text.startswith(SYSTEM_FAILURE):
        # Not the job's fault, and the next job would fare no better: the slot cools.
        return Outcome(Result.DIED_YOUNG, detail=detail)
    cause = _BY_DOOM.get(end.doom) if end.doom is not None else None
    if cause is None and end.exit is not None and end.exit.oom_kills:
        cause = Cause.OOM
    return Outcome(Result.JOB_DONE, cause or _CAUSES.get(sign["reason"], Cause.EXIT), detail=detail)


def _broken_off(job: str, end: End) -> Outcome:
    """It took a job and told no result: GitLab thinks that the job runs, until it has missed it for long."""
    if end.engine_stopped:
        cause = Cause.ENGINE_STOPPED
    elif end.doom in _BY_DOOM:
        cause = _BY_DOOM[end.doom]
    elif end.exit is not None and end.exit.oom_kills:
        cause = Cause.OOM
    else:
        cause = Cause.KILLED if end.death_seen or end.exit is not None else Cause.UNKNOWN
    detail = (
        f"job {job} was broken off without a word to GitLab, which shows it as running for a while"
    )
    return Outcome(Result.UNKNOWN, cause, detail=detail)


def _without_word(end: End) -> Outcome:
    if end.exit is None:
        return Outcome(Result.UNKNOWN, detail="its client ended without a word")
    if end.exit.code == 0 and end.signalled:
        return Outcome(Result.NO_JOB, detail="it was told from outside to end, and had no job")
    return Outcome(
        Result.DIED_YOUNG, detail=f"gitlab-runner ended with {end.exit.code} and had no job"
    )
