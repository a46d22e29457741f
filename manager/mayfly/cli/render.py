"""Documents of the control socket as text for people: pure, values in, lines out.

``width`` is the terminal's, ``None`` when nobody looks (piped: nothing is cut or wrapped).
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mayfly.cli.table import table
from mayfly.core import read_on
from mayfly.core.exit_codes import signal_of
from mayfly.core.plain_text import clean
from mayfly.core.quantities import parse_time, spoken_age

Row = Mapping[str, Any]

AGENTLESS = frozenset({"vacant", "cooling", "held"})
WORRIES = ("error", "warning")  # severities of conditions that want somebody to act
_COLOURS = {
    "idle": "32",
    "busy": "36",
    "enrolling": "33",
    "preparing": "33",
    "cooling": "33",
    "held": "31",
    "succeeded": "32",
    "running": "36",
    "failed": "31",
    "lost": "31",
}


def status(
    document: Row, now: float, width: int | None, colour: bool, height: int | None = None
) -> list[str]:
    """The headline, a row a slot, and the conditions.

    Where that is more than ``height`` lines: a row a pool, a row for each slot with something the matter that
    no condition says of many, and the conditions. ``None``: whatever it takes.
    """
    head = headline(document, width)
    return [*head, *standings(document, now, width, colour, height, len(head))]


def standings(
    document: Row, now: float, width: int | None, colour: bool, height: int | None, above: int
) -> list[str]:
    """What stands below the headline; ``above``: how many of so many lines there are already."""
    slots = list(document.get("slots", ()))
    conditions = health(document.get("health", ()), width, colour)
    lines = [*_slot_table(slots, now, width, colour), *conditions]
    if height is None or above + len(lines) <= height:
        return lines
    pools = table(("POOL", "SLOTS", "PHASES"), _pool_rows(slots), width, whole=("POOL",))
    odd = _odd(slots, document.get("health", ()))
    # Of the slots at least how many more there are; the heading and that are two lines.
    room = height - above - len(pools)
    conditions = _at_most(conditions, room - bool(odd), "lines of conditions")
    room -= len(conditions) + 2
    shown = odd[: max(0, room)]
    lines = [*pools]
    if shown:
        lines += _slot_table(shown, now, width, colour)
    if len(odd) > len(shown):
        lines.append(
            f"… {len(odd) - len(shown)} more slots have something to say: mayfly status --all"
        )
    return [*lines, *conditions]


def _slot_table(slots: Sequence[Row], now: float, width: int | None, colour: bool) -> list[str]:
    rows = [_slot_row(slot, now) for slot in slots]
    headings = ("SLOT", "PROVIDER", "PHASE", "FOR", "GPU", "IMAGE", "JOB", "NOTE")
    lines = table(headings, rows, width, whole=("SLOT", "JOB"))
    if colour:
        lines[1:] = [coloured(line, row[2]) for line, row in zip(lines[1:], rows, strict=True)]
    return lines


def _pool_rows(slots: Sequence[Row]) -> list[tuple[str, ...]]:
    """For each pool its name, how many slots it has, and how many of them are in which phase."""
    pools: dict[str, list[Row]] = {}
    for slot in slots:
        pools.setdefault(text(slot.get("pool")), []).append(slot)
    return [(pool, str(len(own)), phases(own)) for pool, own in pools.items()]


def phases(slots: Sequence[Row]) -> str:
    """How many of the slots are in which phase, the most first."""
    counted = Counter(text(slot.get("phase")) for slot in slots)
    return ", ".join(f"{n} {phase}" for phase, n in counted.most_common())


def _odd(slots: Sequence[Row], conditions: Sequence[Row]) -> list[Row]:
    """The slots with a note or without an agent that no condition stands for together with others."""
    told = {slot for one in conditions if len(one.get("slots") or ()) > 1 for slot in one["slots"]}
    return [
        slot
        for slot in slots
        if slot.get("slot") not in told
        and (slot.get("note") or slot.get("cordoned") or slot.get("phase") in AGENTLESS)
    ]


def _at_most(lines: list[str], room: int, what: str) -> list[str]:
    if len(lines) <= max(room, 1):
        return lines
    kept = lines[: max(room - 1, 0)]
    return [*kept, f"… {len(lines) - len(kept)} more {what}: mayfly status --all"]


def headline(document: Row, width: int | None) -> list[str]:
    """The last pass's sentence, after the host's name."""
    line = f"{text(document.get('host'))}: {text(document.get('headline'))}"
    return wrapped(line, width, "  ")


def _slot_row(slot: Row, now: float) -> tuple[str, ...]:
    return (
        text(slot.get("slot")),
        text(slot.get("provider")),
        text(slot.get("phase")),
        age(slot.get("since"), now),
        gpus(slot.get("gpus") or ()),
        text(slot.get("job_image") or slot.get("image")).removeprefix("mayfly/") or "-",
        text(slot.get("job")) or "-",
        note(slot, now),
    )


def note(slot: Row, now: float) -> str:
    """What there is to say beside a slot's phase."""
    parts = []
    if cordoned := slot.get("cordoned"):
        parts.append(_cordon(cordoned, now))
    said = text(slot.get("note"))
    if said and not (parts and parts[0].startswith(said)):
        parts.append(said)
    return "; ".join(parts)


