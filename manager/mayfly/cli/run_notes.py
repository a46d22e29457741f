"""How runs ended, as git notes of their repository: written by whoever asks, who has to be let write there.

Whoever may submit can say that a run is of this repository. So only a run has a note that somebody who may
write here has begun one for: the hook does, or who names the run.

The manager writes into no repository. Where a push is to have its notes by itself, its hook leaves a process
behind that waits; there is one for a repository, whoever pushes.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mayfly.cli.client import Client, segment
from mayfly.cli.following import ENDED, NOT_WELL, Away
from mayfly.cli.trouble import Down, NoSuch, TimedOut, Trouble
from mayfly.core.plain_text import clean
from mayfly.core.run_note import GOES_ON, line, names, run_in, with_line
from mayfly.edge.lock_file import locked
from mayfly.edge.repository import Repository

LAST = 200  # runs of a repository that are asked for at once
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
        open_runs = {
            run: commit
            for commit, told in self.where.lines_of_notes(GOES_ON)
            if (run := run_in(told)) is not None and run not in self.done
        }
        if not open_runs:
            return 0, 0
        query = {"repository": self.where.place, "limit": LAST}
        rows = {row["run"]: row for row in self.manager.get("/v1/runs", query).get("runs", ())}
        written, left = 0, 0
        for run, commit in open_runs.items():
            row = rows.get(run) or self._row(run)
            if row.get("repository") != self.where.place or row.get("commit") != commit:
                self.done.add(run)  # it is not kept any more, or never was of this commit
            elif row.get("state") not in ENDED:
                left += 1
            else:
                written += self._noted(row)
        return written, left

    def _row(self, run: str) -> dict[str, Any]:
        """What is known of a run, of which others may have many later ones; nothing where nothing is."""
        try:
            return self.manager.get(f"/v1/runs/{segment(run)}")
        except NoSuch:
            return {}

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
        def changed(before: str) -> str | None:
            there = told in before.splitlines()
            ours = names(before, told.split(" ", 2)[1])
            return with_line(before, told) if ours and not there else None

        return self.where.change_note(commit, changed)

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
    where.change_note(commit, lambda before: with_line(before, told))


def written_in_time(notes: Notes, pause: Callable[[float], None] = time.sleep) -> int:
    """Write notes until no run of the repository goes on; how many. None where another process waits."""
    with locked(notes.where.common_folder / LOCK, GRACE) as alone:
        if not alone:  # who waits has seen all runs of before by then
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
