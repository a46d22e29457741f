"""The Engine's events as a bell, and what its short memory tells after a pause."""

from __future__ import annotations

import json
import signal
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from mayfly.core.model import Continuity
from mayfly.engines.docker import events
from mayfly.engines.docker.engine import DockerEngine as Engine
from mayfly.engines.docker.values import Replay
from mayfly.engines.protocol import EngineEvent, EventCursor, StreamTurn
from tests.engine.inspecting import inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engine.agents import Agents
    from tests.engine.private_engine import PrivateEngine


class Heard:
    """What a follower rang and told, in order."""

    def __init__(self, engine: Engine, mark: EventCursor | None = None) -> None:
        self.events: SimpleQueue[EngineEvent] = SimpleQueue()
        self.turns: SimpleQueue[StreamTurn] = SimpleQueue()
        self.all: list[EngineEvent] = []
        self.follower = engine.watch(self._ring, self.turns.put, cursor=mark)

    def _ring(self, event: EngineEvent) -> None:
        self.all.append(event)
        self.events.put(event)

    def next(self, action: str, cid: str | None = None) -> EngineEvent:
        """The next event of that kind, of that container."""
        while True:
            event = self.events.get(timeout=20)
            if event.action == action and cid in (None, event.id):
                return event

    def turn(self) -> StreamTurn:
        """The next turn of the stream."""
        return self.turns.get(timeout=30)


@pytest.fixture
def heard(private_agents: Agents) -> Iterator[Heard]:
    it = Heard(private_agents.engine)
    assert it.turn().up
    yield it
    it.follower.stop()


def flood(engine: PrivateEngine, agents: Agents, count: int) -> None:
    """Events that are nobody's: a foreign container, renamed to and fro."""
    cid = engine.docker("create", "debian:bookworm-slim", "true")
    for number in range(count):
        agents.engine.rename(cid, f"{agents.host}-foreign-{number}")  # type: ignore[arg-type]
    engine.docker("rm", cid)


def test_an_agents_life_rings_with_its_names_and_its_exit_code(
    heard: Heard, private_agents: Agents
) -> None:
    cid, generation = private_agents.run("exit 7", network="none")
    for action in ("create", "start", "die"):
        event = heard.next(action, cid)
        assert event.generation == generation
        assert event.host == private_agents.host
        assert event.slot == "pool-1"
    assert event.exit_code == 7
    private_agents.engine.remove(cid)
    assert heard.next("destroy", cid).exit_code is None


@pytest.mark.parametrize(
    "label", ["²", "9" * 5000, "-", "1"], ids=["other digits", "many digits", "no digit", "a digit"]
)
def test_an_images_label_called_as_the_exit_code_keeps_no_event_back(
    heard: Heard, private_agents: Agents, label: str
) -> None:
    labels = {**private_agents.plan("").labels, "exitCode": label}  # the Engine shows it instead
    cid, _ = private_agents.run("exit 7", network="none", labels=labels)
    assert heard.next("die", cid).exit_code in (None, 1)
    second, _ = private_agents.run("exit 4", network="none")
    assert heard.next("die", second).exit_code == 4


def test_strangers_and_probes_do_not_ring(
    heard: Heard, private_agents: Agents, private_engine: PrivateEngine
) -> None:
    cid, _ = private_agents.run("exec sleep 300", network="none")
    flood(private_engine, private_agents, 5)
    private_agents.engine.exec_probe(cid, ("true",), 10)
    private_engine.docker("tag", "debian:bookworm-slim", "rung:1")
    heard.next("tag")
    host = private_agents.host
    rung = [
        event for event in heard.all if event.kind == "container" and event.host in (host, None)
    ]
    assert [(event.id, event.action) for event in rung] == [(cid, "create"), (cid, "start")]
    private_engine.docker("rmi", "rung:1")
    heard.next("untag")


def test_processes_that_are_killed_for_memory_ring_nobody(
    heard: Heard, private_agents: Agents, private_engine: PrivateEngine
) -> None:
    script = "for n in 1 2 3; do head -c 64M /dev/zero | tail; done; exit 3"
    cid, _ = private_agents.run(script, network="none", memory=16 << 20)
    assert heard.next("die", cid).exit_code == 3
    assert [event.action for event in heard.all if event.id == cid] == ["create", "start", "die"]
    now = private_engine.docker("info", "-f", "{{.SystemTime}}")
    known = ("events", "--since", "0", "--until", now, "--filter", f"container={cid}")
    assert "oom" in private_engine.docker(*known, "--format", "{{.Action}}").split()


