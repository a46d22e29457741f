"""Where Docker Engine writes: its own root, and containerd's where that has images and writable layers.

New installations keep them there since release 29 (the "containerd image store"), and it may be another
disk. The Engine does not say where it is: the process behind containerd's socket does, else containerd's
configuration; where neither can be read it is the place that containerd takes by itself.
"""

from __future__ import annotations

import socket
import struct
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SNAPSHOTTER = ["driver-type", "io.containerd.snapshotter.v1"]
SOCKET = "/run/containerd/containerd.sock"
CONFIG = "/etc/containerd/config.toml"
ROOT = "/var/lib/containerd"
_PATIENCE = 2.0  # seconds for the connection to a socket of this host


def places(info: Mapping[str, Any]) -> tuple[str, ...]:
    """The directories, from the answer of ``/info``."""
    own = str(info.get("DockerRootDir", ""))
    if SNAPSHOTTER not in (info.get("DriverStatus") or ()):
        return (own,)
    behind = info.get("Containerd") or {}  # Engines before 27 do not say
    return (own, containerd_root(_command_line(str(behind.get("Address") or SOCKET))))


def containerd_root(command: tuple[str, ...]) -> str:
    """The root of a containerd that was started with this command line; empty where that is not known."""
    named = _flag(command, "root")
    if named is not None:
        return named
    try:
        text = Path(_flag(command, "config", "c") or CONFIG).read_text(encoding="utf-8")
        return str(tomllib.loads(text).get("root") or ROOT)
    except (OSError, ValueError):
        return ROOT


def _flag(command: tuple[str, ...], *names: str) -> str | None:
    """The value of a flag as Go programs take them: one dash or two, after ``=`` or as the next word."""
    for word, following in zip(command, (*command[1:], ""), strict=False):
        flag, separator, value = word.partition("=")
        if flag.startswith("-") and flag.lstrip("-") in names:
            return value if separator else following
    return None


def _command_line(address: str) -> tuple[str, ...]:
    """Of the process that listens on the socket; empty where this one may not ask."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as conn:
            conn.settimeout(_PATIENCE)
            conn.connect(address)
            peer = conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, _, _ = struct.unpack("3i", peer)
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        return tuple(text.rstrip("\0").split("\0"))
    except (OSError, ValueError):
        return ()
