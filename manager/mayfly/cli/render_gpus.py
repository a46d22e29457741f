"""``mayfly gpus`` as text: pure, a row a GPU or MIG device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mayfly.cli.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADINGS = ("GPU", "NAME", "CC", "MEMORY", "USED", "LOAD", "SLOT", "UUID", "NOTE")
GIB = 2**30


def gpus(document: dict[str, Any], width: int | None) -> list[str]:
    """The driver's line, the table, and a line for all that is wrong."""
    lines = [_headline(document)]
    rows = [row for gpu in document["gpus"] for row in _rows(gpu)]
    if rows:
        lines += ["", *table(HEADINGS, rows, width)]
    ill = [slot for slot in document["slots"] if slot["health"] in {"sick", "waits"}]
    if ill:
        lines.append("")
        lines += [f"slot {slot['slot']} {_verb(slot)}: {slot['text']}" for slot in ill]
    told = {slot["text"] for slot in ill}
    devices = [part for gpu in document["gpus"] for part in (gpu, *gpu["mig"])]
    found = [one for device in devices for one in device.get("checks", ())]
    further = dict.fromkeys(
        f"{one['code']}: {one['text']}" for one in found if one["text"] not in told
    )
    return [*lines, "", *further] if further else lines


def heal_plan(document: dict[str, Any]) -> list[str]:
    """What a reset of a GPU would take, a line each."""
    gpu, together = document["gpu"], document["together"]
    lines = [f"{gpu} is to be reset: {document['reason']}"]
    if together:
        lines.append(f"reset with it, for they are linked: {', '.join(together)}")
    if document["mig"]:
        lines.append(f"made again as they were: {', '.join(document['mig'])}")
    if document["stops"]:
        lines.append(f"agents that are ended, none has a job: {', '.join(document['stops'])}")
    lines += [f"not now: {why}" for why in document["refusals"]]
    return lines


def by_gpu(agents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What became of the jobs of each GPU: ``{uuid, jobs, failed}``, in the order of the UUIDs."""
    found: dict[str, dict[str, Any]] = {}
    for agent in agents:
        if agent.get("opened") is None or agent.get("outcome") == "no_job":
            continue
        failed = agent.get("cause") is not None or agent.get("exit_code") not in (0, None)
        for uuid in agent.get("gpus") or ():
            row = found.setdefault(uuid, {"uuid": uuid, "jobs": 0, "failed": 0})
            row["jobs"] += 1
            row["failed"] += int(failed)
    return [found[uuid] for uuid in sorted(found)]


def beside(gpu: str, rows: list[dict[str, Any]]) -> str:
    """One sentence: whether the GPU fails more jobs than the others."""
    own = [row for row in rows if gpu in row["uuid"]]
    others = [row for row in rows if gpu not in row["uuid"]]
    return f"{gpu}: {_share(own)}; the other GPUs: {_share(others)}"


def _share(rows: list[dict[str, Any]]) -> str:
    jobs, failed = sum(row["jobs"] for row in rows), sum(row["failed"] for row in rows)
    if not jobs:
        return "no job"
    return (
        f"{failed} of {jobs} {'job' if jobs == 1 else 'jobs'} failed ({100 * failed / jobs:.0f} %)"
    )


def _verb(slot: dict[str, Any]) -> str:
    return "has a sick GPU" if slot["health"] == "sick" else "waits for its GPUs"


def _headline(document: dict[str, Any]) -> str:
    if document.get("late_since"):
        return f"NVML has not answered since {document['late_since']}; what it said before:"
    if document.get("problem"):
        return str(document["problem"])
    count = len(document["gpus"])
    gpus = f"{count} GPU" if count == 1 else f"{count} GPUs"
    return (
        f"{gpus}; driver {document.get('driver') or '?'}, CUDA up to {document.get('cuda') or '?'}"
    )


def _rows(gpu: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    note = gpu["problem"] or "; ".join(
        one for one in ("split" if gpu["split"] else _whose(gpu), _throttled(gpu)) if one
    )
    yield _row(str(gpu["index"]), gpu["name"], gpu["compute"] or "-", gpu, note)
    for number, part in enumerate(gpu["mig"]):
        yield _row(
            f"{gpu['index']}:{number}", part["profile"], "", part, part["problem"] or _whose(part)
        )


def _whose(device: dict[str, Any]) -> str:
    """Which of the slots that may have the device have it now, where there are several."""
    working = device.get("at_work") or ()
    if len(device["slots"]) < 2 or not working:
        return ""
    return f"{', '.join(working)} {'has' if len(working) == 1 else 'have'} it"


def _throttled(device: dict[str, Any]) -> str:
    reasons = [str(reason).replace("_", " ") for reason in device.get("throttled") or ()]
    return f"throttled: {', '.join(reasons)}" if reasons else ""


def _row(
    number: str, name: str, compute: str, device: dict[str, Any], note: str
) -> tuple[str, ...]:
    load = device["utilisation"]
    return (
        number,
        name,
        compute,
        _gib(device["memory"]),
        _gib(device["used"]),
        f"{load} %" if load is not None else "-",
        ", ".join(device["slots"]) or "-",
        device["uuid"],
        note,
    )


def _gib(value: int | None) -> str:
    return f"{value / GIB:.1f} GiB" if value is not None else "-"
