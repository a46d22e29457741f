"""What ended agents have left on the host and Mayfly cannot remove: tried ever more seldom, and told once.

Pure. It ends by itself, once a person has made way; nothing else waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from shlex import quote

from mayfly.core.doubling import doubling
from mayfly.core.model import Condition, Generation, Severity
from mayfly.core.naming import witness_path
from mayfly.core.stimuli import Failure

SOON, SELDOM = 1.0, 60.0  # seconds between two tries: at first, and at most
SPELT_OUT = 6  # places that a line to type names


@dataclass(frozen=True, slots=True)
class Remains:
    """Why what an agent has left is still there."""

    why: Failure
    tries: int


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What is left of which agents; never changed in place."""

    of: Mapping[Generation, Remains] = field(default_factory=dict)

    def tells_nothing_new(self, generation: Generation, failure: Failure) -> bool:
        """Whether that it failed so is known."""
        known = self.of.get(generation)
        return known is not None and known.why == failure

    def failed(self, generation: Generation, failure: Failure) -> tuple[LeftBehind, float]:
        """It could not be removed, and the seconds until the next try."""
        known = self.of.get(generation)
        tries = known.tries + 1 if known is not None else 1
        rest = failure.retry_after or doubling(SOON, SELDOM, tries)
        return replace(self, of={**self.of, generation: Remains(failure, tries)}), rest

    def removed(self, generation: Generation) -> LeftBehind:
        """Nothing of the agent is left."""
        if generation not in self.of:
            return self
        return replace(self, of={name: one for name, one in self.of.items() if name != generation})

    def conditions(self, state_dir: str) -> list[Condition]:
        """One condition for all that needs a person."""
        stuck = [(name, one.why.text) for name, one in self.of.items() if one.why.lasting]
        if not stuck:
            return []
        (_, why), more = stuck[0], len(stuck) - 1
        others = f"; so it is with {more} more" if more else ""
        named = [witness_path(state_dir, name) for name, _ in stuck]
        places = " ".join(quote(path) for path in named[:SPELT_OUT])
        return [
            Condition(
                "state.left_behind",
                Severity.WARNING,
                f"an ended agent has left what cannot be removed: {why}{others}",
                f"sudo chattr -R -ia {places}; sudo rm -rf {places}",
            )
        ]
