"""How a run stands by its jobs, and which jobs a submitted run comes to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.command_effects import effects
from mayfly.core.command_result import Situation
from mayfly.core.commands import Caller, Payload, RunJob, SubmitRun
from mayfly.core.facts import JobSubmitted, RunSubmitted
from mayfly.core.memory import Job, Memory
from mayfly.core.model import Config, Desired, HostSpec, JobId, JobState
from mayfly.core.queue_room import ROOM
from mayfly.core.runs import JOBS_MOST, Origin, Run, standing
from tests.core.test_submitting import ANN, BEN, POOLS, SLOTS, T

Q, R, S, F, C, L = JobState
OF = Origin("/srv/git/lab.git", "refs/heads/main", "c" * 40, "b" * 40, "Train longer")
TEST = RunJob(Payload(("make", "test"), {"A": "b"}), pool="plain", name="test")
BOX = Situation(
    Config(HostSpec("box"), POOLS), Desired(SLOTS), Memory(serial=9), T, new_job=JobId("r")
)


@pytest.mark.parametrize(
    ("jobs", "state"),
    [
        ({Q: 2}, Q),
        ({Q: 1, S: 1}, R),
        ({R: 1, F: 3}, R),
        ({S: 4}, S),
        ({S: 4, C: 1}, C),
        ({S: 1, C: 1, L: 1}, L),
        ({S: 1, C: 1, L: 1, F: 1}, F),
        ({S: 1, F: 0}, S),
        ({}, S),
    ],
)
def test_a_run_stands_as_what_is_to_come_of_it_else_as_the_worst_of_its_jobs(
    jobs: dict[JobState, int], state: JobState
) -> None:
    assert standing(jobs) == state


def test_a_run_is_a_group_of_jobs_each_after_those_that_it_needs() -> None:
    publish = RunJob(Payload(("make", "publish"), {}), cuda="12.8", timeout=9.0, after=(0,))
    found = effects(SubmitRun(BEN, OF, (TEST, publish)), BOX)
    assert (found.status, found.body) == (201, {"run": "r", "jobs": ["r-1", "r-2"]})
    run, first, second = found.facts
    assert run == RunSubmitted(T, Run(JobId("r"), OF, 2, BEN.uid, "ben"))
    assert isinstance(first, JobSubmitted)
    assert isinstance(second, JobSubmitted)
    assert first.job == Job(
        *(JobId("r-1"), POOLS[0].name, 10, T),
        uid=BEN.uid, owner="ben", size=found.payloads[JobId("r-1")].size, name="test", group=JobId("r"),
    )  # fmt: skip
    told = (second.job.pool, second.job.timeout, second.job.after, second.job.awaits)
    assert told == ("new", 9.0, ("r-1",), ("r-1",))
    of_it: Any = {
        "MAYFLY_RUN": "r",
        "MAYFLY_REF": OF.ref,
        "MAYFLY_COMMIT": OF.commit,
        "MAYFLY_BASE": OF.base,
    }
    assert found.payloads == {
        "r-1": Payload(("make", "test"), {"A": "b", **of_it}),
        "r-2": Payload(("make", "publish"), of_it),
    }
    found = effects(SubmitRun(BEN, Origin("/r"), (TEST,)), BOX)
    assert found.payloads[JobId("r-1")].env == {"A": "b", "MAYFLY_RUN": "r"}


def test_its_jobs_start_in_the_tree_that_was_sent() -> None:
    found = effects(SubmitRun(ANN, OF, (TEST,), "d" * 64), BOX)
    _, submitted = found.facts
    assert isinstance(submitted, JobSubmitted)
    assert (submitted.job.workspace, submitted.job.out) == ("d" * 64, ())
    back = replace(TEST, out=("r.xml",))
    _, submitted = effects(SubmitRun(ANN, OF, (back,)), BOX).facts
    assert isinstance(submitted, JobSubmitted)
    assert submitted.job.out == ("r.xml",)
    lacking = replace(BOX, unsent=("d" * 64,))
    found = effects(SubmitRun(ANN, OF, (TEST,), "d" * 64), lacking)
    assert (found.status, found.body["kind"], found.facts) == (409, "no_such_workspace", ())
    assert str(found.body["error"]).startswith("job test: dddddddddddd is not kept of ann")


MANY = tuple(replace(TEST, name=None) for _ in range(JOBS_MOST + 1))


@pytest.mark.parametrize(
    ("by", "jobs", "status", "told"),
    [
        (ANN, (TEST, replace(TEST, pool="nope")), 404, 'job test: there is no pool "nope"'),
        (ANN, (replace(TEST, pool=None, cuda="9.9", name=None),), 404, "job 1: no pool with a"),
        (ANN, (replace(TEST, pool=None),), 400, "job test: there are several queues, name one"),
        (BEN, (replace(TEST, pool="root"),), 403, "job test: jobs of pool root may become root"),
        (ANN, MANY, 400, "these are 1001 jobs, and a run has at most 1000"),
    ],
)
def test_of_a_run_with_a_job_that_cannot_be_queued_nothing_is(
    by: Caller, jobs: tuple[RunJob, ...], status: int, told: str
) -> None:
    found = effects(SubmitRun(by, OF, jobs), BOX)
    assert (found.status, found.facts) == (status, ())
    assert str(found.body["error"]).startswith(told)


def test_a_run_that_the_queue_has_no_room_for_is_not_queued_in_part() -> None:
    waiting = {
        JobId(str(n)): Job(JobId(str(n)), POOLS[0].name, n, T, uid=ANN.uid)
        for n in range(ROOM.of_one.jobs - 1)
    }
    full = replace(BOX, memory=Memory(jobs=waiting))
    found = effects(SubmitRun(ANN, OF, (TEST, TEST)), full)
    assert (found.status, found.body["kind"], found.facts) == (429, "queue_full", ())
    assert effects(SubmitRun(ANN, OF, (TEST,)), full).status == 201
