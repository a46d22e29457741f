"""``runs``: the real command against a stand-in manager, and its tables."""

from __future__ import annotations

import json

import pytest

from mayfly.cli import render_runs
from mayfly.core.commands import CancelJobs
from mayfly.core.model import JobState
from mayfly.core.quantities import parse_time
from mayfly.service.control import RUN_KEYS
from mayfly.service.pending_command import Answer
from tests.cli.conftest import Answers, Mayfly
from tests.pipelines.example import git
from tests.service.standin import StandIn, job, run

NOW = parse_time("2026-11-21T09:10:00.000Z")
HOSTILE = "\x1b]0;evil\x07\x1b[2Jfi\u202ex"


def test_a_run_is_a_row() -> None:
    rows = [
        run("r2", state=JobState.RUNNING, jobs={"running": 1, "queued": 2, "failed": 1}),
        run(
            *("r1",), state="failed", ref=None, commit=None, jobs={"failed": 1, "succeeded": 2},
            finished="2026-11-21T09:02:00.000Z", subject=None, repository="/home/ann/lib",
        ),
    ]  # fmt: skip
    assert render_runs.runs({"runs": rows}, NOW, None, colour=False) == [
        "RUN  REPOSITORY  REF   COMMIT        OWNER  STATE    JOBS  AGE  TOOK  SUBJECT",
        "r2   lab         main  c0ffee000000  ann    running  1/4   10m  10m   Train longer",
        "r1   lib         -     -             ann    failed   3/3   10m  2m    -",
    ]


def test_one_run_is_its_jobs_with_why() -> None:
    jobs = [
        job("r1-1", name="test-vit", state="failed", exit_code=3, cause="exit"),
        job("r1-2", state="cancelled", cause="after", detail="job r1-1, before it, failed"),
        job("r1-3", name="docs", position=4),
    ]
    found = render_runs.run(run("r1"), {"jobs": jobs}, NOW, None, colour=False)
    assert found == [
        "run r1 of /srv/git/lab.git main, c0ffee000000: Train longer",
        "queued; by ann, 10m ago",
        "JOB   NAME      POOL   STATE      EXIT   RAN  WHY",
        "r1-1  test-vit  local  failed     3      -    -",
        "r1-2  -         local  cancelled  after  -    job r1-1, before it, failed",
        "r1-3  docs      local  queued #4  -      -    -",
    ]


def test_what_others_wrote_moves_no_cursor() -> None:
    row = run("r1", subject=HOSTILE, repository=f"/srv/{HOSTILE}", ref=f"refs/heads/{HOSTILE}")
    lines = render_runs.runs({"runs": [row]}, NOW, 80, colour=False)
    lines += render_runs.run(row, {"jobs": [job("r1-1", name=HOSTILE)]}, NOW, 80, colour=False)
    assert all(line.isprintable() for line in lines)


def test_runs_are_listed_and_asked_for(manager: StandIn, mayfly: Mayfly) -> None:
    other = run("r1", repository="/srv/git/other.git", state="succeeded")
    manager.account.runs |= {"r1": other, "r2": run("r2"), "r3": run("r3", ref="refs/tags/v1")}
    assert [line.split()[0] for line in mayfly("runs").out.splitlines()] == [
        *("RUN", "r3", "r2", "r1")
    ]

    def asked(*options: str) -> list[str]:
        told = json.loads(mayfly("runs", "--json", *options).out)
        assert told["schema"] == "mayfly.runs/1"
        assert all(tuple(row) == RUN_KEYS for row in told["runs"])
        return [row["run"] for row in told["runs"]]

    assert asked("--repository", "/srv/git/other.git") == ["r1"]
    assert asked("--ref", "main", "-n", "1") == ["r2"]
    assert asked("--ref", "refs/tags/v1") == ["r3"]
    assert asked("--state", "succeeded") == ["r1"]
    assert asked("--mine") == []


def test_a_repository_is_found_from_any_folder_of_it(
    manager: StandIn, mayfly: Mayfly, tmp_path: object
) -> None:
    folder = str(tmp_path) + "/lib"
    git(manager.path.parent, "init", "--quiet", "lib")
    git(manager.path.parent, "init", "--quiet", "--bare", "lib.git")
    manager.account.runs |= {
        "r1": run("r1", repository=folder),
        "r2": run("r2", repository=f"{folder}.git"),
    }
    for named, found in ((f"{folder}/.", "r1"), (f"{folder}.git/objects", "r2")):
        out = mayfly("runs", "--repository", named, HOME="/nonexistent").out
        assert [line.split()[0] for line in out.splitlines()[1:]] == [found]


def test_one_run_with_its_jobs(manager: StandIn, mayfly: Mayfly) -> None:
    manager.account.runs["r1"] = run("r1", jobs={"queued": 11})
    for number in (1, 2, 10):
        name = f"r1-{number}"
        manager.account.rows[name] = job(name, group="r1", name=f"test-{number}")
    told = json.loads(mayfly("runs", "r1", "--json").out)
    assert told["schema"] == "mayfly.run/1"
    assert [row["job"] for row in told["tasks"]] == ["r1-1", "r1-2", "r1-10"]
    assert mayfly("runs", "r1").out.splitlines()[3].split()[:2] == ["r1-1", "test-1"]
    gone = mayfly("runs", "r9")
    assert (gone.code, gone.err) == (4, "mayfly: there is no run r9: see `mayfly runs`\n")


def test_a_run_is_ended_by_its_name(manager: StandIn, mayfly: Mayfly, answers: Answers) -> None:
    manager.account.runs["r1"] = run("r1")
    body = {"job": "r1-1", "jobs": ["r1-1", "r1-2"], "ended": []}
    answers.by_verb["cancel"] = lambda _: Answer(200, body)
    ran = mayfly("runs", "r1", "--cancel")
    assert (ran.code, ran.err) == (0, "mayfly: 2 jobs of run r1 are being cancelled\n")
    (command,) = manager.commands
    assert command == CancelJobs(command.by, ("r1",))


@pytest.mark.parametrize("options", [["--cancel"], ["r1", "--mine"], ["r1", "-n", "3"]])
def test_what_would_be_ignored_is_refused(
    manager: StandIn, mayfly: Mayfly, options: list[str]
) -> None:
    manager.account.runs["r1"] = run("r1")
    assert mayfly("runs", *options).code == 2
