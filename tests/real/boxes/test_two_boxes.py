"""A box is backed up in the middle of jobs, and another made of that: on real Engines, both of them alive."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import TWO, Manager

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

WAITS = ("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done")


@pytest.fixture(scope="module")
def other_engine() -> Iterator[PrivateEngine]:
    with PrivateEngine() as made:
        yield made


def ran(*boxes: Manager) -> Counter[str]:
    """How often each job was begun, on all of them together."""
    found: Counter[str] = Counter()
    for box in boxes:
        for row in box.json("events", "-n", "1000")["events"]:
            if row["event"] == "agent.opened" and row.get("job"):
                found[row["job"]] += 1
    return found


def lives(box: Manager) -> dict[str, Any]:
    """The agent of each job that has ended, by the job."""
    rows = box.json("history", "-n", "100")["agents"]
    return {row["job"]: row for row in rows if row.get("job")}


def jobs_reported(box: Manager) -> int:
    """How many jobs the report counts."""
    return int(sum(row["jobs"] for row in box.json("report")["rows"]))


def states(box: Manager) -> dict[str, str]:
    return {row["job"]: row["state"] for row in box.json("jobs")["jobs"]}


def test_a_box_made_in_the_middle_of_jobs_has_the_accounts_and_runs_nothing_twice(
    engine: PrivateEngine, other_engine: PrivateEngine, tmp_path: Path
) -> None:
    file = str(tmp_path / "lab.backup")
    with Manager(engine.url, TWO) as old, Manager(other_engine.url, TWO) as new:
        old.start()
        done = old.submit("echo", "over")
        old.ended(done)
        running = [old.submit(*WAITS) for _ in range(2)]
        for job in running:
            old.started(job)
        queued = [old.submit("echo", f"number {n}") for n in range(4)]
        told = old.cli("backup", file)
        assert told.returncode == 0, told.stderr
        assert "with 4 queued and 2 running jobs" in told.stderr
        # The first box goes on, and does all that it has.
        for job in running:
            old.let_go(job)
        for job in (*running, *queued):
            assert old.ended(job)["state"] == "succeeded"

        restored = new.cli("restore", "--without-config", file)
        assert restored.returncode == 0, restored.stderr
        new.start(wait="answer")
        assert states(new) == {
            done: "succeeded",
            **dict.fromkeys(running, "lost"),
            **dict.fromkeys(queued, "queued"),
        }
        assert new.output(done) == "over\n"
        assert "may have run there since" in new.health()["manager.paused"]
        # What ran counts once: the ended job as it was, those that ran up to the backup.
        taken = max(row["exited"] for row in lives(new).values())
        assert lives(new)[done] == lives(old)[done]
        for job in running:
            assert lives(new)[job]["exited"] == taken < lives(old)[job]["exited"]
        assert jobs_reported(new) == 3
        assert jobs_reported(old) == 7
        late = new.submit("echo", "late")
        # Whoever knows that three of them have run says so; the fourth is to run here, too.
        assert new.cli("cancel", *queued[:3]).returncode == 0
        assert ran(new) == Counter({done: 1, **dict.fromkeys(running, 1)}), "what ran before"
        assert new.cli("resume").returncode == 0
        for job in (queued[3], late):
            assert new.ended(job)["state"] == "succeeded"
        begun = ran(new)
        assert all(begun[job] == 0 for job in queued[:3])
        assert all(begun[job] == 1 for job in (done, *running, queued[3], late))
        # Once more, over what has come since: what is here is kept, and nothing runs.
        assert new.kill(signal.SIGTERM) == 0
        again = new.cli("restore", "--without-config", file)
        assert (again.returncode, "--force puts it aside" in again.stderr) == (1, True)
        again = new.cli("restore", "--without-config", "--force", file)
        assert again.returncode == 0, again.stderr
        new.start(wait="answer")
        assert states(new)[queued[3]] == "queued"
        assert new.get("/v1/status")["paused"]
        assert not old.get("/v1/status")["paused"], "the first box works on"
        assert old.cli("submit", "--wait", "--", "true").returncode == 0
