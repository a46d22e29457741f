"""Who we are at GitHub: a token, or an App that gets itself one every hour.

What is held here are secrets; they leave as headers of one call and as nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from mayfly.core.quantities import moment
from mayfly.edge import app_key, credentials
from mayfly.edge.app_key import AppKey
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.edge.web import ServiceReply, Web

EARLY = 300.0  # seconds before its end that an installation's token is renewed
JWT_LIFE = 540.0  # of the ten minutes that GitHub allows
JWT_BACK = 60.0  # for clocks that differ

Headers = Mapping[str, str | Secret]


class Identity(Protocol):
    """What authorises our calls."""

    def headers(self) -> Headers:
        """The headers of one call; may call GitHub itself."""

    def renew(self) -> bool:
        """After a 401: whether there is something else to try."""

    def forget(self) -> None:
        """After a refusal: what was read or got before may have other rights by the next call."""


class Personal:
    """A token that a person made; read again when GitHub refuses it, in case it was replaced."""

    def __init__(self, reference: Mapping[str, str]) -> None:
        self._reference = reference
        self._token: Secret | None = None

    def headers(self) -> Headers:
        """The token as a bearer."""
        if self._token is None:
            self._token = credentials.read(self._reference)
        return {"Authorization": Secret(f"Bearer {self._token.reveal()}")}

    def renew(self) -> bool:
        """Whether the file holds another token by now."""
        before = self._token
        self._token = credentials.read(self._reference)
        return self._token != before

    def forget(self) -> None:
        """Read the file again with the next call."""
        self._token = None


class App:
    """A GitHub App: its key signs a JWT, which gets the token of its installation."""

    def __init__(
        self,
        web: Web,
        app: str,
        key: Mapping[str, str],
        place: str,
        permissions: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        wished: tuple[str, ...] = (),
    ) -> None:
        """``place`` is "orgs/NAME" or "repos/OWNER/NAME"; ``permissions`` are all that the token may do.

        Those that are ``wished`` are asked for as far as the installation has them.
        """
        self._web = web
        self._app = app
        self._reference = key
        self._place = place
        self._permissions = permissions
        self._wished = wished
        self._granted: dict[str, str] = {}  # of those, as the installation has them
        self._clock = clock
        self._key: AppKey | None = None
        self._installation: int | None = None
        self._token: Secret | None = None
        self._until = 0.0
        # Workers and the roster's thread come at once; one of them gets the token for all.
        self._lock = threading.Lock()

    def headers(self) -> Headers:
        """The installation's token as a bearer, got or renewed where that is due."""
        with self._lock:
            if self._token is None or self._now() > self._until - EARLY:
                self._token, self._until = self._fetch()
            return {"Authorization": Secret(f"Bearer {self._token.reveal()}")}

    def renew(self) -> bool:
        """Get another token with the next call."""
        with self._lock:
            self._token = None
        return True

    def forget(self) -> None:
        """Read the key again and get another token with the next call."""
        with self._lock:
            self._key, self._token = None, None

    def installations(self) -> list[str]:
        """The accounts where it is installed, the first hundred."""
        reply = self._signed(
            "GET",
            "app/installations?per_page=100",
            "list where the App is installed",
            body=None,
            accept=(200,),
        )
        entries = map(mapping, items(reply.body))
        return [text(mapping(entry.get("account")).get("login")) for entry in entries]

    def _now(self) -> float:
        """The time on GitHub's clock, as far as it is known."""
        return self._clock() + (self._web.skew or 0.0)

    def _fetch(self) -> tuple[Secret, float]:
        if self._installation is None or self._wished:
            # An owner may have granted one since the last token.
            self._installation = self._find()
        operation = "get a token for the App's installation"
        reply = self._signed(
            "POST",
            f"app/installations/{self._installation}/access_tokens",
            operation,
            body={"permissions": {**self._granted, **self._permissions}},
            accept=(201, 403, 404, 422),
        )
        if reply.status == 201:
            found = mapping(reply.body)
            return Secret(text(found.get("token"))), _moment(text(found.get("expires_at")))
        self._installation = None
        if reply.status == 403 and "suspended" in reply.said.lower():
            raise self._suspended()
        if reply.status == 422:
            wanted = ", ".join(f"{name}: {level}" for name, level in self._permissions.items())
            raise Refused(
                f"the GitHub App {self._app} lacks a permission at {self._place} ({wanted}): grant it in "
                "the settings of the App, then accept it in the installation"
            )
        raise self._web.fault(reply, operation)

    def _find(self) -> int:
        operation = "find the App's installation"
        reply = self._signed(
            "GET", f"{self._place}/installation", operation, body=None, accept=(200, 404)
        )
        if reply.status == 404:
            raise Refused(
                f"the GitHub App {self._app} is not installed at {self._place}: install it there, or correct "
                "`url` or `app`"
            )
        found = mapping(reply.body)
        if found.get("suspended_at"):
            raise self._suspended()
        granted = found.get("permissions")
        if isinstance(granted, dict):
            levels = {name: granted.get(name) for name in self._wished}
            self._granted = {
                name: level
                for name, level in levels.items()
                if isinstance(level, str) and level in ("read", "write")
            }
        return integer(found.get("id"))

    def _suspended(self) -> Refused:
        return Refused(
            f"the GitHub App {self._app} is suspended at {self._place}: have an owner lift the suspension in "
            "the settings of its installation"
        )

    def _signed(
        self, method: str, path: str, operation: str, *, body: object, accept: tuple[int, ...]
    ) -> ServiceReply:
        """A call with a JWT; once more where the first one taught us GitHub's time."""
        for attempt in (1, 2):
            knew = self._web.skew
            reply = self._web.call(
                method,
                path,
                operation,
                body=body,
                headers={"Authorization": Secret(f"Bearer {self._jwt().reveal()}")},
                accept=(*accept, 401),
            )
            if reply.status != 401:
                return reply
            if attempt == 1 and (
                knew is None or abs((self._web.skew or 0.0) - knew) > JWT_BACK / 2
            ):
                self._key = None
                continue
            break
        raise Refused(
            f"GitHub does not take the key of App {self._app} (401): check `app.id` and `app.key`"
            + (f": {reply.said}" if reply.said else "")
        )

    def _jwt(self) -> Secret:
        if self._key is None:
            pem = credentials.read(self._reference)
            self._key = app_key.read_key(pem, f"`app.key` of App {self._app}")
        now = int(self._now())
        claims = {"iat": now - int(JWT_BACK), "exp": now + int(JWT_LIFE), "iss": self._app}
        return self._key.token(claims)


def _moment(stamp: str) -> float:
    end = moment(stamp)
    if end is None:
        raise Passing(f"GitHub gave a token with an end that is no time: {stamp[:40]!r}")
    return end
