"""The log: events ``noun.verb_past`` with fields; the journal's under systemd, words on a terminal or JSON.

Every line is an event of the one vocabulary (``core/events.py``); ``mayfly events`` shows those of them that
are facts. No secret may be handed to it.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import MutableMapping
from dataclasses import asdict
from typing import Any, TextIO

import structlog

from mayfly.core.events import EVENTS
from mayfly.core.facts import FORMER_EVENTS, Fact, event_name
from mayfly.core.memory import Memory
from mayfly.edge.journal import Journal, journal_of

# Another fact says these in more words, or they come too often to be read.
QUIET = frozenset({"agent.ready", "agent.stop_stepped", "agent.enrolled", "agent.confirmed"})


ID_LENGTH = 64  # hexadecimal digits of a container's id


class Log:
    """Where the daemon says what happened."""

    def __init__(self, stream: TextIO | None = None, journal: Journal | None = None) -> None:
        """Without a ``journal`` the host's is used where it reads the stream."""
        stream = stream or sys.stderr
        self._journal = journal or journal_of(stream)
        terminal = stream.isatty()
        renderer: Any = _line if terminal else structlog.processors.JSONRenderer()
        clock = structlog.processors.TimeStamper(
            fmt="%H:%M:%S" if terminal else "iso", utc=not terminal
        )
        self._logger = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=[
                clock,
                structlog.processors.add_log_level,
                renderer,
            ],
        )

    def event(self, name: str, message: str = "", **fields: object) -> None:
        """Something happened."""
        told = {key: value for key, value in fields.items() if value is not None}
        if self._journal is not None and self._journal.send(name, message, told):
            return
        if message:
            told["message"] = message
        try:
            getattr(self._logger, EVENTS[name])(name, **told)
        except OSError:
            return  # a full or closed log must not stop the pool

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
        known = memory.agents.get(fields.get("generation", ""))
        if known is not None:
            fields.setdefault("slot", known.slot)
        self.event(name, **fields, formerly=FORMER_EVENTS.get(name))


def _line(_logger: object, _method: str, told: MutableMapping[str, Any]) -> str:
    """What happened as one short line for whoever sits before it; the history has the rest."""
    words = [str(told.pop("timestamp")), f"{told.pop('event'):<15}"]
    told.pop("level")
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
