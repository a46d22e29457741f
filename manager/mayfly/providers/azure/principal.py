"""The tokens of a service principal, from Microsoft Entra: each is good for about an hour."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from mayfly.core.model import PoolSpec
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import integer, mapping, text
from mayfly.edge.web import Web
from mayfly.providers.azure.settings import AzureSettings

AUTHORITY = "https://login.microsoftonline.com"
RESOURCE = "499b84ac-1321-427f-aa17-267ca6975798/.default"  # Azure DevOps, as Entra knows it
EARLY = 600.0  # seconds before its end that a token is replaced: `config` needs it, too


class Principal:
    """A service principal that has been added to the organisation."""

    def __init__(self, pool: PoolSpec, settings: AzureSettings, clock: Callable[[], float]) -> None:
        self._pool, self._settings = pool, settings
        self._clock = clock
        self._kept: tuple[Secret, Secret, float] | None = None  # the secret, its token, until when
        self.web = Web(
            settings.authority or AUTHORITY,
            "Microsoft Entra",
            f'pool "{pool.name}"',
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
        )

    def token(self, secret: Secret) -> Secret:
        """A token of which at least ten minutes are left; two threads at once may each fetch one."""
        if self._kept is not None and self._kept[0] == secret and self._clock() < self._kept[2]:
            return self._kept[1]
        operation = "get a token for the service principal"
        reply = self.web.call(
            "POST",
            f"/{quote(str(self._settings.tenant_id), safe='')}/oauth2/v2.0/token",
            operation,
            form={
                "grant_type": "client_credentials",
                "client_id": str(self._settings.client_id),
                "client_secret": secret,
                "scope": RESOURCE,
            },
            accept=(200, 400, 401),
        )
        if reply.status != 200:
            said = f" ({reply.said})" if reply.said else ""
            raise Refused(
                f'pool "{self._pool.name}": Microsoft Entra gives its service principal no token{said}: '
                "check `tenant_id`, `client_id`, and the client secret that `token` points to"
            )
        body = mapping(reply.body)
        token = Secret(text(body.get("access_token")))
        until = self._clock() + integer(body.get("expires_in")) - EARLY
        self._kept = (secret, token, until)
        return token
