"""The health gate: whether the GPUs of a slot may be given to its next agent.

Pure: judges what NVML said and asks it nothing. It tells three things apart: fit; sick, which holds the slot
until that is over or a person has seen to the GPU; and not known yet, which opens no gate and holds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mayfly.core.gpu_checks import CheckSeverity, CheckTable, GpuFinding
from mayfly.core.gpu_findings import left_behind, on_device
from mayfly.core.gpu_health import RECHECK, Ours, Reading, Record, Tenant
from mayfly.core.leases import Gpu
from mayfly.core.model import GpuVerdict, Pending

DEFAULTS = CheckTable()


def judge(
    tenant: Tenant,
    reading: Reading | None,
    records: Mapping[str, Record],
    gpus: Sequence[Gpu],
    ours: Ours,
    table: CheckTable = DEFAULTS,
) -> GpuVerdict:
    """The word on a slot's GPUs."""
    if reading is None:
        return GpuVerdict(pending=Pending.NO_ANSWER, text="NVML has not answered yet")
    if reading.problem is not None:
        return GpuVerdict(pending=Pending.NO_ANSWER, text=reading.problem)
    found = [
        finding
        for uuid in tenant.lease
        for finding in on_device(uuid, reading, records, gpus, table)
    ]
    holds, warnings = _parted(found)
    if holds:
        return _sick(holds, warnings)
    if tenant.at_work:
        return GpuVerdict(fit=True, warnings=warnings)
    if reading.began < tenant.since:
        text = "NVML has not been asked since the last job ended"
        return GpuVerdict(pending=Pending.NOT_ASKED, text=text, warnings=warnings)
    left = [
        finding
        for uuid in tenant.lease
        for finding in left_behind(uuid, reading, records, gpus, ours, table, share=tenant.share)
    ]
    holds, further = _parted(left)
    warnings = (*warnings, *further)
    if not holds:
        return GpuVerdict(fit=True, warnings=warnings)
    if reading.began < tenant.since + RECHECK:
        first = holds[0]
        return GpuVerdict(
            pending=Pending.UNCLEAN,
            text=first.text,
            code=first.code,
            device=first.uuid,
            warnings=warnings,
        )
    return _sick(holds, warnings)


def _sick(holds: Sequence[GpuFinding], warnings: tuple[GpuFinding, ...]) -> GpuVerdict:
    first = holds[0]
    return GpuVerdict(
        sick=first.text,
        returns=first.returns,
        code=first.code,
        device=first.uuid,
        healable=all(one.healable for one in holds),
        warnings=warnings,
    )


def _parted(found: Sequence[GpuFinding]) -> tuple[list[GpuFinding], tuple[GpuFinding, ...]]:
    """What holds the slot, and what is only shown, each once."""
    holds = [one for one in found if one.severity is CheckSeverity.HOLD]
    warnings = (one for one in found if one.severity is CheckSeverity.WARN)
    return holds, tuple(dict.fromkeys(warnings))
