"""Persons beside a job: bytes go both ways, each end costs the other nothing, and each is recorded."""

from __future__ import annotations

import email
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.attaching import (
    FRAME_MAX,
    PROTOCOL,
    End,
    Frame,
    Frames,
    Kind,
    Size,
    end_in,
    framed,
    size_frame,
)
from mayfly.core.commands import AttachAgent, Command, DetachAgent
from mayfly.core.memory import Agent, Visit
from mayfly.core.model import Generation, PoolName, SlotName
from mayfly.edge.faults import Passing
from mayfly.service.attachments import BOUNDS, BOUNDS_OF_USERS, BURST, RATE
from mayfly.service.pending_command import Answer
from tests.service.conftest import Ask, connect
from tests.service.let_in import LetIn
from tests.service.standin import StandIn
from tests.waiting import Until

SERVED = Agent(
    *(Generation("g"), SlotName("local-0"), PoolName("local"), 1, "f", "i", (), 0.0), opened=1.0
)
OURS = BOUNDS.of_root if os.getuid() == 0 else BOUNDS.of_one


class Person:
    """One who is let in over the real socket."""

    def __init__(self, path: Path, to: str = "jobs/j1", **body: Any) -> None:
        self.socket = connect(path)
        self.socket.settimeout(30)
        said = json.dumps(body).encode()
        head = f"POST /v1/{to}/attach HTTP/1.1\r\nHost: mayfly\r\nConnection: Upgrade\r\n"
        head += f"Upgrade: {PROTOCOL}\r\nContent-Length: {len(said)}\r\n\r\n"
        self.socket.sendall(head.encode() + said)
        # Byte by byte: what comes behind the head may be a frame already.
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        first, _, fields = answer.decode().partition("\r\n")
        headers = email.message_from_string(fields)
        self.status = int(first.split()[1])
        self.protocol = headers.get("Upgrade")
        self.told: Any = None
        if self.status != 101:
            with self.socket.makefile("rb") as rest:
                self.told = json.loads(rest.read(int(headers["Content-Length"])))
        self._frames = Frames()
        self._seen: list[Frame] = []

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self) -> Frame | None:
        """The next frame; ``None`` where no more come."""
        while not self._seen:
            data = self.socket.recv(65536)
            if not data:
                return None
            self._seen += self._frames.feed(data)
        return self._seen.pop(0)

    def end(self) -> tuple[bytes, End]:
        """All that is printed until the end, and that."""
        printed = b""
        while (frame := self.hear()) is not None:
            if frame.kind is Kind.END:
                return printed, end_in(frame)
            printed += frame.data
        raise AssertionError(f"broken off after {printed!r}")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., LetIn]]:
    """``make(idle=3600)``: a manager whose agent has a job."""
    made: list[LetIn] = []

    def one(idle: float = 3600.0, beginning: float = 15.0) -> LetIn:
        made.append(LetIn(tmp_path, idle, beginning))
        return made[-1]

    yield one
    for inside in made:
        inside.manager.close()


