"""What people type at ``submit`` that a job would not take as they mean it: refused in one sentence.

Neither would fail by itself in a way that tells why: a line for a shell is a program that nobody has, and
what is piped in is read by nobody. It never reads from standard input, which may be somebody else's.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import termios
from collections.abc import Sequence
from shlex import quote

from mayfly.cli.trouble import Usage

SHELLS = frozenset(" \t\n|&;<>()$`*?\"'")  # characters that only a shell makes something of


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


def _waiting(descriptor: int) -> bool:
    try:
        kind = os.fstat(descriptor)
        if stat.S_ISREG(kind.st_mode):
            return kind.st_size > 0 and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
        if stat.S_ISFIFO(kind.st_mode) or stat.S_ISSOCK(kind.st_mode):
            return bool(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0])
    except OSError:  # it is closed, or of a kind that cannot be asked
        return False
    return False
