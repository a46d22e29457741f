"""A wall clock that can be moved under one process, and no other: a library that goes before libc's.

    clock = MovedClock(tmp_path)
    subprocess.Popen([...], env=os.environ | clock.environment())
    clock.ahead(3 * 3600)

The steady clock is left as it is, as it is when somebody sets a machine's time.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void)
{
    char text[32];
    const char *name = getenv("MOVED_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return 0;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    if (size <= 0)
        return 0;
    text[size] = 0;
    return atol(text);
}

int clock_gettime(clockid_t which, struct timespec *when)
{
    int code = syscall(SYS_clock_gettime, which, when);
    if (code == 0 && which == CLOCK_REALTIME)
        when->tv_sec += ahead();
    return code;
}
"""


@functools.cache
def library() -> Path:
    """The compiled library, made once for each run of the tests."""
    home = Path(tempfile.mkdtemp(prefix="mayfly-clock-"))
    (home / "clock.c").write_text(SOURCE)
    built = home / "clock.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", built, home / "clock.c"], check=True
    )
    return built


class MovedClock:
    """The wall clock of whoever is started with its environment."""

    def __init__(self, home: Path) -> None:
        self._file = home / "ahead"
        self.ahead(0)

    def environment(self) -> dict[str, str]:
        """What to add to a process's environment."""
        return {"LD_PRELOAD": str(library()), "MOVED_CLOCK": str(self._file)}

    def ahead(self, seconds: int) -> None:
        """So many seconds ahead of everyone else's from now on; behind where negative."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds}\n")
        new.replace(self._file)
