"""What the agents print: a thread each that follows its pod's log, kept on disk by ``edge.output_store``.

Only the log is read, never attached to, since an attachment that ends ends the gate's input. A follower goes
on from where the kept output ends, by the line's own time; what a node has thrown away meanwhile is told
where it is missing. Who prints more than its slot's allowance is read more slowly (output_brake.py): its
stream is left standing, since a node that follows a log goes on in the file that it has open. The log is one
stream: what was written to standard error comes among the rest.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from mayfly.core import naming
from mayfly.core.model import ContainerId, Generation
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.lasting_thread import begun
from mayfly.edge.output_kept import (
    AT_GATE,
    NOTE,
    OUT,
    Chunk,
    KeptFile,
    Resume,
    own_frame,
    stamp,
)
from mayfly.edge.output_meter import OutputMeter
from mayfly.edge.output_store import OutputStore
from mayfly.engines.kubernetes.api import Api, Stream
from mayfly.engines.kubernetes.manifest import CONTAINER
from mayfly.engines.kubernetes.output_brake import OutputBrake
from mayfly.engines.kubernetes.pods import has_ended, name_and_uid, never_began, runs
from mayfly.engines.protocol import Gone, OutputListener

PIECE = 16 * 1024  # bytes of a line that go into one frame
BACKLOG = 512 * 1024  # bytes of one agent that may wait for the disk
SILENT = 3600.0  # seconds without a line after which the log is asked for anew
BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
CUT = "the agent's pod is gone: the end of its output may be missing"
UNBEGUN = (
    "the first part of this output was lost: its node had thrown it away before anybody read it"
    " (containerLogMaxSize of its kubelet)"
)
SKIPPED = (
    "output may be missing before here: its node's log turned faster than it was read"
    " (containerLogMaxSize of its kubelet)"
)
BRAKED = (
    "more was printed than a slot may for long: from here on it is read at 2 MiB a second, and what its node"
    " throws away meanwhile is missing (containerLogMaxSize of its kubelet)"
)
# Seconds that a reader may be behind without having missed anything: a kubelet looks so often whether a log
# is to be turned (containerLogMonitorInterval, 3 s at least), and goes on behind one turn.
BEHIND = 3.0
GAP = 0.5  # seconds between two lines of who prints without end, where some may be missing
ENDED_AFTER = 10.0  # seconds of a brake after which it is looked whether its agent has ended
TAIL = 20_000  # lines that are read then of what is left
UNREAD = "its node has no log of the agent any more: the end of its output may be missing"
OURS = b"mayfly: "  # how all of the gate's lines begin, also that of one that could not come to stand there
ACCOUNT = 128  # lines of a launcher's account, which has fewer


class AgentsWord(Protocol):
    """Who listens to what agents say of themselves in their output."""

    def heard(self, generation: Generation, line: str) -> None:
        """One of the gate's own lines, before there is a job."""

    def key(self, generation: Generation) -> str:
        """What the lines of its launcher's account begin with; ``""``: nobody knows."""

    def told(self, generation: Generation, container: ContainerId, account: str) -> None:
        """All of that account: it is about to end. (This may wait, some seconds.)"""


