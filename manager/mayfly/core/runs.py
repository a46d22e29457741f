"""A run: the jobs of one push, or of one folder as it was, as one.

Values, and how a run stands by its jobs. A run's jobs are a group of that id; the run itself is what they are
of. Nothing decides by it, so it is on disk alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mayfly.core.model import JobId, JobState

JOBS_MOST = 1000  # of one run: what one command may end
# Characters of an origin's texts; of a path, of a job's too.
PATH_MAX = 1024
REF_MAX = 256
SUBJECT_MAX = 200
# Which word stands for a run whose jobs have all ended, the first that one of them has.
_WORST = (JobState.FAILED, JobState.LOST, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run's jobs are of; texts as whoever submitted it wrote them."""

    repository: str  # where it is on the host that submitted it
    ref: str | None = None  # its whole name; None: of no ref, a folder
    commit: str | None = None  # hexadecimal; None: a folder with what nobody has committed
    base: str | None = None  # the commit that it was compared with; None: every job was asked for
    subject: str = ""  # the commit's first line


def variables(run: JobId, origin: Origin) -> dict[str, str]:
    """What each job of a run finds of it in its environment; nothing of what is not known."""
    told = {
        "MAYFLY_RUN": run,
        "MAYFLY_REF": origin.ref,
        "MAYFLY_COMMIT": origin.commit,
        "MAYFLY_BASE": origin.base,
    }
    return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Run:
    """One run."""

    id: JobId  # of the group of its jobs
    origin: Origin
    jobs: int
    uid: int
    owner: str


def standing(jobs: Mapping[JobState, int]) -> JobState:
    """How a run stands whose jobs stand so: by what is still to come, else by what went worst."""
    there = {state for state, count in jobs.items() if count}
    if JobState.RUNNING in there:
        return JobState.RUNNING
    if JobState.QUEUED in there:
        return JobState.QUEUED if there == {JobState.QUEUED} else JobState.RUNNING
    return next((state for state in _WORST if state in there), JobState.SUCCEEDED)
