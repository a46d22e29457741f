"""Requests by the million: `python -m tests.core.admission --requests 1000000`; prints what became of them.

Each has a number: where one goes out that names what is not the agent's, or a bug answers, the number
and the request are printed, and the exit is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from random import Random

from tests.core.admission.mutations import request
from tests.core.admission.test_admission_laws import judged


def main() -> int:
    """Run it; 1 where the law does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.core.admission", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    given = parser.parse_args()
    seen: Counter[str] = Counter()
    began = time.monotonic()
    for number in range(given.first, given.first + given.requests):
        try:
            seen[type(judged(Random(number))).__name__] += 1
        except Exception:
            print(f"request {number}:", *request(Random(number))[1:], file=sys.stderr)
            raise
    told = ", ".join(f"{count:,} {name}" for name, count in sorted(seen.items()))
    print(f"{given.requests:,} requests in {time.monotonic() - began:.0f} s: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
