"""The loop by itself: its parts are real but for those who look at the Engine and work on it.

A story is a generator: it puts messages into the inbox and yields; the loop steps over them, and the story
goes on with what came of that. Nothing runs beside it, so what is asserted is what happened.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from mayfly.core.actions import Action, Open, Prepare
from mayfly.core.commands import (
    Caller,
    Command,
    CordonSlots,
    HoldJob,
    Payload,
    SubmitJob,
    UncordonSlots,
)
from mayfly.core.desire import ImageSeen, Survey
from mayfly.core.facts import Fact
from mayfly.core.gpus import Gpus
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    GATE_PROTOCOL,
    Config,
    Container,
    ContainerId,
    ContainerState,
    Continuity,
    Generation,
    HostId,
    HostSpec,
    JobId,
    PoolName,
    PoolSpec,
    SlotName,
)
from mayfly.core.observed import Observed
from mayfly.core.outcomes import Outcome, Result
from mayfly.core.quantities import parse_time
from mayfly.core.recording import Difference, Recorder, Recording, replayed
from mayfly.core.requests import ProbeIsolation
from mayfly.core.state import begin
from mayfly.core.stimuli import AgentStirred, OutputKept, WitnessesRead
from mayfly.edge.doors import Doors
from mayfly.edge.faults import Passing
from mayfly.edge.figures import Figures
from mayfly.edge.history import History
from mayfly.edge.log import Log
from mayfly.edge.witness import Witnesses
from mayfly.engines.protocol import StreamTurn
from mayfly.engines.simulated.engine import SimulatedEngine
from mayfly.providers.installed import load
from mayfly.service.board import StatusBoard
from mayfly.service.brake import AT_ONCE
from mayfly.service.bugs import bug
from mayfly.service.clock import Clock
from mayfly.service.command_handler import CommandHandler
from mayfly.service.configuration import Configuration
from mayfly.service.engine_observer import EngineSnapshot, HostSurvey, PollFailed
from mayfly.service.figures_writer import FiguresWriter
from mayfly.service.gpu_monitor import GpuMonitor
from mayfly.service.ledger import Ledger
from mayfly.service.loop import Loop, Parts
from mayfly.service.messages import Message, Stop
from mayfly.service.metrics import Metrics
from mayfly.service.pending_command import Answer, PendingCommand
from mayfly.service.perform import Done, Failed
from mayfly.service.report import Report
from mayfly.service.request_handler import RequestHandler
from mayfly.service.reservation_teller import ReservationTeller
from mayfly.service.services import Services
from mayfly.service.slurm_keeper import SlurmKeeper
from tests import replay

OURS = HostId("ours00000000")
ANN = Caller(1, 0, 0, "ann")
POOL = PoolSpec(PoolName("p"), slots=1, image="image", embedded=True)
SECRET = "kept-from-3b9d"
NOBODY = Generation("nobody0000000")
Story = Iterator[None]


class BrokenHistory(History):
    """A history whose disk may take nothing."""

    broken = False

    def commit(
        self,
        facts: Sequence[Fact],
        after: Memory,
        payloads: Mapping[JobId, Payload] | None = None,
        **more: Any,
    ) -> int:
        if self.broken:
            raise Passing("the disk is full")
        return super().commit(facts, after, payloads or {}, **more)


@dataclass
class Hands:
    """Who looks and works: it only remembers what it was asked for."""

    begun: list[Action] = field(default_factory=list)
    looks: int = 0

    def look(self) -> None:
        self.looks += 1

    def survey(self) -> None:
        self.looks += 1

    def probe(self, request: ProbeIsolation) -> None: ...

    def begin(self, action: Action, agent: Agent | None) -> None:
        self.begun.append(action)

    def use_providers(self, providers: object, images_of_agents: tuple[str, ...] = ()) -> None: ...


@dataclass
class Quiet:
    """Counts signs of life, and wants to know nothing else."""

    signs: int = 0

    def passed(self, sentence: str) -> None:
        self.signs += 1

    def reloading(self) -> None: ...


class Stage:
    """A loop, and what it works with."""

    def __init__(
        self,
        home: Path,
        kind: type[Services] = Services,
        board: type[StatusBoard] = StatusBoard,
    ) -> None:
        self.inbox: SimpleQueue[Message] = SimpleQueue()
        self.hands, self.told = Hands(), io.StringIO()
        self.history = BrokenHistory(home)
        self.board, self.witnesses = board(), Witnesses(home)
        config = Config(HostSpec("box", state_dir=str(home)), (POOL,))
        log, clock, metrics = Log(self.told), Clock(), Metrics(config)
        engine = SimulatedEngine()
        services = kind(lambda pool: load(pool, config.host, OURS, home), self.inbox.put)
        self.listener = Quiet()
        report = Report(self.board, log, metrics, self.listener, engine.lines)
        self.story: Story = iter(())
        self.ledger = Ledger(self.history, log)
        state = begin(OURS, "run1", config, self.ledger.load(), Gpus(), 0)
        self.engine, self.recording = engine, Recording(state)
        self.requests = RequestHandler(
            self.hands,
            self.witnesses,
            services,
            GpuMonitor(self.inbox.put, engine, clock.now),
            log,
            self.hands,
            self.hands,
            Doors(home),
            SlurmKeeper(self.inbox.put),
            ReservationTeller(engine, lambda _: None, lambda *_: None),
        )
        self.loop = Loop(
            state,
            Parts(
                inbox=self.inbox,
                ledger=self.ledger,
                requests=self.requests,
                workers=self.hands,
                commands=CommandHandler(
                    known_job=self.ledger.promised,
                    members=lambda _: {},
                    reread=lambda: config,
                    preview=services.preview,
                    judge=services.judge,
                ),
                configuration=Configuration(
                    lambda: config, services, self.hands, report, log, clock
                ),
                figures=FiguresWriter(Figures(home)),
                report=report,
                recorder=Recorder(services.judge, self.recording),
                clock=clock,
                cursor=self._on,
            ),
        )

    def _on(self) -> None:
        """The loop is about to take messages: the story goes on until its next yield."""
        try:
            next(self.story)
        except StopIteration:
            self.inbox.put(Stop())

    def play(self, story: Callable[[Stage], Story]) -> None:
        """Run the loop until the story is over."""
        self.story = story(self)
        self.loop.run()
        self.history.close()

    def look(self, *containers: Container, began: int = 0) -> None:
        """A look at the Engine comes in, and with it what the host offers."""
        survey = Survey(images={"image": ImageSeen("sha256:1", GATE_PROTOCOL)})
        self.inbox.put(HostSurvey(0, survey, self.engine.facts()))
        self.inbox.put(EngineSnapshot(began, containers))

    def nudge(self) -> None:
        """Something comes in that means nothing."""
        self.inbox.put(AgentStirred(NOBODY))

    def ready(self, action: Prepare) -> Container:
        """The agent is made, and stands at its gate."""
        self.witnesses.make(action.generation)
        (self.witnesses.path(action.generation) / "ready").write_text(f"{action.generation}\n")
        cid = ContainerId(f"c-{action.generation}")
        self.inbox.put(Done(action, container=cid))
        spec = action.spec
        return Container(
            id=cid,
            name=action.name,
            state=ContainerState.RUNNING,
            host=OURS,
            pool=spec.pool.name,
            slot=spec.name,
            generation=action.generation,
            fingerprint=spec.fingerprint,
            image=spec.image,
            created=0.0,
            sealed=True,
        )

    def command(self, command: Command) -> PendingCommand:
        pending = PendingCommand(command)
        self.inbox.put(pending)
        return pending

    def submit(self) -> PendingCommand:
        return self.command(SubmitJob(ANN, Payload(("true",), {"A": SECRET}), None, None))

    def shown(self) -> Mapping[str, Any]:
        published = self.board.read()
        assert published is not None
        return published.document

    def conditions(self) -> list[str]:
        return [line["code"] for line in self.shown()["health"]]

    def steps(self) -> int:
        return len(self.recording.document()["steps"])

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.told.getvalue().splitlines()]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_slot_is_filled_and_a_job_opens_its_gate_after_the_commit(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        (made,) = on.hands.begun
        assert isinstance(made, Prepare)
        on.ready(made)
        yield
        command = on.submit()
        yield
        opened = on.hands.begun[-1]
        assert isinstance(opened, Open)
        assert command.reply.get_nowait().status == 201
        assert on.history.load().agents[opened.generation].committed is not None

    stage.play(story)


def test_an_idle_loop_gives_signs_of_life_and_steps_over_nothing(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        (made,) = on.hands.begun
        assert isinstance(made, Prepare)
        container = on.ready(made)
        yield
        on.look(container, began=on.loop.state.results)
        yield
        on.nudge()
        yield
        signs, steps = on.listener.signs, on.steps()
        yield
        assert on.listener.signs == signs + 1
        assert on.steps() == steps
        on.nudge()
        yield
        assert on.steps() == steps + 1

    stage.play(story)


def test_what_the_disk_does_not_take_is_begun_only_once_it_does(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        (made,) = on.hands.begun
        assert isinstance(made, Prepare)
        on.ready(made)
        yield
        on.history.broken = True
        refused = on.submit()
        yield
        answer = refused.reply.get_nowait()
        assert (answer.status, answer.body["kind"]) == (503, "no_disk")
        assert on.loop.state.memory.jobs == {}
        assert on.hands.begun == [made]
        again = on.command(CordonSlots(ANN, (SlotName("p-0"),), None, ""))
        yield
        assert again.reply.get_nowait().status == 503
        assert on.loop.state.memory.slot(SlotName("p-0")).cordon is None
        on.history.broken = False
        cordoned = on.command(CordonSlots(ANN, (SlotName("p-0"),), None, ""))
        yield
        assert cordoned.reply.get_nowait().status == 200
        on.command(UncordonSlots(ANN, (SlotName("p-0"),)))
        accepted = on.submit()
        yield
        assert accepted.reply.get_nowait().status == 201
        assert isinstance(on.hands.begun[-1], Open)
        assert [name for name in on.events() if name.startswith("disk.")] == [
            "disk.lost",
            "disk.back",
        ]

    stage.play(story)


class AtOnce(SimpleQueue[Answer]):
    """Whoever is answered looks at the published state in that moment."""

    def __init__(self, board: StatusBoard) -> None:
        super().__init__()
        self.board, self.seen = board, dict[str, Any]()

    def put(self, item: Answer, block: bool = True, timeout: float | None = None) -> None:
        published = self.board.read()
        assert published is not None
        self.seen = dict(published.document)


def test_who_is_answered_sees_what_came_of_it(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        first, second = AtOnce(on.board), AtOnce(on.board)
        on.inbox.put(PendingCommand(CordonSlots(ANN, (SlotName("p-0"),), None, "disk"), first))
        yield
        assert first.seen["slots"][0]["cordoned"]["note"] == "disk"
        on.history.broken = True
        on.inbox.put(PendingCommand(UncordonSlots(ANN, (SlotName("p-0"),)), second))
        yield
        assert "disk.refused" in [line["code"] for line in second.seen["health"]]

    stage.play(story)


def test_who_holds_and_takes_that_back_without_end_is_told_to_wait(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        by = replace(ANN, uid=1000, operator=False)
        made = on.command(SubmitJob(by, Payload(("true",), {}), None, None))
        yield
        job = JobId(str(made.reply.get_nowait().body["job"]))

        def held(seconds: float) -> PendingCommand:
            return on.command(HoldJob(by, job, is_slot=False, seconds=seconds))

        asked = [held(60.0 + at // 2) for at in range(2 * (AT_ONCE + 1))]
        yield
        statuses = [one.reply.get_nowait().status for one in asked]
        assert statuses == [200] * 2 * AT_ONCE + [429, 429], (
            "what changes nothing counts for nothing"
        )

    stage.play(story)


def test_a_witness_that_cannot_be_read_is_told_once_until_it_was_read(stage: Stage) -> None:
    place = stage.witnesses.path(NOBODY)
    observed = Observed(OURS)
    for _ in range(3):
        place.write_text("no directory")
        read = stage.requests.read([NOBODY], observed)
        observed = observed.witnessed(read.found, read.unreadable, 1.0)
        assert stage.requests.read([NOBODY], observed).unreadable == {NOBODY}
        place.unlink()
        read = stage.requests.read([NOBODY], observed)
        observed = observed.witnessed(read.found, read.unreadable, 2.0)
    assert stage.events() == ["witness.unreadable"] * 3


def test_a_disk_that_takes_again_is_known_though_nobody_asks(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        on.history.broken = True
        refused = on.submit()
        yield
        assert refused.reply.get_nowait().status == 503
        assert "disk.refused" in on.conditions()
        on.history.broken = False
        while "disk.refused" in on.conditions():
            yield
        assert on.events()[-1] == "disk.back"

    stage.play(story)


@pytest.mark.parametrize("copied", [False, True])
def test_a_state_file_that_is_taken_away_is_told_and_nothing_is_taken_until_it_is_back(
    stage: Stage, copied: bool
) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        path = on.history.path
        away = path.rename(path.with_name("away"))
        if copied:
            path.write_bytes(
                away.read_bytes()
            )  # what is written to the old one is lost all the same
        while "disk.refused" not in on.conditions():
            yield
        published = on.board.read()
        assert published is not None
        document: Mapping[str, Any] = published.document
        (line,) = [one for one in document["health"] if one["code"] == "disk.refused"]
        assert "moved or removed under the manager" in line["text"]
        assert line["fix"] == "sudo systemctl restart mayfly"
        refused = on.submit()
        yield
        assert refused.reply.get_nowait().status == 503
        away.rename(path)
        while "disk.refused" in on.conditions():
            yield
        accepted = on.submit()
        yield
        assert accepted.reply.get_nowait().status == 201

    stage.play(story)


def test_what_came_of_actions_is_recorded_once_the_disk_is_back(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        (made,) = on.hands.begun
        assert isinstance(made, Prepare)
        on.history.broken = True
        on.ready(made)
        yield
        assert on.loop.state.memory.agents[made.generation].armed is None
        on.history.broken = False
        # Somebody waits, so the disk is tried at once.
        command = on.command(CordonSlots(ANN, (SlotName("p-0"),), None, ""))
        yield
        assert command.reply.get_nowait().status == 200
        assert on.loop.state.memory.agents[made.generation].armed is not None

    stage.play(story)


def test_a_look_that_an_action_overtook_makes_nobody_seem_gone(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        (made,) = on.hands.begun
        assert isinstance(made, Prepare)
        before = on.loop.state.results
        container = on.ready(made)
        yield
        on.look(began=before)  # it began before the container was there
        yield
        agent = on.loop.state.memory.agents[made.generation]
        assert not agent.settled
        seen = (on.loop.state.observed.world.containers or {})[made.generation]
        assert (seen.id, seen.live) == (container.id, True)
        on.inbox.put(OutputKept(made.generation))
        on.look(began=on.loop.state.results)  # this one is newer than all that was done
        yield
        assert on.loop.state.memory.agents[made.generation].settled

    stage.play(story)


def test_a_worker_in_which_a_bug_struck_rests_its_subject_and_is_told(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        (made,) = on.hands.begun
        on.inbox.put(bug("prepare of p-0", RuntimeError("a bug")))
        on.inbox.put(Failed(made, Passing("RuntimeError: a bug", 10.0)))
        yield
        assert on.loop.state.in_flight.get(made.subject) is not made
        assert on.loop.state.memory.agents[Generation(made.subject)].settled
        published = on.board.read()
        assert published is not None
        health: Any = published.document["health"]
        assert "manager.bug" in [line["code"] for line in health]
        assert {"loop.failed", "action.failed"} <= set(on.events())

    stage.play(story)


def test_what_comes_in_with_a_stop_is_recorded_and_nothing_is_begun(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        (made,) = on.hands.begun
        assert isinstance(made, Prepare)
        on.inbox.put(Stop())
        on.ready(made)
        command = on.submit()
        yield
        raise AssertionError(f"it went on after a stop: {command}")

    stage.play(story)
    (made,) = stage.hands.begun
    assert stage.loop.state.memory.agents[Generation(made.subject)].armed is not None
    assert len(stage.loop.state.memory.jobs) == 1


def test_a_failed_commit_in_a_stop_does_not_keep_the_manager(stage: Stage) -> None:
    def story(on: Stage) -> Story:
        on.look()
        yield
        (made,) = on.hands.begun
        assert isinstance(made, Prepare)
        on.history.broken = True
        on.ready(made)
        on.inbox.put(Stop())
        yield
        raise AssertionError("it went on after a stop")

    stage.play(story)
    (made,) = stage.hands.begun
    assert stage.loop.state.memory.agents[Generation(made.subject)].armed is None


def chaos(on: Stage) -> Story:
    """A job is run, the disk fails, the Engine is lost and comes back restarted, and its word is late."""
    on.look()
    yield
    (made,) = on.hands.begun
    assert isinstance(made, Prepare)
    container = on.ready(made)
    yield
    on.submit()
    yield
    opened = on.hands.begun[-1]
    assert isinstance(opened, Open)
    (on.witnesses.path(made.generation) / "opened").write_text("1800000000.0\n")
    on.inbox.put(Done(opened))
    on.history.broken = True
    yield
    on.command(CordonSlots(ANN, (SlotName("p-0"),), None, ""))
    yield
    on.history.broken = False
    on.command(CordonSlots(ANN, (SlotName("p-0"),), None, ""))
    on.inbox.put(PollFailed(1, Passing("it does not answer")))
    on.inbox.put(StreamTurn(False, Continuity.UNKNOWN, "it went"))
    yield
    on.inbox.put(StreamTurn(True, Continuity.RESTARTED, ""))
    on.look(container, began=on.loop.state.results)
    yield
    (on.witnesses.path(made.generation) / "exit").write_text("7 0\n")
    on.inbox.put(AgentStirred(made.generation))
    on.command(UncordonSlots(ANN, (SlotName("p-0"),)))
    yield
    on.look(began=on.loop.state.results)
    yield


def recorded(stage: Stage) -> dict[str, Any]:
    stage.play(chaos)
    document: dict[str, Any] = json.loads(json.dumps(stage.recording.document()))
    return document


def test_a_chaotic_run_is_told_again_to_the_same_facts(stage: Stage) -> None:
    document = recorded(stage)
    found: list[Difference] = []
    steps, facts = replayed(document, found.append)
    assert found == []
    assert steps > 10
    kinds = {fact["is"] for step in document["steps"] for fact in step.get("facts", ())}
    assert {"AgentOpened", "AgentExited", "JobEnded", "SlotCordoned", "AgentCreated"} <= kinds
    assert facts > 10
    # What the job was given is nowhere in it.
    assert SECRET not in json.dumps(document)


def test_a_replay_says_what_differs_and_exits_with_1(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, file = recorded(stage), tmp_path / "report.json"
    file.write_text(json.dumps({"schema": "mayfly.bugreport/1", "recording": document}))
    assert replay.main([str(file)]) == 0
    changed = next(step for step in document["steps"] if step.get("facts"))
    changed["facts"] = changed["facts"][1:]
    file.write_text(json.dumps({"schema": "mayfly.bugreport/1", "recording": document}))
    capsys.readouterr()
    assert replay.main([str(file)]) == 1
    assert "recorded something else" in capsys.readouterr().out


def test_a_recording_keeps_the_last_stimuli_and_the_state_that_they_begin_at(
    stage: Stage,
) -> None:
    short = Recording(stage.loop.state, kept=8)
    recorder, state = Recorder(lambda *_: Outcome(Result.UNKNOWN), short), stage.loop.state
    for second in range(40):
        stimuli = (AgentStirred(NOBODY), WitnessesRead({}))
        step = recorder.step(state, stimuli, 1.0 + second)
        state = recorder.keep(stimuli, 1.0 + second, step, recorded=True)
    document = json.loads(json.dumps(short.document()))
    assert 4 <= 2 * len(document["steps"]) <= 8
    found: list[Difference] = []
    replayed(document, found.append)
    assert found == []


class BrokenServices(Services):
    """Their answers are more than what is made of them can stand."""

    def token_ends(self, config: Config) -> dict[PoolName, float]:
        raise OverflowError("a date of the year 20000")


def test_conditions_that_cannot_be_made_are_told_as_a_bug_and_the_others_are_shown(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, kind=BrokenServices)

    def story(on: Stage) -> Story:
        on.look()
        yield
        on.history.broken = True
        refused = on.submit()
        yield
        assert refused.reply.get_nowait().status == 503
        on.nudge()
        yield
        assert {"disk.refused", "manager.bug"} <= {*on.conditions()}
        assert on.events().count("loop.failed") == 1

    stage.play(story)


class BrokenBoard(StatusBoard):
    """What is published once is more than it can stand."""

    broken = False

    def publish(self, document: Mapping[str, object]) -> int:
        if self.broken:
            raise ValueError("year 0 is out of range")
        return super().publish(document)


def test_a_state_that_cannot_be_shown_ends_no_loop(tmp_path: Path) -> None:
    stage = Stage(tmp_path, board=BrokenBoard)
    board = stage.board
    assert isinstance(board, BrokenBoard)

    def story(on: Stage) -> Story:
        on.look()
        yield
        board.broken = True
        command = on.command(CordonSlots(ANN, (SlotName("p-0"),), None, "disk"))
        yield
        assert command.reply.get_nowait().status == 200
        assert on.events().count("loop.failed") == 1
        board.broken = False
        on.nudge()
        yield
        assert on.shown()["slots"][0]["cordoned"]["note"] == "disk"
        assert "manager.bug" in on.conditions()

    stage.play(story)


@pytest.mark.parametrize("until", [parse_time("9999-12-31T23:59:59Z") + 3600, 1e300, -1e300])
def test_a_state_on_disk_with_a_time_that_no_calendar_has_is_loaded_and_shown(
    tmp_path: Path, until: float
) -> None:
    def cordon(on: Stage) -> Story:
        on.look()
        yield
        on.command(CordonSlots(ANN, (SlotName("p-0"),), until, "for ever"))
        yield
        assert "manager.bug" not in on.conditions()

    def later(on: Stage) -> Story:
        on.look()
        yield
        assert "manager.bug" not in on.conditions()
        (slot,) = on.shown()["slots"]
        if until > 0:
            assert slot["cordoned"]["until"] == "9999-12-31T23:59:59.000Z"

    Stage(tmp_path).play(cordon)
    Stage(tmp_path).play(later)
