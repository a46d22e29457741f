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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

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
from mayfly.core.model import ContainerId, Generation
from mayfly.core.quantities import spoken_age
from mayfly.edge.faults import Fault
from mayfly.edge.http_connection import RETRY, Reply, Upgrade, error_reply, json_reply
from mayfly.edge.places import Bounds, Places
from mayfly.engines.protocol import Engine, Execution
from mayfly.service.pending_command import Send, ask

# At once, by the door that they came in by.
BOUNDS = Bounds(all=16, of_one=4, of_root=8)
BOUNDS_OF_USERS = Bounds(all=12, of_one=3, of_root=3)
IDLE = 3600.0  # seconds without a byte either way
READ = 64 * 1024
KILLED = 137
SOON = 2.0  # seconds for what the Engine is about to know
UNREAD = 30.0  # seconds that a client may take nothing of what there is for it
HELD = (
    128 * 1024
)  # bytes that are held for an end that does not take them; then the other one waits
TURN = 0.5  # seconds between two looks at the clock
# Both ways together: what goes through is carried by the manager and the engine, as what a job prints.
RATE = 8 * 1024 * 1024  # bytes a second
BURST = 1.0  # seconds of that at once
RESIZED = 0.1  # seconds between two sizes of a terminal that the engine is told
RECORDING = 5.0  # seconds for the loop to record that one has ended
ENDING = 15.0  # seconds for what it has started to end
STOPPING = 5.0  # seconds that a manager that stops waits for all of them
HOME = "/opt/mayfly"

GONE = "the client went away"
EXITED = "its process ended"
OVER = "the job ended"
STOPS = "the manager stops"
SENTENCES = {
    OVER: "the job has ended, and this with it",
    STOPS: "the manager stops; the job goes on: attach again when it is back",
}


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

    def __init__(self, engine: Engine, users: Users, send: Send, *, idle: float = IDLE) -> None:
        self.engine = engine
        self.idle = idle
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
        answer = ask(self._send, command)
        if answer.status != 200:
            return json_reply(answer.status, answer.body)
        generation = Generation(str(answer.body["generation"]))
        container = ContainerId(str(answer.body["container"]))
        made: _Attachment | None = None
        failed = "it could not begin"
        try:
            user = self._users.user(generation)
            if user is None:
                failed = (
                    f"the agent in {answer.body['slot']} is of an image from before `mayfly attach`: "
                    "`mayfly images build`, and jobs after that can be entered"
                )
                return error_reply(409, failed, "refused")
            made = _Attachment(self, command.by, generation, container, user, wanted)
        except Fault as fault:
            failed = str(fault)
            return error_reply(503, failed, "unavailable")
        finally:
            if made is None:
                self.record(DetachAgent(command.by, generation, failed))
        self._open.add(made)
        return Upgrade(PROTOCOL, made.go_on, made.close)

    def over(self, attachment: _Attachment) -> None:
        """One has ended, and what it started."""
        self._places[attachment.by.operator].give_back(attachment.by.uid)
        self.record(DetachAgent(attachment.by, attachment.generation, attachment.why))
        self._open.discard(attachment)

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
        generation: Generation,
        container: ContainerId,
        user: str,
        wanted: Wanted,
    ) -> None:
        """Start the process; a ``Fault`` where that fails."""
        self.by = by
        self.generation = generation
        self.why = GONE
        self._among = among
        self._container = container
        self._user = user
        self._mark = secrets.token_hex(8)
        self._execution = among.engine.execute(
            container,
            wanted.words(self._mark),
            user=user,
            variables={MARK: self._mark},
            terminal=wanted.size is not None,
        )

    def go_on(self, client: socket.socket, ahead: bytes) -> None:
        """Hand on what comes, both ways, until it is over."""
        client.setblocking(False)
        relay = _Relay(client, self._execution, self._among.idle, self._among.stopping.is_set)
        self.why = relay.run(ahead)
        if self.why == GONE:
            return
        code = self._exit_code() if self.why == EXITED else None
        if code in (None, KILLED) and self.why == EXITED and self._has_ended():
            self.why = OVER
        relay.finish(End(code, SENTENCES.get(self.why, "" if self.why == EXITED else self.why)))

    def _exit_code(self) -> int | None:
        """Of a process whose streams have ended: the Engine may know it a moment later."""
        return _soon(self._execution.exit_code)

    def _has_ended(self) -> bool:
        """Whether the container is over, or about to be: its launcher kills what is in it first."""
        return bool(_soon(lambda: self._among.engine.at_gate(self._container) or None))

    def close(self) -> None:
        """End what it has started and is left, and be no more."""
        try:
            self._execution.close()
            if self.why != OVER:
                self._end_all()
        finally:
            self._among.over(self)

    def _end_all(self) -> None:
        words = ("/bin/sh", f"{HOME}/detach", self._mark)
        with suppress(Fault):
            self._among.engine.exec_probe(self._container, words, ENDING, user=self._user)


T = TypeVar("T")


def _soon(look: Callable[[], T | None]) -> T | None:
    """What is known within a second or two."""
    end = time.monotonic() + SOON
    while True:
        try:
            found = look()
        except Fault:
            found = None
        if found is not None or time.monotonic() > end:
            return found
        time.sleep(0.05)


class _Relay:
    """Bytes both ways. An end that takes nothing makes the other one wait, in bounded memory."""

    def __init__(
        self,
        client: socket.socket,
        execution: Execution,
        idle: float,
        stopping: Callable[[], bool],
    ) -> None:
        self._client = client
        self._execution = execution
        self._idle = idle
        self._stopping = stopping
        self._frames = Frames()
        self._to_client = bytearray()
        self._to_process = bytearray()
        self._no_more = False  # input will come
        self._paid = 0.0  # until when what has come has taken its time
        self._size: Size | None = None  # that the process has yet to be told
        self._resized = 0.0
        self._moved = self._taken = time.monotonic()  # any byte; one that the client took

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
        ready = self._ready()
        if self._client in ready and not self._from_client():
            return GONE
        if self._execution in ready and not self._from_process():
            return EXITED
        self._flush()
        self._resize(now)
        return None

    def _ready(self) -> set[object]:
        """The ends from which something has come, of those from which it may."""
        early = self._paid - time.monotonic() - BURST
        wanted = (
            (self._client, early <= 0 and len(self._to_process) < HELD, bool(self._to_client)),
            (self._execution, early <= 0 and len(self._to_client) < HELD, bool(self._to_process)),
        )
        wait = min(TURN, early) if early > 0 else TURN if self._size is None else RESIZED
        with selectors.DefaultSelector() as selector:
            for end, read, write in wanted:
                if events := selectors.EVENT_READ * read | selectors.EVENT_WRITE * write:
                    selector.register(end, events)
            found = selector.select(wait)
        return {key.fileobj for key, events in found if events & selectors.EVENT_READ}

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
