"""What a cluster does that a good one seldom does: each is told, loses nothing, and ends nothing."""

from __future__ import annotations

import os
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.model import ContainerId
from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.gate import frame
from mayfly.edge.witness import unheard
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.pods import VANISHED
from mayfly.engines.protocol import EngineEvent, Gone, StreamTurn
from tests.engine.contract import FOREVER, TRUE, World
from tests.fakes.kubernetes import NAMESPACE, FakeCluster
from tests.waiting import Until

Make = Callable[[FakeCluster], KubernetesEngine]


@pytest.fixture
def engine(fake: FakeCluster, engine_of: Make) -> KubernetesEngine:
    return engine_of(fake)


@pytest.fixture
def world(engine: KubernetesEngine, tmp_path: Path) -> Iterator[World]:
    made = World(engine, tmp_path / "state")
    yield made
    made.close()


class Heard:
    """Events and turns of one follower."""

    def __init__(self, engine: KubernetesEngine) -> None:
        self.events: list[EngineEvent] = []
        self.turns: list[StreamTurn] = []
        self.follower = engine.watch(self.events.append, self.turns.append)

    def died(self, container: ContainerId) -> list[EngineEvent]:
        return [one for one in self.events if one.action == "die" and one.id == container]


@pytest.fixture
def heard(engine: KubernetesEngine, until: Until) -> Iterator[Heard]:
    one = Heard(engine)
    until(lambda: any(turn.up for turn in one.turns))
    yield one
    one.follower.stop()


