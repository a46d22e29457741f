"""The state file's bounds: what is old or too much goes, what is still needed stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mayfly.core.apply import apply
from mayfly.core.facts import AgentCreated, AgentExited, Fact, JobEnded, JobSubmitted
from mayfly.core.memory import Agent, Job
from mayfly.core.model import Cause, Generation, JobId, JobState, PoolName, SlotName
from mayfly.edge.history import History
from mayfly.edge.history_reader import Reader
from mayfly.edge.history_rows import Payload

if TYPE_CHECKING:
    from pathlib import Path

T = 1_800_000_000.0


def lived(number: int, at: float) -> list[Fact]:
    """An agent that came and went, and a job that was submitted and ended."""
    generation, job = Generation(f"g{number:04}"), JobId(f"j{number:04}")
    agent = Agent(
        generation=generation,
        slot=SlotName("a-0"),
        pool=PoolName("a"),
        serial=2 * number,
        fingerprint="f",
        image="i",
        lease=(),
        born=at,
    )
    entry = Job(id=job, pool=PoolName("a"), serial=2 * number + 1, submitted=at)
    return [
        AgentCreated(at, agent, "the slot has no agent"),
        AgentExited(at + 1, generation, "job_done", None, 0, 0),
        JobSubmitted(at, entry),
        JobEnded(at + 1, job, JobState.FAILED, Cause.EXIT, 3),
    ]


def kept(history: History, *facts: Fact) -> None:
    """Put them on disk, as the loop does."""
    jobs = [fact.job.id for fact in facts if isinstance(fact, JobSubmitted)]
    payloads = {job: Payload(("true",), {}) for job in jobs}
    history.commit(facts, apply(history.load(), facts), payloads)


def test_what_is_older_than_the_bound_is_forgotten(tmp_path: Path) -> None:
    history, reader = History(tmp_path), Reader(tmp_path)
    for number in range(10):
        kept(history, *lived(number, T + 100 * number))
    history.prune(T + 450, 1000)
    assert [row["agent"] for row in reader.history()] == [f"g{n:04}" for n in range(9, 4, -1)]
    assert [row["job"] for row in reader.jobs()] == [f"j{n:04}" for n in range(5, 10)]
    assert min(row["at"] for row in reader.events()) == T + 500
    history.close()


def test_of_more_than_the_bound_the_newest_stay(tmp_path: Path) -> None:
    history, reader = History(tmp_path), Reader(tmp_path)
    for number in range(10):
        kept(history, *lived(number, T + 100 * number))
    history.prune(0.0, 3)
    assert [row["agent"] for row in reader.history()] == ["g0009", "g0008", "g0007"]
    assert [row["job"] for row in reader.jobs()] == ["j0007", "j0008", "j0009"]
    assert len(reader.events()) == 3
    history.close()


def test_jobs_that_wait_are_never_forgotten(tmp_path: Path) -> None:
    history, reader = History(tmp_path), Reader(tmp_path)
    waiting = [
        fact for number in range(5) for fact in lived(number, T) if isinstance(fact, JobSubmitted)
    ]
    kept(history, *waiting)
    history.prune(T + 10_000, 1)
    assert len(reader.jobs()) == len(history.load().jobs) == 5
    assert reader.memory() == history.load()
    history.close()