def _cordon(cordoned: Row, now: float) -> str:
    sentence = "drained" if cordoned.get("drain") else "cordoned"
    if by := text(cordoned.get("by")):
        sentence += f" by {by}"
    if (until := seconds(cordoned.get("until"))) is not None:
        # seconds: to whole minutes, and in the last one exactly
        unit = 60 if until - now > 60 else 1
        sentence += f", {spoken_age(math.ceil((until - now) / unit) * unit)} left"
    if reason := text(cordoned.get("note")):
        sentence += f": {reason}"
    return sentence


def gpus(uuids: Sequence[object]) -> str:
    """A lease in a few characters."""
    if not uuids:
        return "-"
    return text(uuids[0])[:8] if len(uuids) == 1 else f"{len(uuids)} GPUs"


def health(lines: Sequence[Row], width: int | None, colour: bool) -> list[str]:
    """One line each, and beneath it what to type."""
    out: list[str] = []
    for line in lines:
        severity = text(line.get("severity"))
        told = f"health: {severity.upper()} {text(line.get('code'))} {text(line.get('text'))}"
        folded = wrapped(told, width, "  ")
        if colour and severity == "error":
            folded = [f"\x1b[31m{part}\x1b[0m" for part in folded]
        out += folded
        if fix := text(line.get("fix")):
            out += wrapped(f"  fix: {fix}", width, "       ")
    codes = [text(line.get("code")) for line in lines if text(line.get("severity")) in WORRIES]
    return [*out, f"read on: {read_on.line_of(codes)}"] if codes else out


def jobs(document: Row, now: float, width: int | None, colour: bool) -> list[str]:
    """A row a job: whose it is, how it stands, where, since when, for how long, and what it runs.

    The pool is a column where there are several; what it runs, where the manager tells it.
    """
    found = list(document.get("jobs", ()))
    columns: dict[str, list[str]] = {"JOB": [text(job.get("job")) for job in found]}
    pools = [text(job.get("pool")) or "-" for job in found]
    if len(set(pools)) > 1:
        columns["POOL"] = pools
    columns |= {
        "OWNER": [text(job.get("owner")) or "-" for job in found],
        "STATE": [standing(job) for job in found],
        "EXIT": [exit_of(job) for job in found],
        "SLOT": [text(job.get("slot")) or "-" for job in found],
        "AGE": [age(job.get("submitted"), now) for job in found],
        "RAN": [took(job, now) for job in found],
    }
    left = [job.get("seconds_left") for job in found]
    if any(seconds is not None for seconds in left):
        columns["LEFT"] = [_spoken(seconds) for seconds in left]
    commands = [": ".join(filter(None, map(text, _called(job)))) or "-" for job in found]
    if set(commands) - {"-"}:
        columns["COMMAND"] = commands
    rows = list(zip(*columns.values(), strict=True))
    lines = table(list(columns), rows, width, whole=("JOB", "POOL", "STATE", "EXIT", "SLOT"))
    if colour:
        states = [text(job.get("state")) for job in found]
        lines[1:] = [coloured(line, state) for line, state in zip(lines[1:], states, strict=True)]
    return lines


def _called(job: Row) -> tuple[object, object]:
    name, variant = text(job.get("name")), text(job.get("variant"))
    return f"{name} {variant}".strip(), job.get("command")


