"""The credentials by which a pool has images fetched: read for each pull, sent to that registry alone.

A grant says where they are. What is read goes into one header to the Engine; a job sees neither it nor the
place. Whoever looks after the host is told where they cannot be read, or a registry does not take them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterable
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
HUBS_ADDRESS = "https://index.docker.io/v1/"  # as Docker's clients say it of docker.io


class Unread(Exception):
    """They cannot be read; in a sentence for the agent, which says nothing of where they are."""


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
        self._asked: dict[str, float] = {}  # when a registry was asked last

    async def header(self, grant: Grant, registry: Registry) -> Secret:
        """What stands in X-Registry-Auth for that registry; ``Unread``."""
        document = await self._document(grant, registry)
        if document is None:
            raise Unread(
                f"the credentials that pool {grant.pool} has for {registry.address} cannot be read: who "
                "looks after this host is told"
            )
        text = json.dumps(document.reveal_all())
        return Secret(base64.urlsafe_b64encode(text.encode()).decode())

    async def look(self, grants: Iterable[Grant]) -> None:
        """Whether those of the agents that are there can be read; of others nothing is told any more."""
        wanted = {
            _about(grant, registry): (grant, registry)
            for grant in grants
            for registry in grant.registries
        }
        self._conditions.only(UNREADABLE, wanted.keys())
        self._conditions.only(REFUSED, wanted.keys())
        for grant, registry in wanted.values():
            await self._document(grant, registry)

    async def taken(self, grant: Grant, registry: Registry) -> None:
        """A pull with them went well."""
        self._conditions.mended(REFUSED, _about(grant, registry))

    async def doubted(self, grant: Grant, registry: Registry) -> None:
        """A pull with them failed: the registry itself is asked, now and then, whether it takes them.

        Why a pull fails a job decides, too, by the name that it asks for.
        """
        about, now = _about(grant, registry), self._clock()
        if now - self._asked.get(about, float("-inf")) < ASKED_SECONDS:
            return
        self._asked[about] = now
        document = await self._document(grant, registry)
        if document is None:
            return
        try:
            status, said = await asked(self._engine, "POST", "/auth", document.reveal_all())
        except EngineGone:
            return
        if status == 200:
            self._conditions.mended(REFUSED, about)
        elif status == 401 or "unauthorized" in str(said).lower():
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
        self._password = password

    def reveal_all(self) -> dict[str, str]:
        """With the password in it: for the one call that needs it."""
        address = self._registry.address
        return {
            "username": self._registry.user,
            "password": self._password.reveal(),
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
