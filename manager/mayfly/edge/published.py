"""What the maker of a client says to everybody: a file of checksums over HTTP, without a token.

Bounded in time and in size; a redirection is followed a few times, never from https to http. What is read is
a stranger's: only a line of a checksum and a file's name is taken from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mayfly import __version__
from mayfly.edge.addresses import joined, split
from mayfly.edge.exchange import Exchanges, NoAnswer, Trouble
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.web import clean

HOPS = 3
TIMEOUT = 30.0
_LINE = re.compile(r"([0-9a-fA-F]{64})(?:[ \t]+\*?(\S+))?")


@dataclass(frozen=True, slots=True)
class WayOut:
    """How the maker's place is reached: as the pool's own calls are."""

    proxy: str | None = None
    no_proxy: str | None = None
    ca: str | None = None


def checksum(url: str, name: str, way: WayOut) -> str | None:
    """The SHA-256 of the file ``name`` in the list at ``url``; ``None`` where there is no such list.

    A line may name it in a folder (``binaries/NAME``), or, being the only one, not at all. ``Fault`` where
    the place cannot be reached, or its list has no such file.
    """
    text = _text(url, way)
    if text is None:
        return None
    lines = [match for line in text.splitlines() if (match := _LINE.fullmatch(line.strip()))]
    for match in lines:
        told = match.group(2)
        if told is not None and told.rpartition("/")[2] == name:
            return match.group(1).lower()
        if told is None and len(lines) == 1:
            return match.group(1).lower()
    raise Refused(f"{url} has no checksum of {name}")


def _text(url: str, way: WayOut) -> str | None:
    exchanges = Exchanges(way.ca, way.proxy, way.no_proxy)
    headers = {"User-Agent": f"mayfly/{__version__}", "Accept": "text/plain, */*"}
    at = url
    for _ in range(HOPS + 1):
        try:
            answer = exchanges.make("GET", at, headers, None, TIMEOUT)
        except NoAnswer as none:
            raise _unreached(at, none, exchanges.proxy_for(at)) from None
        if answer.status in (301, 302, 303, 307, 308):
            at = _next(at, answer.headers.get("Location", ""))
            continue
        if answer.status in (403, 404):  # a store that lists nothing says 403 of what is not there
            return None
        if answer.status == 407:
            raise Refused(
                f"the proxy on the way to {urlsplit(at).netloc} wants a login: check `proxy`"
            )
        if answer.status != 200:
            raise Passing(f"{clean(at)} answered {answer.status}; try again")
        return answer.content.decode(errors="replace")
    raise Refused(f"{url} leads on and on")


def _unreached(url: str, none: NoAnswer, proxy: str | None) -> Fault:
    host = urlsplit(url).netloc
    if none.trouble is Trouble.PROXY:
        status = f"answered {none.proxy_status}" if none.proxy_status else clean(none.reason)
        return Passing(
            f"the proxy {clean(proxy or '')} on the way to {host}: {status}; check `proxy`"
        )
    if none.trouble is Trouble.UNTRUSTED:
        return Refused(
            f"{host} shows a certificate that is not trusted ({clean(none.reason)}): name its authority, or "
            "that of a proxy that looks into what passes, in `ca`"
        )
    return Passing(
        f"{host} gave no answer ({clean(none.reason)}); check the network and `proxy`, or try again"
    )


def _next(at: str, location: str) -> str:
    target = joined(at, location)
    schemes = (split(at).scheme, split(target).scheme)
    if schemes[1] not in ("http", "https") or schemes == ("https", "http"):
        raise Refused(f"{clean(at)} leads to {clean(target)}: not followed")
    return target
