"""The brake on floods of output: an agent that prints without end is frozen, again and again.

What a job prints is carried by the engine and kept by the manager, on processors that no limit of its agent
counts; a share of the processors does not slow it, since writing costs a job next to nothing. So each slot
has an allowance: it fills up by ``RATE`` a second to ``BURST``, and all that its agents print is taken from
it. An agent whose slot has none left is frozen until there is some again. Nothing that it prints is lost.

The allowance belongs to the run of the manager. That an agent is throttled is on disk before it is frozen,
and until it was seen to run again: whoever finds it frozen knows whose doing that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from mayfly.core import naming
from mayfly.core.actions import Freeze, Thaw
from mayfly.core.facts import AgentThrottled, AgentUnthrottled
from mayfly.core.memory import Agent
from mayfly.core.model import Container, ContainerState, Generation, SlotName
from mayfly.core.plan import STAY, Act, Stay, Verdict, View

MIB = 1024 * 1024
LINE = 160  # bytes that carrying a line costs beside its own: most of a short one's price
RATE = 2 * MIB  # bytes a second that a slot may print for ever
BURST = 16 * MIB  # bytes that it may print at once; less than an engine's log holds by default
ROOM = 2 * MIB  # bytes of allowance that a frozen agent waits for
LONGEST = 60.0  # seconds that an agent is frozen at most, whatever it had in its pipes
FULL_RATE = 2  # so many throttled agents have the whole rate each; of more all counts for more


def weight(lines: int, size: int) -> int:
    """What carrying so many lines of so many bytes in all costs, in bytes."""
    return size + LINE * lines


@dataclass(frozen=True, slots=True)
class Debt:
    """What a slot has printed beyond ``RATE``, as of ``at``."""

    generation: Generation  # who printed last
    size: float  # bytes
    at: float


@dataclass(frozen=True, slots=True)
class Debts:
    """The slots that print; never changed in place."""

    of: Mapping[SlotName, Debt] = field(default_factory=lambda: MappingProxyType({}))

    def printed(self, agent: Agent, size: float, now: float) -> Debts:
        """An agent has printed so much more; of a debt, ``BURST`` at most is left to the slot's next one."""
        before = self.of.get(agent.slot, Debt(agent.generation, 0.0, now))
        owed = owing(before, now)
        if before.generation != agent.generation:
            owed = min(owed, BURST)
        most = BURST + LONGEST * RATE
        debt = Debt(agent.generation, min(owed + size, most), now)
        others = {slot: one for slot, one in self.of.items() if owing(one, now) > 0}
        return Debts({**others, agent.slot: debt})

    def shifted(self, by: float) -> Debts:
        """The wall clock has jumped."""
        return Debts({slot: replace(one, at=one.at + by) for slot, one in self.of.items()})


NO_DEBTS = Debts()


def price(lines: int, size: int, agents: Iterable[Agent]) -> float:
    """What that counts for while these agents are there."""
    throttled = sum(agent.throttled is not None and not agent.settled for agent in agents)
    return weight(lines, size) * max(1.0, throttled / FULL_RATE)


def owing(debt: Debt, now: float) -> float:
    """Bytes that are still to be made up for."""
    return max(0.0, debt.size - RATE * max(0.0, now - debt.at))


def throttle(
    view: View, debts: Debts, agents: Iterable[Agent], *, observing: bool = False
) -> list[tuple[Agent, Verdict]]:
    """What is to be done about each agent that prints too much, or did; ``observing``: nobody is frozen."""
    found = []
    for agent in agents:
        debt = debts.of.get(agent.slot)
        if agent.throttled is None and debt is None:
            continue
        container = view.containers.get(agent.generation)
        if container is not None and not agent.settled and view.free(agent.generation):
            owed = _owed(agent, debt, view.now)
            found.append((agent, _throttle(view, agent, container, owed, observing=observing)))
    return found


def _owed(agent: Agent, debt: Debt | None, now: float) -> float:
    """Bytes that the agent itself owes."""
    return owing(debt, now) if debt is not None and debt.generation == agent.generation else 0.0


def _throttle(
    view: View, agent: Agent, container: Container, owed: float, *, observing: bool
) -> Verdict:
    frozen = container.state is ContainerState.PAUSED
    enough = view.now + (owed - BURST + ROOM) / RATE
    let_go = observing or agent.doom is not None or enough <= view.now
    tries = view.free(naming.throttle_of(agent.generation))
    where = (agent.generation, agent.slot, container.id)
    if frozen and agent.throttled is not None:
        if not let_go:
            return Stay(enough)
        return Act((Thaw(*where, "it may print again"),)) if tries else STAY
    if container.state is not ContainerState.RUNNING or observing:
        return STAY
    if owed > BURST and agent.doom is None and agent.opened is not None:
        fact = AgentThrottled(view.now, agent.generation)
        facts = (fact,) if agent.throttled is None else ()
        freeze = Freeze(*where, "it prints more than others can be made to pay for")
        return Act((freeze,), facts, until=enough) if tries else STAY
    if agent.throttled is None:
        return STAY
    if owed > 0:
        return Stay(view.now + owed / RATE)
    return Act((), (AgentUnthrottled(view.now, agent.generation),))
