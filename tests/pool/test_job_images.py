"""Jobs that ask for an image, on a real Engine: what they run in, what comes after them, what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.command import build
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until

pytestmark = pytest.mark.long

POOL = """
[[pool]]
name = "local"
slots = 1
network = "none"
job_images = ["test/asked:*", "test/bare:1"]
env = { GREETING = "hello" }
"""
MARK = "cat /asked 2>/dev/null || echo of the pool; echo $GREETING"


def with_a_file(engine: PrivateEngine, tag: str, base: str) -> None:
    """An image on that base that has one file more."""
    build(engine.url, tag, f"FROM {base}\nRUN echo {tag} >/asked\n")


@pytest.fixture(scope="module")
def manager(worker_engine: PrivateEngine) -> Iterator[Manager]:
    with_a_file(worker_engine, "test/asked:1", "mayfly/local:cpu")
    build(worker_engine.url, "test/bare:1", "FROM scratch\nLABEL nothing=here\n")
    with Manager(worker_engine.url, POOL) as made:
        made.start()
        yield made


def test_a_job_runs_in_its_image_and_those_around_it_in_the_pools_own(manager: Manager) -> None:
    asked = ("--image", "test/asked:1")
    before = manager.submit("sh", "-c", MARK)
    job = manager.submit("sh", "-c", MARK, options=(*asked, "--name", "in-it"))
    after = manager.submit("sh", "-c", MARK)
    assert [manager.ended(one)["state"] for one in (before, job, after)] == ["succeeded"] * 3
    assert manager.output(job).split("\n") == ["test/asked:1", "hello", ""]
    for other in (before, after):
        assert manager.output(other).split("\n") == ["of the pool", "hello", ""]
    assert manager.job(job)["image"] == "test/asked:1"
    assert manager.job(after)["image"] is None
    until(manager.rests, "the slot has an agent of the pool's own image again")
    assert manager.slot()["image"] == "mayfly/local:cpu"


def test_what_cannot_be_asked_for_is_refused_with_what_can(manager: Manager) -> None:
    for image, sentence in (
        ("lab/other:1", "no pool with a queue lets jobs ask for image lab/other:1; which pools"),
        (
            "test/asked:9",
            "image test/asked:9 is not on this Engine: `sudo docker pull test/asked:9`",
        ),
        ("test/bare:1", "`mayfly images build cpu --base test/bare:1 --tag NAME` makes one"),
    ):
        done = manager.cli("submit", "--image", image, "--", "true")
        assert done.returncode == 1
        assert sentence in done.stderr


def test_a_job_whose_image_is_gone_waits_says_so_and_runs_once_it_is_back(
    manager: Manager, worker_engine: PrivateEngine
) -> None:
    with_a_file(worker_engine, "test/asked:2", "mayfly/local:cpu")
    blocks = manager.queue("sleep", "600")
    manager.started(blocks)
    job = manager.queue("sh", "-c", MARK, image="test/asked:2")
    worker_engine.docker("rmi", "test/asked:2")
    told = "image test/asked:2 is not on this Engine"
    until(lambda: told in str(manager.job(job)["why"]), "why it waits")
    manager.cli("cancel", blocks)
    other = manager.queue("sh", "-c", MARK)
    assert manager.ended(other)["state"] == "succeeded"
    assert manager.job(job)["state"] == "queued"
    with_a_file(worker_engine, "test/asked:2", "mayfly/local:cpu")
    assert manager.ended(job)["state"] == "succeeded"
    assert manager.output(job).startswith("test/asked:2\n")
