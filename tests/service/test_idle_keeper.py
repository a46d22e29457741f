"""The idle keeper closes gates, runs a real command, and opens them again; what a dead one left, too."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.apply import apply
from mayfly.core.command_effects import effects
from mayfly.core.command_result import Situation
from mayfly.core.facts import (
    Fact,
    HostClosing,
    HostKept,
    HostPausing,
    HostReturned,
    JobSubmitted,
    event_name,
)
from mayfly.core.host_closing import is_closed
from mayfly.core.host_hours import Hours, Moment
from mayfly.core.idle_episodes import Stage
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.idleness import Kind, Reason
from mayfly.core.memory import Agent, Job, Memory
from mayfly.core.model import (
    Config,
    ContainerId,
    Generation,
    HostId,
    HostSpec,
    JobId,
    Phase,
    PoolName,
    SlotName,
    World,
)
from mayfly.core.observed import Observed
from mayfly.core.state import State
from mayfly.edge.history_of_host import IdleRecord, Kept
from mayfly.edge.moments import moment
from mayfly.service import idle_keeper
from mayfly.service.idle_keeper import IdleKeeper, Outside
from mayfly.service.pending_command import PendingCommand
from tests.core.simulator import desire, pool, specs
from tests.fakes.http import Answer, Call, Fake, Fault

Until = Callable[[Callable[[], Any]], Any]
POOL = pool("cpu")


class Box:
    """A loop without an Engine: commands are judged as they are, and their facts are remembered."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home = home
        self.log = home / "ran"
        given = {"after": 0.05, "logins": None, "command": self.script("exit 0"), **settings}
        self.host = HostSpec("box", state_dir=str(home), idle=IdleSettings(**given))
        self.memory = Memory()
        self.facts: list[Fact] = []
        self.answers = True  # commands
        self.refused = 0  # commands that were not answered so
        self.vetoes: tuple[Reason, ...] = ()
        self.clock = moment
        self.keeper = self.keep()

    def script(self, then: str) -> tuple[str, ...]:
        """Notes that it was run, and with what, and then does that."""
        told = 'echo "$MAYFLY_HOST ${MAYFLY_IDLE_SECONDS:+timed} $MAYFLY_IDLE_TEST"'
        return ("/bin/sh", "-c", f"{told} >> {self.log}; {then}")

    def keep(self) -> IdleKeeper:
        own = idle_keeper.OUTSIDE
        outside = Outside(
            lambda settings, call: (*self.vetoes, *own.vetoes(settings, call)),
            moment=self.now,
        )
        return IdleKeeper(self.host, self.state, self.take, outside, look=0.01)

    def now(self) -> Moment:
        return self.clock()

    def state(self) -> State:
        return State(
            HostId("h"), "r", Config(self.host, (POOL,)), self.memory,
            Observed(HostId("h"), World({})), 0, desired=desire(specs(POOL)),
        )  # fmt: skip

    def take(self, pending: PendingCommand) -> None:
        if not self.answers:
            self.refused += 1
            pending.answer(503, {"error": "the disk is full"})
            return
        state = self.state()
        at = Situation(state.config, state.desired, self.memory, time.time())
        result = effects(pending.command, at)
        self.record(*result.facts)
        pending.answer(result.status, result.body)

    def record(self, *facts: Fact) -> None:
        before, self.memory = self.memory, apply(self.memory, facts)
        self.facts += facts
        self.keeper.recorded(facts, before)

    @property
    def told(self) -> list[str]:
        return [name for fact in self.facts if (name := event_name(fact)).startswith("host.")]

    @property
    def runs(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    @property
    def stage(self) -> object:
        return self.keeper.document().get("stage")

    def codes(self) -> list[str]:
        return [condition.code for condition in self.keeper.conditions()]


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Callable[..., Box]]:
    made: list[Box] = []

    def one(**settings: Any) -> Box:
        made.append(Box(tmp_path, **settings))
        return made[-1]

    yield one
    for box in made:
        box.keeper.stop()
        box.keeper._thread.join(10.0)


def test_an_idle_host_is_closed_paused_and_awaited(boxes: Callable[..., Box], until: Until) -> None:
    box = boxes()
    box.keeper.start()
    until(lambda: box.stage == Stage.AWAITED)
    assert box.log.read_text() == "box timed \n"
    assert box.told == ["host.closing", "host.pausing"]
    assert is_closed(box.memory)
    assert box.codes() == ["idle.closed"]
    assert box.keeper.conditions()[0].fix == "mayfly idle"


def test_a_command_that_fails_opens_the_gates_and_its_words_are_a_condition(
    boxes: Callable[..., Box], until: Until
) -> None:
    box = boxes(command=())
    box.host = replace(
        box.host,
        idle=IdleSettings(after=0.05, logins=None, command=box.script("echo no quota; exit 4")),
    )
    box.keeper = box.keep()
    box.keeper.start()
    until(lambda: box.codes() == ["idle.failing"])
    until(lambda: not is_closed(box.memory))
    assert "ended with 4: no quota; again in" in box.keeper.conditions()[0].text
    assert box.told == ["host.closing", "host.pausing", "host.kept"]
    kept = box.facts[-2]
    assert isinstance(kept, HostKept)
    assert "no quota" in kept.reason
    document = box.keeper.document()
    assert (document["tries"], document["stayed"]) == (1, False)
    assert document["idle_since"] is not None


