"""How long one decision takes, and how that grows with the slots: ``python -m tests.bench.decide``.

The world is a busy one: a third of the slots idle, a third with a job and a standby, a third whose job has
just ended; and as many jobs wait in the queue as there are slots.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from manager.core.decide import Plan, decide
from manager.core.memory import Memory, apply
from manager.core.model import Desired, World
from manager.core.notice import notice
from tests.bench.figures import Figure, Goal, median, p95
from tests.core.simulator import Host, Manager, desire, judge, pool, specs

SLOTS = 1_000
TIMES = 15


def busy_host(slots: int) -> tuple[Manager, World]:
    """A host of so many slots, and what is seen of it next."""
    manager = Manager(Host(), desire(specs(pool("a", slots))))
    while len(manager.host.boxes) < slots:
        manager.turn()
        for subject in list(manager.flight):
            manager.finish(subject)
    for _ in range(2 * slots // 3):
        manager.submit("a")
    manager.run(passes=slots)
    for agent in [agent for agent in manager.memory.agents.values() if agent.busy][: slots // 3]:
        manager.host.ends(agent.generation, 0)
    for _ in range(slots):
        manager.submit("a")
    return manager, manager.look()


def seconds(slots: int) -> tuple[Sequence[float], Sequence[float]]:
    """How long ``notice`` with ``apply``, and ``decide``, take on such a host."""
    manager, world = busy_host(slots)
    noticing, deciding = [], []
    for _ in range(TIMES):
        began = time.perf_counter()
        facts = notice(manager.memory, world, manager.now, judge, frozenset())
        memory = apply(manager.memory, facts)
        between = time.perf_counter()
        plan = _decide(manager.desired, world, memory, manager)
        deciding.append(time.perf_counter() - between)
        noticing.append(between - began)
        assert plan.actions
    return noticing, deciding


def _decide(desired: Desired, world: World, memory: Memory, manager: Manager) -> Plan:
    return decide(desired, world, memory, manager.now, boot="bench", mint=manager.mint)


def measure() -> list[Figure]:
    """``decide`` over 1,000 slots, and the same over a tenth of them, ten times."""
    noticing, deciding = seconds(SLOTS)
    _, tenth = seconds(SLOTS // 10)
    return [
        Figure(
            "decide",
            f"decide over {SLOTS} slots",
            median(deciding) * 1000,
            "ms",
            Goal(100.0),
            beside=f"ten times {SLOTS // 10} slots",
            beside_value=median(tenth) * 10_000,
            p95=p95(deciding) * 1000,
            n=TIMES,
        ),
        Figure(
            "notice",
            f"notice and apply over {SLOTS} slots",
            median(noticing) * 1000,
            "ms",
            p95=p95(noticing) * 1000,
            n=TIMES,
        ),
    ]


if __name__ == "__main__":
    for figure in measure():
        print(
            f"{figure.what}: {figure.value:.1f} {figure.unit} (95 %: {figure.p95:.1f}, n = {figure.n})",
            f"beside {figure.beside}: {figure.beside_value:.1f}" if figure.beside_value else "",
        )
