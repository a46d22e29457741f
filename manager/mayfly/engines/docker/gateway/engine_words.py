"""Failures of the Engine that an agent can do nothing about, and somebody who looks after the host can."""

from __future__ import annotations

# What the Engine says where every range of addresses that it may give is given (20.10 to 29).
USED_UP = ("non-overlapping IPv4 address pool", "address pools have been fully subnetted")
NO_ADDRESSES = (
    "this host's Docker Engine has no addresses left for another network; whoever looks after the host "
    "widens default-address-pools in its daemon.json"
)
NO_SPACE = "this host's Docker Engine has no space left on its disk"


# For whoever looks after the host.
ADDRESSES = "gateway.addresses"
ADDRESSES_TOLD = (
    "jobs get no networks for their containers: Docker has given all ranges of addresses that it has "
    "(default-address-pools)"
)


def is_used_up(text: str) -> bool:
    """Whether the Engine has no addresses left for a network."""
    return any(used in text for used in USED_UP)


def in_own_words(text: str) -> str | None:
    """The sentence for such a failure; ``None``: it is none."""
    if is_used_up(text):
        return NO_ADDRESSES
    return NO_SPACE if "no space left on device" in text else None
