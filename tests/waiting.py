"""The type of the fixture `until`, with which a test waits for what it can see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

T = TypeVar("T")


class Until(Protocol):
    """``until(look, seconds=10)``: looks again and again; returns the first truth it sees."""

    def __call__(self, look: Callable[[], T | Literal[False] | None], seconds: float = 10) -> T: ...
