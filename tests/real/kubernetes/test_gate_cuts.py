"""A gate opens once or never, wherever the way to it is cut; and what a manager may do is what it needs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.model import ContainerId
from mayfly.edge.cluster import Cluster as Settings
from mayfly.edge.faults import Fault
from mayfly.edge.gate import frame, words
from mayfly.engines.kubernetes import sockets
from mayfly.engines.kubernetes.access import access
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.manifest import CONTAINER
from mayfly.engines.protocol import StreamTurn
from tests.engine.contract import World
from tests.harness import until
from tests.real.kubernetes.cluster_crashing import CUTS
from tests.real.kubernetes.namespace import Namespace
from tests.real.kubernetes.rights import each, rules

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(300)]

JOB = {"job.argv": words(["sh", "-c", "echo it ran; exit 5"]), "job.env": words([])}
# What opens nothing and burns its gate; the two ends are tests of their own.
BROKEN = [name for name in CUTS if name not in ("no byte", "all of it")]


def settings(space: Namespace, place: Path, *without: tuple[str, str]) -> Settings:
    """How a manager with those rights less reaches the namespace."""
    kubeconfig = place / "kubeconfig"
    space.account("manager", rules(*without), kubeconfig)
    return Settings(namespace=space.name, kubeconfig=str(kubeconfig))


@pytest.fixture
def reached(space: Namespace, tmp_path: Path) -> Settings:
    """The namespace, as a manager reaches it."""
    return settings(space, tmp_path)


@pytest.fixture
def world(reached: Settings, tmp_path: Path) -> Iterator[World]:
    """Agents in it."""
    one = World(KubernetesEngine(reached), tmp_path)
    yield one
    one.close()


def at_gate(world: World) -> tuple[AgentPlan, ContainerId]:
    """An agent that waits there."""
    plan = world.plan()
    container = world.engine.prepare(plan)
    until(lambda: world.witness(plan).ready, "it stands at its gate")
    return plan, container


def cut(space: Namespace, reached: Settings, container: ContainerId, data: bytes) -> None:
    """Attach as the engine does, send that, and lose the connection without a word."""
    path = f"{space.path}/pods/{container.partition('@')[0]}/attach"
    query = [("container", CONTAINER), ("stdin", "true"), ("stdout", "true")]
    streams = sockets.connect(access(reached), path, query, "cutting")
    streams.send(data)
    with socket.socket(fileno=streams.fileno()) as wire:  # no word of TLS or of the protocol
        wire.shutdown(socket.SHUT_RDWR)
        wire.detach()
    streams.close()


@pytest.mark.parametrize("where", BROKEN)
def test_a_frame_that_is_cut_opens_nothing_and_burns_its_gate(
    space: Namespace, reached: Settings, world: World, where: str
) -> None:
    plan, container = at_gate(world)
    data = frame(plan.generation, JOB)
    cut(space, reached, container, data[: CUTS[where](data)])
    until(
        lambda: (seen := world.seen(container)) is None or not seen.live,
        "the agent ends at its gate",
    )
    assert world.witness(plan).opened is None
    assert "it ran" not in space.log(container.partition("@")[0])
    with pytest.raises(Fault):
        world.engine.open(plan.generation, container, data)


def test_an_attachment_that_is_lost_before_a_byte_came_opens_nothing(
    space: Namespace, reached: Settings, world: World
) -> None:
    plan, container = at_gate(world)
    cut(space, reached, container, b"")
    # Its node may not have heard of it, and then it stands at its gate as before.
    with suppress(Fault):
        world.engine.open(plan.generation, container, frame(plan.generation, JOB))
    until(lambda: (seen := world.seen(container)) is None or not seen.live, "it ends")
    ran = space.log(container.partition("@")[0]).count("it ran")
    assert ran == (0 if world.witness(plan).opened is None else 1)


def test_a_frame_that_was_sent_whole_opens_its_gate_whoever_hears_of_it(
    space: Namespace, reached: Settings, world: World
) -> None:
    plan, container = at_gate(world)
    cut(space, reached, container, frame(plan.generation, JOB))
    until(lambda: world.witness(plan).exit, "its job has ended")
    end = world.witness(plan).exit
    assert end is not None
    assert end.code == 5
    assert space.log(container.partition("@")[0]).count("it ran") == 1


def lived(world: World) -> None:
    """An agent's life, with all that is asked of an engine; what fails is a Fault or an AssertionError."""
    turns: list[StreamTurn] = []
    follower = world.engine.watch(lambda _: None, turns.append)
    try:
        until(lambda: turns, "the watch has begun", 10)
        assert turns[0].up, turns[0].why
        plan = world.plan()
        container = world.engine.prepare(plan)
        until(lambda: world.witness(plan).ready, "it stands at its gate", 10)
        assert world.engine.exec_probe(container, ("/bin/true",), 10.0)[0] == 0
        world.engine.open(plan.generation, container, frame(plan.generation, JOB))
        until(lambda: world.witness(plan).exit, "its job has ended", 20)
        assert world.seen(container)
        world.engine.remove(container)
    finally:
        follower.stop()


def test_the_rights_are_enough(world: World) -> None:
    lived(world)


@pytest.mark.parametrize("may", [True, False])
def test_a_namespace_says_which_it_is_to_whoever_may_get_it(
    space: Namespace, tmp_path: Path, *, may: bool
) -> None:
    without = () if may else (("namespaces", "get"),)
    engine = KubernetesEngine(settings(space, tmp_path, *without))
    about = space.cluster.api.get(space.path)["metadata"]
    assert engine.facts().id == (about["uid"] if may else "")
    assert all(one.well for one in engine.examine()) is may
    engine.close()


# Where the server's own words name neither, or nobody is told them.
TOLD = {
    ("pods", "list"): "the watch has begun",
    ("pods", "watch"): "the watch has begun",
    ("pods/log", "get"): "it stands at its gate",
    ("pods/attach", "create"): "opening the gate of pod .* is forbidden",
    ("pods/exec", "create"): "running /bin/true in pod .* is forbidden",
}


@pytest.mark.parametrize(("resource", "verb"), [*each()])
def test_no_right_can_be_spared(space: Namespace, tmp_path: Path, resource: str, verb: str) -> None:
    """What fails is what that right is for, and nothing before."""
    if (resource, verb) != ("leases", "create"):
        free = {"metadata": {"name": "mayfly"}, "spec": {"holderIdentity": ""}}
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{space.name}/leases"
        space.cluster.api.post(leases, free)
    world = World(KubernetesEngine(settings(space, tmp_path, (resource, verb))), tmp_path)
    said = TOLD.get((resource, verb), f'cannot {verb} resource "{resource}"')
    try:
        with pytest.raises((Fault, AssertionError), match=said):
            lived(world)
    finally:
        world.close()
