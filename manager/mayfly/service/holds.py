"""What whoever lets people into held containers knows of these, read from the loop's state, which is a value.

Asked from the threads of the control socket; changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mayfly.core.held_jobs import held_words, until_words
from mayfly.core.memory import JobHold, Memory
from mayfly.core.model import Generation, JobId
from mayfly.core.quantities import spoken_age

WARNINGS = (900.0, 300.0, 60.0)  # seconds before its end at which whoever is in there is told


@dataclass(frozen=True, slots=True)
class Holds:
    """Those of the loop that runs."""

    memory: Callable[[], Memory]
    variables: Callable[[JobId], Mapping[str, str]]
    now: Callable[[], float]

    def of(self, generation: Generation) -> JobHold | None:
        """How that agent is held; ``None``: it is not."""
        agent = self.memory().agents.get(generation)
        return agent.hold if agent is not None and agent.is_held else None

    def words(self, generation: Generation) -> str | None:
        """``held for ann until 14:05``; ``None``: it is not held."""
        hold = self.of(generation)
        if hold is None:
            return None
        return held_words(hold, self.now())


class Warnings:
    """What whoever is in a held container is to be told now; used by one thread."""

    def __init__(self, holds: Holds, generation: Generation) -> None:
        self._holds = holds
        self._generation = generation
        hold = holds.of(generation)
        left = hold.until - holds.now() if hold is not None else 0.0
        self._told = self._step(left)

    def due(self) -> str | None:
        """A sentence, once for each time that it is due."""
        hold = self._holds.of(self._generation)
        if hold is None:
            return None
        left = hold.until - self._holds.now()
        step, before = self._step(left), self._told
        self._told = step
        if step >= before:  # it was extended, or nothing new is due
            return None
        agent = self._holds.memory().agents.get(self._generation)
        name = (agent.job or agent.slot) if agent is not None else ""
        until = until_words(hold.until, self._holds.now())
        more = f"mayfly attach {name} --extend 30m"
        return f"this ends at {until}, in {spoken_age(left)}; for more time: {more}"

    @staticmethod
    def _step(left: float) -> int:
        """How many of the warnings are still to come."""
        return sum(left > one for one in WARNINGS)
