"""What this process may take while it works out what a stranger has written: processor's time and memory."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from mayfly.edge.faults import Refused


class OwnLimits:
    """So many seconds in all, and so many bytes more at a time; of the main thread, which gets the signal."""

    def __init__(self, seconds: float, size: int, what: str) -> None:
        """``what``: the beginning of the sentence that says what took too much."""
        self._left = seconds
        self._seconds, self._size, self._what = seconds, size, what

    @contextmanager
    def kept(self) -> Iterator[None]:
        """``Refused`` where what is done meanwhile takes more. Programs that it starts have as much each."""
        began = _used()
        before = {
            what: resource.getrlimit(what) for what in (resource.RLIMIT_CPU, resource.RLIMIT_AS)
        }
        _lower(resource.RLIMIT_CPU, int(began + self._left) + 1)
        _lower(resource.RLIMIT_AS, _mapped() + self._size)
        signal.signal(signal.SIGXCPU, self._over)
        try:
            yield
        except MemoryError:
            raise Refused(
                f"{self._what}: more than {self._size // 1024**2} MiB of memory"
            ) from None
        finally:
            signal.signal(signal.SIGXCPU, signal.SIG_IGN)
            for what, limits in before.items():
                resource.setrlimit(what, limits)
            self._left = max(0.0, self._left - (_used() - began))

    def _over(self, *_: object) -> NoReturn:
        raise Refused(f"{self._what}: more than {self._seconds:g} s of a processor")


def _lower(what: int, most: int) -> None:
    soft, hard = resource.getrlimit(what)
    if soft == resource.RLIM_INFINITY or soft > most:
        resource.setrlimit(what, (most, hard))


def _used() -> float:
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime


def _mapped() -> int:
    """Bytes of this process's addresses."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()
