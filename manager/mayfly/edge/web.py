"""The services' HTTP: calls, their budget and limits, and what an unwanted answer means.

Every call is bounded in time and in number, is made once (a ``GET`` may be made twice where a connection
broke that had been good), and comes back as a ``ServiceReply`` or as one of our faults with a sentence. A
``POST`` is never repeated here: its caller looks first whether the lost one was done. No secret is ever part
of a message.

    web = Web("https://api.example.com", "Example", 'pool "gpu"', authorise=lambda: {"X-Token": token})
    reply = web.call("GET", "/things", "list the things", query={"page": "1"}, conditional=True)
    for thing in items(reply.body): ...
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode, urlsplit

from mayfly import __version__
from mayfly.core.doubling import doubling
from mayfly.core.plain_text import one_line, shortened
from mayfly.edge.addresses import joined
from mayfly.edge.credentials import Secret
from mayfly.edge.exchange import Exchanges, Interrupt, NoAnswer, Trouble
from mayfly.edge.faults import WAIT_MOST, Fault, Passing, Refused, Untrusted
from mayfly.edge.header_values import date_of, remaining, retry_after, until_reset
from mayfly.edge.service_json import Garbage, parsed
from mayfly.edge.token_looks import MASK, without_long_words

READ_TIMEOUT = 30.0  # between two pieces of a reply
REMEMBERED = 4 * 1024 * 1024  # bytes of replies kept for conditional requests
SAID = 200  # characters of a service's own words in a message
# where a service says no which, and its provider knows no better
NAMED_ELSEWHERE = "the how-to of its provider names them"
# what is to be done about a token that is refused, where it stands in a configuration
ANOTHER = ": put a valid one where `token` points"
LIMIT_FIRST = 60.0  # seconds to wait where a limit came without a time
LIMIT_MOST = 900.0

LOGIN = "let it take this host without one; `proxy` carries no password"
NO_SECRETS = ("Content-Type", "If-None-Match")
SHORTEST = 8  # characters of a secret; a shorter one would be masked in every word

Authorise = Callable[[], Mapping[str, str | Secret]]

_LOGIN = re.compile(r"login|sign_?in|sso|saml|oauth2?/authorize", re.IGNORECASE)


class Moved(Refused):
    """What was asked for is at another address now, ``location``."""

    def __init__(self, message: str, location: str) -> None:
        super().__init__(message)
        self.location = location


@dataclass(frozen=True, slots=True)
class ServiceReply:
    """An answer of a service; ``body`` is its JSON, or ``None`` where it sent nothing."""

    status: int
    body: object
    headers: Mapping[str, str]  # by any spelling
    url: str
    content: bytes = field(default=b"", repr=False)  # what the body was read from
    repeated: bool = False  # the service said that nothing has changed since the last answer
    secrets: tuple[str, ...] = field(
        default=(), repr=False
    )  # that were sent, and are not told again

    @property
    def next_page(self) -> str | None:
        """The address of the next page (``Link: <…>; rel="next"``); ``None`` on the last."""
        for part in self.headers.get("Link", "").split(","):
            address, _, relation = part.partition(";")
            if 'rel="next"' in relation:
                return joined(self.url, address.strip().strip("<>"))
        return None

    @property
    def said(self) -> str:
        """The service's own words on what went wrong: one line, bounded, nothing secret in it."""
        words = ""
        if isinstance(self.body, dict):
            for key in ("message", "error_description", "error"):
                value = self.body.get(key)
                if value:
                    words = value if isinstance(value, str) else json.dumps(value)
                    break
        for secret in self.secrets:
            words = words.replace(secret, MASK)
        return clean(words)


def clean(words: str) -> str:
    """Foreign words, fit for a message: one line, bounded, without anything that looks like a token.

    Nor do they stand between backquotes: what does is a line of ours to type, which a person trusts.
    """
    return shortened(without_long_words(one_line(words.replace("`", "'"))), SAID)


