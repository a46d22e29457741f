"""A process around ``edge.gpus`` that a test talks to by lines: read, close, watch, ask, latest, since.

NVML's library is found when a process starts, so the stub needs one of its own. ``checks SETTINGS`` begins to
judge by these settings, as JSON of ``[host.gpu_checks]``; ``found SECONDS`` reads as if it were then, and
tells what the checks find. ``retried UUID`` forgives a device.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from mayfly.core.gpu_checks import CheckTable
from mayfly.core.gpu_health import forgiven
from mayfly.core.gpus import Gpus
from mayfly.edge.gpu_check_values import settings
from mayfly.edge.gpus import GpuWatch, Session


def main() -> None:
    """Answer each line with one line of JSON."""
    session, watch = Session(), GpuWatch(lambda reading: None, every=60.0)
    gpus = Gpus()
    for line in sys.stdin:
        told: object = None
        word, _, rest = line.strip().partition(" ")
        match word:
            case "checks":
                gpus = Gpus(table=CheckTable(settings(json.loads(rest))))
            case "found":
                seen = dataclasses.replace(session.read(), began=float(rest))
                gpus = gpus.read(seen)
                told = [dataclasses.asdict(one) for one in gpus.findings]
            case "retried":
                records = forgiven(gpus.records, [rest], gpus.known or (), gpus.reading)
                gpus = dataclasses.replace(gpus, records=records)
            case "read":
                told = dataclasses.asdict(session.read())
            case "close":
                session.close()
            case "watch":
                watch.start()
            case "ask":
                watch.ask()
            case "latest":
                told = dataclasses.asdict(watch.latest) if watch.latest is not None else None
            case "since":
                told = watch.since
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
