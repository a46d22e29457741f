"""An agent on an engine that brings no init, mounts no witness, and asks for an account of the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from docker.types import Mount

from tests.agents.container import Agent, files
from tests.waiting import Until

pytestmark = pytest.mark.engine

Start = Callable[..., Agent]


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The file that such an engine reads in the end: everybody may write to it at first."""
    file = tmp_path / "account"
    file.touch()
    file.chmod(0o666)
    return file


@pytest.fixture
def elsewhere(start: Start, account: Path, until: Until) -> Agent:
    """An agent as a cluster's node makes it."""
    made = start(
        init=False,
        at_gate=False,
        tmpfs={"/run/mayfly": "size=16m,mode=0777"},
        mounts=[Mount("/dev/termination-log", str(account), type="bind")],
    )
    until(made.raw)
    return made


def test_it_stands_at_its_gate_as_a_child_of_its_first_process(elsewhere: Agent) -> None:
    assert elsewhere.raw().decode() == f"mayfly: at gate {elsewhere.generation}\n"
    assert elsewhere.root("stat", "-c", "%a %u", "/run/mayfly", "/run/mayfly/w").split() == [
        *("700", "0", "700", "0")
    ]


def test_a_signal_ends_it_at_its_gate(elsewhere: Agent) -> None:
    elsewhere.signal("TERM")
    assert elsewhere.wait() == 143


def test_its_job_runs_and_its_end_is_told_in_the_account(elsewhere: Agent, account: Path) -> None:
    elsewhere.open(files(["sh", "-c", "echo hello; exit 7"]))
    assert elsewhere.wait() == 7
    first, second, *rest = elsewhere.raw().decode().splitlines()
    assert first == f"mayfly: at gate {elsewhere.generation}"
    assert second == f"mayfly: opened {elsewhere.generation} 1000:1000"
    assert rest == ["hello"]
    assert account.read_text().splitlines() == ["opened", "opened", "exit 7 0"]


def test_its_account_is_printed_behind_a_key_once_nothing_of_its_job_runs(
    start: Start, account: Path, until: Until
) -> None:
    made = start(
        init=False,
        at_gate=False,
        environment={"MAYFLY_ACCOUNT": "printed"},
        tmpfs={"/run/mayfly": "size=16m,mode=0777"},
        mounts=[Mount("/dev/termination-log", str(account), type="bind")],
    )
    until(made.raw)
    script = "setsid sh -c 'while :; do echo on; done' & env; cat /run/mayfly/w/key; exit 7"
    made.open(files(["sh", "-c", script]))
    assert made.wait() == 7
    _, second, *rest = made.raw().decode().splitlines()
    opened, _, key = second.rpartition(" ")
    assert opened == f"mayfly: opened {made.generation} 1000:1000"
    assert rest[-2:] == [f"mayfly: {key} opened", f"mayfly: {key} exit 7 0"]
    assert not [line for line in rest[:-2] if key in line or "MAYFLY_ACCOUNT" in line]


def test_its_job_cannot_write_the_account(elsewhere: Agent, account: Path) -> None:
    elsewhere.open(files(["sh", "-c", "echo exit 0 0 >/dev/termination-log; echo $?"]))
    elsewhere.wait()
    assert account.read_text().splitlines() == ["opened", "opened", "exit 0 0"]
    assert "Permission denied" in elsewhere.errors()


def test_a_signal_from_outside_reaches_its_job_and_is_told(
    elsewhere: Agent, account: Path, until: Until
) -> None:
    elsewhere.open(files(["sleep", "600"]))
    until(lambda: any("sleep" in line for line in elsewhere.processes()))
    elsewhere.signal("TERM")
    assert elsewhere.wait() == 143
    assert account.read_text().splitlines()[1:] == ["opened", "signalled", "exit 143 0"]


def test_its_launcher_can_be_killed_from_inside_and_nothing_lives_on(
    elsewhere: Agent, account: Path, until: Until
) -> None:
    elsewhere.open(files(["sleep", "600"]))
    until(lambda: any("sleep" in line for line in elsewhere.processes()))
    elsewhere.root("sh", "-c", 'read -r gate </run/mayfly/gate && kill -s KILL "$gate"')
    assert elsewhere.wait() == 137
    assert account.read_text().splitlines() == ["opened"]


def test_a_frame_that_is_none_is_told_in_the_account(elsewhere: Agent, account: Path) -> None:
    elsewhere.send(b"hello\n")
    assert elsewhere.wait() == 64
    assert account.read_text() == "died 64 the first line is not the header of a frame\n"
