"""Containers with Mayfly's labels that Mayfly has not made: told, left alone, and in nobody's way."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.harness import Manager, until

if TYPE_CHECKING:
    from collections.abc import Callable

SLEEP = ("--entrypoint", "sleep")


def labels(**named: str) -> list[str]:
    """Options of `docker run` for these labels of Mayfly's."""
    return [
        word for name, text in named.items() for word in ("--label", f"io.mayfly.{name}={text}")
    ]


def test_copies_and_forgeries_are_told_and_left_alone(make: Callable[..., Manager]) -> None:
    manager = make()
    manager.start()
    host = str(manager.host_id())
    victim = manager.state.parent / "victim"
    victim.mkdir()
    (victim / "file").touch()
    forged = labels(host=host, pool="local", slot="local-0")
    made = [
        # What `docker commit` makes has the labels of its container.
        manager.docker("commit", "local-0", "a-copy").strip() and "copy",
        # An image, or a colleague, may write any labels; these name directories on the host.
        *("outside", "parent", "well-formed", "elsewhere"),
    ]
    for name, image, words in (
        ("copy", "a-copy", []),
        ("outside", "debian:bookworm-slim", [*forged, *labels(generation="../../victim")]),
        ("parent", "debian:bookworm-slim", [*forged, *labels(generation="..")]),
        ("well-formed", "debian:bookworm-slim", [*forged, *labels(generation="g000000000001")]),
        ("elsewhere", "debian:bookworm-slim", labels(host="x", slot="y-0", generation="z")),
    ):
        manager.docker("run", "-d", "--name", name, *words, *SLEEP, image, "600")
    try:
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"
        assert manager.kill(signal.SIGTERM) == 0
        manager.start()
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"
        told = until(lambda: manager.health().get("container.stranger"), "strangers are told")
        assert "container copy and 3 more" in told
        running = manager.docker("ps", "--format", "{{.Names}}").split()
        assert set(made) <= set(running)
        assert (victim / "file").exists()
        assert manager.state.is_dir()
    finally:
        manager.docker("rm", "-f", *made)
        manager.docker("rmi", "a-copy")
    until(lambda: "container.stranger" not in manager.health(), "nobody is told of any more")
