"""From a job that a scale set is offered to its launcher's first instruction, beside a whole ``docker run``.

The fake service is on this host, so calls cost next to nothing: what is measured is Mayfly's part, five calls
of loopback included (the message, taking the job on, the runner, and two waits between them).
"""

from __future__ import annotations

import subprocess
import time
from datetime import datetime
from typing import Any

from tests.bench.figures import Figure, median, p95
from tests.bench.slot_gap import COARSE, IMAGE
from tests.engine.private_engine import PrivateEngine
from tests.harness import until
from tests.providers.scaleset_pool import ScaleSetPool, scaleset_pool

ROUNDS = 14


def measure(engine: PrivateEngine, rounds: int = ROUNDS) -> list[Figure]:
    """One slot, one job after the other, each once the slot's agent stands at its gate."""
    taken, ran = [], []
    with scaleset_pool(engine) as pool:
        pool.configure(1)
        pool.manager.start(wait=None)
        until(pool.manager.answers, "the manager answers")
        _round(pool)  # the first finds cold caches
        for _ in range(rounds):
            taken.append(_round(pool))
            ran.append(_run(engine))
    return [
        Figure(
            name="scaleset_handover",
            what="job offered by a scale set to its launcher, standby on",
            value=median(taken) * 1000,
            unit="ms",
            beside="docker run",
            beside_value=median(ran) * 1000,
            p95=p95(taken) * 1000,
            n=len(taken),
            more={"beside_p95": p95(ran) * 1000},
        )
    ]


def _round(pool: ScaleSetPool) -> float:
    def ready() -> bool:
        (row,) = pool.manager.json("status")["slots"]
        one = pool.fake.the_set("box-gh")
        listens = one is not None and one.session is not None
        return listens and row["phase"] == "armed" and not pool.fake.runners

    until(ready, "the slot's agent stands at its gate")
    began = time.time()
    job = pool.fake.queue_job("true")
    until(lambda: job.state == "completed", "its job is done")

    def opened() -> str | None:
        rows = [row for row in _rows(pool) if row["agent"] in (job.runner or "")]
        return next((row["opened"] for row in rows if row.get("opened")), None)

    # By the time of a file, which the kernel takes from its last tick.
    told = until(opened, "its agent's life is told")
    return datetime.fromisoformat(told).timestamp() + time.clock_getres(COARSE) / 2 - began


def _rows(pool: ScaleSetPool) -> list[dict[str, Any]]:
    told = pool.manager.json("history", "--limit", "50")
    rows: list[dict[str, Any]] = next(one for one in told.values() if isinstance(one, list))
    return rows


def _run(engine: PrivateEngine) -> float:
    began = time.time()
    words = ["docker", "-H", engine.url, "run", "--rm", "--init", "--entrypoint", "date", IMAGE]
    done = subprocess.run([*words, "+%s.%N"], capture_output=True, text=True, check=True)
    return float(done.stdout) - began