def test_a_disk_that_does_not_take_how_far_it_is_has_nothing_run(
    boxes: Callable[..., Box], until: Until, tmp_path: Path
) -> None:
    box = boxes()
    (tmp_path / "idle.db").mkdir()
    box.keeper.start()
    until(lambda: box.codes() == ["idle.failing"])
    until(lambda: not is_closed(box.memory))
    assert box.runs == 0


def test_gates_that_could_not_be_opened_are_opened_as_soon_as_they_can(
    boxes: Callable[..., Box], until: Until
) -> None:
    box = boxes(gone_within=0.2)
    box.keeper.start()
    until(lambda: box.stage == Stage.AWAITED)
    box.answers = False
    until(lambda: box.stage == Stage.WATCHING)
    assert is_closed(box.memory)
    box.answers = True
    until(lambda: not is_closed(box.memory))
    assert box.codes() == ["idle.stayed"]
    assert box.runs == 1


def test_a_job_that_comes_while_gates_are_closed_has_them_opened(
    boxes: Callable[..., Box], until: Until
) -> None:
    box = boxes()
    standing = Agent(
        Generation("g"), SlotName("cpu-0"), PoolName("cpu"), 1, "f", "i", (), 1.0,
        container=ContainerId("c"), ready=2.0,
    )  # fmt: skip
    box.memory = Memory(agents={standing.generation: standing})
    box.keeper.start()
    until(lambda: box.stage == Stage.CLOSING)
    until(lambda: box.keeper.document()["still_open"])
    box.record(JobSubmitted(time.time(), Job(JobId("j1"), PoolName("cpu"), 1, time.time())))
    until(lambda: not is_closed(box.memory))
    kept = [fact.reason for fact in box.facts if isinstance(fact, HostKept)]
    assert kept == ["job j1 is queued in pool cpu"]
    assert box.runs == 0


def test_a_veto_is_shown_and_keeps_the_host_up(boxes: Callable[..., Box], until: Until) -> None:
    box = boxes(veto=("/bin/sh", "-c", "echo 'training until noon'; exit 1"))
    box.keeper.start()
    until(lambda: box.keeper.document().get("vetoes"))
    assert box.keeper.document()["vetoes"] == [
        {"kind": "kept", "text": "the veto command /bin/sh ended with 1: training until noon"}
    ]
    assert (box.told, box.codes()) == ([], [])


def test_a_veto_command_that_cannot_be_asked_is_no_leave(
    boxes: Callable[..., Box], until: Until
) -> None:
    box = boxes(veto=("/no/such/program",))
    box.keeper.start()
    until(lambda: box.keeper.document().get("vetoes"))
    vetoes: Any = box.keeper.document()["vetoes"]
    assert [veto["kind"] for veto in vetoes] == [Kind.UNKNOWN]
    assert box.told == []


def test_a_suspended_host_is_seen_to_be_back_by_its_clocks(
    boxes: Callable[..., Box], until: Until
) -> None:
    box = boxes()
    box.keeper.start()
    until(lambda: box.stage == Stage.AWAITED)
    slept = 3600.0

    def woken() -> Moment:
        now = moment()
        return replace(now, wall=now.wall + slept, since_boot=now.since_boot + slept)

    box.clock = woken
    until(lambda: any(isinstance(fact, HostReturned) for fact in box.facts))
    (returned,) = [fact for fact in box.facts if isinstance(fact, HostReturned)]
    assert returned.how == "suspended"
    assert returned.seconds == pytest.approx(slept, abs=5)
    until(lambda: box.runs == 2)  # idle for as long again
    away = box.keeper.document()["away"]
    assert isinstance(away, dict)
    assert away["how"] == "suspended"
    hours = box.keeper.seconds()
    assert hours is not None
    assert hours.away == pytest.approx(slept, abs=5)


def test_agents_of_services_that_lived_through_a_suspension_are_replaced(
    boxes: Callable[..., Box], until: Until
) -> None:
    box = boxes(after=3600.0)

    def opened(name: str, **more: Any) -> Agent:
        return Agent(
            Generation(name), SlotName("cpu-0"), PoolName("cpu"), 1, "f", "i", (), 1.0,
            **{"embedded": False, "opened": 2.0, "confirmed": Phase.IDLE, **more},
        )  # fmt: skip

    idle, busy = opened("idle"), opened("busy", confirmed=Phase.BUSY)
    box.memory = Memory(agents={one.generation: one for one in (idle, busy)})
    box.keeper.start()
    until(lambda: box.stage == Stage.WATCHING)
    box.clock = lambda: replace(now := moment(), since_boot=now.since_boot + 60.0)
    until(lambda: box.memory.agents[idle.generation].doom)
    assert box.memory.agents[busy.generation].doom is None
    assert box.told == ["host.returned"]


