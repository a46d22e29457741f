"""An Engine that filters nothing between agents: that is seen from inside, told, and ends once mended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.agent_plan import AgentPlan, Network
from mayfly.core.model import Generation, HostId, PoolName, SlotName
from mayfly.engines.docker.engine import DockerEngine
from tests.conftest import IMAGE
from tests.engine.private_engine import PrivateEngine, version, why_not
from tests.harness import Manager, until

REQUIRED = """
[[pool]]
name = "lab"
isolation = "required"
"""


@pytest.fixture
def engine() -> Iterator[PrivateEngine]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    settings: dict[str, Any] = {"iptables": False}
    if version() >= (24,):  # which know the key: nothing of it holds for our networks
        settings["default-network-opts"] = {
            "bridge": {
                "com.docker.network.enable_ipv6": "true",
                "com.docker.network.bridge.enable_icc": "true",
            }
        }
    with PrivateEngine(settings=settings) as started:
        yield started


@pytest.mark.engine
def test_agents_that_reach_each_other_are_told_and_a_pool_that_requires_isolation_waits_for_it(
    engine: PrivateEngine,
) -> None:
    with Manager(engine.url, REQUIRED) as manager:
        manager.start(wait="answer")
        note = until(
            lambda: (
                (row := manager.slot("lab-0"))["phase"] == "held"
                and "reach each other" in row["note"]
                and str(row["note"])
            ),
            "it is held for what was seen",
        )
        fix = 'take "iptables": false out of /etc/docker/daemon.json'
        assert fix in note
        status, doctor = manager.cli("status"), manager.cli("doctor")
        for said in (status, doctor):
            assert said.returncode == 1
            assert "agents of pool lab reach each other" in said.stdout
            assert fix in " ".join(said.stdout.split())
        assert (
            'mayfly_condition{code="isolation.peers",pool="lab",severity="error"} 1.0'
            in manager.text("/v1/metrics")
        )
        until(lambda: not engine.docker("ps", "-aq"), "the probe leaves nothing")
        # What the line says to do.
        settings = engine.home / "daemon.json"
        settings.write_text(
            json.dumps(
                {k: v for k, v in json.loads(settings.read_text()).items() if k != "iptables"}
            )
        )
        engine.restart()
        assert manager.in_phase("idle", "lab-0")["note"] == ""
        assert "isolation.peers" not in manager.health()
    # Isolated by Docker, and not by the kernel: who makes a network mends that.
    docker = DockerEngine(engine.url)
    host, pool, slot = HostId("h" * 12), PoolName("lab"), SlotName("lab-0")
    plan = AgentPlan(host, pool, slot, Generation("probe"), "probe", "spare", IMAGE, {})
    assert docker.isolation(plan) == ()
    # IPv6 has a filter of its own, which is not on everywhere: our networks have none, others are looked at.
    (own,) = (network.name for network in docker.networks() if network.pool == pool)
    assert (
        engine.docker("network", "inspect", "--format", "{{.EnableIPv6}}", own).strip() == "false"
    )
    apart = ("--opt", "com.docker.network.bridge.enable_icc=false")
    engine.docker("network", "create", "--ipv6", "--subnet", "fd00:6d61::/64", *apart, "six")
    there = replace(plan, network=Network("six"))
    (breach,) = docker.isolation(there)
    assert (breach.code, breach.text) == ("peers", "reach each other over IPv6")
    assert "docker network rm six" in breach.fix
    engine.sh("sysctl -q -w net.bridge.bridge-nf-call-iptables=0")
    (breach,) = docker.isolation(plan)
    assert breach.code == "peers"
    assert breach.fix.endswith("sysctl -w net.bridge.bridge-nf-call-iptables=1")
