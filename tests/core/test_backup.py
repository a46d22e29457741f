"""What a restored memory is: all that had begun is over and counted up to the backup, the rest waits."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from mayfly.core.apply import apply
from mayfly.core.backup import (
    Manifest,
    is_written,
    manifest_from,
    not_to_be_moved,
    restored,
)
from mayfly.core.memory import (
    Agent,
    Booking,
    ClockLock,
    Cordon,
    HoldWish,
    Job,
    JobHold,
    Memory,
    SlotMemory,
)
from mayfly.core.model import Generation, Hold, JobId, PoolName, SlotName
from mayfly.core.queue import forsaken, waits
from mayfly.core.reservations import Reservation

T = 1_790_000_000.0
POOL = PoolName("a")
BACKUP = Manifest("id", "1", 12, T, "lab1", "m", "/s", False, False, 1, 1, 86400.0)


def agent(number: int) -> Agent:
    name = Generation(f"{number:013}")
    return Agent(name, SlotName(f"a-{number}"), POOL, number, "f", "i", ("GPU-1",), T - 900)


def job(name: str, number: int) -> Job:
    return Job(JobId(name), POOL, number, T - 800, uid=7, owner="ann")


def reservation(name: str, began: float | None) -> Reservation:
    one = Reservation(JobId(name), POOL, 7, "ann", 1, 1, T - 600, 3600.0, T - 700, shell=False)
    return replace(one, began=began, until=T + 3000 if began is not None else None)


AT_WORK = replace(
    agent(0), committed=T - 600, opened=T - 600, run_id="r", job=JobId("runs"), hold_wish=None
)
HELD = replace(
    agent(1),
    committed=T - 800,
    opened=T - 800,
    exited=T - 300,
    hold=JobHold("ann", 7, T - 300, T + 600, T + 900),
)
AT_GATE = agent(2)
SLOTS = {
    SlotName("a-0"): SlotMemory(
        clocks=ClockLock(AT_WORK.generation, ("GPU-1",), 1500, None, T - 600)
    ),
    SlotName("a-1"): SlotMemory(booking=Booking(JobId("waits"), "i", T - 5)),
    SlotName("a-2"): SlotMemory(held="refused", hold=Hold.PERSON),
    SlotName("a-3"): SlotMemory(cordon=Cordon(T, "ann", drain=True), cooling_until=T + 60),
    SlotName("a-4"): SlotMemory(cordon=Cordon(T, "ann")),
}
MEMORY = Memory(
    agents={one.generation: one for one in (AT_WORK, HELD, AT_GATE)},
    slots=SLOTS,
    jobs={
        one.id: one
        for one in (
            replace(
                job("runs", 1),
                agent=AT_WORK.generation,
                slot=SlotName("a-0"),
                started=T - 600,
                retry_lost=3,
                hold=HoldWish(60.0, "ann"),
            ),
            job("waits", 2),
            replace(job("after", 3), after=(JobId("runs"),), awaits=(JobId("runs"),)),
        )
    },
    reservations={
        one.id: one for one in (reservation("began", T - 600), reservation("later", None))
    },
)


def after(backup: Manifest, *, resumed: bool) -> Memory:
    found = restored(MEMORY, backup, {}, T + 5000, resumed=resumed)
    return apply(apply(MEMORY, found.ends), found.gone)


def test_what_had_begun_is_over_and_what_had_not_waits() -> None:
    memory = after(BACKUP, resumed=False)
    assert memory.agents == {}
    assert set(memory.jobs) == {"waits", "after"}, "retry_lost is not obeyed"
    assert waits(memory.jobs[JobId("waits")])
    assert [one.job for one in forsaken(memory, T)] == ["after"]
    assert set(memory.reservations) == {"later"}
    assert memory.pause is not None
    slots = memory.slots
    assert slots[SlotName("a-0")].clocks is None
    assert slots[SlotName("a-1")].booking is None
    assert slots[SlotName("a-2")].held is None
    assert slots[SlotName("a-3")].cooling_until is None
    cordons = [slots[SlotName(f"a-{number}")].cordon for number in (3, 4)]
    assert all(cordons), "what a person has cordoned stays so"


def test_what_ran_counts_up_to_the_backup_and_no_longer() -> None:
    shares = after(BACKUP, resumed=False).shares
    (share,) = shares.values()
    assert share.at == T
    # A job, a reservation of one slot, and a container that was held.
    assert 1495 < share.used < 1500


def test_a_hand_over_lifts_its_drain_and_acts_where_that_is_meant() -> None:
    memory = after(replace(BACKUP, moved=True), resumed=True)
    assert memory.pause is None
    assert memory.slots[SlotName("a-3")].cordon is None
    assert memory.slots[SlotName("a-4")].cordon is not None


def test_a_box_is_handed_over_once_nothing_is_under_way() -> None:
    assert "may still run in a-0" in (not_to_be_moved(MEMORY) or "")
    over = replace(MEMORY, agents={HELD.generation: HELD})
    assert "a-1 is held for a person" in (not_to_be_moved(over) or "")
    over = replace(over, agents={AT_GATE.generation: AT_GATE})
    assert "reservation began has begun" in (not_to_be_moved(over) or "")
    over = replace(over, reservations={})
    assert not_to_be_moved(over) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("taken", value) for value in ("x", float("nan"), 1e300, None)),
        *(("half_life", value) for value in ("x", 0, float("inf"), True)),
        *(("id", value) for value in ("../../x", 7, "")),
        *(("state_dir", value) for value in (7, "", "here", "/", "/srv/../etc")),
        *(("queued", value) for value in ("x", -1, True)),
        *(("without_variables", value) for value in ("abc", [["x"]], None)),
        ("host", "\x1b[31mmine\nmayfly: all is well"),
        ("moved", "x"),
        ("state_schema", "x"),
    ],
)
def test_a_manifest_is_as_mayfly_writes_it_or_none(key: str, value: object) -> None:
    told = {**asdict(BACKUP), "without_variables": ["job1"]}
    assert manifest_from(told) == replace(BACKUP, without_variables=(JobId("job1"),))
    assert manifest_from({**told, "of a later one": 1}) is not None
    assert manifest_from({**told, key: value}) is None
    assert manifest_from({name: told[name] for name in told if name != "taken"}) is None


def test_a_restore_takes_what_a_backup_writes_and_no_other_name() -> None:
    for name in ("config/config.toml", "config/conf.d/a b.toml", "state/mayfly.sqlite"):
        assert is_written(name, {"forge"}, secrets=False), name
    for name in ("state/output/a", "state/idle.db", "state/builds.json"):
        assert is_written(name, {"forge"}, secrets=False), name
    for name in ("secrets/credentials/token", "state/forge/a-0.json"):
        assert is_written(name, {"forge"}, secrets=True), name
        assert not is_written(name, {"forge"}, secrets=False), name
    for name in (
        *("passwd", "state", "state/", "state/passwd", "state/lock", "state/.restoring-x/y"),
        *("state/mayfly.sqlite-wal", "state/mayfly.sqlite/x", "state/before-restore-1/x"),
        *("config/cron.d/x", "config/x.toml", "config/conf.d/a/b.toml", "secrets/", "end.json"),
    ):
        assert not is_written(name, {"forge"}, secrets=True), name
