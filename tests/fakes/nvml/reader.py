"""A process around ``edge.gpus`` that a test talks to by lines: read, close, watch, ask, latest, since.

NVML's library is found when a process starts, so the stub needs one of its own.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from mayfly.edge.gpus import GpuWatch, Session


def main() -> None:
    """Answer each line with one line of JSON."""
    session, watch = Session(), GpuWatch(lambda reading: None, every=60.0)
    for line in sys.stdin:
        told: object = None
        match line.strip():
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
