"""``mayfly top`` as text: pure, a row a job that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mayfly.cli.render import age, seconds, text
from mayfly.cli.table import table
from mayfly.core.quantities import rounded_size

Row = Mapping[str, Any]
HEADINGS = ("SLOT", "JOB", "OWNER", "FOR", "CPUS", "MEMORY", "PROCS", "GPU", "LOAD", "GPU MEMORY")


def with_rates(before: Row, after: Row) -> dict[str, Any]:
    """The later document with what each job had of processors since the earlier one, as ``cpus``."""
    began, ended = seconds(before.get("at")), seconds(after.get("at"))
    then = {row.get("agent"): row.get("cpu_seconds") for row in before.get("rows", ())}
    passed = ended - began if began is not None and ended is not None else 0.0
    rows = [
        {**row, "cpus": _rate(then.get(row.get("agent")), row.get("cpu_seconds"), passed)}
        for row in after.get("rows", ())
    ]
    return {**after, "rows": rows}


def _rate(then: object, now: object, passed: float) -> float | None:
    known = isinstance(then, int | float) and isinstance(now, int | float)
    if not known or passed <= 0:
        return None
    assert isinstance(then, int | float)
    assert isinstance(now, int | float)
    return round(max(0.0, now - then) / passed, 2)


def top(document: Row, now: float, width: int | None) -> list[str]:
    """The table, or a sentence where no job runs. What nobody has, GPUs say, is no column."""
    rows = list(document.get("rows", ()))
    if not rows:
        return ["no job runs"]
    columns = list(zip(*(_row(row, now) for row in rows), strict=True))
    shown = [
        (heading, column)
        for heading, column in zip(HEADINGS, columns, strict=True)
        if set(column) - {"-"} or heading in ("SLOT", "JOB", "CPUS", "MEMORY")
    ]
    lines = list(zip(*(column for _, column in shown), strict=True))
    return table([heading for heading, _ in shown], lines, width, whole=("SLOT", "JOB"))


def _row(row: Row, now: float) -> tuple[str, ...]:
    gpus = list(row.get("gpus") or ())
    return (
        text(row.get("slot")),
        text(row.get("job")) or "-",
        text(row.get("owner")) or "-",
        age(row.get("since"), now),
        f"{row['cpus']:.2f}" if row.get("cpus") is not None else "-",
        _of(row.get("memory"), row.get("memory_limit")),
        text(row.get("processes")) or "-",
        _numbers(gpus),
        _mean([gpu.get("utilisation") for gpu in gpus]),
        _of(_sum(gpus, "used"), _sum(gpus, "memory")),
    )


def _numbers(gpus: Sequence[Row]) -> str:
    """Which GPUs, by their numbers on this host, as far as they are known."""
    return ",".join(text(gpu.get("index")) or text(gpu.get("uuid"))[:8] for gpu in gpus) or "-"


def _mean(values: Sequence[object]) -> str:
    known = [value for value in values if isinstance(value, int | float)]
    return f"{sum(known) / len(known):.0f} %" if known else "-"


def _sum(gpus: Sequence[Row], key: str) -> int | None:
    known = [gpu[key] for gpu in gpus if isinstance(gpu.get(key), int)]
    return sum(known) if known and len(known) == len(gpus) else None


def _of(held: object, most: object) -> str:
    """``1.2GiB/8GiB``, or the first alone."""
    if not isinstance(held, int):
        return "-"
    return rounded_size(held) + (f"/{rounded_size(most)}" if isinstance(most, int) else "")
