"""What is refused at ``submit`` since a job would not take it as it is meant."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from shlex import quote

import pytest

from mayfly.cli.misunderstood import see_that_it_is_a_program, see_that_nothing_is_piped_in
from mayfly.cli.trouble import Usage
from tests.cli.conftest import Mayfly
from tests.service.standin import StandIn

PIPED = (
    "standard input has something in it: say --stdin to give it to the job, or </dev/null where it "
    "is not for it"
)


@pytest.mark.parametrize("line", ["ls | wc", "echo hello", "make;true", "$HOME/run", "it's"])
def test_one_word_that_is_a_line_for_a_shell_is_no_program(line: str) -> None:
    with pytest.raises(Usage) as told:
        see_that_it_is_a_program([line])
    named = quote(line)
    assert str(told.value) == (
        f"no program is called {named}; for a shell's line: mayfly submit -- sh -c {named}"
    )


@pytest.mark.parametrize("command", [["make"], ["/opt/größe/run-1.sh"], ["sh", "-c", "ls | wc"]])
def test_a_program_and_its_words_are_taken(command: list[str]) -> None:
    see_that_it_is_a_program(command)


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _opened(stack: ExitStack, *descriptors: int) -> tuple[int, ...]:
    for one in descriptors:
        stack.callback(os.close, one)
    return descriptors


def test_what_is_piped_in_is_refused_and_left_unread(closing: ExitStack, tmp_path: Path) -> None:
    reading, writing = _opened(closing, *os.pipe())
    os.write(writing, b"pytest\n\xff")
    (tmp_path / "script").write_bytes(b"pytest\n")
    (file,) = _opened(closing, os.open(tmp_path / "script", os.O_RDONLY))
    ours, theirs = socket.socketpair()
    closing.enter_context(ours)
    closing.enter_context(theirs)
    theirs.send(b"pytest\n")
    for descriptor in (reading, file, ours.fileno()):
        with pytest.raises(Usage, match="standard input has something in it"):
            see_that_nothing_is_piped_in(descriptor)
    assert os.read(reading, 100) == b"pytest\n\xff"
    assert os.read(file, 100) == b"pytest\n"


def test_input_that_is_none_or_another_s_keeps_no_job_away(
    closing: ExitStack, tmp_path: Path
) -> None:
    silent, writing = _opened(closing, *os.pipe())
    (tmp_path / "list").write_bytes(b"first\nsecond\n")
    (begun,) = _opened(closing, os.open(tmp_path / "list", os.O_RDONLY))
    os.read(begun, 6)  # as by `while read line; do mayfly submit …; done <list`
    (nothing,) = _opened(closing, os.open(os.devnull, os.O_RDONLY))
    (folder,) = _opened(closing, os.open(tmp_path, os.O_RDONLY))
    for descriptor in (silent, begun, nothing, folder, 1_000_000):
        see_that_nothing_is_piped_in(descriptor)
    assert writing != silent


def test_both_are_refused_by_the_command_and_queue_nothing(
    manager: StandIn, mayfly: Mayfly
) -> None:
    ran = mayfly("submit", "--", "sh", stdin="pytest\n")
    assert (ran.code, ran.out, ran.err) == (2, "", f"mayfly: {PIPED}\n")
    ran = mayfly("submit", "--wait", "--", "ls | wc")
    assert (ran.code, ran.out) == (2, "")
    assert "mayfly submit -- sh -c 'ls | wc'" in ran.err
    assert manager.commands == []
