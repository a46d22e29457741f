"""Leftovers: processes of agents that have ended, and that still hold a GPU; which of them Mayfly ends.

Pure. A pool that says ``heal`` has them ended; what is not known to be an agent's is never among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mayfly.core.gpu_health import Ours, Reading
from mayfly.core.model import SlotSpec
from mayfly.core.requests import EndLeftover
from mayfly.core.slots import within

AGAIN = 30.0  # seconds until one that did not end is told again to end


@dataclass(frozen=True, slots=True)
class Ending:
    """Which are to be ended now."""

    told: Mapping[int, float]  # when each was told to, by its number
    requests: tuple[EndLeftover, ...] = ()


def to_be_ended(
    specs: Iterable[SlotSpec],
    reading: Reading | None,
    ours: Ours,
    told: Mapping[int, float],
    now: float,
) -> Ending:
    """Of the GPUs of pools that heal theirs."""
    vitals = reading.vitals if reading is not None else {}
    after: dict[int, float] = {}
    requests: list[EndLeftover] = []
    for spec in specs:
        for uuid in spec.lease if spec.pool.heal == "reset" and spec.engine.on_this_host else ():
            for process in vitals[uuid].processes if uuid in vitals else ():
                if process.gone or ours.left(process) is None or process.pid in after:
                    continue
                last = told.get(process.pid)
                if last is not None and within(now, last, AGAIN):
                    after[process.pid] = last
                    continue
                after[process.pid] = now
                requests.append(EndLeftover(process.pid, uuid, process.container, process.agent))
    return Ending(after, tuple(requests))
