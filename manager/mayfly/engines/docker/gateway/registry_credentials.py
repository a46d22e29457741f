"""The credentials by which a pool has images fetched: read for each pull, sent to that registry alone.

A grant says where they are. What is read goes into one header to the Engine; a job sees neither it nor the
place. Whoever looks after the host is told where they cannot be read, or a registry does not take them. What
a registry does not take it is not sent over and over, which would lock the account; nor does one agent have
it asked for one image that is not there after the other.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from shlex import quote

from mayfly.core.admission.grant import Grant
from mayfly.core.admission.image_names import HUB
from mayfly.core.model import Registry
from mayfly.edge import credentials
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Fault
from mayfly.engines.docker.gateway.engine_connection import EngineGone, asked
from mayfly.engines.docker.gateway.host_conditions import HostConditions

UNIT = "mayfly-gateway"
UNREADABLE = "registry.unreadable"
REFUSED = "registry.refused"
ASKED_SECONDS = 60.0  # between two questions whether a registry takes what a pool has for it
FAILURES = 10  # pulls of one agent that may fail in so many seconds
HUBS_ADDRESS = "https://index.docker.io/v1/"  # as Docker's clients say it of docker.io


class Unread(Exception):
    """They cannot be read; in a sentence for the agent, which says nothing of where they are."""


class Rests(Exception):
    """They are not sent for now; in a sentence for the agent."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a registry said when it was asked last."""

    at: float
    password: Secret
    refuses: bool = False


class RegistryCredentials:
    """Those of all pools, at one Engine."""

    def __init__(
        self,
        engine: str,
        conditions: HostConditions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._conditions = conditions
        self._clock = clock
        self._answers: dict[str, _Answer] = {}  # of registries
        self._failed: dict[tuple[str, str], list[float]] = {}  # when, of an agent at a registry

    async def header(self, grant: Grant, registry: Registry) -> Secret:
        """What stands in X-Registry-Auth for that registry; ``Unread``, ``Rests``."""
        document = await self._document(grant, registry)
        if document is None:
            raise Unread(
                f"the credentials that pool {grant.pool} has for {registry.address} cannot be read: who "
                "looks after this host is told"
            )
        self._see_that_they_do_not_rest(grant, registry, document)
        text = json.dumps(document.reveal_all())
        return Secret(base64.urlsafe_b64encode(text.encode()).decode())

    def _see_that_they_do_not_rest(
        self, grant: Grant, registry: Registry, document: _Document
    ) -> None:
        last = self._answers.get(_about(grant, registry))
        if last is not None and last.refuses and self._is_fresh(last, document):
            raise Rests(
                f"registry {registry.address} does not take the credentials that pool {grant.pool} has for "
                f"it, and is asked again in {ASKED_SECONDS:.0f} s; who looks after this host is told"
            )
        if len(self._recently_failed(grant, registry)) >= FAILURES:
            raise Rests(
                f"{FAILURES} images of this job could not be fetched from {registry.address}: with the "
                f"credentials of pool {grant.pool} it may go on in {ASKED_SECONDS:.0f} s"
            )

    def _is_fresh(self, answer: _Answer, document: _Document) -> bool:
        """Whether it is of late, and about the same password."""
        late = self._clock() - answer.at >= ASKED_SECONDS
        return not late and answer.password == document.password

    def _recently_failed(self, grant: Grant, registry: Registry) -> list[float]:
        since = self._clock() - ASKED_SECONDS
        failed = self._failed.get((grant.generation, registry.address), ())
        return [at for at in failed if at > since]

    async def look(self, grants: Iterable[Grant]) -> None:
        """Whether those of the agents that are there can be read; of others nothing is told any more."""
        wanted = {
            _about(grant, registry): (grant, registry)
            for grant in grants
            for registry in grant.registries
        }
        there = {grant.generation for grant, _ in wanted.values()}
        self._failed = {key: failed for key, failed in self._failed.items() if key[0] in there}
        self._conditions.only(UNREADABLE, wanted.keys())
        self._conditions.only(REFUSED, wanted.keys())
        for grant, registry in wanted.values():
            await self._document(grant, registry)

    async def taken(self, grant: Grant, registry: Registry) -> None:
        """A pull with them went well."""
        about = _about(grant, registry)
        self._answers.pop(about, None)
        self._conditions.mended(REFUSED, about)

    async def doubted(self, grant: Grant, registry: Registry) -> None:
        """A pull with them failed: the registry itself is asked, now and then, whether it takes them.

        Why a pull fails a job decides, too, by the name that it asks for.
        """
        about, now = _about(grant, registry), self._clock()
        failed = self._recently_failed(grant, registry)
        self._failed[grant.generation, registry.address] = [*failed, now]
        document = await self._document(grant, registry)
        last = self._answers.get(about)
        if document is None or (last is not None and self._is_fresh(last, document)):
            return
        self._answers[about] = _Answer(now, document.password)
        try:
            status, said = await asked(self._engine, "POST", "/auth", document.reveal_all())
        except EngineGone:
            return
        if status == 200:
            self._conditions.mended(REFUSED, about)
        elif status == 401 or "unauthorized" in str(said).lower():
            self._answers[about] = _Answer(now, document.password, refuses=True)
            self._conditions.tell(
                REFUSED,
                about,
                f"jobs of pool {grant.pool} fetch nothing from {registry.address}: it does not take user "
                f"{registry.user} with what is there for it",
                _write(registry),
                pool=grant.pool,
            )

    async def _document(self, grant: Grant, registry: Registry) -> _Document | None:
        about = _about(grant, registry)
        try:
            secret = await asyncio.to_thread(credentials.read, registry.password, unit=UNIT)
        except Fault as fault:
            self._conditions.tell(
                UNREADABLE,
                about,
                f"jobs of pool {grant.pool} fetch nothing from {registry.address}: {fault}",
                _write(registry),
                pool=grant.pool,
                lasts=None,
            )
            return None
        self._conditions.mended(UNREADABLE, about)
        return _Document(registry, secret)


class _Document:
    """What a registry is to be told, as Docker's clients say it."""

    def __init__(self, registry: Registry, password: Secret) -> None:
        self._registry = registry
        self.password = password

    def reveal_all(self) -> dict[str, str]:
        """With the password in it: for the one call that needs it."""
        address = self._registry.address
        return {
            "username": self._registry.user,
            "password": self.password.reveal(),
            "serveraddress": HUBS_ADDRESS if address == HUB else address,
        }


def _about(grant: Grant, registry: Registry) -> str:
    return f"{grant.pool} {registry.address}"


def _write(registry: Registry) -> str:
    ((kind, value),) = registry.password.items()
    if kind == "credential":
        line = f"LoadCredential={value}:/etc/mayfly/credentials/{value}"
        return f"sudo systemctl edit {UNIT}   # and there, under [Service]: {line}"
    return f"sudo install -D -m 600 /dev/stdin {quote(value)}   # then the password, Enter and ^D"
