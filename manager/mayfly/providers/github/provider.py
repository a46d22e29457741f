"""GitHub Actions: ephemeral runners of a repository, an organisation or an enterprise.

One registration is minted for one agent, just before its gate opens; after its job GitHub removes it itself.
Only what carries our own label is ever dismissed. Minting is not idempotent: after a lost reply the name is
taken, and who took it is looked up. Facts and their sources: GitHub's REST reference, actions/runner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from mayfly.core import naming
from mayfly.core.client_release import ClientRelease
from mayfly.core.memory import Agent
from mayfly.core.model import HostId, HostSpec, PoolSpec, Roster, StopStep, Traits
from mayfly.core.outcomes import End, Outcome
from mayfly.core.waiting import WaitingJob
from mayfly.providers import (
    Cordoned,
    Diagnosis,
    Dismissed,
    Enrolment,
    Finding,
    Sign,
    diagnosis,
    unseen_jobs,
)
from mayfly.providers.github import check, client_release, lines
from mayfly.providers.github.connection import Connection
from mayfly.providers.github.enrolling import Enroller
from mayfly.providers.github.groups import Groups
from mayfly.providers.github.runner_place import EXTERNALS, RUNNER, WORK
from mayfly.providers.github.runners import Runners
from mayfly.providers.github.settings import GitHubSettings
from mayfly.providers.github.waiting import Waiting

LIST_EVERY = 30.0  # seconds between lists at rest, for each of their pages


class GitHub:
    """One pool at GitHub."""

    # INT cancels a job and reports it; TERM leaves the client half a minute at most.
    traits = Traits(
        stop_ladder=(StopStep("INT", 90.0), StopStep("TERM", 35.0), StopStep("USR2", 5.0)),
        work=f"{RUNNER}/{WORK}",
        shared=(f"{RUNNER}/{EXTERNALS}",),
    )

    def __init__(
        self,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = pool.settings
        assert isinstance(settings, GitHubSettings)
        self._host, self._clock = host, clock
        mark = f"mayfly-{host_id}-{pool.name}".lower()
        connection = self._connection = Connection(pool, settings, clock)
        self._runners = Runners(connection, mark, host.name, pool.name)
        self._groups = Groups(connection, settings.runner_group)
        self._enroller = Enroller(
            pool, settings, connection, self._runners, self._groups, mark, clock
        )
        self._waiting = Waiting(connection, self._runners, pool, self._enroller.labels)
        self._pool = pool

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls were made, by operation and status."""
        return self._connection.calls()

    def remaining(self) -> float | None:
        """How many calls GitHub still allows in this hour; ``None``: it has not said."""
        return self._connection.remaining()

    def token_end(self) -> float | None:
        """When the pool's token ends, as GitHub says beside its answers."""
        return self._connection.token_end()

    def waiting(self, labels: tuple[tuple[str, ...], ...]) -> tuple[WaitingJob, ...]:
        """The workflow jobs that wait for the pool."""
        return self._waiting.look(labels)

    def cancel_waiting(self, waiting: str) -> None:
        """Cancel a run whose jobs all wait."""
        self._waiting.cancel(waiting)

    @property
    def roster_interval(self) -> float:
        """Seconds between rosters at rest; a long list is asked for less often."""
        return LIST_EVERY * self._runners.pages

    def roster(self) -> Roster | None:
        """Our runners of this pool, and others that bear our names."""
        at = self._clock()
        entries = self._runners.look()
        self._enroller.take_back_lost(entries)
        return Roster(tuple(entries), at)

    def answer(self) -> None:
        """One small call, to see whether GitHub answers; no part of its limit while nothing changes."""
        self._runners.one()

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """A registration for this agent alone, as files for its gate."""
        name = naming.registered(self._host.name, agent.slot, agent.generation)
        return self._enroller.enrol(name, labels)

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """GitHub cannot be told: an idle runner is dismissed instead."""
        del registration, on
        return Cordoned()

    def retire(self, registration: str) -> None:
        """There are no entries to keep."""

    def dismiss(self, registration: str) -> Dismissed:
        """Remove a registration: what runs a job keeps it."""
        return self._runners.remove(registration)

    def client_release(self, architecture: str, version: str | None = None) -> ClientRelease:
        """The runner that GitHub hands out, with its checksum."""
        return client_release.release(self._connection, architecture, version)

    def client_refused(self, version: str) -> float | None:
        """When GitHub refuses that runner, which it says of an enterprise's alone."""
        return client_release.refused(self._connection, version)

    def check(self) -> Diagnosis:
        """Whether we may do what we must, and what is unwise."""
        return diagnosis(self._findings())

    def _findings(self) -> Iterator[Finding]:
        self._runners.look()
        self._enroller.check()
        yield from check.findings(self._connection, self._groups, self._runners.versions)
        yield from unseen_jobs(self._pool, self.waiting)

    def read(self, line: str) -> Sign | None:
        """What a line of the runner means."""
        return lines.read(line)

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""
        return lines.judge(end, signs)
