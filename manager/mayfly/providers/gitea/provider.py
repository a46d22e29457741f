"""Gitea Actions: runners of a repository, an organisation, a user or an instance, one job each.

One runner is registered for one agent, just before its gate opens, by the call that ``gitea-runner register``
makes: the registration token, which could register others, stays with the manager. Gitea deletes the runner
with its job. Only what carries our own label is ever dismissed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mayfly.core import naming
from mayfly.core.client_release import ClientRelease
from mayfly.core.memory import Agent
from mayfly.core.model import HostId, HostSpec, PoolSpec, Roster, StopStep, Traits
from mayfly.core.outcomes import End, Outcome
from mayfly.edge.published import WayOut
from mayfly.providers import (
    Cordoned,
    Diagnosis,
    Dismissed,
    Enrolment,
    Finding,
    Sign,
    diagnosis,
)
from mayfly.providers.gitea import check, client_release, lines
from mayfly.providers.gitea.enrolling import WORK, Enroller
from mayfly.providers.gitea.runners import Runners
from mayfly.providers.gitea.service import GiteaApi
from mayfly.providers.gitea.settings import GiteaSettings

LIST_EVERY = 10.0  # seconds between rosters at rest: nothing else shows that a job was cancelled


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Gitea:
    """The provider of a ``gitea`` pool; nothing is called yet."""
    del state_dir
    return Gitea(pool, host, host_id)


class Gitea:
    """One pool at Gitea."""

    # A runner without a job ends at once at a TERM. One with a job waits for it, and the launcher ends the
    # job's steps soon, so that the runner tells of a failure.
    traits = Traits(
        proof="lines",
        stop_ladder=(StopStep("TERM", 40.0), StopStep("USR2", 5.0)),
        can_cordon=True,
        entry_ends_with_job=True,
        work=WORK,
    )
    roster_interval = LIST_EVERY

    def __init__(
        self,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = pool.settings
        assert isinstance(settings, GiteaSettings)
        self._pool, self._host, self._clock = pool, host, clock
        mark = f"mayfly-{host_id}-{pool.name}".lower()
        self._service = GiteaApi(pool, settings, clock)
        self._runners = Runners(self._service, mark, host.name, pool.name)
        self._enroller = Enroller(pool, self._service, self._runners, mark)

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls were made, by operation and status."""
        return self._service.web.calls()

    def roster(self) -> Roster | None:
        """Our runners of this pool, and others that bear our names."""
        at = self._clock()
        return Roster(tuple(self._runners.look()), at)

    def answer(self) -> None:
        """One small call, to see whether Gitea answers."""
        self._service.one()

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """A registration for this agent alone, as files for its gate."""
        name = naming.registered(self._host.name, agent.slot, agent.generation)
        return self._enroller.enrol(name, labels)

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """Disable the runner, or let it go on, and look whether it has a job already."""
        return self._runners.cordon(registration, on)

    def retire(self, registration: str) -> None:
        """There are no entries to keep."""

    def dismiss(self, registration: str) -> Dismissed:
        """Delete a registration: what has a job keeps it."""
        return self._runners.dismiss(registration)

    def client_release(self, architecture: str, version: str | None = None) -> ClientRelease:
        """The runner that was tried, with its maker's checksum."""
        pool, settings = self._pool, self._pool.settings
        assert isinstance(settings, GiteaSettings)
        way = WayOut(pool.proxy, pool.no_proxy, pool.ca)
        return client_release.release(architecture, version, settings.releases, way)

    def check(self) -> Diagnosis:
        """Whether we may do what we must, and what is unwise."""
        return diagnosis(self._findings())

    def _findings(self) -> Iterator[Finding]:
        yield from check.of_version(self._service)
        tuple(self._runners.look())
        self._enroller.check()
        yield from check.of_address(self._service)
        yield from check.of_limits(self._pool)

    def read(self, line: str) -> Sign | None:
        """What a line of the runner means."""
        return lines.read(line)

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""
        return lines.judge(end, signs)
