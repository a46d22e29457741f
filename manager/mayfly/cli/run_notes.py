"""How runs ended, as git notes of their repository: written by whoever asks, who has to be let write there.

Whoever may submit can say that a run is of this repository. So only a run has a note that somebody who may
write here has begun one for: the hook does, or who names the run.

The manager writes into no repository. Where a push is to have its notes by itself, its hook leaves a process
behind that waits; there is one for a repository, whoever pushes.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mayfly.cli.client import Client, segment
from mayfly.cli.following import ENDED, Away
from mayfly.cli.plain import clean
from mayfly.cli.trouble import Down, TimedOut, Trouble
from mayfly.core.run_note import line, names, with_line
from mayfly.edge.repository import Repository

NOT_WELL = ("failed", "lost", "cancelled")
LAST = 200  # runs of a repository that are looked at
LOCK = "mayfly-notes.lock"
POLL = 2.0  # seconds between two looks of who waits
GRACE = 5 * POLL  # how long another one that waits is given to see a new run


@dataclass(slots=True)
class Notes:
    """The notes of one repository."""

    where: Repository
    manager: Client
    done: set[str] = field(default_factory=set)  # runs whose note says how they ended

    def write(self) -> tuple[int, int]:
        """Write what is not there yet; how many notes were written, and how many runs go on."""
        query = {"repository": self.where.place, "limit": LAST}
        rows = self.manager.get("/v1/runs", query).get("runs", ())
        ended = [row for row in rows if row.get("state") in ENDED and row.get("commit")]
        new = [row for row in reversed(ended) if row["run"] not in self.done]
        written = sum(self._noted(row) for row in new)
        return written, sum(1 for row in rows if row.get("state") not in ENDED)

    def _noted(self, row: dict[str, Any]) -> bool:
        run, commit = clean(str(row["run"])), str(row["commit"])
        written = self.where.has(commit) and self._told(commit, self._line(row, run))
        self.done.add(run)
        return written

    def begin(self, run: str) -> None:
        """Begin a note for a run of this repository, which is somebody else's word."""
        row = self.manager.get(f"/v1/runs/{segment(run)}")
        commit = row.get("commit")
        if row.get("repository") != self.where.place or commit is None:
            raise Trouble(f"run {run} is of no commit of {self.where.place}: see mayfly runs {run}")
        begun(self.where, str(commit), self._line(row, clean(str(row["run"]))))

    def _told(self, commit: str, told: str) -> bool:
        before = self.where.note(commit) or ""
        if told in before.splitlines() or not names(before, told.split(" ", 2)[1]):
            return False
        self.where.set_note(commit, with_line(before, told))
        return True

    def _line(self, row: dict[str, Any], run: str) -> str:
        odd: list[str] = []
        if row["state"] in NOT_WELL:
            jobs = self.manager.get("/v1/jobs", {"group": run, "limit": 10_000})["jobs"]
            wrong = [job for job in jobs if job.get("state") in NOT_WELL]
            odd = [clean(str(job.get("name") or job.get("job"))) for job in wrong]
        ref = clean(str(row.get("ref") or "no ref").removeprefix("refs/heads/"))
        return line(run, ref, str(row["state"]), row.get("jobs") or {}, odd)


def begun(where: Repository, commit: str, told: str) -> None:
    """Let the commit's note have that line."""
    where.set_note(commit, with_line(where.note(commit) or "", told))


def written_in_time(notes: Notes, pause: Callable[[float], None] = time.sleep) -> int:
    """Write notes until no run of the repository goes on; how many. None where another process waits."""
    with _alone(notes.where.git_folder) as mine:
        if not mine:
            return 0
        away, written = Away(), 0
        while True:
            try:
                more, left = notes.write()
                away.back()
                written += more
                if not left:
                    return written
            except (Down, TimedOut) as trouble:
                away.gone(trouble)
            pause(POLL)


@contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Whether this process is the one that waits; another that does has seen all runs of before by then."""
    descriptor = os.open(
        place / LOCK, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
    )
    try:
        until = time.monotonic() + GRACE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    yield False
                    return
                time.sleep(0.2)
            else:
                yield True
                return
    finally:
        os.close(descriptor)


def left_behind(command: list[str]) -> None:
    """Begin that command apart from the push, which does not wait for it."""
    subprocess.Popen(
        command,
        cwd="/",
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
