"""What people may ask of the manager: one frozen value per command, with who asked.

A command is made once, where a request's body is read (``service/command_parsing.py``), and keeps its type
until ``core/command_effects.py`` says what it comes to. Names in it are as a person typed them: whether there
is such a slot, pool or job is not known yet. Nothing here decides anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from mayfly.core.model import JobId


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked, as the kernel says it of the other end of the socket."""

    pid: int
    uid: int
    gid: int
    name: str  # the user's name, or "uid 1234" where it has none
    operator: bool = True  # may do everything; else submit, read, and end what is theirs


@dataclass(frozen=True, slots=True)
class Payload:
    """What a job runs: its command line and its environment (which may hold secrets)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]

    @property
    def size(self) -> int:
        """The bytes that it takes in the queue."""
        words = sum(len(word.encode()) + 1 for word in self.argv)
        return words + sum(len(k) + len(v.encode()) + 2 for k, v in self.env.items())

    def __repr__(self) -> str:
        """Without the environment."""
        return f"Payload(argv={self.argv!r}, env=****)"


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """Put a job into the queue of an embedded pool."""

    by: Caller
    payload: Payload
    pool: str | None  # None: the only pool that has a queue
    timeout: float | None  # seconds; None: the pool's


@dataclass(frozen=True, slots=True)
class CancelJob:
    """End a job: at once where it is queued, by its agent's stop ladder where it runs."""

    by: Caller
    job: JobId


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
class PauseManager:
    """Observe only."""

    by: Caller
    note: str


@dataclass(frozen=True, slots=True)
class ResumeManager:
    """Act again."""

    by: Caller


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
    | CancelJob
    | CordonSlots
    | UncordonSlots
    | DrainSlots
    | RecycleSlots
    | RetrySlots
    | PauseManager
    | ResumeManager
    | ReloadConfig
    | PlanAhead
)


def verb_of(command: Command) -> str:
    """What the command is called on the command line: the first word of its class's name."""
    first, *_ = re.split("(?<=.)(?=[A-Z])", type(command).__name__)
    return first.lower()
