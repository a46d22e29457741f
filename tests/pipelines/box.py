"""A manager without an Engine: the real control socket, commands judged by the core, facts on disk.

Nobody takes a job from its queue but a test, by ``ends``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mayfly.core.apply import apply
from mayfly.core.command_effects import effects
from mayfly.core.command_result import CommandResult, Situation
from mayfly.core.commands import CancelJobs, Command, Payload, SubmitRun
from mayfly.core.facts import Fact, JobEnded
from mayfly.core.model import Cause, Config, Desired, HostSpec, JobId, JobState
from mayfly.core.tree_manifest import TreeEntry
from mayfly.edge.history import History
from mayfly.edge.history_reader import ALL_RUNS, HistoryReader
from mayfly.edge.output_kept import Chunk
from mayfly.edge.workspaces import Bounds, Workspaces
from mayfly.service.board import StatusBoard
from mayfly.service.control import Control
from mayfly.service.pending_command import PendingCommand
from tests.core.simulator import pool, specs
from tests.service.standin import slot, status

T = 1_800_000_000.0
POOLS = (pool("local", slots=2),)


class NoOutput:
    """Nobody printed anything."""

    def read(self, generation: str, *, follow: bool, stop: Any = None) -> Iterator[Chunk]:
        del generation, follow, stop
        return iter(())


class Box:
    """A queue on a socket."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "control.sock"
        self.history, self.reader = History(folder), HistoryReader(folder)
        self.memory = self.history.load()
        self.config = Config(HostSpec("box"), POOLS)
        self.desired = Desired(tuple(spec for one in POOLS for spec in specs(one)))
        room = Bounds(64 * 2**20, 256 * 2**20, 1024 * 2**20)
        self.workspaces = Workspaces(folder / "workspaces", room, self.reader.needed)
        self.operators = True  # whether those who ask are
        self.uid: int | None = None  # of who asks, instead of who does
        self.asked: list[Command] = []
        self._time, self._runs = T, 0
        self._inbox: SimpleQueue[PendingCommand | None] = SimpleQueue()
        self._loop = threading.Thread(target=self._run, daemon=True)
        self._loop.start()
        self.open()

    def open(self) -> None:
        """Answer on the socket."""
        board = StatusBoard()
        board.publish(status({**slot("local-0"), "image": "mayfly/local:cuda12.8"}))
        control = Control(
            *(board, self._inbox.put, self.reader, NoOutput(), lambda: b""),
            version="1",
            workspaces=self.workspaces,
        )
        self._server = control.open(self.path)
        self._server.start()

    def close(self) -> None:
        """Go away."""
        self._server.close()

    def _run(self) -> None:
        while (pending := self._inbox.get()) is not None:
            self.asked.append(pending.command)
            found = self._judged(pending.command)
            pending.answer(found.status, found.body)

    def _judged(self, command: Command) -> CommandResult:
        self._time += 1.0
        self._runs += isinstance(command, SubmitRun)
        by = replace(command.by, operator=self.operators)
        command = replace(command, by=by if self.uid is None else replace(by, uid=self.uid))
        at = Situation(self.config, self.desired, self.memory, self._time)
        at = replace(at, new_job=JobId(f"r{self._runs}"))
        if isinstance(command, CancelJobs):
            at = replace(at, named={one: self.reader.members(one) for one in command.jobs})
        if isinstance(command, SubmitRun):
            unsent = self.workspaces.unsent(command.by.uid, command.workspace, None)
            at = replace(at, unsent=unsent)
        found = effects(command, at)
        self.commit(*found.facts, payloads=dict(found.payloads))
        return found

    def commit(self, *facts: Fact, payloads: dict[JobId, Payload] | None = None) -> None:
        """Let that have happened."""
        self.memory = apply(self.memory, facts)
        self.history.commit(facts, self.memory, payloads or {})

    def ends(self, job: str, state: JobState = JobState.SUCCEEDED) -> None:
        """A job has ended."""
        self._time += 1.0
        code = int(state is not JobState.SUCCEEDED)
        self.commit(JobEnded(self._time, JobId(job), state, Cause.EXIT, code))

    def files(self, job: str) -> dict[str, bytes]:
        """What is in the files that a job starts with."""
        return {
            entry.path: b"".join(self.workspaces.content(os.getuid(), entry.digest))
            for entry in self.entries(job)
            if entry.kind == "file"
        }

    def entries(self, job: str) -> list[TreeEntry]:
        """What a job that waits starts in."""
        digest = self.memory.jobs[JobId(job)].workspace
        assert digest is not None
        return list(self.workspaces.entries(os.getuid(), digest))

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The runs that there are, the first first."""
        return self.reader.listed_runs(ALL_RUNS)[::-1]

    def jobs(self, run: str) -> dict[str, str]:
        """How the jobs of a run stand, by name."""
        members = self.reader.members(run)
        return {row["name"]: row["state"] for row in self.reader.job_rows([*members])}
