"""What a job did with one GPU, in words that a job's log and the command line share: pure.

A use is read as JSON has it (the fields of ``GpuUse``), since it may come from another Mayfly's answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.core.plain_text import clean
from mayfly.core.quantities import rounded_size, spoken_age

Row = Mapping[str, Any]
JOULES = 3600.0  # of a Wh
LACKING = {
    "shared": "all but the memory is of the whole GPU, which other agents share",
    "mig": "load, energy and throttling of a MIG device cannot be told",
}


def is_known(use: Row) -> bool:
    """Whether there is anything to tell."""
    return isinstance(use.get("peak_memory"), int) or use.get("use_of") == "bench"


def figures(use: Row, of: str = "") -> str:
    """What is known of it; ``of`` stands after the memory that was in use at most."""
    if use.get("use_of") == "bench":
        return "was not looked at, so as not to disturb the job"
    told = [f"{rounded_size(use['peak_memory'])}{of} at most"]
    mean, joules = use.get("utilisation"), use.get("energy")
    if is_number(mean):
        told.append(f"{mean:.0f} % busy on average")
    if is_number(joules):
        told.append(f"{watt_hours(float(joules or 0))} Wh")
    if lowered := [*_throttled(use.get("throttled"))]:
        told.append(f"throttled for {', '.join(lowered)}")
    if reported := xids(use):
        told.append(reported)
    notes = [LACKING.get(str(use.get("use_of")), ""), _partial(use)]
    said = "; ".join(note for note in notes if note)
    return ", ".join(told) + (f" ({said})" if said else "")


def xids(use: Row) -> str:
    """What the driver reported of the GPU meanwhile; empty where that is nothing, or not known."""
    found = use.get("xids")
    if not isinstance(found, Mapping) or not found:
        return ""
    counted = [
        f"{clean(str(code))}{f' ({number} times)' if is_number(number) and number > 1 else ''}"
        for code, number in found.items()
    ]
    return f"XID {', '.join(counted)}"


def watt_hours(joules: float) -> str:
    """As Wh, with three digits that mean something."""
    wh = joules / JOULES
    if wh >= 100:
        return f"{wh:.0f}"
    return f"{wh:.1f}" if wh >= 10 else f"{wh:.2f}"


def is_number(value: object) -> bool:
    """Whether it is one, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _throttled(seconds: object) -> Iterable[str]:
    """Each reason with its time, the longest first."""
    found = seconds if isinstance(seconds, Mapping) else {}
    known = [(one, reason) for reason, one in found.items() if is_number(one) and one > 0]
    for one, reason in sorted(known, key=lambda entry: (-entry[0], str(entry[1]))):
        yield f"{spoken_age(max(1.0, one))} by {clean(str(reason)).replace('_', ' ')}"


def _partial(use: Row) -> str:
    if not use.get("partial"):
        return ""
    seen = [use.get(key) for key in ("metered", "watched") if use.get(key)]
    known = [one for one in seen if isinstance(one, int | float)]
    return f"measured for {spoken_age(min(known))} only" if known else "not measured all the time"
