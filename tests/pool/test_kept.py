"""A pool that says `keep_failed`, the key of before: its failed jobs are held, also without GPUs."""

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


def test_a_failed_job_is_held_and_its_files_can_be_looked_at_until_the_slot_is_drained(
    make: Callable[..., Manager],
) -> None:
    manager = make(KEEPING)
    manager.start()
    job = manager.submit("sh", "-c", "echo why >/tmp/clue; exit 3")
    assert manager.ended(job)["exit_code"] == 3

    def held() -> bool | None:
        return manager.slot()["note"].startswith("held for root until ") or None

    until(held, "the row tells of it")
    assert manager.cli("attach", job, "--", "cat", "/tmp/clue").stdout == "why\n"
    done = manager.cli("config", "check")
    assert "keep_failed: is an old key: say hold_failed" in done.stdout + done.stderr
    drained = manager.cli("drain", "--all", "--wait", "--timeout", "60s")
    assert drained.returncode == 0, drained.stderr
    assert manager.containers() == []
