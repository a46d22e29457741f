"""GitHub as one pool speaks with it: its address, its credentials, its budget of calls.

A call is made once more with a renewed token after a 401, which did nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property

from mayfly.core.model import PoolSpec
from mayfly.core.quantities import epoch
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.service_json import Pages, mapping, text
from mayfly.edge.web import NAMED_ELSEWHERE, Budget, Moved, ServiceReply, Web, summed
from mayfly.providers.github.place import GitHubAddress, place_of
from mayfly.providers.github.settings import GitHubSettings
from mayfly.providers.github.token import App, Identity, Personal

VERSION = "2022-11-28"
# GitHub says beside each answer when the token ends that asked; of an App's token it says nothing.
END_HEADER = "GitHub-Authentication-Token-Expiration"


class Connection:
    """The GitHub of one pool."""

    def __init__(
        self,
        pool: PoolSpec,
        settings: GitHubSettings,
        clock: Callable[[], float],
        rights: Mapping[str, str] | None = None,
        # With "actions" it sees jobs that wait, and cancels them.
        wished: tuple[str, ...] = ("actions",),
    ) -> None:
        """``rights`` are what an App's token is asked for; ``None``: those that runners need.

        What is ``wished`` is asked for as far as the App has it.
        """
        self._pool, self._settings, self._clock = pool, settings, clock
        self._rights, self._wished = rights, wished
        self.whose = f'pool "{pool.name}"'
        self._webs: tuple[Web, ...] = ()
        # Made now, so that no two threads make them; a wrong `url` is told at the first call.
        with suppress(Refused):
            self._webs = (self.web, self._app_web)

    @cached_property
    def place(self) -> GitHubAddress:
        """Where its runners are registered; ``Refused`` where ``url`` names no such place."""
        return place_of(self._settings.url)

    @cached_property
    def web(self) -> Web:
        """What the pool's calls go through."""
        return self._new_web(self._authorise)

    def _new_web(self, authorise: Callable[[], Mapping[str, str | Secret]]) -> Web:
        pool = self._pool
        return Web(
            self.place.api,
            "GitHub",
            self.whose,
            authorise=authorise,
            headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION},
            budget=self._budget,
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
            clock=self._clock,
            watched=END_HEADER,
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
            right = self._rights or (
                {"organization_self_hosted_runners": "write"}
                if self.place.kind == "organisation"
                else {"administration": "write"}
            )
            return App(
                *(self._app_web, app.id, app.key, self.place.path, right, self._clock, self._wished)
            )
        if token is not None:
            return Personal(token)
        raise Refused(f"{self.whose} has neither `token` nor `app`: give one of them")

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls were made, by operation and status."""
        return summed(web.calls() for web in self._webs)

    def remaining(self) -> float | None:
        """How many calls GitHub still allows in this hour; ``None``: it has not said."""
        return self._webs[0].remaining if self._webs else None

    def token_end(self) -> float | None:
        """When the pool's token ends; ``None``: it was not told, or never."""
        told = self._webs[0].seen if self._webs and self._settings.app is None else ""
        for form in ("%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S %z"):
            with suppress(ValueError):
                # (The first form says UTC in letters.)
                return epoch(datetime.strptime(told, form))  # noqa: DTZ007
        return None

    def forget(self) -> None:
        """Its credentials may have been replaced, or been given another right: read them again."""
        with suppress(Refused):
            self._identity.forget()

    def call(
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
                reply = self.web.call(
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
            except Refused as refused:
                self.forget()
                raise self._with_right(refused) from refused
            if reply.status != 401:
                return reply
            if attempt == 1 and not self._identity.renew():
                break
        raise self.web.fault(reply, operation)

    def _with_right(self, refused: Refused) -> Refused:
        """The same, and which permission it is that lacks."""
        if NAMED_ELSEWHERE not in str(refused):
            return refused
        right = f"it needs {self.place.right}, and its owner has to be an administrator there"
        return Refused(str(refused).replace(NAMED_ELSEWHERE, right))

    def listed(
        self, path: str, key: str, operation: str, pages: Pages
    ) -> Iterator[Mapping[str, object]]:
        """The entries of a list under the place's actions: one conditional call per hundred."""
        at: str | None = f"{self.place.path}/actions/{path}?per_page=100"
        while at is not None:
            reply = self.call("GET", at, operation, conditional=True)
            yield from pages.entries(reply.content, mapping(reply.body).get(key))
            at = reply.next_page

    def installations(self) -> list[str]:
        """The accounts where the pool's App is installed, the first hundred; none for a token."""
        app = self._settings.app
        if app is None:
            return []
        return App(self._app_web, app.id, app.key, self.place.path, {}, self._clock).installations()

    def _renamed(self, moved: Moved) -> Refused:
        """The sentence for a repository that has another name now, with that name where it is to be had."""
        number = re.search(r"/repositories/([0-9]+)", moved.location)
        if number is None:
            return moved
        try:
            reply = self.web.call(
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
            f'{self.place.name} is called {name} now: set url = "{site}/{name}" for {self.whose}'
        )
