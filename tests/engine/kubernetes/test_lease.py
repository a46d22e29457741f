"""One manager at a time runs a namespace: who waits, who goes on at once, and who has to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mayfly.edge.cluster import Cluster
from mayfly.edge.faults import Passing, Refused
from mayfly.engines.kubernetes import lease
from mayfly.engines.kubernetes.access import access
from mayfly.engines.kubernetes.api import Api
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.lease import LASTS, NamespaceLease, holder_of
from mayfly.engines.protocol import Superseded
from tests.fakes.kubernetes import NAMESPACE, FakeCluster
from tests.harness import until

Made = Callable[..., NamespaceLease]
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


def test_a_manager_that_has_to_end_is_refused_for_good() -> None:
    assert issubclass(Superseded, Refused)