def test_a_version_that_is_too_old_is_listed_again_and_an_end_is_told_once(
    fake: FakeCluster, world: World, heard: Heard, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    until(lambda: any(one.id == container for one in heard.events))
    fake.fails("WATCH", "/pods", 410, "too old resource version", "Expired")
    fake.forget()
    fake.pod(plan.generation).end(64, died="for a test")
    until(lambda: heard.died(container))
    fake.forget()
    other = world.started(world.plan(), until)
    until(lambda: any(one.id == other and one.action == "start" for one in heard.events))
    assert len(heard.died(container)) == 1


def lists(fake: FakeCluster, world: World) -> int:
    return fake.calls.count(f"GET {world.engine._path}")  # type: ignore[attr-defined]


def test_a_watch_that_a_server_ends_at_its_time_goes_on_where_it_was(
    fake: FakeCluster, world: World, heard: Heard, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    monkeypatch.setattr("mayfly.engines.kubernetes.watching.LASTS", 0)
    before = lists(fake, world)
    fake.fails("END", "/watch", 0, "")
    fake.fails("END", "/watch", 0, "")
    fake.ring()
    fake.pod(plan.generation).end(64, died="for a test")
    until(lambda: heard.died(container))
    until(lambda: not fake._faults)
    assert lists(fake, world) == before


@pytest.mark.parametrize("how", ["CUT", "END"])
def test_a_store_that_was_set_back_is_listed_anew_where_its_server_ends_the_watch(
    fake: FakeCluster, world: World, heard: Heard, until: Until, how: str
) -> None:
    """It takes a version of its future without a word, and says nothing until it has come there."""
    fake.version = 1000
    plan = world.plan()
    container = world.started(plan, until)
    until(lambda: any(one.id == container and one.action == "start" for one in heard.events))
    fake.restore(version=10)
    fake.fails(how, "/watch", 0, "")
    fake.fails(how, "/watch", 0, "")
    fake.ring()
    fake.pod(plan.generation).end(64, died="for a test")
    until(lambda: heard.died(container), 20)
    assert len(heard.died(container)) == 1


def test_a_store_that_was_set_back_while_a_watch_went_on_is_found_by_the_next_look(
    fake: FakeCluster, world: World, heard: Heard, until: Until
) -> None:
    fake.version = 1000
    plan = world.plan()
    container = world.started(plan, until)
    until(lambda: any(one.id == container and one.action == "start" for one in heard.events))
    fake.restore(version=10)
    fake.pod(plan.generation).end(64, died="for a test")
    assert not heard.died(container)
    world.engine.list()
    until(lambda: heard.died(container), 20)
    other = world.started(world.plan(), until)
    until(lambda: any(one.id == other and one.action == "start" for one in heard.events), 20)


def test_a_server_that_is_away_is_unknown_and_told_and_its_return_too(
    fake: FakeCluster, world: World, heard: Heard, until: Until
) -> None:
    for _ in range(3):
        fake.fails("WATCH", "/pods", 503, "etcdserver: leader changed")
        fake.fails("CUT", "/watch", 0, "")
    fake.fails("GET", "/pods$", 503, "etcdserver: leader changed")
    with pytest.raises(Passing, match="leader changed"):
        world.engine.list()
    fake.ring()
    until(lambda: [turn.up for turn in heard.turns][-1] is True and len(heard.turns) >= 3)


def test_a_pod_that_went_while_nobody_watched_was_deleted(
    fake: FakeCluster, world: World, heard: Heard, until: Until
) -> None:
    container = world.started(world.plan(), until)
    until(lambda: any(one.id == container and one.action == "start" for one in heard.events))
    fake.fails("HOLD", "/watch", 0, "")
    fake.fails("CUT", "/watch", 0, "")
    fake.ring()
    fake.delete(container.partition("@")[0])
    fake.forget()
    fake.released.set()
    until(lambda: heard.died(container))
    assert [one.why for one in heard.died(container)] == [VANISHED]


def test_of_a_pod_that_was_deleted_without_waiting_nobody_says_that_it_has_ended(
    fake: FakeCluster, world: World, heard: Heard, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    pod = fake.force_delete(container.partition("@")[0])
    until(lambda: any(one.id == container and one.action == "destroy" for one in heard.events))
    assert all(one.id != container for one in world.engine.list())
    assert pod.job is not None
    assert pod.job.poll() is None
    assert [one for one in heard.events if one.id == container and one.exit_code is not None] == []
    assert world.witness(plan).exit is None
    pod.job.kill()


@pytest.mark.parametrize("condition", [True, False], ids=["no node", "out of service"])
def test_what_pod_gc_says_of_a_pod_is_not_its_nodes_word(
    fake: FakeCluster, world: World, heard: Heard, until: Until, *, condition: bool
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    until(lambda: fake.pod(plan.generation).job)
    (pod,) = fake.collect_pods(condition=condition)
    until(lambda: any(one.id == container and one.action == "destroy" for one in heard.events))
    assert pod.job is not None
    assert pod.job.poll() is None
    (death,) = heard.died(container)
    assert death.exit_code is None
    assert ("node no longer exists" if condition else "deleted without waiting") in death.why
    assert world.witness(plan).exit is None
    pod.job.kill()


def test_a_watch_that_ends_at_once_is_taken_up_ever_more_slowly(
    fake: FakeCluster, heard: Heard, until: Until
) -> None:
    began = time.monotonic()
    for _ in range(4):
        fake.fails("CUT", "/watch", 0, "")
    fake.ring()
    until(lambda: not fake._faults)
    assert time.monotonic() - began > 1.0
    assert heard.turns


def test_a_follower_ends_while_its_server_answers_nothing(
    fake: FakeCluster, engine: KubernetesEngine, until: Until
) -> None:
    fake.fails("HOLD", "/watch", 0, "")
    follower = engine.watch(lambda _: None, lambda _: None)
    until(lambda: not fake._faults)
    stopping = threading.Thread(target=follower.stop, daemon=True)
    stopping.start()
    until(lambda: not stopping.is_alive(), 20)
    assert not fake.released.is_set()


def test_a_connection_that_is_silent_is_asked_after(engine: KubernetesEngine) -> None:
    query = {"watch": "true", "resourceVersion": "1"}
    stream = engine._api.stream(engine._path, query, "watching", idle=5.0)
    assert stream._socket is not None
    assert stream._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    stream.stop()
    stream.close()


@pytest.mark.parametrize("after", [1, 7, 40, 46])
def test_an_attachment_that_is_cut_burns_its_pod_and_no_other_is_tried(
    fake: FakeCluster, world: World, until: Until, after: int
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    fake.cut_attach_after = after
    with pytest.raises(Passing):
        world.engine.open(plan.generation, container, frame(plan.generation, TRUE))
    until(lambda: not fake.pod(plan.generation).runs)
    until(lambda: world.witness(plan).died is not None)
    assert world.witness(plan).opened is None
    assert sum("attach" in call for call in fake.calls) == 1


def test_an_attachment_that_is_refused_is_told_and_writes_nothing(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    fake.fails("GET", "/attach", 403, 'pods "x" is forbidden: cannot create resource "pods/attach"')
    with pytest.raises(Refused, match="cannot create resource"):
        world.engine.open(plan.generation, container, frame(plan.generation, TRUE))
    assert fake.pod(plan.generation).runs
    assert world.witness(plan).opened is None


def test_a_quota_that_is_used_up_is_told_in_the_clusters_words_and_tried_again(
    fake: FakeCluster, world: World
) -> None:
    said = "exceeded quota: q, requested: requests.nvidia.com/gpu=1, used: 2, limited: 2"
    fake.fails("POST", "/pods$", 403, said, "Forbidden")
    with pytest.raises(Passing, match="exceeded quota: q") as caught:
        world.engine.prepare(world.plan())
    assert caught.value.retry_after == 60.0
    assert fake.pods == {}


def test_a_namespace_that_is_not_there_needs_a_person(fake: FakeCluster, world: World) -> None:
    fake.fails("POST", "/pods$", 404, 'namespaces "agents" not found', "NotFound")
    with pytest.raises(Refused, match=r"not found: make it, or see host\.kubernetes\.namespace"):
        world.engine.prepare(world.plan())


def test_a_pod_that_may_not_be_made_needs_a_person(fake: FakeCluster, world: World) -> None:
    fake.fails("POST", "/pods$", 403, 'violates PodSecurity "restricted:latest"', "Forbidden")
    with pytest.raises(Refused, match="violates PodSecurity"):
        world.engine.prepare(world.plan())


def test_an_answer_that_was_lost_makes_no_second_pod(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = world.plan()
    first = world.started(plan, until)
    assert world.engine.prepare(plan) == first
    assert len(fake.pods) == 1


def test_a_name_that_another_has_is_nobodys_to_take(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = world.plan()
    world.started(plan, until)
    fake.pod(plan.generation).document["metadata"]["annotations"]["io.mayfly.seal"] = "another"
    with pytest.raises(Refused):
        world.engine.prepare(plan)
    assert len(fake.pods) == 1


def test_what_a_cluster_adds_to_a_pod_makes_it_nobody_elses(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = world.plan()
    first = world.started(plan, until)
    of_a_network = {"cni.projectcalico.org/podIP": "10.0.0.1/32"}
    fake.pod(plan.generation).document["metadata"]["annotations"].update(of_a_network)
    assert world.engine.prepare(plan) == first


def test_a_look_that_fails_says_nothing_of_a_gate(
    fake: FakeCluster, world: World, until: Until
) -> None:
    """Whoever is taken to be at its gate may be removed, and a job can make each look fail."""
    plan = world.plan()
    container = world.started(plan, until)
    assert world.engine.at_gate(container)
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    assert not world.engine.at_gate(container)
    fake.looks_end = 137
    with pytest.raises(Passing, match="is not known"):
        world.engine.at_gate(container)


def test_a_removal_that_somebody_came_between_is_none(
    fake: FakeCluster, world: World, until: Until
) -> None:
    world.engine._removing = 0.5  # type: ignore[attr-defined]
    container = world.started(world.plan(), until)
    fake.fails("DELETE", "/pods/", 409, "Operation cannot be fulfilled on pods", "Conflict")
    with pytest.raises(Passing, match="has not said that it has ended"):
        world.engine.remove(container)
    assert world.seen(container) is not None
    world.engine.remove(container)
    assert fake.pods == {}


def test_who_we_are_is_told_to_the_one_server_alone(
    fake: FakeCluster, world: World, until: Until
) -> None:
    container = world.started(world.plan(), until)
    with FakeCluster() as other:
        fake.elsewhere = other.server
        with pytest.raises(Passing, match="no connection"):
            world.engine.exec_probe(container, ("/bin/true",), 5.0)
        assert other.calls == []


def test_streams_are_read_of_a_manager_with_many_files(
    world: World, until: Until, request: pytest.FixtureRequest
) -> None:
    container = world.started(world.plan(), until)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
    with Path("/dev/null").open("rb") as one, ExitStack() as many:
        for _ in range(1100):
            many.callback(os.close, os.dup(one.fileno()))
        assert world.engine.exec_probe(container, ("/bin/true",), 5.0)[0] == 0


def test_a_pod_that_does_not_come_to_run_leaves_nothing(fake: FakeCluster, world: World) -> None:
    fake.starts = False
    with pytest.raises(Passing, match="does not run after"):
        world.engine.prepare(world.plan())
    assert fake.pods == {}


PULLS = "node-1 pulls mayfly/local:cpu (ContainerCreating)"


def prepared(world: World, plan: AgentPlan, **keys: Any) -> tuple[Thread, list[object]]:
    """An agent that is being made, and what comes of it."""
    told: list[object] = []

    def make() -> None:
        try:
            told.append(world.engine.prepare(plan, **keys))
        except Fault as fault:
            told.append(fault)

    thread = Thread(target=make, daemon=True)
    thread.start()
    return thread, told


def test_a_pull_takes_its_time_and_is_told_in_the_clusters_words(
    fake: FakeCluster, world: World, until: Until
) -> None:
    world.engine.cluster = replace(world.engine.cluster, start_seconds=0.5)  # type: ignore[attr-defined]
    fake.pulling = "ContainerCreating"
    began = time.monotonic()
    making, told = prepared(world, world.plan())
    until(lambda: [one.waits for one in world.engine.list()] == [PULLS])
    until(lambda: time.monotonic() - began > 2.0)
    assert making.is_alive()
    fake.pulling = None
    making.join(30)
    (container,) = told
    seen = world.seen(container)  # type: ignore[arg-type]
    assert seen is not None
    assert (seen.live, seen.waits) == (True, "")


def test_a_pull_has_a_bound_of_its_own(fake: FakeCluster, world: World) -> None:
    world.engine.cluster = replace(  # type: ignore[attr-defined]
        world.engine.cluster,  # type: ignore[attr-defined]
        start_seconds=30.0,
        pull_seconds=0.5,
    )
    fake.pulling = "ContainerCreating"
    with pytest.raises(Passing, match=rf"{re.escape(PULLS)}, for more than 0\.5 s"):
        world.engine.prepare(world.plan())
    assert fake.pods == {}


def test_a_pull_that_fails_once_is_tried_by_its_node_and_one_that_goes_on_failing_is_told(
    fake: FakeCluster, world: World, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr("mayfly.engines.kubernetes.engine.SETTLING", 1.0)
    fake.pulling = "ContainerCreating"
    plan = world.plan()
    making, told = prepared(world, plan)
    until(lambda: fake.pods)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 1.2)
    fake.pulling = "ErrImagePull"  # a moment of its registry's
    until(lambda: "ErrImagePull" in str(fake.pod(plan.generation).document["status"]))
    fake.pulling = None
    making.join(30)
    assert isinstance(told[0], str)
    fake.pulling = "ImagePullBackOff"
    with pytest.raises(Refused, match="ImagePullBackOff"):
        world.engine.prepare(world.plan())


@pytest.mark.parametrize("how", ["it is doomed", "the manager stops"])
def test_nobody_waits_for_the_pull_of_an_agent_that_is_not_wanted_any_more(
    fake: FakeCluster, world: World, until: Until, how: str
) -> None:
    fake.pulling = "ContainerCreating"
    doomed = Event()
    making, told = prepared(world, world.plan(), wanted=lambda: not doomed.is_set())
    until(lambda: fake.pods)
    if how == "it is doomed":
        doomed.set()
    else:
        world.engine._closing.set()  # type: ignore[attr-defined]
    making.join(30)
    assert isinstance(told[0], Passing)
    until(lambda: not fake.pods)


def test_another_pod_of_that_name_is_not_removed(
    fake: FakeCluster, world: World, until: Until
) -> None:
    container = world.started(world.plan(), until)
    name = container.partition("@")[0]
    world.engine.remove(ContainerId(f"{name}@another"))
    assert fake.pods[name].runs
    with pytest.raises(Gone):
        world.engine.exec_probe(ContainerId(f"{name}@another"), ("/bin/true",), 5.0)


def test_a_pod_whose_node_is_lost_is_not_gone(
    fake: FakeCluster, world: World, until: Until
) -> None:
    world.engine._removing = 0.5  # type: ignore[attr-defined]
    container = world.started(world.plan(), until)
    name = container.partition("@")[0]
    fake.stuck.add(name)
    with pytest.raises(Passing, match="its node has not said"):
        world.engine.remove(container)
    seen = world.seen(container)
    assert seen is not None
    assert seen.live
    fake.stuck.clear()


def test_a_deleted_pod_is_told_as_what_was_done_to_its_agent(
    fake: FakeCluster, world: World, heard: Heard, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    fake.delete(fake.pod(plan.generation).name)
    until(lambda: heard.died(container))
    assert heard.died(container)[0].why == "its pod was deleted"
    assert world.witness(plan).opened is not None
    assert world.witness(plan).exit is None


def test_a_manager_that_was_away_reads_what_is_still_there(
    fake: FakeCluster, world: World, engine_of: Make, until: Until
) -> None:
    """Until it has asked, nothing is known of whoever runs, and that is no end."""
    busy, ended, gone = world.plan(), world.plan(), world.plan()
    for plan in (busy, ended, gone):
        container = world.started(plan, until)
        world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    world._follower.stop()
    for plan in (busy, ended, gone):
        for name in ("opened", "user"):
            (world.witnesses.path(plan.generation) / name).unlink()
    fake.pod(ended.generation).end(3)
    about = fake.pod(gone.generation).document["metadata"]
    lost = ContainerId(f"{about['name']}@{about['uid']}")
    fake.delete(about["name"])

    later = engine_of(fake)
    later.witnesses(world.witnesses.root)
    for plan in (busy, ended, gone):
        with pytest.raises(Passing):
            world.witnesses.read(plan.generation)
    heard: list[EngineEvent] = []
    world._follower = later.watch(heard.append, lambda _: None)
    fake.fails("GET", "/exec", 500, "container agent not found")
    later.list()
    with pytest.raises(Passing):  # its node did not answer
        world.witnesses.read(busy.generation)
    later.list()
    assert world.witness(busy).opened is not None
    assert world.witness(busy).exit is None
    assert world.witnesses.user(busy.generation) == "1000:1000"
    end = world.witness(ended).exit
    assert end is not None
    assert end.code == 3
    assert world.witness(gone).exit is None
    assert not unheard(world.witnesses.root, gone.generation).exists()
    (told,) = [one for one in heard if one.id == lost]
    assert (told.action, told.host, told.why) == ("die", world.host, VANISHED)
    later.close()


def test_a_pod_that_cannot_be_looked_into_is_in_nobodys_way(
    fake: FakeCluster,
    world: World,
    engine_of: Make,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A list looks into few pods where nodes do not answer, and the next one into the others."""
    monkeypatch.setattr("mayfly.engines.kubernetes.engine.ASKING", -1.0)
    plans = [world.plan(), world.plan()]
    for plan in plans:
        container = world.started(plan, until)
        world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    later = engine_of(fake)
    later.witnesses(world.witnesses.root)
    root = world.witnesses.root
    fake.fails("GET", "/exec", 500, "no route to host")
    assert len(later.list()) == 2
    assert all(unheard(root, plan.generation).exists() for plan in plans)
    later.list()
    assert [unheard(root, plan.generation).exists() for plan in plans] == [True, False]
    later.list()
    assert not any(unheard(root, plan.generation).exists() for plan in plans)
    later.close()


def test_an_account_that_the_node_does_not_bear_out_is_none(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    one = fake.pod(plan.generation)
    one.account.append("exit 0 0")
    one.end(137, account=False)
    until(lambda: (seen := world.seen(container)) is not None and not seen.live)
    assert world.witness(plan).exit is None


def test_a_node_that_killed_for_memory_says_so(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    fake.pod(plan.generation).end(137, account=False, reason="OOMKilled")
    until(lambda: (seen := world.seen(container)) is not None and not seen.live)
    end = world.witness(plan).exit
    assert end is not None
    assert (end.code, end.oom_kills) == (137, 1)


def test_a_cluster_that_does_not_know_us_says_so(fake: FakeCluster, engine_of: Make) -> None:
    fake.fails("GET", "/version", 401, "Unauthorized", "Unauthorized")
    with pytest.raises(Refused, match=r"does not know who this is; see host\.kubernetes"):
        engine_of(fake).facts()


def test_a_server_that_nobody_runs_is_passing(fake: FakeCluster, engine_of: Make) -> None:
    engine = engine_of(fake)
    fake.__exit__()
    began = time.monotonic()
    with pytest.raises(Passing, match="does not answer"):
        engine.list()
    assert time.monotonic() >= began


def test_a_gate_is_opened_of_a_pod_that_nobody_drains(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    assert fake.budgets == []
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    (budget,) = fake.budgets
    name, _, uid = container.partition("@")
    assert budget["metadata"]["ownerReferences"][0]["uid"] == uid
    assert budget["spec"]["minAvailable"] == 1
    labels = fake.pods[name].document["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()


def protected(fake: FakeCluster) -> list[str]:
    return [one["metadata"]["name"] for one in fake.budgets]


def test_what_the_cluster_did_not_protect_at_once_it_is_asked_for_again(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    for status in (503, 429):
        fake.fails("POST", "/poddisruptionbudgets$", status, "not now")
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    world.engine.list()
    assert protected(fake) == []
    for _ in range(2):
        world.engine.list()
    assert protected(fake) == [container.partition("@")[0]]


def test_a_later_manager_protects_whom_the_former_did_not(
    fake: FakeCluster, world: World, engine_of: Make, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    fake.fails("POST", "/poddisruptionbudgets$", 503, "not now")
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    later = engine_of(fake)
    later.witnesses(world.witnesses.root)
    later.list()
    assert protected(fake) == [container.partition("@")[0]]


def test_a_job_runs_all_the_same_where_mayfly_may_protect_no_pod(
    fake: FakeCluster, world: World, until: Until
) -> None:
    plan = world.plan()
    container = world.started(plan, until)
    fake.fails("POST", "/poddisruptionbudgets$", 403, "forbidden", "Forbidden")
    world.engine.open(plan.generation, container, frame(plan.generation, FOREVER))
    assert world.witness(plan).opened is not None


def test_a_doctor_is_told_which_right_is_missing(
    fake: FakeCluster, engine: KubernetesEngine
) -> None:
    assert all(one.well for one in engine.examine())
    fake.denied = {("watch", "pods"), ("create", "pods/attach")}
    (wrong,) = [one for one in engine.examine() if not one.well]
    assert wrong.text == "in namespace agents Mayfly may not watch pods, create pods/attach"
    assert "kubectl apply -k kubernetes" in wrong.fix
    fake.denied = {("create", "poddisruptionbudgets")}
    (wrong,) = [one for one in engine.examine() if not one.well]
    assert "a drained node ends the jobs on it" in wrong.text
    fake.denied = {("get", "namespaces")}
    (wrong,) = [one for one in engine.examine() if not one.well]
    assert "take one of another cluster for it" in wrong.text


def test_a_doctor_is_told_that_others_can_be_mayfly(
    engine: KubernetesEngine, tmp_path: Path
) -> None:
    file = tmp_path / "kubeconfig"
    file.chmod(0o640)
    (wrong,) = [one for one in engine.examine() if not one.well]
    assert wrong.text == f"{file} can be read by others (mode 0640)"
    assert wrong.fix == f"sudo chmod 600 {file}"


def test_a_doctor_is_told_how_many_devices_nodes_have(
    fake: FakeCluster, engine: KubernetesEngine
) -> None:
    assert "1 nodes have 4 nvidia.com/gpu" in [one.text for one in engine.examine()]
    fake.fails("GET", "/nodes$", 403, "forbidden", "Forbidden")
    assert any("may not list nodes" in one.text for one in engine.examine())


def test_a_cluster_is_the_same_by_whatever_address_and_another_is_not(
    fake: FakeCluster, engine: KubernetesEngine, tmp_path: Path
) -> None:
    tunnel = tmp_path / "tunnel"
    tunnel.write_text(fake.kubeconfig().replace("127.0.0.1", "localhost"))
    by_tunnel = KubernetesEngine(Cluster(namespace=NAMESPACE, kubeconfig=str(tunnel)), timeout=5)
    assert by_tunnel.facts().id == engine.facts().id == fake.uid
    fake.uid = "another's"
    again = KubernetesEngine(engine.cluster, timeout=5)
    assert again.facts().id == "another's"
    for one in (again, by_tunnel):
        one.close()


def test_whoever_may_not_look_at_the_namespace_does_not_know_which_it_is(
    fake: FakeCluster, engine: KubernetesEngine
) -> None:
    fake.denied = {("get", "namespaces")}
    assert engine.facts().id == ""
