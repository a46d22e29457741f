"""What gitlab-runner says and how it ends: its JSON lines, and what they mean.

Pure. ``run-single`` ends with 0 after every job, whatever became of it, and does not end at all while its
token is refused: the lines tell, the exit code does not (gitlab-runner, ``commands/single.go``). The launcher
keeps those that tell the result in the witness, shortened to ``job=ID reason=REASON exit=CODE msg=TEXT``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from mayfly.core.model import Cause
from mayfly.core.outcomes import End, Outcome
from mayfly.edge.web import clean
from mayfly.providers import Sign
from mayfly.providers.account import JobEnd, Told, account

LONGEST = 64 * 1024  # characters of a line that is read
LISTENING = "Starting runner for "
RECEIVED = "Checking for jobs... received"
FORBIDDEN = "Checking for jobs... forbidden"
SUCCEEDED = "Job succeeded"
FAILED = "Job failed"
SYSTEM_FAILURE = "Job failed (system failure)"
_TROUBLE = (
    "Checking for jobs... failed",
    "Checking for jobs... GitLab instance currently unavailable",
)
UNUSABLE = "Checking for jobs... client error"
UNHEALTHY = 300.0  # seconds that the runner then says nothing
# Said before each pause, the usual ones too; an answer of GitLab's decides how long it is.
PATIENCE = "Waiting before making the next call"
LONG = 10e9  # nanoseconds; a pause that is longer has been asked for
LONGEST_PAUSE = 86400e9  # nanoseconds; more than that is no number of GitLab's
# The answer to the first word that the runner sends of a job, while none of it has run.
BEGUN = "Submitting job to coordinator...ok"
_DROPPED = tuple(
    f"Submitting job to coordinator... {why}" for why in ("job failed", "not found", "forbidden")
)
_CANCELLING = "canceling"
_SIGN = re.compile(
    r"job=(?P<job>[0-9]*) reason=(?P<reason>\w*) exit=(?P<exit>[0-9]*) msg=(?P<msg>.*)"
)
_FATAL = "fatal: "

REFUSED = "GitLab lets this runner have no jobs: its token is not valid any more, or the runner was deleted"
_CAUSES = {
    "job_execution_timeout": Cause.TIMEOUT,
    "job_canceled": Cause.CANCELLED,
    "runner_interrupted": Cause.KILLED,
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
    if text == BEGUN:
        return Sign("job_dropped" if said.get("job-status") == _CANCELLING else "job_begun", job)
    if text in _DROPPED:
        return Sign("job_dropped", job)
    if text == FORBIDDEN:
        return Sign("refused", REFUSED)
    return _trouble(text, said)


def _trouble(text: str, said: Mapping[str, object]) -> Sign | None:
    if text == PATIENCE:
        pause = said.get("duration")
        if not isinstance(pause, int) or not LONG < pause < LONGEST_PAUSE:
            return None
        seconds = pause / 1e9
        return Sign("trouble", f"GitLab asks for a pause of {seconds:.0f} s", quiet=seconds)
    if text.startswith((*_TROUBLE, UNUSABLE)):
        quiet = UNHEALTHY if text.startswith(UNUSABLE) else 0.0
        return Sign("trouble", clean(f"{text} {said.get('status', '')}"), quiet=quiet)
    return None


def judge(end: End, signs: tuple[str, ...], *, contained: bool = False) -> Outcome:
    """What came of an agent that ended so and left these signs in its witness.

    ``contained``: its jobs run in containers of their own.
    """
    return account(end, told(end, signs, contained=contained))


def told(end: End, signs: tuple[str, ...], *, contained: bool = False) -> Told:
    """What the launcher kept of its log tells."""
    kept = [match for match in map(_SIGN.fullmatch, signs) if match is not None]
    for sign in reversed(kept):
        if sign["msg"].startswith((SUCCEEDED, FAILED)):
            return _result(sign, contained=contained)
    offered = [sign for sign in kept if sign["msg"] == RECEIVED or _dropped(sign)]
    # Of a job that was taken back before it began (which the launcher makes sure of) nothing has run.
    if offered and not _dropped(offered[-1]):
        # GitLab thinks that the job runs, until it has missed it for long.
        return Told(
            broken_off=f"job {offered[-1]['job']} was broken off without a word to GitLab, which shows it "
            "as running for a while"
        )
    if any(sign["msg"] == FORBIDDEN for sign in kept):
        return Told(unfit=REFUSED)
    for sign in kept:
        if sign["msg"].startswith(_FATAL):
            return Told(why=f"gitlab-runner: {clean(sign['msg'])}")
    code = end.exit.code if end.exit is not None else None
    told_to_end = end.signalled and code == 0
    return Told(
        no_job="it was told from outside to end, and had no job" if told_to_end else "",
        why=f"gitlab-runner ended with {code} and had no job",
    )


def _dropped(sign: re.Match[str]) -> bool:
    return sign["msg"] in (*_DROPPED, BEGUN)


def _result(sign: re.Match[str], *, contained: bool) -> Told:
    text = clean(sign["msg"])
    if text == SUCCEEDED:
        return Told(ended=JobEnd(f"job {sign['job']} succeeded", succeeded=True))
    detail = f"job {sign['job']} failed{text.removeprefix(FAILED)}"
    # (Where a job brings its image and services, most of what the runner calls so is theirs: an image that is
    # not to be had, or something that its gateway refuses.)
    if text.startswith(SYSTEM_FAILURE) and not contained:
        # Not the job's fault, and the next job would fare no better: the slot cools.
        return Told(unfit=detail)
    cause = _CAUSES.get(sign["reason"])
    return Told(ended=JobEnd(detail, succeeded=False, cause=cause, plain=Cause.EXIT))
