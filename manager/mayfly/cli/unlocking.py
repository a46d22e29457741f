"""``gpus unlock``: give back the clocks that a manager which is gone has locked, for jobs that have ended.

It asks the state file which those are, and the kernel whether anything of the job is left; what runs keeps
its clocks, unless a person forces it. It records nothing but that: the next manager unlocks them again, and
records it. Where a manager runs they are its own to unlock, since it may be locking them for the next job;
only those that it has not got rid of for a while are unlocked beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from mayfly.core.bench_lane import stays_locked
from mayfly.core.memory import ClockLock, Memory
from mayfly.core.model import Config, Generation, SlotName
from mayfly.edge import clocks_let_go
from mayfly.edge.faults import Fault, Refused
from mayfly.edge.gpu_clocks import GpuClocks, is_at_work
from mayfly.edge.history_file import is_there
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.state_lock import is_managed


def unlocked(config: Config, *, force: bool) -> tuple[list[str], bool]:
    """What became of each slot's clocks, a line each, and whether all of them are the driver's now.

    ``Refused`` where they are to be forced beside a manager that runs.
    """
    state_dir = Path(config.host.state_dir)
    managed = is_managed(state_dir)
    if managed and force:
        raise Refused(
            "a manager runs and unlocks clocks once their job has ended: end it by `mayfly cancel JOB`, or "
            "stop the manager before (`sudo systemctl stop mayfly`)"
        )
    memory = _remembered(state_dir) if is_there(state_dir) else Memory()
    locks = {name: known.clocks for name, known in memory.slots.items() if known.clocks is not None}
    clocks = GpuClocks()
    lines: list[str] = []
    every = True
    for name, lock in locks.items():
        gpus = ", ".join(lock.gpus)
        kept = _kept(memory, name, lock, force=force, managed=managed)
        if kept is not None:
            lines.append(f"{name}: {kept} the clocks of {gpus} stay locked")
            every = False
            continue
        try:
            if force:
                _note_what_runs(state_dir, memory, name, locks)
            clocks.unlock(lock.gpus, lock.driver, memory=lock.memory_clock is not None)
        except Fault as fault:
            lines.append(f"{name}: the clocks of {gpus} are not unlocked: {fault}")
            every = False
        else:
            lines.append(f"{name}: the clocks of {gpus} are unlocked")
    return lines or ["no clocks are locked"], every


def _kept(
    memory: Memory, name: SlotName, lock: ClockLock, *, force: bool, managed: bool
) -> str | None:
    """Why the clocks are left as they are, as the beginning of a sentence; ``None``: they are not."""
    if managed and not stays_locked(memory, name, lock, time.time()):
        return "the manager runs and unlocks them once its job has ended, until then"
    if not force and _runs(memory, lock):
        return "its job runs, so"
    return None


def _runs(memory: Memory, lock: ClockLock) -> bool:
    agent = memory.agents.get(lock.generation)
    return is_at_work(agent.container if agent is not None else None, lock.generation)


def _note_what_runs(
    state_dir: Path, memory: Memory, name: SlotName, locks: Mapping[SlotName, ClockLock]
) -> None:
    """That a job's clocks are given back while it runs is to stand in its record."""
    if _runs(memory, locks[name]):
        clocks_let_go.note(state_dir, locks[name].generation, set(_agents(locks)))


def _agents(locks: Mapping[SlotName, ClockLock]) -> Iterator[Generation]:
    return (lock.generation for lock in locks.values())


def _remembered(state_dir: Path) -> Memory:
    reader = HistoryReader(state_dir)
    try:
        return reader.memory()
    finally:
        reader.close()
