"""A plan, and what one run of ``decide`` has at hand while it makes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mayfly.core.actions import Action
from mayfly.core.facts import AgentDoomed, Fact
from mayfly.core.memory import Agent, Job, Memory
from mayfly.core.model import Container, Desired, DoomReason, Generation, PoolName, World


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be recorded, what is to be done, and when to look again at the latest."""

    facts: tuple[Fact, ...] = ()
    actions: tuple[Action, ...] = ()
    wake: float | None = None  # None: nothing is due

    @property
    def empty(self) -> bool:
        """Whether there is nothing to record or do."""
        return not self.facts and not self.actions


@dataclass(slots=True)
class Pass:
    """One run of ``decide``: its arguments, and the plan as it grows."""

    desired: Desired
    world: World
    memory: Memory
    now: float
    run_id: str
    mint: Callable[[], Generation]
    in_flight: frozenset[str]
    containers: Mapping[Generation, Container]
    names: frozenset[str]
    queues: dict[PoolName, list[Job]]
    rolling: set[PoolName]
    leased: dict[str, list[Agent]]
    sharing: frozenset[PoolName]
    room: int
    serial: int
    facts: list[Fact] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)

    def free(self, subject: str) -> bool:
        """Whether an action may be begun for the subject: none is under way, and none has just failed."""
        return subject not in self.in_flight

    def doom(
        self, agent: Agent, reason: DoomReason, detail: str = "", by: str | None = None
    ) -> None:
        """The agent is to be ended, from the next pass on."""
        self.facts.append(AgentDoomed(self.now, agent.generation, reason, by, detail))
