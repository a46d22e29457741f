"""What people type that would not be taken as they mean it: refused in one sentence.

Nothing of it would fail by itself in a way that tells why: a line for a shell is a program that nobody has,
and what is piped in is read by nobody. It never reads from standard input, which may be somebody else's.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import struct
import termios
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from shlex import quote

from mayfly.cli.trouble import Usage
from mayfly.core.plain_text import clean

SHELLS = frozenset(" \t\n|&;<>()$`*?\"'")  # characters that only a shell makes something of

LATE = (
    "something came on standard input, which the job does not get: say --stdin to give it to the job, or "
    "</dev/null where it is not for it"
)


def words_behind(what: str, words: Sequence[str] | None) -> tuple[str, ...]:
    """The command behind a job or slot, without the ``--`` before it; ``Usage`` where it is an option."""
    if words and words[0] == "--":
        return tuple(words[1:])
    if words and words[0].startswith("-"):
        raise Usage(f"{words[0]} stands behind the {what}, where a command is: options come first")
    return tuple(words or ())


def see_that_it_is_a_program(command: Sequence[str]) -> None:
    """``Usage`` where the whole command is one word that reads as a line for a shell."""
    if len(command) == 1 and SHELLS & set(command[0]):
        line = quote(command[0])
        raise Usage(
            f"no program is called {line}; for a shell's line: mayfly submit -- sh -c {line}"
        )


def see_that_nothing_is_piped_in(descriptor: int = 0) -> None:
    """``Usage`` where standard input has something for a job, which takes none.

    A file that somebody else has begun to read is theirs (``while read``); so is what never comes.
    """
    if _waiting(descriptor):
        raise Usage(
            "standard input has something in it: say --stdin to give it to the job, or </dev/null where it "
            "is not for it"
        )


@contextmanager
def late_input_told(say: Callable[[str], None], descriptor: int = 0) -> Iterator[None]:
    """Say once, as long as this lasts, that something came by a pipe or socket for a job that takes none."""
    if not _comes_in_pieces(descriptor):
        yield
        return
    from threading import Thread  # noqa: PLC0415  only where something may come

    reading, writing = os.pipe()

    def look() -> None:
        events = select.poll()
        events.register(descriptor, select.POLLIN)
        events.register(reading)
        events.poll()
        with suppress(OSError):  # nobody hears it
            if _waiting(descriptor):
                say(LATE)

    looking = Thread(target=look, name="late-input", daemon=True)
    looking.start()
    try:
        yield
    finally:
        os.close(writing)
        looking.join()
        os.close(reading)


def see_that_programs_are_found(command: Sequence[str], paths: Iterable[str]) -> None:
    """``Usage`` where the command is looked for in one of these PATHs that has a word in it and no folder."""
    for path in paths:
        if path and "/" not in path and "/" not in command[0]:
            raise Usage(
                f"PATH={clean(path)} names no folder, and the job looks for {clean(command[0])} there: take "
                "another variable, or write folders (/opt/x/bin:/usr/bin:/bin)"
            )


def _comes_in_pieces(descriptor: int) -> bool:
    try:
        kind = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)


def _waiting(descriptor: int) -> bool:
    try:
        kind = os.fstat(descriptor)
        if stat.S_ISREG(kind.st_mode):
            return kind.st_size > 0 and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
        if _comes_in_pieces(descriptor):
            return bool(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0])
    except OSError:  # it is closed, or of a kind that cannot be asked
        return False
    return False
