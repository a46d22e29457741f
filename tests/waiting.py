"""How a test waits for what it can see, and what is left of a wait that it did not sit out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar

import pytest

T = TypeVar("T")


class Until(Protocol):
    """``until(look, seconds=120)``: looks again and again; returns the first truth it sees."""

    def __call__(
        self, look: Callable[[], T | Literal[False] | None], seconds: float = 120
    ) -> T: ...


def pause(began: float) -> None:
    """Sleep between two looks of a wait that began then (monotonic): the longer it has lasted, the longer.

    Many wait at once on a machine with few cores, and each look takes time from what is waited for.
    """
    time.sleep(min(max(0.01, (time.monotonic() - began) / 8), 0.25))


def rest(seconds: float, began: float, slack: float = 1.5) -> Any:
    """Equal to what is left of a wait of so many seconds that began at or after ``began`` (monotonic)."""
    gone = time.monotonic() - began
    return pytest.approx(seconds - gone / 2, abs=gone / 2 + slack)
