"""Looks at the host beside the Engine: what is left of pools that are gone goes."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.model import Config, Generation, HostId, HostSpec, PoolName, PoolSpec, SlotName
from mayfly.edge.mounted import MountedPaths
from mayfly.engines.simulated.engine import SimulatedEngine
from mayfly.service.engine_observer import EngineObserver
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
