"""What is missing of an agent's output is told where it is missing, and what is there is kept once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.core.throttle import MIB, Allowance
from mayfly.edge.gate import frame, words
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.output import (
    BRAKED,
    SKIPPED,
    UNBEGUN,
    UNREAD,
    OutputKeeper,
)
from mayfly.engines.kubernetes.output_brake import OutputBrake
from mayfly.engines.protocol import OutputListener
from tests.engine.contract import World
from tests.fakes.kubernetes import FakeCluster, stamp
from tests.waiting import Until

Make = Callable[[FakeCluster], KubernetesEngine]


@pytest.fixture
def world(fake: FakeCluster, engine_of: Make, tmp_path: Path) -> Iterator[World]:
    made = World(engine_of(fake), tmp_path / "state")
    yield made
    made.close()


class Kept:
    """A keeper, and whether what it follows has ended."""

    def __init__(self, world: World, place: Path) -> None:
        self.ended = threading.Event()
        listener = OutputListener(
            rung=lambda _: None,
            ended=lambda _: self.ended.set(),
            line=lambda *_: None,
            failed=lambda what, error: pytest.fail(f"{what}: {error}"),
            printed=lambda *_: None,
        )
        made = world.engine.output(
            place, listener, per_agent=1 << 23, total=1 << 25, log_size=1 << 20
        )
        assert isinstance(made, OutputKeeper)
        self.keeper = made
        self.keeper.start()

    def text(self, generation: str) -> str:
        chunks = self.keeper.read(generation, follow=False)  # type: ignore[arg-type]
        return "".join(
            f"[{chunk.data.decode()}]" if chunk.stream == 0 else chunk.data.decode()
            for chunk in chunks
        )


@pytest.fixture
def kept(world: World, tmp_path: Path) -> Iterator[Callable[[], Kept]]:
    """What makes another keeper of the same directory, once the one before is closed."""
    made: list[Kept] = []

    def another() -> Kept:
        for one in made:
            one.keeper.close()
        made.append(Kept(world, tmp_path / "output"))
        return made[-1]

    yield another
    for one in made:
        one.keeper.close()


def job(script: str) -> dict[str, bytes]:
    return {"job.argv": words(["sh", "-c", script]), "job.env": words([])}


def opened(world: World, until: Until, script: str, keeper: OutputKeeper) -> str:
    plan = world.plan()
    container = world.started(plan, until)
    keeper.follow(plan.generation, container)
    world.engine.open(plan.generation, container, frame(plan.generation, job(script)))
    return plan.generation


def container_of(fake: FakeCluster, generation: str) -> str:
    about = fake.pod(generation).document["metadata"]
    return f"{about['name']}@{about['uid']}"


def test_what_a_node_threw_away_while_nobody_read_is_told_where_it_is_missing(
    fake: FakeCluster, world: World, until: Until, kept: Callable[[], Kept]
) -> None:
    first = kept()
    generation = opened(world, until, "echo one; sleep 600", first.keeper)
    until(lambda: "one\n" in first.text(generation))
    later = kept()
    pod = fake.pod(generation)
    pod.log.clear()  # as where it turned: not even what was read last is there
    pod.say(b"three\n")
    later.keeper.follow(generation, container_of(fake, generation))  # type: ignore[arg-type]
    until(lambda: "three" in later.text(generation))
    assert later.text(generation) == f"one\n[{SKIPPED}]three\n"


def test_a_keeper_that_goes_on_repeats_nothing_and_misses_nothing(
    fake: FakeCluster, world: World, until: Until, kept: Callable[[], Kept]
) -> None:
    first = kept()
    generation = opened(world, until, "echo one; sleep 600", first.keeper)
    until(lambda: "one\n" in first.text(generation))
    later = kept()
    fake.pod(generation).say(b"two\n")
    later.keeper.follow(generation, container_of(fake, generation))  # type: ignore[arg-type]
    until(lambda: "two" in later.text(generation))
    assert later.text(generation) == "one\ntwo\n"


def test_an_account_is_no_output_either_of_an_agent_that_stood_at_its_gate_before(
    fake: FakeCluster, world: World, until: Until, kept: Callable[[], Kept]
) -> None:
    first = kept()
    plan = world.plan()
    container = world.started(plan, until)
    first.keeper.follow(plan.generation, container)
    place = first.keeper._store.path(plan.generation)
    until(lambda: place.exists() and b"at gate" in place.read_bytes())
    later = kept()
    later.keeper.follow(plan.generation, container)
    fake.between = lambda: later.ended.wait(30)  # its job is over before its pod is protected
    world.engine.open(plan.generation, container, frame(plan.generation, job("printf one")))
    assert later.ended.wait(30)
    assert fake.pod(plan.generation).key
    assert later.text(plan.generation) == "one"


def test_a_log_that_breaks_off_in_a_line_repeats_nothing_of_it(
    fake: FakeCluster, world: World, until: Until, kept: Callable[[], Kept]
) -> None:
    one = kept()
    fake.fails("BREAK", "/log", 0, "")
    generation = opened(world, until, "echo one; echo broken here; sleep 600", one.keeper)
    until(lambda: "here\n" in one.text(generation))
    assert one.text(generation) == "one\nbroken here\n"


def test_a_log_that_its_node_has_not_any_more_is_told(
    fake: FakeCluster, world: World, until: Until, kept: Callable[[], Kept]
) -> None:
    one = kept()
    generation = opened(world, until, "echo one; sleep 600", one.keeper)
    until(lambda: "one\n" in one.text(generation))
    later = kept()
    fake.pod(generation).end(0)
    fake.fails("UNAVAILABLE", "/log", 0, "")
    later.keeper.follow(generation, container_of(fake, generation))  # type: ignore[arg-type]
    assert later.ended.wait(30)
    assert later.text(generation) == f"one\n[{UNREAD}]"


def test_why_an_agent_did_not_come_to_its_gate_is_its_whole_output(
    fake: FakeCluster, world: World, until: Until, kept: Callable[[], Kept]
) -> None:
    one = kept()
    plan = world.plan()
    container = world.started(plan, until)
    pod = fake.pod(plan.generation)
    pod.log.clear()
    pod.say(b"mayfly: the image has no user nobody\n")
    pod.end(70, died="the image has no user nobody")
    one.keeper.follow(plan.generation, container)
    assert one.ended.wait(30)
    assert one.text(plan.generation) == "mayfly: the image has no user nobody\n"


def test_a_beginning_that_is_gone_is_told(
    fake: FakeCluster, world: World, until: Until, kept: Callable[[], Kept]
) -> None:
    one = kept()
    plan = world.plan()
    container = world.started(plan, until)
    pod = fake.pod(plan.generation)
    pod.log.clear()
    pod.say(b"the middle\n")
    pod.end(1)
    one.keeper.follow(plan.generation, container)
    assert one.ended.wait(30)
    assert one.text(plan.generation) == f"[{UNBEGUN}]the middle\n"


class Hand:
    """A clock that goes on as a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def carried(brake: OutputBrake, hand: Hand, slots: list[str], seconds: float) -> int:
    """Bytes that are read in that time of slots that print without end."""
    free, total = dict.fromkeys(slots, hand.now), 0
    end = hand.now + seconds
    while (slot := min(free, key=lambda one: free[one])) and free[slot] < end:
        hand.now = max(hand.now, free[slot])
        total += MIB
        free[slot] = hand.now + max(0.001, brake.read(slot, 0, MIB))
    hand.now = end
    return total


