"""Who visits the page: nobody in particular, or the person whom a proxy that is trusted names.

Whoever has a login on this host can connect to a loopback address and send any header. So a proxy of this
host is known by its user, as the kernel says it of the connection, and one elsewhere by its address; a
header from anybody else is not believed, and that is told. A person has the rights of the users' socket
(docs/adr/0020) and no more, operators too.
"""

from __future__ import annotations

import grp
import hashlib
import hmac
import ipaddress
import os
import pwd
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mayfly.core.commands import Caller
from mayfly.edge.http_connection import Request
from mayfly.edge.tcp_http import ANYBODY, UNKNOWN
from mayfly.edge.unix_http import OPERATORS, USERS

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
GROUPS = (USERS.group, OPERATORS.group)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who looks at the page."""

    caller: Caller  # whom the manager is asked for
    named: bool = False  # a person of this host, who may change what is theirs
    proxied: bool = False  # by a proxy that is trusted
    note: str = ""  # why they are nobody, though a header named them; in one sentence


Lookup = Callable[[str], Caller | str]


class Visitors:
    """Says who each request is of."""

    def __init__(
        self, header: str | None, trusted: Sequence[str], lookup: Lookup | None = None
    ) -> None:
        """``header`` names the user, where a proxy of ``trusted`` sends it: IP addresses, networks, and names
        of this host's users.
        """
        self._header = header
        self._networks = []
        self._users = set()
        for one in trusted:
            try:
                self._networks.append(ipaddress.ip_network(one, strict=False))
            except ValueError:
                self._users.add(one)
        self._lookup = lookup or person
        self._key = secrets.token_bytes(32)

    def of(self, request: Request) -> Visitor:
        """Who sent it."""
        trusted = self.is_trusted(request.caller)
        told = request.headers.get(self._header.lower()) if self._header else None
        if told is None:
            return Visitor(ANYBODY, proxied=trusted)
        if not trusted:
            return Visitor(ANYBODY, note=f"{self._header} is not believed of {_shown(request.caller)}: "
                           "only web_trusted_proxies may name a user")  # fmt: skip
        found = self._lookup(told)
        if isinstance(found, str):
            return Visitor(ANYBODY, proxied=True, note=found)
        return Visitor(found, named=True, proxied=True)

    def is_trusted(self, caller: Caller) -> bool:
        """Whether a proxy that is trusted is at the other end."""
        if caller.uid != UNKNOWN:
            return self.trusts(caller.uid)
        try:
            address = ipaddress.ip_address(caller.name.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(
            address in network for network in self._networks if network.version == address.version
        )

    def trusts(self, uid: int) -> bool:
        """Whether a proxy of this host runs as that user."""
        return uid != UNKNOWN and _user_name(uid) in self._users

    def token(self, visitor: Visitor) -> str:
        """What a form of theirs carries, so that no other site can send it; of this run of the manager."""
        whose = f"{visitor.caller.uid}:{visitor.caller.name}".encode()
        return hmac.new(self._key, whose, hashlib.sha256).hexdigest()

    def meant(self, request: Request, visitor: Visitor, token: str) -> str | None:
        """Why a form is not to be believed that this page has made; ``None``: it is."""
        if not hmac.compare_digest(self.token(visitor).encode(), token.encode("utf-8", "replace")):
            return "this form is of another person or of an earlier run of the manager: load the page again"
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return None if site == "same-origin" else "this form was sent by another site"
        origin = request.headers.get("origin", "")
        named = (request.headers.get("x-forwarded-host"), request.headers.get("host"))
        if origin.partition("://")[2] in [one for one in named if one]:
            return None
        return "this form does not say that it was sent by this page (no Origin of it)"


def person(name: str) -> Caller | str:
    """The user of this host who is called that and may use the users' socket, or why there is none."""
    if not NAME.fullmatch(name):
        return "the proxy names a user by what is no user's name: you can look, and change nothing"
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return f"{name} is no user of this host: you can look, and change nothing"
    groups = os.getgrouplist(name, found.pw_gid)
    if found.pw_uid != 0 and not any(_gid(group) in groups for group in GROUPS):
        return f"{name} is not in the group {USERS.group}: you can look, and change nothing"
    # (A directory may know "Ann" as ann.)
    return Caller(0, found.pw_uid, found.pw_gid, found.pw_name, operator=False)


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _shown(caller: Caller) -> str:
    return _user_name(caller.uid) if caller.uid != UNKNOWN else caller.name


def form(body: bytes) -> Mapping[str, str]:
    """The fields of a form (application/x-www-form-urlencoded)."""
    from urllib.parse import parse_qsl  # noqa: PLC0415  who only looks sends none

    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=8))
    except ValueError:
        return {}
