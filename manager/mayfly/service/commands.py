"""What others ask of the loop: a command in its inbox, an answer in the command's own reply queue.

Only the loop's thread changes anything, so a request to change something is a message. Whoever sends
one waits a bounded time; the loop never waits for whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked, as the kernel says it of the other end of the socket."""

    pid: int
    uid: int
    gid: int
    name: str  # the user's name, or "uid 1234" where it has none


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command, as an HTTP status and a JSON document."""

    status: int
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Command:
    """One request to the loop: ``submit cancel cordon uncordon drain pause resume recycle retry
    reload plan`` with its checked arguments."""

    verb: str
    arguments: Mapping[str, object]
    caller: Caller
    reply: SimpleQueue[Answer] = field(default_factory=SimpleQueue, compare=False, repr=False)

    def answer(self, status: int, body: Mapping[str, object]) -> None:
        """Hand the answer to whoever waits for it; never blocks."""
        self.reply.put(Answer(status, body))


Send = Callable[[Command], None]  # puts a command into the loop's inbox


def ask(send: Send, command: Command, timeout: float = ANSWER_SECONDS) -> Answer:
    """Send a command and wait for its answer; 504 after ``timeout`` seconds."""
    send(command)
    try:
        return command.reply.get(timeout=timeout)
    except Empty:
        sentence = (
            f"the manager did not answer {command.verb!r} within {timeout:g} s; it may still do it: "
            "look at `mayfly status`"
        )
        return Answer(504, {"error": sentence, "kind": "timeout"})
