"""The brake: an agent that does too much of what no limit of its counts is frozen, again and again.

What a job prints is carried by the engine and kept by the manager; each connection to the outside is read by
the engine for every container that it makes; each process that begins and ends holds locks that all others
wait for. None of that is paid for by its agent, nor is it slowed by a smaller share of the processors. So
each slot has an allowance of each: it fills up by ``rate`` a second to ``burst``, and all that its agents do
is taken from it. An agent whose slot has none left is frozen until there is some again. It loses nothing but
time.

Allowances belong to the run of the manager. That an agent is throttled is on disk before it is frozen, and
until it was seen to run again: whoever finds it frozen knows whose doing that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from mayfly.core import naming
from mayfly.core.actions import Freeze, Thaw
from mayfly.core.facts import AgentThrottled, AgentUnthrottled
from mayfly.core.memory import Agent
from mayfly.core.model import Container, ContainerState, Excess, Generation, SlotName
from mayfly.core.plan import STAY, Act, Stay, Verdict, View

MIB = 1024 * 1024
LINE = 160  # bytes that carrying a line costs beside its own: most of a short one's price
LONGEST = 60.0  # seconds that an agent is frozen at most, whatever it has done
FULL_RATE = 2  # so many throttled agents have the whole rate each; of more all counts for more
SLOWED = 1 / 4  # of its rate has who is throttled, until all is made up for
PAUSE = 10.0  # seconds that it is frozen at least, then
CONNECTIONS_AT_ONCE = 5000  # an engine reads as many in 25 ms
PROCESSES_AT_ONCE = 30.0  # seconds' worth


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of something a slot may do; in bytes, or how many."""

    rate: float  # a second, for ever
    slowed: float  # the same while it is throttled
    burst: float  # at once
    room: float  # what a frozen agent waits for


# At once less than an engine's log holds by default.
OUTPUT = Allowance(rate=2 * MIB, slowed=2 * MIB, burst=16 * MIB, room=2 * MIB)


def connections(rate: float) -> Allowance:
    """To the outside."""
    slowed = rate * SLOWED
    return Allowance(rate, slowed, CONNECTIONS_AT_ONCE, slowed * PAUSE)


def processes(rate: float) -> Allowance:
    """And threads; ``rate`` is for all processors of the host."""
    slowed = rate * SLOWED
    return Allowance(rate, slowed, rate * PROCESSES_AT_ONCE, slowed * PAUSE)


def weight(lines: int, size: int) -> int:
    """What carrying so many lines of so many bytes in all costs, in bytes."""
    return size + LINE * lines


@dataclass(frozen=True, slots=True)
class Debt:
    """What a slot has done beyond its rate, as of ``at``."""

    generation: Generation  # who did it last
    size: float
    at: float
    allowance: Allowance
    slowed: bool = False

    @property
    def rate(self) -> float:
        """What is made up for in a second."""
        return self.allowance.slowed if self.slowed else self.allowance.rate


@dataclass(frozen=True, slots=True)
class Debts:
    """The slots that did much; never changed in place."""

    of: Mapping[SlotName, Mapping[Excess, Debt]] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def charged(
        self, agent: Agent, excess: Excess, size: float, allowance: Allowance, now: float
    ) -> Debts:
        """An agent has done so much more; of a debt, ``burst`` at most is left to the slot's next one."""
        slot = self.of.get(agent.slot, {})
        before = slot.get(excess, Debt(agent.generation, 0.0, now, allowance))
        owed = owing(before, now)
        if before.generation != agent.generation:
            owed = min(owed, allowance.burst)
        debt = Debt(agent.generation, 0.0, now, allowance, agent.throttled is not None)
        most = allowance.burst - allowance.room + LONGEST * debt.rate
        debt = replace(debt, size=min(owed + size, most))
        others = {
            name: left
            for name, debts in self.of.items()
            if (left := {one: debt for one, debt in debts.items() if owing(debt, now) > 0})
        }
        return Debts({**others, agent.slot: {**others.get(agent.slot, {}), excess: debt}})

    def shifted(self, by: float) -> Debts:
        """The wall clock has jumped."""
        return Debts(
            {
                slot: {what: replace(one, at=one.at + by) for what, one in debts.items()}
                for slot, debts in self.of.items()
            }
        )


NO_DEBTS = Debts()
NOTHING_OWED: Mapping[Excess, Debt] = MappingProxyType({})


def dearness(agents: Iterable[Agent]) -> float:
    """How often what one does counts while these agents are there."""
    throttled = sum(agent.throttled is not None and not agent.settled for agent in agents)
    return max(1.0, throttled / FULL_RATE)


def owing(debt: Debt, now: float) -> float:
    """What is still to be made up for."""
    return max(0.0, debt.size - debt.rate * max(0.0, now - debt.at))


def throttle(
    view: View, debts: Debts, agents: Iterable[Agent], *, observing: bool = False
) -> list[tuple[Agent, Verdict]]:
    """What is to be done about each agent that does too much, or did; ``observing``: nobody is frozen."""
    found = []
    for agent in agents:
        slot = debts.of.get(agent.slot, NOTHING_OWED)
        if agent.throttled is None and not slot:
            continue
        container = view.containers.get(agent.generation)
        if container is not None and not agent.settled and view.free(agent.generation):
            own = {what: one for what, one in slot.items() if one.generation == agent.generation}
            found.append((agent, _throttle(view, agent, container, own, observing=observing)))
    return found


def _throttle(
    view: View,
    agent: Agent,
    container: Container,
    debts: Mapping[Excess, Debt],
    *,
    observing: bool,
) -> Verdict:
    frozen = container.state is ContainerState.PAUSED
    enough = max((_enough(debt, view.now) for debt in debts.values()), default=view.now)
    let_go = observing or agent.doom is not None or enough <= view.now
    tries = view.free(naming.throttle_of(agent.generation))
    where = (agent.generation, agent.slot, container.id)
    over = [what for what, debt in debts.items() if owing(debt, view.now) > debt.allowance.burst]
    new = [what for what in over if agent.throttled is None or what not in agent.excess]
    facts = tuple(AgentThrottled(view.now, agent.generation, what) for what in new)
    if frozen and agent.throttled is not None:
        if not let_go:
            return Act((), facts, until=enough) if facts else Stay(enough)
        return Act((Thaw(*where, "it may go on"),)) if tries else STAY
    if container.state is not ContainerState.RUNNING or observing:
        return STAY
    opening = agent.committed is not None and agent.opened is None  # which must not wait for a thaw
    if over and agent.doom is None and not opening:
        why = "it does more than others can be made to pay for: " + ", ".join(over)
        return Act((Freeze(*where, why),), facts, until=enough) if tries else STAY
    if agent.throttled is None:
        return STAY
    clear = max((_clear(debt, view.now) for debt in debts.values()), default=view.now)
    if clear > view.now:
        return Stay(clear)
    return Act((), (AgentUnthrottled(view.now, agent.generation),))


def _enough(debt: Debt, now: float) -> float:
    """When it may go on."""
    allowance = debt.allowance
    return now + (owing(debt, now) - allowance.burst + allowance.room) / debt.rate


def _clear(debt: Debt, now: float) -> float:
    """When nothing is owed any more."""
    return now + owing(debt, now) / debt.rate
