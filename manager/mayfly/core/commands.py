"""What people may ask of the manager: one frozen value per command, with who asked.

A command is made once, where a request's body is read (``service/command_parsing.py``), and keeps its type
until ``core/command_effects.py`` says what it comes to. Names in it are as a person typed them: whether there
is such a slot, pool or job is not known yet. Nothing here decides anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from mayfly.core.desire import ImageSeen
from mayfly.core.model import Generation, JobId, Priority, SlotName
from mayfly.core.runs import Origin


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked, as the kernel says it of the other end of the socket."""

    pid: int
    uid: int
    gid: int
    name: str  # the user's name, or "uid 1234" where it has none
    operator: bool = True  # may do everything; else submit, read, and end what is theirs

    def may_act_on(self, uid: int | None) -> bool:
        """Whether they may do something with what is that user's (``None``: nobody's, the operators')."""
        return self.operator or (uid is not None and uid == self.uid)


@dataclass(frozen=True, slots=True)
class Payload:
    """What a job runs: its command line and its environment (which may hold secrets)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    # the image of the container that it runs in; None: it runs in its agent itself
    container: str | None = None

    @property
    def size(self) -> int:
        """The bytes that it takes in the queue."""
        words = sum(len(word.encode()) + 1 for word in self.argv)
        return words + sum(len(k) + len(v.encode()) + 2 for k, v in self.env.items())

    def __repr__(self) -> str:
        """Without the environment."""
        return f"Payload(argv={self.argv!r}, env=****)"


# What the engine has of images that are asked for (None: nothing); left out: it did not say.
Seen: TypeAlias = Mapping[str, ImageSeen | None]


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """Put a job into the queue of an embedded pool, or a group of them into the queues of several."""

    by: Caller
    payload: Payload
    pool: str | None  # None: the only pool that has a queue, or whichever has the CUDA
    timeout: float | None  # seconds; None: the pool's
    name: str | None = None
    priority: Priority = Priority.NORMAL
    after: tuple[str, ...] = ()  # jobs and groups that are to end well first
    retry_lost: int = 0  # how often it is run again where it was lost
    cuda: tuple[str, ...] = ()  # versions, a job for each; "all": those that there are
    gpus: int | None = None  # so many, and no more, has each slot of its pool; None: whatever
    matrix: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # values by variable
    workspace: str | None = None  # digest of the tree that it starts in; None: it brings none
    stdin: str | None = None  # digest of its standard input; None: it has none
    out: tuple[str, ...] = ()  # paths that are brought back, from where it starts or absolute
    image: str | None = None  # by name; None: the pool's own
    hold: bool = False  # its container is held when it has ended
    hold_seconds: float | None = None  # for how long; None: as its pool has it
    seen: Seen = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunJob:
    """One job of a run."""

    payload: Payload
    pool: str | None = None  # as SubmitJob has it
    timeout: float | None = None
    name: str | None = None
    cuda: str | None = None  # a version; None: whichever the pool has
    after: tuple[int, ...] = ()  # places in the run, from 0, of jobs that are to end well first
    out: tuple[str, ...] = ()  # paths that are brought back
    image: str | None = None  # by name; None: the pool's own


@dataclass(frozen=True, slots=True)
class SubmitRun:
    """Put the jobs of one push, or of one folder, into the queues: all of them or none."""

    by: Caller
    origin: Origin
    jobs: tuple[RunJob, ...]  # each only after those before it
    workspace: str | None = None  # digest of the tree that all of them start in; None: an empty one
    seen: Seen = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReserveGpus:
    """Give a person GPUs for themselves for a while, from now on or from a moment on."""

    by: Caller
    gpus: int
    seconds: float
    start: float | None  # None: as soon as one is free
    pool: str | None  # None: the first that has them
    shell: bool = True  # in an agent; False: outside of containers, the GPUs alone
    workspace: str | None = None  # digest of the tree that the agent starts in; None: none
    image: str | None = None  # by name; None: the pool's own
    seen: Seen = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExtendReservation:
    """Let a reservation end later."""

    by: Caller
    reservation: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ReleaseReservation:
    """Give a reservation back, or up before it began."""

    by: Caller
    reservation: str


@dataclass(frozen=True, slots=True)
class CancelJobs:
    """End jobs, or all of a group: at once what is queued, by its agent's stop ladder what runs."""

    by: Caller
    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttachAgent:
    """Let a person in beside the job that runs, named itself or by its slot."""

    by: Caller
    to: JobId | SlotName
    is_slot: bool
    mark: str = ""  # of all that is started there


