"""``gpus unlock``: give back the clocks that a manager which is gone has locked, for jobs that have ended.

It asks the state file which those are, and the kernel whether anything of the job is left; what runs keeps
its clocks, unless a person forces it. It records nothing: the next manager unlocks them again, and records
that.
"""

from __future__ import annotations

from pathlib import Path

from mayfly.core.memory import Memory
from mayfly.core.model import Config
from mayfly.edge.faults import Fault
from mayfly.edge.gpu_clocks import GpuClocks, is_at_work
from mayfly.edge.history_file import FILE_NAME
from mayfly.edge.history_reader import HistoryReader


def unlocked(config: Config, *, force: bool) -> tuple[list[str], bool]:
    """What became of each slot's clocks, a line each, and whether all of them are the driver's now."""
    state_dir = Path(config.host.state_dir)
    memory = _remembered(state_dir) if (state_dir / FILE_NAME).exists() else Memory()
    clocks = GpuClocks()
    lines: list[str] = []
    every = True
    for name, known in memory.slots.items():
        lock = known.clocks
        if lock is None:
            continue
        gpus = ", ".join(lock.gpus)
        agent = memory.agents.get(lock.generation)
        container = agent.container if agent is not None else None
        if not force and is_at_work(container, lock.generation):
            lines.append(f"{name}: its job runs, so the clocks of {gpus} stay locked")
            every = False
            continue
        try:
            clocks.unlock(lock.gpus, lock.driver, memory=lock.memory_clock is not None)
        except Fault as fault:
            lines.append(f"{name}: the clocks of {gpus} are not unlocked: {fault}")
            every = False
        else:
            lines.append(f"{name}: the clocks of {gpus} are unlocked")
    return lines or ["no clocks are locked"], every


def _remembered(state_dir: Path) -> Memory:
    reader = HistoryReader(state_dir)
    try:
        return reader.memory()
    finally:
        reader.close()
