"""``[host.idle]`` of the configuration: when a host without anything to do is paused or stopped, by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IdleSettings:
    """What is done about a host that has nothing to do."""

    after: float = 1800.0  # seconds without anything to do
    command: tuple[str, ...] = ()  # what pauses or stops the host; none: `webhook` does
    webhook: str | Mapping[str, str] | None = None  # an address, or where it is
    token: Mapping[str, str] | None = None  # where it is; sent as "Authorization: Bearer …"
    ca: str | None = None  # a PEM file of authorities beside the system's
    timeout: float = 120.0  # seconds for the command, the webhook or `veto`
    veto: tuple[str, ...] = ()  # a command that fails while the host is to stay
    # seconds since its terminal was used after which a login is no veto any more; None: none ever is
    logins: float | None = 3600.0
    gone_within: float = 600.0  # seconds from the command to the host's end
    price_per_hour: float | None = None  # while it is up; None: nothing is said of money
    currency: str | None = None  # of that price; None: nobody said

    @property
    def way(self) -> str:
        """What pauses the host, in a word."""
        return "webhook" if self.webhook is not None else "command"