@pytest.mark.parametrize("stage", [Stage.CLOSING, Stage.PAUSING, Stage.AWAITED])
def test_what_a_dead_manager_has_closed_is_opened_by_the_next(
    boxes: Callable[..., Box], until: Until, stage: Stage
) -> None:
    box = boxes()
    box.keeper.start()
    until(lambda: box.stage == Stage.AWAITED)
    box.keeper.stop()
    box.keeper._thread.join(10.0)
    last = IdleRecord(box.home).kept()
    assert last is not None
    assert (last.stage, last.paused_at > 0) == ("awaited", True)
    then = replace(last.moment, boot="the one before", wall=time.time() - 7200)
    IdleRecord(box.home).keep(Kept(then, str(stage), last.paused_at), {}, 0.0)
    box.host = replace(box.host, idle=replace(box.host.idle, after=3600.0))  # type: ignore[type-var]
    box.keeper = box.keep()
    box.keeper.start()
    until(lambda: not is_closed(box.memory))
    (returned,) = [fact for fact in box.facts if isinstance(fact, HostReturned)]
    assert returned.how == "restarted"
    until(lambda: box.stage == Stage.WATCHING)
    assert box.runs == 1
    assert sum(box.keeper.hours(0.0, time.time()).values(), Hours()).away == returned.seconds


@pytest.mark.parametrize("stage", [Stage.PAUSING, Stage.AWAITED])
def test_a_manager_that_starts_again_while_its_host_is_to_go_keeps_gates_closed_and_lets_go_in_time(
    boxes: Callable[..., Box], until: Until, stage: Stage
) -> None:
    box = boxes()
    box.keeper.start()
    until(lambda: box.stage == Stage.AWAITED)
    box.keeper.stop()
    box.keeper._thread.join(10.0)
    last = IdleRecord(box.home).kept()
    assert last is not None
    IdleRecord(box.home).keep(Kept(last.moment, str(stage), last.paused_at), {}, 0.0)
    box.keeper = box.keep()
    box.keeper.start()
    until(lambda: box.stage == Stage.AWAITED)
    assert is_closed(box.memory)
    assert box.codes() == ["idle.closed"]
    assert box.told == ["host.closing", "host.pausing"]
    box.keeper.stop()
    box.keeper._thread.join(10.0)
    box.host = replace(box.host, idle=replace(box.host.idle, gone_within=0.01))  # type: ignore[type-var]
    box.keeper = box.keep()
    box.keeper.start()
    until(lambda: not is_closed(box.memory))
    assert box.told == ["host.closing", "host.pausing", "host.kept"]


def test_without_the_table_what_was_closed_for_it_is_opened_and_nothing_is_kept(
    boxes: Callable[..., Box], until: Until
) -> None:
    box = boxes()
    box.keeper.start()
    until(lambda: box.stage == Stage.AWAITED)
    box.keeper.stop()
    box.keeper._thread.join(10.0)
    box.host = replace(box.host, idle=None)
    box.keeper = box.keep()
    box.answers = False
    box.keeper.start()
    until(lambda: box.refused)
    assert is_closed(box.memory)
    box.answers = True
    until(lambda: not is_closed(box.memory))
    told = json.loads(json.dumps(box.keeper.document()))
    assert told == {"schema": "mayfly.idle/1", "configured": False}
    assert box.keeper.seconds() is None
    box.facts.clear()
    again = box.keep()
    again.start()
    assert box.facts == []


class Hook(Fake):
    def __init__(self) -> None:
        super().__init__()
        self.route("POST", "/pause", lambda _: Answer(202))


def test_a_webhook_gets_who_and_how_long(
    boxes: Callable[..., Box], until: Until, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("a-token-of-some-length\n")
    (tmp_path / "token").chmod(0o600)
    with Hook() as hook:
        box = boxes(
            command=(), webhook=f"{hook.url}/pause", token={"file": str(tmp_path / "token")}
        )
        box.keeper.start()
        until(lambda: box.stage == Stage.AWAITED)
        (call,) = hook.calls
    assert isinstance(call, Call)
    assert call.headers["authorization"] == "Bearer a-token-of-some-length"
    assert call.json["schema"] == "mayfly.idle_host/1"
    assert (call.json["host"], call.json["test"]) == ("box", False)
    assert call.json.keys() == {
        *("schema", "host", "idle_since", "idle_seconds", "test", "wanted_at")
    }


def test_a_webhook_that_refuses_is_told_without_its_address(
    boxes: Callable[..., Box], until: Until, tmp_path: Path
) -> None:
    secret = tmp_path / "hook"
    with Hook() as hook:
        secret.write_text(f"{hook.url}/pause?SECRET=1\n")
        secret.chmod(0o600)
        hook.fail("POST", "/pause", Fault(status=403, times=None))
        box = boxes(command=(), webhook={"file": str(secret)})
        box.keeper.start()
        until(lambda: box.codes() == ["idle.failing"])
    text = box.keeper.conditions()[0].text
    assert "403" in text
    assert "SECRET" not in text
    assert "SECRET" not in json.dumps(box.keeper.document())
    assert [type(fact) for fact in box.facts[:1]] == [HostClosing]
    assert any(isinstance(fact, HostPausing) for fact in box.facts)
