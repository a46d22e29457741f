"""A job of the embedded queue that asked for an image which its pool lets jobs bring as a container."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.core.apply import apply
from mayfly.core.commands import Payload
from mayfly.core.facts import Fact, JobSubmitted, ReservationBegan, ReservationMade
from mayfly.core.memory import Job
from mayfly.core.model import JobId, PoolName, PoolSpec, SlotName
from mayfly.core.reservations import Reservation
from mayfly.core.reserved_shell import GRACE, waiting
from mayfly.edge.history import History
from mayfly.edge.history_reader import HistoryReader
from mayfly.providers.local.provider import Local
from tests.providers.contract import agent

POOL = PoolSpec(PoolName("gpu"), containers=True, env={"TZ": "UTC"})
Enrolled = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def enrolled(tmp_path: Path) -> Enrolled:
    """What the launcher of an agent gets for such a job: its words, and its variables."""
    history = History(tmp_path)

    def submit(*lease: str, brings: bool = False, **given: object) -> tuple[list[str], list[str]]:
        job = Job(JobId("j1"), POOL.name, 1, 1.0, uid=1000, **given)  # type: ignore[arg-type]
        told = [JobSubmitted(1.0, job)]
        payload = Payload(("train", "--lr", "1 e-3"), {"SEED": "7", "LD_PRELOAD": "/x.so"})
        history.commit(told, apply(history.load(), told), {job.id: payload})
        at_gate = replace(agent(), job=job.id, lease=lease, brings=brings)
        found = Local(POOL, HistoryReader(tmp_path)).enrol(at_gate, ()).files
        return [
            shlex.split(found[name].decode().removeprefix("&\n"))
            for name in ("job.argv", "job.env")
        ]  # type: ignore[return-value]

    return submit


def test_its_command_is_docker_s_and_its_own_variables_reach_its_container_alone(
    enrolled: Enrolled,
) -> None:
    words, variables = enrolled(container="lab/torch:2")
    assert variables == []
    at = words.index("lab/torch:2")
    assert words[at + 1 :] == ["train", "--lr", "1 e-3"]
    options = words[:at]
    told = {options[place + 1] for place, word in enumerate(options) if word == "--env"}
    assert told >= {"TZ=UTC", "SEED=7", "LD_PRELOAD=/x.so", "MAYFLY_JOB=j1", "MAYFLY_SLOT=gpu-0"}
    assert "--gpus" not in options


def test_a_slot_with_gpus_has_them_asked_for(enrolled: Enrolled) -> None:
    words, _ = enrolled("GPU-1", container="lab/torch:2")
    assert words[words.index("--gpus") + 1] == "all"


def test_what_it_brings_goes_in_by_the_agent(enrolled: Enrolled) -> None:
    words, _ = enrolled(container="lab/cat:1", stdin="0" * 64, brings=True)
    assert words[:2] == ["/bin/sh", "-c"]
    assert "/.mayfly-stdin" in words
    assert "--interactive" in words


def test_a_job_without_one_runs_in_its_agent(enrolled: Enrolled) -> None:
    words, variables = enrolled()
    assert words == ["train", "--lr", "1 e-3"]
    assert set(variables) == {"SEED=7", "LD_PRELOAD=/x.so", "MAYFLY_JOB=j1"}


def test_a_reservation_s_job_is_ended_by_its_launcher_when_its_reservation_has_been_over(
    tmp_path: Path,
) -> None:
    history = History(tmp_path)
    mine = JobId("r1")
    one = Reservation(*(mine, POOL.name, 1000, "ann", 1, 1, 1.0, 7200.0, 1.0))
    told: list[Fact] = [
        ReservationMade(1.0, one),
        JobSubmitted(1.0, Job(mine, POOL.name, 1, 1.0, uid=1000)),
        JobSubmitted(1.0, Job(JobId("j1"), POOL.name, 2, 1.0, uid=1000)),
    ]
    payloads = {mine: waiting(mine, 7200.0), JobId("j1"): Payload(("true",), {})}
    history.commit(told, apply(history.load(), told), payloads)
    # Cut short by whoever has reserved the time after it.
    began = [ReservationBegan(2.0, mine, (SlotName("gpu-0"),), ("GPU-1",), time.time() + 600.0)]
    history.commit(began, apply(history.load(), began), {})
    local = Local(POOL, HistoryReader(tmp_path))
    found = local.enrol(replace(agent(), job=mine), ()).files
    assert 600 + GRACE - 60 <= int(found["lasts"]) <= 600 + GRACE + 1
    assert "lasts" not in local.enrol(replace(agent(), job=JobId("j1")), ()).files
