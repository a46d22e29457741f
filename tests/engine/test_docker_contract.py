"""Docker Engine keeps the contract, on the worker's Engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.tree_manifest import TreeEntry
from mayfly.core.workspace import Owner, Unbrought
from mayfly.edge.faults import Unbringable
from mayfly.edge.tree_archive import END, TreeArchive
from mayfly.engines.docker.engine import DockerEngine
from mayfly.engines.protocol import Engine
from tests.engine.contract import CLAIMS, IMAGE, EngineContract, World
from tests.engine.leading import LINES, goes_its_own_way
from tests.engine.private_engine import PrivateEngine
from tests.waiting import Until

pytestmark = pytest.mark.engine

CLAIMING = "image/that-claims:much"
LEADING = "image/that-leads:elsewhere"


def removed_after(engine: PrivateEngine, image: str) -> Iterator[str]:
    """An image for one test: other files are given the same Engine."""
    try:
        yield image
    finally:
        engine.docker("rmi", "-f", image)


class TestDocker(EngineContract):
    @pytest.fixture
    def engine(self, worker_engine: PrivateEngine) -> Engine:
        return DockerEngine(worker_engine.url)

    @pytest.fixture
    def claiming(self, worker_engine: PrivateEngine) -> Iterator[str]:
        made = worker_engine.docker("create", IMAGE)
        labels = [
            word
            for claim in CLAIMS.items()
            for word in ("--change", f"LABEL {claim[0]}={claim[1]}")
        ]
        try:
            worker_engine.docker("commit", *labels, made, CLAIMING)
        finally:
            worker_engine.docker("rm", made)
        yield from removed_after(worker_engine, CLAIMING)

    @pytest.fixture
    def leading(self, worker_engine: PrivateEngine) -> Iterator[str]:
        """An agent image in which programs are searched for where anybody may write."""
        words = ("docker", "-H", worker_engine.url, "build", "-q", "-t", LEADING, "-")
        said = f"FROM {IMAGE}\n{LINES}"
        around = {**os.environ, "DOCKER_BUILDKIT": "0"}
        subprocess.run(words, input=said, text=True, capture_output=True, check=True, env=around)
        yield from removed_after(worker_engine, LEADING)

    def test_nothing_of_roots_goes_by_what_an_image_says(
        self, world: World, until: Until, leading: str
    ) -> None:
        """What a job has left where an image has programs searched for runs as no other."""
        container = world.started(replace(world.plan(), image=leading), until)
        goes_its_own_way(world.engine, container)

    @pytest.fixture
    def prints(self) -> Callable[[World, AgentPlan], None]:
        """Nothing: the job itself does."""
        return lambda world, plan: None

    @pytest.mark.parametrize(
        ("paths", "why"),
        [
            (["x" * 300], Unbrought.NAME_TOO_LONG),
            (["/".join(["x" * 200] * 21)], Unbrought.NAME_TOO_LONG),
            (["a", "a/b"], Unbrought.KIND),
        ],
    )
    def test_a_tree_that_no_container_can_take_is_its_jobs_fault(
        self, world: World, until: Until, paths: list[str], why: Unbrought
    ) -> None:
        container = world.started(world.plan(), until)
        archive = TreeArchive(Owner(1000, 1000), 0.0)
        entries = [TreeEntry(path, "file", 0o644, 1, "0" * 64) for path in paths]
        with pytest.raises(Unbringable) as caught:
            world.engine.put_tree(
                container, chain(archive.workspace(entries, lambda _: [b"x"]), [END])
            )
        assert caught.value.why is why
