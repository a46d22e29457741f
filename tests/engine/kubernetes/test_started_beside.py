"""What is started beside a pod's own process, which is root's at first, in a pod whose job may be at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.core.bare_command import bare
from mayfly.core.tree_manifest import TreeEntry
from mayfly.core.workspace import Owner
from mayfly.edge.gate import frame
from mayfly.edge.tree_archive import END, TreeArchive
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.sockets import MESSAGES, READ
from tests.engine.contract import FOREVER, World
from tests.fakes.kubernetes import FakeCluster
from tests.waiting import Until

Make = Callable[[FakeCluster], KubernetesEngine]


@pytest.fixture
def world(fake: FakeCluster, engine_of: Make, tmp_path: Path) -> Iterator[World]:
    made = World(engine_of(fake), tmp_path / "state")
    yield made
    made.close()


def test_all_that_is_started_is_named_in_full_and_goes_by_no_variable_of_the_pod(
    fake: FakeCluster, engine_of: Make, world: World, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    engine = world.engine
    archive = TreeArchive(Owner(1000, 1000), 0.0)
    engine.put_tree(
        container, [*archive.workspace([TreeEntry("a", "file", 0o644, 1, "0" * 64)], _one), END]
    )
    engine.at_gate(container)
    engine.exec_probe(container, ("/usr/bin/env", "getent", "passwd", "1000"), 5.0)
    engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    engine.exec_probe(container, ("/bin/true",), 5.0, user="1000:1000")
    beside = engine.execute(
        container, ("/bin/cat",), user="1000:1000", variables={"MARK": "m"}, terminal=False
    )
    beside.close()
    again = engine_of(fake)  # another run of the manager, which asks who was not heard yet
    again.witnesses(world.witnesses.root)
    again.list()
    engine.signal(container, "TERM")
    again.close()
    assert len(fake.begun) >= 7, fake.begun
    assert any("echo ready" in word for words in fake.begun for word in words)
    for words in fake.begun:
        if words[:1] == ("/usr/bin/setpriv",):  # for a person: what it becomes is the job user's
            drops = words.index("--no-new-privs")
            assert words[drops + 1 :] == ("/usr/bin/env", "MARK=m", "/bin/cat")
        else:
            assert words[:3] == bare(()), words


def _one(_: TreeEntry) -> list[bytes]:
    return [b"x"]


@pytest.mark.parametrize("size", [1, 1000, 32 * 1024])
def test_a_flood_is_read_some_of_it_a_call(
    fake: FakeCluster, world: World, until: Until, size: int
) -> None:
    fake.flood = size
    container = world.started(world.plan(), until)
    beside = world.engine.execute(
        container, ("/bin/cat",), user="1000:1000", variables={}, terminal=False
    )
    try:
        total = 0
        while total < 3 * READ and total < 3 * MESSAGES * size:
            found = beside.receive()
            assert found is not None
            assert len(found) <= MESSAGES
            assert sum(len(data) for _, data in found) < READ + size
            total += sum(len(data) for _, data in found)
    finally:
        beside.close()
