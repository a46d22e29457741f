"""Jobs that ask for an image: which slot is made ready for one, when, and what comes after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from mayfly.core.actions import Prepare
from mayfly.core.facts import (
    AgentDoomed,
    JobEnded,
    JobRequeued,
    SlotBooked,
    SlotCooled,
    SlotHeld,
    SlotRecovered,
    SlotUnbooked,
)
from mayfly.core.job_images import allows, offers, tagged
from mayfly.core.model import (
    Cause,
    DoomReason,
    Hold,
    JobId,
    JobImage,
    JobState,
    PoolName,
    PoolSpec,
    SlotName,
)
from tests.core.simulator import Fate, Host, Manager, desire, pool, specs, with_images

X, Y = "lab/x", "lab/y"
GPUS = (("G0",), ("G1",))


def manager(
    slots: int = 1,
    *,
    standby: bool = True,
    sandbox: Literal["job", "slot"] = "job",
    leases: tuple[tuple[str, ...], ...] = (),
    there: tuple[str, ...] = (X,),
) -> Manager:
    of = pool("a", slots, standby=standby, sandbox=sandbox, job_images=("lab/*",))
    found = Manager(
        Host(images=set(there)), with_images(desire(specs(of, leases=leases)), there, (X, Y))
    )
    found.run()
    return found


def images_in(found: Manager, slot: str) -> list[str]:
    """Of what the containers of the slot are, the oldest first."""
    return [box.image for box in found.host.boxes.values() if box.slot == slot]


def running(found: Manager) -> dict[str, JobId | None]:
    return {str(box.slot): box.job for box in found.host.boxes.values() if box.running}


def end(found: Manager, slot: str) -> None:
    found.host.ends(found.own(slot), 0)
    found.run()


@pytest.mark.parametrize("standby", [True, False])
@pytest.mark.parametrize("sandbox", ["job", "slot"])
@pytest.mark.parametrize("leases", [(), GPUS[:1]])
def test_a_job_runs_in_the_image_that_it_asks_for_and_the_next_in_the_pools_own(
    standby: bool, sandbox: Literal["job", "slot"], leases: tuple[tuple[str, ...], ...]
) -> None:
    found = manager(standby=standby, sandbox=sandbox, leases=leases)
    holders = set(found.host.holders)
    first, second = found.submit("a", image=X), found.submit("a")
    found.run()
    assert running(found) == {"a-0": first}
    assert images_in(found, "a-0") == [X, *(["image"] if standby else [])]
    end(found, "a-0")
    assert running(found) == {"a-0": second}
    assert images_in(found, "a-0") == ["image", *(["image"] if standby else [])]
    assert holders <= set(found.host.holders)  # its network is the pool's, and stays


def test_jobs_of_images_keep_their_places_in_the_order() -> None:
    found = manager(there=(X, Y))
    jobs = [found.submit("a", image=image) for image in (X, None, Y, X, None)]
    for job in jobs:
        found.run()
        assert running(found) == {"a-0": job}
        end(found, "a-0")
    assert all(found.ended(job).state is JobState.SUCCEEDED for job in jobs)


def test_a_job_that_can_start_at_once_takes_another_slot_and_waits_for_no_image() -> None:
    found = manager(2)
    first, second = found.submit("a", image=X), found.submit("a")
    found.turn()
    found.turn()
    opened = [fact for fact in found.journal if isinstance(fact, SlotBooked)]
    assert [(fact.slot, fact.job, fact.image) for fact in opened] == [("a-0", first, X)]
    assert found.memory.jobs[second].slot == "a-1"
    found.run()
    assert running(found) == {"a-0": first, "a-1": second}


def test_an_image_that_is_missing_keeps_its_job_and_nobody_behind_it() -> None:
    found = manager()
    first, second = found.submit("a", image=Y), found.submit("a")
    found.run()
    assert running(found) == {"a-0": second}
    assert first in found.memory.jobs
    end(found, "a-0")
    assert running(found) == {}
    found.host.images.add(Y)
    found.desired = with_images(found.desired, (X, Y))
    found.run()
    assert running(found) == {"a-0": first}


def test_a_job_whose_pool_allows_its_image_no_more_waits_until_it_does() -> None:
    found = manager()
    allowing, job = found.desired, found.submit("a", image=X)
    found.desired = with_images(desire(specs(pool("a", 1))), (X,))
    found.run()
    assert not running(found)
    found.desired = allowing
    found.run()
    assert running(found) == {"a-0": job}


@pytest.mark.parametrize("made", [True, False], ids=["dies at its gate", "cannot be made"])
def test_an_image_of_which_no_agent_comes_ends_its_job_and_leaves_the_slot_to_others(
    made: bool,
) -> None:
    found = manager()
    if made:
        found.host.broken.add(X)
    else:
        found.host.images.discard(X)  # and nobody has noticed
    job, other = found.submit("a", image=X), found.submit("a")
    found.pass_time(60.0)
    assert found.ended(job).state is JobState.LOST
    assert found.ended(job).cause is Cause.NEVER_STARTED
    assert found.ended(job).detail.startswith(f"3 agents of image {X} that were to run it ended")
    requeued = [fact for fact in found.journal if isinstance(fact, JobRequeued)]
    assert [fact.job for fact in requeued] == [job, job]
    assert running(found) == {"a-0": other}
    known = found.memory.slot(SlotName("a-0"))
    assert (known.failures, known.held, known.booking) == (0, None, None)


def test_a_burst_of_passing_faults_cools_slots_and_costs_the_job_no_try() -> None:
    found = manager(3)
    job = found.submit("a", image=X)
    for _ in range(30):
        found.turn()
        for subject, action in list(found.flight.items()):
            of_job = isinstance(action, Prepare) and action.spec.asked_image is not None
            found.finish(subject, Fate.FAILED if of_job else Fate.DONE)
    failures = [found.memory.slot(SlotName(f"a-{at}")).failures for at in range(3)]
    assert failures == [1, 1, 1]
    assert found.memory.jobs[job].tries == 0
    found.pass_time(60.0)
    assert list(running(found).values()) == [job]


def test_an_image_whose_agents_never_stand_at_their_gate_ends_its_job_and_cools_no_slot() -> None:
    found = manager()
    found.host.hanging.add(X)
    job, other = found.submit("a", image=X), found.submit("a")
    found.pass_time(600.0)
    assert found.ended(job).cause is Cause.NEVER_STARTED
    assert running(found) == {"a-0": other}
    assert found.memory.slot(SlotName("a-0")).failures == 0


def without_its_own_image(found: Manager) -> None:
    """Of the pool's image no agent can be made any more; those that are there go on."""
    blocked = frozenset(spec.name for spec in found.desired.slots)
    why = dict.fromkeys(blocked, "image image is not on this Engine")
    found.desired = replace(found.desired, obstacles=why, image_blocked=blocked)


