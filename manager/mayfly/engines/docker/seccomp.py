"""Which calls of the kernel a container may make: the profile that its pool names, as text.

The Engine takes the text, not the file: what is read here is what the container gets.
"""

from __future__ import annotations

import json
from pathlib import Path

from mayfly.edge.faults import Refused

UNCONFINED = "unconfined"
MOST = 1024 * 1024  # bytes of a profile


def calls_allowed(asked: str | None) -> str | None:
    """The profile, or ``unconfined``; ``None``: the Engine's own. ``Refused`` where the file holds none."""
    if asked is None or asked == UNCONFINED:
        return asked
    try:
        with Path(asked).open("rb") as file:
            text = file.read(MOST + 1)
        profile = json.loads(text) if len(text) <= MOST else None
    except OSError as error:
        raise Refused(f"seccomp {asked} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"seccomp {asked} is not JSON: {error}") from error
    if not isinstance(profile, dict) or not isinstance(profile.get("defaultAction"), str):
        raise Refused(f"seccomp {asked} is no profile: it has no defaultAction")
    return json.dumps(profile)
