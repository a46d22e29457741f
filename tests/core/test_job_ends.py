"""Each way in which a job does not succeed has its line, and one that succeeds has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.exit_codes import signal_of
from mayfly.core.job_ends import why
from mayfly.core.memory import Agent, Doom, Job
from mayfly.core.model import Cause, DoomReason, Exit, Generation, JobId, PoolName, SlotName
from mayfly.core.outcomes import End

T = 1_800_000_000.0
GIB = 1 << 30
POOL = PoolName("a")
AGENT = Agent(
    *(Generation("g1"), SlotName("a-0"), POOL, 1, "f", "image", (), T), memory=8 * GIB, shm=4 * GIB
)
BARE = replace(AGENT, memory=None, shm=None)
JOB = Job(JobId("j1"), POOL, 1, T)


def ended(code: int, oom_kills: int | None = 0, because: str = "") -> End:
    return End(True, True, Exit(code, oom_kills, T), because=because)


CASES: dict[str, tuple[Cause | None, End, Agent, Job]] = {
    "": (None, ended(0), AGENT, JOB),
    "it ended with exit code 3": (Cause.EXIT, ended(3), AGENT, JOB),
    "its command was not found (exit code 127)": (Cause.EXIT, ended(127), AGENT, JOB),
    "its command could not be run (exit code 126)": (Cause.EXIT, ended(126), AGENT, JOB),
    "it was ended by SIGSEGV (exit code 139)": (Cause.EXIT, ended(139), AGENT, JOB),
    "it ended with exit code 255": (Cause.EXIT, ended(255), AGENT, JOB),
    "it was ended by SIGBUS (exit code 135); /dev/shm has 4GiB, and where that was full: set limits.shm": (
        *(Cause.EXIT, ended(135), AGENT, JOB),
    ),
    "it was ended by SIGBUS (exit code 135); /dev/shm has 64MiB, and where that was full: set limits.shm": (
        *(Cause.EXIT, ended(135), BARE, JOB),
    ),
    "it was out of memory: its limit is 8GiB": (Cause.OOM, ended(137, 1), AGENT, JOB),
    "it was out of memory: its limit is 8GiB, and the kernel killed 3 of its processes": (
        *(Cause.OOM, ended(1, 3), AGENT, JOB),
    ),
    "the host was out of memory: its pool has no limits.memory": (
        *(Cause.OOM, ended(137, 1), BARE, JOB),
    ),
    "it was over its time limit: ran for more than 60 s": (
        *(Cause.TIMEOUT, ended(143, because="ran for more than 60 s"), AGENT, JOB),
    ),
    "it was over its disk limit: wrote 9 bytes; its pool allows 8": (
        *(Cause.DISK, ended(143, because="wrote 9 bytes; its pool allows 8"), AGENT, JOB),
    ),
    "it was ended by ann": (
        *(Cause.CANCELLED, ended(143), AGENT, replace(JOB, cancelled_by="ann")),
    ),
    "it was ended by bob": (
        *(Cause.CANCELLED, ended(143), replace(AGENT, doom=Doom(DoomReason.FORCED, T, "bob"))),
        JOB,
    ),
    "the Engine stopped or was restarted while it ran": (
        *(Cause.ENGINE_STOPPED, End(True, True, None), AGENT, JOB),
    ),
    "somebody other than Mayfly killed its container": (
        *(Cause.KILLED, End(True, True, None), AGENT, JOB),
    ),
    "nothing tells how its container ended": (Cause.UNKNOWN, End(True, True, None), AGENT, JOB),
}


@pytest.mark.parametrize("told", CASES)
def test_a_job_says_why_it_did_not_succeed(told: str) -> None:
    assert why(*CASES[told]) == told


def test_every_cause_that_a_job_may_end_of_has_a_case() -> None:
    elsewhere = {Cause.NEVER_STARTED, Cause.AFTER}  # it had no agent
    assert {case[0] for case in CASES.values() if case[0]} == set(Cause) - elsewhere


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (137, "SIGKILL"),
        (130, "SIGINT"),
        (128, ""),
        (0, ""),
        (-9, ""),
        (255, ""),
        (None, ""),
        ("137", ""),
        (True, ""),
    ],
)
def test_a_signal_is_told_by_its_name_and_what_is_none_is_not(code: object, name: str) -> None:
    assert signal_of(code) == name