def test_the_follower_comes_back_and_says_that_the_engine_was_restarted(
    heard: Heard, private_agents: Agents, private_engine: PrivateEngine
) -> None:
    cid, _ = private_agents.run("exec sleep 300", network="none")
    heard.next("start", cid)
    for how in (signal.SIGTERM, signal.SIGKILL):
        private_engine.restart(how)
        down, up = heard.turn(), heard.turn()
        assert (down.up, up.up) == (False, True)
        assert up.continuity is Continuity.RESTARTED
        private_agents.engine.rename(cid, f"{private_agents.host}-{how.name}")
        heard.next("rename", cid)


def test_a_follower_stopped_while_the_engine_is_down_ends(private_engine: PrivateEngine) -> None:
    it = Heard(Engine(private_engine.url))
    it.turn()
    private_engine.stop()
    assert not it.turn().up
    it.follower.stop()
    private_engine.start()


def test_every_event_rings_once_also_over_a_manager_restart(
    heard: Heard, private_agents: Agents
) -> None:
    cid, _ = private_agents.run("exit 3", network="none")
    heard.next("die", cid)
    mark = heard.follower.cursor
    second, _ = private_agents.run("exit 4", network="none")
    heard.next("die", second)
    later = Heard(private_agents.engine, mark)
    try:
        assert later.turn().continuity is Continuity.SAME
        assert later.next("die").exit_code == 4
        keys = [(event.time_nano, event.id, event.action) for event in later.all]
        assert len(keys) == len(set(keys))
        assert cid not in {event.id for event in later.all}
    finally:
        later.follower.stop()


def test_a_death_among_300_foreign_events_is_rung_to_who_listens(
    heard: Heard, private_agents: Agents, private_engine: PrivateEngine
) -> None:
    cid, _ = private_agents.run("read -r _; exit 6", network="none")
    with private_agents.engine.attach_stdin(cid) as gate:
        gate.send(b"\n")
    flood(private_engine, private_agents, 300)
    assert heard.next("die", cid).exit_code == 6


def replay(engine: Engine, cursor: EventCursor | None) -> Replay:
    return events.replay(engine.base_url, cursor, timeout=engine.timeout)


def test_the_memory_tells_the_same_engine_from_a_new_one_and_says_when_it_cannot(
    private_agents: Agents, private_engine: PrivateEngine
) -> None:
    engine = private_agents.engine
    private_engine.restart()
    private_agents.run("exit 0", network="none")
    mark = replay(engine, None).cursor
    assert replay(engine, None).continuity is Continuity.UNKNOWN
    assert mark is not None

    flood(private_engine, private_agents, 200)
    same = replay(engine, mark)
    assert same.continuity is Continuity.SAME
    flood(private_engine, private_agents, 300)
    assert replay(engine, mark).continuity is Continuity.UNKNOWN
    assert replay(engine, same.cursor).continuity is Continuity.UNKNOWN

    mark = replay(engine, None).cursor
    private_engine.restart(signal.SIGKILL)
    assert replay(engine, mark).continuity is Continuity.RESTARTED
    cid, _ = private_agents.run("exit 0", network="none")
    after = replay(engine, mark)
    assert after.continuity is Continuity.RESTARTED
    assert cid in {event.id for event in after.events}


def test_a_clock_that_was_set_back_makes_the_answer_unknown(private_agents: Agents) -> None:
    ahead = EventCursor(2**62, "x", "start")
    assert replay(private_agents.engine, ahead).continuity is Continuity.UNKNOWN


@pytest.mark.parametrize("private_engine", [{"live_restore": False}], indirect=True)
def test_without_live_restore_the_deaths_of_an_engine_stop_are_rung_before_it_is_lost(
    private_engine: PrivateEngine,
    heard: Heard,
    private_agents: Agents,
    until: Callable[..., object],
) -> None:
    cid, _ = private_agents.run("exec sleep 300", network="none")
    heard.next("start", cid)
    # An init that has not come to its child yet does not hear the signal.
    sleeps = ("sh", "-c", "grep -qx sleep /proc/[0-9]*/comm")
    until(lambda: private_agents.engine.exec_probe(cid, sleeps, 10)[0] == 0)
    restarted = threading.Thread(target=private_engine.restart)
    restarted.start()
    assert heard.next("die", cid).exit_code == 143
    assert not heard.turn().up
    assert heard.turn().continuity is Continuity.RESTARTED
    restarted.join()
    seen = inspect(private_agents.engine, cid)
    assert seen is not None
    assert seen.exit_code == 143


def test_the_marks_survive_json() -> None:
    mark = EventCursor(1, "a", "die")
    assert EventCursor(*json.loads(json.dumps([mark.time_nano, mark.id, mark.action]))) == mark
