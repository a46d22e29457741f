"""GitHub Actions: ephemeral runners of a repository, an organisation or an enterprise.

One registration is minted for one agent, just before its gate opens; after its job GitHub removes it itself.
Only what carries our own label is ever dismissed. Minting is not idempotent: after a lost reply the name is
taken, and who took it is looked up. Facts and their sources: GitHub's REST reference, actions/runner.
"""

from __future__ import annotations

import platform
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from mayfly.core import naming
from mayfly.core.memory import Agent
from mayfly.core.model import (
    Generation,
    HostId,
    HostSpec,
    PoolSpec,
    Roster,
    RosterEntry,
    Severity,
    StopStep,
    Traits,
)
from mayfly.core.outcomes import End, Outcome
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.web import Budget, Moved, ServiceReply, Web, integer, items, mapping, text
from mayfly.providers import (
    Cordoned,
    Diagnosis,
    Dismissed,
    Enrolment,
    Finding,
    Sign,
    diagnosis,
)
from mayfly.providers.github import lines
from mayfly.providers.github.place import GitHubAddress, place_of
from mayfly.providers.github.settings import GitHubSettings
from mayfly.providers.github.token import App, Identity, Personal

VERSION = "2022-11-28"
FIRST_GROUP = 1  # of a repository the only one, elsewhere "Default"
LABELS_MOST = 100
PAGES_MOST = 100
MINTING_SHARE = 6  # one call in so many may mint: about 500 an hour of the 3,000
MINTING_BURST = 60.0
LIST_EVERY = 30.0  # seconds between lists at rest, for each of their pages
SETTLE = 15.0  # seconds until a lost registration is looked for again: lists are old at times
TOKEN_EARLY = 300.0
SKEW_TOLD = 30.0

_ARCHITECTURES = {"x86_64": "X64", "aarch64": "ARM64", "armv7l": "ARM"}


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> GitHub:
    """The provider of a ``github`` pool; nothing is called yet."""
    del state_dir
    return GitHub(pool, host, host_id)


