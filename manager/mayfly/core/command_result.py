"""What a command is judged by, and what it comes to: pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import Payload
from mayfly.core.facts import Fact
from mayfly.core.healing import Scene
from mayfly.core.memory import Memory
from mayfly.core.model import Config, Desired, JobId
from mayfly.core.plan import Plan
from mayfly.core.submitting import Members


@dataclass(frozen=True, slots=True)
class Reread:
    """The configuration as its file has it now, and what it would have."""

    config: Config
    desired: Desired


@dataclass(frozen=True, slots=True)
class Situation:
    """What a command is judged by; the last four are looked up for the commands that need them alone."""

    config: Config
    desired: Desired
    memory: Memory
    now: float
    new_job: JobId = field(default=JobId(""))  # what a job that is submitted now is called
    named: Mapping[str, Members] = field(default_factory=dict)  # jobs, groups: as the disk has them
    unsent: tuple[str, ...] = ()  # of what a job is to bring: what its owner has not sent
    reread: Reread | None = None  # None: the file was not read again, what is in force stays
    plan: Plan = field(default_factory=Plan)  # what the next pass would do
    headline: str = ""
    scene: Scene | None = None  # of the GPUs


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command comes to: the answer, and what must be so before it is given.

    ``facts`` and ``payloads`` have to be on disk, ``config`` in force (``None``: the one that is).
    """

    status: int  # of HTTP
    body: Mapping[str, object]
    facts: tuple[Fact, ...] = ()
    payloads: Mapping[JobId, Payload] = field(default_factory=dict)
    config: Config | None = None


def refusal(status: int, kind: str, sentence: str) -> CommandResult:
    """A command that is not carried out."""
    return CommandResult(status, {"error": sentence, "kind": kind})


def refused(why: Refusal) -> CommandResult:
    """The same, of a value that says why."""
    return refusal(why.status, why.kind, why.sentence)
