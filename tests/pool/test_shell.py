"""`mayfly shell` and `doctor --canary`: a container in a slot's surroundings, and the slot given back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.harness import Manager

POOL = """
[[pool]]
name = "local"
provider = "local"
slots = 1
env = {{ COLOUR = "blue" }}
[pool.limits]
memory = "256MiB"
[[pool.dataset]]
source = "{data}"
target = "/datasets/answers"
env = "DATA"
"""


def test_a_shell_sees_what_a_job_sees_and_the_slot_is_given_back(
    make: Callable[..., Manager], tmp_path: Path
) -> None:
    (tmp_path / "answer").write_text("42\n")
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(0o755)
    manager = make(POOL.format(data=tmp_path))
    manager.start()
    script = 'id -u; hostname; echo $COLOUR; cat "$DATA/answer"; touch "$DATA/x" || echo ro; exit 7'
    done = manager.cli("shell", "local-0", "--", "sh", "-c", script)
    assert done.stdout.split() == ["1000", "local-0", "blue", "42", "ro"], done.stderr
    assert done.returncode == 7
    assert manager.cli("wait", "--for", "idle", "--timeout", "60").returncode == 0
    assert manager.slot()["cordoned"] is None
    assert manager.containers() == ["local-0"]
    assert "local-0-shell" not in manager.docker("ps", "-a", "--format", "{{.Names}}")


def test_a_slot_that_was_cordoned_before_stays_so(make: Callable[..., Manager]) -> None:
    manager = make()
    manager.start()
    assert manager.cli("cordon", "local-0", "--note", "disk").returncode == 0
    assert manager.cli("shell", "local-0", "--", "true").returncode == 0
    assert manager.slot()["cordoned"] is not None


def test_there_is_no_shell_in_a_slot_that_is_not_there(make: Callable[..., Manager]) -> None:
    manager = make()
    manager.start()
    done = manager.cli("shell", "local-7")
    assert done.returncode == 4
    assert "local-7" in done.stderr


def test_a_canary_goes_all_the_way_and_the_doctor_says_so(make: Callable[..., Manager]) -> None:
    manager = make()
    manager.start()
    done = manager.cli("doctor", "--json", "--canary", "local-0")
    rows = {row["code"]: row for row in json.loads(done.stdout)["checks"]}
    assert rows["agent.canary"]["state"] == "ok", rows["agent.canary"]
    assert rows["manager.health"]["state"] == "ok"
    assert rows["agent.metadata"]["state"] == "ok"
    assert manager.slot()["phase"] == "idle"
    assert sorted(manager.containers()) == ["local-0", "local-1"]