@pytest.fixture
def door(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_what_is_said_goes_in_and_what_comes_out_is_heard_and_the_end_has_its_code(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make()
    person = Person(door, argv=["cat", "-"])
    assert (person.status, person.protocol) == (101, PROTOCOL)
    person.say(framed(Kind.INPUT, b"hello"))
    assert person.hear() == Frame(Kind.OUT, b"hello")
    person.say(framed(Kind.INPUT))
    assert person.end() == (b"", End(0))
    (execution,) = inside.executions
    assert execution.user == "1000:1000"
    assert execution.argv[:2] == ("/bin/sh", "/opt/mayfly/attach")
    assert execution.argv[3:] == ("-", "", "cat", "-")
    assert execution.marks == {execution.argv[2]}
    until(lambda: inside.left == ["its process ended"], 30)


def test_what_came_with_the_way_to_it_is_handed_on_before_anything_else_comes(
    make: Callable[..., LetIn], door: Path
) -> None:
    """As a shell's prompt may have: its connection shows nothing more until somebody types."""
    inside = make()
    inside.engine.ahead = b"$ "
    person = Person(door)
    assert person.hear() == Frame(Kind.OUT, b"$ ")
    person.say(framed(Kind.INPUT, b"hello"))
    assert person.hear() == Frame(Kind.OUT, b"hello")


def test_a_terminal_has_a_size_and_a_type_and_may_get_another_size(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make()
    person = Person(door, "slots/local-0", rows=24, columns=80, term="xterm-256color")
    (execution,) = inside.executions
    assert execution.argv[3:] == ("24x80", "xterm-256color")
    person.say(size_frame(Size(50, 132)))
    until(lambda: execution.sizes == [(50, 132)], 30)
    person.socket.close()
    until(lambda: inside.left == ["the client went away"], 30)
    assert execution.exit_code() == 137, "what it started is ended"


def test_much_goes_through_whole_though_nobody_reads_for_a_while(
    make: Callable[..., LetIn], door: Path
) -> None:
    make()
    person = Person(door)
    sent = os.urandom(FRAME_MAX) * 30
    person.socket.setblocking(False)
    left = memoryview(framed(Kind.INPUT, sent) + framed(Kind.INPUT))
    with suppress(BlockingIOError):
        while left:  # until nobody takes more: what is said back is not read
            left = left[person.socket.send(left) :]
    assert left, "it holds as much as it is sent"
    person.socket.settimeout(30)
    heard = b""
    while left or len(heard) < len(sent):
        if left:
            with suppress(BlockingIOError):
                person.socket.setblocking(False)
                left = left[person.socket.send(left) :]
        person.socket.settimeout(30)
        frame = person.hear()
        assert frame is not None
        heard += frame.data
    assert heard == sent
    assert person.end() == (b"", End(0))


def test_sizes_without_end_are_not_all_told_and_the_last_is(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make()
    person = Person(door, rows=24, columns=80, term="xterm")
    (execution,) = inside.executions
    person.say(b"".join(size_frame(Size(1 + n % 500, 80)) for n in range(5000)))
    person.say(size_frame(Size(777, 80)))
    until(lambda: execution.sizes[-1:] == [(777, 80)], 30)
    assert len(execution.sizes) < 1000


def test_what_goes_through_has_a_rate(make: Callable[..., LetIn], door: Path) -> None:
    make()
    began = time.monotonic()
    person = Person(door)
    data = framed(Kind.INPUT, bytes(FRAME_MAX)) * 160  # 10 MiB, which come back
    sender = threading.Thread(target=person.socket.sendall, args=(data,))
    sender.start()
    heard = 0
    while heard < 160 * FRAME_MAX:
        frame = person.hear()
        assert frame is not None
        heard += len(frame.data)
        passed = time.monotonic() - began
        # What is heard has come twice: from the client, and from the process.
        assert heard <= RATE * (passed + BURST) / 2 + 2 * FRAME_MAX
    sender.join()
    person.say(framed(Kind.INPUT))
    assert person.end() == (b"", End(0))


def test_the_jobs_end_is_told_and_nothing_is_left_to_end(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make()
    person = Person(door)
    inside.engine.ends(inside.plan.generation)
    assert person.end() == (b"", End(137, "the job has ended, and this with it"))
    until(lambda: inside.left == ["the job ended"], 30)
    assert "exec_probe" not in inside.engine.calls


def test_a_manager_that_stops_says_so_ends_what_was_started_and_hands_over_what_is_to_be_recorded(
    make: Callable[..., LetIn], door: Path
) -> None:
    inside = make()
    person = Person(door)
    told = inside.attachments.stop()
    assert [(one.generation, one.reason) for one in told] == [
        (inside.plan.generation, "the manager stops")
    ]
    sentence = "the manager stops; the job goes on: attach again when it is back"
    assert person.end() == (b"", End(None, sentence))
    assert inside.executions[0].exit_code() == 137
    assert inside.left == [], "the loop, which has ended, is not asked"


def test_one_where_nothing_moves_is_ended(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make(idle=0.2)
    _, end = Person(door).end()
    assert end.exit_code is None
    assert end.sentence.startswith("nothing was typed or printed for 0s")
    until(lambda: inside.executions[0].exit_code() == 137, 30)


def test_what_the_engine_does_not_come_to_starting_is_given_up(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make(beginning=0.2)
    inside.engine.begins = False
    _, end = Person(door).end()
    assert end.exit_code is None
    assert "has not begun it within 0.2 s, and the job goes on: attach again" in end.sentence
    until(lambda: inside.left == [end.sentence])
    inside.engine.begins = True
    person = Person(door)
    person.say(framed(Kind.INPUT, b"hello"))
    assert person.hear() == Frame(Kind.OUT, b"hello"), "its place is free"


def test_what_prints_nothing_for_longer_than_a_beginning_takes_goes_on(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make(beginning=0.0)
    person = Person(door)
    until(lambda: inside.executions[0].looked_at > 0)
    person.say(framed(Kind.INPUT, b"hello"))
    assert person.hear() == Frame(Kind.OUT, b"hello")
    assert inside.executions[0].looked_at == 1, "and is looked at once"


def test_one_of_which_the_engine_does_not_say_whether_it_has_begun_goes_on(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make(beginning=0.0)
    inside.engine.begins = None
    person = Person(door)
    until(lambda: inside.executions[0].looked_at > 2)
    person.say(framed(Kind.INPUT, b"hello"))
    assert person.hear() == Frame(Kind.OUT, b"hello")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        framed(Kind.OUT, b"x"),
        framed(Kind.SIZE, b"\0\0\0\0"),
        b"\xff" * 99,
    ],
)
def test_what_is_no_frame_of_a_client_ends_it_and_that_alone(
    make: Callable[..., LetIn], door: Path, until: Until, sent: bytes
) -> None:
    inside = make()
    person = Person(door)
    person.say(sent)
    assert person.end() == (b"", End(None, "what the client sent is not understood"))
    until(lambda: inside.left == ["what the client sent is not understood"], 30)
    assert Person(door).status == 101


def test_what_comes_behind_the_request_at_once_is_not_lost(
    make: Callable[..., LetIn], door: Path
) -> None:
    make()
    head = "POST /v1/jobs/j1/attach HTTP/1.1\r\nHost: m\r\nConnection: keep-alive, upgrade\r\n"
    head += f"Upgrade: {PROTOCOL}\r\n\r\n"
    with connect(door) as connection:
        connection.sendall(head.encode() + framed(Kind.INPUT, b"early") + framed(Kind.INPUT))
        received = b""
        while part := connection.recv(65536):
            received += part
    answer, _, rest = received.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert next(frame.data for frame in Frames().feed(rest)) == b"early"


def test_there_are_so_many_of_one_user_and_a_place_is_given_back(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make()
    persons = [Person(door) for _ in range(OURS)]
    refused = Person(door)
    assert (refused.status, refused.told["kind"]) == (503, "busy")
    assert "are open already" in refused.told["error"]
    persons[0].socket.close()
    until(lambda: len(inside.left) == 1, 30)
    assert Person(door).status == 101
    assert BOUNDS_OF_USERS.all <= BOUNDS.all, "users cannot have the operators' places"


def test_one_who_is_refused_by_the_loop_takes_no_place_and_starts_nothing(
    make: Callable[..., LetIn], door: Path
) -> None:
    inside = make()
    for _ in range(OURS + 1):
        person = Person(door, "jobs/j9")
        assert (person.status, person.told["kind"]) == (404, "no_such_job")
    assert inside.executions == []


def test_an_agent_whose_launcher_has_not_said_as_whom_its_job_runs_lets_nobody_in(
    make: Callable[..., LetIn], door: Path
) -> None:
    inside = make()
    for text in (None, "0:0\n", "1000:0\n", "1000\n", "root\n", "1000:1000\nx\n"):
        (inside.witness / "user").unlink()
        if text is not None:
            (inside.witness / "user").write_text(text)
        else:
            (inside.witness / "user").symlink_to("/etc/passwd")
        person = Person(door)
        assert (person.status, person.told["kind"]) == (409, "refused")
        assert "mayfly images build" in person.told["error"]
    assert inside.executions == []
    assert len(inside.left) == 6, "that one was to be let in is recorded, and that nobody was"


def test_an_engine_that_does_not_start_it_is_told_and_the_place_is_free(
    make: Callable[..., LetIn], door: Path
) -> None:
    inside = make()
    inside.engine.fails("execute", *(Passing("running /bin/sh: no room") for _ in range(OURS + 1)))
    for _ in range(OURS + 1):
        person = Person(door)
        assert (person.status, person.told["error"]) == (503, "running /bin/sh: no room")
    person = Person(door)
    assert person.status == 101
    assert inside.left == ["running /bin/sh: no room"] * (OURS + 1)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"rows": 24}, "a terminal has rows and columns: give both, or neither"),
        ({"rows": 0, "columns": 80}, "rows must be a whole number between 1 and 1000"),
        ({"rows": True, "columns": 80}, "rows must be a whole number between 1 and 1000"),
        ({"term": "x; id"}, "term must be a terminal's type, such as xterm-256color"),
        ({"argv": []}, "argv must be a list of texts, the command first"),
        ({"command": ["id"]}, "the body has no 'command'; there are argv, rows, columns, term"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(
    make: Callable[..., LetIn], door: Path, body: dict[str, Any], told: str
) -> None:
    inside = make()
    person = Person(door, **body)
    assert (person.status, person.told["error"]) == (400, told)
    assert inside.executions == []


def test_one_who_does_not_ask_for_the_protocol_is_told_which(
    make: Callable[..., LetIn], door: Path, manager: StandIn, ask: Ask
) -> None:
    answer = ask("POST", "/v1/jobs/j1/attach", {})
    assert (answer.status, answer.json["kind"]) == (426, "upgrade")
    assert answer.headers["Upgrade"] == PROTOCOL
    assert manager.commands == []


def test_who_was_let_in_is_recorded_before_anything_is_started(
    make: Callable[..., LetIn], door: Path
) -> None:
    inside = make()
    Person(door).socket.close()
    first, *_ = inside.manager.commands
    assert isinstance(first, AttachAgent)
    assert (first.to, first.is_slot, first.by.uid) == ("j1", False, os.getuid())


def test_nobody_is_in_a_held_container_before_its_room_is_closed_to_them(
    make: Callable[..., LetIn], door: Path
) -> None:
    inside = make()
    answered = inside.answer

    def held(command: Command) -> Answer:
        answer = answered(command)
        return replace(answer, body={**answer.body, "held": True, "job": "j1"})

    inside.answer = held
    assert Person(door, argv=["cat", "-"]).status == 101
    calls = list(inside.engine.calls)
    assert calls.index("exec_probe") < calls.index("execute")
    assert inside.engine.probes[0] == ("/bin/chmod", "0700", "/run/mayfly")


def test_a_job_that_is_frozen_for_what_it_prints_lets_one_in_when_it_runs_and_is_left_then(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make()
    inside.throttled = True
    inside.engine.freeze(inside.container)
    calls = inside.engine.calls
    entered: list[Person] = []
    entering = threading.Thread(target=lambda: entered.append(Person(door)))
    entering.start()
    until(lambda: "execute" in calls, 30)
    inside.engine.thaw(inside.container)
    entering.join()
    (person,) = entered
    assert person.status == 101
    inside.engine.freeze(inside.container)
    person.socket.close()
    until(lambda: "exec_probe" in calls, 30)
    assert inside.left == []
    assert inside.executions[0].exit_code() is None
    inside.engine.thaw(inside.container)
    until(lambda: inside.left == ["the client went away"], 30)
    assert inside.executions[0].exit_code() == 137


def test_one_who_cannot_be_let_in_for_a_frozen_job_is_told_what_to_do(
    make: Callable[..., LetIn], door: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mayfly.service.attachments.THAWED", 0.1)
    inside = make()
    inside.throttled = True
    inside.engine.freeze(inside.container)
    person = Person(door)
    assert (person.status, person.told["kind"]) == (503, "unavailable")
    assert person.told["error"].endswith("try again")
    assert "prints so much that it is frozen" in person.told["error"]


def test_what_stays_of_a_frozen_job_when_the_manager_stops_is_the_next_ones_to_end(
    make: Callable[..., LetIn], door: Path, until: Until
) -> None:
    inside = make()
    inside.throttled = True
    person = Person(door)
    (attach,) = inside.manager.commands
    assert isinstance(attach, AttachAgent)
    inside.engine.freeze(inside.container)
    assert inside.attachments.stop() == (), "it is not recorded as ended"
    assert person.end()[1].exit_code is None
    assert inside.executions[0].exit_code() is None
    inside.attachments.stopping.clear()  # the next one
    agent = replace(SERVED, generation=inside.plan.generation, container=inside.container)
    inside.attachments.end_left([replace(agent, attached=(Visit("ann", attach.mark),))])
    inside.engine.thaw(inside.container)
    until(lambda: len(inside.left) == 1, 30)
    told = inside.manager.commands[-1]
    assert isinstance(told, DetachAgent)
    assert (told.by.name, told.mark, told.generation) == ("ann", attach.mark, agent.generation)
    assert inside.left == ["the manager was gone before it had ended"]
    assert inside.executions[0].exit_code() == 137


def test_what_was_left_in_an_agent_that_has_ended_meanwhile_is_recorded(
    make: Callable[..., LetIn], until: Until
) -> None:
    inside = make()
    inside.engine.ends(inside.plan.generation)
    agent = replace(SERVED, generation=inside.plan.generation, container=inside.container)
    visits = (Visit("ann", "m1"), Visit("bob", "m2"))
    inside.attachments.end_left([replace(agent, attached=visits)])
    until(lambda: len(inside.left) == 2, 30)


def test_one_whom_the_loop_lets_in_too_late_is_out_again(
    make: Callable[..., LetIn], door: Path
) -> None:
    inside = make()

    def late(command: Command) -> Answer:
        if isinstance(command, AttachAgent):
            return Answer(504, {"error": "no answer", "kind": "timeout"})
        return Answer(200, {})

    inside.answer = late
    assert Person(door).status == 504
    attach, detach = inside.manager.commands
    assert isinstance(attach, AttachAgent)
    assert isinstance(detach, DetachAgent)
    assert (detach.generation, detach.mark) == (None, attach.mark)
    assert attach.mark
