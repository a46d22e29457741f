"""Addresses that a service names: read here alone, since the standard library raises at some of them.

Nobody is led anywhere by this module: who follows an address compares its origin first (``edge/web.py``).
"""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

from mayfly.edge.faults import Passing
from mayfly.edge.token_looks import without_long_words

SHOWN = 100  # characters of one that is none


def split(url: str) -> SplitResult:
    """The parts of an address from outside, host and port among them; ``Passing`` where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        raise _none(url) from None
    return parts


def joined(base: str, address: str) -> str:
    """The address as a service gave it, whole; ``Passing`` where it is none."""
    try:
        whole = urljoin(base, address)
    except ValueError:
        raise _none(address) from None
    split(whole)
    return whole


def _none(address: str) -> Passing:
    shown = without_long_words(ascii(address[:SHOWN]).replace("`", "'"))
    return Passing(f"the service named an address that is none: {shown}; it is asked again", 30.0)
