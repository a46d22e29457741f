"""Which processes that hold a GPU are ended: an agent's that has ended, in a pool that heals its GPUs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.gpu_health import Ours, Process, Reading, Vitals
from mayfly.core.leftovers import AGAIN, to_be_ended
from mayfly.core.model import ContainerId, Generation, SlotName
from mayfly.core.requests import EndLeftover
from tests.core.simulator import pool, specs

OLD, NEW, MAKER = ContainerId("a" * 64), ContainerId("b" * 64), Generation("mywpiww03hg4s")
OURS = Ours({OLD, NEW}, {NEW}, {MAKER: SlotName("g-0")})
LEFT = Process(7, 1, OLD)


def ended(*processes: Process, heal: str = "reset", told: float | None = None) -> list[int]:
    spec = replace(pool("g"), heal=heal)  # type: ignore[arg-type]
    reading = Reading(100.0, 100.0, vitals={"GPU-a": Vitals(processes=processes)})
    before = {} if told is None else {7: told}
    leased = specs(spec, leases=(("GPU-a",),))
    found = to_be_ended(leased, reading, OURS, before, 100.0)
    assert found.told.keys() >= {one.pid for one in found.requests}
    return [one.pid for one in found.requests]


@pytest.mark.parametrize(
    ("process", "ends"),
    [
        (LEFT, True),
        (replace(LEFT, container=ContainerId("c" * 64), agent=MAKER), True),
        (replace(LEFT, container=NEW), False),  # its agent waits or works
        (replace(LEFT, container=None), False),  # on the host itself
        (replace(LEFT, container=ContainerId("c" * 64)), False),  # somebody else's
        (replace(LEFT, gone=True), False),  # there is nothing to be ended
    ],
)
def test_only_what_an_ended_agent_left_is_ended(process: Process, ends: bool) -> None:
    assert ended(process) == ([7] if ends else [])


def test_nothing_is_ended_where_the_pool_does_not_heal_its_gpus() -> None:
    assert ended(LEFT, heal="off") == []


def test_what_does_not_end_is_told_again_after_a_while_and_not_at_each_look() -> None:
    assert ended(LEFT, told=100.0 - AGAIN + 1) == []
    assert ended(LEFT, told=100.0 - AGAIN) == [7]


def test_what_is_asked_names_whose_it_is() -> None:
    spec = replace(pool("g"), heal="reset")
    reading = Reading(100.0, 100.0, vitals={"GPU-a": Vitals(processes=(LEFT,))})
    found = to_be_ended(specs(spec, leases=(("GPU-a",),)), reading, OURS, {}, 100.0)
    assert found.requests == (EndLeftover(7, "GPU-a", OLD, None),)