@dataclass(frozen=True, slots=True)
class HoldJob:
    """Have a job's container held once the job has ended; one that is held stays so."""

    by: Caller
    to: JobId | SlotName
    is_slot: bool
    seconds: float | None = None  # from its end; None: as its pool has it


@dataclass(frozen=True, slots=True)
class ExtendHold:
    """Have a held container stay for longer."""

    by: Caller
    to: JobId | SlotName
    is_slot: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class ReleaseHold:
    """Give a held container up; of a job that runs, the wish that it be held."""

    by: Caller
    to: JobId | SlotName
    is_slot: bool


@dataclass(frozen=True, slots=True)
class DetachAgent:
    """Record that a person who was let in is out again."""

    by: Caller
    generation: Generation | None  # None: whoever has the mark, if anybody was let in with it
    reason: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class CordonSlots:
    """Let the slots take no new job; one that is drained stays drained."""

    by: Caller
    slots: tuple[str, ...]
    until: float | None  # None: until somebody undoes it
    note: str


@dataclass(frozen=True, slots=True)
class UncordonSlots:
    """Let the slots be filled again."""

    by: Caller
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DrainSlots:
    """Empty the slots: what runs a job ends it, unless ``force`` stops that too."""

    by: Caller
    slots: tuple[str, ...] | None  # None: all
    force: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class RecycleSlots:
    """Replace the slots' agents that have no job; those that have one are replaced afterwards anyway."""

    by: Caller
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RetrySlots:
    """Forget what held or cooled the slots, and try again."""

    by: Caller
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HealGpu:
    """Reset a GPU by hand; with ``dry_run`` only say what that would take."""

    by: Caller
    gpu: str | None  # a UUID; None: the only one that is sick of what a reset may mend
    dry_run: bool


@dataclass(frozen=True, slots=True)
class PauseManager:
    """Observe only."""

    by: Caller
    note: str


@dataclass(frozen=True, slots=True)
class ResumeManager:
    """Act again."""

    by: Caller


@dataclass(frozen=True, slots=True)
class CloseGates:
    """Empty all slots to pause the host, if there is still nothing to do; nobody's but ``[host.idle]``'s."""

    by: Caller
    since: float  # when there was something to do last


@dataclass(frozen=True, slots=True)
class LeaveHost:
    """Record that the host is about to be paused, if there is still nothing to do."""

    by: Caller
    since: float


@dataclass(frozen=True, slots=True)
class OpenGates:
    """Undo that, and record why; or that the host is back."""

    by: Caller
    reason: str  # why it was not paused; "": nothing is recorded of that
    away: float = 0.0  # seconds that the host was away; 0: it was not
    how: str = ""  # as of Passage in `host_hours`


@dataclass(frozen=True, slots=True)
class ReloadConfig:
    """Read the configuration again; with ``dry_run`` only say what would change."""

    by: Caller
    dry_run: bool


@dataclass(frozen=True, slots=True)
class PlanAhead:
    """Say what the next pass would do; changes nothing."""

    by: Caller


Command: TypeAlias = (
    SubmitJob
    | SubmitRun
    | ReserveGpus
    | ExtendReservation
    | ReleaseReservation
    | CancelJobs
    | AttachAgent
    | HoldJob
    | ExtendHold
    | ReleaseHold
    | DetachAgent
    | CordonSlots
    | UncordonSlots
    | DrainSlots
    | RecycleSlots
    | RetrySlots
    | HealGpu
    | PauseManager
    | ResumeManager
    | CloseGates
    | LeaveHost
    | OpenGates
    | ReloadConfig
    | PlanAhead
)


def images_of(command: Command) -> tuple[str, ...]:
    """The images that it asks for, each once."""
    match command:
        case SubmitJob(image=image) | ReserveGpus(image=image):
            asked = [image]
        case SubmitRun(jobs=jobs):
            asked = [job.image for job in jobs]
        case _:
            asked = []
    return tuple(dict.fromkeys(image for image in asked if image is not None))


def with_seen(command: Command, seen: Seen) -> Command:
    """The command with what the engine has of the images that it asks for."""
    return (
        replace(command, seen=seen)
        if isinstance(command, SubmitJob | SubmitRun | ReserveGpus)
        else command
    )


def verb_of(command: Command) -> str:
    """What the command is called on the command line: the first word of its class's name."""
    first, *_ = re.split("(?<=.)(?=[A-Z])", type(command).__name__)
    return first.lower()