@pytest.mark.parametrize("why", ["held", "cooling", "its pool's image is gone"])
def test_a_slot_that_cannot_be_booked_for_the_next_job_begins_the_first_that_asks_for_no_image(
    why: str,
) -> None:
    found = manager()
    name, known = SlotName("a-0"), found.desired
    if why == "held":
        found.record([SlotHeld(found.now, name, "no", Hold.MAKING, found.now + 900.0, 1, "f1")])
    elif why == "cooling":
        found.record([SlotCooled(found.now, name, found.now + 30.0, 1, "no")])
    else:
        without_its_own_image(found)
    first, second, third = (found.submit("a", image=image) for image in (X, X, None))
    found.run()
    assert running(found) == {"a-0": third}
    found.release(name)
    found.record([SlotRecovered(found.now, name)])
    found.desired = known
    for job in (first, second):
        end(found, "a-0")
        assert running(found) == {"a-0": job}


def booked(found: Manager, job: JobId) -> None:
    """Until the slot is booked for the job, and not yet made ready."""
    for _ in range(6):
        found.turn()
        if job in found.memory.booked:
            return
    raise AssertionError("no slot was booked")


def test_a_job_that_is_cancelled_gives_its_slot_back() -> None:
    found = manager()
    job = found.submit("a", image=X)
    booked(found, job)
    found.cancel(job)
    other = found.submit("a")
    found.run()
    assert found.ended(job).state is JobState.CANCELLED
    assert running(found) == {"a-0": other}
    assert not found.memory.booked


def test_a_booking_outlives_the_manager() -> None:
    found = manager()
    job = found.submit("a", image=X)
    booked(found, job)
    found.crash(list(found.flight))
    assert found.memory.booked == {job: "a-0"}
    found.run()
    assert running(found) == {"a-0": job}
    assert len([fact for fact in found.journal if isinstance(fact, SlotBooked)]) == 1


def test_nothing_is_done_in_a_booked_slot_while_its_image_is_not_known() -> None:
    found = manager()
    job = found.submit("a", image=X)
    booked(found, job)
    found.crash(())
    known = found.desired
    found.desired = desire(specs(pool("a", 1, job_images=("lab/*",))))
    found.run()
    assert found.memory.booked == {job: "a-0"}
    assert not running(found)
    found.desired = known
    found.run()
    assert running(found) == {"a-0": job}


