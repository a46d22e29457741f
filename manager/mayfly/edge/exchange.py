"""One exchange with a service over HTTP: bounded in time and in size, whatever it sends and however slowly.

A limit between two pieces bounds nothing: a head, a body or informational answers may drip for ever. So the
connection itself is shut when the exchange's time is over. What comes back is bytes; nothing is parsed here.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies, should_bypass_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util.connection import allowed_gai_family

from mayfly.edge.faults import Refused
from mayfly.edge.lasting_thread import begun

CONNECT_TIMEOUT = 10.0  # for each address of a name
NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
CALL_TIMEOUT = 60.0  # for an exchange as a whole
# bytes, unpacked; a page of a hundred entries of any service is a tenth of it
LARGEST_REPLY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]  # by any spelling
    content: bytes


class Trouble(StrEnum):
    """What kept an exchange from its answer."""

    UNTRUSTED = "untrusted"  # the other end's certificate
    NO_TLS = "no TLS"  # the other end speaks none, as where http:// was meant
    PROXY = "proxy"  # the way there: it was not reached, or does not let us through
    NO_ADDRESS = "no address"  # the URL names none
    UNSENDABLE = "unsendable"  # a header has what no header may
    BROKEN = "broken"  # the connection, or the answer
    SLOW = "slow"  # the time was over


class NoAnswer(Exception):
    """The exchange came to nothing; ``reason`` in a few words, without the address."""

    def __init__(self, trouble: Trouble, reason: str) -> None:
        super().__init__(reason)
        self.trouble = trouble
        self.reason = reason

    @property
    def proxy_status(self) -> int | None:
        """What a proxy answered that was asked for a tunnel; ``None``: none did."""
        told = re.match(r"Tunnel connection failed: ([1-5][0-9][0-9])\b", self.reason)
        return int(told.group(1)) if told is not None and self.trouble is Trouble.PROXY else None


class Exchanges:
    """Makes exchanges; each thread has connections of its own, which are kept between them."""

    def __init__(self, ca: str | None, proxy: str | None, no_proxy: str | None) -> None:
        """The certificates of ``ca`` (a PEM file) are trusted beside the system's; ``proxy`` and ``no_proxy``
        stand in for the environment's.
        """
        self._ca = ca
        self._proxy, self._no_proxy = proxy, no_proxy
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: WeakSet[requests.Session] = WeakSet()

    def close(self) -> None:
        """Close the connections that are kept; one that is under way ends by itself, and is not kept."""
        with self._lock:
            sessions = list(self._open)
        for session in sessions:
            session.close()

    def make(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None,
        timeout: float,
        interrupt: Interrupt | None = None,
        unread: Collection[int] = (),
    ) -> Answer:
        """Send a request and read its whole answer; ``NoAnswer`` where none comes. With a status of
        ``unread`` one that breaks off after its head, or whose body does not come, is an answer without one.

        ``timeout`` is for a piece of the answer, and ``CALL_TIMEOUT``, or ``timeout`` where that is longer,
        for all of it; ``interrupt`` may end it before.
        """
        try:
            with _Deadline(max(timeout, CALL_TIMEOUT)) as deadline:
                if interrupt is not None:
                    interrupt.attach(deadline)
                    deadline.check()
                try:
                    answer = self._whole(method, url, headers, data, timeout, unread)
                except (requests.exceptions.RequestException, OSError):
                    deadline.check()
                    raise
                if answer.status not in unread:
                    deadline.check()
                return answer
        except requests.exceptions.ProxyError as error:
            raise NoAnswer(Trouble.PROXY, _reason(error)) from None
        except requests.exceptions.SSLError as error:
            raise NoAnswer(_of_tls(error), _reason(error)) from None
        except requests.exceptions.InvalidURL as error:
            raise NoAnswer(Trouble.NO_ADDRESS, _reason(error)) from None
        except (requests.exceptions.InvalidHeader, UnicodeError) as error:
            raise NoAnswer(Trouble.UNSENDABLE, _reason(error)) from None
        except requests.exceptions.Timeout as error:
            raise NoAnswer(Trouble.SLOW, _reason(error)) from None
        except (requests.exceptions.RequestException, OSError, ValueError) as error:
            raise NoAnswer(Trouble.BROKEN, _reason(error)) from None

    def _whole(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None,
        timeout: float,
        unread: Collection[int],
    ) -> Answer:
        proxies = self._proxies_for(url)
        secure = any(way.lower().startswith("https:") for way in (url, *proxies.values()))
        response = self._session(secure).request(
            method,
            url,
            headers=dict(headers),
            data=data,
            timeout=(CONNECT_TIMEOUT, timeout),
            allow_redirects=False,
            stream=True,
            proxies=proxies,
        )
        with response:
            try:
                content = _content(response)
            except (requests.exceptions.RequestException, OSError):
                if response.status_code not in unread:
                    raise
                content = b""
        return Answer(response.status_code, CaseInsensitiveDict(response.headers), content)

    def _session(self, secure: bool) -> requests.Session:
        """This thread's connections; nothing of the environment (such as a .netrc) speaks for us.

        ``secure``: TLS is spoken on the way. Else no authority is read, which takes a tenth of a second.
        """
        sessions: dict[bool, requests.Session] = self._local.__dict__.setdefault("sessions", {})
        session = sessions.get(secure)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            adapter = _Adapter(_context(self._ca) if secure else None)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            sessions[secure] = session
            with self._lock:
                self._open.add(session)
        return session

    def proxy_for(self, url: str) -> str | None:
        """The proxy that a call there goes through, without user and password; ``None``: none."""
        proxies = self._proxies_for(url)
        scheme = url.partition(":")[0]
        proxy = proxies.get(scheme) or proxies.get("all")
        if proxy is None:
            return None
        before, mark, after = proxy.rpartition("@")
        return f"{before.partition('//')[0]}//{after}" if mark and "//" in before else after

    def _proxies_for(self, url: str) -> dict[str, str]:
        if self._proxy is None:
            return dict(get_environ_proxies(url, self._no_proxy))
        if should_bypass_proxies(url, self._no_proxy or ""):
            return {}
        return {"http": self._proxy, "https": self._proxy}


def _content(response: requests.Response) -> bytes:
    content = bytearray()
    for piece in response.iter_content(65536):
        content += piece
        if len(content) > LARGEST_REPLY:
            raise requests.exceptions.RequestException("a reply too large to read")
    return bytes(content)


def _innermost(error: BaseException) -> BaseException:
    while True:
        context = None if error.__suppress_context__ else error.__context__
        given = error.args[0] if error.args else None
        inner = error.__cause__ or context or getattr(error, "reason", None)
        inner = inner if isinstance(inner, BaseException) else given
        if not isinstance(inner, BaseException):
            return error
        error = inner


def _of_tls(error: BaseException) -> Trouble:
    """What a TLS that did not come about means; a connection that ended in its midst is no certificate."""
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Trouble.UNTRUSTED
    # (What OpenSSL calls an answer that begins as no TLS does, by its version.)
    if getattr(cause, "reason", None) in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return Trouble.NO_TLS
    return Trouble.BROKEN


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words, without the address, whose query might be anything."""
    error = _innermost(error)
    words = getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error)
    return str(words) or type(error).__name__


