"""What is said of held containers, in the time of whoever reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mayfly.cli.verbs_hold import of_day
from mayfly.core.memory import Agent, JobHold, Memory
from mayfly.core.model import Generation, PoolName, SlotName
from mayfly.service.holds import Holds

CHANGES = 1_792_890_000.0  # 2026-10-25 01:00 UTC: Berlin's clocks go from 03:00 back to 02:00


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as here:
        here.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("berlin")
def test_the_end_of_a_hold_is_told_in_the_time_that_the_clocks_will_show_then() -> None:
    until, now = CHANGES + 2 * 3600, CHANGES - 3600
    agent = Agent(
        *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f", "image", (), now),
        exited=now,
        hold=JobHold("ann", 1000, now, until, until),
    )
    holds = Holds(lambda: Memory({agent.generation: agent}), lambda _: {}, lambda: now)
    assert holds.words(agent.generation) == "held for ann until 04:00"
    assert of_day(until).endswith("04:00")
