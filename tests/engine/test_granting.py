"""What an agent's grant says, and what its container has that may have others; nothing else is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.actions import Prepare
from mayfly.core.admission.grant import Grant, read_grant
from mayfly.core.agent_plan import AgentPlan, agent_plan
from mayfly.core.model import (
    DOOR_TARGET,
    Cache,
    ContainerId,
    Dataset,
    Generation,
    HostId,
    Injection,
    Limits,
    PoolName,
    PoolSecurity,
    PoolSpec,
    Registry,
    SlotName,
    SlotSpec,
)
from mayfly.engines.docker.container import (
    container_config,
    container_plan,
    is_an_agents,
    is_made_by_an_agent,
)
from mayfly.engines.docker.granting import grant_of
from mayfly.engines.docker.ulimits import own_ulimits
from mayfly.engines.docker.values import Dialect, VolumeMount

AGENT, BOX = Generation("mywpiww03hg4s"), ContainerId("c" * 64)
DOOR = f"/state/gateway/agents/{AGENT}/door"
POOL = PoolSpec(
    PoolName("gpu"),
    containers=True,
    installation_key="secret",
    datasets=(Dataset("/data", "/datasets/x"),),
    caches=(Cache("/cache", "/c"),),
    ca="/etc/lab.pem",
    proxy="http://proxy:3128",
    limits=Limits(memory=1 << 30, cpus=2.0, pids=100),
    allowed_images=("postgres:*", "registry.lab/*"),
    builder="postgres:16",
    pull="always",
    registries=(Registry("registry.lab", "ci", {"file": "/etc/registry"}),),
)
SPEC = SlotSpec(
    name=SlotName("gpu-0"),
    index=0,
    pool=POOL,
    image="sha256:" + "a" * 64,
    fingerprint="f",
    work="/opt/x/_work",
    shared=("/opt/x/externals",),
)
HOST = HostId("ours00000000")


def plan_of(spec: SlotSpec, door: str | None = DOOR) -> AgentPlan:
    action = Prepare(AGENT, spec, str(spec.name), "a test wants it")
    return agent_plan(
        action,
        host=HOST,
        witness="/w",
        log_max_size=1 << 20,
        door=door,
        agents=("lab/agent",),
        figures="/state/figures/1",
    )


def granted(spec: SlotSpec) -> Grant:
    plan = plan_of(spec)
    made = container_plan(plan, "net", {}, cgroup_parent=f"/mayfly/{AGENT}")
    return read_grant(grant_of(plan, made, BOX, own_ulimits()))


def created(plan: AgentPlan, **more: Any) -> dict[str, Any]:
    return container_config(container_plan(plan, "net", {}, **more), Dialect(), {})


def test_a_grant_says_what_the_agent_itself_has() -> None:
    grant = granted(SPEC)
    assert (grant.container, grant.door) == (BOX, f"{DOOR}/docker.sock")
    assert grant.work is not None
    assert (grant.work.target, grant.work.volume) == ("/opt/x/_work", f"mf-{AGENT}-work")
    assert [(one.target, one.volume) for one in grant.shared] == [
        ("/opt/x/externals", f"mf-shared-{'a' * 12}-0")
    ]
    assert [(one.target, one.source, one.read_only) for one in grant.mounts] == [
        ("/datasets/x", "/data", True),
        ("/c", "/cache", False),
        ("/run/mayfly-job", "/state/figures/1", True),  # which its job's shell prints
    ]
    assert (grant.limits.memory, grant.limits.cpus, grant.limits.pids) == (1 << 30, 2.0, 100)
    assert grant.cgroup_parent == f"/mayfly/{AGENT}"
    assert grant.gpu is None
    assert grant.lease == ()
    assert grant.env["HTTPS_PROXY"] == "http://proxy:3128"
    assert grant.ca == "/etc/lab.pem"
    assert (grant.allowed_images, grant.pull, grant.network) == (
        ("postgres:*", "registry.lab/*"),
        "always",
        "own",
    )
    assert grant.registries == POOL.registries
    assert (grant.builder, grant.agents) == ("postgres:16", ("lab/agent",))
    assert {"NET_RAW", "MKNOD", "SYS_ADMIN"}.isdisjoint(grant.capabilities)
    assert "secret" not in grant.seal


@pytest.mark.parametrize(
    ("way", "host"),
    [
        (Injection("runtime", ("GPU-a",)), {"DeviceRequests": [], "Runtime": "nvidia"}),
        (
            Injection("cdi", ("nvidia.com/gpu=GPU-a",)),
            {
                "DeviceRequests": [
                    {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-a"], "Capabilities": []}
                ],
                "Runtime": "runc",
            },
        ),
    ],
)
def test_gpus_get_into_its_containers_as_they_got_into_the_agent(
    way: Injection, host: dict[str, Any]
) -> None:
    grant = granted(replace(SPEC, lease=("GPU-a",), injection=way))
    assert grant.lease == ("GPU-a",)
    assert grant.gpu is not None
    assert grant.gpu.host_config == host
    assert grant.gpu.env["NVIDIA_VISIBLE_DEVICES"] == "GPU-a"


def test_what_a_pool_takes_from_root_its_containers_have_not_either() -> None:
    pool = replace(
        POOL,
        sudo=True,
        network="none",
        cap_add=("SYS_PTRACE",),
        security=PoolSecurity(cap_drop=("SETFCAP",)),
    )
    grant = granted(replace(SPEC, pool=pool))
    assert "SETFCAP" not in grant.capabilities
    assert "SYS_PTRACE" in grant.capabilities
    assert grant.network == "none"


def test_the_container_of_an_agent_that_may_have_others_is_put_together_with_them() -> None:
    plan = plan_of(SPEC)
    volume = VolumeMount(f"mf-{AGENT}-work", "/opt/x/_work")
    config = created(plan, volumes=(volume,), cgroup_parent=f"/mayfly/{AGENT}")
    host = config["HostConfig"]
    assert host["CgroupParent"] == f"/mayfly/{AGENT}"
    assert host["Memory"] == 1 << 30
    (door,) = [one for one in host["Mounts"] if one["Target"] == DOOR_TARGET]
    assert (door["Source"], door["ReadOnly"]) == (DOOR, True)
    (work,) = [one for one in host["Mounts"] if one["Type"] == "volume"]
    assert (work["Source"], work["ReadOnly"]) == (volume.volume, False)
    assert config["Labels"]["io.mayfly.door"] == "1"


def test_of_any_other_agent_nothing_is_said_of_it() -> None:
    config = created(plan_of(replace(SPEC, pool=replace(POOL, containers=False)), door=None))
    assert "CgroupParent" not in config["HostConfig"]
    assert {one["Type"] for one in config["HostConfig"]["Mounts"]} == {"bind"}
    assert DOOR_TARGET not in str(config)
    assert not any(
        name.startswith(("io.mayfly.door", "io.mayfly.belongs")) for name in config["Labels"]
    )


@pytest.mark.parametrize(
    ("labels", "name", "made"),
    [
        ({"io.mayfly.belongs": AGENT}, f"/mf-{AGENT}-postgres", True),
        ({"io.mayfly.belongs": AGENT}, "/postgres", False),  # of an image with such a label
        ({"io.mayfly.belongs": ""}, "/mf--postgres", False),
        ({"io.mayfly.belongs": "mywpiww04hg4s"}, f"/mf-{AGENT}-postgres", False),
        ({}, f"/mf-{AGENT}-postgres", False),
    ],
)
def test_what_an_agent_has_made_is_no_strangers(
    labels: dict[str, str], name: str, made: bool
) -> None:
    entry = {"Id": "x", "Labels": labels, "Names": [name]}
    assert is_made_by_an_agent(entry) is made
    assert not is_an_agents(entry)
