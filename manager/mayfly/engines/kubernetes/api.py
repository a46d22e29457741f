"""The API server: single calls, lists that are told on, and connections taken over for a process's streams.

Nothing here knows pods. Each answer is bounded in time and bytes, and every failure leaves as a ``Fault``
with the server's own words.
"""

from __future__ import annotations

import http.client
import json
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import urllib3

from mayfly.core.quantities import whole_number
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.header_values import date_of
from mayfly.engines.kubernetes.access import Access
from mayfly.engines.kubernetes.credential import ended
from mayfly.engines.protocol import Gone, NameTaken

MOST = 64 * 1024 * 1024  # bytes of an answer
CONNECTIONS = 16
# Of whatever the server sends; dropped while it is read, so that a list of many pods is never there whole.
UNREAD = frozenset(
    {
        *("managedFields", "volumes", "volumeMounts", "tolerations", "affinity", "securityContext"),
        *("livenessProbe", "readinessProbe", "startupProbe", "podIPs", "hostIPs"),
    }
)
SEE_DOCTOR = "; see `mayfly doctor`"
QUOTA_AGAIN = 60.0  # seconds until a namespace whose quota is used up is asked again
# A connection that is silent for long is asked after, so that nobody on the way forgets it, and one that was
# forgotten breaks off: seconds until then, seconds between two questions, and how many are not answered.
ALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Changed(Passing):
    """It is not what it was taken for: another has its name."""


class Expired(Passing):
    """The server does not know that version any more: list again."""


class NotLet(Refused):
    """The cluster lets this account not do it, or does not know it; ``said`` is that without what to do."""

    def __init__(self, said: str, then: str, *, known: bool) -> None:
        super().__init__(f"{said}{then}")
        self.said = said
        self.known = known


class OverQuota(Passing):
    """The namespace may have no more."""


class Api:
    """One API server; may be used from any thread."""

    def __init__(
        self, access: Access, *, timeout: float, may_change: Callable[[], float] = lambda: math.inf
    ) -> None:
        """``may_change`` says how many seconds a change may take; it raises where nothing may be changed."""
        self.access = access
        self._may_change = may_change
        self._timeout = timeout
        pools: Any = {} if access.context is None else {"ssl_context": access.context}
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS, retries=False, **pools)

    def call(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        body: object = None,
        query: Mapping[str, str] | None = None,
        kind: str = "application/json",
        within: float | None = None,
    ) -> dict[str, Any]:
        """The answer's document; ``doing`` begins the sentence of a failure."""
        # First, since a program may be asked for it, which takes its time.
        headers = {**self.access.headers(), "Accept": "application/json", "Content-Type": kind}
        seconds = self._timeout if within is None else within
        if method != "GET":
            seconds = min(seconds, self._may_change())
        sent = None if body is None else json.dumps(body).encode()
        answer, data = self._answered(
            method, f"{path}{_asked(query)}", doing, headers, seconds, body=sent
        )
        document = _document(data)
        if answer.status == 401:
            self._pool.clear()  # a connection is known by the certificate that it was made with
            document["message"] = f"{document.get('message')}{ended(self.access)}"
        if answer.status >= 300:
            raise fault_of(answer.status, document, doing, answer.headers.get("Retry-After"))
        return document

    def clock(self) -> float | None:
        """What time it is at the server, in whole seconds since the epoch; ``None``: it does not say."""
        doing = "asking the API server for its time"
        answer, _ = self._answered("GET", "/version", doing, self.access.headers(), self._timeout)
        return date_of(answer.headers.get("Date"))

    def _answered(
        self,
        method: str,
        target: str,
        doing: str,
        headers: Mapping[str, str],
        seconds: float,
        *,
        body: bytes | None = None,
    ) -> tuple[urllib3.BaseHTTPResponse, bytes]:
        """The answer and what is in it, whatever its status, within so many seconds in all."""
        deadline = time.monotonic() + seconds
        try:
            answer = self._pool.request(
                method,
                f"{self.access.server}{target}",
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(total=seconds, connect=min(seconds, 5.0), read=seconds),
                preload_content=False,
                redirect=False,
            )
            return answer, _read(answer, deadline, doing)
        except urllib3.exceptions.HTTPError as error:
            raise _unreached(doing, error) from error

    def stream(
        self,
        path: str,
        query: Mapping[str, str],
        doing: str,
        *,
        idle: float,
        begins: float | None = None,
        held: Callable[[Stream], None] = lambda _: None,
    ) -> Stream:
        """An answer that goes on; silent for ``idle`` seconds it is a fault, and where it has not begun
        within ``begins`` seconds (``None``: ``idle``). ``held`` hears of it before it is asked for, so that
        it can be stopped while nothing is answered.
        """
        waits = (min(self._timeout, 5.0), idle if begins is None else begins, idle)
        return Stream(self.access, path, query, doing, waits, held)

    def close(self) -> None:
        """Let go of all connections."""
        self._pool.clear()


