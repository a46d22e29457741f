"""The log: events ``noun.verb_past`` with fields; the journal's under systemd, words on a terminal or JSON.

Every line is an event of the one vocabulary (``core/events.py``); ``mayfly events`` shows those of them that
are facts. No secret may be handed to it.
By hand, a line of JSON: a library for it brought asyncio, rich and pygments, 7 MiB in a daemon that stays
(ADR 0035).
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

from mayfly.core.events import EVENTS
from mayfly.core.facts import FORMER_EVENTS, Fact, event_name, for_everybody
from mayfly.core.memory import Memory
from mayfly.edge.journal import Journal, journal_of

# Another fact says these in more words, or they come too often to be read.
QUIET = frozenset({"agent.ready", "agent.stop_stepped", "agent.enrolled", "agent.confirmed"})


ID_LENGTH = 64  # hexadecimal digits of a container's id


class Log:
    """Where the daemon says what happened."""

    def __init__(self, stream: TextIO | None = None, journal: Journal | None = None) -> None:
        """Without a ``journal`` the host's is used where it reads the stream."""
        self._stream = stream or sys.stderr
        self._journal = journal or journal_of(self._stream)
        self._rendered = _line if self._stream.isatty() else _json
        self._writing = threading.Lock()  # guards no state: two lines must not run into one another

    def event(self, name: str, message: str = "", **fields: object) -> None:
        """Something happened."""
        told = {key: value for key, value in fields.items() if value is not None}
        if self._journal is not None and self._journal.send(name, message, told):
            return
        if message:
            told["message"] = message
        line = self._rendered(name, told)
        with self._writing, suppress(OSError):  # a full or closed log must not stop the pool
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def fact(self, fact: Fact, memory: Memory) -> None:
        """A fact was recorded."""
        name = event_name(fact)
        if name in QUIET:
            return
        fields = asdict(fact)
        fields.pop("at")
        agent = fields.pop("agent", None)
        if agent is not None:
            fields |= {"generation": agent["generation"], "slot": agent["slot"]}
        job = fields.get("job")
        if isinstance(job, dict):
            fields["job"] = job["id"]
        run = fields.get("run")
        if isinstance(run, dict):  # whose commits say what is for its owner and operators
            fields |= {"run": run["id"], "by": run["owner"], "jobs": run["jobs"]}
        fields = for_everybody(fields)
        known = memory.agents.get(fields.get("generation", ""))
        if known is not None:
            fields.setdefault("slot", known.slot)
        self.event(name, **fields, formerly=FORMER_EVENTS.get(name))


def _json(name: str, told: Mapping[str, object]) -> str:
    """What happened as one line for a program."""
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return json.dumps({**told, "event": name, "timestamp": at, "level": EVENTS[name]}, default=repr)


def _line(name: str, told: MutableMapping[str, Any]) -> str:
    """What happened as one short line for whoever sits before it; the history has the rest."""
    words = [f"{datetime.now():%H:%M:%S}", f"{name:<15}"]  # noqa: DTZ005  the reader's own time
    known = ("slot", "generation", "message")
    words += [str(value) for key in known if (value := told.pop(key, None)) is not None]
    line = " ".join([*words, *(f"{key}={_short(value)}" for key, value in told.items())])
    width = max(40, shutil.get_terminal_size().columns)
    return "\n".join(
        textwrap.wrap(line, width, subsequent_indent=" " * 9, break_on_hyphens=False) or [line]
    )


def _short(value: object) -> str:
    """A container's id in its twelve characters; in quotes what has spaces or would move a cursor."""
    text = str(value)
    if len(text) == ID_LENGTH and set(text) <= set("0123456789abcdef"):
        return text[:12]
    plain = text.isascii() and text.isprintable() and " " not in text
    return text if plain and text else json.dumps(text)