@pytest.mark.parametrize("number", [1, 2, 8, 64])
def test_however_many_flood_what_is_read_of_all_is_bounded(number: int) -> None:
    """As on a box: 16 MiB of each at once, and 2 MiB a second of each of two."""
    hand = Hand()
    brake = OutputBrake(hand)
    slots = [f"a-{index}" for index in range(number)]
    assert carried(brake, hand, slots, 10.0) <= number * 20 * MIB + 10 * 4 * MIB
    assert carried(brake, hand, slots, 60.0) <= 70 * 4 * MIB + number * 3 * MIB


def test_a_slots_next_agent_takes_over_what_the_last_one_owes() -> None:
    hand = Hand()
    brake = OutputBrake(hand)
    assert brake.read("a-0", 0, 16 * MIB) == 0.0
    brake.forget("a-0")
    assert brake.read("a-0", 0, MIB) > 0.0
    assert brake.read("a-1", 0, 8 * MIB) == 0.0
    hand.now = 600.0
    assert brake.read("a-0", 0, 16 * MIB) == 0.0


LINES = 3_000  # of 1,000 bytes: six times what is read at once here
KIB = 1024


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Allowance:
    """An allowance that is used up soon."""
    one = Allowance(rate=128 * KIB, slowed=128 * KIB, burst=512 * KIB, room=128 * KIB)
    monkeypatch.setattr("mayfly.engines.kubernetes.output_brake.OUTPUT", one)
    return one


