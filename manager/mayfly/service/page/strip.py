"""Seven days of each GPU as a strip: how much of each two hours an agent with an open gate had it.

Read from the history by one question for all, whose rows are bounded; done again once a minute at most,
whoever asks. Where there were more agents than are read, the strip says from when on it is known.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

DAY = 86400.0
DAYS = 7
PIECE = 7200.0  # seconds of one piece of the strip
PIECES = int(DAYS * DAY / PIECE)
MOST = 50_000  # agents that are read
DEVICES = 64  # that are shown
AGAIN = 60.0


@dataclass(frozen=True, slots=True)
class Stint:
    """Some GPUs in one agent's hands, from its gate's opening to its end."""

    opened: float
    exited: float
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """Of one GPU: of each piece, the oldest first, how much of it was used: 0 to 1."""

    pieces: tuple[float, ...]

    @property
    def share(self) -> float:
        """Of all the time."""
        return sum(self.pieces) / len(self.pieces)


@dataclass(frozen=True, slots=True)
class Week:
    """Of all GPUs; ``known``: what was before it, was not looked at."""

    begins: float
    known: float
    strips: Mapping[str, Strip]


def first_piece(now: float) -> float:
    """When the strip begins: at a whole piece, so that the last one is the one that runs now."""
    return (now // PIECE + 1 - PIECES) * PIECE


def week(stints: Sequence[Stint], now: float, *, whole: bool = True) -> Week:
    """The strips of the GPUs that had work; ``stints`` newest end first, ``whole``: they are all."""
    begins = first_piece(now)
    known = begins if whole or not stints else max(begins, stints[-1].exited)
    used: dict[str, list[list[tuple[float, float]]]] = {}
    for stint in stints:
        for uuid in stint.gpus:
            _mark(used.setdefault(uuid, [[] for _ in range(PIECES)]), stint, begins)
    return Week(
        begins,
        known,
        {
            uuid: Strip(tuple(map(_share, pieces)))
            for uuid, pieces in sorted(used.items())[:DEVICES]
        },
    )


def _mark(pieces: list[list[tuple[float, float]]], stint: Stint, begins: float) -> None:
    start, end = max(stint.opened, begins), min(stint.exited, begins + PIECES * PIECE)
    at = int((start - begins) // PIECE)
    while start < end and at < PIECES:
        stop = min(end, begins + (at + 1) * PIECE)
        pieces[at].append((start, stop))
        start, at = stop, at + 1


def _share(spans: Iterable[tuple[float, float]]) -> float:
    """What the spans cover of a piece: two agents at once on a shared GPU are no more than one."""
    covered, until = 0.0, 0.0
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return min(1.0, covered / PIECE)


class Reader(Protocol):
    """Who has the history."""

    def gpu_stints(
        self, since: float, limit: int
    ) -> Sequence[tuple[float, float, tuple[str, ...]]]:
        """Of the agents with GPUs that ended since, newest first: opened, ended, which GPUs."""


class Stints:
    """What was read last of the history, for all who look."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._at = -AGAIN
        self._stints: tuple[Stint, ...] = ()
        # So that one of many reads: docs/adr/0051.
        self._lock = threading.Lock()

    def last(self, now: float, steady: float) -> tuple[tuple[Stint, ...], bool]:
        """The stints of seven days, newest end first, and whether they are all; a minute old at most."""
        with self._lock:
            if steady - self._at >= AGAIN:
                rows = self._read.gpu_stints(first_piece(now), MOST)
                self._stints = tuple(Stint(*row) for row in rows)
                self._at = steady
            return self._stints, len(self._stints) < MOST
