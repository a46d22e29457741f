"""A look into a kept namespace asks the Engine for its process once, as long as that lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from mayfly.core.model import ContainerId
from mayfly.engines.docker.engine import DockerEngine


class OfThisProcess(DockerEngine):
    """An Engine whose one holder is this process."""

    def __init__(self) -> None:
        super().__init__("unix:///nobody/listens")
        self.asked = 0

    def first_process(self, cid: ContainerId) -> int | None:
        self.asked += 1
        return os.getpid() if cid == HERE else None


HERE = ContainerId(Path("/proc/self/cgroup").read_text().splitlines()[0])


def test_as_long_as_its_process_lives_the_engine_is_asked_for_it_once() -> None:
    engine = OfThisProcess()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as left:
        left.bind(("127.0.0.1", 0))
        assert not any(engine.sandbox_is_empty(HERE) for _ in range(20))
    assert engine.asked == 1
    assert not any(engine.sandbox_is_empty(ContainerId("gone")) for _ in range(2))
    assert engine.asked == 3, "one that is gone has none to remember"