def secrets_in(headers: Mapping[str, str], public: Collection[str]) -> Iterator[str]:
    """The secrets in the headers of a request, but for those of ``public``: a scheme's last word, and of
    Basic's pair the password.
    """
    for name, value in headers.items():
        word = value.split()[-1] if value.split() else ""
        if name in public or len(word) < SHORTEST:
            continue
        yield word
        if value.startswith("Basic "):
            with suppress(ValueError):
                password = base64.b64decode(word).decode().partition(":")[2]
                if len(password) >= SHORTEST:
                    yield password


def _secrets_of(values: object) -> Iterator[str]:
    """The secrets among an object's values."""
    for value in values.values() if isinstance(values, Mapping) else ():
        if isinstance(value, Secret) and len(value.reveal()) >= SHORTEST:
            yield value.reveal()


def _revealed(value: object) -> str:
    """A text as it is sent."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, str):
        return value
    raise TypeError(f"{type(value).__name__} is not sent")


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a token that belongs to an address may be sent to (RFC 6454)."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ("", "", None)
    return (parts.scheme, (parts.hostname or "").lower(), port)


class Budget:
    """How many calls may be made: ``per_hour`` on average, ``burst`` at once."""

    def __init__(
        self,
        per_hour: float,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_hour = per_hour
        self._most = burst if burst is not None else max(30.0, per_hour / 10)
        self._left = self._most
        self._clock = clock
        self._at = clock()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take one call: 0 where it may be made, else the seconds until the next may."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._at) * self.per_hour / 3600)
            self._at = now
            if self._left >= 1:
                self._left -= 1
                return 0.0
            return (1 - self._left) * 3600 / self.per_hour


@dataclass(slots=True)
class _Limit:
    """Until when (monotonic) the service wants to be left alone, and how often in a row it said so."""

    until: float = 0.0
    times: int = 0


@dataclass(frozen=True, slots=True)
class _Kept:
    """A reply to answer a 304 with, not read yet: what is read takes ten times the room."""

    tag: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


def summed(counts: Iterable[Mapping[tuple[str, str], int]]) -> dict[tuple[str, str], int]:
    """The calls of several, each as ``Web.calls`` has them, as those of one."""
    total: Counter[tuple[str, str]] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


class Web:
    """One service at one address, as one pool speaks to it; to be used from any thread."""

    def __init__(
        self,
        base: str,
        service: str,
        whose: str,
        *,
        keys: str = "`url`",
        authorise: Authorise = dict,
        headers: Mapping[str, str] | None = None,
        budget: Budget | None = None,
        proxy: str | None = None,
        no_proxy: str | None = None,
        ca: str | None = None,
        clock: Callable[[], float] = time.time,
        watched: str = "",
    ) -> None:
        """Nothing is called yet.

        ``watched`` names a header of answers whose last value is kept.

        ``service`` and ``whose`` ("GitHub", 'pool "gpu"') are what messages say, and ``keys``
        which of the configuration name what is asked about. ``headers`` go on every
        call, and those that ``authorise`` gives when it is asked, before each. ``proxy`` and ``no_proxy``
        stand in for the environment's; the certificates of ``ca`` (a PEM file) are trusted beside the
        system's.
        """
        self.base = base.rstrip("/")
        self.host = urlsplit(base).netloc
        self._service = f"{service} at {self.host}"
        self._whose = whose
        self._keys = keys
        self._authorise = authorise
        self._headers = {
            "User-Agent": f"mayfly/{__version__}",
            "Accept": "application/json",
            **(headers or {}),
        }
        self._budget = budget
        self._clock = clock
        self._exchanges = Exchanges(ca, proxy, no_proxy)
        self._local = threading.local()  # whether this thread's connection has been good
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._limit = _Limit()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._skew: float | None = None
        self._left: float | None = None
        self._watched, self._seen = watched, ""

    # -- what callers ask ------------------------------------------------------------------------

    @property
    def skew(self) -> float | None:
        """Seconds that the service's clock is ahead of ours; ``None`` before its first answer."""
        return self._skew

    @property
    def remaining(self) -> float | None:
        """How many calls the service still allowed in its last answer; ``None``: it does not say."""
        return self._left

    @property
    def seen(self) -> str:
        """The watched header in the last good answer; "": it had none."""
        return self._seen

    def close(self) -> None:
        """Close the connections that are kept; it can be called again all the same."""
        self._exchanges.close()

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls there were, by operation and status; ``lost``: no answer, ``unsent``: not made."""
        with self._lock:
            return dict(self._counts)

    def call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        form: Mapping[str, str | Secret] | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        accept: Collection[int] = (200, 201, 202, 204),
        unread: Collection[int] = (),
        conditional: bool = False,
        timeout: float | None = None,  # seconds between two pieces of the reply; None: READ_TIMEOUT
        interrupt: Interrupt | None = None,
    ) -> ServiceReply:
        """Make one call and return the reply if its status is one of ``accept``.

        ``path`` is below the base address, or a whole address of the same host. ``operation`` says
        what it is for, as in "list the runners". ``headers`` replace those of ``authorise``. A value
        of ``body`` or of ``form`` may be a ``Secret``. With a status of ``unread`` a body may be any
        text that is no web page, or not come. Another thread may end it by ``interrupt``. Raises ``Refused``
        where a person must act, ``Passing`` for the rest; after a lost ``POST`` nobody knows whether it
        was done.
        """
        url = self._url(path, query)
        self._admit(operation)
        sent = self._all_headers(headers, body is not None)
        kept = self._kept.get(url) if conditional else None
        if kept is not None:
            sent["If-None-Match"] = kept.tag
        data = json.dumps(body, default=_revealed).encode() if body is not None else None
        if form is not None:
            data = urlencode({name: _revealed(value) for name, value in form.items()}).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        bound = READ_TIMEOUT if timeout is None else timeout
        reply = replace(
            self._send(method, url, operation, sent, data, bound, interrupt, unread),
            secrets=(
                *secrets_in(sent, {*self._headers, *NO_SECRETS}),
                *_secrets_of(body if form is None else form),
            ),
        )
        self._heed(reply)
        if reply.status == 304 and kept is not None:
            body = parsed(kept.content)
            return ServiceReply(200, body, kept.headers, url, kept.content, repeated=True)
        if reply.status in accept:
            if isinstance(reply.body, Garbage) and (reply.body.page or reply.status not in unread):
                raise self._page(reply, operation)
            if conditional and reply.status == 200:
                self._keep(url, reply)
            return reply
        raise self.fault(reply, operation)

    def fault(self, reply: ServiceReply, operation: str) -> Fault:
        """What an unwanted reply means, for whoever accepted it and cannot go on either."""
        said = f": {reply.said}" if reply.said else ""
        what = f"{self._service} answered {reply.status} when asked to {operation} for {self._whose}{said}"
        status = reply.status
        if 300 <= status < 400:
            return self._moved(reply, operation)
        if self._is_limited(reply):
            wait = max(1.0, self._limit.until - time.monotonic())
            return Passing(
                f"{what}; its rate limit is reached, the next call is made in {wait:.0f} s", wait
            )
        if status == 407:
            return Refused(f"{what}; the proxy wants a login: {LOGIN}")
        if status == 203 or (_is_page(reply) and status < 500):
            return self._page(reply, operation)
        if status == 401:
            return Refused(f"{what}; the token is wrong or has expired{ANOTHER}")
        if status == 403:
            return Refused(f"{what}; the token lacks a permission: {NAMED_ELSEWHERE}")
        if status == 404:
            return Refused(
                f"{what}; it is not there, or the token may not see it: check {self._keys}, and the token"
            )
        if status in (408, 425) or status >= 500 or status < 200:
            return Passing(f"{what}; it is tried again", retry_after(reply.headers, self._clock()))
        return Refused(
            f"{what}; the configuration of {self._whose} asks for what the service does not take"
        )

    # -- one call ----------------------------------------------------------------------------------

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        url = path if "://" in path else f"{self.base}/{path.lstrip('/')}"
        if origin(url) != origin(self.base):
            raise Refused(
                f"{self._service} pointed to another place, {clean(url)}: not followed, since the token "
                "would go there"
            )
        return f"{url}?{urlencode(query)}" if query else url

    def _admit(self, operation: str) -> None:
        wait = self._limit.until - time.monotonic()
        if wait > 0:
            self._count(operation, "unsent")
            raise Passing(
                f"{self._service} wants no calls for another {wait:.0f} s (rate limit), so nobody asked it "
                f"to {operation} for {self._whose}",
                wait,
            )
        wait = self._budget.take() if self._budget is not None else 0.0
        if self._budget is not None and wait > 0:
            self._count(operation, "unsent")
            raise Passing(
                f"{self._whose} has used up its budget of {self._budget.per_hour:.0f} calls an hour to "
                f"{self._service}; it can {operation} in {wait:.0f} s",
                wait,
            )

    def _all_headers(
        self, given: Mapping[str, str | Secret] | None, has_json: bool
    ) -> dict[str, str]:
        headers: dict[str, str | Secret] = {**self._headers}
        if has_json:
            headers["Content-Type"] = "application/json"
        headers |= given if given is not None else self._authorise()
        return {
            name: value.reveal() if isinstance(value, Secret) else value
            for name, value in headers.items()
        }

    def _send(
        self,
        method: str,
        url: str,
        operation: str,
        headers: Mapping[str, str],
        data: bytes | None,
        timeout: float,
        interrupt: Interrupt | None,
        unread: Collection[int],
    ) -> ServiceReply:
        tries = 2 if method == "GET" else 1
        for attempt in range(1, tries + 1):
            began = self._clock()
            try:
                asked = (method, url, headers, data, timeout, interrupt, unread)
                answer = self._exchanges.make(*asked)
            except NoAnswer as none:
                self._count(operation, "unsent" if none.trouble is Trouble.UNSENDABLE else "lost")
                stale, self._local.spoke = getattr(self._local, "spoke", False), False
                if attempt < tries and none.trouble is Trouble.BROKEN and stale:
                    continue
                raise self._unanswered(none, url, operation) from None
            self._local.spoke = True
            reply = ServiceReply(
                *(answer.status, parsed(answer.content), answer.headers, url, answer.content)
            )
            self._count(operation, str(reply.status))
            self._set_skew(reply, (began + self._clock()) / 2)
            return reply
        raise AssertionError("unreachable")

    def _unanswered(self, none: NoAnswer, url: str, operation: str) -> Fault:
        reason = clean(none.reason)
        proxy = self._exchanges.proxy_for(url)
        match none.trouble:
            case Trouble.UNTRUSTED:
                behind = (
                    f" (the proxy {clean(proxy)} may look into what passes, then it is the proxy's own)"
                    if proxy is not None
                    else ""
                )
                return Untrusted(
                    f"{self._service} shows a certificate that is not trusted, so nobody can {operation} for "
                    f"{self._whose} ({reason}): name its authority in `ca`{behind}, check the host's clock"
                )
            case Trouble.NO_TLS:
                return Refused(
                    f"{self._service} speaks no TLS at that address, so nobody can {operation} for "
                    f"{self._whose}: check the port in `url`, or write http:// there"
                )
            case Trouble.PROXY:
                return self._not_let_through(none, clean(proxy or "on the way"), operation)
            case Trouble.NO_ADDRESS:
                return Refused(f"{clean(url)} is no address: check `url` of {self._whose}")
            case Trouble.UNSENDABLE:
                return Refused(
                    f"the token of {self._whose} has a line break or a character that no token has, so "
                    f"{self._service} was not asked to {operation}: write it again, on one line"
                )
            case _:
                return Passing(
                    f"{self._service} gave no answer when asked to {operation} for {self._whose} "
                    f"({reason}); it is asked again",
                    unanswered=none.trouble is Trouble.SLOW,
                )

    def _not_let_through(self, none: NoAnswer, proxy: str, operation: str) -> Fault:
        """What a proxy did in place of passing a call on."""
        for_whom = f"so nobody can {operation} for {self._whose}"
        status = none.proxy_status
        match status:
            case None if "WRONG_VERSION_NUMBER" in none.reason:
                return Refused(
                    f"the proxy {proxy} speaks no TLS itself, {for_whom}: write it as http:// in `proxy`"
                )
            case None:
                return Passing(
                    f"the proxy {proxy} cannot be reached ({clean(none.reason)}), {for_whom}: check `proxy`; "
                    "it is asked again"
                )
            case 407:
                return Refused(f"the proxy {proxy} wants a login, {for_whom}: {LOGIN}")
            case 400 | 404 | 405 | 501:
                return Refused(
                    f"the proxy {proxy} is none, or none for https (it answered {status}), {for_whom}: "
                    "check `proxy`"
                )
            case _ if status < 500:
                return Refused(
                    f"the proxy {proxy} does not let us through to {self._service} ({status}), "
                    f"{for_whom}: have it allowed there, or name the host in `no_proxy`"
                )
            case _:
                return Passing(
                    f"the proxy {proxy} does not reach {self._service} ({status}), {for_whom}: a host that "
                    "only this network knows belongs into `no_proxy`; it is asked again"
                )

    # -- what a reply tells beside its content ------------------------------------------------------

    def _count(self, operation: str, status: str) -> None:
        with self._lock:
            self._counts[operation, status] += 1

    def _keep(self, url: str, reply: ServiceReply) -> None:
        tag = reply.headers.get("ETag")
        if tag is None:
            return
        with self._lock:
            self._kept[url] = _Kept(tag, reply.headers, reply.content)
            self._kept.move_to_end(url)
            while sum(len(kept.content) for kept in self._kept.values()) > REMEMBERED:
                self._kept.popitem(last=False)

    def _set_skew(self, reply: ServiceReply, at: float) -> None:
        date = date_of(reply.headers.get("Date"))
        if date is not None:
            self._skew = date + 0.5 - at

    def _is_limited(self, reply: ServiceReply) -> bool:
        if reply.status == 429:
            return True
        told = "Retry-After" in reply.headers or remaining(reply.headers) == 0
        return reply.status == 403 and (told or "rate limit" in reply.said.lower())

    def _heed(self, reply: ServiceReply) -> None:
        """Leave the service alone for as long as it asked, also where it asked beside a good answer."""
        wait = None if reply.status >= 500 else retry_after(reply.headers, self._clock())
        left = remaining(reply.headers)
        if left is not None:
            self._left = left
        if self._watched and reply.status < 400:
            self._seen = reply.headers.get(self._watched, "")
        if wait is None and left == 0:
            wait = until_reset(reply.headers, self._clock() + (self._skew or 0.0))
        limited = self._is_limited(reply)
        with self._lock:
            if not limited:
                self._limit.times = 0
            elif wait is None:
                self._limit.times += 1
                wait = doubling(LIMIT_FIRST, LIMIT_MOST, self._limit.times)
            if wait is not None and wait > 0:
                self._limit.until = max(self._limit.until, time.monotonic() + min(wait, WAIT_MOST))

    def _moved(self, reply: ServiceReply, operation: str) -> Refused:
        location = joined(reply.url, reply.headers.get("Location", ""))
        target = urlsplit(location)
        if origin(location) != origin(self.base) or _LOGIN.search(target.path):
            return Refused(
                f"{self._service} wants a login at {target.netloc}{clean(target.path)} when asked to "
                f"{operation} for {self._whose}: it does not take the token, or `url` is not its own address"
            )
        return Moved(
            f"{self._service} says that what {self._whose} names has moved ({operation}): put where it "
            f"is now into {self._keys}",
            location,
        )

    def _page(self, reply: ServiceReply, operation: str) -> Fault:
        if not _is_page(reply):
            return Passing(
                f"{self._service} sent something unreadable ({reply.status}) when asked to {operation} for "
                f"{self._whose}; it is asked again"
            )
        return Refused(
            f"{self._service} sent a web page instead of data ({reply.status}) when asked to {operation} for "
            f"{self._whose}: a sign-in page or {self._proxy_named(reply.url)} stands there; check `url`, "
            "`proxy` and the token"
        )

    def _proxy_named(self, url: str) -> str:
        proxy = self._exchanges.proxy_for(url)
        return "a proxy" if proxy is None else f"the proxy {clean(proxy)}"


# -- what a reply says ---------------------------------------------------------------------------------


def _is_page(reply: ServiceReply) -> bool:
    return isinstance(reply.body, Garbage) and reply.body.page
