"""A command on its way: in the loop's inbox, with a queue of its own for the answer.

Only the loop's thread changes anything, so a request to change something is a message. Whoever sends
one waits a bounded time; the loop never waits for whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from mayfly.core.commands import Command, verb_of

ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command, as an HTTP status and a JSON document."""

    status: int
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PendingCommand:
    """A command that somebody waits for."""

    command: Command
    reply: SimpleQueue[Answer] = field(default_factory=SimpleQueue, compare=False, repr=False)

    def answer(self, status: int, body: Mapping[str, object]) -> None:
        """Hand the answer to whoever waits for it; never blocks."""
        self.reply.put(Answer(status, body))


Send = Callable[[PendingCommand], None]  # puts a command into the loop's inbox


def ask(send: Send, command: Command, timeout: float = ANSWER_SECONDS) -> Answer:
    """Send a command and wait for its answer; 504 after ``timeout`` seconds."""
    pending = PendingCommand(command)
    send(pending)
    try:
        return pending.reply.get(timeout=timeout)
    except Empty:
        sentence = (
            f"the manager did not answer {verb_of(command)!r} within {timeout:g} s; it may still do it: "
            "look at `mayfly status`"
        )
        return Answer(504, {"error": sentence, "kind": "timeout"})
