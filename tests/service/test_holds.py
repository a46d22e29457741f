"""What is said of held containers, in the time of whoever reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mayfly.cli.verbs_hold import of_day
from mayfly.core.memory import Agent, JobHold, Memory
from mayfly.core.model import Generation, JobId, PoolName, SlotName
from mayfly.service.holds import Holds, Warnings

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


class Clock:
    """A hold of an hour on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hold: JobHold | None = JobHold("ann", 1000, 0.0, 3600.0, 8 * 3600.0)

    def holds(self) -> Holds:
        return Holds(self.memory, lambda _: {}, lambda: self.now)

    def memory(self) -> Memory:
        agent = Agent(
            *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f", "image", (), 0.0),
            exited=0.0,
            job=JobId("j1"),
            hold=self.hold,
        )
        return Memory({agent.generation: agent})

    def told(self, warnings: Warnings, until: float) -> list[tuple[float, str]]:
        """What is told from now until then, looked at each half second, as a relay does."""
        found = []
        while self.now < until:
            self.now += 0.5
            if (sentence := warnings.due()) is not None:
                found.append((self.now, sentence))
        return found


def test_who_is_in_there_is_told_15_5_and_1_minutes_before_the_end_and_each_once() -> None:
    clock = Clock()
    warnings = Warnings(clock.holds(), Generation("g1"))
    told = clock.told(warnings, 3599.0)
    assert [at for at, _ in told] == [2700.0, 3300.0, 3540.0]
    assert "in 15m; for more time: mayfly attach j1 --extend 30m" in told[0][1]
    assert "in 5m" in told[1][1]


def test_who_comes_late_is_told_what_is_still_to_come_and_an_extension_begins_them_anew() -> None:
    clock = Clock()
    clock.now = 3000.0  # ten minutes are left
    warnings = Warnings(clock.holds(), Generation("g1"))
    assert [at for at, _ in clock.told(warnings, 3400.0)] == [3300.0]
    assert clock.hold is not None
    clock.hold = replace(clock.hold, until=7200.0)
    assert [at for at, _ in clock.told(warnings, 7199.0)] == [6300.0, 6900.0, 7140.0]
    clock.hold = None
    assert warnings.due() is None, "nothing is said of one that is over"