@pytest.mark.parametrize("how", ["cordoned", "image", "gone"])
def test_a_slot_that_cannot_be_made_ready_any_more_gives_the_job_its_place_again(how: str) -> None:
    found = manager(2)
    first = found.submit("a", image=X)
    booked(found, first)
    behind = found.submit("a", image=X)
    if how == "cordoned":
        found.cordon(SlotName("a-0"))
    elif how == "gone":
        slots = tuple(spec for spec in found.desired.slots if spec.name != "a-0")
        found.desired = with_images(desire(slots), (X,))
    else:
        found.desired = with_images(found.desired, (), (X,))
    found.run()
    (lapsed, *_) = [fact for fact in found.journal if isinstance(fact, SlotUnbooked)]
    assert (lapsed.slot, lapsed.job) == ("a-0", first)
    if how == "image":
        assert running(found) == {}
        assert not found.memory.booked
        found.desired = with_images(found.desired, (X,))
        found.run()
        assert running(found) == {"a-0": first, "a-1": behind}
    else:
        assert running(found) == {"a-1": first}
        end(found, "a-1")
        assert running(found) == {"a-1": behind}


def test_an_agent_of_an_image_that_was_built_anew_is_made_again_before_its_job_begins() -> None:
    found = manager()
    job = found.submit("a", image=X)
    booked(found, job)
    for _ in range(3):
        found.turn()
    for subject in list(found.flight):
        found.finish(subject, Fate.DONE)
    found.host.images = {"lab/x again"}
    anew = dict.fromkeys(found.desired.job_images, JobImage("lab/x again"))
    found.desired = replace(found.desired, job_images=anew)
    found.host.asked[job] = "lab/x again"
    found.run()
    assert running(found) == {"a-0": job}


def test_slots_of_one_pool_are_made_ready_side_by_side() -> None:
    found = manager(3)
    jobs = [found.submit("a", image=X) for _ in range(3)]
    found.turn()
    assert found.memory.booked == {job: f"a-{at}" for at, job in enumerate(jobs)}
    found.run()
    assert running(found) == {f"a-{at}": job for at, job in enumerate(jobs)}
    dooms = [fact.reason for fact in found.journal if isinstance(fact, AgentDoomed)]
    assert set(dooms) == {DoomReason.IMAGE}
    assert not [fact for fact in found.journal if isinstance(fact, JobEnded)]


# -- which images a pool allows --------------------------------------------------------------------------


def allowing(*images: str) -> PoolSpec:
    return PoolSpec(PoolName("a"), job_images=images)


@pytest.mark.parametrize(
    ("pattern", "image", "right"),
    [
        ("lab/torch:2.5", "lab/torch:2.5", True),
        ("lab/torch:2.5", "lab/torch:2.6", False),
        ("lab/torch:*", "lab/torch:2.6", True),
        ("lab/torch:*", "lab/torch", True),  # which is lab/torch:latest
        ("lab/torch", "lab/torch:latest", True),
        ("lab/torch", "lab/torch:2.5", False),
        ("lab/torch:2.5", "lab/torch:2.5.1", False),
        ("lab/*", "lab/deep/er:1", True),
        ("lab/*", "elsewhere/lab/torch:1", False),
        ("registry.lab:5000/torch", "registry.lab:5000/torch:latest", True),
        ("lab/t.rch:1", "lab/torch:1", False),
        ("*", "whatever", True),
        ("*:latest", "deadbeef1234", True),  # the name, not the id that begins so
        ("*", "sha256:deadbeef1234", False),
    ],
)
def test_a_pattern_is_an_images_name_in_which_a_star_is_any_characters(
    pattern: str, image: str, right: bool
) -> None:
    assert allows(allowing(pattern), image) is right


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        ("deadbeef1234", "deadbeef1234:latest"),
        ("registry.lab:5000/torch", "registry.lab:5000/torch:latest"),
        ("lab/torch:2.5", "lab/torch:2.5"),
        ("lab/torch@sha256:1f", "lab/torch@sha256:1f"),
    ],
)
def test_an_engine_is_asked_for_what_no_image_has_for_its_id(image: str, asked: str) -> None:
    assert tagged(image) == asked
    assert tagged(asked) == asked


def test_no_pool_allows_an_image_that_it_does_not_name() -> None:
    assert not allows(allowing(), "lab/torch:1")
    assert offers([allowing()]) == ""
    assert offers([allowing("lab/a", "lab/b:*")]) == "a: lab/a, lab/b:*"
