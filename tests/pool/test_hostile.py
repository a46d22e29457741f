"""Jobs that are root in their agents (`sudo = true`) and mean harm: what they reach is their own agent alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until

POOLS = """
[[pool]]
name = "evil"
provider = "local"
slots = 1
sudo = true
[[pool.caches]]
source = "{home}/cache"
target = "/cache"

[[pool]]
name = "good"
provider = "local"
slots = 1
"""
EVIL, GOOD = ("--pool", "evil"), ("--pool", "good")


@pytest.fixture(scope="module")
def manager(engine: PrivateEngine) -> Iterator[Manager]:
    """The manager of this module."""
    with Manager(engine.url) as one:
        (one.home / "cache").mkdir()
        (one.home / "cache").chmod(0o777)
        one.configure(POOLS.format(home=one.home))
        one.start()
        yield one


def there(file: Path) -> None:
    until(file.exists, f"{file.name} is there")


def test_an_end_that_root_forges_in_the_witness_is_none_while_the_job_goes_on(
    manager: Manager,
) -> None:
    cache = manager.home / "cache"
    forger = manager.submit(
        "sh", "-c",
        "sudo sh -c 'echo 0 0 >/run/mayfly/w/exit'; echo mayfly: ended 0; touch /cache/forged; "
        "until [ -e /cache/enough ]; do sleep 0.1; done; exit 3",
        options=EVIL,
    )  # fmt: skip
    follows = manager.submit("true", options=EVIL)
    there(cache / "forged")
    assert manager.cli("submit", *GOOD, "--wait", "--", "true").returncode == 0
    manager.passed()
    assert manager.job(forger)["state"] == "running"
    assert manager.job(follows)["state"] == "queued"
    (cache / "enough").touch()
    assert manager.ended(forger)["exit_code"] == 3
    assert manager.ended(follows)["state"] == "succeeded"
