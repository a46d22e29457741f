"""The witnesses: a directory per agent on the host, where its launcher records what became of it.

The launcher writes, Mayfly reads. A job that is root in its container can write there too, so nothing of it
is trusted: a name is looked at beneath the directory before it is opened, so that no link is followed, no
pipe waited for and no device begun; only a regular file that says a record to the letter is one, and whatever
else lies there is no record. What the host cannot read for reasons of its own is not known yet, so that no
agent is taken for ended by a sick disk.
"""

from __future__ import annotations

import errno
import math
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mayfly.core import naming
from mayfly.core.model import Exit, GateDeath, Generation, Witness
from mayfly.edge.agent_folder import agent_folder
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.removal import remove_tree

# Bytes of the file ``spare``, set aside for an account that a full disk would not take: the launcher writes
# over them, all of them, and only where it cannot write ``exit``.
HELD = "held"  # in a witness: the seconds for which a container that is started once more stays
LASTS = "lasts"  # and of a reservation that was extended those after which its job is ended, in all
SPARE = b" " * 32
RECORD = 64 * 1024  # bytes of a record that are read
SIGNS = 64  # lines of ``signs``, as the launcher bounds them; a job may have written more
SIGN = 300  # characters of one
MOST = 1 << 20  # bytes on disk in a witness; an honest one has some KiB
MOST_FILES = 16  # in it; an honest one has eight at most
NEAR = 24 * 3600.0  # seconds by which a clock may have been set since a record was written

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_RECORD = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# What the launcher writes; the line of ``spare`` is padded.
_EXIT = re.compile(rb"([0-9]{1,3}) ([0-9]{1,9}|-) *\n")
_USER = re.compile(rb"([1-9][0-9]{0,9}:[1-9][0-9]{0,9})\n")
_DIED = re.compile(rb"([0-9]{1,3}) ([^\n]{1,300})\n")
# Errors that come of what lies there, not of the disk or of this process: nothing, a mode against us, a lease
# that somebody has on it (fcntl(2), F_SETLEASE), or a key that is not ours.
_NO_RECORD = frozenset((errno.ENOENT, errno.EACCES, errno.EPERM, errno.EAGAIN, errno.ENOKEY))


