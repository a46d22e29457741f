"""What the health gate's checks have found, as lines under ``mayfly status`` and as rows of metrics.

Pure. One line stands for all GPUs of which a check says the same. What holds a slot is said of the slot;
here is what only warns, and what speaks against a GPU that no slot has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from mayfly.core import gpu_checks as checks
from mayfly.core.gpu_checks import CheckSeverity, GpuFinding
from mayfly.core.model import Condition, GpuVerdict, Severity, SlotName

_XIDS = frozenset({checks.XID, checks.XID_NOTICE, checks.XID_APPLICATION})


def all_found(
    findings: Iterable[GpuFinding], verdicts: Mapping[SlotName, GpuVerdict]
) -> tuple[GpuFinding, ...]:
    """What was found on the devices, and what jobs have left on them, each once."""
    found = list(findings)
    for verdict in verdicts.values():
        found += verdict.warnings
        sick = verdict.sick
        if sick is not None and verdict.code is not None and verdict.device is not None:
            found.append(
                GpuFinding(verdict.code, verdict.device, sick, CheckSeverity.HOLD, verdict.healable)
            )
    by_text = {(one.code, one.uuid, one.text): one for one in reversed(found)}
    return tuple(reversed(by_text.values()))


def conditions(found: Iterable[GpuFinding], leased: Collection[str]) -> list[Condition]:
    """The lines; ``leased`` has the devices of all slots."""
    by_code: dict[str, list[GpuFinding]] = {}
    for one in found:
        if one.severity is CheckSeverity.WARN or one.uuid not in leased:
            by_code.setdefault(one.code, []).append(one)
    return [_line(code, those) for code, those in by_code.items()]


def _line(code: str, found: list[GpuFinding]) -> Condition:
    others = len({one.uuid for one in found}) - 1
    more = f" (and so of {others} more)" if others else ""
    fix = "sudo dmesg | grep -i -e nvrm -e xid" if code in _XIDS else "mayfly gpus"
    return Condition(code, Severity.WARNING, found[0].text + more, fix)
