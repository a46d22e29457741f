"""A Python command line without the half second that Mayfly's modules take to be imported.

One process a test run imports them; each command line is a copy of it (a fork) with arguments, files and
an environment of its own, which runs what `python` would run and ends as any process does. There is one
more for each way to start that is asked for again: with other libraries, or in a hurry (`tests/hurried.py`).
What a test is to find out about the start itself (imports, the program's name) takes a process of its own.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
MAYFLY = (sys.executable, "-m", "mayfly.cli.app")
HURRIED = ROOT / "tests/hurried.py"
LIBRARIES = "LD_LIBRARY_PATH"
FILES = 5  # standard input, output, error, where the end is told, and what is asked for


class Copy:
    """A copy that runs; of `subprocess.Popen` what the tests use."""

    def __init__(self, report: int) -> None:
        """``report`` tells its process id at once, and later its exit code: a line each."""
        self._report = os.fdopen(report, "rb", buffering=0)
        self._read = b""
        self.returncode: int | None = None
        while b"\n" not in self._read:
            self._more()
        line, self._read = self._read.split(b"\n", 1)
        self.pid = int(line)

    def poll(self) -> int | None:
        """Its exit code, minus the signal that killed it; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """The same once it has ended; ``subprocess.TimeoutExpired`` where that takes more seconds."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it, whatever it does."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        end = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            if self._read.endswith(b"\n"):
                self.returncode = int(self._read)
                self._report.close()
                break
            left = None if end is None else max(0.0, end - time.monotonic())
            if not select.select([self._report], [], [], left)[0]:
                return None
            self._more()
        return self.returncode

    def _more(self) -> None:
        piece = self._report.read(32)
        assert piece, "the process that copies are made of has ended"
        self._read += piece


@dataclass(frozen=True)
class Beginning:
    """What a process reads when it starts, and never again."""

    libraries: str | None = None  # where the linker looks first
    limits: tuple[str, ...] = ()  # those of mayfly's that are made short


_asked: Counter[Beginning] = Counter()


def beginning(words: Sequence[str], environment: Mapping[str, str]) -> Beginning | None:
    """That of the process whose copy does what a process of its own would; None where none does."""

    def read_at_start(found: Mapping[str, str]) -> set[tuple[str, str]]:
        names = [name for name in found if name.startswith(("LD_", "PYTHON")) and name != LIBRARIES]
        return {(name, found[name]) for name in names} - {
            ("PYTHONUNBUFFERED", "1"),
            ("PYTHONPATH", str(ROOT)),
        }

    if words[0] != sys.executable or read_at_start(environment) != read_at_start(os.environ):
        return None
    libraries = environment.get(LIBRARIES)
    if words[1] == str(HURRIED):
        return Beginning(libraries, tuple(words[2:]))
    # A script may change a module before others import from it.
    return Beginning(libraries) if words[1] in ("-m", "-c") else None


def start(
    words: Sequence[str],
    environment: Mapping[str, str],
    files: tuple[int, int, int],
    *,
    session: bool = False,
    terminal: bool = False,
    folder: str | None = None,
) -> Copy | subprocess.Popen[bytes]:
    """Begin a command line, by a copy where possible; ``files``: its standard input, output, error.

    ``terminal``: the first is its terminal, and ^C typed there reaches it. ``folder``: where it begins; None:
    where this process is.
    """
    begins = beginning(words, environment)
    if begins is not None:
        _asked[begins] += 1
    # What is asked for once is not worth the import of all verbs.
    if begins is None or (begins != Beginning() and _asked[begins] == 1):
        stdin, stdout, stderr = files
        if terminal:
            words = ("setsid", "--ctty", "env", "--default-signal=INT", *words)
        return subprocess.Popen(
            words,
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=session,
            cwd=folder,
        )
    reads, writes = os.pipe()
    asked = {
        "words": (*MAYFLY, "run") if begins.limits else words,
        "environment": dict(environment),
        "folder": folder or str(Path.cwd()),
        "session": session or terminal,
        "terminal": terminal,
    }
    with os.fdopen(writes, "wb"), os.fdopen(os.memfd_create("asked"), "w+") as request:
        json.dump(asked, request)
        request.seek(0)
        socket.send_fds(_original(begins)[0], [b"!"], [*files, writes, request.fileno()])
    return Copy(reads)


def run(
    words: Sequence[str], environment: Mapping[str, str], typed: bytes = b"", timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """The same to its end; it reads ``typed``. After so many seconds it is killed, as by `subprocess.run`."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as told,
    ):
        given.write(typed)
        given.seek(0)
        copy = start(words, environment, (given.fileno(), out.fileno(), told.fileno()))
        try:
            code = copy.wait(timeout)
        except BaseException:
            copy.kill()
            copy.wait()
            raise
        return subprocess.CompletedProcess(list(words), code, _whole(out), _whole(told))


