"""What is done to ended agents until it succeeds, ever more seldom: why it was in vain, and how often.

Pure. It ends by itself, once what is in the way is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from mayfly.core.actions import Clear, Forget
from mayfly.core.doubling import doubling
from mayfly.core.model import Generation, SlotName
from mayfly.core.stimuli import Failure

SOON = 1.0  # seconds between two tries, at first


@dataclass(frozen=True, slots=True)
class InVain:
    """Why something is not done yet."""

    slot: SlotName
    why: Failure
    tries: int


@dataclass(frozen=True, slots=True)
class Tries:
    """Those of one kind that were in vain so far; never changed in place."""

    SELDOM: ClassVar[float] = 60.0  # seconds between two of them, at most

    of: Mapping[Generation, InVain] = field(default_factory=dict)

    def tells_nothing_new(self, generation: Generation, failure: Failure) -> bool:
        """Whether that it failed so is known."""
        known = self.of.get(generation)
        return known is not None and known.why == failure

    def failed(self, action: Clear | Forget, failure: Failure) -> tuple[Self, float]:
        """It was tried in vain, and the seconds until the next try."""
        known = self.of.get(action.generation)
        tries = known.tries + 1 if known is not None else 1
        rest = failure.retry_after or doubling(SOON, self.SELDOM, tries)
        one = InVain(action.slot, failure, tries)
        return replace(self, of={**self.of, action.generation: one}), rest

    def done(self, generation: Generation) -> Self:
        """It has succeeded."""
        if generation not in self.of:
            return self
        return replace(self, of={name: one for name, one in self.of.items() if name != generation})
