"""Ports that a container publishes: nothing is ever published on the host.

The Engine is not told of them. The gateway listens inside the agent's own network namespace and hands on what
comes to the container, and answers show them as if the Engine had published them. So that a gateway that is
started anew knows them, they are kept in a label of the container.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_PORT = re.compile(r"([0-9]{1,5})(?:/(tcp|udp|sctp))?", re.ASCII)
MOST = 128  # of one container


@dataclass(frozen=True, slots=True)
class Published:
    """A TCP port of a container, and where the agent reaches it on its loopback."""

    port: int
    at: int = 0  # 0: the gateway takes one that is free


def port_of(text: str) -> tuple[int, str] | None:
    """The number and the protocol of ``80/tcp``; ``None``: it is none."""
    read = _PORT.fullmatch(text)
    if read is None or not 1 <= int(read[1]) <= 65535:
        return None
    return int(read[1]), read[2] or "tcp"


def ports_label(ports: Iterable[Published]) -> str:
    """What the label says of them."""
    return json.dumps([[one.port, one.at] for one in ports], separators=(",", ":"))


def published_of(label: str | None) -> tuple[Published, ...]:
    """The ports of a label of ours; none where it has none, or another wrote it."""
    try:
        found = json.loads(label or "[]")
        return tuple(Published(_number(port), _number(at)) for port, at in found)
    except (ValueError, TypeError):
        return ()


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 65535:
        raise ValueError(f"{value!r} is no port")
    return value
