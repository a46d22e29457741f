"""GitLab CI: gitlab-runner's ``run-single``, one job per container, at gitlab.com or anywhere else.

With a personal access token Mayfly makes one runner a slot, remembers its token and uses it until the slot
is gone. With a runner's own token (``glrt-…``) all slots share that runner, and there is nothing to list,
pause or delete. Idle and busy are told by the client's lines; GitLab's ``online`` means "some contact within
two hours" and is never asked.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import tomli_w

from mayfly.core import naming
from mayfly.core.memory import Agent
from mayfly.core.model import (
    CA_TARGET,
    HostId,
    HostSpec,
    PoolSpec,
    Roster,
    RosterEntry,
    Severity,
    SlotName,
    StopStep,
    Traits,
)
from mayfly.core.outcomes import End, Outcome
from mayfly.edge import credentials
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Fault, Refused
from mayfly.edge.vault import Vault
from mayfly.edge.web import integer
from mayfly.providers import (
    Cordoned,
    Diagnosis,
    Dismissed,
    Enrolment,
    Finding,
    Sign,
    diagnosis,
)
from mayfly.providers.gitlab import lines
from mayfly.providers.gitlab.service import GitLabApi, GitLabScope, moment, place_of
from mayfly.providers.gitlab.settings import GitLabSettings
from mayfly.providers.gitlab.store import RunnerStore, StoredRunner, vault

SHARED_CACHE = "/cache"  # the target of a pool's cache that GitLab's `cache:` goes to
LEAST_TIMEOUT = 600  # seconds; GitLab takes no smaller maximum_timeout
CAP = 360.0  # seconds that gitlab-runner may take to end a job whose time is over
ROTATE_EARLY = 7 * 86400.0  # a token that expires within this is made anew before its next use
CLOCKS = 5.0  # seconds that two clocks may differ where one's times are compared with the other's
LIST_EVERY = 60.0  # seconds between two lists of a pool
LIST_EVERY_SLOT = 10.0  # and for each of its slots: their jobs are asked for one by one
REFUSED_INTERVAL = 15.0  # seconds between looks at whether a person has put right what was refused
REGISTRATION_TOKENS = "GR1348941"  # how such tokens begin
RUNNER_TOKENS = ("glrt-", "glrtr-")


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> GitLab:
    """The provider of a ``gitlab`` pool; nothing is called yet."""
    return GitLab(pool, host, host_id, vault(state_dir))


# QUIT ends an idle runner when its request for a job returns (50 s at gitlab.com), and a busy one after its
# job. TERM breaks a job off and reports it, for which the runner takes 30 s at most.
LADDER = (StopStep("QUIT", 75.0, idle=True), StopStep("TERM", 40.0), StopStep("USR2", 5.0))
# Each slot has a runner of its own, for ever, and that can be paused.
OWN_RUNNERS = Traits(proof="lines", stop_ladder=LADDER, can_cordon=True, keeps_entries=True)
# All slots share one runner that a person has made.
SHARED_RUNNER = Traits(proof="lines", stop_ladder=LADDER)


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
        assert isinstance(pool.settings, GitLabSettings)
        self.pool, self._settings = pool, pool.settings
        self._host = host
        self._host_id = host_id
        self._keep = RunnerStore(vault, pool.name)
        self._clock = clock
        self._whose = f'pool "{pool.name}"'
        self._mark = f"mayfly-{host_id}-{pool.name}"
        self._found: GitLabScope | None = None
        self._heard: dict[int, float] = {}  # runners that spoke since that enrolment
        self._let_in = True  # the last roster could be had
        self.left = pool.settings.left
        self._shared = False
        # The kind of the token is found out once for each configuration, and whenever a worker reads it.
        with suppress(Refused):
            self._secret()

    # -- what stands behind it -----------------------------------------------------------------------

    @property
    def traits(self) -> Traits:
        """What kind of runners the token makes, as it was when it was last read."""
        return SHARED_RUNNER if self._shared else OWN_RUNNERS

    @property
    def shared(self) -> bool:
        """Whether all slots share one runner that a person has made; reads the token."""
        with suppress(Refused):
            self._secret()
        return self._shared

    @property
    def roster_interval(self) -> float:
        """Seconds between rosters at rest, which cost a call or two a slot; sooner while we are refused."""
        if not self._let_in:
            return REFUSED_INTERVAL
        return max(LIST_EVERY, LIST_EVERY_SLOT * self.pool.slots)

    def _secret(self) -> Secret:
        if self._settings.token is None:
            raise Refused(
                f"{self._whose} has no `token`: the how-to of GitLab says which it may be"
            )
        secret = credentials.read(self._settings.token)
        if secret.reveal().startswith(REGISTRATION_TOKENS):
            raise Refused(
                f"`token` of {self._whose} is a registration token, which GitLab is giving up: make a runner "
                "on its web page and give that one's glrt- token, or give a personal access token with "
                "create_runner and manage_runner"
            )
        self._shared = secret.reveal().startswith(RUNNER_TOKENS)
        return secret

    @cached_property
    def service(self) -> GitLabApi:
        """The instance that ``url`` names."""
        base = self._settings.url.rstrip("/")
        if self._settings.scope is None and not self.shared:
            parts = urlsplit(base)
            base = f"{parts.scheme}://{parts.netloc}"
        return GitLabApi(base, self.pool, self._settings.calls_per_hour, self._secret, self._clock)

    @property
    def _place(self) -> GitLabScope:
        """Where the pool's runners belong: what ``scope`` says, or what ``url`` names."""
        if self._settings.scope is not None:
            return place_of(self._settings.scope)
        if self._found is None:
            self._found = self.service.look_up(urlsplit(self._settings.url).path.strip("/"))
        return self._found

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls were made, by operation and status."""
        return self.service.web.calls()

    def remaining(self) -> float | None:
        """How many calls GitLab still allows; ``None``: it has not said."""
        return self.service.web.remaining

    def system_id(self, slot: SlotName) -> str:
        """The slot's manager id at GitLab, the same for ever (``s_`` and twelve characters)."""
        digest = hashlib.sha256(f"{self._host_id}/{slot}".encode()).hexdigest()
        return f"s_{digest[:12]}"

    # -- the roster ------------------------------------------------------------------------------------

    def roster(self) -> Roster | None:
        """The pool's runners, and whether they run a job; ``None`` where all slots share a runner."""
        self._let_in = False
        found = self._roster()
        self._let_in = True
        return found

    def _roster(self) -> Roster | None:
        at = self._clock()
        if self.left:
            entries = [self._left_entry(slot, kept) for slot, kept in self._keep.all().items()]
            return Roster(tuple(entries), at)
        secret = self._secret()
        if self.shared:
            self.service.verify(secret, None)
            return None
        known = {kept.id: (slot, kept) for slot, kept in self._keep.all().items()}
        listed = self.service.runners(self._place, self._mark)
        if listed is None:
            numbers = [number for number in known if number is not None]
            looked = (self.service.runner(number) for number in numbers)
            listed = [runner for runner in looked if runner is not None]
        return Roster(tuple(self._entry(runner, known) for runner in listed), at)

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
        busy = self._is_busy(number, slot, kept)
        return RosterEntry(
            id=str(number),
            name=naming.registered(self._host.name, slot),
            online=True if busy or self._has_spoken(number, slot, kept) else None,
            busy=busy,
            slot=slot,
        )

    def _is_busy(self, number: int, slot: SlotName, kept: StoredRunner) -> bool:
        """Whether GitLab says that the slot's agent runs a job; what an earlier agent left does not count."""
        for job in self.service.running(number, self.system_id(slot)):
            started = moment(job.get("started_at"))
            if started is None or started >= self._since(kept):
                return True
        return False

    def _has_spoken(self, number: int, slot: SlotName, kept: StoredRunner) -> bool:
        """Whether the slot's manager has been heard of since its agent was enrolled."""
        if self._heard.get(number) == kept.since:
            return True
        for manager in self.service.managers(number):
            contact = moment(manager.get("contacted_at"))
            own = manager.get("system_id") == self.system_id(slot)
            if own and contact is not None and contact >= self._since(kept):
                self._heard[number] = kept.since
                return True
        return False

    def _since(self, kept: StoredRunner) -> float:
        """When the slot's agent was enrolled, by GitLab's clock at the earliest."""
        return kept.since + (self.service.web.skew or 0.0) - CLOCKS

    # -- enrolment -------------------------------------------------------------------------------------

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """The configuration of gitlab-runner for this agent, with the token of its slot's runner."""
        slot, name = agent.slot, naming.registered(self._host.name, agent.slot)
        secret = self._secret()
        if self.shared:
            self.service.verify(secret, self.system_id(slot))
            return Enrolment(self._files(slot, name, secret))
        kept = self._runner_of(slot, name, labels)
        files = self._files(slot, name, kept.token)
        return Enrolment(files, registration=str(kept.id), registered=name)

    def _files(self, slot: SlotName, name: str, token: Secret) -> dict[str, bytes]:
        keys = {
            "name": name,
            "url": self.service.base,
            "token": token.reveal(),
            "executor": "shell",
            "shell": "bash",
        }
        if self.pool.ca is not None:
            keys["tls-ca-file"] = CA_TARGET
        if any(cache.target == SHARED_CACHE for cache in self.pool.caches):
            keys["cache_dir"] = SHARED_CACHE
        # Nothing of a token's expiry: gitlab-runner would rotate it by itself.
        return {
            "config.toml": tomli_w.dumps({"concurrent": 1, "runners": [keys]}).encode(),
            "system_id": self.system_id(slot).encode(),
            "name": name.encode(),
        }

    def tags(self, labels: tuple[str, ...]) -> list[str]:
        """What jobs may ask for, and what tells that a runner is ours."""
        pool = self.pool
        tags = [*pool.labels, *labels]
        if pool.gpus:
            tags.append("gpu")
        if pool.cuda is not None:
            tags.append(f"cuda-{pool.cuda}")
        return list(dict.fromkeys([*tags, str(pool.name), self._mark]))

    def _wanted(self, slot: SlotName, name: str, labels: tuple[str, ...]) -> dict[str, object]:
        """What the slot's runner is to be at GitLab."""
        wanted: dict[str, object] = {
            "description": name,
            "tag_list": self.tags(labels),
            "run_untagged": False,
            "maintenance_note": f"Kept by Mayfly on {self._host.name} for slot {slot}",
        }
        limit = self.pool.limits.job_timeout
        if limit is not None:
            # GitLab ends a job first; Mayfly ends what did not end by that.
            wanted["maximum_timeout"] = max(LEAST_TIMEOUT, int(limit - CAP))
        return wanted

    def _runner_of(self, slot: SlotName, name: str, labels: tuple[str, ...]) -> StoredRunner:
        """The slot's runner, ready for one more agent: the one that is remembered, else a new one."""
        now = self._clock()
        wanted = self._wanted(slot, name, labels)
        kept = self._keep.get(slot)
        if kept is not None and (kept.base, kept.place) != (self.service.base, str(self._place)):
            self._abandon(kept)
            kept = None
        elif kept is not None and kept.id is None:
            self._take_back(name)
            kept = None
        if kept is not None and kept.id is not None:
            kept = self._ready(kept, kept.id, slot, wanted)
        if kept is None:
            kept = self._made(slot, wanted)
        kept = replace(kept, since=now, setup=_digest(wanted), paused=False)
        self._keep.put(slot, kept)
        return kept

    def _ready(
        self, kept: StoredRunner, number: int, slot: SlotName, wanted: Mapping[str, object]
    ) -> StoredRunner | None:
        """The remembered runner as it is to be, with a token that is good; ``None`` where it is gone.

        The slot is empty now, so nobody works with a token that is rotated here. A runner that a person has
        paused stays paused.
        """
        good = self.service.takes(kept.token, self.system_id(slot)).status == 200
        expiring = kept.expires is not None and kept.expires - self._clock() < ROTATE_EARLY
        if not good or kept.paused or kept.setup != _digest(wanted):
            body = {**wanted, "paused": False} if kept.paused else wanted
            if not self.service.change(number, body):
                return None
        if good and not expiring:
            return kept
        issued = self.service.rotate(number)
        if issued is None:
            return None
        return replace(kept, token=issued.token, expires=issued.expires)

    def _made(self, slot: SlotName, wanted: Mapping[str, object]) -> StoredRunner:
        """A new runner; that it is being made is on disk before it is asked for."""
        pool = self.pool
        kept = StoredRunner(
            pool=pool.name,
            base=self.service.base,
            place=str(self._place),
            ca=pool.ca,
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
        )
        self._keep.put(slot, kept)
        try:
            issued = self.service.make(self._place, wanted)
        except Refused:
            self._keep.drop(slot)
            raise
        return replace(kept, id=issued.id, token=issued.token, expires=issued.expires)

    def _take_back(self, name: str) -> None:
        """Delete what a lost reply may have left behind: its token, given once, is lost with it."""
        remembered = {kept.id for kept in self._keep.all().values()}
        for runner in self.service.runners(self._place, self._mark) or ():
            number = integer(runner.get("id"))
            if runner.get("description") == name and number not in remembered:
                self.service.delete(number)

    def _abandon(self, kept: StoredRunner) -> None:
        """The pool has moved: its runner at the old place deletes itself, if there is anybody to ask."""
        if kept.id is not None:
            with suppress(Fault):
                old = GitLabApi(
                    kept.base, self.pool, self._settings.calls_per_hour, self._secret, self._clock
                )
                old.delete_by_token(kept.token)

    # -- told by the manager -----------------------------------------------------------------------------

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """Pause the runner, or let it go on, and look whether it runs a job already."""
        slot = self._keep.slot_of(registration)
        kept = self._keep.get(slot) if slot is not None else None
        if kept is not None and slot is not None and on and not kept.paused:
            self._keep.put(slot, replace(kept, paused=True))
        if not self.service.change(int(registration), {"paused": on}):
            return Cordoned()
        if kept is not None and slot is not None:
            if on:
                return Cordoned(busy=self._is_busy(int(registration), slot, kept))
            self._keep.put(slot, replace(kept, paused=False))
        return Cordoned()

    def dismiss(self, registration: str) -> Dismissed:
        """Delete a runner for good: gone already is success; one that runs a job is only paused."""
        slot = self._keep.slot_of(registration)
        kept = self._keep.get(slot) if slot is not None else None
        if self.left:
            if kept is not None:
                self.service.delete_by_token(kept.token)
        else:
            if self.cordon(registration, on=True).busy:
                return Dismissed(busy=True)
            self.service.delete(int(registration))
        if slot is not None:
            self._keep.drop(slot)
        return Dismissed()

    def retire(self, registration: str) -> None:
        """A slot's runner is its next agent's too: no job can have read its token."""

    # -- is all well? ------------------------------------------------------------------------------------

    def check(self) -> Diagnosis:
        """Whether GitLab is reachable and takes the token, and nobody else uses a runner of ours."""
        return diagnosis(self._findings())

    def _findings(self) -> Iterator[Finding]:
        secret = self._secret()
        if self.shared:
            expires = self.service.verify(secret, None)
            if expires is not None and expires - self._clock() < ROTATE_EARLY:
                days = max(0.0, (expires - self._clock()) / 86400)
                yield Finding(
                    Severity.WARNING,
                    f"the runner's token of {self._whose} expires in {days:.0f} days",
                    "drain the pool, reset the token at GitLab, put the new one where `token` points",
                )
            return
        if self.service.runners(self._place, self._mark) is None:
            yield Finding(
                Severity.INFO,
                f"the token of {self._whose} may not list runners: one that a lost reply leaves behind stays",
                "give the token the scope read_api too",
            )
        for slot, kept in self._keep.all().items():
            if kept.id is not None:
                yield from self._of_runner(slot, kept, kept.id)

    def _of_runner(self, slot: SlotName, kept: StoredRunner, number: int) -> Iterator[Finding]:
        runner = self.service.runner(number)
        if runner is not None and runner.get("paused") is True and not kept.paused:
            yield Finding(
                Severity.WARNING,
                f"runner {number} of slot {slot} is paused at GitLab, and not by Mayfly: it gets no job",
                "resume it on GitLab's page of runners",
            )
        ids = {str(manager.get("system_id")) for manager in self.service.managers(number)}
        others = sorted(ids - {self.system_id(slot)})
        if others:
            yield Finding(
                Severity.WARNING,
                f"runner {number} of slot {slot} is used from elsewhere too ({', '.join(others)}): somebody "
                "has its token",
                f"mayfly drain {slot}, delete the runner at GitLab, mayfly uncordon {slot}: another is made",
            )

    # -- what its client says ----------------------------------------------------------------------------

    def read(self, line: str) -> Sign | None:
        """What a line of the runner's log means; ``None``: nothing."""
        return lines.read(line)

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""
        return lines.judge(end, signs)


def _digest(wanted: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
