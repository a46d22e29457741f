"""``mayfly idle`` as text: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mayfly.cli import render
from mayfly.cli.table import table
from mayfly.core.quantities import spoken_age

Row = Mapping[str, Any]
STAGES = {
    "closing": "gates are closed, and its services let go of its agents",
    "pausing": "the {by} runs now",
    "awaited": "the {by} has been run, and the host is to go",
}
BACK = {
    "suspended": "suspended",
    "restarted": "off, or restarted",
    "stopped": "stopped",
}


def idle(document: Row, now: float, width: int | None) -> list[str]:
    """How long there is nothing to do, when the host is paused, and what speaks against it."""
    if not document.get("configured"):
        return ["nothing is done about an idle host: the configuration has no [host.idle]"]
    if document.get("stage") is None:
        return ["the manager has not looked yet whether there is something to do"]
    lines = [line for told in _told(document, now) for line in render.wrapped(told, width, "  ")]
    found = [*document.get("reasons", ()), *document.get("vetoes", ())]
    rows = [(render.text(one.get("kind")), render.text(one.get("text"))) for one in found]
    if rows:
        lines += ["", *table(("KEPT UP BY", ""), rows, width)]
    return lines


def _told(document: Row, now: float) -> Iterator[str]:
    stage, by = str(document.get("stage")), render.text(document.get("by"))
    since = document.get("idle_since")
    after = spoken_age(float(document.get("after") or 0.0))
    if since is None:
        yield f"there is something to do; after {after} without, this host is paused by the {by}"
    else:
        yield f"nothing to do for {render.age(since, now)}, since {render.text(since)[:16]}Z"
    if stage in STAGES:
        yield STAGES[stage].format(by=by)
        if document.get("still_open"):
            yield f"awaited: {render.text(document['still_open'])}"
    elif (due := render.seconds(document.get("due"))) is not None:
        kept = "as soon as nothing keeps it up"
        when = f"in {spoken_age(due - now)} at the earliest" if due > now else kept
        yield f"this host is paused by the {by} {when}"
    if document.get("failure"):
        tries = 0 if document.get("stayed") else int(document.get("tries") or 0)
        again = f" ({tries} times in a row)" if tries > 1 else ""
        yield f"the last time: {render.text(document['failure'])}{again}"
    elif document.get("why"):
        yield f"the last time: {render.text(document['why'])}"
    away = document.get("away")
    if isinstance(away, Mapping):
        how = BACK.get(str(away.get("how")), "away")
        lasted = spoken_age(float(away.get("seconds") or 0.0))
        yield f"it was {how} for {lasted}, from {render.text(away.get('since'))[:16]}Z on"
