"""What happened, as text for people: events, ended agents, one slot's story. Pure, like ``render``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mayfly.cli import render
from mayfly.cli.render import Row
from mayfly.cli.render_gpu_use import clocks, energy, gpu_use
from mayfly.cli.table import table
from mayfly.core.plain_text import clean
from mayfly.core.quantities import spoken_age

_EVENT_COLUMNS = frozenset({"seq", "at", "event", "slot"})
_SUBJECTS = {"job": 1, "agent": 2, "container": 3, "image": 4}
SHOWN_AGENTS = 3
SHOWN_EVENTS = 6
FOLDED = 16  # columns before what has no room in an event's first line: below its slot
_SHORT = 13  # characters of a generation


def events(rows: Sequence[Row], width: int | None) -> list[str]:
    """A line an event: when, where, what, and its fields."""
    return [event(row, width) for row in rows]


def event(row: Row, width: int | None) -> str:
    """One event on one line, cut at the width; columns are wide enough to stay aligned as events follow."""
    slot = render.text(row.get("slot")) or "-"
    head = f"{moment(row.get('at'))}  {slot:<10}  {render.text(row.get('event')):<16}"
    told = "  ".join(f"{clean(key)}={_field(value)}" for key, value in _fields(row))
    line = f"{head}  {told}".rstrip()
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def whole_event(row: Row, width: int | None) -> str:
    """One event with all of its fields, folded where the terminal is too narrow for them."""
    return "\n".join(render.wrapped(event(row, None), width, " " * FOLDED))


def _fields(row: Row) -> list[tuple[str, object]]:
    """An event's fields, what it is about last; a table inside it is shown as its fields."""
    said: list[tuple[str, object]] = []
    for key, value in row.items():
        if isinstance(value, dict):
            said += [(inner, value[inner]) for inner in value if inner != "since"]
        elif key not in _EVENT_COLUMNS:
            said.append((key, value))
    said = [(key, value) for key, value in said if value is not None and value not in ("", [], {})]
    return sorted(said, key=lambda field: _SUBJECTS.get(field[0], 0))


def _field(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_field(entry) for entry in value)
    if isinstance(value, float):
        return f"{value:g}"
    text = clean(str(value))
    return f'"{text}"' if " " in text else text


def moment(at: object) -> str:
    """A document's time as month, day and time of day where this runs."""
    seconds = render.seconds(at)
    if seconds is None:
        return "-"
    return time.strftime("%m-%d %H:%M:%S", time.localtime(seconds))


def history(rows: Sequence[Row], now: float, width: int | None) -> list[str]:
    """A row an ended agent, the latest last."""
    headings = ["ENDED", "SLOT", "JOB", "OUTCOME", "CAUSE", "EXIT", "BUSY", "AGENT"]
    lives, used = [_life(row, now) for row in rows], [energy(row) for row in rows]
    if set(used) - {"-"}:
        headings.insert(-1, "WH")
        lives = [(*life[:-1], wh, life[-1]) for life, wh in zip(lives, used, strict=True)]
    return table(headings, lives, width)


def _life(row: Row, now: float) -> tuple[str, ...]:
    seconds: Mapping[str, Any] = row.get("seconds") or {}
    busy = seconds.get("busy")
    return (
        render.age(row.get("exited"), now),
        render.text(row.get("slot")),
        render.text(row.get("job")) or "-",
        render.text(row.get("outcome")),
        render.text(row.get("cause")) or ("failed" if row.get("job_succeeded") is False else "-"),
        "-" if row.get("exit_code") is None else str(row["exit_code"]),
        spoken_age(busy) if isinstance(busy, int | float) else "-",
        render.text(row.get("agent"))[:_SHORT],
    )


