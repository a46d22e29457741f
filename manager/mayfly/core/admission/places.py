"""Paths inside a container, and what of the agent's own places a path in it names."""

from __future__ import annotations

from mayfly.core.admission.outcome import Refused
from mayfly.core.admission.request import shown
from mayfly.core.reserved_paths import within

LONGEST = 4096
# Where the kernel and the Engine have what a container must not cover, and where the NVIDIA runtime reads
# which GPUs are asked for, as names of mounts.
COVERED = (
    "/proc",
    "/sys",
    "/dev",
    "/run/nvidia-container-devices",
    "/var/run/nvidia-container-devices",
)
FREE = ("/dev/shm",)  # noqa: S108  of a container


def normal(path: str, where: str) -> str:
    """An absolute path without anything that stands for another."""
    if not path.startswith("/") or len(path) > LONGEST or "\0" in path:
        raise Refused(f"{where}: {shown(path)} has to be an absolute path", 400)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f'{where}: {shown(path)} has ".." in it: say where it leads', 400)
    return "/" + "/".join(parts)


def cleaned(path: str) -> str:
    """The path as the Engine makes it of what an image says: without dots, by its letters alone."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def target(path: str, where: str) -> str:
    """Where in a container something may be mounted."""
    place = normal(path, where)
    if place == "/":
        raise Refused(f"{where}: nothing can be mounted on /", 400)
    if any(within(place, one) for one in COVERED) and place not in FREE:
        raise Refused(f"{where}: nothing can be mounted on {shown(place)}")
    return place


def beneath(place: str, above: str) -> str | None:
    """The rest of the path below ``above``; empty: it is that; ``None``: it is not below it."""
    if not within(place, above):
        return None
    return place[len(above.rstrip("/")) :].lstrip("/")