class GitHub:
    """One pool at GitHub."""

    # INT cancels a job and reports it; TERM leaves the client half a minute at most.
    traits = Traits(
        stop_ladder=(StopStep("INT", 90.0), StopStep("TERM", 35.0), StopStep("USR2", 5.0))
    )

    def __init__(
        self,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        clock: Callable[[], float] = time.time,
    ) -> None:
        assert isinstance(pool.settings, GitHubSettings)
        self.pool, self._settings = pool, pool.settings
        self._host = host
        self._clock = clock
        self._whose = f'pool "{pool.name}"'
        self._mark = f"mayfly-{host_id}-{pool.name}".lower()
        self._minting = Budget(self._settings.calls_per_hour / MINTING_SHARE, MINTING_BURST)
        self._group: int | None = None
        self._registering: tuple[Secret, float] | None = None
        self._versions: frozenset[str] = frozenset()
        self._pages = 1
        self._lock = threading.Lock()
        self._lost: set[str] = (
            set()
        )  # names that may be taken by a registration that never reached us
        self._webs: tuple[Web, ...] = ()
        # Made now, so that no two threads make them; a wrong `url` is told at the first call.
        with suppress(Refused):
            self._webs = (self._web, self._app_web)

    # -- what stands behind it ---------------------------------------------------------------------

    @cached_property
    def place(self) -> GitHubAddress:
        """Where its runners are registered; ``Refused`` where ``url`` names no such place."""
        return place_of(self._settings.url)

    @cached_property
    def _web(self) -> Web:
        return self._new_web(self._authorise)

    def _new_web(self, authorise: Callable[[], Mapping[str, str | Secret]]) -> Web:
        pool = self.pool
        return Web(
            self.place.api,
            "GitHub",
            self._whose,
            authorise=authorise,
            headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION},
            budget=self._budget,
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
            clock=self._clock,
        )

    def _authorise(self) -> Mapping[str, str | Secret]:
        return self._identity.headers()

    @cached_property
    def _budget(self) -> Budget:
        return Budget(self._settings.calls_per_hour)

    @cached_property
    def _app_web(self) -> Web:
        return self._new_web(dict)

    @cached_property
    def _identity(self) -> Identity:
        app, token = self._settings.app, self._settings.token
        if app is not None:
            if self.place.kind == "enterprise":
                raise Refused(
                    "GitHub lets no App manage the runners of an enterprise: give a classic token with "
                    "manage_runners:enterprise as `token`"
                )
            right = (
                {"organization_self_hosted_runners": "write"}
                if self.place.kind == "organisation"
                else {"administration": "write"}
            )
            return App(self._app_web, app.id, app.key, self.place.path, right, self._clock)
        if token is not None:
            return Personal(token)
        raise Refused(f"{self._whose} has neither `token` nor `app`: give one of them")

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls were made, by operation and status."""
        counts: dict[tuple[str, str], int] = {}
        for web in self._webs:
            for key, count in web.calls().items():
                counts[key] = counts.get(key, 0) + count
        return counts

    def remaining(self) -> float | None:
        """How many calls GitHub still allows in this hour; ``None``: it has not said."""
        return self._webs[0].remaining if self._webs else None

    @property
    def roster_interval(self) -> float:
        """Seconds between rosters at rest; a long list is asked for less often."""
        return LIST_EVERY * self._pages

    # -- the roster ----------------------------------------------------------------------------------

    def roster(self) -> Roster | None:
        """Our runners of this pool, and others that bear our names."""
        runners = self._look()
        self._take_back_lost(runners)
        entries = (self._entry(runner) for runner in runners)
        return Roster(tuple(entry for entry in entries if entry is not None), self._clock())

    def _look(self) -> list[Mapping[str, object]]:
        """Every runner of the place, and which versions ours have."""
        runners = list(self._list())
        self._versions = frozenset(
            str(runner["version"])
            for runner in runners
            if self._ours(runner) and runner.get("version")
        )
        return runners

    def _take_back_lost(self, runners: list[Mapping[str, object]]) -> None:
        """Remove registrations whose configuration was lost on its way to us: nobody can ever use them."""
        for runner in runners:
            name = text(runner.get("name"))
            with self._lock:
                lost = (
                    name in self._lost and self._ours(runner) and runner.get("status") != "online"
                )
            if lost:
                with suppress(Passing):
                    if not self.dismiss(str(integer(runner.get("id")))).busy:
                        with self._lock:
                            self._lost.discard(name)

    def _list(self) -> Iterator[Mapping[str, object]]:
        """Every runner of the place: one conditional call per hundred."""
        path: str | None = f"{self.place.path}/actions/runners?per_page=100"
        pages = 0
        while path is not None and pages < PAGES_MOST:
            reply = self._call("GET", path, "list the runners", conditional=True)
            pages += 1
            for runner in items(mapping(reply.body).get("runners")):
                yield mapping(runner)
            path = reply.next_page
        self._pages = max(1, pages)

    def _entry(self, runner: Mapping[str, object]) -> RosterEntry | None:
        name = text(runner.get("name"))
        ours = self._ours(runner)
        prefix = ".+" if ours else re.escape(self._host.name)
        named = re.fullmatch(
            rf"(?:{prefix})-{re.escape(self.pool.name)}-(\d+)-([0-9a-z]{{13}})", name
        )
        if not ours and named is None:
            return None
        return RosterEntry(
            id=str(integer(runner.get("id"))),
            name=name,
            online=runner.get("status") == "online",
            busy=runner.get("busy") is True,
            slot=naming.slot(self.pool.name, int(named.group(1))) if named else None,
            generation=Generation(named.group(2)) if named else None,
            foreign=not ours,
        )

    def _ours(self, runner: Mapping[str, object]) -> bool:
        labels = runner.get("labels")
        return isinstance(labels, list) and any(
            isinstance(label, dict) and str(label.get("name")).lower() == self._mark
            for label in labels
        )

    # -- enrolment -----------------------------------------------------------------------------------

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """A registration for this agent alone, as files for its gate."""
        name = naming.registered(self._host.name, agent.slot, agent.generation)
        try:
            if self._settings.enrolment == "token":
                return self._enrol_by_token(name, self._labels(labels))
            return self._enrol_at_once(name, self._labels(labels))
        except Refused:
            self._forget()
            raise

    def _forget(self) -> None:
        """What was got before a person put something right may be what is refused: get it again."""
        self._group = None
        with self._lock:
            self._registering = None
        with suppress(Refused):
            self._identity.forget()

    def _labels(self, given: tuple[str, ...]) -> list[str]:
        """Nothing is added by GitHub: all that jobs may ask for, and what tells that it is ours."""
        pool = self.pool
        wanted = ["self-hosted", "Linux", _ARCHITECTURES.get(platform.machine(), "X64")]
        if pool.gpus:
            wanted.append("gpu")
        if pool.cuda is not None:
            wanted.append(f"cuda-{pool.cuda}")
        wanted += [*pool.labels, *given, str(pool.name)]
        kept: dict[str, str] = {}
        for label in wanted[: LABELS_MOST - 1]:
            kept.setdefault(label.lower(), label)
        return [*kept.values(), self._mark]

    def _enrol_at_once(self, name: str, labels: list[str]) -> Enrolment:
        with self._lock:
            self._lost.discard(name)
        try:
            return self._minted(name, labels)
        except Passing:
            with self._lock:
                self._lost.add(name)
            raise

    def _minted(self, name: str, labels: list[str]) -> Enrolment:
        body = {
            "name": name,
            "runner_group_id": self._group_id(),
            "labels": labels,
            "work_folder": "_work",
        }
        reply = self._mint(body)
        if reply.status == 409:
            self._clear_name(name)
            reply = self._mint(body)
        if reply.status == 404:
            raise self._why_missing(reply)
        if reply.status != 201:
            raise self._web.fault(reply, "mint a runner's configuration")
        made = mapping(reply.body)
        return Enrolment(
            files={"jitconfig": text(made.get("encoded_jit_config")).encode()},
            registration=str(integer(mapping(made.get("runner")).get("id"))),
            registered=name,
        )

    def _mint(self, body: Mapping[str, object]) -> ServiceReply:
        wait = self._minting.take()
        if wait > 0:
            raise Passing(
                f"{self._whose} has made its {self._minting.per_hour:.0f} registrations of this hour; the "
                f"next is made in {wait:.0f} s (raise calls_per_hour if GitHub's limits allow it)",
                wait,
            )
        return self._call(
            "POST",
            f"{self.place.path}/actions/runners/generate-jitconfig",
            "mint a runner's configuration",
            body=body,
            accept=(201, 404, 409),
        )

    def _clear_name(self, name: str) -> None:
        """Take back what a lost reply has left behind under the agent's name, if that is ours and unused."""
        reply = self._call(
            "GET",
            f"{self.place.path}/actions/runners",
            "look for a lost registration",
            query={"name": name},
        )
        found = [mapping(runner) for runner in items(mapping(reply.body).get("runners"))]
        if not found:
            raise Passing(
                f"GitHub has a runner named {name} and does not list it yet; {self._whose} looks again in "
                f"{SETTLE:.0f} s",
                SETTLE,
            )
        for runner in found:
            if not self._ours(runner):
                raise Refused(
                    f"a runner named {name} that is not ours is registered at {self.place.web}: remove it, "
                    "or rename this host (host.name)"
                )
            if runner.get("status") == "online" or runner.get("busy") is True:
                raise Passing(f"a runner named {name} is online before its gate was opened", SETTLE)
            if self.dismiss(str(integer(runner.get("id")))).busy:
                raise Passing(
                    f"the runner named {name} runs a job before its gate was opened", SETTLE
                )

    def _why_missing(self, reply: ServiceReply) -> Refused | Passing:
        """A 404 of the minting call: the place, the group, or the call itself is not there."""
        before, self._group = self._group, None
        for _ in self._list():
            break
        if before is not None and self._group_id() != before:
            return Passing(
                f'the runner group "{self._settings.runner_group}" was made anew; {self._whose} tries again',
                1.0,
            )
        if self.place.kind != "repository" and self._settings.runner_group is None:
            self._check_group(FIRST_GROUP)
        version = reply.headers.get("X-GitHub-Enterprise-Version")
        server = f"GitHub Enterprise Server {version}" if version else "this GitHub"
        return Refused(
            f"{server} knows no one-use configuration (404 where {self._whose} can list runners): set "
            'enrolment = "token" for it, or give the token the right to write'
        )

    # -- enrolment by config.sh ------------------------------------------------------------------------

    def _enrol_by_token(self, name: str, labels: list[str]) -> Enrolment:
        self._group_id()
        arguments = ["--unattended", "--url", self.place.web, "--name", name]
        arguments += ["--labels", ",".join(labels), "--no-default-labels", "--work", "_work"]
        if self._settings.runner_group is not None and self.place.kind != "repository":
            arguments += ["--runnergroup", self._settings.runner_group]
        arguments += ["--ephemeral", "--disableupdate", "--replace"]
        return Enrolment(
            files={
                "config.argv": b"".join(word.encode() + b"\0" for word in arguments),
                "token": self._registration_token().reveal().encode(),
            },
            registration=None,
            registered=name,
        )

    def _registration_token(self) -> Secret:
        """One for all agents, for as long as it is good: an hour."""
        with self._lock:
            now = self._clock()
            if self._registering is None or now > self._registering[1] - TOKEN_EARLY:
                reply = self._call(
                    "POST",
                    f"{self.place.path}/actions/runners/registration-token",
                    "get a registration token",
                    accept=(201,),
                )
                token = Secret(text(mapping(reply.body).get("token")))
                self._registering = (token, now + 3600.0)
            return self._registering[0]

    # -- groups ----------------------------------------------------------------------------------------

    def _group_id(self) -> int:
        """The runner group's number; ``Refused`` names those that there are."""
        if self._settings.runner_group is None or self.place.kind == "repository":
            return FIRST_GROUP
        if self._group is None:
            groups = self._groups()
            wanted = self._settings.runner_group.lower()
            for group in groups:
                if text(group.get("name")).lower() == wanted:
                    self._group = integer(group.get("id"))
                    return self._group
            names = ", ".join(f'"{text(group.get("name"))}"' for group in groups)
            raise Refused(
                f'there is no runner group "{self._settings.runner_group}" at {self.place.web}; there are '
                f"{names}: correct `runner_group`, or make the group"
            )
        return self._group

    def _groups(self) -> list[Mapping[str, object]]:
        found: list[Mapping[str, object]] = []
        path: str | None = f"{self.place.path}/actions/runner-groups?per_page=100"
        while path is not None:
            reply = self._call("GET", path, "list the runner groups", conditional=True)
            found += [mapping(group) for group in items(mapping(reply.body).get("runner_groups"))]
            path = reply.next_page
        return found

    def _check_group(self, number: int) -> None:
        if number not in [integer(group.get("id")) for group in self._groups()]:
            raise Refused(
                f"{self.place.web} has no runner group {number}: name one as `runner_group`"
            )

    # -- taking back -----------------------------------------------------------------------------------

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """GitHub cannot be told: an idle runner is dismissed instead."""
        del registration, on
        return Cordoned()

    def retire(self, registration: str) -> None:
        """There are no entries to keep."""

    def dismiss(self, registration: str) -> Dismissed:
        """Remove a registration: 204 proves that it was idle and will get no job."""
        reply = self._call(
            "DELETE",
            f"{self.place.path}/actions/runners/{int(registration)}",
            "remove a runner",
            accept=(204, 404, 422),
        )
        return Dismissed(busy=reply.status == 422)

    # -- the check -------------------------------------------------------------------------------------

    def check(self) -> Diagnosis:
        """Whether we may do what we must, and what is unwise."""
        return diagnosis(self._findings())

    def _findings(self) -> Iterator[Finding]:
        self._look()
        self._group = self._registering = None
        self._group_id()
        self._registration_token()  # which needs the right that minting needs, and leaves nothing behind
        if self._settings.enrolment == "jit":
            self._see_minting()
        yield from self._about_clock()
        yield from self._about_public()
        yield from self._about_version()

    def _see_minting(self) -> None:
        """``Refused`` where this GitHub mints no configurations: a request without labels mints none either,
        and is answered with 422 where they are minted.
        """
        body = {"name": "-", "runner_group_id": self._group_id(), "labels": []}
        reply = self._call(
            "POST",
            f"{self.place.path}/actions/runners/generate-jitconfig",
            "see whether configurations are minted",
            body=body,
            accept=(404, 422),
        )
        if reply.status == 404:
            raise self._why_missing(reply)

    def _about_clock(self) -> Iterator[Finding]:
        skew = self._web.skew
        if skew is not None and abs(skew) > SKEW_TOLD:
            way = "behind" if skew > 0 else "ahead of"
            yield Finding(
                Severity.WARNING,
                f"this host's clock is {abs(skew):.0f} s {way} GitHub's, which refuses runners for that",
                "timedatectl set-ntp true",
            )

    def _about_public(self) -> Iterator[Finding]:
        """Anybody who may open a pull request can run code on a public repository's runners."""
        fix = "use a private repository, or a group that public repositories may not use"
        if self.place.kind == "repository":
            reply = self._call(
                "GET", self.place.path, "look at the repository", accept=(200, 403, 404)
            )
            if reply.status == 200 and mapping(reply.body).get("private") is False:
                what = f"{self.place.name} is public: any pull request can run code on this host"
                yield Finding(Severity.WARNING, what, fix)
            return
        number = self._group_id()
        for group in self._groups():
            if group.get("id") == number and group.get("allows_public_repositories") is True:
                name = text(group.get("name"))
                what = f'group "{name}" is open to public repositories: any pull request can run code here'
                yield Finding(Severity.WARNING, what, fix)

    def _about_version(self) -> Iterator[Finding]:
        """Whether the image's runner is the one that GitHub hands out."""
        reply = self._call(
            "GET",
            f"{self.place.path}/actions/runners/downloads",
            "look at the newest runner",
            accept=(200, 403, 404),
        )
        if reply.status != 200 or not self._versions:
            return
        names = " ".join(text(mapping(entry).get("filename")) for entry in items(reply.body))
        offered = max(
            (_number(found) for found in re.findall(r"-(\d+\.\d+\.\d+)\.", names)), default=()
        )
        for version in sorted(self._versions):
            if offered and _number(version) < offered:
                newest = ".".join(map(str, offered))
                yield Finding(
                    Severity.WARNING,
                    f"the image's runner is {version}, GitHub hands out {newest}; a runner that is a month "
                    "behind gets no jobs",
                    f"build the image again with RUNNER_VERSION={newest}",
                )

    # -- what the client says ---------------------------------------------------------------------------

    def read(self, line: str) -> Sign | None:
        """What a line of the runner means."""
        return lines.read(line)

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""
        return lines.judge(end, signs)

    # -- calls -------------------------------------------------------------------------------------------

    def _call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        accept: tuple[int, ...] = (200,),
        conditional: bool = False,
    ) -> ServiceReply:
        """One call; once more with a renewed token after a 401, which did nothing."""
        for attempt in (1, 2):
            try:
                reply = self._web.call(
                    method,
                    path,
                    operation,
                    query=query,
                    body=body,
                    accept=(*accept, 401),
                    conditional=conditional,
                )
            except Moved as moved:
                raise self._renamed(moved) from moved
            except Refused:
                # Its credentials may have been replaced, or been given another right.
                with suppress(Refused):
                    self._identity.forget()
                raise
            if reply.status != 401:
                return reply
            if attempt == 1 and not self._identity.renew():
                break
        raise self._web.fault(reply, operation)

    def _renamed(self, moved: Moved) -> Refused:
        """The sentence for a repository that has another name now, with that name where it is to be had."""
        number = re.search(r"/repositories/(\d+)", moved.location)
        if number is None:
            return moved
        try:
            reply = self._web.call(
                "GET",
                f"repositories/{number.group(1)}",
                "look for a renamed repository",
                accept=(200,),
            )
            name = text(mapping(reply.body).get("full_name"))
        except (Refused, Passing):
            return moved
        site = self.place.web.removesuffix(f"/{self.place.name}")
        return Refused(
            f'{self.place.name} is called {name} now: set url = "{site}/{name}" for {self._whose}'
        )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