def describe(document: Row, now: float, width: int | None) -> list[str]:
    """A slot's verdict, what it is made of, its last agents and its last events."""
    slot: Row = document["slot"]
    lines = render.wrapped(verdict(slot, now), width, "  ")
    facts = [
        ("agent", render.text(slot.get("agent")) or "none"),
        ("container", render.text(slot.get("container")) or "none"),
        ("standby", _standby(slot.get("standby"), now)),
        ("image", render.text(slot.get("job_image") or slot.get("image")) or "none"),
        ("gpus", ", ".join(render.text(gpu) for gpu in slot.get("gpus") or ()) or "none"),
        ("job", render.text(slot.get("job")) or "none"),
    ]
    lines += ["", *(line for name, value in facts for line in _fact(name, value, width))]
    lines += render.health(document.get("health", ()), width, colour=False)
    agents, rows = document.get("agents") or (), document.get("events") or ()
    if width is not None:  # as much as the smallest terminal shows at once
        agents, rows = agents[-SHOWN_AGENTS:], rows[-SHOWN_EVENTS:]
    if agents:
        lines += ["", "last agents", *history(agents, now, width)]
        lines += [line for row in agents for line in _measured(row, width)]
        lines += [line for row in agents for line in _in_vain(row, width)]
    if rows:
        lines += ["", "last events", *events(rows, width)]
    return lines


def describe_job(job: Row, now: float, width: int | None) -> list[str]:
    """Where a job stands and why, whose it is, what it runs, and what its GPUs did."""
    lines = render.wrapped(render.why(job, now), width, "  ")
    facts = [
        ("name", render.text(job.get("name"))),
        ("owner", render.text(job.get("owner"))),
        ("pool", render.text(job.get("pool"))),
        ("slot", render.text(job.get("slot"))),
        ("image", render.text(job.get("image"))),
        ("command", render.text(job.get("command"))),
        ("submitted", moment(job.get("submitted"))),
        ("ran", render.took(job, now)),
        ("exit", render.exit_of(job)),
        ("gpus", gpu_use(job).removeprefix("GPU use: ")),
        ("clocks", clocks(job)),
    ]
    told = [(name, value) for name, value in facts if value not in ("", "-")]
    lines += ["", *(line for name, value in told for line in _fact(name, value, width))]
    return [*lines, *_in_vain(job, width)]


def _measured(row: Row, width: int | None) -> list[str]:
    """At which clocks an agent's job was measured."""
    told = clocks(row)
    agent = render.text(row.get("agent"))[:_SHORT]
    return render.wrapped(f"  agent {agent}: clocks {told}", width, "    ") if told else []


def _in_vain(row: Row, width: int | None) -> list[str]:
    """What a job asked its gateway for and did not get."""
    times = row.get("refused")
    if not isinstance(times, int) or not times:
        return []
    agent = render.text(row.get("agent"))[:_SHORT]
    often = "once" if times == 1 else f"{times} times"
    lines = render.wrapped(f"  refused to agent {agent} {often}:", width, "  ")
    for sentence in row.get("refusals") or ("see `mayfly describe JOB`",):
        lines += render.wrapped(f"    - {render.text(sentence)}", width, "      ")
    return lines


def verdict(slot: Row, now: float) -> str:
    """What the slot is doing, for how long, who says so, and why."""
    sentence = f"{render.text(slot.get('slot'))} is {render.text(slot.get('phase'))}"
    since = render.seconds(slot.get("since"))
    if since is not None:
        sentence += f" for {spoken_age(now - since)}"
    if by := render.text(slot.get("confirmed_by")):
        sentence += f", confirmed by {by}"
    if note := render.note(slot, now):
        sentence += f"; {note}"
    return sentence


def _standby(standby: Row | None, now: float) -> str:
    if not standby:
        return "none"
    container = render.text(standby.get("container")) or "no container yet"
    return (
        f"{container}, {render.text(standby.get('phase'))} for "
        f"{render.age(standby.get('since'), now)}"
    )


def _fact(name: str, value: str, width: int | None) -> list[str]:
    return render.wrapped(f"  {name:<10} {value}", width, " " * 13)


def plan(document: Row, width: int | None) -> list[str]:
    """What the next pass would do, an action a row."""
    rows = [
        tuple(render.text(action.get(key)) for key in ("action", "slot", "subject", "reason"))
        for action in document.get("actions", ())
    ]
    head = render.wrapped(render.text(document.get("headline")), width, "  ")
    if not rows:
        return [*head, "the next pass would do nothing"]
    return [*head, *table(("ACTION", "SLOT", "SUBJECT", "WHY"), rows, width)]