def standing(job: Row) -> str:
    """Its state; of one that waits for a slot, its place in the order of its pool."""
    position = job.get("position")
    state = text(job.get("state")) + ("" if position is None else f" #{position}")
    return f"{state}, held" if job.get("held") else state


def _spoken(seconds: object) -> str:
    return spoken_age(float(seconds)) if isinstance(seconds, int | float) else "-"


def group(document: Row, now: float, width: int | None, colour: bool) -> list[str]:
    """A row a job of one group: what is different about it, how it ended, and how long it took."""
    found = list(document.get("jobs", ()))
    states = [text(job.get("state")) for job in found]
    rows = [
        (
            text(job.get("job")),
            text(job.get("variant")) or "-",
            text(job.get("pool")) or "-",
            state,
            exit_of(job),
            took(job, now),
        )
        for job, state in zip(found, states, strict=True)
    ]
    headings = ("JOB", "VARIANT", "POOL", "STATE", "EXIT", "RAN")
    lines = table(headings, rows, width, whole=("JOB", "POOL", "STATE", "EXIT"))
    if colour:
        lines[1:] = [coloured(line, state) for line, state in zip(lines[1:], states, strict=True)]
    return lines


def why(job: Row, now: float) -> str:
    """Where a job stands, in a sentence; of one that waits, the reason and the estimate."""
    state = text(job.get("state"))
    called = f"job {text(job.get('job'))}"
    if state == "running":
        left = job.get("seconds_left")
        until = "" if left is None else f"; its limit is over in {_spoken(left)}"
        return f"{called} runs in slot {text(job.get('slot'))} for {took(job, now)}{until}"
    if state != "queued":
        end = exit_of(job)
        detail = text(job.get("detail"))
        told = f": {detail}" if detail else f" ({end})" if end not in ("-", "0") else ""
        return (
            f"{called} {'was ' if state in ('cancelled', 'lost') else ''}{state}{told}{held(job)}"
        )
    return f"{called} waits: {text(job.get('why')) or 'for a slot'}{expected(job, now)}"


def expected(job: Row, now: float) -> str:
    """About when a queued job may start; nothing where that is not known."""
    at = seconds(job.get("starts_at"))
    if at is None:
        return ""
    return "; it may start now" if at - now < 1 else f"; it may start in {spoken_age(at - now)}"


def held(job: Row) -> str:
    """For whom its container is held and until when, as the end of a sentence; nothing where it is not."""
    hold = job.get("held") or {}
    words = text(hold.get("words"))
    return f"; it is {words}: mayfly attach {text(job.get('job'))}" if words else ""


def exit_of(job: Row) -> str:
    """The exit code, and beside it the cause, or the signal, where that says more."""
    cause = text(job.get("cause"))
    said = signal_of(job.get("exit_code")) if cause == "exit" else cause
    said = "" if cause == text(job.get("state")) else said
    return f"{text(job.get('exit_code'))} {said}".strip() or "-"


def took(job: Row, now: float) -> str:
    started, finished = seconds(job.get("started")), seconds(job.get("finished"))
    if started is None:
        return "-"
    return spoken_age((now if finished is None else finished) - started)


def age(moment: object, now: float) -> str:
    """How long ago, in at most five characters."""
    at = seconds(moment)
    return "-" if at is None else spoken_age(now - at)


def seconds(moment: object) -> float | None:
    """Seconds since the epoch of a document's time; ``None`` for null and what is no time."""
    if isinstance(moment, str):
        try:
            return parse_time(moment)
        except ValueError:
            return None
    return None


def text(value: object) -> str:
    """Anything of a document as one safe line; nothing for null."""
    return "" if value is None else clean(str(value))


def wrapped(line: str, width: int | None, indent: str) -> list[str]:
    """One line as several where the terminal is too narrow."""
    if width is None or len(line) <= width:
        return [line]
    return textwrap.wrap(line, max(width, 20), subsequent_indent=indent)


def coloured(line: str, word: str) -> str:
    """The line with its state in colour; the word itself says the same."""
    number = _COLOURS.get(word)
    at = line.find(f" {word}")
    if number is None or at < 0:
        return line
    end = at + 1 + len(word)
    return f"{line[: at + 1]}\x1b[{number}m{line[at + 1 : end]}\x1b[0m{line[end:]}"
