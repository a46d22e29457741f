"""What an exit code says by itself: the signal that ended a process, as shells have it."""

from __future__ import annotations

SIGNALLED = 128  # plus a signal's number
# Those that end a process where it does not see to them (signal(7), x86 and ARM).
SIGNALS = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    10: "SIGUSR1",
    11: "SIGSEGV",
    12: "SIGUSR2",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}


def signal_of(code: object) -> str:
    """The name of the signal that a code tells of, such as ``SIGSEGV``; empty where it tells of none."""
    return SIGNALS.get(code - SIGNALLED, "") if isinstance(code, int) else ""
