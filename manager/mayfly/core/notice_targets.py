"""Who is told what, and by which way: ``[[host.notify]]`` of the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["webhook", "ntfy", "slack", "mail"]
_ADDRESSABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a user's name in a mail's address
WAYS: tuple[Way, ...] = ("webhook", "ntfy", "slack", "mail")


@dataclass(frozen=True, slots=True)
class MailTarget:
    """A mail server, and whom it writes to."""

    server: str  # "mail.lab.example:587"
    sender: str
    to: tuple[str, ...]  # "{user}" in one stands for the job's or reservation's owner
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None  # None: nobody logs in
    password: Mapping[str, str] | None = None  # where it is


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who is told, and of what."""

    name: str
    webhook: str | Mapping[str, str] | None = None  # an address, or where it is
    ntfy: str | Mapping[str, str] | None = None
    slack: str | Mapping[str, str] | None = None
    mail: MailTarget | None = field(default=None, metadata={"key": False})
    token: Mapping[str, str] | None = None  # where it is; sent as "Authorization: Bearer …"
    ca: str | None = None  # a PEM file of authorities beside the system's
    conditions: Literal["error", "warning", "none"] = "warning"
    jobs: Literal["failed", "all", "none"] = "none"
    reservations: bool = False  # that one begins, ends soon, is not used, is over
    users: tuple[str, ...] = ()  # whose jobs and reservations; none: everybody's
    pools: tuple[str, ...] = ()  # of which; none: all, and the host's own conditions
    title: str = ""  # templates; "": Mayfly's own
    text: str = ""

    @property
    def ways(self) -> tuple[Way, ...]:
        """How it is told; one, where the configuration is right."""
        return tuple(way for way in WAYS if getattr(self, way) is not None)

    def whom(self, owner: str) -> tuple[str, ...]:
        """The mail addresses that a notice goes to; without an owner's name none that needs one."""
        if self.mail is None:
            return ()
        usable = _ADDRESSABLE.fullmatch(owner) is not None
        return tuple(
            address.replace("{user}", owner)
            for address in self.mail.to
            if usable or "{user}" not in address
        )
