"""What came of an agent: one judgement for all providers, so that none of them can forget a reason.

Pure. A provider says what its client's own signs tell (``Told``); who ended the agent, and what that makes
of its job, is said here alone. Why Mayfly ended it comes first: what the client said then followed from that.
"""

from __future__ import annotations

from dataclasses import dataclass

from mayfly.core.model import Cause, DoomReason
from mayfly.core.outcomes import End, Outcome, Result

# What a person, a limit or the service wanted, whatever the job then ended with.
WANTED = {
    DoomReason.CANCELLED: Cause.CANCELLED,
    DoomReason.FORCED: Cause.CANCELLED,
    DoomReason.TAKEN_BACK: Cause.CANCELLED,
    DoomReason.TIMEOUT: Cause.TIMEOUT,
    DoomReason.DISK: Cause.DISK,
    DoomReason.LEASE_LOST: Cause.KILLED,
}
# What was wrong with an agent that Mayfly ended for it.
AT_FAULT = frozenset(
    {
        DoomReason.MISSED,
        DoomReason.REFUSED,
        DoomReason.UNOPENED,
        DoomReason.UNBROUGHT,
        DoomReason.BROKEN_OFF,
        DoomReason.BLIND,
        DoomReason.CUT_OFF,
    }
)
SIGNALLED = 128  # plus a signal's number: the code of a process that was ended by it
SIGNALS = 64  # the largest of these numbers


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The result of a job as it was told."""

    text: str
    # None: the client does not tell what came of it
    succeeded: bool | None
    # what was told to have ended it; None: nothing was
    cause: Cause | None = None
    # what a failure is called that nothing else explains; None: it has no other name
    plain: Cause | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the client of an agent whose gate was opened told of its end, in the provider's sentences."""

    # the service wants a newer client; "": it does not
    too_old: str = ""
    # why no other agent of the slot would fare better; "": nothing says so
    unfit: str = ""
    # None: no result was told
    ended: JobEnd | None = None
    # it took a job, and this is what a missing result means; "": it took none
    broken_off: str = ""
    # why it was right to end unasked and without a job; "": it was not
    no_job: str = ""
    # what it ended of where nothing else explains it
    why: str = ""
    # what its client last said to be wrong; "": nothing
    trouble: str = ""


def account(end: End, told: Told) -> Outcome:
    """What came of an agent that ended so, after its client had told that."""
    if not end.opened:
        return _unopened(end, told)
    if told.too_old:
        return Outcome(Result.IMAGE_TOO_OLD, detail=told.too_old)
    if told.unfit and (end.doom in AT_FAULT or not _sent_away(end)):
        return Outcome(Result.DIED_YOUNG, detail=told.unfit)
    if told.ended is not None:
        return Outcome(
            Result.JOB_DONE,
            _cause(end, told.ended),
            detail=told.ended.text,
            succeeded=told.ended.succeeded,
        )
    if told.broken_off:
        return Outcome(Result.UNKNOWN, cut_off(end), detail=told.broken_off)
    if _sent_away(end):
        return Outcome(Result.NO_JOB, detail=_because(end, told) or "it had no job")
    if told.no_job:
        return Outcome(Result.NO_JOB, detail=told.no_job)
    if end.exit is None:
        cause = cut_off(end)
        killed = f": {end.done_to or 'it was killed'}" if cause is Cause.KILLED else ""
        detail = f"its client ended without a word{killed}"
        return Outcome(Result.UNKNOWN, cause, detail=detail)
    return Outcome(Result.DIED_YOUNG, detail=told.why)


def cut_off(end: End) -> Cause:
    """What ended an agent that could not end by itself."""
    if end.doom in WANTED:
        return WANTED[end.doom]
    if end.engine_stopped:
        return Cause.ENGINE_STOPPED
    if end.exit is not None and end.exit.oom_kills:
        return Cause.OOM
    killed = end.exit is not None and SIGNALLED < end.exit.code <= SIGNALLED + SIGNALS
    if killed or end.death_seen or end.signalled or end.doom is not None:
        return Cause.KILLED
    return Cause.UNKNOWN


def _cause(end: End, job: JobEnd) -> Cause | None:
    if end.doom in WANTED:
        return WANTED[end.doom]
    if job.succeeded:
        return None
    if job.cause is None and end.exit is not None and end.exit.oom_kills and job.succeeded is False:
        return Cause.OOM
    return job.cause or job.plain


def _unopened(end: End, told: Told) -> Outcome:
    if _sent_away(end):
        return Outcome(Result.NO_JOB, detail=_because(end, told) or "it had not taken a job")
    number = end.exit.code if end.exit is not None else end.died_with
    code = f" with exit code {number}" if number is not None else ""
    said = end.words or end.done_to
    words = f": {said}" if said else ""
    return Outcome(Result.DIED_YOUNG, detail=f"the agent ended at its gate{code}{words}")


def _because(end: End, told: Told) -> str:
    """Why an agent without a job was ended for a fault: Mayfly's sentence, and its client's."""
    if end.doom not in AT_FAULT:
        return ""
    said = told.trouble if told.trouble not in end.because else ""
    return ": ".join(filter(None, (end.because, said)))


def _sent_away(end: End) -> bool:
    """Whether it ended because somebody ended it."""
    return end.doom is not None or end.engine_stopped
