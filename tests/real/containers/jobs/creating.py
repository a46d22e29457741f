"""Containers, networks and volumes that a hostile job asks for: each would be a way out on a plain Engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.real.containers.jobs.asking import (
    Expect,
    Seen,
    Try,
    World,
    container,
    create,
    own,
    removed,
    tried,
)

REFUSED, ABSENT, CONFINED, EITHER = (
    Expect.REFUSED,
    Expect.ABSENT,
    Expect.CONFINED,
    Expect.EITHER,
)
Given = Mapping[str, Any] | Callable[[World], Mapping[str, Any]]
GPUS = [["gpu"]]

# HostConfig of a container: what is asked, and what has to become of it.
HOST: dict[str, tuple[Given, Expect]] = {
    "privileged": ({"Privileged": True}, REFUSED),
    "pid of the host": ({"PidMode": "host"}, REFUSED),
    "ipc of the host": ({"IpcMode": "host"}, REFUSED),
    "network of the host": ({"NetworkMode": "host"}, REFUSED),
    "uts of the host": ({"UTSMode": "host"}, REFUSED),
    "cgroup namespace of the host": ({"CgroupnsMode": "host"}, REFUSED),
    "user namespace of the host": ({"UsernsMode": "host"}, REFUSED),
    "cgroup of a stranger": (lambda w: {"Cgroup": f"container:{w.stranger}"}, REFUSED),
    "pid of a stranger": (lambda w: {"PidMode": f"container:{w.stranger}"}, EITHER),
    "ipc of a stranger": (lambda w: {"IpcMode": f"container:{w.stranger}"}, EITHER),
    "network of a stranger": (lambda w: {"NetworkMode": f"container:{w.stranger}"}, EITHER),
    "network of a stranger by name": (
        lambda w: {"NetworkMode": f"container:{w.stranger_name}"},
        EITHER,
    ),
    "network of the agent itself": (lambda w: {"NetworkMode": f"container:{w.agent}"}, EITHER),
    "network of the sandbox's holder": (lambda w: {"NetworkMode": f"container:{w.holder}"}, EITHER),
    "pid of the agent itself": (lambda w: {"PidMode": f"container:{w.agent}"}, EITHER),
    "a stranger's network": (lambda w: {"NetworkMode": w.stranger_network}, EITHER),
    "the sandbox's network": (lambda w: {"NetworkMode": w.sandbox_network}, EITHER),
    "the root of the host": ({"Binds": ["/:/host"]}, REFUSED),
    "the root of the host, read-only": ({"Binds": ["/:/host:ro"]}, REFUSED),
    "etc as a mount": (
        {"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x", "ReadOnly": True}]},
        REFUSED,
    ),
    "dev": ({"Binds": ["/dev:/x"]}, REFUSED),
    "dev null where the runtime looks for GPUs": (
        {"Binds": ["/dev/null:/var/run/nvidia-container-devices/all"]},
        REFUSED,
    ),
    "proc": ({"Binds": ["/proc:/x"]}, REFUSED),
    "its own door": ({"Binds": ["/var/run/docker.sock:/var/run/docker.sock"]}, CONFINED),
    "the Engine's own socket": (lambda w: {"Binds": [f"{w.engine_socket}:/s"]}, REFUSED),
    "the folder of the sockets": ({"Binds": ["/run:/x"]}, REFUSED),
    "the folder of its door": ({"Binds": ["/run/mayfly-docker:/x"]}, EITHER),
    "the manager's state": (lambda w: {"Binds": [f"{w.state}:/x"]}, REFUSED),
    "a folder of the host by its path": (lambda w: {"Binds": [f"{w.secret_folder}:/x"]}, REFUSED),
    "another agent's volume by its path": (
        lambda w: {"Binds": [f"/var/lib/docker/volumes/{w.work_volume}/_data:/x"]},
        REFUSED,
    ),
    "another agent's volume by its name": (
        lambda w: {"Binds": [f"{w.stranger_volume}:/x"]},
        EITHER,
    ),
    "another agent's work volume": (lambda w: {"Binds": [f"{w.work_volume}:/x"]}, EITHER),
    "another agent's work volume as a mount": (
        lambda w: {"Mounts": [{"Type": "volume", "Source": w.work_volume, "Target": "/x"}]},
        EITHER,
    ),
    "dots out of the work directory": (
        lambda w: {"Binds": [f"{w.work}/../../../../etc:/x"]},
        REFUSED,
    ),
    "dots that come back": (lambda w: {"Binds": [f"{w.work}/a/../b:/x"]}, EITHER),
    "the work directory's neighbour": (lambda w: {"Binds": [f"{w.work}-other:/x"]}, REFUSED),
    "a relative path": ({"Binds": ["../../etc:/x"]}, REFUSED),
    "a path through the job's own root": ({"Binds": ["/proc/self/root:/x"]}, REFUSED),
    "a path with a NUL": (lambda w: {"Binds": [f"{w.work}\0/etc:/x"]}, REFUSED),
    "a path with a newline": (lambda w: {"Binds": [f"{w.work}\n/etc:/x"]}, EITHER),
    "too many colons": (lambda w: {"Binds": [f"{w.work}:/x:rw:/etc"]}, REFUSED),
    "mounts that spread to the host": (lambda w: {"Binds": [f"{w.work}:/x:rshared"]}, EITHER),
    "a label for the host's files": (lambda w: {"Binds": [f"{w.work}:/x:Z"]}, EITHER),
    "an empty subpath": (
        lambda w: {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": w.work_volume,
                    "Target": "/x",
                    "VolumeOptions": {"Subpath": ""},
                }
            ]
        },
        EITHER,
    ),
    "a subpath that leads up": (
        {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "mine",
                    "Target": "/x",
                    "VolumeOptions": {"Subpath": "../.."},
                }
            ]
        },
        EITHER,
    ),
    "a volume that is a folder of the host": (
        {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "mine",
                    "Target": "/x",
                    "VolumeOptions": {
                        "DriverConfig": {
                            "Name": "local",
                            "Options": {"type": "none", "o": "bind", "device": "/"},
                        }
                    },
                }
            ]
        },
        REFUSED,
    ),
    "a volume of another driver": ({"VolumeDriver": "evil", "Binds": ["mine:/x"]}, REFUSED),
    "a named pipe": (
        {"Mounts": [{"Type": "npipe", "Source": "/run/docker.sock", "Target": "/x"}]},
        REFUSED,
    ),
    "a mount of a cluster": (
        {"Mounts": [{"Type": "cluster", "Source": "x", "Target": "/x"}]},
        REFUSED,
    ),
    "an image that is not allowed, as a mount": (
        lambda w: {"Mounts": [{"Type": "image", "Source": w.forbidden_image, "Target": "/x"}]},
        REFUSED,
    ),
    "a tmpfs of all memory": (
        {
            "Mounts": [
                {"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": 1 << 40}},
            ]
        },
        EITHER,
    ),
    "a tmpfs with devices": ({"Tmpfs": {"/x": "dev,suid,exec,size=99g"}}, EITHER),
    "the volumes of a stranger": (lambda w: {"VolumesFrom": [w.stranger]}, EITHER),
    "the volumes of a stranger by name": (lambda w: {"VolumesFrom": [w.stranger_name]}, EITHER),
    "the volumes of the agent": (lambda w: {"VolumesFrom": [w.agent]}, EITHER),
    "a link to a stranger": (lambda w: {"Links": [f"{w.stranger}:db"]}, EITHER),
    "the cgroup of the host": ({"CgroupParent": "/"}, REFUSED),
    "the cgroup of the system": ({"CgroupParent": "system.slice"}, REFUSED),
    "a cgroup that leads up": ({"CgroupParent": "../../x"}, REFUSED),
    "no seccomp": ({"SecurityOpt": ["seccomp=unconfined"]}, REFUSED),
    "no AppArmor": ({"SecurityOpt": ["apparmor=unconfined"]}, REFUSED),
    "no masks": ({"SecurityOpt": ["systempaths=unconfined"]}, REFUSED),
    "no masks, by their lists": ({"MaskedPaths": [], "ReadonlyPaths": []}, EITHER),
    "new privileges": ({"SecurityOpt": ["no-new-privileges=false"]}, EITHER),
    "no label": ({"SecurityOpt": ["label=disable"]}, EITHER),
    "another runtime": ({"Runtime": "io.containerd.runhcs.v1"}, REFUSED),
    "a runtime by its path": ({"Runtime": "/bin/sh"}, REFUSED),
    "a disk": (
        {
            "Devices": [
                {
                    "PathOnHost": "/dev/vda",
                    "PathInContainer": "/dev/vda",
                    "CgroupPermissions": "rwm",
                }
            ]
        },
        REFUSED,
    ),
    "the memory's device": ({"Devices": [{"PathOnHost": "/dev/mem"}]}, REFUSED),
    "another GPU's node": ({"Devices": [{"PathOnHost": "/dev/nvidia1"}]}, REFUSED),
    "all devices by a rule": ({"DeviceCgroupRules": ["a *:* rwm"]}, REFUSED),
    "all capabilities": ({"CapAdd": ["ALL"]}, EITHER),
    "SYS_ADMIN": ({"CapAdd": ["SYS_ADMIN"]}, REFUSED),
    "CAP_SYS_PTRACE in small letters": ({"CapAdd": ["cap_sys_ptrace"]}, REFUSED),
    "NET_ADMIN": ({"CapAdd": ["NET_ADMIN"]}, REFUSED),
    "NET_RAW": ({"CapAdd": ["NET_RAW"]}, REFUSED),
    "the last to be killed": ({"OomScoreAdj": -1000, "OomKillDisable": True}, EITHER),
    "all memory": ({"Memory": 1 << 50, "MemorySwap": -1, "MemorySwappiness": 100}, EITHER),
    "no bound of memory": ({"Memory": 0, "MemorySwap": -1}, CONFINED),
    "a memory below nothing": ({"Memory": -1}, EITHER),
    "all processors": ({"NanoCpus": 10**15}, EITHER),
    "a weight of processors": ({"CpuShares": 1 << 18}, EITHER),
    "a quota of processors": ({"CpuQuota": -1, "CpuPeriod": 1000}, EITHER),
    "the processors by time": ({"CpuRealtimeRuntime": 950_000}, EITHER),
    "processes without end": ({"PidsLimit": -1}, EITHER),
    "a limit of files": (
        {"Ulimits": [{"Name": "nofile", "Soft": 1 << 30, "Hard": 1 << 30}]},
        EITHER,
    ),
    "a shm of all memory": ({"ShmSize": 1 << 45}, EITHER),
    "first at the disk": ({"BlkioWeight": 1000}, EITHER),
    "a setting of the kernel": ({"Sysctls": {"kernel.shm_rmid_forced": "1"}}, EITHER),
    "a setting of the host's kernel": ({"Sysctls": {"kernel.core_pattern": "|/x"}}, REFUSED),
    "an option of the store": ({"StorageOpt": {"size": "100G"}}, REFUSED),
    "a log at a stranger's": (
        {"LogConfig": {"Type": "syslog", "Config": {"syslog-address": "udp://127.0.0.1:5140"}}},
        EITHER,
    ),
    "a log of all the disk": (
        {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1t"}}},
        EITHER,
    ),
    "a log driver that there is not": ({"LogConfig": {"Type": "evil"}}, EITHER),
    "back after every end": ({"RestartPolicy": {"Name": "always"}}, EITHER),
    "back unless it was stopped": ({"RestartPolicy": {"Name": "unless-stopped"}}, EITHER),
    "annotations that a runtime reads": (
        {"Annotations": {"cdi.k8s.io/x": "nvidia.com/gpu=all"}},
        EITHER,
    ),
    "a file of the host to be written": ({"ContainerIDFile": "/etc/cron.d/x"}, EITHER),
    "a port of the host": (
        {"PortBindings": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "18080"}]}},
        EITHER,
    ),
    "all ports": ({"PublishAllPorts": True}, EITHER),
    "a port for datagrams": ({"PortBindings": {"53/udp": [{"HostPort": "5353"}]}}, EITHER),
    "a key that there is not": ({"Evil": True}, REFUSED),
    "an isolation": ({"Isolation": "hyperv"}, EITHER),
    "the name of the host's address": ({"ExtraHosts": ["h:host-gateway"]}, EITHER),
}
# GPUs: as a client asks for them; the host looks at what the runtime was told.
GPU: dict[str, tuple[Given, Expect]] = {
    "all GPUs": ({"DeviceRequests": [{"Count": -1, "Capabilities": GPUS}]}, CONFINED),
    "eight GPUs": ({"DeviceRequests": [{"Count": 8, "Capabilities": GPUS}]}, EITHER),
    "another's GPU by UUID": (
        lambda w: {"DeviceRequests": [{"DeviceIDs": [w.other_gpu], "Capabilities": GPUS}]},
        EITHER,
    ),
    "another's GPU by index": (
        {"DeviceRequests": [{"DeviceIDs": ["0", "1"], "Capabilities": GPUS}]},
        EITHER,
    ),
    "another's GPU by CDI name": (
        lambda w: {
            "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={w.other_gpu}"]}]
        },
        EITHER,
    ),
    "all GPUs by CDI name": (
        {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]},
        EITHER,
    ),
    "another kind of device by CDI name": (
        {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["evil.com/disk=all"]}]},
        REFUSED,
    ),
    "options of a driver": (
        {"DeviceRequests": [{"Count": -1, "Capabilities": GPUS, "Options": {"visible": "all"}}]},
        EITHER,
    ),
    "a driver of another maker": (
        {"DeviceRequests": [{"Driver": "evil", "Count": -1, "Capabilities": [["disk"]]}]},
        REFUSED,
    ),
}
# Variables of a container; each with the runtime that reads them, and without.
VARIABLES: dict[str, Callable[[World], list[str]]] = {
    "all": lambda w: ["NVIDIA_VISIBLE_DEVICES=all"],
    "another's UUID": lambda w: [f"NVIDIA_VISIBLE_DEVICES={w.other_gpu}"],
    "another's index": lambda w: ["NVIDIA_VISIBLE_DEVICES=0,1"],
    "twice": lambda w: ["NVIDIA_VISIBLE_DEVICES=void", "NVIDIA_VISIBLE_DEVICES=all"],
    "the right to make MIG devices": lambda w: [
        "NVIDIA_MIG_CONFIG_DEVICES=all",
        "NVIDIA_MIG_MONITOR_DEVICES=all",
    ],
    "channels between hosts": lambda w: ["NVIDIA_IMEX_CHANNELS=all"],
    "a swarm's variable": lambda w: ["DOCKER_RESOURCE_GPU=all", "DOCKER_RESOURCE_NVIDIA-GPU=all"],
}
# The rest of a body beside its HostConfig.
BODY: dict[str, tuple[Given, Expect]] = {
    "a label of Mayfly's": (lambda w: {"Labels": {"io.mayfly.host": "x"}}, REFUSED),
    "the label of a stranger's belongings": (
        lambda w: {"Labels": {"io.mayfly.belongs": w.stranger_generation}},
        REFUSED,
    ),
    "an image that is not allowed": (lambda w: {"Image": w.forbidden_image}, REFUSED),
    "a network of a stranger's": (
        lambda w: {"NetworkingConfig": {"EndpointsConfig": {w.stranger_network: {}}}},
        EITHER,
    ),
    "an address of its choice": (
        {
            "NetworkingConfig": {
                "EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.1"}}}
            }
        },
        EITHER,
    ),
    "an option of a network's driver": (
        {
            "NetworkingConfig": {
                "EndpointsConfig": {
                    "bridge": {
                        "DriverOpts": {
                            "com.docker.network.endpoint.sysctls": "net.ipv4.conf.all.forwarding=1"
                        }
                    }
                }
            }
        },
        EITHER,
    ),
    "the host's network by its name": (
        {"NetworkingConfig": {"EndpointsConfig": {"host": {}}}},
        REFUSED,
    ),
    "an unknown key": ({"Evil": 1}, REFUSED),
    "a volume at the GPU runtime's place": (
        {"Volumes": {"/var/run/nvidia-container-devices/all": {}}},
        EITHER,
    ),
    "a check of its health as root": (
        {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9}},
        CONFINED,
    ),
    "the address of another card": ({"MacAddress": "02:42:ac:11:00:02"}, EITHER),
}
# Bodies that one reader may take for something else than the next: Go folds the case of keys, and takes
# the last of two.
CRAFTED: dict[str, Callable[[World], str]] = {
    "the second of two keys": lambda w: _with(
        w, '"HostConfig":{},"HostConfig":{"Privileged":true}'
    ),
    "the second of two keys, deeper": lambda w: _with(
        w, '"HostConfig":{"Privileged":false,"Privileged":true}'
    ),
    "a key in small letters": lambda w: _with(w, '"hostconfig":{"privileged":true}'),
    "a key in capitals": lambda w: _with(w, '"HOSTCONFIG":{"PRIVILEGED":true}'),
    "a key with the sign of Kelvin": lambda w: _with(w, '"HostConfig":{"Networ\u212aMode":"host"}'),
    "a key with a long s": lambda w: _with(w, '"Ho\u017ftConfig":{"Bind\u017f":["/:/x"]}'),
    "a key with an escape": lambda w: _with(w, '"HostConfig":{"\\u0050rivileged":true}'),
    "a second document": lambda w: _with(w, '"Tty":false') + '{"HostConfig":{"Privileged":true}}',
    "a body of lists": lambda w: "[" * 50_000 + "]" * 50_000,
    "a body that is no UTF-8": lambda w: _with(w, '"User":"\udcff"'),
    "a number that is none": lambda w: _with(w, '"HostConfig":{"Memory":NaN}'),
    "a number of a thousand digits": lambda w: _with(
        w, '"HostConfig":{"Memory":' + "9" * 1000 + "}"
    ),
    "a truth that is a word": lambda w: _with(w, '"HostConfig":{"Privileged":"true"}'),
    "a body with a mark at its beginning": lambda w: (
        "\ufeff" + _with(w, '"HostConfig":{"Privileged":true}')
    ),
    "nothing": lambda w: "",
    "null": lambda w: "null",
}
QUERIES: dict[str, tuple[Callable[[World], str], Expect]] = {
    "a name that leads up": (lambda w: "?name=../../x", REFUSED),
    "a name with a slash": (lambda w: "?name=/etc/x", EITHER),
    "a name with a NUL": (lambda w: "?name=a%00b", REFUSED),
    "a name of a thousand letters": (lambda w: "?name=" + "n" * 1000, EITHER),
    "the name of a stranger's container": (lambda w: f"?name={w.stranger_name}", EITHER),
    "two names": (lambda w: f"?name=one&name={w.stranger_name}", EITHER),
    "a parameter that there is not": (lambda w: "?evil=1", REFUSED),
    "a semicolon between two": (lambda w: "?name=a;fromSrc=-", EITHER),
}
NETWORKS: dict[str, tuple[Mapping[str, Any], Expect]] = {
    "of the host": ({"Driver": "host"}, REFUSED),
    "on the host's card": ({"Driver": "macvlan", "Options": {"parent": "eth0"}}, REFUSED),
    "on the host's card, routed": ({"Driver": "ipvlan", "Options": {"parent": "eth0"}}, REFUSED),
    "of a swarm": ({"Driver": "overlay", "Attachable": True}, REFUSED),
    "on the host's bridge": (
        {"Driver": "bridge", "Options": {"com.docker.network.bridge.name": "docker0"}},
        REFUSED,
    ),
    "the default one": (
        {"Driver": "bridge", "Options": {"com.docker.network.bridge.default_bridge": "true"}},
        REFUSED,
    ),
    "without a wall to the host": (
        {"Driver": "bridge", "Options": {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}},
        REFUSED,
    ),
    "over the host's addresses": (
        {"Driver": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}},
        REFUSED,
    ),
    "as another says": ({"ConfigFrom": {"Network": "x"}}, REFUSED),
    "for a swarm's door": ({"Ingress": True, "Scope": "swarm"}, REFUSED),
    "with a label of Mayfly's": ({"Labels": {"io.mayfly.host": "x"}}, REFUSED),
}
VOLUMES: dict[str, tuple[Mapping[str, Any], Expect]] = {
    "that is the host's root": (
        {
            "Name": "v",
            "Driver": "local",
            "DriverOpts": {"type": "none", "o": "bind", "device": "/"},
        },
        REFUSED,
    ),
    "of another driver": ({"Name": "v", "Driver": "evil"}, REFUSED),
    "of a cluster": ({"Name": "v", "ClusterVolumeSpec": {"Group": "x"}}, REFUSED),
    "with a name that leads up": ({"Name": "../../x"}, REFUSED),
    "with a label of Mayfly's": ({"Name": "v", "Labels": {"io.mayfly.belongs": "x"}}, REFUSED),
}


def _with(world: World, more: str) -> str:
    return f'{{"Image":{json.dumps(world.image)},"Cmd":["sleep","1000"],{more}}}'


def _given(given: Given, world: World) -> Mapping[str, Any]:
    return given(world) if callable(given) else given


def _host(given: Given) -> Callable[[World], Seen]:
    def run(world: World) -> Seen:
        return create(container(world, _given(given, world)), start=True)

    return run


def _body(given: Given) -> Callable[[World], Seen]:
    return lambda world: create({**container(world), **_given(given, world)}, start=True)


def _variables(
    given: Callable[[World], list[str]], host: Mapping[str, Any]
) -> Callable[[World], Seen]:
    return lambda world: create(container(world, host, Env=given(world)), start=True)


def _crafted(text: Callable[[World], str]) -> Callable[[World], Seen]:
    def run(world: World) -> Seen:
        return create({}, start=True, body=text(world).encode("utf-8", "surrogateescape"))

    return run


def _query(query: Callable[[World], str]) -> Callable[[World], Seen]:
    return lambda world: create(container(world), query(world))


def _posted(target: str, given: Mapping[str, Any], named: bool) -> Callable[[World], Seen]:
    more = {"Name": "theirs"} if named else {}
    return lambda world: tried("POST", target, {**more, **given})


def _image_wants_gpus(world: World) -> Seen:
    return create({**container(world), "Image": world.gpu_image}, start=True)


def _update(world: World) -> Seen:
    mine = own(world)
    seen = tried(
        "POST",
        f"/containers/{mine}/update",
        {
            "Memory": 1 << 50,
            "MemorySwap": -1,
            "PidsLimit": -1,
            "NanoCpus": 10**15,
            "RestartPolicy": {"Name": "always"},
        },
    )
    seen.made.append(mine)
    return seen


def _connect_to_strangers(world: World) -> Seen:
    mine = own(world)
    seen = tried("POST", f"/networks/{world.stranger_network}/connect", {"Container": mine})
    seen.made.append(mine)
    return seen


def _old_start(world: World) -> Seen:
    """Before 1.24 a start could bring a HostConfig along."""
    mine = create(container(world)).made[0]
    seen = tried("POST", f"/v1.23/containers/{mine}/start", {"Privileged": True, "Binds": ["/:/x"]})
    seen.made.append(mine)
    return seen


def _exec_with_rights(world: World) -> Seen:
    mine = own(world)
    seen = tried(
        "POST",
        f"/containers/{mine}/exec",
        {"Cmd": ["sh", "-c", "cat /proc/self/status"], "Privileged": True, "AttachStdout": True},
    )
    removed(mine)
    return seen


def _checkpoint(world: World) -> Seen:
    mine = create(container(world)).made[0]
    seen = tried("POST", f"/containers/{mine}/start?checkpoint=x&checkpoint-dir=/etc")
    removed(mine)
    return seen


def tries() -> Iterator[Try]:
    """All of them."""
    for name, (given, expect) in HOST.items():
        yield Try(f"a container with {name}", _host(given), expect)
    for name, (given, expect) in GPU.items():
        yield Try(f"a container with {name}", _host(given), expect)
    for name, variables in VARIABLES.items():
        yield Try(f"a variable for GPUs: {name}", _variables(variables, {}), EITHER)
        nvidia = _variables(variables, {"Runtime": "nvidia"})
        yield Try(f"a variable for GPUs, with the runtime: {name}", nvidia, EITHER)
    yield Try("an image whose ENV wants all GPUs", _image_wants_gpus, CONFINED)
    for name, (given, expect) in BODY.items():
        yield Try(f"a container with {name}", _body(given), expect)
    for name, text in CRAFTED.items():
        yield Try(f"a body with {name}", _crafted(text), EITHER)
    for name, (query, expect) in QUERIES.items():
        yield Try(f"a query with {name}", _query(query), expect)
    for name, (network, expect) in NETWORKS.items():
        yield Try(f"a network {name}", _posted("/networks/create", network, True), expect)
    for name, (volume, expect) in VOLUMES.items():
        yield Try(f"a volume {name}", _posted("/volumes/create", volume, False), expect)
    yield Try("limits taken away later", _update, EITHER)
    yield Try("a stranger's network joined later", _connect_to_strangers, EITHER)
    yield Try("a HostConfig at the start", _old_start, EITHER)
    yield Try("an exec with all rights", _exec_with_rights, REFUSED)
    yield Try("a start from a checkpoint of the host", _checkpoint, REFUSED)