_current = threading.local()


class _Deadline:
    """Shuts this thread's connections when the time of an exchange is over."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self.over)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._passed = False

    def __enter__(self) -> Self:
        if not begun(self._timer):  # nothing is begun that nobody would end
            raise requests.exceptions.RequestException("no thread is to be had for it")
        _current.deadline = self
        return self

    def __exit__(self, *_: object) -> None:
        _current.deadline = None
        self._timer.cancel()
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()

    def watch(self, sock: socket.socket) -> None:
        """Shut this connection too; under TLS its socket changes hands, so it is known by a copy."""
        copy = socket.socket(fileno=os.dup(sock.fileno()))
        with self._lock:
            self._sockets.append(copy)
            if self._passed:
                _shut(copy)

    def left(self) -> float:
        """The seconds until the time is over."""
        return self._ends - time.monotonic()

    def check(self) -> None:
        """``ReadTimeout`` where the time is over: a body that ends then may look whole."""
        if self._passed:
            raise requests.exceptions.ReadTimeout("a reply that did not end") from None

    def over(self) -> None:
        """The time is over."""
        with self._lock:
            self._passed = True
            for sock in self._sockets:
                _shut(sock)


class Interrupt:
    """Lets another thread end an exchange, as if its time were over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadline: _Deadline | None = None
        self._ended = False

    def attach(self, deadline: _Deadline) -> None:
        """That exchange is the one to end."""
        with self._lock:
            self._deadline = deadline
            if self._ended:
                deadline.over()

    def end(self) -> None:
        """End it, now or as soon as it begins."""
        with self._lock:
            self._ended = True
            if self._deadline is not None:
                self._deadline.over()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # closed already
        sock.shutdown(socket.SHUT_RDWR)


