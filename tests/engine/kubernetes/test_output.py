"""What is missing of an agent's output is told where it is missing, and what is there is kept once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.edge.gate import frame, words
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.output import SKIPPED, UNBEGUN, UNREAD, OutputKeeper
from mayfly.engines.protocol import OutputListener
from tests.engine.contract import World
from tests.fakes.kubernetes import FakeCluster
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
            place, listener, per_agent=1 << 20, total=1 << 22, log_size=1 << 20
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