class Witnesses:
    """All witnesses of one state directory, ``STATE/agents/GENERATION``."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir / naming.WITNESSES
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, generation: Generation) -> Path:
        """The directory of that agent; ``Refused`` where that is no generation."""
        return agent_folder(self.root, generation)

    def make(self, generation: Generation) -> Path:
        """Make the directory for a new agent; ``Passing`` where the disk does not take it."""
        path = self.path(generation)
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            # Root in the container has no DAC_OVERRIDE; the parents keep everybody else out.
            path.chmod(0o777)
            spare = path / "spare"
            spare.write_bytes(SPARE)
            spare.chmod(0o666)
        except OSError as error:
            raise Passing(f"cannot make the witness {path}: {error.strerror}") from error
        return path

    def read(self, generation: Generation) -> Witness | None:
        """What the launcher has recorded; ``None`` where there is no such witness.

        ``Passing`` where the host cannot read it: what it says is then unknown, not nothing.
        """
        if unheard(self.root, generation).exists():
            raise Passing(f"agent {generation} runs elsewhere and was not heard of since the start")
        with _opened_directory(self.path(generation)) as place:
            if place is None:
                return None
            now = time.time()
            opened, end = _record(place, "opened"), _record(place, "exit")
            exited = _exit(end, now)
            signs: tuple[str, ...] = ()
            # Before that there was no job that could have written it.
            died = _died(_record(place, "died")) if opened is None else None
            if opened is not None:
                exited = exited or _exit(_record(place, "spare"), now)
                signs = _signs(_record(place, "signs"))
            return Witness(
                ready=_ready(_record(place, "ready"), generation, now),
                opened=_opened(opened, now),
                exit=exited,
                died=died,
                signalled=_record(place, "signals") is not None,
                signs=signs,
            )

    def hold(self, generation: Generation, seconds: float) -> None:
        """Have the agent's gate stay shut when its container is started once more, and end after so many
        seconds by itself. ``Passing`` where the disk does not take it.
        """
        self._write(generation, HELD, f"{max(1, math.ceil(seconds))}\n")

    def _write(self, generation: Generation, name: str, text: str) -> None:
        place = self.path(generation) / name
        try:
            # Whatever a job has put there: nothing of it is followed or kept.
            place.unlink(missing_ok=True)
            with os.fdopen(
                os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w"
            ) as file:
                file.write(text)
        except OSError as error:
            raise Passing(f"cannot write {place}: {error.strerror}") from error

    def lasts(self, generation: Generation, text: str) -> None:
        """Let its launcher end the agent's job later than it was told at its gate: after that in all.
        ``Passing`` where the disk does not take it.
        """
        self._write(generation, LASTS, text)

    def user(self, generation: Generation) -> str | None:
        """As whom its job runs, ``UID:GID``; ``None`` where its launcher has not said, or says root
        or root's group: a job may have written that.

        ``Passing`` where the host cannot read it.
        """
        with _opened_directory(self.path(generation)) as place:
            record = _record(place, "user") if place is not None else None
        said = _USER.fullmatch(record.text) if record is not None else None
        return said[1].decode() if said is not None else None

    def overfull(self, generation: Generation) -> bool:
        """Whether more lies there than any launcher writes, so that it takes the host's disk.

        What cannot be looked at is not, and what is no generation has none. A file that is open and has no
        name any more cannot be seen.
        """
        try:
            with _opened_directory(self.path(generation)) as place:
                return place is not None and _is_overfull(place)
        except (Passing, Refused, OSError):
            return False

    def remove(self, generation: Generation) -> None:
        """Remove the directory; gone already is success.

        ``Passing`` where there is more in it than is removed at once: what is left goes the next time.
        ``Refused`` where something cannot be removed.
        """
        unheard(self.root, generation).unlink(missing_ok=True)
        remove_tree(self.path(generation))


def unheard(root: Path, generation: Generation) -> Path:
    """The file that says of an agent that runs on another host that nothing of it is known now; beside its
    directory, where no agent can write.
    """
    return root / f"{generation}.unheard"


@dataclass(frozen=True, slots=True)
class _Record:
    """What a file of a witness says, and when it was written last."""

    text: bytes
    at: float


@contextmanager
def _opened_directory(path: Path) -> Iterator[int | None]:
    try:
        place = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise Passing(f"cannot read the witness {path}: {error.strerror}") from error
    try:
        yield place
    finally:
        os.close(place)


def _is_overfull(place: int) -> bool:
    """Bounded in work, whatever is there: it ends at the first entry too many."""
    held = 0
    handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    try:
        with os.scandir(handle) as entries:
            for count, entry in enumerate(entries):
                about = entry.stat(follow_symlinks=False)
                held += about.st_blocks * 512
                if count >= MOST_FILES or held > MOST or stat.S_ISDIR(about.st_mode):
                    return True
    finally:
        os.close(handle)
    return False


def _record(place: int, name: str) -> _Record | None:
    """The file; ``None`` where there is none. Bare calls: a hand-over waits for this, many times."""
    try:
        there = os.open(name, _NAME, dir_fd=place)
        try:
            about = os.fstat(there)
            if not stat.S_ISREG(about.st_mode):
                return None
            handle = os.open(f"/proc/self/fd/{there}", _RECORD)
        finally:
            os.close(there)
        try:
            return _Record(os.read(handle, RECORD), about.st_mtime)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in _NO_RECORD:
            return None
        raise Passing(f"cannot read {name} of a witness: {error.strerror}") from error


def _near(at: float, now: float) -> float:
    """The time, or now where a file cannot be of that time. (A long job's ``opened`` may be days old.)"""
    return at if math.isfinite(at) and 0 < at < now + NEAR else now


def _ready(record: _Record | None, generation: Generation, now: float) -> float | None:
    if record is None or record.text != f"{generation}\n".encode():
        return None
    return _near(record.at, now)


def _opened(record: _Record | None, now: float) -> float | None:
    """When the file was written, whatever it says."""
    return _near(record.at, now) if record is not None and record.text else None


def _exit(record: _Record | None, now: float) -> Exit | None:
    """``CODE OOM_KILLS`` and a newline."""
    said = _EXIT.fullmatch(record.text) if record is not None else None
    if record is None or said is None or int(said[1]) > 255:
        return None
    return Exit(int(said[1]), None if said[2] == b"-" else int(said[2]), _near(record.at, now))


def _died(record: _Record | None) -> GateDeath | None:
    """``CODE WORDS`` and a newline, nothing in it that a screen would obey."""
    said = _DIED.fullmatch(record.text) if record is not None else None
    words = said[2].decode(errors="replace") if said is not None else ""
    if said is None or int(said[1]) > 255 or not words.isprintable():
        return None
    return GateDeath(int(said[1]), words)


def _signs(record: _Record | None) -> tuple[str, ...]:
    if record is None:
        return ()
    lines = record.text.decode(errors="replace").split("\n")
    return tuple(line[:SIGN].rstrip("\r") for line in lines[:SIGNS] if line)
