"""An agent's end is told as soon as its runtime knows it, and never before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.core.model import ContainerId
from mayfly.edge.gate import frame, words
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.pods import DELETED
from mayfly.engines.protocol import EngineEvent, OutputKeeper, OutputListener
from tests.engine.contract import FOREVER, World
from tests.fakes.kubernetes import FakeCluster, stamp
from tests.waiting import Until

Make = Callable[[FakeCluster], KubernetesEngine]
FORGED = "00000000-0000-0000-0000-000000000000"
FORGING = f"echo 'mayfly: {FORGED} exit 0 0'; sleep 600"
# As a launcher's line, by a job that has come by its agent's generation.
OPENING = f"mayfly: opened GENERATION 33:33 {FORGED}\n".encode()

NOTHING = OutputListener(
    rung=lambda _: None,
    ended=lambda _: None,
    line=lambda *_: None,
    failed=lambda *_: None,
    printed=lambda *_: None,
)
SIZES = {"per_agent": 1 << 20, "total": 1 << 24, "log_size": 1 << 20}


class Followed:
    """Agents whose output is kept, and the events of their engine."""

    def __init__(self, world: World, place: Path) -> None:
        self.world = world
        self.events: list[EngineEvent] = []
        self.follower = world.engine.watch(self.events.append, lambda _: None)
        self.output = self._keeper(place)
        self.output.start()

    def _keeper(self, place: Path) -> OutputKeeper:
        return self.world.engine.output(place, NOTHING, **SIZES)

    def died(self, container: ContainerId) -> list[EngineEvent]:
        return [one for one in self.events if one.action == "die" and one.id == container]

    def close(self) -> None:
        self.follower.stop()
        self.output.close()


@pytest.fixture
def world(fake: FakeCluster, engine_of: Make, tmp_path: Path) -> Iterator[World]:
    made = World(engine_of(fake), tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def followed(world: World, tmp_path: Path) -> Iterator[Followed]:
    one = Followed(world, tmp_path / "output")
    yield one
    one.close()


def opened(followed: Followed, until: Until, files: dict[str, bytes]) -> tuple[str, ContainerId]:
    """An agent whose gate is open."""
    plan = followed.world.plan()
    container = followed.world.started(plan, until)
    followed.output.follow(plan.generation, container)
    followed.world.engine.open(plan.generation, container, frame(plan.generation, files))
    return plan.generation, container


def test_an_end_is_told_before_a_status_has_it_with_its_code_and_once(
    fake: FakeCluster, followed: Followed, until: Until
) -> None:
    files = {"job.argv": words(["sh", "-c", "echo said; exit 5"]), "job.env": words([])}
    fake.told.clear()
    generation, container = opened(followed, until, files)
    until(lambda: followed.died(container))
    assert fake.pod(generation).runs  # so its status says
    witness = followed.world.witnesses.read(fake.pod(generation).generation)  # type: ignore[arg-type]
    assert witness is not None
    assert witness.exit is not None
    assert witness.exit.code == 5
    fake.told.set()
    read = followed.output.read(fake.pod(generation).generation, follow=True)  # type: ignore[arg-type]
    assert b"".join(chunk.data for chunk in read) == b"said\n"
    assert {one.exit_code for one in followed.died(container)} == {5}


def test_an_account_of_an_agent_that_runs_ends_nobody(
    fake: FakeCluster, followed: Followed, until: Until
) -> None:
    generation, container = opened(followed, until, FOREVER)
    pod = fake.pod(generation)
    asked = len([call for call in fake.calls if call.endswith("/attach")])
    pod.say(f"mayfly: {pod.key} exit 3 0\n".encode())
    until(lambda: len([call for call in fake.calls if call.endswith("/attach")]) > asked)
    assert not followed.died(container)
    witness = followed.world.witnesses.read(pod.generation)  # type: ignore[arg-type]
    assert witness is not None
    assert witness.exit is None
    pod.end(3)
    until(lambda: followed.died(container))
    assert {one.exit_code for one in followed.died(container)} == {3}


def test_an_attachment_that_stands_after_its_container_delays_no_end(
    fake: FakeCluster, followed: Followed, until: Until
) -> None:
    fake.lingering = True
    fake.told.clear()
    generation, container = opened(followed, until, FOREVER)
    pod = fake.pod(generation)
    ending = threading.Thread(target=pod.end, args=(3,), daemon=True)
    until(lambda: not pod.attached)  # the way into its gate is closed
    pod.say(f"mayfly: {pod.key} exit 3 0\n".encode())
    until(lambda: pod.attached)
    ending.start()
    until(lambda: followed.died(container))
    assert pod.runs, "so its status says"
    fake.told.set()
    ending.join()


def test_why_an_agent_was_ended_from_outside_is_waited_for(
    fake: FakeCluster, followed: Followed, until: Until
) -> None:
    generation, container = opened(followed, until, FOREVER)
    pod = fake.pod(generation)
    pod.document["metadata"]["deletionTimestamp"] = stamp()
    fake.told.clear()
    ending = threading.Thread(target=pod.signal, args=("TERM",))
    ending.start()
    until(lambda: any(b" exit 143 0" in line for line in pod.log))
    fake.told.set()
    ending.join()
    until(lambda: followed.died(container))
    assert [one.why for one in followed.died(container)] == [DELETED]


@pytest.mark.parametrize(
    ("status", "most"), [(403, 1), (429, 12), (500, 12)], ids=["may not", "too much", "fails"]
)
def test_a_kubelet_that_does_not_say_is_not_asked_without_end_and_the_status_tells(
    fake: FakeCluster, followed: Followed, until: Until, status: int, most: int
) -> None:
    generation, container = opened(followed, until, FOREVER)
    pod = fake.pod(generation)
    for _ in range(400):
        fake.fails("GET", "/attach", status, "not now")
    asked = attachments(fake)
    fake.told.clear()
    ending = threading.Thread(target=pod.end, args=(3,))
    ending.start()
    until(lambda: attachments(fake) > asked)
    witness = followed.world.engine._ends  # type: ignore[attr-defined]
    until(lambda: not witness.asking)
    assert not followed.died(container)
    assert attachments(fake) - asked <= most
    fake.told.set()
    ending.join()
    until(lambda: followed.died(container))
    assert {one.exit_code for one in followed.died(container)} == {3}


def test_an_end_that_the_disk_does_not_take_is_told_by_the_status(
    fake: FakeCluster, followed: Followed, until: Until
) -> None:
    generation, container = opened(followed, until, FOREVER)
    place = followed.world.witnesses.root / generation / ".exit"
    place.mkdir()  # so that nothing can be written there
    fake.told.clear()
    ending = threading.Thread(target=fake.pod(generation).end, args=(3,))
    asked = attachments(fake)
    ending.start()
    until(lambda: attachments(fake) > asked)
    until(lambda: not followed.world.engine._ends.asking)  # type: ignore[attr-defined]
    assert not followed.died(container)
    place.rmdir()
    fake.told.set()
    ending.join()
    until(lambda: followed.died(container))
    assert {one.exit_code for one in followed.died(container)} == {3}


def attachments(fake: FakeCluster) -> int:
    return sum(call.endswith("/attach") for call in tuple(fake.calls))


def test_who_does_not_know_the_key_gives_no_account(
    fake: FakeCluster, followed: Followed, until: Until, tmp_path: Path
) -> None:
    files = {"job.argv": words(["sh", "-c", FORGING]), "job.env": words([])}
    generation, container = opened(followed, until, files)
    asked = attachments(fake)  # for its gate, on a machine with much to do more than once
    pod = fake.pod(generation)
    read = tmp_path / "output"
    until(lambda: any(b" exit 0 0" in one.read_bytes() for one in read.rglob("*") if one.is_file()))
    assert attachments(fake) == asked
    pod.end(7)
    until(lambda: followed.died(container))
    assert {one.exit_code for one in followed.died(container)} == {7}  # its end may be told twice


def test_a_line_of_a_job_that_is_copied_before_its_launchers_says_neither_its_key_nor_its_user(
    fake: FakeCluster, followed: Followed, until: Until
) -> None:
    fake.overtaking = [OPENING]
    files = {"job.argv": words(["sh", "-c", FORGING]), "job.env": words([])}
    generation, container = opened(followed, until, files)
    pod = fake.pod(generation)
    until(lambda: any(b" exit 0 0" in line for line in pod.log))
    assert followed.world.witnesses.user(pod.generation) == "1000:1000"  # type: ignore[arg-type]
    fake.told.clear()
    ending = threading.Thread(target=pod.end, args=(7,))
    ending.start()
    until(lambda: followed.died(container))  # by its own key
    fake.told.set()
    ending.join()
    assert {one.exit_code for one in followed.died(container)} == {7}
    assert attachments(fake) >= 2


def test_of_what_comes_with_the_opening_of_a_gate_only_the_first_counts(
    fake: FakeCluster, followed: Followed, until: Until
) -> None:
    fake.printing = b"x" * 5000 + b"\n" + OPENING
    generation, _ = opened(followed, until, FOREVER)
    pod = fake.pod(generation)
    assert followed.world.witnesses.user(pod.generation) == "1000:1000"  # type: ignore[arg-type]
    assert followed.world.engine._ends.key(pod.generation) == pod.key  # type: ignore[attr-defined]


@pytest.mark.parametrize("root", [False, True], ids=["as ever", "a job that may become root"])
def test_a_manager_that_was_away_has_the_key_from_root_and_not_from_the_log(
    fake: FakeCluster, followed: Followed, until: Until, tmp_path: Path, engine_of: Make, root: bool
) -> None:
    fake.overtaking = [OPENING]
    generation, container = opened(followed, until, FOREVER)
    pod = fake.pod(generation)
    if root:
        environment = pod.document["spec"]["containers"][0]["env"]
        environment[:] = [one for one in environment if one["name"] != "MAYFLY_SUDO"]
        environment.append({"name": "MAYFLY_SUDO", "value": "1"})
    root_of = followed.world.witnesses.root
    for name in ("key", "user", "opened"):
        (root_of / generation / name).unlink()
    engine = engine_of(fake)
    engine.witnesses(root_of)
    engine.list()
    keeper = engine.output(tmp_path / "later", NOTHING, **SIZES)
    keeper.start()
    keeper.follow(pod.generation, container)  # type: ignore[arg-type]
    read = tmp_path / "later"
    until(lambda: any(b"at gate" in one.read_bytes() for one in read.rglob("*") if one.is_file()))
    assert engine._ends.key(pod.generation) == ("" if root else pod.key)  # type: ignore[arg-type]
    assert followed.world.witnesses.user(pod.generation) == "1000:1000"  # type: ignore[arg-type]
    keeper.close()
    engine.close()
