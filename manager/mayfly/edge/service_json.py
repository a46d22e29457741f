"""What a service's JSON is taken for: an object, a list, a text, a number; anything else is ``Passing``.

The words are a stranger's: what is nested too deeply, too long or no text at all is as unreadable as a page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Never

from mayfly.core.quantities import number
from mayfly.edge.faults import Passing, Refused

ENTRIES = 2_000  # of a list that has no pages
# Of a list over all of its pages. In memory it takes ten times the room.
PAGES_MOST, ENTRIES_MOST, SIZE_MOST = 500, 10_000, 8 * 1024 * 1024
STALE_MOST = 100  # of them that bring nothing new
# objects and lists of one page; the largest that a service sends has some thousands
INNER_MOST = 50_000


def mapping(value: object) -> Mapping[str, object]:
    """The JSON object; ``Passing`` where the service sent something else."""
    if isinstance(value, dict):
        return value
    raise _unexpected("an object", value)


def items(value: object) -> list[object]:
    """The JSON array; ``Passing`` where the service sent something else."""
    found = _listed(value)
    if len(found) > ENTRIES:
        raise Passing(
            f"the service answered with a list of {len(found)} entries; it is asked again", 30.0
        )
    return found


def _listed(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    raise _unexpected("a list", value)


class Pages:
    """A list that comes in pages, of entries with an ``id``: cut short it would say of those behind that they
    are not there. One that is too long is ``Refused``, one that goes in circles ``Passing``.
    """

    def __init__(self) -> None:
        self.count = self.seen = self._size = self._stale = 0
        self._known: set[object] = set()

    def entries(self, content: bytes, listed: object) -> list[Mapping[str, object]]:
        """The objects of one more page, which was read from ``content``."""
        found = [mapping(entry) for entry in _listed(listed)]
        self.count += 1
        self.seen += len(found)
        self._size += len(content)
        new = {entry["id"] for entry in found if isinstance(entry.get("id"), int)} - self._known
        self._known |= new
        self._stale += not new
        if self._stale > STALE_MOST:
            raise Passing(
                f"the service answered with a list of which {STALE_MOST} pages bring nothing new; it is "
                "asked again",
                30.0,
            )
        for amount, most, what in (
            (self.count, PAGES_MOST, "pages"),
            (self.seen, ENTRIES_MOST, "entries"),
            (self._size, SIZE_MOST, "bytes"),
        ):
            if amount > most:
                raise Refused(
                    f"the service's list of this place has more than {most} {what}, too many to be read: "
                    "point the pool at a narrower place (a repository instead of its organisation, an agent "
                    "pool of its own), or delete entries there that nobody uses"
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


def _float(digits: str) -> float:
    value = float(digits)
    return value if number(value) is not None else _unbounded(digits)


def _integer(digits: str) -> int:
    value = int(digits)
    return value if number(value) is not None else _unbounded(digits)


def _unbounded(digits: str) -> Never:
    raise ValueError(f"a number without bounds: {digits[:20]}")


class Garbage:
    """A body that is not JSON; ``page`` where it looks like HTML."""

    __slots__ = ("page",)

    def __init__(self, page: bool) -> None:
        self.page = page


def parsed(content: bytes) -> object:
    """The JSON; ``None`` of nothing, ``Garbage`` of anything else.

    A number in it is finite, and of 64 bits: no sum or product of two of them leads out of a ``float``.
    """
    if not content.strip():
        return None
    if content.count(b"{") + content.count(b"[") > INNER_MOST:
        return Garbage(page=False)
    try:
        value = json.loads(
            content, parse_float=_float, parse_int=_integer, parse_constant=_unbounded
        )
        if b"\\ud" in content or b"\\uD" in content:
            json.dumps(value, ensure_ascii=False).encode()  # half a character is no text
    except (ValueError, RecursionError):
        return Garbage(content.lstrip()[:1] == b"<")
    return value
