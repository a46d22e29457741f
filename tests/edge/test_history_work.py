"""Which jobs ran, for whom and on what, as the history has it of the embedded queue and of services."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest

from mayfly.core.apply import apply
from mayfly.core.commands import Payload
from mayfly.core.facts import (
    AgentConfirmed,
    AgentCreated,
    AgentExited,
    AgentHeld,
    AgentOpened,
    AgentRemoved,
    Fact,
    GateOpening,
    HoldEnded,
    JobEnded,
    JobSubmitted,
    ReservationBegan,
    ReservationEnded,
    ReservationMade,
    RunSubmitted,
)
from mayfly.core.memory import Agent, Job
from mayfly.core.model import (
    Generation,
    GpuUse,
    JobId,
    JobState,
    Phase,
    PoolName,
    SlotName,
    UseOf,
)
from mayfly.core.reservations import Reservation
from mayfly.core.runs import Origin, Run
from mayfly.core.usage_report import By, Per, Work, periods, usage
from mayfly.edge import history_work
from mayfly.edge.history import History
from mayfly.edge.history_reader import HistoryReader
from mayfly.service import usage_document

if TYPE_CHECKING:
    from pathlib import Path

T = 1_700_000_000.0
AGENT = Agent(
    generation=Generation("g1"),
    slot=SlotName("gpu-0"),
    pool=PoolName("gpu"),
    serial=1,
    fingerprint="f",
    image="i",
    lease=("GPU-1", "GPU-2"),
    born=T - 50,
)


def keep(history: History, *facts: Fact) -> None:
    jobs = [fact.job.id for fact in facts if isinstance(fact, JobSubmitted)]
    payloads = {job: Payload(("true",), {}) for job in jobs}
    history.commit(facts, apply(history.load(), facts), payloads)


def uses(**second: Any) -> tuple[GpuUse, ...]:
    first = GpuUse("GPU-1", 1, 50.0, energy=100.0)
    other = replace(first, uuid="GPU-2", **second)
    return (first, other)


@pytest.mark.parametrize(
    ("used", "energy", "measured"),
    [
        (uses(), {"GPU-1": 100.0, "GPU-2": 100.0}, True),
        (uses(partial=True), {"GPU-1": 100.0, "GPU-2": 100.0}, False),
        (uses(energy=None), {"GPU-1": 100.0}, False),
        (uses(use_of=UseOf.SHARED), {"GPU-1": 100.0}, False),
        ((), {}, False),
    ],
    ids=["all", "partial", "no counter", "shared", "nobody looked"],
)
def test_a_job_of_the_queue_is_its_owner_s_and_its_run_s_repository_s(
    tmp_path: Path, used: tuple[GpuUse, ...], energy: dict[str, float], measured: bool
) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    job = Job(
        JobId("j1"),
        AGENT.pool,
        serial=2,
        submitted=T - 40,
        uid=1000,
        owner="ann",
        group=JobId("r1"),
    )
    run = Run(
        JobId("r1"), Origin("/srv/git/lab.git", "refs/heads/main", None, None, ""), 1, 1000, "ann"
    )
    keep(history, AgentCreated(T - 50, AGENT, ""))
    keep(history, RunSubmitted(T - 40, run), JobSubmitted(T - 40, job))
    keep(history, GateOpening(T - 1, AGENT.generation, "run", job.id))
    keep(history, AgentOpened(T, AGENT.generation))
    exited = AgentExited(T + 60, AGENT.generation, "job_done", None, 0, 0, gpus=used)
    keep(history, exited, JobEnded(T + 60, job.id, JobState.SUCCEEDED, None, 0))
    (work,) = reader.works(T)
    assert work == Work(
        pool="gpu",
        began=T,
        ended=T + 60,
        person="ann",
        repository="/srv/git/lab.git",
        waited=40.0,
        devices=AGENT.lease,
        energy=energy,
        measured=measured,
    )
    assert [*reader.works(T + 61)] == []
    assert reader.known_from() == T + 60
    history.close()


def test_a_service_s_agent_worked_from_when_its_job_began_and_one_without_a_job_did_not(
    tmp_path: Path,
) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    for number, busy in enumerate((True, False)):
        agent = replace(AGENT, generation=Generation(f"g{number}"), serial=number, embedded=False)
        name = agent.generation
        keep(history, AgentCreated(T - 50, agent, ""), GateOpening(T, name, "run", None))
        keep(history, AgentOpened(T, name), AgentConfirmed(T + 1, name, Phase.IDLE))
        if busy:
            keep(history, AgentConfirmed(T + 1000, name, Phase.BUSY))
        keep(history, AgentExited(T + 1060, name, "job_done", None, 0, 0))
    (work,) = reader.works(0.0)
    assert (work.began, work.ended, work.person, work.waited) == (T + 1000, T + 1060, None, None)
    history.close()


def filled(place: Path, number: int) -> None:
    """A history of so many jobs, ten to a minute, by copies of one row that Mayfly has written."""
    history = History(place)
    job = Job(JobId("j0"), AGENT.pool, serial=2, submitted=T - 40, uid=1000, owner="ann")
    keep(history, AgentCreated(T - 50, AGENT, ""), JobSubmitted(T - 40, job))
    keep(history, GateOpening(T - 1, AGENT.generation, "run", job.id))
    keep(history, AgentOpened(T, AGENT.generation))
    exited = AgentExited(T + 60, AGENT.generation, "job_done", None, 0, 0, gpus=uses())
    keep(history, exited, JobEnded(T + 60, job.id, JobState.SUCCEEDED, None, 0))
    db = history._db
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
    for table, key in (("lives", "generation"), ("jobs", "id")):
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        copied = {
            key: f"{key} || '-' || i",
            "job": "job || '-' || i",
            "agent": "agent || '-' || i",
            "exited": "exited + 6 * i",
            "owner": "'person' || (i % 40)",
        }
        chosen = ", ".join(copied.get(column, column) for column in columns)
        db.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) {numbers} SELECT {chosen} FROM {table}, n",
            (number - 1,),
        )
    history.close()


def test_of_a_long_history_no_more_than_a_piece_is_in_memory(tmp_path: Path) -> None:
    filled(tmp_path, 3 * history_work.PIECE + 1)
    reader = HistoryReader(tmp_path)
    asked = usage_document.wanted({"since": "2023-11-01", "until": "2024-01-01"}, time.time())
    tracemalloc.start()
    told = usage_document.document(asked, reader.works, reader.known_from())
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    totals = told["totals"]
    assert isinstance(totals, list)
    assert sum(total["jobs"] for total in totals) == 3 * history_work.PIECE + 1
    assert most < 8 * 2**20
    assert (told["by"], told["per"]) == (By.PERSON, Per.WEEK)


def keep_held(history: History) -> None:
    """An agent without a job of the queue, from its start until it is held for ann."""
    keep(
        history, AgentCreated(T - 50, AGENT, ""), GateOpening(T - 1, AGENT.generation, "run", None)
    )
    keep(history, AgentOpened(T, AGENT.generation))
    keep(
        history,
        AgentExited(T + 60, AGENT.generation, "job_done", None, 1, 0),
        AgentHeld(T + 60, AGENT.generation, "ann", 1000, T + 660, T + 3660),
    )


def test_what_people_had_without_a_job_is_theirs_held_or_reserved(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    keep_held(history)
    held = Work("gpu", T + 60, T + 360, "ann", devices=("GPU-1", "GPU-2"), job=False)
    assert [work for work in reader.works(T) if not work.job] == [], "it is not over yet"
    keep(history, HoldEnded(T + 360, AGENT.generation, "ann gave it up", "ann"))
    outside = Reservation(*(JobId("r1"), AGENT.pool, 1001, "ben", 1, 1, T, 7200.0, T), shell=False)
    keep(history, ReservationMade(T, outside))
    keep(history, ReservationBegan(T, outside.id, (AGENT.slot,), ("GPU-1",), T + 7200))
    keep(history, ReservationEnded(T + 3600, outside.id, "it was given back"))
    shell = replace(outside, id=JobId("r2"), shell=True)
    keep(history, ReservationMade(T, shell))
    keep(history, ReservationBegan(T, shell.id, (AGENT.slot,), ("GPU-2",), T + 7200))
    keep(history, ReservationEnded(T + 3600, shell.id, "it was given back"))
    reserved = Work("gpu", T, T + 3600, "ben", devices=("GPU-1",), job=False)
    assert [work for work in reader.works(T) if not work.job] == [held, reserved]
    assert next(iter(reader.works(T + 100))) == held, "its job had ended before"
    week = usage(reader.works(T), By.PERSON, periods(Per.WEEK, UTC, T, T + 7200))
    assert {name: (sums.gpu_seconds, sums.jobs) for _, name, sums in week.rows} == {
        "ann": (600.0, 0),
        "ben": (3600.0, 0),
        None: (120.0, 1),
    }
    assert history.prune(T + 9999, 100) is False
    assert [*reader.works(0.0)] == []


def test_the_time_for_which_one_was_held_counts_where_its_container_is_gone_at_once(
    tmp_path: Path,
) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    keep_held(history)
    keep(
        history,
        HoldEnded(T + 360, AGENT.generation, "its container is gone"),
        AgentRemoved(T + 360, AGENT.generation),
    )
    held = Work("gpu", T + 60, T + 360, "ann", devices=("GPU-1", "GPU-2"), job=False)
    assert [work for work in reader.works(T) if not work.job] == [held]
