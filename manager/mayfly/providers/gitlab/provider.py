"""GitLab CI: gitlab-runner's ``run-single``, one job per container, at gitlab.com or anywhere else.

With a personal access token Mayfly makes one runner a slot, remembers its token and uses it until the slot
is gone. With a runner's own token (``glrt-…``) all slots share that runner, and there is nothing to list,
pause or delete. Idle and busy are told by the client's lines; GitLab's ``online`` means "some contact within
two hours" and is never asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import tomli_w

from mayfly.core import naming
from mayfly.core.client_release import ClientRelease
from mayfly.core.memory import Agent
from mayfly.core.model import (
    CA_TARGET,
    HostId,
    HostSpec,
    PoolSpec,
    Roster,
    RosterEntry,
    SlotName,
    StopStep,
    Traits,
)
from mayfly.core.outcomes import End, Outcome
from mayfly.core.waiting import WaitingJob
from mayfly.edge.credentials import Secret
from mayfly.edge.published import WayOut
from mayfly.edge.service_json import integer
from mayfly.edge.vault import Vault
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
from mayfly.providers.gitlab import check, client_release, docker_executor, lines
from mayfly.providers.gitlab.access import Access
from mayfly.providers.gitlab.docker_executor import BUILDS, SHARED_CACHE
from mayfly.providers.gitlab.settings import GitLabSettings
from mayfly.providers.gitlab.slot_runners import SlotRunners
from mayfly.providers.gitlab.store import RunnerStore, StoredRunner, vault
from mayfly.providers.gitlab.waiting import Waiting

LIST_EVERY = 60.0  # seconds between two lists of a pool
LIST_EVERY_SLOT = 10.0  # and for each of its slots: their jobs are asked for one by one
# What a job may ask for with a variable of its own, and a runner's own answer stands above: its steps would
# be started by the runner's process, which is root, with the job's variables.
FEATURES = {"FF_CONCRETE": False, "FF_SCRIPT_TO_STEP_MIGRATION": False}


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> GitLab:
    """The provider of a ``gitlab`` pool; nothing is called yet."""
    return GitLab(pool, host, host_id, vault(state_dir))


# QUIT ends an idle runner when its request for a job returns (50 s at gitlab.com), and a busy one after its
# job. TERM breaks a job off and reports it, for which the runner takes 30 s at most.
LADDER = (StopStep("QUIT", 75.0, idle=True), StopStep("TERM", 40.0), StopStep("USR2", 5.0))
# Each slot has a runner of its own, for ever, and that can be paused.
OWN_RUNNERS = Traits(
    proof="lines", stop_ladder=LADDER, can_cordon=True, keeps_entries=True, work=BUILDS
)
# All slots share one runner that a person has made.
SHARED_RUNNER = Traits(proof="lines", stop_ladder=LADDER, work=BUILDS)


class GitLab:
    """One pool at GitLab."""

    def __init__(
        self,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        vault: Vault,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = pool.settings
        assert isinstance(settings, GitLabSettings)
        self._pool, self._host, self._clock = pool, host, clock
        self._left = settings.left
        self._access = Access(pool, settings, clock)
        store = RunnerStore(vault, pool.name)
        self._runners = SlotRunners(self._access, store, pool, host, host_id, clock)
        self._waiting = Waiting(self._access, self._runners.tags, clock)

    @property
    def traits(self) -> Traits:
        """What kind of runners the token makes, as it was when it was last read."""
        return SHARED_RUNNER if self._access.runner_token else OWN_RUNNERS

    @property
    def roster_interval(self) -> float:
        """Seconds between rosters at rest, which cost a call or two a slot."""
        return max(LIST_EVERY, LIST_EVERY_SLOT * self._pool.slots)

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls were made, by operation and status."""
        return self._access.service.web.calls()

    def remaining(self) -> float | None:
        """How many calls GitLab still allows; ``None``: it has not said."""
        return self._access.service.web.remaining

    def token_end(self) -> float | None:
        """When the pool's token ends, as GitLab says of it; asked once in some hours, beside the roster."""
        return self._access.token_end

    def waiting(self, labels: tuple[tuple[str, ...], ...]) -> tuple[WaitingJob, ...]:
        """The pending jobs that wait for the pool."""
        return () if self._left else self._waiting.look(labels)

    def cancel_waiting(self, waiting: str) -> None:
        """Cancel one of them."""
        self._waiting.cancel(waiting)

    def roster(self) -> Roster | None:
        """The pool's runners, and whether they run a job; ``None`` where all slots share a runner."""
        at = self._clock()
        if self._left:
            entries = [
                self._left_entry(slot, kept) for slot, kept in self._runners.store.all().items()
            ]
            return Roster(tuple(entries), at)
        secret = self._access.secret()
        if self._access.shared:
            self._access.token_end = self._access.service.verify(secret, None)
            return None
        self._access.look_at_token()
        known = {kept.id: (slot, kept) for slot, kept in self._runners.store.all().items()}
        listed = self._access.service.runners(self._access.place, self._runners.mark)
        if listed is None:
            numbers = [number for number in known if number is not None]
            looked = (self._access.service.runner(number) for number in numbers)
            listed = [runner for runner in looked if runner is not None]
        return Roster(tuple(self._entry(runner, known) for runner in listed), at)

    def answer(self) -> None:
        """One small call, to see whether GitLab answers."""
        if self._left:
            return
        secret = self._access.secret()
        if self._access.shared:
            self._access.service.verify(secret, None)
            return
        known = [kept.id for kept in self._runners.store.all().values() if kept.id is not None]
        self._access.service.answer(self._access.place, self._runners.mark, known[:1])

    def _left_entry(self, slot: SlotName, kept: StoredRunner) -> RosterEntry:
        name = naming.registered(self._host.name, slot)
        return RosterEntry(str(kept.id), name, online=None, busy=False, slot=slot)

    def _entry(
        self,
        runner: Mapping[str, object],
        known: Mapping[int | None, tuple[SlotName, StoredRunner]],
    ) -> RosterEntry:
        number = integer(runner.get("id"))
        if number not in known:
            # Its token was lost with the reply that brought it: nobody can use it, and it belongs to no slot.
            name = f"{runner.get('description')} (#{number})"
            return RosterEntry(str(number), name, online=None, busy=False)
        slot, kept = known[number]
        busy = self._runners.is_busy(number, slot, kept)
        return RosterEntry(
            id=str(number),
            name=naming.registered(self._host.name, slot),
            online=True if busy or self._runners.has_spoken(number, slot, kept) else None,
            busy=busy,
            slot=slot,
        )

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """The configuration of gitlab-runner for this agent, with the token of its slot's runner."""
        slot, name = agent.slot, naming.registered(self._host.name, agent.slot)
        secret = self._access.secret()
        if self._access.shared:
            self._access.service.verify(secret, self._runners.system_id(slot))
            return Enrolment(self._files(slot, name, secret))
        kept = self._runners.runner_of(slot, name, labels)
        files = self._files(slot, name, kept.token)
        return Enrolment(files, registration=str(kept.id), registered=name)

    def _files(self, slot: SlotName, name: str, token: Secret) -> dict[str, bytes]:
        keys: dict[str, object] = {
            "name": name,
            "url": self._access.service.base,
            "token": token.reveal(),
            **self._executor(),
        }
        if self._pool.ca is not None:
            keys["tls-ca-file"] = CA_TARGET
        # Nothing of a token's expiry: gitlab-runner would rotate it by itself.
        return {
            "config.toml": tomli_w.dumps({"concurrent": 1, "runners": [keys]}).encode(),
            "system_id": self._runners.system_id(slot).encode(),
            "name": name.encode(),
        }

    def _executor(self) -> dict[str, object]:
        """How the runner runs a job: in a container of its own, or in the agent as the job user."""
        settings = self._pool.settings
        assert isinstance(settings, GitLabSettings)
        if self._pool.containers:
            features = FEATURES | docker_executor.FEATURES
            return {**docker_executor.keys(self._pool, settings), "feature_flags": features}
        keys: dict[str, object] = {"executor": "shell", "shell": "bash", "feature_flags": FEATURES}
        if any(cache.target == SHARED_CACHE for cache in self._pool.caches):
            keys["cache_dir"] = SHARED_CACHE
        return keys

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """Pause the runner, or let it go on, and look whether it runs a job already."""
        slot = self._runners.store.slot_of(registration)
        kept = self._runners.store.get(slot) if slot is not None else None
        if kept is not None and slot is not None and on and not kept.paused:
            self._runners.store.put(slot, replace(kept, paused=True))
        if not self._access.service.change(int(registration), {"paused": on}):
            return Cordoned()
        if kept is not None and slot is not None:
            if on:
                return Cordoned(busy=self._runners.is_busy(int(registration), slot, kept))
            self._runners.store.put(slot, replace(kept, paused=False))
        return Cordoned()

    def dismiss(self, registration: str) -> Dismissed:
        """Delete a runner for good: gone already is success; one that runs a job is only paused."""
        slot = self._runners.store.slot_of(registration)
        kept = self._runners.store.get(slot) if slot is not None else None
        if self._left:
            if kept is not None:
                self._access.service.delete_by_token(kept.token)
        else:
            if self.cordon(registration, on=True).busy:
                return Dismissed(busy=True)
            self._access.service.delete(int(registration))
        if slot is not None:
            self._runners.store.drop(slot)
        return Dismissed()

    def retire(self, registration: str) -> None:
        """A slot's runner is its next agent's too: no job can have read its token."""

    def client_release(self, architecture: str, version: str | None = None) -> ClientRelease:
        """The runner of the server's release, with its maker's checksum."""
        pool, settings = self._pool, self._pool.settings
        assert isinstance(settings, GitLabSettings)
        server = None
        if version is None and not self._access.shared:
            server = self._access.service.version()
        way = WayOut(pool.proxy, pool.no_proxy, pool.ca)
        return client_release.release(architecture, version, settings.releases, way, server)

    def check(self) -> Diagnosis:
        """Whether GitLab is reachable and takes the token, and nobody else uses a runner of ours."""
        return diagnosis(self._findings())

    def _findings(self) -> Iterator[Finding]:
        yield from check.findings(self._access, self._runners, self._clock())
        if not self._access.shared:
            yield from unseen_jobs(self._pool, self.waiting)

    def read(self, line: str) -> Sign | None:
        """What a line of the runner's log means; ``None``: nothing."""
        return lines.read(line)

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""
        return lines.judge(end, signs, contained=self._pool.containers)
