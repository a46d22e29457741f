"""One job of a pipeline with everything filled in, as whoever writes it down for a service gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Task:
    """What is to run, where, and after what."""

    name: str
    # which job of the file it is
    job: str
    script: str
    # how many others at most end before it, one after the other
    wave: int = 0
    # what was captured, and its cell of the matrix
    values: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    tags: tuple[str, ...] = ()
    pool: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None  # seconds
    artifacts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()  # names
    # what only the service that it is written for understands
    own: Mapping[str, object] = field(default_factory=dict)

    @property
    def minutes(self) -> int | None:
        """Its ``timeout`` for a service that counts in minutes: 1 or more; ``None``: the file says none."""
        return None if self.timeout is None else max(1, round(self.timeout / 60))
