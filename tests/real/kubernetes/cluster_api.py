"""A cluster asked over its own HTTP, as whom a token says: with nobody's client in between.

api = ClusterApi("https://198.18.0.2", authority, "token")
api.get("/api/v1/namespaces/default/pods")["items"]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

PATCH = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
}


class ApiFault(Exception):
    """It refused; ``status`` is the HTTP code, ``why`` what it says."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"{status}: {why}")
        self.status = status
        self.why = why


class ClusterApi:
    """One user of one cluster; may be used from one thread."""

    def __init__(self, server: str, authority: Path, token: str) -> None:
        self.server = server
        self.token = token
        self._session = requests.Session()
        self._session.verify = str(authority)
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.trust_env = False

    def get(self, path: str, **asked: str) -> Any:
        """What is there; ``asked`` is the query."""
        return self._asked("GET", path, None, asked)

    def post(self, path: str, document: dict[str, Any]) -> Any:
        """Make it."""
        return self._asked("POST", path, document, {})

    def put(self, path: str, document: dict[str, Any]) -> Any:
        """Write all of it."""
        return self._asked("PUT", path, document, {})

    def patch(self, path: str, change: Any, kind: str = "merge") -> Any:
        """Change some of it; ``kind`` is a row of ``PATCH``."""
        return self._asked("PATCH", path, change, {}, PATCH[kind])

    def delete(self, path: str, *, grace: int | None = None) -> bool:
        """Delete it; whether it was there. ``grace``: seconds, ``None`` its own."""
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        try:
            self._asked("DELETE", path, options, {})
        except ApiFault as fault:
            if fault.status != 404:
                raise
            return False
        return True

    def there(self, path: str) -> Any | None:
        """The same as ``get``; ``None`` where there is nothing."""
        try:
            return self.get(path)
        except ApiFault as fault:
            if fault.status == 404:
                return None
            raise

    def watch(self, path: str, **asked: str) -> Iterator[dict[str, Any]]:
        """Each event, as it comes; ``asked``: how many seconds it lasts, among others."""
        query = {**asked, "watch": "true"}
        with self._session.get(
            self.server + path, params=query, timeout=300, stream=True
        ) as answer:
            if answer.status_code >= 400:
                raise ApiFault(answer.status_code, _why(answer))
            for line in answer.iter_lines(chunk_size=1):
                yield json.loads(line)

    def text(self, path: str, **asked: str) -> str:
        """A log."""
        answer = self._session.get(self.server + path, params=asked, timeout=30)
        if answer.status_code >= 400:
            raise ApiFault(answer.status_code, answer.text)
        return answer.text

    def _asked(
        self,
        method: str,
        path: str,
        document: Any,
        asked: dict[str, str],
        kind: str = "application/json",
    ) -> Any:
        answer = self._session.request(
            method,
            self.server + path,
            params=asked,
            data=None if document is None else json.dumps(document),
            headers={"Content-Type": kind},
            timeout=30,
        )
        if answer.status_code >= 400:
            raise ApiFault(answer.status_code, _why(answer))
        return answer.json()


def _why(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text
