"""Runs somebody else's program, bounded in time and in what is read of it.

One that takes too long is ended with all that it began; what one that ends by itself leaves behind goes on.
It gets no terminal, no input and a session of its own. What it prints goes to a file that is nobody else's,
so that it is never held up, and is thrown away as soon as it is much, while it runs. The last line is what is
told.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mayfly.core.plain_text import clean, one_line, shortened

LAST = 4096  # bytes from the end that are read of what it printed
PRINTED_MAX = 1024 * 1024  # bytes on disk of that, from which on it is thrown away
LOOK = 0.05  # seconds between two looks at how much it is
TOLD_MAX = 300  # characters
GRACE = 5.0  # seconds to end by itself once its time is over
# systemd's to the manager itself: a child that speaks for it would be believed.
OWN = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    code: int | None  # negative: of a signal; None: its time was over, or it could not be started
    words: str  # its last line; or why it was not run, or not to its end
    began: bool = True  # it was run, whatever came of it


def run(argv: Sequence[str], seconds: float, variables: Mapping[str, str]) -> Ended:
    """Run it to its end, or for so many seconds; never raises."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    with tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.Popen(
                [*argv],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env={**kept, **variables},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            return Ended(None, f"cannot be run: {error.strerror}", began=False)
        except ValueError as error:
            return Ended(None, f"cannot be run: {error}", began=False)
        code = _waited(process, seconds, printed.fileno())
        if code is None:
            _end(process)
            return Ended(None, f"did not end within {seconds:g} s")
        size = printed.seek(0, os.SEEK_END)
        printed.seek(max(0, size - LAST))
        return Ended(code, _last_line(printed.read()))


def _waited(process: subprocess.Popen[bytes], seconds: float, printed: int) -> int | None:
    """Its exit code; ``None`` where it has none after so many seconds."""
    last = time.monotonic() + seconds
    while True:
        try:
            return process.wait(min(LOOK, max(0.0, last - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= last:
                return None
            # (It goes on where it was: what lies before that is a hole then.)
            if os.fstat(printed).st_blocks * 512 > PRINTED_MAX:
                os.ftruncate(printed, 0)


def _last_line(printed: bytes) -> str:
    lines = [line for line in printed.decode(errors="replace").splitlines() if line.strip()]
    return shortened(one_line(clean(lines[-1])), TOLD_MAX) if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its whole group: what it began may outlive it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def told(what: str, ended: Ended) -> str:
    """Why it failed, a sentence's end; ``""``: it did not."""
    if ended.code == 0:
        return ""
    if ended.code is None:
        return f"{what} {ended.words}"
    how = f"ended by signal {-ended.code}" if ended.code < 0 else f"ended with {ended.code}"
    return f"{what} {how}" + (f": {ended.words}" if ended.words else "")
