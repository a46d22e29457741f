"""An address that is a secret, since whoever knows it may write there: looked at only when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from mayfly.edge import credentials
from mayfly.edge.faults import Refused


def address(written: str | Mapping[str, str], what: str) -> str:
    """The address as it is, or as it stands where ``written`` points to; ``Refused`` where that is none.

    ``what``: for a sentence, "`webhook` of notify target \"ops\"".
    """
    if isinstance(written, str):
        return written
    found = credentials.read(written).reveal()
    try:
        parts = urlsplit(found)
        known = parts.scheme in {"https", "http"} and parts.hostname and parts.username is None
    except ValueError:
        known = False
    if not known or not found.isprintable() or " " in found:
        raise Refused(f"what {what} points to is no http or https address without a user in it")
    return found