class _Followed:
    """One agent; its thread alone touches it, bar what waits for the disk."""

    def __init__(
        self, generation: Generation, container: ContainerId, file: KeptFile, meter: OutputMeter
    ) -> None:
        self.generation = generation
        self.container = container
        self.file = file
        self.meter = meter
        self.lines: bytearray | None = None  # None: nobody wants them
        self.stream: Stream | None = None
        self.resume: Resume | None = None  # None: not known yet
        self.opened = threading.Event()  # the file, or nothing ever will be
        self.room = threading.Semaphore(BACKLOG // PIECE)
        self.first = (
            0  # how many lines of the log were taken from its beginning; -1: not from there
        )
        self.overlaps = False  # what comes is to begin with something that is kept
        self.unread = False  # its node has said that it has no log of it
        self.key = ""  # what its launcher's account comes with; "": not known
        self.account: list[str] = []  # of it, so far
        self.told = False  # all of it was passed on
        self.braked = 0.0  # seconds in all for which no more was read
        self.behind = False  # whether so much was to be read at last that some may have been missed
        self.at = 0.0  # when the last line was written, in seconds since the epoch
        self.tail = False  # only the end of what is left is read

    @property
    def slot(self) -> str:
        """Whose agent it is."""
        return name_and_uid(self.container)[0].removesuffix(f"-{self.generation}")


class OutputKeeper:
    """Follows, keeps and shows the output of all agents; see ``engines.protocol``."""

    def __init__(
        self,
        api: Api,
        path: str,
        directory: Path,
        listener: OutputListener,
        word: AgentsWord,
        *,
        per_agent: int,
        total: int,
    ) -> None:
        self._api = api
        self._path = path
        self._listener = listener
        self._word = word
        self._per_agent = per_agent
        self._store = OutputStore(directory, total, listener.failed)
        self._followed: dict[Generation, _Followed] = {}
        self._stopping = threading.Event()
        self._brake = OutputBrake()

    # -- asked from any thread -------------------------------------------------------------

    def start(self) -> None:
        """Look at what is kept from before, and begin."""
        self._store.start()

    def close(self) -> None:
        """Stop following and finish writing; pods are left as they are."""
        self._stopping.set()
        for one in tuple(self._followed.values()):
            one.opened.set()
            stream = one.stream
            if stream is not None:
                stream.stop()
        self._store.close()

    def follow(
        self, generation: Generation, container: ContainerId, *, lines: bool = False
    ) -> None:
        """Follow a pod from where its kept output ends; safe to repeat."""
        if not naming.is_generation(generation):
            raise Refused(f"the generation {generation!r} cannot name a file; remove its pod")
        if generation in self._followed:
            return
        file = KeptFile(self._store.path(generation), self._per_agent)
        meter = OutputMeter(generation, self._listener.printed)
        one = _Followed(generation, container, file, meter)
        one.lines = bytearray() if lines else None
        self._followed[generation] = one
        self._open(one)
        thread = threading.Thread(
            target=self._run, args=(one,), name=f"output-{generation}", daemon=True
        )
        if not begun(thread):
            self._followed.pop(generation, None)  # it is asked for again at the next look

    def read(
        self, generation: Generation, *, follow: bool, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Chunk]:
        """What is kept of an agent; see ``engines.protocol``."""
        if not naming.is_generation(generation):
            return
        yield from self._store.read(
            generation, live=lambda: follow and generation in self._followed, stop=stop
        )

    # -- an agent's thread -----------------------------------------------------------------

    def _open(self, one: _Followed) -> None:
        def opened(resume: Resume) -> None:
            one.resume = resume
            one.opened.set()

        def unreadable() -> None:
            one.opened.set()

        self._store.open(one.generation, one.file, opened, unreadable)

    def _run(self, one: _Followed) -> None:
        try:
            one.opened.wait()
            if one.resume is not None and not one.resume.ended:
                self._follow_on(one)
                return
            self._over(one)
        except Exception as error:  # noqa: BLE001  one agent's trouble must be told, and the others go on
            self._listener.failed(f"the output of agent {one.generation}", error)
            self._followed.pop(one.generation, None)

    def _follow_on(self, one: _Followed) -> None:
        """Until the pod has ended and its log was read to its end, or it is gone."""
        assert one.resume is not None
        one.first = 0 if not (one.resume.since or one.resume.known) else -1
        tries = 0
        while not self._stopping.is_set():
            last = False
            try:
                pod = self._pod(one)
                last = has_ended(pod)
                if last and never_began(pod):
                    self._finish(one, CUT)
                    return
                if last or runs(pod):
                    tail = one.tail
                    tries = 0 if self._read_on(one, last=last) else tries + 1
                    if last and one.tail == tail and not self._stopping.is_set():
                        self._finish(one, UNREAD if one.unread else None)
                        return
                else:
                    tries += 1
            except Gone:
                self._finish(one, CUT)
                return
            except Fault:
                tries += 1
            self._stopping.wait(BACKOFF[min(tries, len(BACKOFF) - 1)] if tries else 0.0)

    def _pod(self, one: _Followed) -> Any:
        name, uid = name_and_uid(one.container)
        pod = self._api.call("GET", f"{self._path}/{name}", f"looking at pod {name}")
        if (pod.get("metadata") or {}).get("uid") != uid:
            raise Gone(f"pod {name} is another one; look again")
        return pod

    def _read_on(self, one: _Followed, *, last: bool) -> bool:
        """Whether anything new came."""
        assert one.resume is not None
        name, _ = name_and_uid(one.container)
        query = {"container": CONTAINER, "timestamps": "true", "follow": str(not last).lower()}
        newest = one.resume.newest
        if one.tail:
            query["tailLines"] = str(TAIL)
        elif newest:
            at = time.gmtime(max(0, newest // 10**9 - 1))
            query["sinceTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", at)
        doing = f"reading the log of pod {name}"
        held = partial(setattr, one, "stream")
        try:
            path = f"{self._path}/{name}/log"
            stream = self._api.stream(path, query, doing, idle=SILENT, held=held)
        except Gone as gone:
            # A kubelet that starts again does not know its pods yet: that says nothing of the pod.
            raise Passing(str(gone)) from gone
        new, begins, tail = False, True, one.tail
        one.overlaps, one.unread = bool(one.resume.known), False
        try:
            if self._stopping.is_set():
                return False
            before = b""  # of the line that goes on: its time and a space
            for piece in stream.lines(PIECE):
                if not last and not piece.endswith(b"\n") and len(piece) < PIECE:
                    break  # it broke off in a line, of which all comes with the next answer
                text = piece if before else piece.partition(b" ")[2]
                time_of = before or piece[: len(piece) - len(text)]
                written = _seconds_of(time_of)
                if written is None:
                    # "unable to retrieve container logs for ..." comes in place of a log, with status 200.
                    one.unread = True
                    break
                before = b"" if piece.endswith(b"\n") else time_of
                jobs = self._without_account(one, text)
                if jobs or not text:
                    self._tell_of_gap(one, written)
                    new = self._take(one, time_of + jobs, jobs, begins=begins) or new
                begins = False
                if not self._may_read_on(one, piece, last=last):
                    one.tail = True
                    break
        finally:
            one.stream = None
            self._brake.forget(one.slot)
            stream.close()
            if not last or one.tail != tail:
                self._remember(one)
        return new

    def _tell_of_gap(self, one: _Followed, at: float) -> None:
        """Where what was read last was old, and this is much younger, a file of the log may lie between."""
        if one.behind and at - one.at > GAP and one.braked:
            self._write(one, own_frame(NOTE, SKIPPED))
        one.at, one.behind = at, time.time() - at > BEHIND

    def _may_read_on(self, one: _Followed, piece: bytes, *, last: bool) -> bool:
        """Wait where its slot has no allowance left; whether there is reason to read on behind it: of one
        that has ended meanwhile only the end is of use to anybody, and its slot's next ones are to be read.
        """
        pause = self._brake.read(one.slot, piece.count(b"\n"), len(piece))
        if not pause:
            return True
        if not one.braked:
            self._write(one, own_frame(NOTE, BRAKED))
        looked = one.braked // ENDED_AFTER
        one.braked += pause
        self._stopping.wait(pause)
        if one.tail or one.braked // ENDED_AFTER == looked:
            return True
        with suppress(Fault):
            return not (last or has_ended(self._pod(one)))
        return True

    def _without_account(self, one: _Followed, text: bytes) -> bytes:
        """What of it is not its launcher's account; that is passed on as soon as it is whole."""
        if OURS not in text:
            return text
        # (Of one that stood at its gate already another manager has heard the first line.)
        one.key = one.key or self._word.key(one.generation)
        if not one.key:
            return text
        mark = f"mayfly: {one.key} ".encode()
        at = text.find(mark)
        if at < 0:
            return text
        line = text[at + len(mark) :].decode(errors="replace").rstrip("\n")
        if not one.told and len(one.account) < ACCOUNT:
            one.account.append(line)
            if line.startswith("exit "):
                one.told = True
                self._word.told(one.generation, one.container, "\n".join(one.account))
        return text[:at]

    def _remember(self, one: _Followed) -> None:
        """Read what is kept again, so that a log that is asked for once more brings nothing twice."""
        one.opened.clear()
        one.resume = None
        self._open(one)
        while not one.opened.wait(0.5) and not self._stopping.is_set():
            pass
        if one.resume is None:
            one.resume = Resume()

    def _take(self, one: _Followed, payload: bytes, text: bytes, *, begins: bool) -> bool:
        """One line, or a piece of one, with its time; whether it is new."""
        assert one.resume is not None
        frame = struct.pack(">BxxxL", OUT, len(payload)) + payload
        fresh = one.resume.fresh(frame)
        if not fresh:
            return False
        if one.overlaps:
            one.overlaps = False
            if not one.resume.met:
                self._write(one, own_frame(NOTE, SKIPPED))
        if begins and one.first == 0 and not text.startswith(AT_GATE):
            if not text.startswith(OURS):
                self._write(one, own_frame(NOTE, UNBEGUN))
            one.first = -1
        if 0 <= one.first < 2:
            self._word.heard(one.generation, text.decode(errors="replace").rstrip("\n"))
            self._listener.rung(one.generation)
            one.first += 1
        if one.lines is not None:
            one.lines += text[: PIECE - len(one.lines)]
            if text.endswith(b"\n"):
                self._listener.line(one.generation, OUT, bytes(one.lines).rstrip(b"\n"))
                one.lines.clear()
        one.meter.add(text.count(b"\n"), len(frame))
        self._write(one, fresh)
        return True

    def _write(self, one: _Followed, frame: bytes) -> None:
        one.room.acquire()
        self._store.write(one.generation, one.file, frame, lambda _: one.room.release())

    def _finish(self, one: _Followed, missing: str | None) -> None:
        """Nothing will follow; ``missing``: why nobody can say whether this was all."""
        if missing is not None:
            self._write(one, own_frame(NOTE, missing))
        self._store.end(one.generation, one.file, partial(self._over, one))

    def _over(self, one: _Followed) -> None:
        if self._followed.get(one.generation) is one:
            del self._followed[one.generation]
        self._listener.ended(one.generation)


def _seconds_of(prefix: bytes) -> float | None:
    """Since the epoch; ``None``: it is no time."""
    try:
        return stamp(prefix)[0] / 1e9 or None
    except ValueError:
        return None