def command(
    *words: str | Path, environment: Mapping[str, str] | None = None, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """``mayfly WORDS`` to its end, in text; ``environment``: None is this process's."""
    whole = (*MAYFLY, *map(str, words))
    done = run(whole, os.environ if environment is None else environment, typed.encode())
    said = [str(stream, "utf-8") for stream in (done.stdout, done.stderr)]
    return subprocess.CompletedProcess(done.args, done.returncode, *said)


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


@functools.cache
def _original(begins: Beginning) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The process that copies are made of, and the way to it; it ends with this one."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop(LIBRARIES, None)
    if begins.libraries is not None:
        environment[LIBRARIES] = begins.libraries
    with its:
        return ours, subprocess.Popen(
            [sys.executable, __file__, str(its.fileno()), *begins.limits],
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            start_new_session=True,
        )


def _serve(door: socket.socket) -> list[str] | None:
    """Make copies until nobody is left who asks; in a copy, what it is to run."""
    # Nobody waits for those who wait for copies.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, files, _, _ = socket.recv_fds(door, 1, FILES)
        if not message:
            return None
        if os.fork() == 0:
            door.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            *standard, report, request = files
            _tell_of_a_copy(report)
            with os.fdopen(request) as file:
                asked = json.load(file)
            return _become(asked, standard)
        for number in files:
            os.close(number)


def _tell_of_a_copy(report: int) -> None:
    """Make the copy, which alone returns; tell its id, wait for its end and tell that."""
    pid = os.fork()
    if pid == 0:
        return
    os.write(report, f"{pid}\n".encode())
    os.closerange(0, report)
    os.closerange(report + 1, report + FILES)
    _, status = os.waitpid(pid, 0)
    os.write(report, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(asked: Mapping[str, Any], files: Sequence[int]) -> list[str]:
    """Have the files, the folder and the environment that were asked for, and no others; what to run."""
    if asked["session"]:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, max(files) + FILES)
    if asked["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape")
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape")
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace")
    sys.stdout.reconfigure(write_through=unbuffered)
    words: list[str] = asked["words"]
    return words


def _python(words: Sequence[str]) -> None:
    """Run what ``python`` of this command line would."""
    option, *rest = words[1:]
    if option == "-m":
        sys.argv, sys.path[0] = list(rest), str(Path.cwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})


def _end(code: int) -> NoReturn:
    """End as the interpreter does, without taking its modules apart: that copies all memory."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    from tests.hurried import shorten

    for limit in sys.argv[2:]:  # before anything reads it
        shorten(limit)
    import mayfly.cli

    import_module("mayfly.service.daemon")
    for verb in Path(mayfly.cli.__path__[0]).glob("verbs_*.py"):
        import_module(f"mayfly.cli.{verb.stem}")
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as given:
        found = _serve(given)
    if found is not None:
        try:
            _python(found)
        except SystemExit as end:
            if isinstance(end.code, int):
                _end(end.code)
            raise
