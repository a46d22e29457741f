"""``mayfly run`` with its seams watched: writes when each step of a hand-over was reached, and no more.

``python -m tests.bench.watched TRACE`` appends lines ``[STEP, GENERATION, TIME]`` to TRACE, after each pass.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mayfly.core.facts import GateOpening
from mayfly.core.stimuli import ProcessesGone
from mayfly.edge.history import History
from mayfly.edge.witness import Witnesses
from mayfly.service import loop, perform

_seen: list[tuple[str, str, float]] = []


def note(step: str, generation: str) -> None:
    """Keep this moment in memory."""
    _seen.append((step, generation, time.time()))


def around(
    owner: Any,
    name: str,
    before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
) -> None:
    """Call ``before(*arguments)`` and ``after(result, *arguments)`` around a function."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def watched(*arguments: Any, **named: Any) -> Any:
        if before is not None:
            before(*arguments)
        result = inner(*arguments, **named)
        if after is not None:
            after(result, *arguments)
        return result

    setattr(owner, name, watched)


def _taken(_: Any, message: Any) -> None:
    if isinstance(message, ProcessesGone):
        note("gone", message.generation)


def _read(witness: Any, _: Any, generation: str) -> None:
    if witness is not None and witness.exit is not None:
        note("read", generation)


def _opened_gates(step: str, facts: Any) -> None:
    for fact in facts:
        if isinstance(fact, GateOpening):
            note(step, fact.generation)


def main() -> None:
    """Watch, then run the command line's own ``run``."""
    trace = Path(sys.argv[1])

    def dump(*_: Any) -> None:
        lines = "".join(json.dumps(entry) + "\n" for entry in _seen)
        _seen.clear()
        with trace.open("a") as file:
            file.write(lines)

    trace.touch()
    around(loop.Loop, "_take", before=_taken)
    around(Witnesses, "read", after=_read)
    around(
        History,
        "commit",
        before=lambda _, facts, *__: _opened_gates("decided", facts),
        after=lambda _, __, facts, *___: _opened_gates("committed", facts),
    )
    around(perform.Performer, "_open", before=lambda _, action, __: note("open", action.generation))

    def framed(frame: bytes, generation: str, *_: Any) -> None:
        note("framed", generation)

    around(perform, "frame", after=framed)
    around(
        perform.Performer, "_open", after=lambda _, __, action, ___: note("sent", action.generation)
    )
    around(loop.Loop, "_pass", after=dump)
    from mayfly.cli.app import main as command

    sys.argv = ["mayfly", "run"]
    command()


if __name__ == "__main__":
    main()
