"""JSON that is posted to an address of the configuration: for notices, and for what pauses a host.

Such an address may be a secret, since whoever knows it may write there: it is looked at only when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from mayfly.edge import credentials
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.web import Web

TAKEN = (200, 201, 202, 203, 204)


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


def post(
    address: str,
    body: object,
    doing: str,
    *,
    key: str,
    whose: str,
    token: Mapping[str, str] | None,
    ca: str | None,
    timeout: float,
) -> None:
    """Hand it over; a ``Fault`` where the other end does not take it, or where the token cannot be read.

    ``doing``: what it is asked to do; ``key``: what names the address in the configuration, of ``whose``;
    ``timeout``: seconds between two pieces of an answer.
    """
    headers: dict[str, str | Secret] = {}
    if token is not None:
        headers["Authorization"] = Secret(f"Bearer {credentials.read(token).reveal()}")
    web = Web(address, f"the {key}", whose, keys=f"`{key}`", ca=ca)
    try:
        web.call(
            *("POST", address, doing),
            body=body,
            headers=headers,
            accept=TAKEN,
            unread=TAKEN,
            timeout=timeout,
        )
    except Passing as fault:  # when that is, and whether it is, is its caller's to say
        told = str(fault).removesuffix("; it is asked again")
        raise Passing(told, fault.retry_after, unanswered=fault.unanswered) from fault
    finally:
        web.close()
