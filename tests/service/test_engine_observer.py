"""Looks at the Engine and the host: what is left of pools that are gone goes, who is superseded ends."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.capabilities import Capabilities
from mayfly.core.model import (
    Cache,
    Config,
    Generation,
    HostId,
    HostSpec,
    PoolName,
    PoolSpec,
    SlotName,
)
from mayfly.core.mounts import Source
from mayfly.edge.cluster import Cluster
from mayfly.edge.mounted import MountedPaths
from mayfly.engines.kubernetes import lease
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.protocol import Superseded
from mayfly.engines.simulated.engine import SimulatedEngine
from mayfly.service.engine_observer import (
    EngineDenied,
    EngineObserver,
    EngineSnapshot,
    looked_at_mounts,
)
from tests.fakes.kubernetes import NAMESPACE, FakeCluster
from tests.harness import until

OURS, THEIRS = HostId("ours00000000"), HostId("theirs000000")


def plan(host: HostId, pool: str) -> AgentPlan:
    name = f"{pool}-0"
    return AgentPlan(
        host, PoolName(pool), SlotName(name), Generation(f"g{pool}"), name, f"{name}.g", "image", {}
    )


def test_the_network_of_a_pool_that_is_gone_goes_once_no_container_is_in_it(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    made = {
        (host, pool): engine.prepare(plan(host, pool))
        for host, pool in ((OURS, "stays"), (OURS, "goes"), (OURS, "works"), (THEIRS, "other"))
    }
    pools = [PoolSpec(PoolName(name)) for name in ("stays", "goes", "works")]
    configs = [Config(HostSpec("box", state_dir=str(tmp_path)), tuple(pools))]
    seen: SimpleQueue[Any] = SimpleQueue()
    observer = EngineObserver(
        engine,
        OURS,
        lambda: configs[-1],
        frozenset,
        lambda: 0,
        lambda: None,
        seen.put,
        MountedPaths(),
        lambda _: None,
        lambda _: False,
        "key",
    )

    def surveyed() -> None:
        before = engine.calls.count("sweep")
        observer.survey()
        until(lambda: engine.calls.count("sweep") > before, "it has looked around")

    observer.start()
    surveyed()
    assert len(engine.networks) == 4
    configs.append(Config(configs[0].host, tuple(pools[:1])))
    engine.remove(made[OURS, "goes"])
    surveyed()
    until(
        lambda: engine.networks == {(OURS, "stays"), (OURS, "works"), (THEIRS, "other")}, "it goes"
    )
    engine.remove(made[OURS, "works"])
    surveyed()
    until(lambda: engine.networks == {(OURS, "stays"), (THEIRS, "other")}, "the other one, too")
    observer.stop()


def test_a_manager_at_work_whose_namespace_another_has_taken_over_is_told_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    seen: SimpleQueue[Any] = SimpleQueue()
    with FakeCluster() as fake:
        file = tmp_path / "kubeconfig"
        file.write_text(fake.kubeconfig())
        engine = KubernetesEngine(Cluster(namespace=NAMESPACE, kubeconfig=str(file)), timeout=5)
        engine.witnesses(tmp_path / "witness")
        follower = engine.watch(lambda _: None, lambda _: None)
        config = Config(HostSpec("box", state_dir=str(tmp_path)), ())
        observer = EngineObserver(
            engine,
            OURS,
            lambda: config,
            frozenset,
            lambda: 0,
            lambda: None,
            seen.put,
            MountedPaths(),
            lambda _: None,
            lambda _: False,
            "key",
        )
        observer.start()
        observer.look()
        assert isinstance(seen.get(timeout=60), EngineSnapshot), "it is at work"
        with fake.lock:
            assert fake.lease is not None
            fake.lease["metadata"]["resourceVersion"] = "taken"
            fake.lease["spec"]["holderIdentity"] = "other_0000000000000002_bbbbbbbb"

        def ends() -> bool:
            observer.look()
            said = seen.get(timeout=60)
            return isinstance(said, EngineDenied) and isinstance(said.fault, Superseded)

        until(ends, "it is told that it has to end")
        observer.stop()
        follower.stop()
        engine.close()


def test_on_another_host_a_file_of_authorities_is_looked_at_here_and_nothing_else(
    tmp_path: Path,
) -> None:
    here, file = MountedPaths(), tmp_path / "ca.pem"
    caches = (Cache("pvc:notes", "/cache"),)
    pools = (PoolSpec(PoolName("a"), ca=str(file), caches=caches), PoolSpec(PoolName("b")))
    config, elsewhere = Config(HostSpec("lab"), pools), Capabilities(on_this_host=False)
    found = looked_at_mounts(config, elsewhere, here)
    assert found[str(file)] == Source("")
    assert found["pvc:notes"].identity == "elsewhere"
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert looked_at_mounts(config, elsewhere, here)[str(file)].certificates
