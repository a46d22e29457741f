"""Other boxes of the lab, for the page: how each stands, as its own page tells everybody (``/box``).

Each is asked by a thread of its own over HTTP, within seconds, with no secret and nothing of a visitor's.
What it says is foreign: of known types, short, and shown by ``markup`` as any text is. One that does not
answer is a row that says so. Nothing is kept but the last answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mayfly.core.plain_text import one_line, shortened
from mayfly.edge.faults import Fault
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.web import Web

SCHEMA = "mayfly.box/1"
EVERY = 15.0  # seconds between two questions
PIECE = 5.0  # seconds between two pieces of an answer
TEXT_MAX = 300
COUNT_MAX = 10**6
PHASES_MAX = 12

Ask = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class OtherBox:
    """How one of them stands, as far as that is known."""

    name: str
    address: str
    headline: str = ""
    paused: bool = False
    phases: Mapping[str, int] = field(default_factory=dict)  # slots by phase
    queued: int = 0
    errors: int = 0
    warnings: int = 0
    at: float | None = None  # when it last answered; None: it never did
    why: str | None = ""  # it does not answer; "": it has not been asked yet; None: it answers


def document(status: Mapping[str, Any], queued: int) -> dict[str, object]:
    """What a page tells other boxes of its own: what it shows everybody."""
    phases: dict[str, int] = {}
    for slot in status.get("slots", ()):
        phase = str(slot.get("phase"))
        phases[phase] = phases.get(phase, 0) + 1
    severities = [str(line.get("severity")) for line in status.get("health", ())]
    return {
        "schema": SCHEMA,
        "host": _text(status.get("host")),
        "headline": _text(status.get("headline")),
        "paused": bool(status.get("paused")),
        "phases": phases,
        "queued": queued,
        "errors": severities.count("error"),
        "warnings": severities.count("warning"),
    }


class OtherBoxes:
    """Asks them, until it is stopped."""

    def __init__(
        self,
        boxes: Mapping[str, str],
        ask: Ask | None = None,
        every: float = EVERY,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``boxes``: the address of each one's page by its name; ``ask`` is given that of what it tells."""
        self._ask = ask or _asked
        self._every = every
        self._now = now
        self._stop = threading.Event()
        # Each is replaced as a whole, by the thread that asks it.
        self._seen = {name: OtherBox(name, address) for name, address in boxes.items()}

    def start(self) -> None:
        """Begin; a thread that is not to be had leaves its row as it is."""
        for name in self._seen:
            LastingThread(partial(self._follow, name), f"box {name}").start_if_possible()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()

    def seen(self) -> Sequence[OtherBox]:
        """How they stand, in the order of the configuration."""
        return [*self._seen.values()]

    def _follow(self, name: str) -> None:
        while not self._stop.is_set():
            self.looked(name)
            self._stop.wait(self._every)

    def looked(self, name: str) -> OtherBox:
        """Ask one of them now: how it stands."""
        self._seen[name] = found = self._look(self._seen[name])
        return found

    def _look(self, before: OtherBox) -> OtherBox:
        try:
            told = self._ask(f"{before.address.rstrip('/')}/box")
        except Fault as fault:
            return OtherBox(before.name, before.address, at=before.at, why=_text(fault))
        if not isinstance(told, Mapping) or told.get("schema") != SCHEMA:
            why = "what answers there is no page of Mayfly's, or another version's"
            return OtherBox(before.name, before.address, at=before.at, why=why)
        phases = told.get("phases")
        return OtherBox(
            before.name,
            before.address,
            _text(told.get("headline")),
            paused=told.get("paused") is True,
            phases=_counts(phases) if isinstance(phases, Mapping) else {},
            queued=_count(told.get("queued")),
            errors=_count(told.get("errors")),
            warnings=_count(told.get("warnings")),
            at=self._now(),
            why=None,
        )


def _asked(address: str) -> object:
    web = Web(address, "the page", "host.web_boxes", keys="`web_boxes`")
    try:
        return web.call("GET", address, "see how the box stands", timeout=PIECE).body
    finally:
        web.close()


def _text(value: object) -> str:
    return "" if value is None else shortened(one_line(str(value)), TEXT_MAX)


def _counts(told: Mapping[object, object]) -> dict[str, int]:
    found = [(shortened(one_line(str(name)), 20), _count(count)) for name, count in told.items()]
    return dict(found[:PHASES_MAX])


def _count(value: object) -> int:
    known = isinstance(value, int) and not isinstance(value, bool)
    return min(max(value, 0), COUNT_MAX) if known and isinstance(value, int) else 0
