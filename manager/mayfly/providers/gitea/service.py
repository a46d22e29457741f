"""Gitea's REST and the one call of its runners' own protocol that Mayfly makes, as one pool uses them.

Calls only, and what their answers mean. Everything here is of Gitea 1.26: a runner can be disabled since
then, and without that nothing could be let go of safely.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mayfly.core.model import PoolSpec
from mayfly.edge import credentials
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.service_json import Pages, integer, mapping, text
from mayfly.edge.web import Budget, ServiceReply, Web
from mayfly.providers.gitea.place import GiteaPlace, place_of
from mayfly.providers.gitea.settings import GiteaSettings

PAGE = 50  # entries; Gitea gives no more at once unless its app.ini says so
# Seconds until a call is made again that was answered with 401, which did nothing. Gitea says so, too, where
# its database is busy while it looks the token up (routers/api/v1/api.go, apiAuth).
DOUBT = (0.5, 2.0)
REGISTER = "api/actions/runner.v1.RunnerService/Register"


@dataclass(frozen=True, slots=True)
class Registered:
    """A runner as Gitea has registered it, with what it shows itself by."""

    id: int
    uuid: str
    token: Secret


class GiteaApi:
    """The Gitea of one pool."""

    def __init__(self, pool: PoolSpec, settings: GiteaSettings, clock: Callable[[], float]) -> None:
        self.whose = f'pool "{pool.name}"'
        self.place: GiteaPlace = place_of(settings.url, settings.scope)
        self._reference = settings.token
        self._taken = True  # the token, when it was last asked with, as far as is known
        self.web = Web(
            self.place.site,
            "Gitea",
            self.whose,
            keys="`scope` or `url`",
            authorise=self._authorise,
            budget=Budget(settings.calls_per_hour),
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
            clock=clock,
        )

    def _authorise(self) -> Mapping[str, str | Secret]:
        return {"Authorization": Secret(f"token {credentials.read(self._reference).reveal()}")}

    def _call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        accept: tuple[int, ...] = (200,),
    ) -> ServiceReply:
        """One call at the pool's place; again where a token that was good is refused."""
        for pause in (*(DOUBT if self._taken else ()), None):
            reply = self.web.call(
                method,
                f"api/v1/{self.place.path}/actions/{path}",
                operation,
                query=query,
                body=body,
                accept=(*accept, 401, 403),
            )
            if reply.status != 401 or pause is None:
                break
            time.sleep(pause)
        self._taken = reply.status != 401
        if reply.status == 401:
            raise self.web.fault(reply, operation)
        if reply.status == 403:
            raise self._unallowed(reply, operation)
        return reply

    def _unallowed(self, reply: ServiceReply, operation: str) -> Refused | Passing:
        """Why the token may not do that: its scopes, or whose it is."""
        fault = self.web.fault(reply, operation)
        if isinstance(fault, Passing):
            return fault
        return Refused(
            f"the token of {self.whose} may not {operation} at {self.web.host}: it needs the scope "
            f"write:{self.place.token_scope}, and has to be that of {self.place.owner} ({reply.said})"
        )

    # -- runners and jobs ----------------------------------------------------------------------------

    def runners(self) -> list[Mapping[str, object]]:
        """Every runner of the place, each once; of several pages one may be missing by chance."""
        found = self._pages("runners", "runners", "list the runners", {})
        return list({integer(runner.get("id")): runner for runner in found}.values())

    def one(self) -> None:
        """Any runner of the place: one call, for the sake of its being answered."""
        self._call("GET", "runners", "list one runner", query={"limit": "1"})

    def runner(self, number: int) -> Mapping[str, object] | None:
        """A runner's entry; ``None`` where it is gone."""
        reply = self._call("GET", f"runners/{number}", "look at a runner", accept=(200, 404))
        return mapping(reply.body) if reply.status == 200 else None

    def at_work(self) -> frozenset[int]:
        """The runners that have a job, from the moment that Gitea gives it to them."""
        query = {"status": "in_progress"}
        jobs = self._pages("jobs", "jobs", "list the running jobs", query)
        return frozenset(integer(job.get("runner_id")) for job in jobs if job.get("runner_id"))

    def _pages(
        self, path: str, key: str, operation: str, query: Mapping[str, str]
    ) -> Iterator[Mapping[str, object]]:
        pages = Pages()
        while True:
            asked = {**query, "limit": str(PAGE), "page": str(pages.count + 1)}
            reply = self._call("GET", path, operation, query=asked)
            body = mapping(reply.body)
            entries = pages.entries(reply.content, body.get(key) or [])
            yield from entries
            if not entries or pages.seen >= integer(body.get("total_count", 0)):
                return

    def disable(self, number: int, disabled: bool) -> Mapping[str, object] | None:
        """Give the runner no new job, or give it jobs again; ``None`` where it is gone."""
        what = "disable a runner" if disabled else "enable a runner"
        body = {"disabled": disabled}
        reply = self._call("PATCH", f"runners/{number}", what, body=body, accept=(200, 404, 405))
        if reply.status == 200:
            return mapping(reply.body)
        if reply.status == 405 or self.runner(number) is not None:
            raise Refused(
                f"Gitea at {self.web.host} cannot {what} for {self.whose}: it is older than 1.26, upgrade it"
            )
        return None

    def delete(self, number: int) -> None:
        """Delete a runner, whatever it does; gone already is success."""
        self._call("DELETE", f"runners/{number}", "delete a runner", accept=(204, 404))

    # -- registering -----------------------------------------------------------------------------------

    def registration_token(self) -> Secret:
        """What registers runners at the place, for ever: it never leaves this process."""
        what = "get a registration token"
        reply = self._call("POST", "runners/registration-token", what)
        return Secret(text(mapping(reply.body).get("token")))

    def register(self, name: str, labels: Sequence[str], token: Secret) -> Registered | None:
        """A runner for one job; ``None`` where the registration token is good no longer."""
        what = "register a runner"
        reply = self.web.call(
            "POST",
            REGISTER,
            what,
            headers={"Connect-Protocol-Version": "1"},
            body={
                "name": name,
                "token": token,
                "version": "mayfly",
                "labels": list(labels),
                "ephemeral": True,
            },
            accept=(200, 500),
        )
        if reply.status != 200:
            if "registration token" in reply.said:
                return None
            raise Passing(
                f"Gitea at {self.web.host} did not {what} for {self.whose} ({reply.status}): {reply.said}"
            )
        made = mapping(mapping(reply.body).get("runner"))
        if made.get("ephemeral") is not True:
            raise Refused(
                f"Gitea at {self.web.host} registers no runners for one job: it is older than 1.26; upgrade "
                "it"
            )
        return Registered(
            _number(made.get("id")), text(made.get("uuid")), Secret(text(made.get("token")))
        )

    # -- what it is ------------------------------------------------------------------------------------

    def version(self) -> str:
        """What it says of its version."""
        reply = self.web.call("GET", "api/v1/version", "tell its version", accept=(200,))
        return text(mapping(reply.body).get("version"))

    def own_address(self) -> str | None:
        """The address that it gives of itself (ROOT_URL); ``None`` where it tells none.

        It has this only with OAuth2, and some proxies keep it from everybody: nothing else needs it.
        """
        path = ".well-known/openid-configuration"
        with suppress(Fault):
            reply = self.web.call("GET", path, "tell its own address", headers={}, accept=(200,))
            issuer = mapping(reply.body).get("issuer")
            return issuer if isinstance(issuer, str) else None
        return None


def _number(value: object) -> int:
    """A number, which is a text in the JSON of protobuf."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:18])
    return integer(value)
