"""Persons beside running jobs: who may, how many, and bytes both ways until one end has had enough.

Whether somebody may is the loop's to say (``core/command_effects.py``), who records it before anything is
started. Then the engine starts the process, as the job's user and never as root, and the thread of the
client's connection hands on what comes. Whatever ends an attachment ends what it has started, and never the
job.
"""

from __future__ import annotations

import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Protocol, TypeVar

from mayfly.core.agent_plan import ROOM
from mayfly.core.attaching import (
    MARK,
    PROTOCOL,
    End,
    Frame,
    Frames,
    Kind,
    Malformed,
    Size,
    end_frame,
    framed,
    size_in,
)
from mayfly.core.commands import AttachAgent, Caller, DetachAgent
from mayfly.core.memory import Agent, Memory, Visit
from mayfly.core.model import ContainerId, Generation, JobId
from mayfly.core.quantities import spoken_age
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.http_connection import RETRY, Reply, Upgrade, error_reply, json_reply
from mayfly.edge.lasting_thread import begun
from mayfly.edge.patience import known
from mayfly.edge.places import Bounds, Places
from mayfly.engines.protocol import Engine, Execution, Gone
from mayfly.service.holds import Holds, Warnings
from mayfly.service.pending_command import Send, ask

# At once, by the door that they came in by.
BOUNDS = Bounds(all=16, of_one=4, of_root=8)
BOUNDS_OF_USERS = Bounds(all=12, of_one=3, of_root=3)
IDLE = 3600.0  # seconds without a byte either way
READ = 64 * 1024
KILLED = 137
SOON = 2.0  # seconds for what the Engine is about to know
BEGINNING = 15.0  # seconds for what it starts to begin
UNREAD = 30.0  # seconds that a client may take nothing of what there is for it
# bytes that are held for an end that does not take them; then the other one waits
HELD = 128 * 1024
TURN = 0.5  # seconds between two looks at the clock
# Both ways together: what goes through is carried by the manager and the engine, as what a job prints.
RATE = 8 * 1024 * 1024  # bytes a second
BURST = 1.0  # seconds of that at once
RESIZED = 0.1  # seconds between two sizes of a terminal that the engine is told
RECORDING = 5.0  # seconds for the loop to record that one has ended
ENDING = 15.0  # seconds for what it has started to end
# seconds that one waits at most to be let in to a job that is frozen for what it prints
THAWED = 20.0
COMING_UP = 15.0  # seconds that one waits for a held container that is about to be started
AGAIN = 0.1  # seconds between two tries to do something in such a one
LEFT_AGAIN = 1.0  # seconds between two tries to end what an earlier manager has left
STOPPING = 5.0  # seconds that a manager that stops waits for all of them
HOME = "/opt/mayfly"
CLOSES = ("/bin/chmod", "0700", ROOM)

GONE = "the client went away"
EXITED = "its process ended"
OVER = "the job ended"
GIVEN_UP = "it is held no longer"
STOPS = "the manager stops"
LEFT = "the manager was gone before it had ended"
FROZEN = (
    "the job prints so much that it is frozen most of the time, and was not to be entered within "
    f"{THAWED:g} s: try again"
)
UNBEGUN = (
    "the engine has not begun it within {:g} s, and the job goes on: attach again, or cancel the job; its "
    "own files may keep the engine waiting, as a pipe in place of /etc/passwd does"
)
SENTENCES = {
    OVER: "the job has ended, and this with it",
    GIVEN_UP: "it is held no longer, and this has ended with it",
    STOPS: "the manager stops; the job goes on: attach again when it is back",
}


T = TypeVar("T")
Visitor = tuple[Caller, str, Generation, ContainerId, str]
NO_HOLDS = Holds(Memory, lambda _: {}, time.time)


class Users(Protocol):
    """Who knows as whom an agent's job runs: ``edge.witness.Witnesses``."""

    def user(self, generation: Generation) -> str | None:
        """``UID:GID``; ``None`` where its launcher has not said."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for."""

    argv: tuple[str, ...] = ()  # none: a shell
    size: Size | None = None  # None: it has no terminal
    type: str = ""  # of its terminal

    def words(self, mark: str) -> tuple[str, ...]:
        """What is started inside; see ``agents/attach``."""
        size = f"{self.size.rows}x{self.size.columns}" if self.size is not None else "-"
        return ("/bin/sh", f"{HOME}/attach", mark, size, self.type, *self.argv)


