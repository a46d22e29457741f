"""``mayfly run`` that tells what it does between an agent's end and the next gate, call by call.

``python -m tests.pool.calls_between TRACE`` appends a line of JSON to TRACE for each gate it opens: whose
end was taken in last, whose gate it is, the facts of each commit in between, and the calls of the loop and of
who opened the gate that Python audits (files, connections, programs). Nothing is synced that was not opened.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

from mayfly.core.stimuli import ProcessesGone
from mayfly.edge.history import History
from mayfly.service import loop, perform
from tests.bench.watched import around

# What is done with it on any thread is seen by no other: a call is one append.
_calls: list[tuple[int, str, str]] = []
_commits: list[list[str]] = []
_ended: list[tuple[str, int]] = []  # whose end was taken in last, and by which thread
AUDITED = ("open", "os.", "socket.", "subprocess.", "shutil.", "fcntl.")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(AUDITED):
        words = [str(one) for one in arguments[:2] if isinstance(one, str | bytes | tuple)]
        _calls.append((threading.get_ident(), event, " ".join(words)))


def _taken(_: Any, message: Any) -> None:
    if isinstance(message, ProcessesGone):
        _calls.clear()
        _commits.clear()
        _ended[:] = [(message.generation, threading.get_ident())]


def main() -> None:
    """Watch, then run the command line's own ``run``."""
    trace = Path(sys.argv[1])

    def opened(_: Any, __: Any, action: Any, *___: Any) -> None:
        calls, commits = [*_calls], [*_commits]
        for ended, took in _ended:
            threads = {took: "loop", threading.get_ident(): "worker"}
            line = {
                "ended": ended,
                "opened": action.generation,
                "commits": commits,
                "calls": [
                    (threads[thread], event, words)
                    for thread, event, words in calls
                    if thread in threads
                ],
            }
            with trace.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    trace.touch()
    sys.addaudithook(_audit)
    around(loop.Loop, "_take", before=_taken)
    around(
        History,
        "commit",
        before=lambda _, facts, *__: _commits.append([type(fact).__name__ for fact in facts]),
    )
    around(perform.Performer, "_open", after=opened)
    from mayfly.cli.app import main as command

    sys.argv = ["mayfly", "run"]
    command()


if __name__ == "__main__":
    main()
