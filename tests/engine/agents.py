"""Stand-ins for agents: small shell scripts in containers that carry a Mayfly's labels."""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from mayfly.core.model import (
    LABEL_FINGERPRINT,
    LABEL_GENERATION,
    LABEL_HOST,
    LABEL_POOL,
    LABEL_SLOT,
    Generation,
)
from mayfly.edge.faults import Passing
from mayfly.engines.docker.engine import DockerEngine as Engine
from mayfly.engines.docker.values import ContainerPlan
from tests.engine.inspecting import inspect

if TYPE_CHECKING:
    from mayfly.core.model import ContainerId

HOST_ENGINE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
IMAGE = "debian:bookworm-slim"


class Agents:
    """Makes plans and containers whose names nobody else uses, and removes them at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = Engine(url)
        self.host = f"test{secrets.token_hex(4)}"
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for found in self.engine.list():
            if found.host == self.host:
                self.engine.remove(found.id)
        for network in self.engine.networks():
            if network.host == self.host:
                self.engine.remove_network(network.id)

    def plan(self, script: str, **changes: Any) -> ContainerPlan:
        """A plan that runs a bash script as its process 1's child, kept after its end."""
        self._count += 1
        generation = f"{self.host}g{self._count}"
        plan = ContainerPlan(
            name=f"{self.host}-{self._count}",
            hostname=f"slot-{self._count}",
            image=IMAGE,
            labels={
                LABEL_HOST: self.host,
                LABEL_POOL: "pool",
                LABEL_SLOT: f"pool-{self._count}",
                LABEL_GENERATION: generation,
                LABEL_FINGERPRINT: "f",
            },
            entrypoint=("bash", "-c", script),
            auto_remove=False,
        )
        return replace(plan, **changes)

    def run(self, script: str, **changes: Any) -> tuple[ContainerId, Generation]:
        """A started container and its generation."""
        plan = self.plan(script, **changes)
        cid = self.engine.create(plan)
        self.engine.start(cid)
        return cid, Generation(plan.labels[LABEL_GENERATION])

    def gone(self, cid: ContainerId) -> bool:
        """Whether nothing is left of it."""
        try:
            return inspect(self.engine, cid) is None
        except Passing:
            return False