class Attachments:
    """All that there are; used by the threads of the control socket."""

    def __init__(
        self,
        engine: Engine,
        users: Users,
        send: Send,
        throttled: Callable[[Generation], bool],
        *,
        holds: Holds = NO_HOLDS,
        idle: float = IDLE,
        beginning: float = BEGINNING,
    ) -> None:
        """``throttled``: whether an agent is frozen now and then for what it prints."""
        self.holds = holds
        self.engine = engine
        self.idle = idle
        self.beginning = beginning
        self._throttled = throttled
        self.stopping = threading.Event()
        self._users = users
        self._send = send
        self._places = {True: Places(BOUNDS), False: Places(BOUNDS_OF_USERS)}
        self._open: set[_Attachment] = set()
        self._unrecorded: list[DetachAgent] = []

    def enter(self, command: AttachAgent, wanted: Wanted) -> Reply:
        """Let somebody in, or say why not."""
        by = command.by
        places = self._places[by.operator]
        if not places.take(by.uid):
            most = BOUNDS if by.operator else BOUNDS_OF_USERS
            sentence = (
                f"{most.of_one} terminals of one user, or {most.all} of all, are open already"
            )
            return replace(error_reply(503, sentence, "busy"), headers=RETRY)
        reply: Reply | None = None
        try:
            reply = self._entered(command, wanted)
        finally:
            if not isinstance(reply, Upgrade):
                places.give_back(by.uid)
        return reply

    def _entered(self, command: AttachAgent, wanted: Wanted) -> Reply:
        mark = secrets.token_hex(8)
        answer = ask(self._send, replace(command, mark=mark))
        if answer.status != 200:
            if answer.status == 504:  # the loop may let them in yet
                self.record(DetachAgent(command.by, None, "the manager did not answer", mark))
            return json_reply(answer.status, answer.body)
        generation = Generation(str(answer.body["generation"]))
        container = ContainerId(str(answer.body["container"]))
        made: _Attachment | None = None
        failed = "it could not begin"
        try:
            user = self._users.user(generation)
            if user is None:
                failed = (
                    f"the agent in {answer.body['slot']} names no user but root or one of root's group, "
                    "as whom nobody is let in: where its image is from before `mayfly attach`, "
                    "`mayfly images build`; where `user` of its pool has group 0, give another. "
                    "Jobs after that can be entered"
                )
                return error_reply(409, failed, "refused")
            visitor = (command.by, mark, generation, container, user)
            made = self._made(visitor, wanted, self._variables(answer.body))
        except Fault as fault:
            failed = str(fault)
            return error_reply(503, failed, "unavailable")
        finally:
            if made is None:
                self.record(DetachAgent(command.by, generation, failed, mark))
        self._open.add(made)
        return Upgrade(PROTOCOL, made.go_on, made.close)

    def _made(self, visitor: Visitor, wanted: Wanted, variables: Mapping[str, str]) -> _Attachment:
        """Start the process. A held container may be about to be started: that is waited for."""
        last = time.monotonic() + COMING_UP
        while True:
            try:
                if variables:
                    # Before a gate that was started once more keeps others from its room.
                    self.engine.exec_probe(visitor[3], CLOSES, ENDING)
                return _Attachment(self, *visitor, wanted, variables)
            except Passing:
                if self.holds.of(visitor[2]) is None or time.monotonic() > last:
                    raise
                if self.stopping.wait(AGAIN):
                    raise

    def _variables(self, told: Mapping[str, object]) -> dict[str, str]:
        """What ``agents/attach`` makes the job's environment and folder of, where the job is over."""
        if not told.get("held"):
            return {}
        found = {"MAYFLY_HELD": "1"}
        if told.get("begins") is not None:
            found["MAYFLY_FOLDER"] = str(told["begins"])
        if told.get("job") is not None:
            own = {**self.holds.variables(JobId(str(told["job"]))), "MAYFLY_JOB": str(told["job"])}
            found |= {f"MAYFLY_HELD_{name}": value for name, value in own.items()}
        return found

    def over(self, attachment: _Attachment, *, ended: bool) -> None:
        """One is over; unless what it started has ``ended``, a manager that stops leaves that to the next."""
        self._places[attachment.by.operator].give_back(attachment.by.uid)
        if ended or not self.stopping.is_set():
            who = (attachment.by, attachment.generation, attachment.why, attachment.mark)
            self.record(DetachAgent(*who))
        self._open.discard(attachment)

    def in_time(self, generation: Generation, do: Callable[[], T], within: float = inf) -> T:
        """Do something in an agent, which may be frozen for what it prints: then as soon as it is not."""
        last = time.monotonic() + within
        while True:
            try:
                return do()
            except Gone:
                raise
            except Passing as fault:
                if not self._throttled(generation) or self.stopping.is_set():
                    raise
                if time.monotonic() > last:
                    raise Passing(FROZEN) from fault
            self.stopping.wait(AGAIN)

    def end_left(self, agents: Iterable[Agent]) -> None:
        """Have what an earlier manager has left of attachments ended, and recorded."""
        left = [(agent, visit) for agent in agents for visit in agent.attached]
        if left:
            begun(threading.Thread(target=self._end_left, args=(left,), name="left", daemon=True))

    def _end_left(self, left: list[tuple[Agent, Visit]]) -> None:
        while left and not self.stopping.is_set():
            left = [one for one in left if not self._has_ended(*one)]
            if left:
                self.stopping.wait(LEFT_AGAIN)

    def _has_ended(self, agent: Agent, visit: Visit) -> bool:
        by = Caller(0, 0, 0, visit.by)
        try:
            user = self._users.user(agent.generation)
            here = not agent.settled or agent.hold is not None
            if user is not None and agent.container is not None and here:
                self.end_all(agent.container, visit.mark, user)
        except Gone:
            pass
        except Fault:
            return False
        self.record(DetachAgent(by, agent.generation, LEFT, visit.mark))
        return True

    def end_all(self, container: ContainerId, mark: str, user: str) -> None:
        """End what was started in the container with that mark."""
        self.engine.exec_probe(container, ("/bin/sh", f"{HOME}/detach", mark), ENDING, user=user)

    def record(self, command: DetachAgent) -> None:
        """Have it recorded: by the loop, or once that has ended by whoever stops it."""
        if self.stopping.is_set():
            self._unrecorded.append(command)
        else:
            ask(self._send, command, RECORDING)

    def stop(self) -> tuple[DetachAgent, ...]:
        """End all of them, within some seconds; what is to be recorded of them."""
        self.stopping.set()
        end = time.monotonic() + STOPPING
        while self._open and time.monotonic() < end:
            time.sleep(0.02)
        return tuple(self._unrecorded)


