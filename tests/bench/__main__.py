"""``python -m tests.bench [--only ROW]…``: measures, prints the table, writes ``build/bench.json``.

With ``--only`` the figures of the other rows stay in the file as they were.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tests.bench import (
    containers,
    deciding,
    hostile,
    idle,
    kept_network,
    kubernetes_calls,
    kubernetes_gap,
    queued,
    scaleset_handover,
    slot_gap,
    throughput,
)
from tests.bench.figures import Figure, table
from tests.engine.private_engine import PrivateEngine, sweep_up, why_not

WRITTEN = Path(__file__).parents[2] / "build" / "bench.json"
Engine = Callable[[], PrivateEngine]
# In this order: the quietest host for what is measured in milliseconds.
ROWS: dict[str, Callable[[Engine], list[Figure]]] = {
    "slot_gap": lambda engine: slot_gap.measure(engine()),
    "slot_gap_gpu": lambda engine: slot_gap.measure_with_gpu(engine()),
    "slot_gap_among": lambda engine: slot_gap.measure_among(engine()),
    "throughput": lambda engine: throughput.measure(engine()),
    "queued": lambda engine: queued.measure(engine()),
    "kept_network": lambda engine: kept_network.measure(engine()),
    "hostile": lambda engine: hostile.measure(engine()),
    "hostile_each": lambda engine: hostile.measure_each(engine()),
    "decide": lambda engine: deciding.measure(),
    "idle": lambda engine: idle.measure(engine()),
    "scaleset_handover": lambda engine: scaleset_handover.measure(engine()),
    "breakdown": lambda engine: slot_gap.breakdown(engine()),
    "containers": lambda engine: containers.measure(),
    "containers_call": lambda engine: containers.measure_calls(),
    "gateway": lambda engine: containers.measure_gateway(),
    "kubernetes_gap": lambda engine: kubernetes_gap.measure(),
    "kubernetes_calls": lambda engine: kubernetes_calls.measure(),
}
# Measured where --only names it: a Kubernetes is built first; each kind by itself takes twenty-five minutes;
# clients, and an Engine that is new enough for them, are fetched first.
ASKED = frozenset({"kubernetes_gap", "kubernetes_calls", "hostile_each", "containers_call"})


def main() -> int:
    """Measure what was asked for. A goal missed is a figure, not an error."""
    asked = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    asked.add_argument(
        "--only", action="append", choices=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    asked.add_argument("--into", type=Path, default=WRITTEN, help="the file to write")
    given = asked.parse_args()
    obstacle = why_not()
    if obstacle is not None:
        print(f"bench: {obstacle}", file=sys.stderr)
        return 2
    sweep_up()
    if given.only is None:
        given.into.unlink(missing_ok=True)
    figures: list[Figure] = []
    with ExitStack() as stack:

        @cache
        def engine() -> PrivateEngine:
            return stack.enter_context(PrivateEngine())

        for name in given.only or [row for row in ROWS if row not in ASKED]:
            began = time.monotonic()
            print(f"· {name}", file=sys.stderr, flush=True)
            fresh = ROWS[name](engine)
            _write(given.into, fresh)
            figures += fresh
            print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(figures))
    return 0


def _write(path: Path, figures: list[Figure]) -> None:
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= {figure.name: figure.json() for figure in figures}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
