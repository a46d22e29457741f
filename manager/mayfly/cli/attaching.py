"""A person's end of an attachment: what is typed goes to the process, what it prints comes here.

On a terminal each key goes as it is typed, so that ^C and ^Z are the process's; the terminal is put back
whatever happens. Without one, standard input, output and error are the process's. Nothing is interpreted but
``~.`` at the beginning of a line of a terminal, which leaves, as ssh has it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import termios
import tty
from collections.abc import Iterator
from types import FrameType

from mayfly.cli.trouble import Down
from mayfly.core.attaching import (
    SIDE_MAX,
    End,
    Frames,
    Kind,
    Malformed,
    Size,
    end_in,
    framed,
    size_frame,
)

READ = 64 * 1024
INTERRUPTED = 130
LEFT = 0
BROKEN = "the manager behind this connection broke it off; the job goes on"


class Interrupted(Exception):
    """The person has left, or wants to: in one sentence."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def terminal_size() -> Size:
    """Of this process's terminal; one that says nothing of use is as large as any."""
    try:
        found = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return Size(24, 80)
    rows, columns = (min(max(1, side), SIDE_MAX) for side in (found.lines, found.columns))
    return Size(rows, columns)


def conversation(way: socket.socket, ahead: bytes, *, terminal: bool) -> End:
    """Talk to the process until it, or this end, is over; ``Interrupted`` where the person left."""
    with way, _raw() if terminal else contextlib.nullcontext(), _resizes(terminal) as resized:
        try:
            return _Conversation(way, resized, terminal=terminal).run(ahead)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted, and what was started with it is ended", INTERRUPTED
            ) from None
        except Malformed as error:
            raise Down("the manager answered with something that is not understood") from error


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Keys as they are typed."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    # Who is told to end puts the terminal back first.
    asked = signal.signal(signal.SIGTERM, signal.default_int_handler)
    tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed ahead is kept
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, asked)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizes(terminal: bool) -> Iterator[socket.socket | None]:
    """What becomes readable when the window has another size; ``None`` without a window."""
    if not terminal:
        yield None
        return
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)

    def changed(_: int, __: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            there.send(b"\0")

    before = signal.signal(signal.SIGWINCH, changed)
    try:
        yield here
    finally:
        signal.signal(signal.SIGWINCH, before)
        here.close()
        there.close()


class _Conversation:
    def __init__(
        self, way: socket.socket, resized: socket.socket | None, *, terminal: bool
    ) -> None:
        self._way = way
        self._resized = resized
        self._terminal = terminal
        # (A standard input that was closed is None.)
        self._keyboard = sys.stdin.fileno() if sys.stdin is not None else -1
        self._listens = self._keyboard >= 0  # to what is typed, or piped in
        self._frames = Frames()
        self._out = bytearray(b"" if self._listens else framed(Kind.INPUT))
        self._escape = _Escape() if terminal else None

    def run(self, ahead: bytes) -> End:
        self._way.setblocking(False)
        end = self._shown(ahead)
        while end is None:
            ready = self._ready()
            if self._resized is not None and self._resized in ready:
                self._resized.recv(READ)
                self._out += size_frame(terminal_size())
            if self._keyboard in ready:
                self._typed()
            if self._way in ready:
                end = self._came()
            if self._out and end is None:
                self._flush()
        return end

    def _ready(self) -> set[object]:
        """What is to be read. While the manager takes nothing, nothing is read that would go to it."""
        room = len(self._out) < READ
        with selectors.DefaultSelector() as selector:
            write = selectors.EVENT_WRITE if self._out else 0
            selector.register(self._way, selectors.EVENT_READ | write)
            if self._resized is not None:
                selector.register(self._resized, selectors.EVENT_READ)
            regular = False
            if self._listens and room:
                try:
                    selector.register(self._keyboard, selectors.EVENT_READ)
                except PermissionError:  # a file, which is always ready
                    regular = True
            found = selector.select(0 if regular else None)
        ready: set[object] = {key.fileobj for key, events in found if events & selectors.EVENT_READ}
        if regular:
            ready.add(self._keyboard)
        return ready

    def _typed(self) -> None:
        try:
            data = os.read(self._keyboard, READ)
        except OSError:  # the terminal has gone
            data = b""
        if data and self._escape is not None:
            data, left = self._escape.passed(data)
            if left:
                raise Interrupted("left, and what was started is ended", LEFT)
        elif not data:
            self._listens = False
            if self._terminal:
                raise Interrupted("the terminal has gone", INTERRUPTED)
            self._out += framed(Kind.INPUT)
            return
        if data:
            self._out += framed(Kind.INPUT, data)

    def _came(self) -> End | None:
        try:
            data = self._way.recv(READ)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            raise Down(BROKEN)
        return self._shown(data)

    def _shown(self, data: bytes) -> End | None:
        for frame in self._frames.feed(data):
            if frame.kind is Kind.END:
                return end_in(frame)
            self._show(frame.kind, frame.data)
        return None

    def _show(self, kind: Kind, data: bytes) -> None:
        if self._terminal:
            _written(sys.stdout.fileno(), data)
            return
        stream = sys.stderr if kind is Kind.ERR else sys.stdout
        stream.buffer.write(data)
        stream.flush()

    def _flush(self) -> None:
        try:
            del self._out[: self._way.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:  # why stands in what it has sent before
            self._out.clear()


def _written(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


class _Escape:
    """Finds ``~.`` at the beginning of a line; ``~~`` there is one of them."""

    def __init__(self) -> None:
        self._begins = True  # a line
        self._held = False  # a ~ that may be the beginning

    def passed(self, data: bytes) -> tuple[bytes, bool]:
        """What is for the process, and whether the person leaves."""
        given = bytearray()
        for byte in data:
            if self._held:
                self._held = False
                if byte == ord("."):
                    return bytes(given), True
                if byte != ord("~"):
                    given += b"~"
            elif self._begins and byte == ord("~"):
                self._held = True
                continue
            given.append(byte)
            self._begins = byte in b"\r\n"
        return bytes(given), False