class _Attachment:
    """One: a process beside a job, and whoever talks to it."""

    def __init__(
        self,
        among: Attachments,
        by: Caller,
        mark: str,
        generation: Generation,
        container: ContainerId,
        user: str,
        wanted: Wanted,
        variables: Mapping[str, str],
    ) -> None:
        """Start the process; a ``Fault`` where that fails."""
        self._terminal = wanted.size is not None
        self._held = "MAYFLY_HELD" in variables
        self.by = by
        self.generation = generation
        self.why = GONE
        self._among = among
        self._container = container
        self._user = user
        self.mark = mark
        execute = partial(
            among.engine.execute,
            container,
            wanted.words(mark),
            user=user,
            variables={**variables, MARK: mark},
            terminal=wanted.size is not None,
        )
        self._execution = among.in_time(generation, execute, THAWED)

    def go_on(self, client: socket.socket, ahead: bytes) -> None:
        """Hand on what comes, both ways, until it is over."""
        client.setblocking(False)
        relay = _Relay(client, self._execution, self._among)
        if self._held:
            relay.warns(Warnings(self._among.holds, self.generation), terminal=self._terminal)
        self.why = relay.run(ahead)
        if self.why == GONE:
            return
        code = self._exit_code() if self.why == EXITED else None
        if code in (None, KILLED) and self.why == EXITED and self._has_ended():
            self.why = GIVEN_UP if self._held else OVER
        relay.finish(End(code, self._sentence()))

    def _sentence(self) -> str:
        """What the client is told as it ends."""
        words = self._among.holds.words(self.generation)
        if self.why == OVER and not self._held and words is not None:
            return f"the job has ended, and this with it; it is {words}: attach again"
        if self.why == STOPS and self._held:
            return "the manager stops; the container is held on: attach again when it is back"
        return SENTENCES.get(self.why, "" if self.why == EXITED else self.why)

    def _exit_code(self) -> int | None:
        """Of a process whose streams have ended: the Engine may know it a moment later."""
        return _known_soon(self._execution.exit_code)

    def _has_ended(self) -> bool:
        """Whether the container is over, or about to be: its launcher kills what is in it first."""
        if self._held:
            return self._among.holds.of(self.generation) is None
        return bool(_known_soon(lambda: self._among.engine.at_gate(self._container) or None))

    def close(self) -> None:
        """End what it has started and is left, and be no more."""
        ended = self.why in (OVER, GIVEN_UP)
        try:
            self._execution.close()
            if not ended:
                words = (self._container, self.mark, self._user)
                with suppress(Fault):
                    self._among.in_time(self.generation, lambda: self._among.end_all(*words))
                    ended = True
        finally:
            self._among.over(self, ended=ended)


def _known_soon(look: Callable[[], T | None]) -> T | None:
    """What the engine is about to know."""

    def known_now() -> T | None:
        with suppress(Fault):
            return look()
        return None

    return known(known_now, within=SOON, first=0.05)


