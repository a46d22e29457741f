"""What a service's JSON is taken for: an object, a list, a text, a number; anything else is ``Passing``.

The words are a stranger's: what is nested too deeply, too long or no text at all is as unreadable as a page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mayfly.edge.faults import Passing

ENTRIES = 2_000  # of one list


def mapping(value: object) -> Mapping[str, object]:
    """The JSON object; ``Passing`` where the service sent something else."""
    if isinstance(value, dict):
        return value
    raise _unexpected("an object", value)


def items(value: object) -> list[object]:
    """The JSON array; ``Passing`` where the service sent something else."""
    if isinstance(value, list):
        if len(value) > ENTRIES:
            raise Passing(
                f"the service answered with a list of {len(value)} entries; it is asked again", 30.0
            )
        return value
    raise _unexpected("a list", value)


def text(value: object) -> str:
    """The JSON string; ``Passing`` where the service sent something else."""
    if isinstance(value, str):
        return value
    raise _unexpected("a text", value)


def integer(value: object) -> int:
    """The JSON number without a fraction; ``Passing`` where the service sent something else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _unexpected("a number", value)


def _unexpected(wanted: str, value: object) -> Passing:
    return Passing(
        f"the service answered with something unexpected: {type(value).__name__} instead of {wanted}; "
        "it is asked again",
        30.0,
    )


class Garbage:
    """A body that is not JSON; ``page`` where it looks like HTML."""

    __slots__ = ("page",)

    def __init__(self, page: bool) -> None:
        self.page = page


def parsed(content: bytes) -> object:
    """The JSON; ``None`` of nothing, ``Garbage`` of anything else."""
    if not content.strip():
        return None
    try:
        value = json.loads(content)
        if b"\\ud" in content or b"\\uD" in content:
            json.dumps(value, ensure_ascii=False).encode()  # half a character is no text
    except (ValueError, RecursionError):
        return Garbage(content.lstrip()[:1] == b"<")
    return value
