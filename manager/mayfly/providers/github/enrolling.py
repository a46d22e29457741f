"""Registrations for one agent each: a one-use configuration, or a token for config.sh.

Minting is not idempotent: after a lost reply the name is taken, and who took it is looked up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from mayfly.core.model import PoolSpec, RosterEntry
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.service_json import integer, mapping, text
from mayfly.edge.web import Budget, ServiceReply
from mayfly.providers import Enrolment
from mayfly.providers.github.connection import Connection
from mayfly.providers.github.groups import FIRST_GROUP, Groups
from mayfly.providers.github.labels import labels_of
from mayfly.providers.github.runner_place import WORK
from mayfly.providers.github.runners import Runners
from mayfly.providers.github.settings import GitHubSettings
from mayfly.providers.lost_names import LostNames

LABELS_MOST = 100
MINTING_SHARE = 6  # one call in so many may mint: about 500 an hour of the 3,000
MINTING_BURST = 60.0
SETTLE = 15.0  # seconds until a lost registration is looked for again: lists are old at times
TOKEN_EARLY = 300.0


class Enroller:
    """Makes the registrations of one pool."""

    def __init__(
        self,
        pool: PoolSpec,
        settings: GitHubSettings,
        connection: Connection,
        runners: Runners,
        groups: Groups,
        mark: str,
        clock: Callable[[], float],
    ) -> None:
        self._pool, self._settings = pool, settings
        self._connection, self._runners, self._groups = connection, runners, groups
        self._mark, self._clock = mark, clock
        self._minting = Budget(settings.calls_per_hour / MINTING_SHARE, MINTING_BURST)
        self._registering: tuple[Secret, float] | None = None
        self._lock = threading.Lock()
        # Names that may be taken by a registration that never reached us.
        self._lost = LostNames()

    def enrol(self, name: str, labels: tuple[str, ...]) -> Enrolment:
        """A registration under that name, as files for a gate."""
        try:
            if self._settings.enrolment == "token":
                return self._enrol_by_token(name, self._labels(labels))
            return self._enrol_at_once(name, self._labels(labels))
        except Refused:
            self.forget()
            self._connection.forget()
            raise

    def forget(self) -> None:
        """What was got before a person put something right may be what is refused: get it again."""
        self._groups.found = None
        with self._lock:
            self._registering = None

    def check(self) -> None:
        """``Refused`` where no registration could be made; makes none."""
        self.forget()
        self._groups.number()
        self._registration_token()  # which needs the right that minting needs, and leaves nothing behind
        if self._settings.enrolment == "jit":
            self._see_minting()

    def take_back_lost(self, entries: Iterable[RosterEntry]) -> None:
        """Remove registrations whose configuration was lost on its way to us: nobody can ever use them."""
        for entry in entries:
            if entry.name in self._lost and not entry.foreign and not entry.online:
                with suppress(Passing):
                    if not self._runners.remove(entry.id).busy:
                        self._lost.discard(entry.name)

    def labels(self, given: tuple[str, ...]) -> frozenset[str]:
        """What a job may ask for of an agent, in lower case; a job's labels are compared so."""
        return frozenset(label.lower() for label in self._labels(given))

    def _labels(self, given: tuple[str, ...]) -> list[str]:
        """All that jobs may ask for, and what tells that it is ours."""
        kept: dict[str, str] = {}
        for label in labels_of(self._pool, given)[: LABELS_MOST - 1]:
            kept.setdefault(label.lower(), label)
        return [*kept.values(), self._mark]

    def _enrol_at_once(self, name: str, labels: list[str]) -> Enrolment:
        self._lost.discard(name)
        try:
            return self._minted(name, labels)
        except Passing:
            self._lost.add(name)
            raise

    def _minted(self, name: str, labels: list[str]) -> Enrolment:
        body = {
            "name": name,
            "runner_group_id": self._groups.number(),
            "labels": labels,
            "work_folder": WORK,
        }
        reply = self._mint(body)
        if reply.status == 409:
            self._clear_name(name)
            reply = self._mint(body)
        if reply.status == 404:
            raise self._why_missing(reply)
        if reply.status != 201:
            raise self._connection.web.fault(reply, "mint a runner's configuration")
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
                f"{self._connection.whose} has made its {self._minting.per_hour:.0f} registrations of this "
                f"hour; the next is made in {wait:.0f} s (raise calls_per_hour if GitHub's limits allow it)",
                wait,
            )
        return self._connection.call(
            "POST",
            f"{self._connection.place.path}/actions/runners/generate-jitconfig",
            "mint a runner's configuration",
            body=body,
            accept=(201, 404, 409),
        )

    def _clear_name(self, name: str) -> None:
        """Take back what a lost reply has left behind under the agent's name, if that is ours and unused."""
        found = self._runners.named(name)
        if not found:
            raise Passing(
                f"GitHub has a runner named {name} and does not list it yet; {self._connection.whose} looks "
                f"again in {SETTLE:.0f} s",
                SETTLE,
            )
        for runner in found:
            if not self._runners.ours(runner):
                raise Refused(
                    f"a runner named {name} that is not ours is registered at "
                    f"{self._connection.place.web}: remove it, or rename this host (host.name)"
                )
            if runner.get("status") == "online" or runner.get("busy") is True:
                raise Passing(f"a runner named {name} is online before its gate was opened", SETTLE)
            if self._runners.remove(str(integer(runner.get("id")))).busy:
                raise Passing(
                    f"the runner named {name} runs a job before its gate was opened", SETTLE
                )

    def _why_missing(self, reply: ServiceReply) -> Refused | Passing:
        """A 404 of the minting call: the place, the group, or the call itself is not there."""
        before, self._groups.found = self._groups.found, None
        for _ in self._runners.all():
            break
        if before is not None and self._groups.number() != before:
            return Passing(
                f'the runner group "{self._settings.runner_group}" was made anew; '
                f"{self._connection.whose} tries again",
                1.0,
            )
        if self._connection.place.kind != "repository" and self._settings.runner_group is None:
            self._groups.check(FIRST_GROUP)
        version = reply.headers.get("X-GitHub-Enterprise-Version")
        server = f"GitHub Enterprise Server {version}" if version else "this GitHub"
        return Refused(
            f"{server} knows no one-use configuration (404 where {self._connection.whose} can list runners): "
            'set enrolment = "token" for it, or give the token the right to write'
        )

    def _see_minting(self) -> None:
        """``Refused`` where this GitHub mints no configurations: a request without labels mints none either,
        and is answered with 422 where they are minted.
        """
        body = {"name": "-", "runner_group_id": self._groups.number(), "labels": []}
        reply = self._connection.call(
            "POST",
            f"{self._connection.place.path}/actions/runners/generate-jitconfig",
            "see whether configurations are minted",
            body=body,
            accept=(404, 422),
        )
        if reply.status == 404:
            raise self._why_missing(reply)

    def _enrol_by_token(self, name: str, labels: list[str]) -> Enrolment:
        self._groups.number()
        arguments = ["--unattended", "--url", self._connection.place.web, "--name", name]
        arguments += ["--labels", ",".join(labels), "--no-default-labels", "--work", WORK]
        if self._settings.runner_group is not None and self._connection.place.kind != "repository":
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
                reply = self._connection.call(
                    "POST",
                    f"{self._connection.place.path}/actions/runners/registration-token",
                    "get a registration token",
                    accept=(201,),
                )
                token = Secret(text(mapping(reply.body).get("token")))
                self._registering = (token, now + 3600.0)
            return self._registering[0]
