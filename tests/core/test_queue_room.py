"""What the embedded queue may hold, of all and of one user."""

from __future__ import annotations

import pytest

from mayfly.core.commands import Caller, Payload
from mayfly.core.memory import Job
from mayfly.core.model import Generation, JobId, PoolName
from mayfly.core.queue_room import MIB, QueueRoom, Share, no_room

ROOM = QueueRoom(
    all=Share(4, 4 * MIB), without_operators=Share(2, 3 * MIB), of_one=Share(3, 2 * MIB)
)
ANN, BOB = 1000, 1001


def waiting(*jobs: tuple[int, int], runs: bool = False) -> list[Job]:
    """Jobs of (uid, bytes)."""
    agent = Generation("g") if runs else None
    return [
        Job(JobId(f"j{number}"), PoolName("p"), number, 0.0, agent=agent, uid=uid, size=size)
        for number, (uid, size) in enumerate(jobs)
    ]


@pytest.mark.parametrize(
    ("jobs", "size", "told"),
    [
        ([], 2 * MIB, None),
        ([], 2 * MIB + 1, "with this one the jobs of ann that wait would be larger than 2 MiB"),
        (waiting((ANN, MIB)), MIB, None),
        (
            waiting((ANN, MIB)),
            MIB + 1,
            "with this one the jobs of ann that wait would be larger than 2 MiB",
        ),
        (waiting((BOB, 2 * MIB)), 2 * MIB, None),
        (
            waiting((BOB, 2 * MIB), (7, MIB)),
            MIB + 1,
            "with this one the jobs that wait would be larger than 4 MiB",
        ),
        (waiting(*[(ANN, 1)] * 3), 1, "the jobs of ann that wait are as many as may be, 3"),
        (
            waiting(*[(ANN, 1)] * 2, *[(BOB, 1)] * 2),
            1,
            "the jobs that wait are as many as may be, 4",
        ),
        (waiting(*[(ANN, MIB)] * 9, runs=True), MIB, None),
    ],
)
def test_one_user_leaves_room_for_the_others(jobs: list[Job], size: int, told: str | None) -> None:
    assert no_room(jobs, Caller(1, ANN, ANN, "ann"), size, ROOM) == told


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        (waiting((BOB, 1)), None),
        (waiting((BOB, 1), (BOB, 1)), "the jobs that wait are as many as may be, 2"),
        (waiting((BOB, 3 * MIB)), "with this one the jobs that wait would be larger than 3 MiB"),
    ],
)
def test_who_is_no_operator_leaves_room_for_those_who_are(
    jobs: list[Job], told: str | None
) -> None:
    assert no_room(jobs, Caller(1, ANN, ANN, "ann", operator=False), 1, ROOM) == told
    assert no_room(jobs, Caller(1, ANN, ANN, "ann"), 1, ROOM) is None


def test_what_a_job_takes_is_its_words_and_its_variables_in_bytes() -> None:
    assert Payload(("sh", "é"), {"A": "€"}).size == 3 + 3 + (1 + 3 + 2)
