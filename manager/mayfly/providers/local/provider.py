"""The embedded queue: jobs that people submit to this manager itself.

The gate carries the job, the agent's output is its log and its exit code is its result. There is no service
and no token; the roster is the queue, which the manager holds, so nothing here is asked over a network.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from mayfly.core.memory import Agent
from mayfly.core.model import (
    Cause,
    HostId,
    HostSpec,
    JobId,
    JobState,
    PoolSpec,
    Roster,
    StopStep,
    Traits,
)
from mayfly.core.outcomes import End, Outcome
from mayfly.core.reserved_shell import lasts
from mayfly.core.workspace import WORKSPACE, Brought, begun_there
from mayfly.edge.faults import Refused
from mayfly.edge.gate import words
from mayfly.edge.history_reader import HistoryReader
from mayfly.providers import Cordoned, Diagnosis, Dismissed, Enrolment, Sign
from mayfly.providers.account import JobEnd, Told, account
from mayfly.providers.local.contained_job import in_container

TERM_GRACE = 10.0
KILL_GRACE = 5.0  # USR2 kills the job and lets its launcher write the account


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Local:
    """The provider of a ``local`` pool."""
    del host, host_id
    return Local(pool, HistoryReader(state_dir))


class Local:
    """The queue as a provider."""

    traits = Traits(
        embedded=True,
        can_cordon=True,
        stop_ladder=(StopStep("TERM", TERM_GRACE), StopStep("USR2", KILL_GRACE)),
        work=WORKSPACE,
    )
    roster_interval = 3600.0

    def __init__(self, pool: PoolSpec, reader: HistoryReader) -> None:
        self.pool = pool
        self._reader = reader

    def check(self) -> Diagnosis:
        """Nothing can be wrong with a service that is not there."""
        return ()

    def roster(self) -> Roster | None:
        """The queue is the manager's own."""
        return None

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """The job that was committed for the agent, as the launcher wants it."""
        del labels
        payload = self._reader.payload(agent.job) if agent.job is not None else None
        if payload is None:
            raise Refused(f"there is no job for agent {agent.generation}: it is dismissed")
        environment = {**payload.env, "MAYFLY_JOB": str(agent.job)}
        brought = self._brought(JobId(str(agent.job))) if agent.brings else None
        argv = payload.argv
        if payload.container is not None:
            argv = in_container(
                self.pool,
                payload.container,
                argv,
                {**environment, "MAYFLY_SLOT": agent.slot},
                gpus=bool(agent.lease),
                stdin=brought is not None and brought.stdin is not None,
            )
            environment = {}  # its container's: nothing of it changes what Docker's client does
        if brought is not None:
            argv = begun_there(argv, brought)
        files = {
            "job.argv": words(argv),
            "job.env": words(f"{key}={value}" for key, value in environment.items()),
        }
        until = self._reader.reserved_until(JobId(str(agent.job)))
        if until is not None:
            files["lasts"] = lasts(until - time.time()).encode()
        return Enrolment(files=files, brought=brought)

    def _brought(self, job: JobId) -> Brought:
        brought = self._reader.brought(job)
        if brought is None:
            raise Refused(f"job {job} is not there any more: its agent is dismissed")
        return replace(brought, user=self.pool.user)

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """A cordoned slot is handed no job: nobody need be told."""
        del registration, on
        return Cordoned()

    def dismiss(self, registration: str) -> Dismissed:
        """There are no registrations."""
        del registration
        return Dismissed()

    def retire(self, registration: str) -> None:
        """There are no entries to keep."""

    def read(self, line: str) -> Sign | None:
        """A job's output means nothing to Mayfly."""
        del line
        return None

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """The job's account, from its exit code and from who ended it."""
        del signs
        outcome = account(end, _told(end))
        return replace(outcome, job=_state(outcome)) if end.opened else outcome


def _told(end: End) -> Told:
    """Its exit code is its result, unless somebody outside had its launcher stop it."""
    if end.exit is None:
        return Told(broken_off="its job was broken off")
    stopped = end.signalled and end.doom is None
    cause = Cause.ENGINE_STOPPED if end.engine_stopped else Cause.KILLED
    succeeded = end.exit.code == 0
    return Told(ended=JobEnd("", succeeded, cause if stopped else None, Cause.EXIT))


def _state(outcome: Outcome) -> JobState:
    match outcome.cause:
        case None:
            return JobState.SUCCEEDED
        case Cause.CANCELLED:
            return JobState.CANCELLED
        case Cause.ENGINE_STOPPED | Cause.KILLED | Cause.UNKNOWN:
            return JobState.LOST
        case _:
            return JobState.FAILED