def _watched(sock: Any) -> None:
    deadline: _Deadline | None = getattr(_current, "deadline", None)
    if deadline is not None and sock is not None:
        deadline.watch(sock)


def connected(addresses: Sequence[tuple[str, int]], left: Callable[[], float]) -> socket.socket:
    """A connection to the first of the addresses that takes one within its time and what is ``left`` of all.

    ``OSError`` where none does; ``TimeoutError`` where the time is over.
    """
    refused: OSError | None = None
    for address in addresses:
        seconds = min(CONNECT_TIMEOUT, left())
        if seconds <= 0:
            raise TimeoutError("timed out")
        try:
            return socket.create_connection(address, seconds)
        except OSError as error:
            refused = error
    raise refused or OSError("the name has no address")


def _made(connection: HTTPConnection, name: str) -> socket.socket:
    """A connection for urllib3, in its words; by itself it tries all addresses of a name, however many."""
    deadline: _Deadline | None = getattr(_current, "deadline", None)
    host, port = name.strip("[]"), connection.port
    try:
        found = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
        addresses = [(socket.getnameinfo(address, NUMERIC)[0], port) for *_, address in found]
        sock = connected(addresses, deadline.left if deadline else lambda: CONNECT_TIMEOUT)
    except UnicodeError:
        raise LocationParseError(f"'{host}', label empty or too long") from None
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "no connection in time") from error
    except OSError as error:
        raise NewConnectionError(connection, f"no connection: {error}") from error
    sock.settimeout(CONNECT_TIMEOUT)
    for option in connection.socket_options or ():
        sock.setsockopt(*option)
    _watched(sock)
    return sock


class _Plain(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _made(self, self._dns_host)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _watched(self.sock)  # one that was kept
        super().request(*args, **kwargs)


class _Secure(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _made(self, self._dns_host)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _watched(self.sock)
        super().request(*args, **kwargs)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


_POOLS = {"http": _PlainPool, "https": _SecurePool}


def _context(ca: str | None) -> ssl.SSLContext:
    """Trusts the system's authorities, those of the environment's files, and one file of the pool's own.

    For one thread: each connection adds the authorities that requests brings, which a context in use by
    another thread does not bear (Python's `ssl`, "Multi-threading").
    """
    context = ssl.create_default_context()
    for file in (ca, os.environ.get("REQUESTS_CA_BUNDLE"), os.environ.get("SSL_CERT_FILE")):
        if file:
            try:
                context.load_verify_locations(file)
            except (OSError, ssl.SSLError) as error:
                raise Refused(f"the certificates in {file} cannot be read: {error}") from error
    return context


class _Adapter(HTTPAdapter):
    """Connections that trust what the context does, and that a deadline can end.

    Without a context it is for connections without TLS alone.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Of a plain address nothing is verified, but of a proxy on the way that speaks TLS."""
        if url.lower().startswith("https:"):
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def environment_proxy(url: str) -> str | None:
    """The proxy that this process's environment has for the address; ``None`` where it has none."""
    found = get_environ_proxies(url)
    return found.get(url.partition(":")[0]) or found.get("all")
