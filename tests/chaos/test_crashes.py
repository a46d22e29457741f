"""The manager is killed at every step of an agent's life, and the next one finds its way.

What has to hold afterwards, at each step: every job has its real exit code, none ran twice, none is gone, no
enrolment can be read where the job reads, and no job's environment stays behind.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mayfly.edge.history_file import FILE_NAME
from tests.chaos.crashing import POINTS
from tests.harness import Manager, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.private_engine import PrivateEngine

pytestmark = pytest.mark.engine

CRASHING = Path(__file__).with_name("crashing.py")
ROOT = CRASHING.parents[2]
POOL = """
[[pool]]
name = "local"
provider = "local"
slots = {slots}
network = "none"
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
"""
# Notes that it ran, counts what can be read on its standard input, and ends with a code of its own.
JOB = (
    'echo "$MAYFLY_JOB" >>/cache/ran; echo "read $(wc -c)"; sleep "$2"; '
    'echo "$MAYFLY_JOB" >>/cache/done; exit "$1"'
)
SECRET = "kept-from-3b9d"


@pytest.fixture
def manager(engine: PrivateEngine) -> Iterator[Manager]:
    """A manager that has not been started."""
    with Manager(engine.url) as one:
        (one.home / "cache").mkdir()
        (one.home / "cache").chmod(0o777)
        yield one


def queued(manager: Manager, count: int, seconds: str) -> dict[str, int]:
    """Jobs in the queue of a pool without slots, and the code that each ends with; no manager runs then."""
    manager.configure(POOL.format(home=manager.home, slots=0))
    manager.start(wait="answer")
    jobs = {}
    for code in range(count):
        job = manager.queue("sh", "-c", JOB, "-", str(code), seconds, env={"SECRET": SECRET})
        jobs[job] = code
    manager.kill()
    return jobs


def crash(manager: Manager, point: str) -> None:
    """Start a manager that will kill itself at that point."""
    manager.start(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
                  f"sys.argv = ['crashing', {point!r}]; import runpy; "
                  f"runpy.run_path({str(CRASHING)!r}, run_name='__main__')", wait=None)  # fmt: skip


def died(manager: Manager) -> bool:
    """Whether it has killed itself."""
    return manager.process is not None and manager.process.poll() is not None


def lines(file: Path) -> list[str]:
    """The file's lines; none where it is not there."""
    return file.read_text().split() if file.exists() else []


def check_accounts(manager: Manager, jobs: dict[str, int]) -> None:
    """Each job ran once, with its own code, and could read nothing; its environment is nowhere."""
    for job, code in jobs.items():
        row = manager.ended(job)
        told = (row["state"], row["cause"], row["exit_code"])
        assert told == (("failed", "exit", code) if code else ("succeeded", None, 0)), job
        assert manager.output(job) == "read 0\n"
    ran, done = lines(manager.home / "cache/ran"), lines(manager.home / "cache/done")
    assert sorted(ran) == sorted(jobs)
    assert sorted(done) == sorted(jobs)
    until(lambda: not _kept(manager), "no job's environment is on disk")


def _kept(manager: Manager, what: bytes = SECRET.encode()) -> list[str]:
    files = [file for file in manager.state.rglob("*") if file.is_file()]
    return [file.name for file in files if file.exists() and what in file.read_bytes()]


def _key(manager: Manager) -> bytes:
    """That of the one job's environment."""
    with closing(sqlite3.connect(manager.state / FILE_NAME)) as db:
        ((key,),) = db.execute("SELECT key FROM job_keys")
    return bytes(key)


# Those beside another that comes to the same; the laws die around every commit.
SOAKED = frozenset(
    (
        *("before agent.created", "after agent.created", "container started"),
        *("before gate.opening", "after gate.opening", "after all bytes"),
        *("after agent.opened", "before agent.removed"),
        "after job.ended",  # which has a test of its own below
    )
)


@pytest.mark.parametrize(
    "point",
    [pytest.param(point, marks=[pytest.mark.soak] if point in SOAKED else []) for point in POINTS],
)
def test_killed_at(point: str, manager: Manager) -> None:
    jobs = queued(manager, 4, "0.2")
    manager.configure(POOL.format(home=manager.home, slots=2))
    crash(manager, point)
    until(lambda: died(manager), f"the manager is killed {point}")
    assert manager.kill() == -9
    manager.start(wait="answer")
    check_accounts(manager, jobs)
    assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0
    until(lambda: len(manager.containers()) == 2, "one agent a slot is left")
    until(lambda: len(list((manager.state / "agents").iterdir())) == 2, "two witnesses are left")


def test_killed_in_the_middle_of_ten_jobs(manager: Manager) -> None:
    jobs = queued(manager, 10, "1.5")
    manager.configure(POOL.format(home=manager.home, slots=4))
    manager.start(wait="answer")
    until(lambda: len(lines(manager.home / "cache/ran")) >= 6, "some jobs run")
    manager.kill()
    over = len(lines(manager.home / "cache/done"))
    until(lambda: len(lines(manager.home / "cache/done")) > over, "one ends while nobody looks")
    manager.start(wait="answer")
    until(lambda: len(lines(manager.home / "cache/done")) >= 7, "some more have ended")
    manager.kill()
    manager.start(wait="answer")
    check_accounts(manager, jobs)


def test_killed_between_the_end_of_the_last_job_and_the_erasure_of_its_environment(
    manager: Manager,
) -> None:
    """What reads it is its key, which is in the write-ahead log still."""
    jobs = queued(manager, 1, "0.2")
    key = _key(manager)
    assert not _kept(manager)
    manager.configure(POOL.format(home=manager.home, slots=1))
    crash(manager, "after job.ended")
    until(lambda: died(manager), "the manager is killed after job.ended")
    assert _kept(manager, key)
    manager.start(wait="answer")
    check_accounts(manager, jobs)
    until(lambda: not _kept(manager, key), "its key is nowhere")
