"""``mayfly attach`` at a real terminal and in a pipe, beside a process that says back what it is told."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Mayfly
from tests.service.let_in import LetIn
from tests.terminal import Terminal
from tests.waiting import Until

OnTerminal = Callable[..., Terminal]


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[LetIn]:
    """A manager whose agent has a job."""
    made = LetIn(tmp_path)
    yield made
    made.manager.close()


def test_without_a_terminal_it_is_a_pipe_and_has_the_commands_code(
    inside: LetIn, mayfly: Mayfly
) -> None:
    ran = mayfly("attach", "j1", "--", "cat", "-", stdin="one\ntwo\n")
    assert (ran.code, ran.out, ran.err) == (0, "one\ntwo\n", "")
    assert inside.executions[0].argv[3:] == ("-", "", "cat", "-")


def test_a_slot_is_named_as_a_job_is(inside: LetIn, mayfly: Mayfly) -> None:
    assert mayfly("attach", "local-0", stdin="x").out == "x"
    assert inside.executions[0].argv[3:] == ("-", "")


def test_what_is_nowhere_is_no_slot_and_no_job(inside: LetIn, mayfly: Mayfly) -> None:
    ran = mayfly("attach", "nope")
    assert (ran.code, ran.out, ran.err) == (4, "", "mayfly: there is no slot or job nope\n")
    assert inside.executions == []


def test_an_option_behind_the_job_is_told_to_come_first(inside: LetIn, mayfly: Mayfly) -> None:
    ran = mayfly("attach", "j1", "-it")
    assert ran.code == 2
    assert "options come first" in ran.err


def test_a_terminal_is_handed_on_key_by_key_with_its_size_and_put_back(
    inside: LetIn, terminal: OnTerminal, until: Until
) -> None:
    screen = terminal("attach", "j1")
    before = screen.settings()
    until(lambda: bool(inside.executions), 30)
    (execution,) = inside.executions
    assert execution.argv[3:] == ("24x80", "xterm")
    until(lambda: screen.settings() != before, 30)
    screen.type("a\x03\x04b")  # ^C and ^D are the process's
    screen.until("a\x03\x04b")
    screen.resize(30, 100)
    until(lambda: execution.sizes == [(30, 100)], 30)
    inside.engine.ends(inside.plan.generation)
    code, seen = screen.end()
    assert code == 137
    assert seen.endswith("mayfly: the job has ended, and this with it\n")


def test_a_person_leaves_by_tilde_dot_and_what_was_started_is_ended(
    inside: LetIn, terminal: OnTerminal, until: Until
) -> None:
    screen = terminal("attach", "j1")
    before = screen.settings()
    until(lambda: screen.settings() != before, 30)
    screen.type("a~.\r~~\r~x")
    screen.until("a~.\r~\r~x")
    screen.type("\r~.")
    code, seen = screen.end()
    assert code == 0
    assert seen.endswith("mayfly: left, and what was started is ended; the job in j1 goes on\n")
    until(lambda: inside.executions[0].exit_code() == 137, 30)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_the_command_puts_the_terminal_back_or_leaves_nothing_running(
    inside: LetIn, terminal: OnTerminal, until: Until, how: signal.Signals
) -> None:
    screen = terminal("attach", "j1")
    before = screen.settings()
    until(lambda: screen.settings() != before, 30)
    if how is signal.SIGHUP:
        screen.hang_up()
    else:
        screen.process.send_signal(how)
        assert screen.process.wait(60) == 130
        assert screen.settings() == before
    until(lambda: inside.executions[0].exit_code() == 137, 30)
    until(lambda: inside.left == ["the client went away"], 30)


def test_a_manager_that_stops_is_told_in_a_sentence(
    inside: LetIn, terminal: OnTerminal, until: Until
) -> None:
    screen = terminal("attach", "j1")
    until(lambda: bool(inside.executions), 30)
    inside.attachments.stop()
    code, seen = screen.end()
    assert code == 1
    assert "mayfly: the manager stops; the job goes on: attach again when it is back\n" in seen
