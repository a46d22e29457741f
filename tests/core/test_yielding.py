"""Who has worked for a while counts for less where processors are short; whoever begins goes first."""

from __future__ import annotations

from dataclasses import replace

from mayfly.core import naming
from mayfly.core.actions import Weigh
from mayfly.core.capabilities import Capabilities
from mayfly.core.model import Limits
from mayfly.core.yielding import FRESH, PART
from tests.core.simulator import Fate, Host, Manager, desire, pool, specs


def at_work(manager: Manager) -> Manager:
    """Its slot's job runs for ever."""
    manager.run()
    manager.submit("a")
    manager.run()
    return manager


def weights(manager: Manager, seconds: float) -> list[float]:
    """What the engine was asked for meanwhile."""
    asked: list[float] = []
    for _ in range(int(seconds)):
        manager.host.now += 1.0
        asked += [one.weight for one in manager.turn().actions if isinstance(one, Weigh)]
        for subject in list(manager.flight):
            manager.finish(subject)
    return asked


def test_who_works_for_long_is_made_to_count_for_less_once_in_a_run() -> None:
    manager = at_work(Manager(Host(), desire(specs(pool("a")))))
    assert weights(manager, FRESH - 1) == []
    assert weights(manager, 100) == [PART]
    manager.crash([])
    assert weights(manager, 100) == [PART]


def test_a_small_agent_counts_for_a_part_of_what_it_did() -> None:
    small = replace(pool("a"), limits=Limits(cpus=0.5))
    assert weights(at_work(Manager(Host(), desire(specs(small)))), 30) == [0.5 * PART]
    large = replace(pool("a"), limits=Limits(cpus=4.0))
    assert weights(at_work(Manager(Host(), desire(specs(large)))), 30) == [PART]


def test_agents_with_gpus_and_those_of_other_engines_are_left_alone() -> None:
    gpus = specs(pool("a"), leases=(("G0",),))
    assert weights(at_work(Manager(Host(), desire(gpus))), 30) == []
    other = tuple(replace(spec, engine=Capabilities(weighs=False)) for spec in specs(pool("a")))
    assert weights(at_work(Manager(Host(), desire(other))), 30) == []


def test_where_it_fails_nothing_is_wrong_and_it_is_not_tried_again() -> None:
    manager = at_work(Manager(Host(), desire(specs(pool("a")))))
    manager.host.now += FRESH
    assert any(isinstance(one, Weigh) for one in manager.turn().actions)
    manager.finish(naming.weight_of(manager.own("a-0")), Fate.FAILED)
    assert weights(manager, 100) == []
    assert manager.phases("a-0")[0] == "busy"
