"""What is kept of a host's idleness beside the history, which the loop's thread alone writes: how far an
episode has come, when somebody looked last, and the hours. One thread writes; whoever reads opens it anew.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mayfly.core.host_hours import QUARTER, Hours, Moment
from mayfly.edge.faults import Passing

NAME = "idle.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS hours (
    quarter INTEGER PRIMARY KEY, up REAL NOT NULL, idle REAL NOT NULL, away REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_ADD = """
INSERT INTO hours VALUES (?, ?, ?, ?) ON CONFLICT (quarter)
DO UPDATE SET up = up + excluded.up, idle = idle + excluded.idle, away = away + excluded.away
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the last manager has left."""

    moment: Moment
    stage: str = ""  # of its episode
    paused_at: float = 0.0  # when it was last about to run the command, on the wall clock; 0: never


class IdleRecord:
    """The file; ``Passing`` where the disk does not take or give it."""

    def __init__(self, state_dir: Path) -> None:
        self._place = state_dir / NAME

    def kept(self) -> Kept | None:
        """``None``: nothing was kept, or not by this version."""
        if not self._place.exists():
            return None
        with self._open() as db:
            row = db.execute("SELECT value FROM kept WHERE name = 'last'").fetchone()
        try:
            told = json.loads(row[0]) if row is not None else {}
            return Kept(**{**told, "moment": Moment(**told["moment"])})
        except (ValueError, KeyError, TypeError):
            return None

    def keep(self, kept: Kept, hours: Mapping[int, Hours], oldest: float) -> None:
        """Keep that, add those seconds, and forget what is older, on the wall clock."""
        rows = [(quarter, one.up, one.idle, one.away) for quarter, one in hours.items()]
        with self._open() as db, db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_ADD, rows)
            db.execute("DELETE FROM hours WHERE quarter < ?", (int(oldest // QUARTER),))
            db.execute(
                "INSERT OR REPLACE INTO kept VALUES ('last', ?)", (json.dumps(asdict(kept)),)
            )

    def hours(self, since: float, until: float) -> dict[int, Hours]:
        """The seconds of each quarter of an hour that begins between the two; none where none is kept."""
        if not self._place.exists():
            return {}
        wanted = (int(since // QUARTER), int(until // QUARTER))
        with self._open() as db:
            rows = db.execute("SELECT * FROM hours WHERE quarter BETWEEN ? AND ?", wanted)
            return {int(quarter): Hours(*seconds) for quarter, *seconds in rows}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            os.close(os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(self._place, timeout=5, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = FULL")
                db.executescript(_SCHEMA)
                yield db
        except (sqlite3.Error, OSError) as error:
            raise Passing(f"{self._place} cannot be used: {error}") from error
