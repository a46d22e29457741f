"""The laws over many steps: `python -m tests.core --steps 100000`; prints how many there were.

A step is one of: something fails, something ends, somebody asks for something, or the manager takes a turn.
Where a law does not hold, the shortest way there is printed, and the exit is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.core.test_laws import DAY, Chaos


class Counted(Chaos):
    """The same days, counted."""

    figures: ClassVar[Counter[str]] = Counter()

    def check_invariants(self, *arguments: Any, **more: Any) -> None:
        """Runs after each step."""
        self.figures["steps"] += 1
        super().check_invariants(*arguments, **more)

    def teardown(self) -> None:
        """Runs at the end of each day."""
        super().teardown()
        self.figures["days"] += 1
        self.figures["facts"] += len(self.manager.journal)
        self.figures["lives of the manager"] += self.manager.boots
        self.figures["jobs"] += self.manager.submitted


def _days(count: int) -> settings:
    return settings(
        max_examples=count,
        stateful_step_count=DAY,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )


def main() -> int:
    """Run it; 1 where a law does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.core", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    given = parser.parse_args()
    began = time.monotonic()
    try:
        while (left := given.steps - Counted.figures["steps"]) > 0:
            run_state_machine_as_test(Counted, settings=_days(-(-left // DAY)))
    except AssertionError as fault:
        print("\n".join(getattr(fault, "__notes__", [])), file=sys.stderr)
        print(f"a law does not hold: {fault}", file=sys.stderr)
        return 1
    finally:
        for what, count in Counted.figures.items():
            print(f"{what:<20}  {count}")
        print(f"{'seconds':<20}  {time.monotonic() - began:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
