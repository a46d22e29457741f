"""Conditions of slots and pools whose jobs fail one after the other.

Pure. A slot is named where jobs that began meanwhile in other slots of its pool succeed; where none does,
nothing speaks against one slot, and the pool is named. Both end with the next job that succeeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mayfly.core.conditions import grouped
from mayfly.core.failed_runs import stands_out
from mayfly.core.memory import FailedRun
from mayfly.core.model import Condition, PoolName, Severity
from mayfly.core.slots import SlotStatus, within

ALL = 10  # jobs of a pool that failed in a row before that is told
RECENT = 3600.0  # seconds after the last of them that it is told
SHOWN = len("GPU-") + 8  # characters of a UUID, as many as tell GPUs apart

Run = tuple[SlotStatus, FailedRun]


def job_conditions(rows: Iterable[SlotStatus], now: float) -> list[Condition]:
    """A condition for each slot that fails its jobs, and for each pool whose jobs all fail."""
    pools: dict[PoolName, list[SlotStatus]] = {}
    for row in rows:
        if row.configured:
            pools.setdefault(row.spec.pool.name, []).append(row)
    found: list[tuple[Condition, str]] = []
    whole: list[Condition] = []
    for pool, members in pools.items():
        runs = [
            (row, run)
            for row in members
            if row.memory.cordon is None
            and (run := row.memory.failed_run) is not None
            and run.fingerprint == row.spec.fingerprint
        ]
        found += [_of_slot(row, run) for row, run in runs if stands_out(run)]
        if not any(run.others_succeeded for _, run in runs):
            whole += _of_pool(pool, len(members), runs, now)
    return [*grouped(found), *whole]


def _of_slot(row: SlotStatus, run: FailedRun) -> tuple[Condition, str]:
    name, others = row.spec.name, run.others_succeeded + run.others_failed
    lease = [uuid[:SHOWN] for uuid in row.spec.lease]
    gpus = f" ({', '.join(lease)})" if lease else ""
    how = run.how if run.alike else f"the last one {run.how}"
    text = (
        f"the last {run.jobs} jobs in slot {name}{gpus} failed, {how}, while {run.others_succeeded} of"
        f" {others} that began meanwhile in other slots of pool {row.spec.pool.name} succeeded"
    )
    fix = f"mayfly cordon {name}"
    condition = Condition(
        "slot.failing_jobs", Severity.ERROR, text, fix, row.spec.pool.name, (name,)
    )
    return condition, f"{how}{gpus}"


def _of_pool(pool: PoolName, slots: int, runs: Sequence[Run], now: float) -> list[Condition]:
    recent = [(row, run) for row, run in runs if within(now, run.last, RECENT)]
    jobs = sum(run.jobs for _, run in recent)
    if jobs < ALL:
        return []
    row, last = max(recent, key=lambda one: one[1].last)
    alike = all(run.alike and run.how == last.how for _, run in recent)
    how = last.how if alike else f"the last one {last.how}"
    where = f"in {len(recent)} of its {slots} slots" if slots > 1 else f"in slot {row.spec.name}"
    text = (
        f"the last {jobs} jobs of pool {pool} failed, {how}, {where}, and none succeeded meanwhile"
    )
    fix = f"mayfly logs {row.spec.name} --previous"
    return [Condition("pool.failing_jobs", Severity.WARNING, text, fix, pool)]
