"""The soak from the command line: `python -m tests.chaos --jobs 400 --seed 1`.

Exit 1 where the accounts do not fit.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.chaos.container_soak import ContainerSoak
from tests.chaos.soak import Soak
from tests.engine.private_engine import sweep_up, why_not


def main() -> int:
    """Run it and print its figures."""
    does = "Jobs while all else fails at random, then the accounts."
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=does)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument(
        "--burst", type=int, default=6, help="at most so many jobs are sent between two troubles"
    )
    parser.add_argument(
        "--no-live-restore", action="store_true", help="an Engine that ends its containers with it"
    )
    parser.add_argument(
        "--engine-left-alone", action="store_true", help="the Engine itself does not fail"
    )
    parser.add_argument(
        "--containers", action="store_true", help="jobs have containers of their own, and a gateway"
    )
    given = parser.parse_args()
    if (why := why_not()) is not None:
        print(why, file=sys.stderr)
        return 1
    sweep_up()
    print(
        f"{given.jobs} jobs through {given.slots} slots, seed {given.seed}",
        file=sys.stderr,
        flush=True,
    )
    kind = ContainerSoak if given.containers else Soak
    accounts = kind(
        given.jobs, given.seed, slots=given.slots, burst=given.burst,
        live_restore=not given.no_live_restore, engine=not given.engine_left_alone,
        tell=lambda text: print(f"· {text}", file=sys.stderr, flush=True),
    ).run()  # fmt: skip
    width = max(len(name) for name, _ in accounts.figures)
    for name, figure in accounts.figures:
        print(f"{name:<{width}}  {figure}")
    for fault in accounts.faults:
        print(f"FAULT  {fault}")
    if accounts.faults:
        kept = Path("build") / f"soak-{given.seed}.log"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(accounts.log)
        print(f"the managers' log is in {kept}", file=sys.stderr)
    return 1 if accounts.faults else 0


if __name__ == "__main__":
    sys.exit(main())
