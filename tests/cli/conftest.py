"""The real command ``mayfly`` against a stand-in manager, piped or on a terminal of 80 columns."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mayfly.cli.quick import VERBS
from mayfly.core.commands import Command, verb_of
from mayfly.service.pending_command import Answer
from tests import copies
from tests.service.standin import StandIn, slot, status
from tests.terminal import Terminal, environment

COMMAND = [*copies.MAYFLY]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Mayfly = Callable[..., Ran]


def command(socket: Path, *arguments: object) -> list[str]:
    """The command line; where the verb is a quick one, such that it is."""
    words, named = [str(word) for word in arguments], ["--socket", str(socket)]
    if words and words[0] in VERBS:
        return [*COMMAND, words[0], *named, *words[1:]]
    return [*COMMAND, *named, *words]


class Answers:
    """What the stand-in's loop says; tests put functions here by verb."""

    def __init__(self) -> None:
        self.by_verb: dict[str, Callable[[Command], Answer]] = {}

    def __call__(self, command: Command) -> Answer:
        found = self.by_verb.get(verb_of(command))
        return found(command) if found else Answer(200, {"slots": []})


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def manager(tmp_path: Path, answers: Answers) -> Iterator[StandIn]:
    """A manager with two idle slots."""
    stand_in = StandIn(tmp_path / "control.sock", answers)
    stand_in.publish(status(slot("local-0"), slot("local-1")))
    yield stand_in
    stand_in.close()


@pytest.fixture
def mayfly(tmp_path: Path) -> Mayfly:
    """``mayfly(*arguments)``: run it piped, against the stand-in's socket."""

    def run(*arguments: object, stdin: str = "", **env: str) -> Ran:
        words = command(tmp_path / "control.sock", *arguments)
        done = copies.run(words, environment(**env), stdin.encode())
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """``start(*arguments)``: begin one and go on."""
    begun: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str, stdin: int | None = None) -> subprocess.Popen[bytes]:
        # Whoever runs the tests in the background ignores SIGINT, and so would the command.
        process = subprocess.Popen(
            ["env", "--default-signal=INT", *command(tmp_path / "control.sock", *arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        begun.append(process)
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """``terminal(*arguments)``: run it where a person would look."""
    opened: list[Terminal] = []

    def run(*arguments: object, columns: int = 80, **env: str) -> Terminal:
        words = command(tmp_path / "control.sock", *arguments)
        opened.append(Terminal(words, columns, **env))
        return opened[-1]

    yield run
    for one in opened:
        one.close()


def plain(text: str) -> str:
    """Without colours."""
    return ESCAPES.sub("", text)
