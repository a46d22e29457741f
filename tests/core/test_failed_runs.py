"""A slot that fails one job after the other is named, with its GPU; where all fail, the pool is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mayfly.core.failed_runs import stands_out
from mayfly.core.job_conditions import ALL, RECENT, job_conditions
from mayfly.core.memory import FailedRun
from mayfly.core.model import Condition, DoomReason, Severity, SlotName
from mayfly.core.slots import status_of
from tests.core.simulator import Host, Manager, desire, pool, specs

GPUS = tuple((f"GPU-{number}f2c1111-aaaa",) for number in range(4))


def lab(slots: int = 4, *, fingerprint: str = "f1") -> Manager:
    """A pool of the embedded queue, each slot with a GPU, filled."""
    of = specs(pool("a", slots), leases=GPUS[:slots], fingerprint=fingerprint)
    manager = Manager(Host(), desire(of))
    manager.run()
    return manager


def conditions(manager: Manager) -> list[Condition]:
    rows = [
        status_of(spec, manager.desired, manager.memory, manager.tenancy(spec.name), manager.now)
        for spec in manager.desired.slots
    ]
    return job_conditions(rows, manager.now)


def codes(manager: Manager) -> list[str]:
    return [one.code for one in conditions(manager)]


def round_of_jobs(manager: Manager, ends: Mapping[str, int], *, jobs: int | None = None) -> None:
    """A job in each slot, ended with the slot's code, or with 0."""
    for _ in range(len(manager.desired.slots) if jobs is None else jobs):
        manager.submit("a")
    manager.run()
    manager.host.now += 10
    for generation, box in list(manager.host.boxes.items()):
        if box.running:
            manager.host.ends(generation, ends.get(box.slot, 0))
    manager.run()


def test_a_slot_that_fails_each_job_while_others_do_theirs_is_named_with_its_gpu() -> None:
    manager = lab()
    for _ in range(3):
        round_of_jobs(manager, {"a-2": 1})
        assert codes(manager) == []
    round_of_jobs(manager, {"a-2": 1})
    (one,) = conditions(manager)
    assert (one.code, one.severity, one.slots) == ("slot.failing_jobs", Severity.ERROR, ("a-2",))
    assert one.text == (
        "the last 4 jobs in slot a-2 (GPU-2f2c1111) failed, exit code 1, while 10 of 10 that began "
        "meanwhile in other slots of pool a succeeded"
    )
    assert one.fix == "mayfly cordon a-2"
    manager.crash(())  # whoever comes next knows it, too
    manager.begins()
    assert codes(manager) == ["slot.failing_jobs"]
    round_of_jobs(manager, {})
    assert codes(manager) == []


def test_two_slots_that_fail_are_both_named() -> None:
    manager = lab()
    for _ in range(6):
        round_of_jobs(manager, {"a-0": 1, "a-3": 7})
    found = conditions(manager)
    assert [one.slots for one in found] == [("a-0",), ("a-3",)]
    assert "exit code 7" in found[1].text


@pytest.mark.parametrize("slots", [1, 4])
def test_where_all_jobs_fail_no_slot_is_blamed_but_the_pool(slots: int) -> None:
    manager = lab(slots)
    done = 0
    while done < ALL:
        assert codes(manager) == []
        round_of_jobs(manager, {f"a-{number}": 1 for number in range(slots)})
        done += slots
    (one,) = conditions(manager)
    assert (one.code, one.severity, one.slots) == ("pool.failing_jobs", Severity.WARNING, ())
    where = "in slot a-0" if slots == 1 else "in 4 of its 4 slots"
    assert (
        one.text
        == f"the last {done} jobs of pool a failed, exit code 1, {where}, and none succeeded meanwhile"
    )
    assert one.fix.startswith("mayfly logs a-")
    manager.host.now += RECENT + 1
    assert codes(manager) == []  # nobody's trouble of now
    round_of_jobs(manager, {}, jobs=1)
    assert codes(manager) == []


def test_a_burst_of_bad_jobs_beside_a_long_one_blames_no_slot() -> None:
    manager = lab(2)
    manager.submit("a")
    manager.run()
    manager.host.now += 1
    (long,) = (name for name, box in manager.host.boxes.items() if box.running)
    for _ in range(8):
        manager.submit("a")
        manager.run()
        manager.host.now += 1
        for generation, box in list(manager.host.boxes.items()):
            if box.running and generation != long:
                manager.host.ends(generation, 1)
        manager.run()
    manager.host.ends(long, 0)
    manager.run()
    assert codes(manager) == []  # it began before: it says nothing of what they were given


def test_what_a_person_or_an_image_changes_begins_anew() -> None:
    for change in ("cordon", "uncordon", "release", "image"):
        manager = lab()
        for _ in range(4):
            round_of_jobs(manager, {"a-2": 1})
        assert codes(manager) == ["slot.failing_jobs"]
        slot = SlotName("a-2")
        match change:
            case "cordon":
                manager.cordon(slot)
            case "uncordon":
                manager.cordon(slot)
                manager.run()
                manager.uncordon(slot)
            case "release":
                manager.release(slot)
            case _:
                manager.desired = desire(specs(pool("a", 4), leases=GPUS, fingerprint="f2"))
        manager.run()
        assert codes(manager) == [], change


def test_jobs_that_a_person_ended_say_nothing() -> None:
    manager = lab()
    for _ in range(6):
        jobs = [manager.submit("a") for _ in range(4)]
        manager.run()
        manager.host.now += 10
        for job in jobs:
            slot = manager.memory.jobs[job].slot
            if slot == "a-2":
                manager.cancel(job)
        for generation, box in list(manager.host.boxes.items()):
            if box.running:
                manager.host.ends(generation, 143 if box.slot == "a-2" else 0)
        manager.run()
    assert DoomReason.CANCELLED in {
        fact.reason for fact in manager.journal if hasattr(fact, "reason")
    }
    assert codes(manager) == []


@pytest.mark.parametrize(
    ("jobs", "succeeded", "failed", "told"),
    [
        (2, 1000, 0, False),  # two say nothing
        (3, 9, 0, True),
        (3, 3, 0, False),
        (100, 1, 0, False),  # one job may be another's
        (100, 3, 0, False),
        (3, 4, 0, False),
        (4, 4, 0, True),
        (1000, 0, 0, False),  # nobody else had a job
        (1000, 0, 50, False),
        (9, 10, 10, False),  # half of all fail anyway
        (11, 10, 10, True),
        (100, 9, 3, True),  # it eats the queue
    ],
)
def test_a_run_stands_out_where_chance_does_not_explain_it(
    jobs: int, succeeded: int, failed: int, told: bool
) -> None:
    run = FailedRun(jobs, 0.0, 1.0, "f", "exit code 1", True, succeeded, failed)
    assert stands_out(run) is told
