"""What the agents print: followed for all of them on one thread, kept on disk by another
(``edge.output_store``), read by anyone.

Only ``GET /containers/ID/logs?follow=1`` is used, never attach: an attached reader that stops,
stops the job. The two threads are apart because a disk may hang while another agent says its last
line, and that line is the bell of the hand-over. What is waiting for the disk is bounded for each
agent; past the bound its socket is not read, and the Engine's own log holds the rest. Nothing is
concluded here: a line rings, the witness decides.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import logging
import re
import selectors
import socket
import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mayfly.core.model import Generation
from mayfly.edge.faults import Fault, Refused
from mayfly.edge.lasting_thread import LastingThread, begun
from mayfly.edge.output_kept import (
    AT_GATE,
    ENDED,
    ENDED_MAX,
    ERR,
    NOTE,
    OUT,
    Chunk,
    KeptFile,
    LongLines,
    Resume,
    frames,
    own_frame,
    stamp,
)
from mayfly.edge.output_meter import OutputMeter
from mayfly.edge.output_store import OutputStore
from mayfly.engines.docker import wire
from mayfly.engines.docker.continuity import TURNED, Continuity
from mayfly.engines.docker.log_frames import Order, now_stamped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mayfly.core.model import ContainerId

__all__ = ["Chunk", "OutputKeeper"]

_BACKLOG = 512 * 1024  # bytes of one agent that may wait for the disk
_RECEIVE = 64 * 1024
_LINE_MAX = 64 * 1024
_BACKOFF = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CUT = (
    "the agent was removed without its launcher's last line: the end of its output may be missing"
)
_WORDLESS = (
    "the Engine's log of the agent does not end with its launcher's last line, as where the Engine's disk is"
    " full: output may be missing"
)
_UNBEGUN = (
    "the first part of this output was lost: it does not begin with the gate's own line, so the Engine's log"
    " had turned before anybody read it (log_max_size)"
)
_SKIPPED = (
    "%d bytes of output are missing before here: the Engine lost its place in its own log, which"
    " turned faster than it was read"
)
_KILLED = 137  # the exit code of a container that was killed
_STALLED = 2.0  # seconds without output after much of it, of an agent that was frozen before
_PROOF_SECONDS = 60.0
_RUNS = frozenset({"running", "paused", "restarting", "stopping"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_log = logging.getLogger(__name__)


class _Followed:
    """One agent's stream; the following thread alone touches it, bar ``file`` and ``written``."""

    def __init__(
        self,
        generation: Generation,
        container: ContainerId,
        file: KeptFile,
        log_size: int,
        meter: OutputMeter,
    ) -> None:
        self.meter = meter
        self.since = now_stamped()  # what was printed before is not measured
        self.generation = generation
        self.container = container
        self.file = file  # the keeping thread's
        self.written = 0  # the keeping thread's
        self.handed = 0
        self.resume = Resume()
        self.sock: socket.socket | None = None
        self.take: Callable[[bytes], None] | None = None  # what the next bytes are for
        self.buffer = bytearray()
        self.tail = b""  # the end of an unfinished line on stdout
        self.order = Order()  # what of the answer has come
        self.parted = False  # the launcher's last line was the last on stdout
        self.lines: dict[int, bytearray] | None = None  # None: nobody wants the lines
        self.continuity = Continuity(log_size)
        self.begins = False  # nothing was kept, and nothing of stdout has come
        self.overlap_wanted = False  # what comes is to begin with something that is kept
        self.turned = False  # the log is known to turn faster than it is read
        self.untold = False  # it has done so since that was told last
        self.finishing = False  # but for a proof that is awaited
        self.long_lines = LongLines()
        self.paused = False
        self.killed = False  # no launcher has a last line then
        self.last = False  # the container has ended, and this is the last look
        self.takes = 0  # how often something came
        self.looked_after = False  # whether that goes on is looked at soon
        self.skipped = 0  # bytes that the Engine shows only now, behind later ones
        self.tries = 0
        self.gone = False  # it has ended


