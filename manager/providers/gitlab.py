"""GitLab CI: gitlab-runner's ``run-single``, one job per container, at gitlab.com or anywhere else.

With a personal access token Mayfly makes one runner per slot, remembers its token and uses it until the slot is gone.
With a runner's own token (``glrt-…``) all slots share that runner, and there is nothing to list, pause or delete. Idle and busy
are told by the runner's lines; GitLab's ``online`` means "some contact within two hours" and is never asked.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from manager.core import naming
from manager.core.memory import Agent
from manager.core.model import (
    HostId,
    HostSpec,
    PoolSpec,
    Roster,
    RosterEntry,
    Severity,
    SlotName,
    Step,
)
from manager.core.outcomes import End, Outcome
from manager.edge import credentials
from manager.edge.credentials import Secret
from manager.edge.faults import AgentBusy, Passing, Refused
from manager.edge.vault import Vault
from manager.edge.web import Budget, Reply, Web, integer, items, mapping, text
from manager.providers import Diagnosis, Enrolment, Finding, Sign, gitlab_lines

CA_TARGET = "/etc/mayfly/ca.pem"  # where a container finds the pool's `ca`
SHARED_CACHE = "/cache"  # the target of a pool's cache that GitLab's `cache:` goes to
LEAST_TIMEOUT = 600  # seconds; GitLab takes no smaller maximum_timeout
CAP = 360.0  # seconds that gitlab-runner may take to end a job whose time is over
ROTATE_EARLY = 7 * 86400.0  # a token that expires within this is made anew before its next use
STALE = 5.0  # seconds that a clock may be off when a job's start is compared with an enrolment
REFUSAL_LIFE = (
    120.0  # seconds that a refused enrolment is held against the pool before the next try
)
PAGES_MOST = 20
_REGISTRATION = "GR1348941"
_RUNNER = "glrt-"


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> GitLab:
    """The provider of a ``gitlab`` pool; nothing is called yet."""
    return GitLab(pool, host, host_id, Vault(state_dir / "gitlab"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pool's runners belong."""

    kind: Literal["instance", "group", "project"]
    id: int | None  # None: the instance

    @property
    def list_path(self) -> str:
        """The path of the list of its runners."""
        return "runners/all" if self.id is None else f"{self.kind}s/{self.id}/runners"

    @property
    def body(self) -> dict[str, object]:
        """What the call that makes a runner wants to know of it."""
        kind: dict[str, object] = {"runner_type": f"{self.kind}_type"}
        return kind if self.id is None else {**kind, f"{self.kind}_id": self.id}

    def __str__(self) -> str:
        return self.kind if self.id is None else f"{self.kind}:{self.id}"


def place_of(scope: str) -> Place:
    """What a pool's ``scope`` names."""
    if scope == "instance":
        return Place("instance", None)
    match = re.fullmatch(r"(group|project):(\d+)", scope)
    if match is None:
        raise Refused(f'`scope` {scope!r} is none of "group:ID", "project:ID" and "instance"')
    return Place("group" if match[1] == "group" else "project", int(match[2]))


@dataclass(frozen=True, slots=True)
class Kept:
    """A slot's runner, as the vault keeps it."""

    id: int | None  # None: it is being made, and nobody knows whether it was
    token: Secret
    base: str
    place: str
    expires: float | None = None  # None: never
    since: float = 0.0  # when its last agent was enrolled

    @classmethod
    def of(cls, value: Mapping[str, object]) -> Kept:
        """From what is in the vault."""
        number, expires, since = value.get("id"), value.get("expires"), value.get("since")
        return cls(
            id=number if isinstance(number, int) else None,
            token=Secret(str(value.get("token", ""))),
            base=str(value.get("base", "")),
            place=str(value.get("place", "")),
            expires=float(expires) if isinstance(expires, (int, float)) else None,
            since=float(since) if isinstance(since, (int, float)) else 0.0,
        )

    @property
    def value(self) -> dict[str, object]:
        """What goes into the vault."""
        return {
            "id": self.id,
            "token": self.token.reveal(),
            "base": self.base,
            "place": self.place,
            "expires": self.expires,
            "since": self.since,
        }


