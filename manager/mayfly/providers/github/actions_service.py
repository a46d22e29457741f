"""The Actions service behind a GitHub, which scale sets are asked of: its address and its token.

GitHub tells both for a registration token. The token lives for minutes, and its end stands in it; it is got
anew before that, and once after a 401. The address may be another each time. Facts and their source: GitHub's
client for scale sets, actions/scaleset.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from mayfly.core.model import PoolSpec
from mayfly.edge.addresses import split
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.jwt import end_of
from mayfly.edge.service_json import mapping, text
from mayfly.edge.web import Budget, ServiceReply, Web, clean, summed
from mayfly.providers.github.connection import Connection

API_VERSION = "6.0-preview"
EARLY = 60.0  # seconds before its end that the token is got anew
LIFE = 300.0  # of a token that does not say when it ends
MOVED = 60.0  # seconds before an address that answers badly is asked for again
TRIES = 3  # a fresh registration token is refused for a moment, at times
WORDS = tuple(range(400, 600))  # statuses whose body may be plain words
AGENT = '{"system":"mayfly","kind":"scaleset"}'


class Unsupported(Refused):
    """This GitHub has no scale sets."""


@dataclass(frozen=True, slots=True)
class _Access:
    web: Web
    base: str  # its address, without what may stand behind a "?"
    query: str  # that
    token: Secret
    since: float
    until: float


class ActionsService:
    """The Actions service of one pool's place; to be used from any thread."""

    def __init__(
        self, pool: PoolSpec, connection: Connection, clock: Callable[[], float], budget: Budget
    ) -> None:
        """``budget`` is of all calls to it, whatever its addresses are."""
        self._pool, self._connection, self._clock = pool, connection, clock
        self._budget = budget
        # No more than two are kept: a service that names another address each time fills nothing.
        self._webs: dict[str, Web] = {}
        self._queue_site = ""  # of the session that is open, or was
        # The calls that went through those that are closed, and the others.
        self._counted: tuple[Mapping[tuple[str, str], int], tuple[Web, ...]] = ({}, ())
        self._access: _Access | None = None
        self.token_end: float | None = None  # of the pool's token, as GitHub said of it last
        # The listener, workers and the roster's thread come at once; one of them gets the token for all.
        self._lock = threading.Lock()

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls were made, by operation and status."""
        former, webs = (
            self._counted
        )  # without the lock, which is held as long as GitHub lets us wait
        return summed([former, *(web.calls() for web in webs)])

    def forget(self) -> None:
        """What was got before a person put something right may be what is refused: get it again."""
        with self._lock:
            self._access = None

    def call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        accept: tuple[int, ...] = (200,),
        token: Secret | None = None,
        timeout: float | None = None,
    ) -> ServiceReply:
        """One call below ``_apis``; once more with another token of ours after a 401, which did nothing.

        ``token`` stands in for ours, and is not renewed here.
        """
        for attempt in (1, 2):
            access = self._authorised()
            words = {"api-version": API_VERSION, **(query or {})}
            url = f"{access.base}/_apis/{path}?{access.query}{urlencode(words)}"
            bearer = token if token is not None else access.token
            try:
                reply = access.web.call(
                    method,
                    url,
                    operation,
                    body=body,
                    headers={"Authorization": Secret(f"Bearer {bearer.reveal()}")},
                    accept=(*accept, 401),
                    unread=WORDS,
                    timeout=timeout,
                )
            except Passing:
                # It may have moved: where it is is told with the next token.
                if self._clock() - access.since >= MOVED:
                    self._drop(access)
                raise
            if reply.status != 401 or 401 in accept:
                return reply
            if attempt == 1 and token is None:
                self._drop(access)
                continue
            break
        raise access.web.fault(reply, operation)

    def web(self, url: str) -> Web:
        """What calls to another address that it names go through."""
        site = _site(url)
        with self._lock:
            web = self._web(site)
            self._queue_site = site
            self._close_others({site, self._access.web.base if self._access is not None else site})
            return web

    def _close_others(self, sites: AbstractSet[str]) -> None:
        """Close all but these."""
        former = self._counted[0]
        for site in self._webs.keys() - sites:
            web = self._webs.pop(site)
            former = summed([former, web.calls()])
            web.close()
        self._counted = (former, (*self._webs.values(),))

    def fault(self, reply: ServiceReply, operation: str) -> Fault:
        """What an unwanted reply of the service itself means."""
        return self._new_web(_site(reply.url)).fault(reply, operation)

    def _web(self, site: str) -> Web:
        if site.startswith("http://") and self._connection.place.web.startswith("https://"):
            raise Refused(
                f"GitHub names {clean(site)} for its Actions service, where tokens would be readable on the "
                f"way: not followed; {self._connection.whose} needs an https:// address of it"
            )
        found = self._webs.get(site)
        if found is None:
            found = self._webs[site] = self._new_web(site)
            self._counted = (self._counted[0], (*self._webs.values(),))
        return found

    def _new_web(self, site: str) -> Web:
        return Web(
            site,
            "GitHub's Actions service",
            self._connection.whose,
            headers={"User-Agent": AGENT},
            budget=self._budget,
            proxy=self._pool.proxy,
            no_proxy=self._pool.no_proxy,
            ca=self._pool.ca,
            clock=self._clock,
        )

    def _drop(self, access: _Access) -> None:
        with self._lock:
            if self._access is access:
                self._access = None

    def _authorised(self) -> _Access:
        with self._lock:
            known = self._access
            if known is None or self._clock() > known.until - EARLY:
                known = self._access = self._fetch()
                self._close_others({known.web.base, self._queue_site})
            return known

    def _fetch(self) -> _Access:
        place = self._connection.place
        operation = "be let in to scale sets"
        for _ in range(TRIES):
            given = self._connection.call(
                "POST",
                f"{place.path}/actions/runners/registration-token",
                "get a registration token",
                accept=(201,),
            )
            self.token_end = self._connection.token_end()  # the next call bears another token
            token = text(mapping(given.body).get("token"))
            reply = self._connection.web.call(
                "POST",
                "actions/runner-registration",
                operation,
                body={"url": place.web, "runner_event": "register"},
                headers={"Authorization": Secret(f"RemoteAuth {token}")},
                accept=(200, 201, 401, 403, 404, 405, 501),
                unread=WORDS,
            )
            if reply.status in (200, 201):
                return self._made(mapping(reply.body))
            if reply.status in (404, 405, 501):
                raise self.unsupported(reply.status)
        raise Passing(
            f"GitHub refuses {TRIES} fresh registration tokens ({reply.status}) when asked to {operation} "
            f"for {self._connection.whose}; it is asked again",
            10.0,
        )

    def unsupported(self, status: int) -> Unsupported:
        """The sentence for a GitHub that knows no such call."""
        return Unsupported(
            f"{self._connection.place.web} has no runner scale sets (it answered {status})"
        )

    def _made(self, body: Mapping[str, object]) -> _Access:
        url, token = text(body.get("url")), text(body.get("token"))
        parts = split(url)
        if not token or parts.scheme not in ("http", "https") or not parts.netloc:
            raise Passing("GitHub told no address of its Actions service; it is asked again", 10.0)
        site = f"{parts.scheme}://{parts.netloc}"
        query = f"{parts.query}&" if parts.query else ""
        now = self._clock()
        until = end_of(token)
        # By its own clock, which may be another: what it gives now lives, so much is known.
        until = now + LIFE if until is None else max(until, now + EARLY + 1.0)
        base = f"{site}{parts.path.rstrip('/')}"
        return _Access(self._web(site), base, query, Secret(token), now, until)


def _site(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