class OutputKeeper:
    """Follows, keeps and shows the output of all agents.

    ``ring(generation, line)`` is called on the following thread for a line of stdout that the gate
    or the launcher may have printed; ``ended(generation)`` on the keeping thread when all output is
    on disk; ``on_line(generation, stream, line)`` on the following thread for agents followed with
    ``lines=True``; ``on_much(generation, lines, bytes)`` there, too, whenever an agent has printed much
    more. ``on_failure(what, error)``, on either thread, is told of what only a bug explains;
    without it such an error goes to Python's log. They must not block.
    """

    def __init__(
        self,
        base_url: str,
        directory: Path,
        *,
        ring: Callable[[Generation, str], None],
        ended: Callable[[Generation], None],
        on_line: Callable[[Generation, int, bytes], None] | None = None,
        on_failure: Callable[[str, BaseException], None] | None = None,
        on_much: Callable[[Generation, int, int], None] = lambda _, __, ___: None,
        frozen: Callable[[ContainerId], bool | None] = lambda _: None,
        per_agent: int = 16 * 1024 * 1024,
        total: int = 2 * 1024 * 1024 * 1024,
        log_size: int = 10 * 1024 * 1024,
    ) -> None:
        self._base_url = base_url
        self._log_size = log_size
        self._path = wire.socket_path(base_url)
        self._ring = ring
        self._ended = ended
        self._on_line = on_line
        self._on_failure = on_failure or _logged
        self._on_much = on_much
        self._frozen = frozen
        self._per_agent = per_agent
        self._store = OutputStore(directory, total, self._on_failure)
        self._followed: dict[Generation, _Followed] = {}
        # the following thread's
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._running = True
        self._thread = LastingThread(self._follow_all, "output-follow")

    # -- asked from any thread -------------------------------------------------------------

    def start(self) -> None:
        """Look at what is kept from before, and begin."""
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._store.start()
        self._thread.start()

    def close(self) -> None:
        """Stop following, finish writing, end both threads; containers are left as they are."""
        self._tell(self._stop)
        self._thread.join()
        self._store.close()

    def follow(
        self, generation: Generation, container: ContainerId, *, lines: bool = False
    ) -> None:
        """Follow a started container from where its kept output ends; safe to repeat."""
        if not _NAME.match(generation):
            raise Refused(f"The generation {generation!r} cannot name a file; remove its container")
        if generation in self._followed:
            return
        file = KeptFile(self._store.path(generation), self._per_agent)
        meter = OutputMeter(generation, self._on_much)
        one = _Followed(generation, container, file, self._log_size, meter)
        if lines:
            one.lines = {OUT: bytearray(), ERR: bytearray()}
        self._followed[generation] = one
        self._open(one)

    def read(
        self, generation: Generation, *, follow: bool, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Chunk]:
        """What is kept of an agent, without the gate's and the launcher's own lines.

        With ``follow`` it goes on until the stream has ended, nobody follows it, or ``stop()``
        (asked every 0.5 s). While nothing comes, a chunk without data says that all there is was
        read.
        """
        if not _NAME.match(generation):
            return
        yield from self._store.read(
            generation, live=lambda: follow and generation in self._followed, stop=stop
        )

    def _open(self, one: _Followed) -> None:
        self._store.open(
            one.generation, one.file, partial(self._opened, one), partial(self._unreadable, one)
        )

    def _write(self, one: _Followed, data: bytes) -> None:
        self._store.write(one.generation, one.file, data, partial(self._written, one))

    def _note(self, one: _Followed, text: str) -> None:
        """Keep a word of Mayfly's own on what is missing."""
        frame = own_frame(NOTE, text)
        one.handed += len(frame)
        self._write(one, frame)

    def _tell(self, what: Callable[[], None]) -> None:
        self._inbox.put(what)
        with contextlib.suppress(BlockingIOError):  # full: it wakes anyway
            self._waker.send(b"x")

    # -- the following thread --------------------------------------------------------------

    def _follow_all(self) -> None:
        while self._running:
            wait = None if not self._later else max(0.0, self._later[0][0] - time.monotonic())
            for key, _ in self._selector.select(wait):
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        self._wake.recv(4096)
                else:
                    self._readable(key.data)
            while not self._inbox.empty():
                self._do(self._inbox.get())
            while self._later and self._later[0][0] <= time.monotonic():
                self._do(heapq.heappop(self._later)[2])

    def _do(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001 (one agent's trouble must not end the others' bell)
            self._on_failure("the following of output", error)

    def _stop(self) -> None:
        self._running = False
        for one in tuple(self._followed.values()):
            self._hang_up(one)

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._count), what))

    def _readable(self, one: _Followed) -> None:
        assert one.sock is not None
        assert one.take is not None
        try:
            data = one.sock.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            one.take(data)
        except Exception as error:  # noqa: BLE001 (one agent's nonsense must not end the others' bell)
            self._on_failure(f"the output of agent {one.generation}", error)
            self._again(one)

    def _call(self, one: _Followed, target: str, take: Callable[[bytes], None]) -> None:
        """Send a request whose answer ``take`` gets bit by bit, and at last an empty bit."""
        self._hang_up(one)
        with contextlib.ExitStack() as given_up:
            try:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                given_up.callback(sock.close)
                sock.connect(self._path)
                sock.send(wire.request("GET", target))
                self._selector.register(sock, selectors.EVENT_READ, one)
            except OSError:  # it is down, or its queue is full, or no descriptor is left
                self._again(one)
                return
            given_up.pop_all()
        one.sock, one.take = sock, take
        one.buffer.clear()

    def _hang_up(self, one: _Followed) -> None:
        if one.sock is not None:
            if not one.paused:
                self._selector.unregister(one.sock)
            one.sock.close()
        one.sock, one.paused = None, False

    def _connect(self, one: _Followed, resume: Resume) -> None:
        if one.gone:
            return
        one.resume, one.parted = resume, resume.parted
        one.begins = not (resume.since or resume.known)
        first_file = one.continuity.log_size if one.begins else 0
        one.order = Order(resume.latest, follows=not one.last, whole_log=first_file)
        one.tail, one.skipped = b"", 0
        one.overlap_wanted = bool(resume.known)
        one.continuity.resumed(max(resume.latest.values(), default=None))
        self._call(
            one,
            f"/containers/{one.container}/logs?follow={int(not one.last)}"
            f"&stdout=1&stderr=1&timestamps=1&since={_time(resume.since)}",
            partial(self._take_head, one),
        )

    def _again(self, one: _Followed) -> None:
        """Look whether the container still runs, after a while that grows."""
        self._hang_up(one)
        if one.gone:
            return
        self._after(_BACKOFF[min(one.tries, len(_BACKOFF) - 1)], partial(self._ask, one))
        one.tries += 1

    def _ask(self, one: _Followed) -> None:
        if not one.gone:
            self._call(one, f"/containers/{one.container}/json", partial(self._take_answer, one))

    def _take_answer(self, one: _Followed, data: bytes) -> None:
        """Where a stream ended: go on, look a last time, or be done."""
        one.buffer += data
        if data:
            return
        head = wire.head(one.buffer)
        status = 0 if head is None else head[0]
        if head is None or status not in (200, 404):
            self._again(one)
        elif status == 404:
            self._finish(one, removed=True)
        else:
            seen = json.loads(bytes(one.buffer[head[1] :]))["State"]
            state, one.killed = seen["Status"], seen.get("ExitCode") == _KILLED
            self._hang_up(one)
            if state == "created":
                self._again(one)
            else:
                one.last = state not in _RUNS
                self._open(one)

    def _take_head(self, one: _Followed, data: bytes) -> None:
        one.buffer += data
        head = wire.head(one.buffer)
        if head is None:
            if not data:
                self._again(one)
        elif head[0] == 200:
            one.take = partial(self._take_frames, one)
            received = bytes(one.buffer[head[1] :])
            one.buffer.clear()
            if received:
                self._take_frames(one, received)
        elif head[0] in (404, 409):  # gone, or being removed
            self._finish(one, removed=True)
        else:
            self._again(one)

    def _take_frames(self, one: _Followed, data: bytes) -> None:
        if not data:
            if one.last:
                self._finish(one)
            elif one.tries:
                self._again(one)
            else:
                one.tries = 1
                self._ask(one)
            return
        one.buffer += data
        taken = one.order.take(one.buffer)
        if taken.whole:
            del one.buffer[: taken.whole]
            one.takes += 1
            if one.order.newest >= one.since and one.meter.add(taken.lines, taken.whole):
                self._look_after(one)
            one.skipped += len(one.resume.fresh(taken.behind))
            self._take_whole(one, taken.fresh, unfinished=taken.unfinished)
        if taken.broken and one.last:
            self._finish(one)
        elif taken.broken:
            self._again(one)

    def _look_after(self, one: _Followed) -> None:
        """Ask anew if nothing more comes of a flood: an Engine that has lost its place in its own log says
        nothing (seen in 20.10). A frozen agent says nothing either.
        """
        takes = one.takes

        def look() -> None:
            frozen = self._frozen(one.container)
            if one.takes == takes and frozen:
                self._after(_STALLED, look)
                return
            one.looked_after = False
            if frozen is None:
                return
            if one.takes == takes and one.sock is not None and not one.paused and not one.last:
                self._again(one)
            elif one.takes != takes and not one.gone:
                self._look_after(one)

        if not one.looked_after:
            one.looked_after = True
            self._after(_STALLED, look)

    def _take_whole(self, one: _Followed, fresh: bytes, *, unfinished: bool) -> None:
        if one.resume.known:
            fresh = one.resume.fresh(fresh)
        if not fresh:
            return
        one.tries = 0
        if one.skipped:
            self._note(one, _SKIPPED % one.skipped)
            one.skipped = 0
        if one.overlap_wanted:
            one.overlap_wanted = False
            if not one.resume.met:
                one.turned = True
                one.continuity.lost()
                self._note(one, TURNED)
        if one.begins:
            self._see_beginning(one, fresh)
        wanted = one.continuity.take(fresh)
        if wanted is not None:
            self._prove(one, wanted)
        if one.tail or unfinished or one.lines is not None or b"mayfly: " in fresh:
            self._hear(one, fresh)
        elif one.parted:
            one.parted = all(fresh[at] != OUT for at, _ in frames(fresh))
        self._hand_over(one, fresh)

    def _see_beginning(self, one: _Followed, fresh: bytes) -> None:
        """What a gate prints first says whether the beginning is there."""
        first = next(((at, size) for at, size in frames(fresh) if fresh[at] == OUT), None)
        if first is None:
            return
        one.begins = False
        at, size = first
        if not fresh[at + 8 : at + 8 + size].partition(b" ")[2].startswith(AT_GATE):
            self._note(one, _UNBEGUN)

    def _prove(self, one: _Followed, wanted: bytes) -> None:
        """Ask the Engine's log for a frame that was received, on a thread of its own: it reads all of it."""

        def ask() -> None:
            there: bool | None = None
            try:
                there = self._is_logged(one.container, wanted)
            finally:
                self._tell(partial(self._proved, one, there=there))

        if not begun(threading.Thread(target=ask, name="output-prove", daemon=True)):
            self._proved(one, there=None)

    def _is_logged(self, container: ContainerId, wanted: bytes) -> bool | None:
        """Whether the log still has a frame of that time; ``None``: the Engine does not say."""
        at, doing = _time(stamp(wanted + b" ")[0]), "reading a container's log"
        target = f"/containers/{container}/logs?stdout=1&stderr=1&since={at}&until={at}"
        try:
            opened = wire.open_stream(self._base_url, "GET", target, doing, timeout=_PROOF_SECONDS)
            deadline = time.monotonic() + _PROOF_SECONDS
            return bool(wire.read_frames(opened, deadline, 1, doing))
        except Fault:
            return None

    def _proved(self, one: _Followed, *, there: bool | None) -> None:
        one.continuity.answered()
        if there is False and one.turned:
            one.untold = True
        elif there is False or (there and one.untold):
            self._note(one, TURNED)
            one.untold = False
        if there is not None:
            one.turned = not there
        if one.finishing:
            self._finish(one)

    def _hear(self, one: _Followed, fresh: bytes) -> None:
        """Ring for the lines that may be the gate's or the launcher's."""
        for at, size in frames(fresh):
            text = fresh[at + 8 : at + 8 + size].partition(b" ")[2]
            text = one.long_lines.whole(fresh[at], text)
            if fresh[at] == OUT:
                ended = ENDED.search((one.tail + text)[-ENDED_MAX:])
                if ended is not None:
                    self._ring(one.generation, ended[0].decode().rstrip("\n"))
                elif not one.tail and text.startswith(AT_GATE):
                    self._ring(one.generation, text.decode(errors="replace").rstrip("\n"))
                one.parted = ended is not None
                one.tail = b"" if text.endswith(b"\n") else text[-ENDED_MAX:]
            if one.lines is not None and fresh[at] in one.lines:
                self._join(one, fresh[at], text)

    def _join(self, one: _Followed, stream: int, text: bytes) -> None:
        assert one.lines is not None
        line = one.lines[stream]
        line += text[: _LINE_MAX - len(line)]
        if text.endswith(b"\n") and self._on_line is not None:
            self._on_line(one.generation, stream, bytes(line).rstrip(b"\n"))
        if text.endswith(b"\n"):
            line.clear()

    def _hand_over(self, one: _Followed, fresh: bytes) -> None:
        one.handed += len(fresh)
        self._write(one, fresh)
        if one.handed - one.written > _BACKLOG and one.sock is not None:
            self._selector.unregister(one.sock)
            one.paused = True
            self._go_on(one)  # it may have been written meanwhile

    def _go_on(self, one: _Followed) -> None:
        if one.paused and one.sock is not None and one.handed - one.written <= _BACKLOG // 2:
            one.paused = False
            self._selector.register(one.sock, selectors.EVENT_READ, one)

    def _finish(self, one: _Followed, *, removed: bool = False) -> None:
        """Nothing will follow; ``removed``: and nobody can say whether this was all."""
        self._hang_up(one)
        one.gone, one.finishing = True, False
        wanted = one.continuity.ask() if not removed else None
        if wanted is not None:
            self._prove(one, wanted)
        one.finishing = one.continuity.asked and not removed
        if one.finishing:
            return
        if not one.parted and (removed or not one.killed):
            note = _CUT if removed else _WORDLESS
            self._note(one, note)
        if one.untold:
            self._note(one, TURNED)
        if one.skipped:
            self._note(one, _SKIPPED % one.skipped)
        self._store.end(one.generation, one.file, partial(self._over, one))

    # -- called on the store's thread --------------------------------------------------------

    def _opened(self, one: _Followed, resume: Resume) -> None:
        if resume.ended:
            self._over(one)
        else:
            self._tell(partial(self._connect, one, resume))

    def _unreadable(self, one: _Followed) -> None:
        self._tell(partial(self._after, _BACKOFF[-1], partial(self._open, one)))

    def _written(self, one: _Followed, count: int) -> None:
        one.written += count
        if one.paused and one.handed - one.written <= _BACKLOG // 2:
            self._tell(partial(self._go_on, one))

    def _over(self, one: _Followed) -> None:
        if self._followed.get(one.generation) is one:
            del self._followed[one.generation]
        self._ended(one.generation)


def _time(nanoseconds: int) -> str:
    """As the Engine takes it."""
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def _logged(what: str, error: BaseException) -> None:
    _log.error("%s", what, exc_info=error)
