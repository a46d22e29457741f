"""One manager at a time runs a namespace: who waits, who goes on at once, and who has to end."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from tarfile import TarInfo

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.model import ContainerId
from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Fault, Passing
from mayfly.engines.kubernetes import lease, sockets
from mayfly.engines.kubernetes.access import Access, access
from mayfly.engines.kubernetes.api import Api
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.lease import LASTS, NamespaceLease, holder_of
from mayfly.engines.protocol import Engine, Superseded
from tests.engine.contract import World
from tests.fakes.kubernetes import NAMESPACE, FakeCluster
from tests.harness import until

Made = Callable[..., NamespaceLease]
TRUE = ("/bin/true",)
ONE, OTHER = "box-a_0000000000000001_aaaaaaaa", "box-b_0000000000000002_bbbbbbbb"


class Clock:
    """A clock that a test moves on."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def made(
    fake: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., NamespaceLease]:
    """A lease of the namespace, tried without much rest."""
    monkeypatch.setattr(lease, "AGAIN", 0.05)
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    file = tmp_path / "kubeconfig"
    file.write_text(fake.kubeconfig())

    def one(clock: Clock | None = None) -> NamespaceLease:
        api = Api(access(Cluster(kubeconfig=str(file))), timeout=5)
        return NamespaceLease(api, NAMESPACE, clock or Clock())

    return one


def held(one: NamespaceLease) -> bool:
    try:
        one.assure()
    except Passing:
        return False
    return True


def holder(fake: FakeCluster) -> str:
    assert fake.lease is not None
    return str(fake.lease["spec"]["holderIdentity"])


def test_who_did_not_ask_for_it_may_do_what_it_does(made: Made) -> None:
    made().assure()


def test_a_second_manager_waits_says_whom_for_and_goes_on_when_the_first_ends(
    fake: FakeCluster, made: Made
) -> None:
    first, second = made(), made()
    heard: list[tuple[bool, str]] = []
    first.begin(ONE, lambda *_: None)
    first.assure()
    second.begin(OTHER, lambda *told: heard.append(told))
    with pytest.raises(Passing, match=r"is run by another manager .box-a."):
        second.assure()
    assert heard == []
    first.end()
    until(lambda: heard == [(True, "")], "the second has it")
    second.assure()
    assert holder(fake) == OTHER
    second.end()
    assert holder(fake) == ""


def test_one_that_is_silent_loses_it_by_the_clock_of_who_waits_and_has_to_end(
    fake: FakeCluster, made: Made
) -> None:
    clock = Clock()
    first, second = made(), made(clock)
    told: list[tuple[bool, str]] = []
    first.begin(ONE, lambda *what: told.append(what))
    first.assure()
    first._stopping.set()  # it sleeps: its machine does
    first._thread.join(30)
    second.begin(OTHER, lambda *_: None)
    assert not held(second)
    clock.now += LASTS + 1
    until(lambda: held(second), "the second has it")
    first._stopping.clear()  # it wakes up
    first._run()
    with pytest.raises(Superseded, match="another manager has taken over"):
        first.assure()
    assert told[0][0] is False


def test_who_has_not_renewed_it_changes_nothing_until_it_has(fake: FakeCluster, made: Made) -> None:
    clock = Clock()
    one = made(clock)
    one.begin(ONE, lambda *_: None)
    one.assure()
    for _ in range(400):
        fake.fails("PUT", "/leases/mayfly$", 503, "etcdserver: no leader")
    until(lambda: "no leader" in one._why, "it is not renewed")
    clock.now += lease.HELD + 1
    with pytest.raises(Passing, match=r"is not renewed: .*etcdserver: no leader"):
        one.assure()
    fake._faults.clear()
    until(lambda: held(one), "it is renewed")
    assert holder(fake) == ONE


