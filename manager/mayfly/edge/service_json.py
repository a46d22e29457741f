"""What a service's JSON is taken for: an object, a list, a text, a number; anything else is ``Passing``.

The words are a stranger's: what is nested too deeply, too long or no text at all is as unreadable as a page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mayfly.edge.faults import Passing

ENTRIES = 2_000  # of one list
# Of a list over all of its pages. In memory it takes ten times the room.
PAGES_MOST, ENTRIES_MOST, SIZE_MOST = 100, 10_000, 8 * 1024 * 1024
INNER_MOST = (
    50_000  # objects and lists of one page; the largest that a service sends has some thousands
)


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


class Pages:
    """A list that comes in pages. One that goes on and on is ``Passing``: cut short it would say of those
    behind that they are not there.
    """

    def __init__(self) -> None:
        self.count = self._entries = self._size = 0

    def entries(self, content: bytes, listed: object) -> list[Mapping[str, object]]:
        """The objects of one more page, which was read from ``content``."""
        found = [mapping(entry) for entry in items(listed)]
        self.count += 1
        self._entries += len(found)
        self._size += len(content)
        for number, most, what in (
            (self.count, PAGES_MOST, "pages"),
            (self._entries, ENTRIES_MOST, "entries"),
            (self._size, SIZE_MOST, "bytes"),
        ):
            if number > most:
                raise Passing(
                    f"the service answered with a list of more than {most} {what}; it is asked again",
                    30.0,
                )
        return found


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
    if content.count(b"{") + content.count(b"[") > INNER_MOST:
        return Garbage(page=False)
    try:
        value = json.loads(content)
        if b"\\ud" in content or b"\\uD" in content:
            json.dumps(value, ensure_ascii=False).encode()  # half a character is no text
    except (ValueError, RecursionError):
        return Garbage(content.lstrip()[:1] == b"<")
    return value
