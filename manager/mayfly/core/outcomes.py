"""How an agent ended: what is known of it, and what a provider makes of that.

``End`` is put together from the witness, the Engine and the memory; a provider's ``judge`` turns it
into an ``Outcome``. What a code or a line means is the provider's business and does not stand here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mayfly.core.model import Cause, DoomReason, Exit, JobState


class Result(StrEnum):
    """What came of an agent."""

    JOB_DONE = "job_done"  # it did its job, whatever the job's result
    NO_JOB = "no_job"  # it ended without having taken one, and that is normal
    IMAGE_TOO_OLD = "image_too_old"  # the service wants a newer client
    REFUSED = "refused"  # the service does not let it in
    DIED_YOUNG = "died_young"  # it ended before it could be of use
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class End:
    """All that is known of how an agent ended."""

    committed: bool  # its gate was being opened
    opened: bool  # its launcher passed the gate
    exit: Exit | None  # None: the witness has none
    signalled: bool = False  # somebody outside signalled the launcher
    doom: DoomReason | None = None  # None: Mayfly did not end it
    because: str = ""  # the sentence that Mayfly ended it with; "": there is none
    engine_stopped: bool = False  # the Engine stopped or restarted around it
    death_seen: bool = False  # the Engine said that the container died or was killed
    died_with: int | None = None  # the code that the Engine named then; None: it named none
    words: str = ""  # the last line of one that never opened
    done_to: str = ""  # what the engine says was done to its container; "": nothing
    unseen: bool = False  # its container is gone, and nobody said that its processes have ended


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an agent, and of its job where the job is Mayfly's own."""

    result: Result
    cause: Cause | None = None
    job: JobState | None = None  # None: not a job of the embedded queue, or it never ran
    detail: str = ""
    # its job, by what was told; None: it had none, or nothing was told
    succeeded: bool | None = None
