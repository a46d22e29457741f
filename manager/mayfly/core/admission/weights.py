"""How much one thing of a job's may weigh in the Engine's lists and events, which are read for all agents.

A list has labels and command of each container, an event the labels, and that of a process its command.
Weighed is what the Engine's encoder writes: a control character, and what HTML would read, takes six bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.core.admission.outcome import Forward, Refused

LABELS = 128
LABELS_WEIGH = 16 * 1024  # of a container, its image's with them
IMAGES_LABEL = 1024  # one of an image that weighs more is said empty in its containers
COMMAND_WEIGHS = 32 * 1024  # of a container, its health check's beside; of a process
ENVIRONMENT_WEIGHS = 256 * 1024
EXPOSED = 256  # ports: each is an entry of the list
ALIASES = 32
LABELS_SAID = f"at most {LABELS}, and {LABELS_WEIGH // 1024} KiB with the image's"
HEAVY = ("/changes", "/export", "/archive", "/top")
_LONG = re.compile(r'[\x00-\x1f<>&"\\\u2028\u2029]')


def weight(texts: Iterable[str]) -> int:
    """Bytes of them in the Engine's JSON, at most."""
    return sum(len(one.encode()) + 5 * len(_LONG.findall(one)) + 3 for one in texts)


def weigh_labels(labels: Mapping[str, str], where: str) -> None:
    """`Refused` where there are too many, or they are too long together."""
    if len(labels) > LABELS:
        raise Refused(f"{where}: more than {LABELS} labels are refused")
    if weight((*labels, *labels.values())) > LABELS_WEIGH:
        raise Refused(f"{where}: labels of more than {LABELS_WEIGH} bytes together are refused")


def weigh(texts: Iterable[str], most: int, where: str) -> None:
    """`Refused` where they are longer than so many bytes together."""
    if weight(texts) > most:
        raise Refused(f"{where} is refused: it has more than {most} bytes")


def is_heavy(forward: Forward) -> bool:
    """Whether the Engine reads a container's files for it, or begins a process of its own."""
    path, _, query = forward.target.partition("?")
    return path.endswith(HEAVY) or any(
        one in ("size=1", "size=t", "size=true") for one in query.lower().split("&")
    )


def texts_of(value: Any) -> tuple[str, ...]:
    """A command as an image says it: a list of texts, one text, or nothing."""
    if isinstance(value, str):
        return (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
