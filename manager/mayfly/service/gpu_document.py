"""What ``mayfly gpus --json`` prints, made from what the loop published last.

Pure: values in, JSON-ready values out; without a manager it is made from one reading alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from mayfly.core.gpu_checks import GpuFinding
from mayfly.core.gpu_health import Reading, Vitals
from mayfly.core.leases import Gpu, Mig
from mayfly.core.memory import Heal
from mayfly.core.model import GpuVerdict, SlotName
from mayfly.core.quantities import rfc3339
from mayfly.edge.process_owner import Owner, owner_of

SCHEMA = "mayfly.gpus/1"
Findings: TypeAlias = dict[str, list[dict[str, str]]]  # by GPU's and MIG device's UUID
Holders: TypeAlias = dict[str, tuple[list[str], list[str]]]  # all slots, and those at work


def document(
    gpus: Iterable[Gpu] | None,
    reading: Reading | None,
    verdicts: Mapping[SlotName, GpuVerdict],
    leases: Mapping[SlotName, tuple[str, ...]],
    *,
    late: float | None = None,
    watched: bool = True,
    at_work: Collection[SlotName] = (),
    found: Iterable[GpuFinding] = (),
    heals: Mapping[str, Heal] = MappingProxyType({}),
) -> dict[str, object]:
    """The whole document; ``leases`` has what each slot holds, ``late`` since when NVML has not answered,
    ``at_work`` the slots whose agents have their GPUs now, ``found`` what checks have found, and
    ``heals`` the last reset of each GPU.
    """
    findings: Findings = {}
    for one in found:
        row = {"code": one.code, "severity": str(one.severity), "text": one.text}
        findings.setdefault(one.uuid, []).append(row)
    holders: Holders = {}
    for slot, lease in leases.items():
        for uuid in lease:
            slots, working = holders.setdefault(uuid, ([], []))
            slots.append(slot)
            if slot in at_work:
                working.append(slot)
    vitals = reading.vitals if reading is not None else {}
    return {
        "schema": SCHEMA,
        "watched": watched,
        "driver": (reading.driver or None) if reading is not None else None,
        "cuda": _version(reading.cuda) if reading is not None else None,
        "at": rfc3339(reading.began) if reading is not None else None,
        "late_since": rfc3339(late) if late is not None else None,
        "problem": _problem(reading, watched=watched),
        "gpus": [
            {**_gpu(gpu, vitals, holders, findings), "heal": _heal(heals.get(gpu.uuid))}
            for gpu in gpus or ()
        ],
        "slots": [_slot(slot, lease, verdicts.get(slot)) for slot, lease in leases.items()],
    }


def with_users(
    told: dict[str, object], of: Callable[[int], Owner | None] = owner_of
) -> dict[str, object]:
    """The document; a process that is of no agent has the ``user`` whose it is, and ``since`` when."""
    devices = _dicts(told["gpus"])
    devices += [part for gpu in devices for part in _dicts(gpu["mig"])]
    for process in (one for device in devices for one in _dicts(device["processes"])):
        found = of(int(str(process["pid"]))) if process["agent"] is None else None
        process["user"] = found.user if found is not None else None
        process["since"] = rfc3339(found.since) if found is not None else None
    return told


def _dicts(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _problem(reading: Reading | None, *, watched: bool) -> str | None:
    if reading is not None:
        return reading.problem
    return "NVML has not answered yet" if watched else None


def _gpu(
    gpu: Gpu, vitals: Mapping[str, Vitals], holders: Holders, findings: Findings
) -> dict[str, object]:
    own = vitals.get(gpu.uuid)
    return {
        "uuid": gpu.uuid,
        "index": gpu.index,
        "name": gpu.name,
        "compute": _version(gpu.capability),
        **_state(own, gpu.memory),
        **_holders(gpu.uuid, holders),
        "checks": findings.get(gpu.uuid, []),
        "split": gpu.split,
        "mig": [_part(part, vitals, holders, findings) for part in gpu.mig],
    }


def _heal(one: Heal | None) -> dict[str, object] | None:
    if one is None:
        return None
    return {
        "asked": rfc3339(one.asked),
        "by": one.by,
        "reason": one.reason,
        "began": rfc3339(one.began) if one.began is not None else None,
        "ended": rfc3339(one.ended) if one.ended is not None else None,
        "failure": one.failure,
    }


def _part(
    part: Mig, vitals: Mapping[str, Vitals], holders: Holders, findings: Findings
) -> dict[str, object]:
    return {
        "uuid": part.uuid,
        "profile": part.name,
        **_state(vitals.get(part.uuid), part.memory),
        **_holders(part.uuid, holders),
        "checks": findings.get(part.uuid, []),
    }


def _holders(uuid: str, holders: Holders) -> dict[str, object]:
    slots, working = holders.get(uuid, ([], []))
    return {"slots": slots, "at_work": working}


def _state(vitals: Vitals | None, memory: int) -> dict[str, object]:
    if vitals is None:
        return {
            "memory": memory,
            "used": None,
            "utilisation": None,
            "energy": None,
            "throttled": None,
            "temperature": None,
            "processes": [],
            "problem": "it is gone",
        }
    return {
        "memory": vitals.total or memory,
        "used": vitals.used,
        "utilisation": vitals.utilisation,
        "energy": vitals.energy / 1000 if vitals.energy is not None else None,
        "throttled": list(vitals.throttles) if vitals.throttles is not None else None,
        "temperature": vitals.temperature,
        "processes": [
            {
                "pid": process.pid,
                "memory": process.memory,
                "container": process.container,
                "agent": process.agent,
            }
            for process in vitals.processes
        ],
        "problem": vitals.problem,
    }


def _slot(slot: SlotName, lease: tuple[str, ...], verdict: GpuVerdict | None) -> dict[str, object]:
    health, text, code = "unknown", "", None
    if verdict is not None:
        health = "fit" if verdict.fit else "sick" if verdict.sick is not None else "waits"
        text, code = verdict.sick or verdict.text, verdict.code
    return {"slot": slot, "gpus": list(lease), "health": health, "text": text, "code": code}


def _version(version: tuple[int, int] | None) -> str | None:
    return f"{version[0]}.{version[1]}" if version is not None else None
