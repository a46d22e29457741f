"""What the configuration may say of the page: where it is, and of whom it is believed who is signed in."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from mayfly.core.model import HostSpec

PATH_MAX = 100  # bytes of a socket's path, with room for the name that it is made under
BOXES_MOST = 32
ADDRESS_MAX = 255
# What browsers say themselves, or what the page is told of connections.
OF_HTTP = frozenset(
    {
        *(
            "accept",
            "authorization",
            "connection",
            "content-length",
            "content-type",
            "cookie",
            "host",
        ),
        *("origin", "referer", "sec-fetch-site", "user-agent", "x-forwarded-host"),
    }
)


def place(value: object) -> object:
    """An IP address of this machine and a port, or the absolute path of a socket."""
    if isinstance(value, str):
        if value.startswith("/"):
            if len(value.encode()) > PATH_MAX:
                raise ValueError(f"{value!r} is longer than a socket's path may be")
            return value
        host, _, port = value.rpartition(":")
        try:
            meant = host == "localhost" or bool(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            meant = False
        if not meant or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(
                f'{value!r} must be an IP address and a port, "127.0.0.1:9788", or a socket\'s path'
            )
    return value


def is_loopback(place: str) -> bool:
    """Whether only this host can connect there."""
    host = place.rpartition(":")[0].strip("[]")
    return place.startswith("/") or host == "localhost" or ipaddress.ip_address(host).is_loopback


def header_name(value: object) -> object:
    """The name of an HTTP header that is a proxy's to set."""
    if isinstance(value, str):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", value):
            raise ValueError(f'{value!r} must be a header\'s name, "X-Remote-User"')
        if value.lower() in OF_HTTP:
            raise ValueError(
                f"{value!r} is a header that every browser sends: name one of the proxy's"
            )
    return value


def proxy(value: object) -> object:
    """A user of this host, or an address or network that is not this host."""
    if isinstance(value, str):
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            if re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", value) and value != "localhost":
                return value
            raise ValueError(
                f"{value!r} must be the user that a proxy of this host runs as, or an IP address"
            ) from None
        loopback = ipaddress.ip_network("127.0.0.0/8" if network.version == 4 else "::1")
        if network.overlaps(loopback):
            raise ValueError(
                f'{value!r} has every user of this host: name the one that the proxy runs as, "www-data"'
            )
    return value


def boxes(value: object) -> object:
    """Names of boxes, and the address of each one's page."""
    if not isinstance(value, dict):
        return value
    if len(value) > BOXES_MOST:
        raise ValueError(f"these are {len(value)} boxes, and a page shows {BOXES_MOST} at most")
    for name, address in value.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError(f"{name!r} is no name of a box: letters, digits, dots and hyphens")
        if not isinstance(address, str) or not _is_of_a_page(address):
            raise ValueError(
                f'{name}: {address!r} must be the address of its page, "https://{name}.lab.example", without '
                "a user, a query or a fragment"
            )
    return value


def site(value: object) -> object:
    """The address below which the docs are, as `make docs` builds them."""
    if isinstance(value, str) and not _is_of_a_page(value):
        raise ValueError(
            f'{value!r} must be the address of a site, "https://docs.lab.example/mayfly", without a user, a '
            "query or a fragment"
        )
    return value


def _is_of_a_page(address: str) -> bool:
    if len(address) > ADDRESS_MAX or not address.isascii() or not address.isprintable():
        return False
    try:
        parts = urlsplit(address)
        named = bool(parts.hostname) and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        return False
    bare = not (parts.query or parts.fragment or set(address) & set(" \"'<>\\?#"))
    return parts.scheme in {"http", "https"} and named and bare


def mistakes(host: HostSpec) -> Iterator[tuple[str, str]]:
    """What is wrong between the keys: which, and why."""
    if host.web is not None and host.web == host.metrics:
        yield "web", "is the address of metrics: give the page another port"
    if host.web_user_header is not None and not host.web_trusted_proxies:
        yield (
            "web_user_header",
            "is believed of nobody: web_trusted_proxies must say which proxy sends it",
        )
    if host.web_trusted_proxies and host.web is None:
        yield "web_trusted_proxies", "is of no use without web"
    if host.web_boxes and host.web is None:
        yield "web_boxes", "is of no use without web"
    if host.web is not None and not is_loopback(host.web) and not host.web_trusted_proxies:
        told = (
            f"{host.web!r} is open to the network: use a loopback address, or name the proxies that "
            "alone are answered there in web_trusted_proxies"
        )
        yield "web", told
