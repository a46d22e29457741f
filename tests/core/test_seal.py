"""Whose a container is, by its id, its seal and its name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.memory import Memory
from mayfly.core.model import (
    Container,
    ContainerId,
    ContainerState,
    Death,
    Generation,
    HostId,
    PoolName,
    SlotName,
)
from mayfly.core.observed import Observed
from mayfly.core.seal import is_ours, looked_at, seal
from tests.core.test_notice import AGENT

KEY = "this installation's"
LABELS = (HostId("h00000000000"), PoolName("p"), SlotName("p-0"), Generation("g000000000001"))
MADE = Container(
    id=ContainerId("c1"),
    name="p-0",
    state=ContainerState.RUNNING,
    host=LABELS[0],
    pool=LABELS[1],
    slot=LABELS[2],
    generation=LABELS[3],
    fingerprint="f",
    image="image",
    created=0.0,
    lease=("GPU-1",),
    seal=seal(KEY, *LABELS, "f", ("GPU-1",)),
)


def known(container: str | None) -> Memory:
    agent = replace(
        AGENT,
        generation=MADE.generation,
        slot=MADE.slot,
        container=ContainerId(container) if container is not None else None,
    )
    return Memory(agents={agent.generation: agent})


def test_a_death_that_nobody_asks_for_is_not_kept_in_mind() -> None:
    """Holders come and go with what jobs leave in them, and anybody may label a container."""
    (stray,) = looked_at(KEY, (replace(MADE, state=ContainerState.EXITED),))
    memory = Memory(agents={AGENT.generation: AGENT})
    seen = Observed(MADE.host)
    for generation in (AGENT.generation, stray.generation, Generation("g000000000009")):
        seen = seen.died(generation, Death(ContainerId("c"), 137, 0.0))
    seen, _ = seen.seen(0, (stray,), memory, 1.0)
    assert seen.world.deaths.keys() == {AGENT.generation, stray.generation}
    seen, _ = seen.seen(0, (), memory, 2.0)
    assert seen.world.deaths.keys() == {AGENT.generation}


def test_an_agent_that_nobody_remembers_is_ours_by_its_seal() -> None:
    (seen,) = looked_at(KEY, (MADE,))
    assert is_ours(seen, Memory())
    assert is_ours(replace(seen, name=f"p-0.{MADE.generation}"), Memory())
    assert seen.seal == ""


@pytest.mark.parametrize(
    "other",
    [
        replace(MADE, generation=Generation("g000000000002")),
        replace(MADE, generation=Generation("../../victim")),
        replace(MADE, slot=SlotName("p-1"), name="p-1"),
        replace(MADE, pool=PoolName("q")),
        replace(MADE, fingerprint="e"),
        replace(MADE, lease=()),
        replace(MADE, name="mine"),
        replace(MADE, seal=""),
        replace(MADE, seal="\u00e9" * 32),
        replace(MADE, seal="\ud800"),
        replace(MADE, pool=PoolName("\ud800\u00e9")),
        replace(MADE, seal=seal("another one's", *LABELS, "f", ("GPU-1",))),
    ],
)
def test_what_anybody_can_write_makes_nothing_ours(other: Container) -> None:
    (seen,) = looked_at(KEY, (other,))
    assert not is_ours(seen, Memory())
    assert not is_ours(seen, known(None))


def test_a_copy_of_an_agent_is_not_the_agent() -> None:
    (agent, copy) = looked_at(KEY, (MADE, replace(MADE, id=ContainerId("c2"))))
    memory = known("c1")
    assert is_ours(agent, memory)
    assert not is_ours(copy, memory)
    # An agent that is on record needs no seal: one of an older Mayfly has none.
    assert is_ours(replace(agent, sealed=False), memory)
    seen, _ = Observed(MADE.host).seen(0, (agent, replace(copy, name="mine")), memory, 1.0)
    assert seen.world.containers == {MADE.generation: agent}
    assert seen.world.strangers == ("mine",)
