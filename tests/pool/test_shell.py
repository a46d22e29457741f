"""`mayfly shell` and `doctor --canary`: a container in a slot's surroundings, and the slot given back."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until
from tests.terminal import Terminal


def test_a_slot_that_was_cordoned_before_stays_so(manager: Manager) -> None:
    assert manager.cli("cordon", "local-0", "--note", "disk", "--for", "2h").returncode == 0
    before = manager.slot()["cordoned"]
    assert manager.cli("shell", "local-0", "--", "true").returncode == 0
    after = manager.slot()["cordoned"]
    assert (after["note"], after["until"]) == ("disk", before["until"])
    flown = manager.cli("doctor", "--canary", "local-0")
    assert "a fresh agent went from its gate to its end" in flown.stdout
    assert manager.slot()["cordoned"]["note"] == "disk"


@pytest.fixture(scope="module")
def managers(engine: PrivateEngine) -> Iterator[Manager]:
    """One manager, for all tests here that want nothing of its pool."""
    with Manager(engine.url) as one:
        yield one


@pytest.fixture
def manager(managers: Manager) -> Manager:
    """A manager with an idle slot."""
    managers.rested()
    return managers


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """``terminal(manager, *words)``: `mayfly WORDS` where a person would sit."""
    opened: list[Terminal] = []

    def run(manager: Manager, *words: str) -> Terminal:
        command = [sys.executable, "-m", "mayfly.cli.app", *words]
        opened.append(Terminal(command, MAYFLY_CONFIG=str(manager.config)))
        return opened[-1]

    yield run
    for one in opened:
        one.close()


def given_back(manager: Manager) -> None:
    """See that the slot is filled again and nothing of the shell is left."""
    until(lambda: manager.slot()["cordoned"] is None, "the slot is uncordoned")
    manager.in_phase("idle")
    assert "local-0-shell" not in manager.docker("ps", "-a", "--format", "{{.Names}}")
    assert list(manager.state.glob("mayfly-shell-*")) == []
    assert manager.ended(manager.queue("true"))["state"] == "succeeded"


def test_a_shell_on_a_terminal_has_a_prompt_the_window_s_size_and_its_exit_code(
    manager: Manager, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal(manager, "shell", "local-0")
    screen.until("runner@local-0:~$")
    screen.type("id -un; echo from $(hostname)\n")
    screen.until("from local-0\r")
    for rows, columns in ((24, 80), (40, 120)):
        screen.resize(rows, columns)
        size = f'until [ "$(stty size)" = "{rows} {columns}" ]; do sleep 0.1; done'
        screen.type(f"{size}; echo is{columns}'wide'\n")
        screen.until(f"is{columns}wide")
    screen.type("sleep 1000\n")
    top = ("top", "local-0-shell", "-o", "pid,stat,args")
    until(lambda: re.search(r"S\+ +sleep 1000", manager.docker(*top)), "sleep has the terminal")
    screen.seen = ""
    screen.type("\x03")  # ends what runs in the shell, not the shell
    screen.until("runner@local-0:~$")
    assert manager.slot()["cordoned"] is not None
    screen.type("exit 5\n")
    code, _ = screen.end()
    assert code == 5
    given_back(manager)


def test_a_terminal_that_goes_away_gives_the_slot_back(
    manager: Manager, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal(manager, "shell", "local-0")
    screen.until("runner@local-0:~$")
    screen.type("trap '' HUP TERM; sleep 1000\n")
    assert manager.slot()["cordoned"] is not None
    assert screen.hang_up() == 129
    given_back(manager)


def test_a_terminal_that_goes_away_while_a_job_is_waited_for_leaves_the_job_alone(
    manager: Manager, terminal: Callable[..., Terminal]
) -> None:
    job = manager.queue("sleep", "5")
    manager.started(job)
    screen = terminal(manager, "shell", "local-0")
    until(lambda: manager.slot()["cordoned"] is not None, "the slot is being emptied")
    assert screen.hang_up() == 129
    assert manager.ended(job)["state"] == "succeeded"
    given_back(manager)


def test_there_is_no_shell_in_a_slot_that_is_not_there(manager: Manager) -> None:
    done = manager.cli("shell", "local-7")
    assert done.returncode == 4
    assert "local-7" in done.stderr
