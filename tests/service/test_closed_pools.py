"""How what a pool closes stands in the container that the Engine is asked for."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.actions import Prepare
from mayfly.core.agent_plan import agent_plan
from mayfly.core.desire import ImageSeen, Survey, desired, fingerprint
from mayfly.core.model import (
    GATE_PROTOCOL,
    Config,
    Generation,
    HostId,
    HostSpec,
    Limits,
    PoolName,
    PoolSecurity,
    PoolSpec,
    Removal,
    SlotName,
    SlotSpec,
    Traits,
    Ulimit,
)
from mayfly.core.mounts import Source, paths
from mayfly.edge.faults import Refused
from mayfly.engines.docker.container import container_config, container_plan
from mayfly.engines.docker.seccomp import calls_allowed
from mayfly.engines.docker.values import Dialect

CLOSED = PoolSecurity(
    ulimits={"core": Ulimit(0, 0)},
    runtime="runsc",
    seccomp="/calls.json",
    apparmor="lab-jobs",
    cap_drop=("SETFCAP", "SYS_CHROOT"),
    read_only=True,
    tmpfs={"/home/runner": 4096},
    cpuset="0-3",
    userns="host",
)
POOL = PoolSpec(PoolName("p"), image="image")


def asked(pool: PoolSpec, calls: str | None = None) -> dict[str, Any]:
    """What the Engine's API is told of the host's side."""
    spec = SlotSpec(name=SlotName("p-0"), index=0, pool=pool, image="image", fingerprint="f")
    action = Prepare(Generation("g1"), spec, "p-0", "it is empty")
    plan = agent_plan(action, host=HostId("h"), witness="/w", log_max_size=1)
    config = container_config(container_plan(plan, "n", {}, calls), Dialect((1, 42)), {})
    host: dict[str, Any] = config["HostConfig"]
    return host


@pytest.mark.parametrize(
    ("cpus", "shares"), [(0.15, 154), (0.999, 1023), (0.001, 2), (1.0, 0), (64.0, 0), (None, 0)]
)
def test_an_agent_of_less_than_a_processor_counts_for_less_than_others(
    cpus: float | None, shares: int
) -> None:
    """0 is the Engine's word for as much as any container, which is 1024 (2 is the kernel's least)."""
    host = asked(replace(POOL, limits=Limits(cpus=cpus)))
    assert host["CpuShares"] == shares
    assert host.get("NanoCpus") == (cpus and round(cpus * 1e9))


def test_each_key_of_security_reaches_the_engine() -> None:
    host = asked(replace(POOL, sudo=True, security=CLOSED), '{"defaultAction": "x"}')
    assert host["Runtime"] == "runsc"
    assert host["SecurityOpt"] == [
        "no-new-privileges:false",
        "apparmor=lab-jobs",
        'seccomp={"defaultAction": "x"}',
    ]
    assert {"SETUID", "DAC_OVERRIDE"} < set(host["CapAdd"])
    assert not {"SETFCAP", "SYS_CHROOT", "NET_RAW", "MKNOD"} & set(host["CapAdd"])
    assert host["CapDrop"] == ["ALL"]
    assert (host["ReadonlyRootfs"], host["CpusetCpus"], host["UsernsMode"]) == (True, "0-3", "host")
    assert host["Tmpfs"]["/home/runner"] == "mode=1777,exec,size=4096,uid=1000"
    assert host["Tmpfs"]["/tmp"] == host["Tmpfs"]["/var/tmp"] == "mode=1777,exec"
    assert host["Ulimits"] == [{"Name": "core", "Soft": 0, "Hard": 0}]


def test_without_them_a_container_is_as_the_engine_makes_it() -> None:
    host = asked(POOL)
    assert not {"Runtime", "CpusetCpus", "UsernsMode"} & host.keys()
    assert host["ReadonlyRootfs"] is False
    assert host["SecurityOpt"] == ["no-new-privileges:true", "seccomp=builtin"]
    assert host["Tmpfs"].keys() == {"/run/mayfly"}


@pytest.mark.parametrize("key", [one.name for one in fields(PoolSecurity)])
def test_each_key_of_security_is_baked_into_a_slot_s_fingerprint(key: str) -> None:
    other = replace(POOL, security=replace(PoolSecurity(), **{key: getattr(CLOSED, key)}))
    marks = {fingerprint(pool, "image", (), Removal.ENGINE) for pool in (POOL, other)}
    assert len(marks) == 2


@pytest.mark.parametrize(
    ("security", "seen", "says"),
    [
        (PoolSecurity(runtime="runsc"), None, "the engine has no runtime runsc: there are runc"),
        (PoolSecurity(runtime="runc"), None, ""),
        (PoolSecurity(runtime="io.containerd.runsc.v1"), None, ""),
        (PoolSecurity(seccomp="/calls"), Source(""), "seccomp /calls of pool"),
        (PoolSecurity(seccomp="/calls"), Source("1:1", directory=True), "is not a file"),
        (PoolSecurity(seccomp="/calls"), Source("1:1"), ""),
        (PoolSecurity(seccomp="unconfined"), None, ""),
    ],
)
def test_what_is_not_on_this_host_holds_the_slot(
    security: PoolSecurity, seen: Source | None, says: str
) -> None:
    pool = replace(POOL, security=security)
    survey = Survey(
        images={"image": ImageSeen("sha256:1", GATE_PROTOCOL)},
        sources={"/calls": seen} if seen is not None else {},
        runtimes=frozenset(["runc"]),
    )
    found = desired(Config(HostSpec("box"), (pool,)), survey, {pool.name: Traits(embedded=True)})
    told = found.obstacles.get(SlotName("p-0"), "")
    assert (told == "") if not says else (says in told)
    assert ("/calls" in paths(pool)) is (security.seccomp == "/calls")


def test_a_profile_is_read_as_it_is_when_an_agent_is_made(tmp_path: Path) -> None:
    file = tmp_path / "calls.json"
    for text, why in (
        (None, "cannot be read: No such file"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no defaultAction"),
        (json.dumps({"defaultAction": "x", "pad": "x" * 2**20}), "has no defaultAction"),
    ):
        if text is not None:
            file.write_text(text)
        with pytest.raises(Refused, match=why):
            calls_allowed(str(file))
    file.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    assert json.loads(calls_allowed(str(file)) or "") == {"defaultAction": "SCMP_ACT_ALLOW"}
    assert (calls_allowed(None), calls_allowed("unconfined")) == (None, "unconfined")
