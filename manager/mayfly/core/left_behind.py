"""What ended agents have left on the host and Mayfly cannot remove: tried ever more seldom, and told once.

Pure. It ends by itself, once a person has made way; nothing else waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

from mayfly.core.in_vain import Tries
from mayfly.core.model import Condition, Severity
from mayfly.core.naming import witness_path

SPELT_OUT = 6  # places that a line to type names


@dataclass(frozen=True, slots=True)
class LeftBehind(Tries):
    """What is left of which agents."""

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