class GitLab:
    """One pool at GitLab."""

    proof: Literal["roster", "lines"] = "lines"
    queue = False
    enrol_deadline: float | None = None
    # QUIT ends an idle runner when its request for a job returns (50 s at gitlab.com), and a busy one after its job. TERM
    # breaks a job off and reports it, for which the runner takes 30 s at most.
    stop_ladder = (Step("QUIT", 75.0, idle=True), Step("TERM", 40.0), Step("USR2", 5.0))

    def __init__(
        self,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        vault: Vault,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.pool = pool
        self._host = host
        self._host_id = host_id
        self._vault = vault
        self._clock = clock
        self._whose = f'pool "{pool.name}"'
        self._mark = f"mayfly-{host_id}-{pool.name}"
        self._lists = True  # whether the token may list runners
        self._found: Place | None = None
        self._seen: dict[int, float] = {}  # runners that were heard of since that enrolment
        self._refusal: tuple[Refused, float] | None = None

    # -- what stands behind it ---------------------------------------------------------------------

    @property
    def shared(self) -> bool:
        """Whether all slots share one runner that a person has made."""
        try:
            return self._secret().reveal().startswith(_RUNNER)
        except Refused:
            return False

    @property
    def tells(self) -> bool:
        """Whether the service can be told to give an agent no new job."""
        return not self.shared

    @property
    def keeps_entries(self) -> bool:
        """A slot's runner is the slot's for ever."""
        return not self.shared

    @property
    def roster_interval(self) -> float:
        """Seconds between rosters at rest: they cost a call or two per slot."""
        return max(60.0, 10.0 * self.pool.slots)

    def _secret(self) -> Secret:
        if self.pool.token is None:
            raise Refused(
                f"{self._whose} has no `token`: the how-to of GitLab says which it may be"
            )
        secret = credentials.read(self.pool.token)
        if secret.reveal().startswith(_REGISTRATION):
            raise Refused(
                f"`token` of {self._whose} is a registration token, which GitLab is giving up: make a runner on "
                "its web page and give its glrt- token, or give a personal access token with create_runner and "
                "manage_runner"
            )
        return secret

    @cached_property
    def base(self) -> str:
        """The address of the instance itself."""
        if self.pool.url is None:
            raise Refused(
                f"{self._whose} has no `url`: give https://gitlab.com or your own GitLab's"
            )
        if self.shared or self.pool.scope is not None:
            return self.pool.url.rstrip("/")
        parts = urlsplit(self.pool.url)
        return f"{parts.scheme}://{parts.netloc}"

    @cached_property
    def _web(self) -> Web:
        pool = self.pool
        return Web(
            f"{self.base}/api/v4",
            "GitLab",
            self._whose,
            authorise=lambda: {"PRIVATE-TOKEN": self._secret()},
            budget=Budget(pool.calls_per_hour),
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
            clock=self._clock,
        )

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls were made, by operation and status."""
        return self._web.calls()

    @property
    def _place(self) -> Place:
        """Where the pool's runners belong: what ``scope`` says, or what ``url`` names."""
        if self.pool.scope is not None:
            return place_of(self.pool.scope)
        if self._found is None:
            self._found = self._look_up(urlsplit(self.pool.url or "").path.strip("/"))
        return self._found

    def _look_up(self, path: str) -> Place:
        asked = f'say where its runners belong: scope = "group:ID", "project:ID" or "instance"'
        if not path:
            raise Refused(f"`url` of {self._whose} names no group or project: {asked}")
        kinds: tuple[Literal["group", "project"], ...] = ("group", "project")
        for kind in kinds:
            reply = self._web.call(
                "GET",
                f"{kind}s/{quote(path, safe='')}",
                f"look for the {kind} {path}",
                accept=(200, 403, 404),
            )
            if reply.status == 200:
                return Place(kind, integer(mapping(reply.body).get("id")))
            if reply.status == 403:
                raise Refused(
                    f"the token of {self._whose} may not look for {path} (read_api): {asked}"
                )
        raise Refused(f"GitLab at {self._web.host} has no group or project {path}: check `url`")

    # -- the roster ----------------------------------------------------------------------------------

    def roster(self) -> Roster | None:
        """The pool's runners, and whether they run a job; ``None`` where all slots share a runner."""
        self._still_refused()
        secret = self._secret()
        if self.shared:
            self._verify(secret, None)
            return None
        at = self._clock()
        kept = {naming.slot(self.pool.name, index): None for index in range(self.pool.slots)}
        slots = {**kept, **dict.fromkeys(self._remembered())}
        known = {one.id: (slot, one) for slot in slots if (one := self._kept(slot)) is not None}
        entries = [self._entry(runner, known) for runner in self._ours(known)]
        return Roster(tuple(entries), at)

    def _still_refused(self) -> None:
        """A list that can be read says nothing of what was refused a moment ago."""
        if self._refusal is None:
            return
        fault, since = self._refusal
        if self._clock() - since < REFUSAL_LIFE:
            raise fault
        self._refusal = None

    def _remembered(self) -> tuple[SlotName, ...]:
        """The slots of this pool that a runner is remembered for, also those that it has no more."""
        pattern = re.compile(rf"{re.escape(self.pool.name)}-\d+")
        return tuple(SlotName(name) for name in self._vault.names() if pattern.fullmatch(name))

    def _kept(self, slot: SlotName) -> Kept | None:
        value = self._vault.get(slot)
        kept = Kept.of(value) if value is not None else None
        return kept if kept is not None and kept.base == self.base else None

    def _ours(
        self, known: Mapping[int | None, tuple[SlotName, Kept]]
    ) -> Iterator[Mapping[str, object]]:
        """Our runners: by the list where the token may read it, else those that are remembered."""
        listed = self._listed() if self._lists else None
        if listed is not None:
            yield from listed
            return
        for number in known:
            if number is None:
                continue
            reply = self._web.call(
                "GET", f"runners/{number}", "look at a runner", accept=(200, 404)
            )
            if reply.status == 200:
                yield mapping(reply.body)

    def _listed(self) -> list[Mapping[str, object]] | None:
        """The runners that bear our tag; ``None`` where the token may not list runners."""
        found: list[Mapping[str, object]] = []
        path: str | None = f"{self._place.list_path}?tag_list={quote(self._mark)}&per_page=100"
        for _ in range(PAGES_MOST):
            if path is None:
                break
            reply = self._web.call("GET", path, "list the runners", accept=(200, 403))
            if reply.status == 403:
                if self._insufficient(reply):
                    self._lists = False
                    return None
                raise self._web.fault(reply, "list the runners")
            found += [mapping(runner) for runner in items(reply.body)]
            path = reply.next_page
        return found

    def _insufficient(self, reply: Reply) -> bool:
        return isinstance(reply.body, dict) and reply.body.get("error") == "insufficient_scope"

    def _entry(
        self, runner: Mapping[str, object], known: Mapping[int | None, tuple[SlotName, Kept]]
    ) -> RosterEntry:
        number = integer(runner.get("id"))
        name = str(runner.get("description") or "")
        if number not in known:
            # Made, and its token lost with the reply: nobody can use it, so it belongs to no slot.
            return RosterEntry(str(number), f"{name} (#{number})", online=None, busy=False)
        slot, kept = known[number]
        busy = bool(self._running(number, kept))
        heard = busy or self._heard(number, slot, kept)
        return RosterEntry(
            id=str(number),
            name=naming.registered(self._host.name, slot),
            online=True if heard else None,
            busy=busy,
            slot=slot,
        )

    def _running(self, number: int, kept: Kept | None) -> list[int]:
        """The jobs that GitLab says run on the runner now, without those of agents that are over."""
        reply = self._web.call(
            "GET",
            f"runners/{number}/jobs?status=running",
            "list a runner's jobs",
            accept=(200, 404),
        )
        if reply.status == 404:
            return []
        since = (kept.since if kept is not None else 0.0) + (self._web.skew or 0.0) - STALE
        rows = [mapping(job) for job in items(reply.body)]
        return [
            integer(job.get("id"))
            for job in rows
            if (started := _moment(job.get("started_at"))) is None or started >= since
        ]

    def _heard(self, number: int, slot: SlotName, kept: Kept) -> bool:
        """Whether the slot's manager id has spoken with GitLab since its agent was enrolled."""
        if self._seen.get(number) == kept.since:
            return True
        reply = self._web.call(
            "GET", f"runners/{number}/managers", "list a runner's managers", accept=(200, 404)
        )
        since = kept.since + (self._web.skew or 0.0) - STALE
        for row in items(reply.body) if reply.status == 200 else ():
            manager = mapping(row)
            contact = _moment(manager.get("contacted_at"))
            if manager.get("system_id") == self.system_id(slot) and contact is not None:
                if contact >= since:
                    self._seen[number] = kept.since
                    return True
        return False

    # -- enrolment -----------------------------------------------------------------------------------

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """The configuration of gitlab-runner for this agent, with the token of its slot's runner."""
        try:
            secret = self._secret()
            name = naming.registered(self._host.name, agent.slot)
            if self.shared:
                self._verify(secret, agent.slot)
                return Enrolment(self._files(agent.slot, name, secret))
            kept = self._runner_of(agent.slot, name, labels)
            return Enrolment(
                self._files(agent.slot, name, kept.token),
                registration=str(kept.id),
                registered=name,
            )
        except Refused as fault:
            self._refusal = (fault, self._clock())
            raise

    def system_id(self, slot: SlotName) -> str:
        """The slot's manager id at GitLab, the same for ever (``s_`` and twelve characters)."""
        digest = hashlib.sha256(f"{self._host_id}/{slot}".encode()).hexdigest()
        return f"s_{digest[:12]}"

    def _files(self, slot: SlotName, name: str, token: Secret) -> dict[str, bytes]:
        keys = {
            "name": name,
            "url": self.base,
            "token": token.reveal(),
            "executor": "shell",
            "shell": "bash",
        }
        if self.pool.ca is not None:
            keys["tls-ca-file"] = CA_TARGET
        if any(cache.target == SHARED_CACHE for cache in self.pool.caches):
            keys["cache_dir"] = SHARED_CACHE
        lines = ["concurrent = 1", "", "[[runners]]"]
        lines += [f"  {key} = {json.dumps(value)}" for key, value in keys.items()]
        return {
            "config.toml": ("\n".join(lines) + "\n").encode(),
            "system_id": self.system_id(slot).encode(),
            "name": name.encode(),
        }

    def _wanted(self, name: str, labels: tuple[str, ...]) -> dict[str, object]:
        """What the slot's runner is to be at GitLab."""
        pool = self.pool
        tags = [*pool.labels, *labels]
        if pool.gpus:
            tags.append("gpu")
        if pool.cuda is not None:
            tags.append(f"cuda-{pool.cuda}")
        tags += [str(pool.name), self._mark]
        wanted: dict[str, object] = {
            "description": name,
            "tag_list": list(dict.fromkeys(tags)),
            "run_untagged": False,
            "paused": False,
        }
        if pool.limits.job_timeout is not None:
            # GitLab ends a job first, and Mayfly what GitLab's own end did not.
            wanted["maximum_timeout"] = max(LEAST_TIMEOUT, int(pool.limits.job_timeout - CAP))
        return wanted

    def _runner_of(self, slot: SlotName, name: str, labels: tuple[str, ...]) -> Kept:
        """The slot's runner, ready for one more agent: the one that is remembered, else a new one."""
        now = self._clock()
        wanted = self._wanted(name, labels)
        value = self._vault.get(slot)
        kept = Kept.of(value) if value is not None else None
        if kept is not None and (kept.base, kept.place) != (self.base, str(self._place)):
            self._abandon(kept)
            kept = None
        if kept is not None and kept.id is None:
            self._take_back(name)
            kept = None
        if kept is not None:
            kept = self._prepared(kept, wanted, slot)
        if kept is None:
            kept = self._made(slot, name, wanted)
        kept = replace(kept, since=now)
        self._vault.put(slot, kept.value)
        return kept

    def _prepared(self, kept: Kept, wanted: Mapping[str, object], slot: SlotName) -> Kept | None:
        """The remembered runner as it is to be, with a token that is good; ``None`` where it is gone."""
        reply = self._web.call(
            "PUT",
            f"runners/{kept.id}",
            "set up a runner",
            body={**wanted, "maintenance_note": self._note(slot)},
            accept=(200, 400, 404),
        )
        if reply.status == 404:
            return None
        if reply.status == 400:
            raise self._unwanted(reply, "set up a runner")
        expiring = kept.expires is not None and kept.expires - self._clock() < ROTATE_EARLY
        if expiring or not self._is_good(kept.token, slot):
            return self._rotated(kept)
        return kept

    def _is_good(self, token: Secret, slot: SlotName) -> bool:
        return self._ask_for(token, slot).status == 200

    def _rotated(self, kept: Kept) -> Kept | None:
        """The runner with a new token. Its slot is empty now, so nobody works with the old one."""
        reply = self._web.call(
            "POST",
            f"runners/{kept.id}/reset_authentication_token",
            "rotate a runner's token",
            accept=(201, 404),
        )
        if reply.status == 404:
            return None
        return self._with_token(kept, mapping(reply.body))

    def _with_token(self, kept: Kept, body: Mapping[str, object]) -> Kept:
        expires = _moment(body.get("token_expires_at"))
        return replace(kept, token=Secret(text(body.get("token"))), expires=expires)

    def _made(self, slot: SlotName, name: str, wanted: Mapping[str, object]) -> Kept:
        """A new runner; that it is being made is on disk before it is asked for."""
        kept = Kept(None, Secret(""), self.base, str(self._place))
        self._vault.put(slot, kept.value)
        reply = self._web.call(
            "POST",
            "user/runners",
            "make a runner",
            body={**self._place.body, **wanted, "maintenance_note": self._note(slot)},
            accept=(201, 400, 403),
        )
        if reply.status != 201:
            self._vault.drop(slot)
            if reply.status == 400:
                raise self._unwanted(reply, "make a runner")
            raise self._unallowed(reply)
        body = mapping(reply.body)
        return self._with_token(replace(kept, id=integer(body.get("id"))), body)

    def _note(self, slot: SlotName) -> str:
        return f"Kept by Mayfly on {self._host.name} ({self._host_id}) for slot {slot}"

    def _unwanted(self, reply: Reply, operation: str) -> Refused:
        if "tag" in reply.said:
            return Refused(
                f"GitLab refused the tags of {self._whose} when asked to {operation}: {reply.said}; set `labels`"
            )
        return Refused(str(self._web.fault(reply, operation)))

    def _unallowed(self, reply: Reply) -> Refused:
        """Why no runner may be made: the token's scopes, or its owner's role."""
        if self._insufficient(reply):
            return Refused(
                f"the token of {self._whose} may make no runners at {self._web.host}: give it the scopes "
                "create_runner and manage_runner"
            )
        roles = {
            "instance": "an administrator of the instance",
            "group": "an Owner of the group",
            "project": "a Maintainer of the project",
        }
        return Refused(
            f"the token of {self._whose} may make no runners for {self._place} at {self._web.host}: it has to "
            f"belong to {roles[self._place.kind]}"
        )

    def _take_back(self, name: str) -> None:
        """Delete what a lost reply may have left behind: its token, given once, is lost with it."""
        remembered = {kept.id for slot in self._remembered() if (kept := self._kept(slot))}
        for runner in (self._listed() if self._lists else None) or ():
            number = integer(runner.get("id"))
            if runner.get("description") == name and number not in remembered:
                self._delete(number)

    def _abandon(self, kept: Kept) -> None:
        """The pool has moved to another place: the runner there deletes itself, if it still can."""
        if kept.base != self.base or kept.id is None:
            return
        self._web.call(
            "DELETE",
            "runners",
            "delete a runner that is not used any more",
            body={"token": kept.token.reveal()},
            headers={},
            accept=(200, 202, 204, 403, 404),
        )

    # -- by a runner's own token -------------------------------------------------------------------------

    def _ask_for(self, token: Secret, slot: SlotName | None) -> Reply:
        body = {"token": token.reveal()}
        if slot is not None:
            body["system_id"] = self.system_id(slot)
        return self._web.call(
            "POST",
            "runners/verify",
            "verify a runner's token",
            body=body,
            headers={},
            accept=(200, 403, 404, 410, 422),
        )

    def _verify(self, token: Secret, slot: SlotName | None) -> Mapping[str, object]:
        """What GitLab says of the shared runner; ``Refused`` where it takes its token no more."""
        reply = self._ask_for(token, slot)
        if reply.status == 200:
            return mapping(reply.body)
        if reply.status == 404:
            raise Refused(
                f"there is no GitLab at {self.base}: `url` of {self._whose} is to be its own address"
            )
        raise Refused(
            f"GitLab at {self._web.host} does not take the runner's token of {self._whose} ({reply.status}): it was "
            "revoked, has expired, or its runner was deleted; put a valid one where `token` points"
        )

    # -- told by the manager ----------------------------------------------------------------------------

    def cordon(self, registration: str, on: bool) -> None:
        """Pause the runner, or let it go on; running a job is ``AgentBusy``."""
        reply = self._web.call(
            "PUT",
            f"runners/{registration}",
            "pause a runner" if on else "resume a runner",
            body={"paused": on},
            accept=(200, 404),
        )
        if (
            on
            and reply.status == 200
            and self._running(int(registration), self._by_id(registration))
        ):
            raise AgentBusy(f"runner {registration} runs a job")

    def _by_id(self, registration: str) -> Kept | None:
        for slot in self._remembered():
            kept = self._kept(slot)
            if kept is not None and str(kept.id) == registration:
                return kept
        return None

    def dismiss(self, registration: str) -> None:
        """Delete a slot's runner for good: gone already is success, running a job is ``AgentBusy``."""
        if not self.shared:
            self.cordon(registration, on=True)
        self._delete(int(registration))
        for slot in self._remembered():
            kept = self._kept(slot)
            if kept is not None and str(kept.id) == registration:
                self._vault.drop(slot)

    def _delete(self, number: int) -> None:
        self._web.call("DELETE", f"runners/{number}", "delete a runner", accept=(204, 404))

    def retire(self, registration: str) -> None:
        """A slot's runner is its next agent's too: no job can have read its token."""

    # -- is all well? ------------------------------------------------------------------------------------

    def check(self) -> Diagnosis:
        """Whether GitLab is reachable and takes the token, and nobody else uses a runner of ours."""
        try:
            return tuple(self._findings())
        except Refused as fault:
            return (
                Finding(
                    Severity.ERROR, str(fault), "put right what it names, then `mayfly reload`"
                ),
            )
        except Passing as fault:
            return (Finding(Severity.WARNING, str(fault), f"curl -sSI {self.pool.url}"),)

    def _findings(self) -> Iterator[Finding]:
        secret = self._secret()
        if self.shared:
            expires = _moment(self._verify(secret, None).get("token_expires_at"))
            if expires is not None and expires - self._clock() < ROTATE_EARLY:
                days = max(0.0, (expires - self._clock()) / 86400)
                yield Finding(
                    Severity.WARNING,
                    f"the runner's token of {self._whose} expires in {days:.0f} days",
                    "drain the pool, reset the token at GitLab, put the new one where `token` points",
                )
            return
        self._listed()
        if not self._lists:
            yield Finding(
                Severity.INFO,
                f"the token of {self._whose} may not list runners: one that a lost reply leaves behind stays",
                "give the token the scope read_api too",
            )
        for slot in self._remembered():
            yield from self._strangers(slot)

    def _strangers(self, slot: SlotName) -> Iterator[Finding]:
        kept = self._kept(slot)
        if kept is None or kept.id is None:
            return
        reply = self._web.call(
            "GET", f"runners/{kept.id}/managers", "list a runner's managers", accept=(200, 404)
        )
        rows = items(reply.body) if reply.status == 200 else []
        ids = {str(mapping(row).get("system_id")) for row in rows} - {self.system_id(slot)}
        if ids:
            yield Finding(
                Severity.WARNING,
                f"runner {kept.id} of slot {slot} is used from elsewhere too ({', '.join(sorted(ids))}): somebody "
                "has its token",
                f"mayfly drain {slot}, delete the runner at GitLab, mayfly uncordon {slot}: a new one is made",
            )

    # -- what its client says ----------------------------------------------------------------------------

    def read(self, line: str) -> Sign | None:
        """What a line of the runner's log means; ``None``: nothing."""
        return gitlab_lines.read(line)

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""
        return gitlab_lines.judge(end, signs)


def _moment(value: object) -> float | None:
    """An ISO time as seconds since the epoch; ``None`` where it is none."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
