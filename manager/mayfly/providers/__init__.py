"""Providers: the CI services, and what is particular to each.

A provider is one file here, one launcher in ``agents/`` and one fake in ``tests/fakes/``. Its calls block
for a bounded time and are safe to repeat; ``read`` and ``judge`` are pure. It never touches the Engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from mayfly.core.memory import Agent
from mayfly.core.model import HostId, HostSpec, PoolSpec, Roster, Severity, StopStep
from mayfly.core.outcomes import End, Outcome
from mayfly.edge.faults import Fault, Refused

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("azure", "github", "gitlab", "local")


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What makes one container able to take one job; secret, so its ``repr`` shows no content."""

    files: Mapping[str, bytes]
    registration: str | None = None  # the service's id of it; None: not known yet, or none
    registered: str | None = None  # its name at the service; None: it has none

    def __repr__(self) -> str:
        """The names of the files alone."""
        return f"Enrolment(files={sorted(self.files)}, registration={self.registration!r})"


@dataclass(frozen=True, slots=True)
class Sign:
    """What a line of the client's output means."""

    # trouble may pass; refused never does: the service lets this agent have no job
    kind: Literal["listening", "job_started", "job_ended", "trouble", "refused"]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a provider's check."""

    severity: Severity
    text: str
    fix: str


Diagnosis = tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Cordoned:
    """The service gives the agent no new job, or gives it jobs again."""

    busy: bool = False  # it runs a job that it had already


@dataclass(frozen=True, slots=True)
class Dismissed:
    """The service was asked to let go of an agent."""

    busy: bool = False  # it runs a job and was left alone


def diagnosis(findings: Iterator[Finding]) -> Diagnosis:
    """What a check finds, a fault that ends it included: a check raises none."""
    found: list[Finding] = []
    again = "mayfly doctor   # again, once that is mended"
    try:
        found.extend(findings)
    except Refused as fault:
        found.append(Finding(Severity.ERROR, str(fault), again))
    except Fault as fault:
        found.append(Finding(Severity.ERROR, f"it could not be asked: {fault}", again))
    return tuple(found)


class Provider(Protocol):
    """What Mayfly asks of a CI service."""

    @property
    def proof(self) -> Literal["roster", "lines"]:
        """What confirms idle and busy."""

    @property
    def embedded(self) -> bool:
        """Whether the jobs come from Mayfly's own queue."""

    @property
    def can_cordon(self) -> bool:
        """Whether the service can be told to give an agent no new job."""

    @property
    def keeps_entries(self) -> bool:
        """Whether the service's entry belongs to the slot, and stays when an agent ends."""

    @property
    def enrol_deadline(self) -> float | None:
        """Seconds from the gate to the service's first confirmation; ``None``: the table's."""

    @property
    def roster_interval(self) -> float:
        """Seconds between rosters while nothing is awaited."""

    @property
    def stop_ladder(self) -> tuple[StopStep, ...]:
        """How to end an agent gently, step by step."""

    def check(self) -> Diagnosis:
        """Whether the service is reachable and lets us do what we must; empty where all is well.

        What it cannot find out is a finding, too: it raises no fault.
        """

    def roster(self) -> Roster | None:
        """Our agents as the service knows them; ``None`` where the service tells nothing."""

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """Everything that exactly one container needs for exactly one job."""

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """Tell the service to give the agent no new job, if it can be told."""

    def dismiss(self, registration: str) -> Dismissed:
        """Take a registration back: gone already is success, running a job is an answer."""

    def retire(self, registration: str) -> None:
        """See that an ended agent's key opens nothing more; its entry stays. Gone already is success.

        Only asked where ``keeps_entries``, and always before the slot's next agent is enrolled.
        """

    def read(self, line: str) -> Sign | None:
        """What a line of the client's output means; ``None``: nothing."""

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""


@runtime_checkable
class Counting(Protocol):
    """A provider that counts its calls."""

    def calls(self) -> dict[tuple[str, str], int]:
        """How many there were, by operation and HTTP status; may be asked from any thread."""


@runtime_checkable
class Limited(Protocol):
    """A provider whose service tells how many calls it still allows."""

    def remaining(self) -> float | None:
        """How many those are; ``None``: it has not said. May be asked from any thread."""


def left_behind(state_dir: Path) -> tuple[PoolSpec, ...]:
    """Pools that something at a service is remembered for, whether the configuration has them or not.

    As far as is remembered, and without ``token``: their providers can clear up, and nothing else.
    """
    keep = import_module("mayfly.providers.gitlab_store")
    found: tuple[PoolSpec, ...] = keep.left_behind(state_dir)
    return found


def load(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of a pool; ``Refused`` where this Mayfly has none of that name.

    ``host_id`` marks what is ours at the service.
    """
    if pool.provider not in NAMES:
        raise Refused(
            f'pool "{pool.name}": there is no provider "{pool.provider}" in this version; '
            f"it has {', '.join(NAMES)}"
        )
    module = import_module(f"mayfly.providers.{pool.provider}")
    provider: Provider = module.make(pool, host, host_id, state_dir)
    return provider