def test_the_next_manager_of_a_state_directory_on_the_same_machine_waits_for_nobody(
    fake: FakeCluster, made: Made, tmp_path: Path
) -> None:
    name = holder_of(tmp_path)
    assert holder_of(tmp_path) == name
    killed, after = made(), made()
    killed.begin(name, lambda *_: None)
    killed.assure()
    killed._stopping.set()  # as one that is killed: it gives nothing back
    after.begin(f"another-name_{name.partition('_')[2]}", lambda *_: None)
    after.assure()
    assert holder(fake).startswith("another-name_")


def test_a_right_that_is_lacking_is_told_in_the_clusters_words(
    fake: FakeCluster, made: Made
) -> None:
    for _ in range(400):
        fake.fails("POST", "/leases$", 403, 'cannot create resource "leases"', "Forbidden")
    one = made()
    one.begin(ONE, lambda *_: None)
    with pytest.raises(Passing, match='cannot create resource "leases"'):
        one.assure()


def test_an_engine_whose_lease_is_anothers_lists_and_changes_nothing(
    fake: FakeCluster,
    engine_of: Callable[[FakeCluster], KubernetesEngine],
    tmp_path: Path,
) -> None:
    about = {"name": "mayfly", "resourceVersion": "1"}
    spec = {"holderIdentity": OTHER, "leaseDurationSeconds": LASTS}
    fake.lease = json.loads(json.dumps({"metadata": about, "spec": spec}))
    engine = engine_of(fake)
    (tmp_path / "state/witness").mkdir(parents=True)
    engine.witnesses(tmp_path / "state/witness")
    follower = engine.watch(lambda _: None, lambda _: None)
    try:
        with pytest.raises(Passing, match=r"another manager .box-b."):
            engine.list()
        engine.ping()
    finally:
        follower.stop()
        engine.close()
    assert holder(fake) == OTHER


def test_a_renewal_is_one_call_and_looks_only_where_somebody_else_wrote(
    fake: FakeCluster, made: Made
) -> None:
    one = made()
    one.begin(ONE, lambda *_: None)
    one.assure()

    def renewed() -> int:
        return sum(call.startswith("PUT ") for call in tuple(fake.calls))

    def looked() -> int:
        return sum(call.startswith("GET ") for call in tuple(fake.calls))

    until(lambda: renewed() >= 5, "it is renewed again and again")
    assert looked() == 1, "at the beginning"
    with fake.lock:
        assert fake.lease is not None
        fake.lease["metadata"]["resourceVersion"] = "written-by-a-person"
    before = renewed()
    until(lambda: renewed() >= before + 5, "it goes on")
    assert looked() == 2
    assert held(one)
    one.end()


def test_who_gives_it_back_changes_nothing_from_then_on(fake: FakeCluster, made: Made) -> None:
    one = made()
    one.begin(ONE, lambda *_: None)
    one.assure()
    one.end()
    with pytest.raises(Passing, match="is given back"):
        one.assure()
    assert holder(fake) == ""


