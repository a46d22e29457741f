"""The judge of the hostile tries: that it finds each fault which it is there for."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from tests.real.containers.confinement import Rows, faults

GENERATION = "0m1abcd2efgh4"
GRANT: dict[str, Any] = {
    "generation": GENERATION,
    "host": "box",
    "seal": "s",
    "door": "/state/door/docker.sock",
    "mounts": [{"target": "/d", "source": "/data", "read_only": True}],
    "ca": None,
    "work": {"target": "/workspace", "volume": "work"},
    "shared": [{"target": "/e", "volume": "shared"}],
    "lease": ["GPU-1"],
    "cgroup_parent": "/mf",
    "oom_score": 500,
    "capabilities": ["CHOWN"],
}
BELONGS = {
    "io.mayfly.belongs": GENERATION,
    "io.mayfly.belongs.host": "box",
    "io.mayfly.belongs.seal": "s",
}
GOOD: dict[str, Any] = {
    "Name": f"/mf-{GENERATION}-one",
    "Config": {"Env": ["NVIDIA_VISIBLE_DEVICES=void"], "Labels": BELONGS},
    "HostConfig": {
        "CapDrop": ["NET_RAW", "MKNOD"],
        "MaskedPaths": ["/proc/kcore"],
        "ReadonlyPaths": ["/proc/sys"],
        "Runtime": "runc",
        "CgroupnsMode": "private",
        "CgroupParent": "/mf",
        "Memory": 1 << 26,
        "MemorySwap": 1 << 26,
        "NanoCpus": 10**9,
        "PidsLimit": 10,
        "OomScoreAdj": 500,
        "LogConfig": {"Type": "local", "Config": {}},
    },
    "Mounts": [],
}
NETWORKS = {"n": {"Name": "mf-x-bridge", "Labels": BELONGS}}
VOLUMES = {
    "work": {"Driver": "local", "Labels": {}},
    "shared": {"Driver": "local", "Labels": {}},
    "theirs": {"Driver": "local", "Labels": {"io.mayfly.belongs": "another"}},
}


def rows(host: Mapping[str, Any] | None = None, **more: Any) -> Rows:
    container = copy.deepcopy(GOOD)
    container["HostConfig"] |= host or {}
    container |= {key: value for key, value in more.items() if key != "told"}
    return Rows(container, NETWORKS, VOLUMES, frozenset({"own"}), more.get("told"))


def mount(**what: Any) -> list[dict[str, Any]]:
    return [{"RW": True, "Propagation": "", **what}]


@pytest.mark.parametrize(
    "good",
    [
        rows(),
        rows({"PidMode": "container:own"}),
        rows({"Runtime": "nvidia"}, told={"NVIDIA_VISIBLE_DEVICES": "GPU-1"}),
        rows(Mounts=mount(Type="volume", Name="work")),
        rows(Mounts=mount(Type="volume", Name="shared", RW=False)),
        rows(Mounts=mount(Type="bind", Source="/data", RW=False)),
        rows(Mounts=mount(Type="bind", Source=GRANT["door"])),
        rows({"DeviceRequests": [{"DeviceIDs": ["GPU-1"]}]}),
    ],
    ids=range(8),
)
def test_what_is_confined_has_no_fault(good: Rows) -> None:
    assert faults(good, GRANT) == []


@pytest.mark.parametrize(
    "bad",
    [
        rows({"Privileged": True}),
        rows({"CapAdd": ["CAP_SYS_ADMIN"]}),
        rows({"CapDrop": None}),
        rows({"SecurityOpt": ["seccomp=unconfined"]}),
        rows({"MaskedPaths": []}),
        rows({"ReadonlyPaths": None}),
        rows({"Runtime": "evil"}),
        rows({"Sysctls": {"kernel.core_pattern": "|/x"}}),
        rows({"PidMode": "host"}),
        rows({"UsernsMode": "host"}),
        rows({"IpcMode": "container:another"}),
        rows({"NetworkMode": "container:another"}),
        rows({"CgroupnsMode": "host"}),
        rows({"CgroupParent": ""}),
        rows({"Links": ["/another:/x"]}),
        rows(Mounts=mount(Type="bind", Source="/etc", RW=False)),
        rows(Mounts=mount(Type="bind", Source="/data")),
        rows(Mounts=mount(Type="bind", Source=GRANT["door"], Propagation="rshared")),
        rows(Mounts=mount(Type="volume", Name="theirs")),
        rows(Mounts=mount(Type="volume", Name="unknown")),
        rows(Mounts=mount(Type="volume", Name="shared")),
        rows(Mounts=mount(Type="image", Source="x")),
        rows({"Devices": [{"PathOnHost": "/dev/mem"}]}),
        rows({"DeviceCgroupRules": ["a *:* rwm"]}),
        rows({"Annotations": {"cdi.k8s.io/x": "nvidia.com/gpu=all"}}),
        rows({"DeviceRequests": [{"Count": -1}]}),
        rows({"DeviceRequests": [{"DeviceIDs": ["GPU-2"]}]}),
        rows(Config={"Env": [], "Labels": BELONGS}),
        rows(Config={"Env": ["NVIDIA_VISIBLE_DEVICES=all"], "Labels": BELONGS}),
        rows(Config={"Env": ["NVIDIA_VISIBLE_DEVICES=void"] * 2, "Labels": BELONGS}),
        rows(told={"NVIDIA_VISIBLE_DEVICES": "GPU-2"}),
        rows({"Memory": 0}),
        rows({"Memory": 1 << 40}),
        rows({"MemorySwap": -1}),
        rows({"NanoCpus": 0}),
        rows({"PidsLimit": -1}),
        rows({"OomScoreAdj": -1000}),
        rows({"OomKillDisable": True}),
        rows({"ShmSize": 1 << 40}),
        rows({"CpuQuota": -1}),
        rows({"BlkioWeight": 1000}),
        rows({"PortBindings": {"80/tcp": [{"HostPort": "80"}]}}),
        rows({"PublishAllPorts": True}),
        rows({"RestartPolicy": {"Name": "always"}}),
        rows({"LogConfig": {"Type": "syslog"}}),
        rows({"LogConfig": {"Type": "json-file", "Config": {}}}),
        rows({"ContainerIDFile": "/etc/x"}),
        rows(Name="/theirs"),
        rows(Config={"Env": ["NVIDIA_VISIBLE_DEVICES=void"], "Labels": {}}),
        rows(
            Config={
                "Env": ["NVIDIA_VISIBLE_DEVICES=void"],
                "Labels": {**BELONGS, "io.mayfly.host": "box"},
            }
        ),
    ],
    ids=range(50),
)
def test_each_fault_is_found(bad: Rows) -> None:
    assert faults(bad, GRANT)


def test_a_network_of_a_stranger_is_found() -> None:
    one = rows()
    theirs = {"Name": "theirs", "Labels": {"io.mayfly.belongs": "another"}}
    bad = Rows(one.container, {"t": theirs}, one.volumes, one.own, None)
    assert faults(bad, GRANT) == ["it is in the network theirs (t)"]
