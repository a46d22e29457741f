"""What a job did with its GPUs, as text: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mayfly.cli.render import text
from mayfly.core.gpu_use_words import figures, is_known, is_number, watt_hours

Row = Mapping[str, Any]


def gpu_use(job: Row) -> str:
    """What a job that has ended did with its GPUs, in a line; empty where it had none, or nobody looked."""
    uses = [use for use in job.get("gpu_use") or () if is_known(use)]
    told = [f"{text(use.get('uuid'))[:12]} {figures(use)}" for use in uses]
    return f"GPU use: {'; '.join(told)}" if told else ""


def clocks(row: Row) -> str:
    """At which clocks a measured job ran, whether they were held, and how each GPU fared; empty where its
    clocks were not locked, or are still.
    """
    bench = row.get("bench")
    if not isinstance(bench, Mapping) or not is_number(bench.get("clock")):
        return ""
    memory = bench.get("memory_clock")
    said = f"locked at {bench['clock']} MHz"
    said += f", memory at {memory} MHz" if is_number(memory) else ""
    if unheld := text(bench.get("unheld")):
        said += f", and not known to be held: {unheld}"
    return "; ".join((said, *map(_fared, bench.get("gpus") or ())))


def _fared(seen: Row) -> str:
    low, high = seen.get("low"), seen.get("high")
    began, ended = seen.get("began"), seen.get("ended")
    told = []
    if is_number(low) and is_number(high):
        told.append(f"ran at {low} MHz" if low == high else f"ran at {low} to {high} MHz")
    if is_number(began) and is_number(ended):
        told.append(f"{began} °C at first, {ended} °C at last")
    if slowed := [text(one).replace("_", " ") for one in seen.get("throttled") or ()]:
        told.append(f"slowed down by {', '.join(slowed)}")
    return f"{text(seen.get('uuid'))[:12]} {', '.join(told) or 'was not looked at'}"


def energy(row: Row) -> str:
    """The Wh of a row's GPUs; ``-`` where nobody knows. ``+`` after it: of some of the time, or of the GPUs;
    ``~`` before it: of GPUs that were shared.
    """
    uses = list(row.get("gpu_use") or ())
    known = [use for use in uses if is_number(use.get("energy"))]
    if not known:
        return "-"
    more = "+" if len(known) < len(uses) or any(use.get("partial") for use in known) else ""
    shared = "~" if any(use.get("use_of") == "shared" for use in known) else ""
    return f"{shared}{watt_hours(sum(use['energy'] for use in known))}{more}"
