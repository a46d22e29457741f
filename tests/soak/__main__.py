"""`python -m tests.soak --provider github --jobs 200`: the soak by hand, with its figures."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from tests.soak.run import soak


def main() -> int:
    """Run it; 1 where something was left over or done twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", required=True)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    module = importlib.import_module(f"tests.soak.{given.provider}")
    print(
        f"provider {given.provider}, {given.jobs} jobs, {given.slots} slots, seed {given.seed}",
        flush=True,
    )
    with module.open_service() as service:
        report = soak(
            service,
            given.jobs,
            slots=given.slots,
            seed=given.seed,
            tell=lambda text: print(f"· {text}", flush=True),
        )
    print(report.text())
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
