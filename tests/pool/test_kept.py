"""A pool that keeps failed agents: their containers stay for a look, removed by the manager in the end."""

from __future__ import annotations

from collections.abc import Callable

from tests.harness import Manager, until

KEEPING = """
[[pool]]
name = "local"
provider = "local"
slots = 1
network = "none"
keep_failed = "30m"
"""


def test_a_failed_agents_files_can_be_looked_at_while_the_slot_goes_on(
    make: Callable[..., Manager],
) -> None:
    manager = make(KEEPING)
    manager.start()
    job = manager.submit("sh", "-c", "echo why >/tmp/clue; exit 3")
    assert manager.ended(job)["exit_code"] == 3

    def kept() -> str | None:
        note = manager.slot()["note"]
        return note if note.startswith("failed agent kept for ") else None

    container = until(kept, "the row tells of it").rpartition(" ")[2]
    assert manager.docker("cp", f"{container}:/tmp/clue", "-")
    done = manager.cli("submit", "--wait", "--", "echo", "next")
    assert done.stdout == "next\n"
    assert container in manager.docker("ps", "-a", "--format", "{{.ID}}")
    drained = manager.cli("drain", "--all", "--wait", "--timeout", "60s")
    assert drained.returncode == 0, drained.stderr
    assert manager.containers() == []