class _Relay:
    """Bytes both ways. An end that takes nothing makes the other one wait, in bounded memory."""

    def __init__(
        self,
        client: socket.socket,
        execution: Execution,
        among: Attachments,
    ) -> None:
        self._client = client
        self._execution = execution
        self._idle = among.idle
        self._stopping = among.stopping.is_set
        self._beginning = among.beginning
        self._begun = False  # as far as is known: nobody asks before the time for it is over
        self._frames = Frames()
        self._to_client = bytearray()
        self._to_process = bytearray()
        self._no_more = False  # input will come
        self._paid = 0.0  # until when what has come has taken its time
        self._warnings: Warnings | None = None  # None: nobody is to be told when this ends
        self._terminal = False
        self._size: Size | None = None  # that the process has yet to be told
        self._resized = 0.0
        # when it was last known that it need not have begun; of any byte; of one that the client took
        self._since = self._moved = self._taken = time.monotonic()

    def run(self, ahead: bytes) -> str:
        """Why it is over."""
        try:
            self._understand(ahead)
            while (why := self._turn()) is None:
                pass
        except Malformed:
            return "what the client sent is not understood"
        except OSError:
            return GONE
        return why

    def _turn(self) -> str | None:
        now = time.monotonic()
        if self._stopping():
            return STOPS
        if now - self._moved > self._idle:
            return f"nothing was typed or printed for {spoken_age(self._idle)}: attach again"
        if self._to_client and now - self._taken > UNREAD:
            return GONE
        if not self._begun and now - self._since > self._beginning:
            begun, self._since = self._execution.begun(), now
            if begun is False:
                return UNBEGUN.format(self._beginning)
            self._begun = begun is True
        ready = self._ready()
        if self._client in ready and not self._from_client():
            return GONE
        if self._execution in ready and not self._from_process():
            return EXITED
        self._warn()
        self._flush()
        self._resize(now)
        return None

    def warns(self, warnings: Warnings, *, terminal: bool) -> None:
        """Whoever is in there is told before it ends."""
        self._warnings, self._terminal = warnings, terminal

    def _warn(self) -> None:
        sentence = self._warnings.due() if self._warnings is not None else None
        if sentence is not None:
            end = "\r\n" if self._terminal else "\n"
            line = f"{end if self._terminal else ''}mayfly: {sentence}{end}"
            self._to_client += framed(Kind.ERR, line.encode())

    def _ready(self) -> set[object]:
        """The ends from which something has come, of those from which it may."""
        early = self._paid - time.monotonic() - BURST
        reads = early <= 0 and len(self._to_client) < HELD
        wanted = (
            (self._client, early <= 0 and len(self._to_process) < HELD, bool(self._to_client)),
            (self._execution, reads, bool(self._to_process)),
        )
        wait = min(TURN, early) if early > 0 else TURN if self._size is None else RESIZED
        more: set[object] = {self._execution} if reads and self._execution.has_more() else set()
        if more:
            wait = 0.0
        with selectors.DefaultSelector() as selector:
            for end, read, write in wanted:
                if events := selectors.EVENT_READ * read | selectors.EVENT_WRITE * write:
                    selector.register(end, events)
            found = selector.select(wait)
        return more | {key.fileobj for key, events in found if events & selectors.EVENT_READ}

    def _from_client(self) -> bool:
        data = self._client.recv(READ)
        self._came(len(data))
        self._understand(data)
        return bool(data)

    def _understand(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            self._moved = time.monotonic()
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.INPUT if frame.data:
                self._to_process += frame.data
            case Kind.INPUT:
                self._no_more = True
                self._end_input()
            case Kind.SIZE:
                self._size = size_in(frame)
            case _:
                raise Malformed

    def _from_process(self) -> bool:
        pieces = self._execution.receive()
        for stream, data in pieces or ():
            self._came(len(data))
            self._begun = True
            self._moved = time.monotonic()
            if not self._to_client:
                self._taken = self._moved
            self._to_client += framed(Kind.ERR if stream == 2 else Kind.OUT, data)
        return pieces is not None

    def _came(self, size: int) -> None:
        self._paid = max(self._paid, time.monotonic()) + size / RATE

    def _resize(self, now: float) -> None:
        """Tell the process how large its terminal is by now, and not each size that it has had."""
        if self._size is not None and now - self._resized >= RESIZED:
            self._execution.resize(self._size.rows, self._size.columns)
            self._size, self._resized = None, now

    def _flush(self) -> None:
        if self._to_client:
            with suppress(BlockingIOError):
                del self._to_client[: self._client.send(self._to_client)]
                self._taken = time.monotonic()
        if self._to_process:
            del self._to_process[: self._execution.send(bytes(self._to_process))]
            self._end_input()

    def _end_input(self) -> None:
        if self._no_more and not self._to_process:
            self._execution.end_input()

    def finish(self, end: End) -> None:
        """Hand the client what is still there for it, and how it ended."""
        self._to_client += end_frame(end)
        self._client.settimeout(UNREAD)
        with suppress(OSError):
            self._client.sendall(self._to_client)