def flooded(fake: FakeCluster, generation: str, lines: int = LINES) -> None:
    pod = fake.pod(generation)
    at = stamp()[:-1].encode()
    pod.log += [b"%s.%09dZ %06d %s\n" % (at, one, one, b"x" * 993) for one in range(lines)]
    fake.ring()


def test_a_flood_is_read_slowly_and_another_agents_output_at_once(
    fake: FakeCluster, world: World, until: Until, kept: Callable[[], Kept], small: Allowance
) -> None:
    one = kept()
    generation = opened(world, until, "sleep 600", one.keeper)
    other = opened(world, until, "sleep 600", one.keeper)
    flooded(fake, generation)
    until(lambda: BRAKED in one.text(generation))
    fake.pod(other).say(b"quick\n")
    until(lambda: "quick" in one.text(other))
    followed = one.keeper._followed[fake.pod(generation).generation]  # type: ignore[index]
    assert followed.braked < LINES * 1160 / small.rate, "it is still at it"
    assert f"{LINES - 1:06d}" not in one.text(generation)


@pytest.mark.usefixtures("small")
def test_of_a_flood_that_has_ended_its_end_is_kept_and_what_is_not_is_told(
    fake: FakeCluster,
    world: World,
    until: Until,
    kept: Callable[[], Kept],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mayfly.engines.kubernetes.output.ENDED_AFTER", 1.0)
    monkeypatch.setattr("mayfly.engines.kubernetes.output.TAIL", 10)
    one = kept()
    generation = opened(world, until, "sleep 600", one.keeper)
    flooded(fake, generation)
    until(lambda: BRAKED in one.text(generation))
    fake.pod(generation).say(b"the last line\n")
    fake.pod(generation).end(3)
    assert one.ended.wait(60)
    text = one.text(generation)
    assert text.endswith("the last line\n")
    assert f"[{SKIPPED}]" in text
    assert f"{LINES - 1:06d}" in text
    assert f"{LINES - 100:06d}" not in text


@pytest.mark.usefixtures("small")
def test_a_file_of_a_log_that_turned_while_a_flood_was_read_is_told(
    fake: FakeCluster, world: World, until: Until, kept: Callable[[], Kept]
) -> None:
    """A node goes on in the file that it has open, and then in the newest, without a word."""
    one = kept()
    generation = opened(world, until, "sleep 600", one.keeper)
    flooded(fake, generation, 600)
    pod = fake.pod(generation)
    ages = time.time() - 60
    early = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ages)).encode()
    pod.log[-1] = early + b".000000001Z an old line\n"
    pod.say(b"a young one\n")
    until(lambda: "a young one" in one.text(generation))
    assert f"an old line\n[{SKIPPED}]a young one\n" in one.text(generation)