class Stream:
    """An answer that is read while it comes, by one thread; ``stop`` may be called from any."""

    def __init__(
        self,
        access: Access,
        path: str,
        query: Mapping[str, str],
        doing: str,
        waits: tuple[float, float, float],
        held: Callable[[Stream], None],
    ) -> None:
        """``waits``: seconds for the connection, for the answer to begin, and for each piece of it."""
        connect, begins, idle = waits
        self._doing = doing
        host, port = access.address
        if access.context is None:
            self._connection = http.client.HTTPConnection(host, port, timeout=connect)
        else:
            self._connection = http.client.HTTPSConnection(
                host, port, timeout=connect, context=access.context
            )
        self._socket: socket.socket | None = None
        try:
            self._connection.connect()
            self._socket = self._connection.sock
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in ALIVE:
                self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
            self._socket.settimeout(begins)
            held(self)
            target = f"{access.prefix}{path}{_asked(query)}"
            self._connection.request("GET", target, headers=access.headers())
            self._answer = self._connection.getresponse()
            self._socket.settimeout(idle)
            if self._answer.status >= 300:
                data = self._answer.read(MOST)
                raise fault_of(self._answer.status, _document(data), doing, None)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _unreached(doing, error) from error
        except Fault:
            self.close()
            raise

    def lines(self, most: int) -> Iterator[bytes]:
        """Each line with its end; of one that is longer than ``most`` bytes, its pieces."""
        while piece := self._some(lambda: self._answer.readline(most)):
            yield piece

    def _some(self, read: Any) -> bytes:
        try:
            return bytes(read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _unreached(self._doing, error) from error

    def stop(self) -> None:
        """End it; whoever reads has a fault, or the end."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()


def _asked(query: Mapping[str, str] | None) -> str:
    return f"?{urlencode(query)}" if query else ""


def _read(answer: Any, deadline: float, doing: str) -> bytes:
    data = bytearray()
    for piece in answer.stream(64 * 1024):
        data += piece
        if len(data) > MOST or time.monotonic() > deadline:
            answer.close()
            raise Passing(f"{doing}: the answer is too long or too slow; it is tried again")
    answer.release_conn()
    return bytes(data)


def slim(part: dict[str, Any]) -> dict[str, Any]:
    """An object without what nobody here reads, which is most of a pod."""
    for name in UNREAD & part.keys():
        del part[name]
    return part


def _document(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data, object_hook=slim)
    except ValueError:
        return {"message": data[:300].decode(errors="replace")}
    return found if isinstance(found, dict) else {}


def _unreached(doing: str, error: Exception) -> Passing:
    late = isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError)
    return Passing(f"{doing}: the API server does not answer ({error})", unanswered=late)


def fault_of(status: int, document: Mapping[str, Any], doing: str, again: str | None) -> Fault:
    """The fault that an answer tells (api-conventions, "Error Response Kind"), with its own words."""
    said = " ".join(str(document.get("message") or f"HTTP {status}").split())[:1000]
    text, reason = f"{doing}: {said}", document.get("reason")
    match status:
        case 404 if said.startswith("namespaces "):
            return Refused(f"{text}: make it, or see host.kubernetes.namespace")
        case 404:
            return Gone(f"{text}; look again")
        case 409 if reason == "AlreadyExists":
            return NameTaken(text, None, None)
        case 409:
            return Changed(f"{text}; look again")
        case 410:
            return Expired(f"{text}; it is listed again")
        case 403 if "exceeded quota" in said:
            return OverQuota(text, QUOTA_AGAIN)
        case 401:
            said = f"{text}: the cluster does not know who this is"
            return NotLet(said, "; see host.kubernetes", known=False)
        case 403:
            return NotLet(text, SEE_DOCTOR, known=True)
        case 429:
            return Passing(text, _seconds(again))
        case _ if status < 500:
            return Refused(text)
        case _:
            return Passing(f"{text}; it is tried again", _seconds(again))


def _seconds(said: str | None) -> float | None:
    return whole_number(said) if said is not None else None
