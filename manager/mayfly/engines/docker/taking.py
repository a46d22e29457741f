"""What of an ended container may be taken, by what the Engine says of it and of each step of a path; pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from mayfly.core.naming import is_work_volume
from mayfly.core.reserved_paths import within
from mayfly.core.workspace import HOME, WORKSPACE

# How Go writes what kind of file something is (io/fs.FileMode).
DIRECTORY, LINK = 1 << 31, 1 << 27


def mounted_places(seen: Mapping[str, Any]) -> tuple[str, ...]:
    """Where something is in the container that is no part of it."""
    host = seen.get("HostConfig") or {}
    mounts = [one for one in seen.get("Mounts") or () if not _is_where_it_works(one)]
    found = [str(one.get("Destination") or "") for one in mounts]
    found += list(host.get("Tmpfs") or ())
    found += ["/proc", "/sys", "/dev", "/run/mayfly"]
    return tuple(dict.fromkeys(f"/{one.strip('/')}" for one in found if one.strip("/")))


def _is_where_it_works(mount: Mapping[str, Any]) -> bool:
    """Whether it is the volume of the agent's own in which its job worked: what is there is the job's."""
    return mount.get("Type") == "volume" and is_work_volume(str(mount.get("Name") or ""))


def problem_with_step(
    said: str | None, step: str, path: str, mounted: tuple[str, ...]
) -> str | None:
    """Why nothing is taken by a path of which this is a step; ``None``: go on.

    ``said`` is the header ``X-Docker-Container-Path-Stat``, base64 of JSON; ``None``: nothing is there.
    """
    if said is None:
        return "there is no such file or directory"
    if any(within(step, one) for one in mounted):
        return f"{step} is mounted there, and is no part of the container"
    try:
        told = json.loads(base64.b64decode(said))
        mode = int(told["mode"])
    except (ValueError, KeyError, TypeError):
        return f"the Engine does not say what {step} is"
    if mode & LINK:
        return f"{step} is a link: name what it leads to"
    if step == path:
        return None
    if not mode & DIRECTORY:
        return "there is no such file or directory"
    own = within(step, WORKSPACE) or within(step, HOME)
    if not mode & 0o001 and not own:
        return f"{step} is not for every user to enter"
    return None