def test_a_copy_of_the_state_directory_on_the_same_machine_waits(
    made: Made, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    name = holder_of(tmp_path / "state")
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    first, second = made(), made()
    first.begin(name, lambda *_: None)
    first.assure()
    second.begin(holder_of(tmp_path / "copy"), lambda *_: None)
    assert not held(second)
    first.end()
    second.end()


def test_a_change_has_to_be_over_before_the_lease_can_be_anothers(made: Made) -> None:
    clock = Clock()
    one = made(clock)
    one.begin(ONE, lambda *_: None)
    assert one.assure() == lease.OVER < LASTS
    one._stopping.set()
    one._thread.join(30)
    clock.now += lease.HELD
    assert one.assure() == lease.OVER - lease.HELD
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        api = Api(Access(server, None), timeout=100_000, may_change=lambda: 0.2)
        with pytest.raises(Passing, match="does not answer"):
            api.call("POST", "/", "making a pod", body={})


def test_how_long_a_change_may_take_is_asked_once_it_is_known_who_asks(made: Made) -> None:
    """A program that gives a token may take half a minute, and the lease goes on meanwhile."""
    clock = Clock()
    one = made(clock)
    one.begin(ONE, lambda *_: None)
    one.assure()
    one._stopping.set()
    one._thread.join(30)

    def token() -> str:
        clock.now += lease.HELD + 1
        return "t"

    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = Access(f"http://127.0.0.1:{silent.getsockname()[1]}", None, token)
        with pytest.raises(Passing, match="lease"):
            Api(slow, timeout=5, may_change=one.assure).call("DELETE", "/", "removing a pod")
        clock.now = 0.0
        with pytest.raises(Passing, match="lease"):
            sockets.connect(slow, "/", [], "running sh", may_change=one.assure)
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


# What changes something in the cluster, or what decisions rest on; and the calls that do neither.
CHANGES: dict[str, Callable[[KubernetesEngine, AgentPlan, ContainerId], object]] = {
    "execute": lambda engine, _, pod: engine.execute(
        pod, TRUE, user="1000:1000", variables={}, terminal=False
    ),
    "exec_probe": lambda engine, _, pod: engine.exec_probe(pod, TRUE, 5),
    "list": lambda engine, _, __: engine.list(),
    "open": lambda engine, plan, pod: engine.open(plan.generation, pod, b"x"),
    "prepare": lambda engine, plan, _: engine.prepare(plan),
    "put_tree": lambda engine, _, pod: engine.put_tree(pod, [TarInfo("x").tobuf()]),
    "remove": lambda engine, _, pod: engine.remove(pod),
    "signal": lambda engine, _, pod: engine.signal(pod, "TERM"),
}
OTHERS = {
    *("at_gate", "close", "converse", "examine", "facts", "first_process"),
    *(
        "foreign_gpu_containers",
        "freeze",
        "image",
        "image_names",
        "image_sizes",
        "isolation",
        "let_go",
    ),
    *("make_sandbox", "output", "own_process", "ping", "rename", "sandbox_is_empty"),
    "start_again",  # it refuses
    *("sandbox_was_used", "size", "sweep", "take_tree", "thaw", "watch", "watch_sandbox"),
    *("weigh", "witnesses"),
    # Of a job's own containers, which there are none of on a cluster.
    *("belongings", "clear", "give_up", "grant", "printed_inside", "remove_image"),
}


def test_each_call_of_an_engine_is_one_that_changes_something_or_not() -> None:
    calls = {name for name, one in vars(Engine).items() if callable(one) and name[0] != "_"}
    assert CHANGES.keys() <= calls
    assert calls - CHANGES.keys() == OTHERS


def test_a_manager_whose_lease_is_taken_over_at_work_changes_nothing_any_more(
    fake: FakeCluster,
    engine_of: Callable[[FakeCluster], KubernetesEngine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    engine = engine_of(fake)
    world = World(engine, tmp_path / "state")
    follower = engine.watch(lambda _: None, lambda _: None)
    try:
        plan = world.plan()
        pod = engine.prepare(plan)
        with fake.lock:
            assert fake.lease is not None
            fake.lease["metadata"]["resourceVersion"] = "taken"
            fake.lease["spec"]["holderIdentity"] = OTHER
        until(lambda: isinstance(_refusal(engine), Superseded), "it knows")
        with fake.lock:
            fake.calls.clear()
        for name, change in CHANGES.items():
            with pytest.raises(Superseded):
                change(engine, world.plan() if name == "prepare" else plan, pod)
        made = [call for call in fake.calls if not call.startswith("GET ")]
        assert made == []
        assert not [call for call in fake.calls if call.endswith(("/attach", "/exec"))]
        assert [one.generation for one in fake.pods.values()] == [plan.generation]
    finally:
        follower.stop()
        engine.close()


def _refusal(engine: KubernetesEngine) -> Fault | None:
    try:
        engine.list()
    except Fault as fault:
        return fault
    return None
