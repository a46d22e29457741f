"""What a job did with its GPUs, as text: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.cli.render import text
from mayfly.cli.render_top import rounded_size
from mayfly.core.quantities import spoken_age

Row = Mapping[str, Any]
JOULES = 3600.0  # of a Wh
LACKING = {
    "shared": "all but the memory is of the whole GPU, which other agents share",
    "mig": "load, energy and throttling of a MIG device cannot be told",
}


def gpu_use(job: Row) -> str:
    """What a job that has ended did with its GPUs, in a line; empty where it had none, or nobody looked."""
    uses = [use for use in job.get("gpu_use") or () if _known(use)]
    told = [f"{text(use.get('uuid'))[:12]} {_figures(use)}" for use in uses]
    return f"GPU use: {'; '.join(told)}" if told else ""


def clocks(row: Row) -> str:
    """At which clocks a measured job ran, whether they were held, and how each GPU fared; empty where its
    clocks were not locked, or are still.
    """
    bench = row.get("bench")
    if not isinstance(bench, Mapping) or not _number(bench.get("clock")):
        return ""
    memory = bench.get("memory_clock")
    said = f"locked at {bench['clock']} MHz"
    said += f", memory at {memory} MHz" if _number(memory) else ""
    if unheld := text(bench.get("unheld")):
        said += f", and not known to be held: {unheld}"
    return "; ".join((said, *map(_fared, bench.get("gpus") or ())))


def _fared(seen: Row) -> str:
    low, high = seen.get("low"), seen.get("high")
    began, ended = seen.get("began"), seen.get("ended")
    told = []
    if _number(low) and _number(high):
        told.append(f"ran at {low} MHz" if low == high else f"ran at {low} to {high} MHz")
    if _number(began) and _number(ended):
        told.append(f"{began} °C at first, {ended} °C at last")
    if slowed := [text(one).replace("_", " ") for one in seen.get("throttled") or ()]:
        told.append(f"slowed down by {', '.join(slowed)}")
    return f"{text(seen.get('uuid'))[:12]} {', '.join(told) or 'was not looked at'}"


def energy(row: Row) -> str:
    """The Wh of a row's GPUs; ``-`` where nobody knows. ``+`` after it: of some of the time, or of the GPUs;
    ``~`` before it: of GPUs that were shared.
    """
    uses = list(row.get("gpu_use") or ())
    known = [use for use in uses if _number(use.get("energy"))]
    if not known:
        return "-"
    more = "+" if len(known) < len(uses) or any(use.get("partial") for use in known) else ""
    shared = "~" if any(use.get("use_of") == "shared" for use in known) else ""
    return f"{shared}{watt_hours(sum(use['energy'] for use in known))}{more}"


def watt_hours(joules: float) -> str:
    """As Wh, with three digits that mean something."""
    wh = joules / JOULES
    if wh >= 100:
        return f"{wh:.0f}"
    return f"{wh:.1f}" if wh >= 10 else f"{wh:.2f}"


def _known(use: Row) -> bool:
    return isinstance(use.get("peak_memory"), int) or use.get("use_of") == "bench"


def _figures(use: Row) -> str:
    if use.get("use_of") == "bench":
        return "was not looked at, so as not to disturb the job"
    figures = [f"{rounded_size(use['peak_memory'])} at most"]
    mean, joules = use.get("utilisation"), use.get("energy")
    if _number(mean):
        figures.append(f"{mean:.0f} % busy on average")
    if _number(joules):
        figures.append(f"{watt_hours(float(joules or 0))} Wh")
    if lowered := [*_throttled(use.get("throttled"))]:
        figures.append(f"throttled for {', '.join(lowered)}")
    notes = [LACKING.get(str(use.get("use_of")), ""), _partial(use)]
    said = "; ".join(note for note in notes if note)
    return ", ".join(figures) + (f" ({said})" if said else "")


def _throttled(seconds: object) -> Iterable[str]:
    """Each reason with its time, the longest first."""
    found = seconds if isinstance(seconds, Mapping) else {}
    known = [(one, reason) for reason, one in found.items() if _number(one) and one > 0]
    for one, reason in sorted(known, key=lambda entry: (-entry[0], str(entry[1]))):
        yield f"{spoken_age(max(1.0, one))} by {text(reason).replace('_', ' ')}"


def _partial(use: Row) -> str:
    if not use.get("partial"):
        return ""
    seen = [use.get(key) for key in ("metered", "watched") if use.get(key)]
    known = [one for one in seen if isinstance(one, int | float)]
    return f"measured for {spoken_age(min(known))} only" if known else "not measured all the time"


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
