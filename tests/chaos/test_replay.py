"""A chaotic run on a real Engine is told again by what `mayfly bugreport` has written of it."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mayfly.core.recording import Difference, replayed
from tests.harness import Manager, until
from tests.replay import main

if TYPE_CHECKING:
    from collections.abc import Iterator

from tests.engine.private_engine import PrivateEngine, why_not

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
SECRET = "kept-from-3b9d"
TOKEN = "ghp_kept-from-71c2"
POOLS = """
[[pool]]
name = "local"
provider = "local"
slots = 2
env = {{ LICENCE = "{secret}" }}
[[pool]]
name = "away"
provider = "github"
slots = 1
image = "mayfly/github:cpu"
url = "http://127.0.0.1:9/acme"
token = {{ file = "{home}/token" }}
"""


@pytest.fixture
def own() -> Iterator[PrivateEngine]:
    """An Engine that a test may stop."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    with PrivateEngine(live_restore=False) as engine:
        yield engine


def test_a_chaotic_run_replays_to_the_same_facts(own: PrivateEngine) -> None:
    with Manager(own.url) as manager:
        (manager.home / "token").write_text(TOKEN)
        (manager.home / "token").chmod(0o600)
        manager.configure(POOLS.format(home=manager.home, secret=SECRET))
        manager.start(wait="answer")
        job = manager.queue("sh", "-c", "sleep 2; exit 3", env={"SECRET": SECRET})
        manager.started(job)
        manager.kill()
        manager.start(wait="answer")
        assert manager.ended(job)["exit_code"] == 3
        lost = manager.queue("sleep", "600")
        manager.started(lost)
        own.stop(signal.SIGKILL)
        until(lambda: "engine.unknown" in manager.health(), "the manager misses the Engine")
        own.start()
        assert manager.ended(lost)["state"] == "lost"
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"
        file = manager.home / "report.json"
        done = manager.cli("bugreport", "--output", str(file))
        assert done.returncode == 0, done.stderr
        check(file)


def check(file: Path) -> None:
    """The report is whole, holds no secret, and tells the run again."""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert SECRET not in text
    assert TOKEN not in text
    document: dict[str, Any] = json.loads(text)
    for part in ("versions", "config", "doctor", "manager", "status", "events", "recording"):
        assert "unknown" not in document[part], part
    found: list[Difference] = []
    steps, facts = replayed(document["recording"], found.append)
    assert (found, main([str(file)])) == ([], 0)
    assert steps > 20
    assert facts > 10
    kinds = {
        fact["is"] for step in document["recording"]["steps"] for fact in step.get("facts", ())
    }
    assert {"AgentExited", "JobEnded", "GateOpening"} <= kinds
