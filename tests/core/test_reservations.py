"""Reserved GPUs: they are nobody else's, no job is ended for them, and the calendar keeps its promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from mayfly.core.command_refusal import Refusal
from mayfly.core.facts import (
    AgentDoomed,
    ReservationBegan,
    ReservationEnded,
    ReservationIdled,
    ReservationMade,
    ReservationWarned,
)
from mayfly.core.model import DoomReason, Generation, JobId, JobState, PoolName, SlotName
from mayfly.core.requests import TellReservation
from mayfly.core.reservation_words import conditions
from mayfly.core.reservations import Reservation, Rooms, first_start, last_end, refused
from mayfly.core.reserve_rules import ReserveRules
from tests.core.reserved_days import (
    ReservedDays,
    ReservedManager,
    reservable,
    reserved_box,
    whole,
)
from tests.core.simulator import Host, Manager, desire, pool, specs
from tests.core.turn_days import BOX, DAY, FAULTS, HOUR, ServedTurns, box, turning

ONE = BOX[:1]
GPU = PoolName("gpu")
NOW = 1_800_000_000.0


def running(manager: Manager) -> dict[str, str | None]:
    return {str(one.slot): one.job for one in manager.host.boxes.values() if one.running}


def end_all(manager: ReservedManager) -> None:
    for name, one in list(manager.host.boxes.items()):
        if one.running:
            manager.host.ends(name, 0)
    manager.run()


def accepted(found: JobId | Refusal) -> JobId:
    assert isinstance(found, str), found
    return found


def refusal(found: object) -> str:
    assert isinstance(found, Refusal)
    return found.sentence


# -- the calendar ----------------------------------------------------------------------------------


def room(slots: int = 2, rules: ReserveRules = ReserveRules()) -> Rooms:  # noqa: B008  a value
    return Rooms({GPU: slots}, {GPU: rules})


def booked(
    name: str, start: float, hours: float, *, uid: int = 1, slots: int = 1, **more: object
) -> Reservation:
    return Reservation(
        *(JobId(name), GPU, uid, f"user{uid}", slots, slots),
        *(NOW + start * HOUR, hours * HOUR, NOW),
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("wanted", "rules", "says"),
    [
        (booked("c", 0, 2), {}, None),
        (booked("c", 0, 1 / 120), {}, "for a minute at least"),
        (booked("c", 0, 9), {}, "for 8 h at the most (reserve.longest)"),
        (booked("c", -1, 2), {}, "is over"),
        (booked("c", 15 * 24, 2), {}, "14 days ahead at the most (reserve.ahead)"),
        (booked("c", 0, 2, slots=3), {}, "2 may be reserved at once"),
        (booked("c", 0, 2), {"at_once": 1}, "the first time that fits begins at 2027-01-15 11:00"),
        (booked("c", 4, 2, uid=7), {"per_person": 1}, "a person may have 1 (reserve.per_person)"),
        (booked("c", 0, 4, slots=2), {}, "the first time that fits begins at 2027-01-15 11:00"),
        (booked("c", 2, 1, slots=2), {}, "see `mayfly reservations`"),
        (booked("c", 3, 1, slots=2), {}, None),
    ],
)
def test_what_is_let_into_the_calendar(
    wanted: Reservation, rules: Mapping[str, int], says: str | None
) -> None:
    known = [booked("a", 1, 2, uid=7)]
    found = refused(wanted, room(2, ReserveRules(**rules)), known, NOW)
    assert (found is None) if says is None else (found is not None and says in found.sentence)


def test_one_that_begins_late_lasts_until_the_next_one_that_needs_its_slot() -> None:
    late, next_one = booked("a", -1, 2), booked("b", 1.5, 1)
    known = [late, next_one]
    assert last_end(room(1), late, known, NOW + 2 * HOUR, NOW) == next_one.start
    assert last_end(room(2), late, known, NOW + 2 * HOUR, NOW) == NOW + 2 * HOUR


def test_the_first_time_that_fits_is_when_the_last_of_those_in_the_way_ends() -> None:
    known = [booked("a", 0, 2), booked("b", 1, 3), booked("c", 4, 1, slots=2)]
    assert first_start(room(2), booked("d", 0, 1), known, NOW) == NOW
    assert first_start(room(2), booked("d", 0, 2, slots=2), known, NOW) == NOW + 5 * HOUR


def test_a_reservation_in_a_pool_in_turn_counts_in_the_pools_that_share_its_gpus() -> None:
    manager = reserved_box(
        reservable(turning("n", 4, 1), per_person=9), reservable(turning("w", 1, 4)), gpus=BOX[:4]
    )
    accepted(manager.reserves("w", 1, HOUR, gpus=4, start=manager.now + HOUR))
    said = refusal(manager.reserves("n", 2, HOUR, start=manager.now + HOUR))
    assert "pool n is reserved by others" in said
    accepted(manager.reserves("n", 2, HOUR, start=manager.now + 2 * HOUR))
    assert "reserved" in refusal(
        manager.reserves("w", 1, HOUR, gpus=4, start=manager.now + 2 * HOUR)
    )


# -- the machine -----------------------------------------------------------------------------------


def test_it_begins_after_the_running_job_and_ci_waits_until_its_end() -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0), gpus=ONE)
    first, second = manager.submit("gpu"), manager.submit("gpu")
    manager.run()
    mine = accepted(manager.reserves("gpu", 1001, 2 * HOUR))
    manager.run()
    assert running(manager) == {"gpu-0": first}, "no job is ended for it"
    manager.host.now += 600.0
    end_all(manager)
    assert running(manager) == {"gpu-0": mine}, "it goes before the job that waits"
    one = manager.memory.reservations[mine]
    assert one.devices == ("GPU-0",)
    assert one.until == manager.now + 2 * HOUR, "it lost no time by beginning late"
    manager.pass_time(2 * HOUR - 1.0)
    assert running(manager) == {"gpu-0": mine}
    manager.pass_time(60.0)
    assert running(manager) == {"gpu-0": second}
    assert not manager.memory.reservations
    assert manager.ended(first).state is JobState.SUCCEEDED
    assert manager.ended(mine).state is JobState.CANCELLED


def test_none_begins_where_what_a_forgotten_agent_has_made_may_be_at_work() -> None:
    for slot, begins in (("gpu-0", True), ("gone-0", False)):
        manager = reserved_box(reservable(whole("gpu", 2)), gpus=BOX[:2])
        observed = manager.state.observed
        world = replace(observed.world, unowned={Generation("long-ago"): SlotName(slot)})
        manager.state = replace(manager.state, observed=replace(observed, world=world))
        mine = accepted(manager.reserves("gpu", 1001, HOUR, shell=False))
        manager.turn()  # the removal has begun, and has not ended
        manager.turn()
        assert manager.state.observed.world.unowned
        one = manager.memory.reservations[mine]
        assert (one.began is not None) == begins
        assert one.devices == (("GPU-1",) if begins else ())


def test_it_ends_on_time_when_no_manager_ran_at_that_moment() -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0), gpus=ONE)
    accepted(manager.reserves("gpu", 1001, HOUR, shell=False))
    manager.run()
    waiting = manager.submit("gpu")
    manager.run()
    assert running(manager) == {}
    manager.host.now += 3 * HOUR
    manager.crash(())
    manager.run()
    assert not manager.memory.reservations
    assert running(manager) == {"gpu-0": waiting}


@pytest.mark.parametrize("by", [-3 * HOUR, 3 * HOUR])
def test_one_that_has_begun_lasts_as_long_as_it_was_to_when_the_clock_is_set(by: float) -> None:
    manager = reserved_box(reservable(whole("gpu", 2), idle=0.0), gpus=BOX[:2])
    mine = accepted(manager.reserves("gpu", 1001, 2 * HOUR))
    manager.run()
    later = accepted(manager.reserves("gpu", 1002, HOUR, start=manager.now + 9 * HOUR))
    manager.run()
    booked_for = manager.memory.reservations[later].start
    manager.pass_time(HOUR)
    manager.jump(by)
    manager.run()
    assert manager.memory.reservations[mine].until == manager.now + HOUR
    assert manager.memory.reservations[later].start == booked_for, "that is a time of the clock"
    manager.pass_time(HOUR - 1.0)
    assert mine in manager.memory.reservations
    manager.pass_time(60.0)
    assert mine not in manager.memory.reservations


def test_one_that_was_to_begin_while_no_manager_ran_begins_when_one_does() -> None:
    manager = reserved_box(reservable(whole("gpu", 1)), gpus=ONE)
    mine = accepted(manager.reserves("gpu", 1001, HOUR, start=manager.now + HOUR))
    manager.run()
    manager.host.now += 1.5 * HOUR
    manager.crash(())
    manager.run()
    assert running(manager) == {"gpu-0": mine}
    assert manager.memory.reservations[mine].until == manager.now + HOUR


def test_a_job_may_begin_just_before_a_reservation_unless_its_pool_keeps_the_time_clear() -> None:
    for clear, expected in ((0.0, 1), (1800.0, 0)):
        manager = reserved_box(reservable(whole("gpu", 1), clear=clear), gpus=ONE)
        accepted(manager.reserves("gpu", 1001, HOUR, start=manager.now + 1200.0))
        manager.submit("gpu")
        manager.run()
        assert len(running(manager)) == expected


def test_the_slot_that_gets_free_first_is_taken_and_the_others_go_on() -> None:
    manager = reserved_box(reservable(whole("gpu", 3), idle=0.0), gpus=BOX[:3])
    jobs = [manager.submit("gpu") for _ in range(6)]
    manager.run()
    mine = accepted(manager.reserves("gpu", 1001, HOUR))
    manager.run()
    manager.host.now += 60.0
    manager.host.ends(next(n for n, one in manager.host.boxes.items() if one.slot == "gpu-1"), 0)
    manager.run()
    assert running(manager)["gpu-1"] == mine
    manager.host.ends(
        next(n for n, one in manager.host.boxes.items() if one.slot == "gpu-2" and one.running), 0
    )
    manager.run()
    assert running(manager)["gpu-2"] in jobs


def test_two_slots_are_one_reservation_and_the_free_one_is_kept_until_both_are() -> None:
    manager = reserved_box(reservable(whole("gpu", 2), idle=0.0), gpus=BOX[:2])
    for _ in range(4):
        manager.submit("gpu")
    manager.run()
    accepted(manager.reserves("gpu", 1001, HOUR, gpus=2, shell=False))
    manager.run()
    busy = list(running(manager))
    manager.host.ends(
        next(n for n, one in manager.host.boxes.items() if one.slot == busy[0] and one.running), 0
    )
    manager.run()
    assert list(running(manager)) == [busy[1]]
    end_all(manager)
    assert running(manager) == {}
    (one,) = manager.memory.reservations.values()
    assert sorted(one.devices) == ["GPU-0", "GPU-1"]


def test_a_wide_pool_in_turn_keeps_what_gets_free_for_a_reservation() -> None:
    manager = reserved_box(
        turning("n", 4, 1), reservable(turning("w", 1, 4), idle=0.0), gpus=BOX[:4]
    )
    for _ in range(12):
        manager.submit("n")
    manager.run()
    mine = accepted(manager.reserves("w", 1001, HOUR, gpus=4))
    for left in (3, 2, 1):
        name = next(name for name, one in manager.host.boxes.items() if one.running)
        manager.host.ends(name, 0)
        manager.run()
        assert len(running(manager)) == left
    end_all(manager)
    assert running(manager) == {"w-0": mine}
    manager.pass_time(HOUR + 60.0)
    assert len(running(manager)) == 4


@pytest.mark.parametrize("by_itself", [True, False], ids=["its time is over", "given back"])
def test_a_shell_whose_pool_is_gone_ends_with_its_reservation(by_itself: bool) -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0), gpus=ONE)
    mine = accepted(manager.reserves("gpu", 1001, HOUR))
    manager.run()
    manager.reconfigure(whole("rest", 1))
    manager.run()
    assert running(manager) == {"gpu-0": mine}
    ci = manager.submit("rest")
    if by_itself:
        manager.pass_time(HOUR + 60.0)
    else:
        manager.gives_back(mine)
        manager.run()
    assert manager.memory.reservations == {}
    assert running(manager) == {"rest-0": ci}


def test_one_whose_pool_is_gone_when_it_was_to_begin_is_over_with_its_time() -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0), gpus=ONE)
    mine = accepted(manager.reserves("gpu", 1001, HOUR, start=manager.now + HOUR))
    manager.run()
    manager.reconfigure(whole("rest", 1))
    manager.pass_time(HOUR + 60.0)
    (told,) = conditions(manager.memory, manager.desired, None, manager.now)
    assert f"reservation {mine} of user1001 cannot begin" in told.text
    assert told.fix is not None
    assert told.fix.startswith(f"mayfly release {mine} ")
    manager.pass_time(HOUR)
    assert manager.memory.reservations == {}
    (ended,) = [one for one in manager.journal if isinstance(one, ReservationEnded)]
    assert "the configuration has no pool gpu" in ended.reason
    assert mine not in manager.memory.jobs


def test_who_had_less_of_the_pool_is_first_where_two_could_begin() -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0), gpus=ONE)
    greedy = manager.submit("gpu", uid=1)
    manager.run()
    manager.host.now += 5 * HOUR
    first = accepted(manager.reserves("gpu", 1, HOUR))
    manager.run()
    assert running(manager) == {"gpu-0": greedy}
    second = refusal(manager.reserves("gpu", 2, HOUR))
    assert "the first time that fits" in second
    both = replace(manager.memory.reservations[first], id=JobId("other"), uid=2, shell=False)
    manager.memory = replace(
        manager.memory, reservations={**manager.memory.reservations, both.id: both}
    )
    manager.state = replace(manager.state, memory=manager.memory)
    end_all(manager)
    began = [one.reservation for one in manager.journal if isinstance(one, ReservationBegan)]
    assert began == ["other"]


def test_its_owner_is_told_thirty_fifteen_and_five_minutes_before_the_end() -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0), gpus=ONE)
    accepted(manager.reserves("gpu", 1001, HOUR))
    manager.run()
    began = manager.now
    manager.pass_time(2 * HOUR)
    told = [
        (one.minutes, one.at - began)
        for one in manager.journal
        if isinstance(one, ReservationWarned)
    ]
    assert [minutes for minutes, _ in told] == [30, 15, 5]
    for minutes, at in told:
        assert at == pytest.approx(HOUR - minutes * 60, abs=1.0)


@pytest.mark.parametrize("drain", [True, False])
def test_a_slot_that_an_operator_wants_empty_is_reserved_for_no_longer(drain: bool) -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0), gpus=ONE)
    mine = accepted(manager.reserves("gpu", 1001, HOUR))
    manager.run()
    manager.cordon(SlotName("gpu-0"), drain=drain)
    manager.run()
    assert running(manager) == {"gpu-0": mine}, "it goes on to its end"
    found = manager.extends(mine, HOUR)
    assert isinstance(found, Refusal)
    assert f"slot gpu-0 is {'drained' if drain else 'cordoned'} by ann" in found.sentence
    manager.pass_time(HOUR + 60.0)
    assert running(manager) == {}


def test_who_extends_it_by_a_little_again_and_again_is_told_no_more_often() -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0), gpus=ONE)
    mine = accepted(manager.reserves("gpu", 1001, HOUR))
    manager.run()
    manager.pass_time(HOUR - 240.0)
    assert "by a minute at least" in refusal(manager.extends(mine, 59.0))
    for _ in range(5):
        assert isinstance(manager.extends(mine, 60.0), float)
        manager.pass_time(60.0)
    told = [one.minutes for one in manager.journal if isinstance(one, ReservationWarned)]
    assert told == [30, 15, 5]
    assert isinstance(manager.extends(mine, HOUR), float)
    manager.pass_time(HOUR)
    told = [one.minutes for one in manager.journal if isinstance(one, ReservationWarned)]
    assert told == [30, 15, 5] * 2, "of another end"


def test_one_that_nobody_uses_is_given_back() -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=1800.0), gpus=ONE)
    mine = accepted(manager.reserves("gpu", 1001, 2 * HOUR))
    manager.run()
    waiting = manager.submit("gpu")
    manager.pass_time(1790.0)
    assert running(manager) == {"gpu-0": mine}
    manager.pass_time(60.0)
    (warned,) = [one for one in manager.journal if isinstance(one, ReservationIdled)]
    assert [round(warned.seconds), round(warned.left)] == [900, 900]
    (end,) = [one for one in manager.journal if isinstance(one, ReservationEnded)]
    assert end.reason == "nobody has used it for 30 min"
    assert running(manager) == {"gpu-0": waiting}


def test_one_whose_job_is_cancelled_is_over_and_one_given_back_ends_its_job() -> None:
    manager = reserved_box(reservable(whole("gpu", 2), idle=0.0), gpus=BOX[:2])
    first, second = (accepted(manager.reserves("gpu", 1001, HOUR)) for _ in range(2))
    manager.run()
    assert set(running(manager).values()) == {first, second}
    manager.cancel(first)
    manager.gives_back(second)
    manager.run()
    assert running(manager) == {}
    assert not manager.memory.reservations
    assert all(manager.ended(job).state is JobState.CANCELLED for job in (first, second))


def test_one_that_no_slot_gets_free_for_before_the_next_one_is_over_in_vain() -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0), gpus=ONE)
    manager.submit("gpu")
    manager.run()
    first = accepted(manager.reserves("gpu", 1, HOUR))
    second = accepted(manager.reserves("gpu", 2, HOUR, start=manager.now + HOUR))
    manager.pass_time(HOUR + 1.0)
    assert manager.over == {"in vain": 1}
    assert first not in manager.memory.reservations
    end_all(manager)
    assert running(manager) == {"gpu-0": second}


def test_it_is_extended_as_far_as_its_pool_allows_and_nobody_else_has_reserved() -> None:
    manager = reserved_box(reservable(whole("gpu", 1), idle=0.0, longest=2 * HOUR), gpus=ONE)
    mine = accepted(manager.reserves("gpu", 1, HOUR))
    manager.run()
    until = manager.extends(mine, 1800.0)
    assert isinstance(until, float)
    manager.turn()
    assert manager.memory.reservations[mine].until == until
    (told,) = [one for one in manager.asked if isinstance(one, TellReservation)]
    assert told.seconds == 1.5 * HOUR, "its job, which would end by itself, learns of it"
    manager.run()
    far = manager.extends(mine, HOUR)
    assert isinstance(far, Refusal)
    assert "for 2 h at the most" in far.sentence
    accepted(manager.reserves("gpu", 2, HOUR, start=until + 60.0))
    taken = manager.extends(mine, 600.0)
    assert isinstance(taken, Refusal)
    assert "are reserved by others from" in taken.sentence


# -- days ------------------------------------------------------------------------------------------

PATIENCE = 3 * DAY


def days(seed: int, seconds: float, *, faults: float) -> ReservedDays:
    """People who reserve all the time, on a box with pools that share GPUs and such that do not."""
    pools = (
        reservable(whole("a", 3), idle=0.0),
        reservable(turning("n", 4, 1), per_person=3, at_once=3, clear=900.0),
        reservable(turning("w", 1, 4), idle=0.0),
    )
    kinds = (*(one for one in FAULTS if one not in ("clock", "reload")), "away")
    one = ReservedDays(
        reserved_box(*pools, gpus=BOX[:7]),
        Random(seed),
        6 * HOUR,
        faults=faults,
        kinds=kinds,
        patience=PATIENCE,
        rates={PoolName("a"): 1.5 * HOUR, PoolName("n"): 2 * HOUR, PoolName("w"): 12 * HOUR},
        rest=5.0,
    )
    one.pass_time(seconds)
    return one


def test_nothing_overlaps_in_two_days_of_people_ci_and_faults() -> None:
    one = days(1, 2 * DAY, faults=6 * HOUR)
    assert one.answers["made"] > 10
    assert one.box.had
    assert one.box.over


@pytest.mark.soak
@pytest.mark.timeout(8 * 3600)
def test_nothing_overlaps_in_a_thousand_days_of_people_ci_and_faults() -> None:
    one = days(2, 1000 * DAY, faults=8 * HOUR)
    print(f"{one.jobs} jobs; {one.answers}; began: {len(one.box.had)}; over: {one.box.over}")
    print(f"{one.happened}")
    assert len(one.box.had) > 5_000
    assert {"away", "manager", "engine", "gpu_lost"} <= one.happened.keys()


# -- a service -------------------------------------------------------------------------------------


def at_a_service() -> Manager:
    """A manager of two slots whose agents wait at a service for jobs."""
    of = replace(pool("service", 2, provider="x"), embedded=False, reserve=ReserveRules(idle=0.0))
    manager = Manager(Host(), desire(specs(of, leases=(("GPU-0",), ("GPU-1",)))))
    manager.run()
    return manager


def reserve_one(manager: Manager) -> JobId:
    one = Reservation(
        *(JobId("mine"), PoolName("service"), 1001, "ann", 1, 1, manager.now, HOUR, manager.now),
        shell=False,
    )
    manager.record([ReservationMade(manager.now, one)])
    return one.id


def test_an_agent_that_waits_at_its_service_is_let_go_and_none_takes_its_place() -> None:
    manager = at_a_service()
    assert sum(box.running for box in manager.host.boxes.values()) == 2
    reserve_one(manager)
    manager.run()
    one = manager.memory.reservations[JobId("mine")]
    assert one.taken == ("service-0",)
    assert [box.slot for box in manager.host.boxes.values() if box.running] == ["service-1"]
    (let_go,) = [fact for fact in manager.journal if isinstance(fact, AgentDoomed)]
    assert let_go.reason is DoomReason.DRAINED
    assert let_go.detail.startswith("its GPU is reserved by ann from ")
    manager.pass_time(HOUR + 60.0)
    assert sum(box.running for box in manager.host.boxes.values()) == 2


def test_agents_of_a_service_that_have_jobs_keep_them_and_the_first_to_end_makes_room() -> None:
    manager = at_a_service()
    for one in manager.host.boxes.values():
        if one.running:
            manager.host.gives_job(one.generation)
    manager.run()
    name = reserve_one(manager)
    manager.run()
    assert manager.memory.reservations[name].began is None
    assert not [fact for fact in manager.journal if isinstance(fact, AgentDoomed)]
    last = next(box for box in manager.host.boxes.values() if box.slot == "service-1")
    manager.host.ends(last.generation, 0)
    manager.run()
    assert manager.memory.reservations[name].taken == ("service-1",)


def test_a_service_that_hands_its_jobs_out_gives_none_for_a_slot_that_is_reserved() -> None:
    manager = box(reservable(turning("service", 2, 1, provider="github"), idle=0.0), gpus=BOX[:2])
    assert isinstance(manager, ServedTurns)
    one = Reservation(
        *(JobId("mine"), PoolName("service"), 1001, "ann", 1, 1, manager.now, HOUR, manager.now),
        shell=False,
    )
    manager.record([ReservationMade(manager.now, one)])
    manager.run()
    assert manager.memory.reservations[one.id].taken == ("service-0",)
    for _ in range(3):
        manager.service.queue()
    manager.pass_time(60.0)
    assert list(running(manager)) == ["service-1"]
    states = [job.state for job in manager.service.jobs]
    assert states.count("offered") == 2, "two are left to other runners"
