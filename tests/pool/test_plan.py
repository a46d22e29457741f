"""What `plan` tells: of a manager that runs, and of one that does not."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.harness import TWO, Manager, until

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Manager]

pytestmark = pytest.mark.engine

ONE = '[[pool]]\nname = "local"\nslots = 1\nnetwork = "none"\n'


def told(manager: Manager) -> list[tuple[str, str, str]]:
    """What `plan --json` lists: action, slot and why."""
    document = manager.json("plan")
    assert document["schema"] == "mayfly.plan/1"
    return [(row["action"], row["slot"], row["reason"]) for row in document["actions"]]


def everything(manager: Manager) -> object:
    """All that a plan must not change."""
    files = {file: file.read_bytes() for file in manager.state.rglob("*") if file.is_file()}
    mine = ("--filter", f"label=io.mayfly.host={manager.host_id()}")
    return manager.docker("ps", "-a", *mine, "--no-trunc", "--format", "{{.ID}} {{.Names}}"), {
        name: data for name, data in files.items() if not name.name.endswith(("-shm", "-wal"))
    }


def comes_to_rest(manager: Manager) -> None:
    """End the manager, and what it has begun at the Engine; each agent has said that it is at its gate."""
    assert manager.kill(signal.SIGTERM) == 0
    agents = [place / "ready" for place in (manager.state / "agents").iterdir()]
    until(lambda: all(ready.exists() and ready.read_text() for ready in agents), "all are at rest")


def test_before_a_manager_has_ever_run_it_tells_what_one_would_do(make: Make) -> None:
    manager = make(TWO)
    assert told(manager) == [
        ("prepare", "local-0", "the slot has no agent"),
        ("prepare", "local-1", "the slot has no agent"),
    ]
    assert not manager.state.exists()
    words = manager.cli("plan").stdout
    assert words.startswith("no manager runs: this is what one would do first")


def test_of_a_manager_that_has_nothing_to_do_it_says_so(make: Make) -> None:
    manager = make(ONE)
    manager.start()
    assert told(manager) == []
    assert "the next pass would do nothing" in manager.cli("plan").stdout


def test_without_the_manager_it_looks_itself_and_touches_nothing(make: Make) -> None:
    manager = make(ONE)
    manager.start()
    manager.cli("pause")
    job = manager.queue("true")
    agent = manager.slot()["agent"]
    comes_to_rest(manager)
    before = everything(manager)
    assert told(manager) == []
    assert "paused by root, nothing is touched" in manager.json("plan")["headline"]
    assert everything(manager) == before
    manager.start(wait="answer")
    manager.cli("resume")
    manager.ended(job)
    witness = manager.state / "agents" / agent
    until(lambda: not witness.exists(), "the job's agent is gone, and all that was its")
    manager.in_phase("idle")
    comes_to_rest(manager)
    manager.configure(ONE + 'env = { NEW = "1" }\n')
    before = everything(manager)
    assert [row[:2] for row in told(manager)] == [("remove", "local-0"), ("prepare", "local-0")]
    assert told(manager)[0][2] == "stale: it was made from another configuration or image"
    assert everything(manager) == before


def test_where_the_engine_does_not_answer_either_it_says_that(make: Make) -> None:
    manager = make(ONE)
    manager.docker_host = f"unix://{manager.home}/nowhere"
    manager.configure(ONE)
    done = manager.cli("plan")
    assert done.returncode == 1
    assert "there is no such socket" in done.stderr
    assert len(done.stderr.splitlines()) == 1
