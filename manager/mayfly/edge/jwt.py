"""What a JWT says of itself (RFC 7519), and so when it ends.

It is read, not checked: that is for whoever it is shown to.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from mayfly.core.quantities import in_calendar, number
from mayfly.edge.service_json import parsed

MOST = 64 * 1024  # characters of a token


def claims_of(token: str) -> Mapping[str, object]:
    """What a token says of itself; nothing where it is not one of those that do."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MOST:
        return {}
    body = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        found = parsed(base64.b64decode(body, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def end_of(token: str) -> float | None:
    """Seconds since the epoch; ``None``: it says none, or no time."""
    end = number(claims_of(token).get("exp"))
    return in_calendar(end) if end is not None else None
