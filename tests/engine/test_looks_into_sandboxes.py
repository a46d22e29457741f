"""A look into a kept namespace asks the Engine for its process once, as long as that lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mayfly.core.agent_plan import Network
from mayfly.core.model import ContainerId, Generation, HostId, PoolName, SlotName
from mayfly.core.sandbox import SandboxPlan
from mayfly.edge.faults import Passing
from mayfly.engines.docker import engine as docker_engine
from mayfly.engines.docker.client import DockerClient
from mayfly.engines.docker.engine import BLIND_SECONDS, DockerEngine
from mayfly.engines.docker.values import ContainerPlan
from mayfly.engines.protocol import Capabilities, EngineFacts


class OfThisProcess(DockerEngine):
    """An Engine whose one holder is this process."""

    def __init__(self) -> None:
        super().__init__("unix:///nobody/listens")
        self.asked = 0

    def first_process(self, cid: ContainerId) -> int | None:
        self.asked += 1
        return os.getpid() if cid == HERE else None


class Account(DockerClient):
    """What an Engine says of itself that can keep networks."""

    def facts(self) -> EngineFacts:
        return EngineFacts("Docker Engine", "id", (28, 5, 2), (1, 51), Capabilities())


class Unseen(DockerEngine, Account):
    """An Engine whose holder lives, and is not to be looked into from here."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__("unix:///nobody/listens", clock=clock)

    def create(self, plan: ContainerPlan) -> ContainerId:
        del plan
        return ContainerId("holder")

    def start(self, cid: ContainerId) -> None:
        assert cid == "holder"

    def remove(self, cid: ContainerId) -> None:
        assert cid == "holder"

    def first_process(self, cid: ContainerId) -> int | None:
        del cid
        return os.getpid()  # in no container of that name


HERE = ContainerId(Path("/proc/self/cgroup").read_text().splitlines()[0])

PLAN = SandboxPlan(
    host=HostId("host"),
    pool=PoolName("p"),
    slot=SlotName("p-0"),
    generation=Generation("mywpiww04dxsk"),
    name="p-0.sandbox",
    image="image",
    labels={},
    network=Network("lab", ()),
    userns="",
)


def test_as_long_as_its_process_lives_the_engine_is_asked_for_it_once() -> None:
    engine = OfThisProcess()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as left:
        left.bind(("127.0.0.1", 0))
        assert not any(engine.sandbox_is_empty(HERE) for _ in range(20))
    assert engine.asked == 1
    assert not any(engine.sandbox_is_empty(ContainerId("gone")) for _ in range(2))
    assert engine.asked == 3, "one that is gone has none to remember"


def test_a_namespace_that_was_not_to_be_seen_is_tried_again_after_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(docker_engine, "SETTLING", 0.0)
    now = 1000.0
    engine = Unseen(lambda: now)
    assert engine.facts().capabilities.sandbox
    with pytest.raises(Passing, match="cannot be looked into"):
        engine.make_sandbox(PLAN)
    assert not engine.facts().capabilities.sandbox
    assert "looked into" in engine.facts().capabilities.unkept
    now += BLIND_SECONDS
    assert engine.facts().capabilities.sandbox
