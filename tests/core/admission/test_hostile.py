"""What a hostile job tries, row by row: refused with a sentence that names it, or harmless as it goes out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.admission.outcome import Forward
from tests.core.admission.checker import assert_safe
from tests.core.admission.clients import made
from tests.core.admission.engine import (
    ANONYMOUS,
    THEIR_VOLUME,
    THEIRS,
    decided,
    engine,
    forwarded,
    numbered,
    refused,
)
from tests.core.admission.granted import AGENT, GRANT, HOLDER, OTHER_UUID, UUID

ALPINE = "/v1.45/images/alpine:latest/json"
BIND = "/home/agent/_work"
# What HostConfig says, and what the sentence has to name.
HOST: list[tuple[str, dict[str, Any], str]] = [
    ("privileged", {"Privileged": True}, "HostConfig.Privileged"),
    ("privileged by another spelling", {"privileged": True}, "one key"),
    ("host pid", {"PidMode": "host"}, "HostConfig.PidMode"),
    ("host ipc", {"IpcMode": "host"}, "HostConfig.IpcMode"),
    ("host network", {"NetworkMode": "host"}, "host's network"),
    ("host uts", {"UTSMode": "host"}, "HostConfig.UTSMode"),
    ("host cgroup", {"CgroupnsMode": "host"}, "HostConfig.CgroupnsMode"),
    ("host userns", {"UsernsMode": "host"}, "HostConfig.UsernsMode"),
    ("a stranger's pid", {"PidMode": f"container:{THEIRS}"}, "No such container"),
    ("a stranger's ipc", {"IpcMode": f"container:{THEIRS[:12]}"}, "No such container"),
    ("the agent's own pid", {"PidMode": f"container:{AGENT}"}, "No such container"),
    ("the holder's network", {"NetworkMode": f"container:{HOLDER}"}, "No such container"),
    ("a stranger's network", {"NetworkMode": f"container:{THEIRS}"}, "No such container"),
    ("a stranger's by name", {"NetworkMode": "container:mf-0mzzzzzzzzzzz-db"}, "No such container"),
    ("a network that is not there", {"NetworkMode": "container:"}, "No such container"),
    ("the pool's network", {"NetworkMode": "pool-gpu"}, "network pool-gpu not found"),
    ("a network by the beginning of its id", {"NetworkMode": numbered(0xBADC)[:12]}, "not found"),
    ("a service's network", {"NetworkMode": "service:db"}, "not found"),
    ("the host's root", {"Binds": ["/:/host"]}, '"/" is refused'),
    ("a file of the host", {"Binds": ["/etc/shadow:/x"]}, "/etc/shadow"),
    ("the Engine's directory", {"Binds": ["/var/lib/docker:/x"]}, "/var/lib/docker"),
    ("the Engine's socket's directory", {"Binds": ["/run:/x"]}, '"/run"'),
    ("containerd's socket", {"Binds": ["/run/containerd/containerd.sock:/x"]}, "containerd"),
    ("the gateway's directory", {"Binds": ["/var/lib/mayfly/gateway:/x"]}, "gateway"),
    ("a path beside the work", {"Binds": ["/home/agent/_workshop:/x"]}, "workshop"),
    ("a path above the work", {"Binds": ["/home/agent:/x"]}, "/home/agent"),
    ("dots out of the work", {"Binds": [f"{BIND}/../../../etc:/x"]}, '".."'),
    ("dots within the work", {"Binds": [f"{BIND}/a/../b:/x"]}, '".."'),
    ("dots in the target", {"Binds": [f"{BIND}/a:/x/../proc"]}, '".."'),
    ("below a dataset", {"Binds": ["/data/imagenet/sub:/x"]}, "/data/imagenet/sub"),
    ("a dataset's source", {"Binds": ["/srv/imagenet:/x"]}, "/srv/imagenet"),
    ("a relative path", {"Binds": ["./a:/x"]}, "name of a volume"),
    ("a path of Windows", {"Binds": ["C:\\:/x"]}, "absolute path"),
    ("a named pipe", {"Binds": ["\\\\.\\pipe\\docker_engine:/x"]}, "name of a volume"),
    ("shared propagation", {"Binds": [f"{BIND}:/x:rshared"]}, "rshared"),
    ("slave propagation", {"Binds": [f"{BIND}:/x:rslave"]}, "rslave"),
    ("an unknown option", {"Binds": [f"{BIND}:/x:suid"]}, "suid"),
    ("no source", {"Binds": [":/x"]}, "SOURCE:TARGET"),
    ("no options", {"Binds": ["data:/x:"]}, "SOURCE:TARGET"),
    (
        "a tmpfs of a file",
        {"Mounts": [{"Type": "tmpfs", "Source": "/etc", "Target": "/x"}]},
        "no source",
    ),
    ("ports without a network", {"NetworkMode": "none", "PortBindings": {"80": []}}, "no ports"),
    ("too many parts", {"Binds": [f"{BIND}:/x:ro:rw"]}, "SOURCE:TARGET"),
    ("on /proc", {"Binds": [f"{BIND}:/proc/self"]}, "/proc/self"),
    ("on /sys", {"Binds": [f"{BIND}:/sys"]}, "/sys"),
    ("on /dev", {"Binds": [f"{BIND}:/dev"]}, "/dev"),
    ("on /", {"Binds": [f"{BIND}:/"]}, "on /"),
    ("on /proc by dots", {"Binds": [f"{BIND}:/./proc//x"]}, "/proc/x"),
    (
        "another GPU by the name of a mount",
        {"Binds": [f"{BIND}:/var/run/nvidia-container-devices/{OTHER_UUID}"]},
        "nvidia-container-devices",
    ),
    (
        "another GPU by a tmpfs",
        {"Tmpfs": {f"/var/run/nvidia-container-devices/{OTHER_UUID}": ""}},
        "nvidia-container-devices",
    ),
    ("another's volume", {"Binds": ["mf-0mzzzzzzzzzzz-data/x:/x"]}, "name of a volume"),
    ("another's volume by its name", {"Binds": ["mf-0mzzzzzzzzzzz-data:/x"]}, "Mayfly's own"),
    ("volumes from a stranger", {"VolumesFrom": [THEIRS]}, "No such container"),
    ("volumes from the agent", {"VolumesFrom": [f"{AGENT}:rw"]}, "No such container"),
    ("volumes from an own in a strange way", {"VolumesFrom": ["db:z"]}, "neither ro nor rw"),
    ("a link without a network", {"NetworkMode": "none", "Links": ["db"]}, "no links"),
    ("a link to a stranger", {"Links": [f"{THEIRS}:db"]}, "No such container"),
    ("a bind by Mounts", {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/x"}]}, '"/" is'),
    (
        "a volume's driver by Mounts",
        {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "v",
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
        "DriverConfig.Options",
    ),
    (
        "another driver",
        {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "v",
                    "Target": "/x",
                    "VolumeOptions": {"DriverConfig": {"Name": "nfs"}},
                }
            ]
        },
        "DriverConfig.Name",
    ),
    (
        "a subpath out of a volume",
        {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "data",
                    "Target": "/x",
                    "VolumeOptions": {"Subpath": "a/../../x"},
                }
            ]
        },
        "Subpath",
    ),
    (
        "an absolute subpath",
        {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "data",
                    "Target": "/x",
                    "VolumeOptions": {"Subpath": "/etc"},
                }
            ]
        },
        "Subpath",
    ),
    (
        "propagation by Mounts",
        {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": BIND,
                    "Target": "/x",
                    "BindOptions": {"Propagation": "shared"},
                }
            ]
        },
        "Propagation",
    ),
    (
        "a bind that says it is a volume",
        {"Mounts": [{"Type": "volume", "Source": "/etc", "Target": "/x"}]},
        "/etc",
    ),
    (
        "an image's files",
        {"Mounts": [{"Type": "image", "Source": "alpine", "Target": "/x"}]},
        '"image"',
    ),
    ("a pipe by Mounts", {"Mounts": [{"Type": "npipe", "Source": "x", "Target": "/x"}]}, '"npipe"'),
    ("a cluster's", {"Mounts": [{"Type": "cluster", "Source": "x", "Target": "/x"}]}, '"cluster"'),
    ("no type", {"Mounts": [{"Source": "/etc", "Target": "/x"}]}, 'type ""'),
    ("the type in capitals", {"Mounts": [{"Type": "BIND", "Source": "/", "Target": "/x"}]}, "BIND"),
    (
        "a mount's key in two spellings",
        {"Mounts": [{"Type": "volume", "type": "bind", "Source": "/", "Target": "/x"}]},
        "one key",
    ),
    ("a tmpfs with a device", {"Tmpfs": {"/x": "dev"}}, '"dev"'),
    ("a tmpfs with options of mount(8)", {"Tmpfs": {"/x": "rw,context=x"}}, "context"),
    ("a tmpfs on /sys", {"Tmpfs": {"/sys/fs": ""}}, "/sys/fs"),
    ("a volume's driver", {"VolumeDriver": "vieux/sshfs"}, "VolumeDriver"),
    ("its own cgroup", {"CgroupParent": "/"}, "CgroupParent"),
    ("an old cgroup", {"Cgroup": "container:x"}, "HostConfig.Cgroup "),
    ("no seccomp", {"SecurityOpt": ["seccomp=unconfined"]}, "seccomp"),
    ("no seccomp, said with a colon", {"SecurityOpt": ["seccomp:unconfined"]}, "seccomp"),
    ("no AppArmor", {"SecurityOpt": ["apparmor=unconfined"]}, "apparmor"),
    ("a credential spec", {"SecurityOpt": ["credentialspec=file://x"]}, "credentialspec"),
    ("unmasked paths", {"SecurityOpt": ["systempaths=unconfined"]}, "systempaths"),
    ("no masked paths", {"MaskedPaths": []}, "MaskedPaths"),
    ("no read-only paths", {"ReadonlyPaths": []}, "ReadonlyPaths"),
    ("fewer masked paths", {"MaskedPaths": ["/proc/kcore"]}, "MaskedPaths"),
    ("all capabilities but by name", {"CapAdd": ["SYS_ADMIN"]}, "SYS_ADMIN"),
    ("a capability in small letters", {"CapAdd": ["cap_net_raw"]}, "NET_RAW"),
    ("MKNOD", {"CapAdd": ["CAP_MKNOD"]}, "MKNOD"),
    ("another runtime", {"Runtime": "runc"}, "Runtime"),
    ("a runtime's name of a plugin", {"Runtime": "io.containerd.runc.v2"}, "Runtime"),
    (
        "a device",
        {"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda"}]},
        "/dev/sda",
    ),
    ("another GPU as a device", {"Devices": [{"PathOnHost": "/dev/nvidia1"}]}, "/dev/nvidia1"),
    ("rules for devices", {"DeviceCgroupRules": ["a *:* rwm"]}, "DeviceCgroupRules"),
    (
        "another kind of device",
        {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["vendor.com/net=0"]}]},
        "vendor.com/net=0",
    ),
    (
        "another driver of devices",
        {"DeviceRequests": [{"Driver": "amd", "Capabilities": [["gpu"]]}]},
        "amd",
    ),
    ("devices without a GPU", {"DeviceRequests": [{"Capabilities": [["tpu"]]}]}, "tpu"),
    (
        "options of a device request",
        {"DeviceRequests": [{"Capabilities": [["gpu"]], "Options": {"x": "y"}}]},
        "Options",
    ),
    ("annotations", {"Annotations": {"cdi.k8s.io/x": "nvidia.com/gpu=all"}}, "Annotations"),
    ("a sysctl of the host", {"Sysctls": {"kernel.core_pattern": "1"}}, "kernel.core_pattern"),
    ("a sysctl's value", {"Sysctls": {"kernel.shmmax": "|/x"}}, "kernel.shmmax"),
    ("a log elsewhere", {"LogConfig": {"Type": "syslog", "Config": {"a": "b"}}}, "syslog"),
    ("a size of its files", {"StorageOpt": {"size": "1T"}}, "StorageOpt"),
    ("no OOM kill", {"OomKillDisable": True}, "OomKillDisable"),
    ("real-time", {"CpuRealtimeRuntime": 950000}, "CpuRealtimeRuntime"),
    ("kernel memory", {"KernelMemory": 1}, "KernelMemory"),
    ("processors by number", {"CpusetCpus": "0-63"}, "CpusetCpus"),
    ("weight on the disk", {"BlkioWeight": 1000}, "BlkioWeight"),
    (
        "a device's rate",
        {"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}]},
        "BlkioDeviceReadBps",
    ),
    ("real-time by a limit", {"Ulimits": [{"Name": "rtprio", "Soft": 99, "Hard": 99}]}, "rtprio"),
    ("precedence by a limit", {"Ulimits": [{"Name": "nice", "Soft": 40, "Hard": 40}]}, "nice"),
    ("a limit without a name", {"Ulimits": [{"Hard": 1}]}, "Ulimits"),
    ("hypervisors", {"Isolation": "hyperv"}, "Isolation"),
    ("what nobody knows", {"NewThing": {"a": 1}}, "HostConfig.NewThing"),
    ("a letter that Go takes for a k", {"Networ\u212aMode": "host"}, "one key"),
    ("a host's address", {"ExtraHosts": ["x:host-gateway"]}, "ExtraHosts"),
    (
        "publishing on the host's address",
        {"PortBindings": {"80/tcp": [{"HostIp": "10.0.0.1"}]}},
        "10.0.0.1",
    ),
    ("UDP", {"PortBindings": {"53/udp": [{"HostPort": "53"}]}}, "53/udp"),
    (
        "ports by the hundred",
        {"PortBindings": {f"{n}/tcp": [{}] for n in range(1, 200)}},
        "more than",
    ),
    ("a port of 6 digits", {"PortBindings": {"80/tcp": [{"HostPort": "999999"}]}}, "999999"),
    ("a name server that is none", {"Dns": ["x\ny"]}, "Dns"),
    ("an option for resolv.conf", {"DnsOptions": ["a\nnameserver 1.2.3.4"]}, "DnsOptions"),
    ("a number that is none", {"Memory": 1.5}, "Memory"),
    ("true for a number", {"Memory": True}, "Memory"),
    ("a text for a number", {"Memory": "1g"}, "Memory"),
    ("more than 64 bits", {"Memory": 2**70}, "Memory"),
    ("less than nothing", {"PidsLimit": -(2**40)}, "PidsLimit"),
    ("a list for a text", {"PidMode": ["host"]}, "PidMode"),
    ("an object for a list", {"Binds": {"a": "/:/x"}}, "Binds"),
    ("a text for a list", {"Binds": "/:/x"}, "Binds"),
    ("null in a list", {"Binds": [None]}, "Binds"),
    ("one place twice", {"Binds": [f"{BIND}/a:/x", f"{BIND}/b:/x/"]}, "two things"),
]


@pytest.mark.parametrize(("host", "told"), [pytest.param(*row[1:], id=row[0]) for row in HOST])
def test_what_a_creation_asks_of_the_host_is_refused_by_name(
    host: dict[str, Any], told: str
) -> None:
    outcome = refused("POST", "/v1.47/containers/create", made(host=host))
    assert told in outcome.sentence
    assert outcome.status in (400, 403, 404)
    assert "\n" not in outcome.sentence
    assert len(outcome.sentence) < 600


CONFIG: list[tuple[str, dict[str, Any], str]] = [
    ("a label that is Mayfly's", {"Labels": {"io.mayfly.belongs": "x"}}, "Labels"),
    ("a label of an agent's", {"Labels": {"io.mayfly.generation": "x"}}, "Labels"),
    ("an address", {"MacAddress": "02:42:ac:11:00:02"}, "MacAddress"),
    ("a trigger", {"OnBuild": ["RUN x"]}, "OnBuild"),
    ("what nobody knows", {"Runtime": "nvidia"}, "Runtime is not known"),
    ("no image", {"Image": ""}, "Image"),
    ("an image that is no text", {"Image": {"a": 1}}, "Image has to be"),
    ("another host's image", {"Image": "localhost:5000/x"}, "allowed_images"),
    ("a user with a line", {"User": "root\nx"}, "User"),
    ("a variable without a name", {"Env": ["=x"]}, "Env"),
    ("the hostname of two lines", {"Hostname": "a\nb"}, "Hostname"),
    ("a volume on /proc", {"Volumes": {"/proc": {}}}, "/proc"),
    ("a volume with something in it", {"Volumes": {"/x": {"driver": "nfs"}}}, "Volumes"),
    ("a port that is none", {"ExposedPorts": {"x": {}}}, "ExposedPorts"),
    ("HostConfig twice", {"hostconfig": {"Privileged": True}}, "one key"),
    ("HostConfig as a list", {"HostConfig": []}, "HostConfig"),
    ("a signal", {"StopSignal": "TERM; x"}, "StopSignal"),
    (
        "an address of its own",
        {
            "NetworkingConfig": {
                "EndpointsConfig": {"net": {"IPAMConfig": {"IPv4Address": "172.17.0.1"}}}
            }
        },
        "IPAMConfig",
    ),
    (
        "a stranger's network beside its own",
        {"NetworkingConfig": {"EndpointsConfig": {"net": {}, "pool-gpu": {}}}},
        "pool-gpu",
    ),
    (
        "the host's network beside its own",
        {"NetworkingConfig": {"EndpointsConfig": {"net": {}, "host": {}}}},
        "host's network",
    ),
    (
        "the default one twice",
        {"NetworkingConfig": {"EndpointsConfig": {"default": {}, "bridge": {}}}},
        "twice",
    ),
    (
        "a link to a stranger in a network",
        {"NetworkingConfig": {"EndpointsConfig": {"net": {"Links": [f"{THEIRS}:x"]}}}},
        "No such container",
    ),
    (
        "options of a network's driver",
        {"NetworkingConfig": {"EndpointsConfig": {"net": {"DriverOpts": {"a": "b"}}}}},
        "DriverOpts",
    ),
]


@pytest.mark.parametrize(("config", "told"), [pytest.param(*row[1:], id=row[0]) for row in CONFIG])
def test_what_a_creation_says_otherwise_is_refused_by_name(
    config: dict[str, Any], told: str
) -> None:
    outcome = refused("POST", "/containers/create", {**made(), **config})
    assert told in outcome.sentence


# What is let through, and comes to nothing that the agent may not have.
HARMLESS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("another GPU by its UUID", {}, {"Env": [f"NVIDIA_VISIBLE_DEVICES={OTHER_UUID}"]}),
    ("every GPU by a variable", {}, {"Env": ["NVIDIA_VISIBLE_DEVICES=all"]}),
    ("a GPU by its number", {}, {"Env": ["NVIDIA_VISIBLE_DEVICES=7"]}),
    (
        "the variable twice",
        {},
        {"Env": ["NVIDIA_VISIBLE_DEVICES=void", "NVIDIA_VISIBLE_DEVICES=all"]},
    ),
    ("the variable's name alone", {}, {"Env": ["NVIDIA_VISIBLE_DEVICES"]}),
    ("rights over MIG", {}, {"Env": ["NVIDIA_MIG_CONFIG_DEVICES=all"]}),
    (
        "another GPU by a request",
        {"DeviceRequests": [{"DeviceIDs": [OTHER_UUID, "7"], "Capabilities": [["gpu"]]}]},
        {},
    ),
    (
        "every GPU by CDI",
        {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]},
        {},
    ),
    (
        "another GPU by the name of CDI",
        {"Devices": [{"PathOnHost": f"nvidia.com/gpu={OTHER_UUID}"}]},
        {},
    ),
    ("the runtime", {"Runtime": "nvidia"}, {"Env": ["NVIDIA_VISIBLE_DEVICES=all"]}),
    ("more memory than the pool's", {"Memory": 2**50, "MemorySwap": -1}, {}),
    ("memory without end", {"Memory": -1, "PidsLimit": -1}, {}),
    ("processors by a quota", {"CpuQuota": 10**9, "CpuPeriod": 1000}, {}),
    ("weight", {"CpuShares": 2**18}, {}),
    ("never killed", {"OomScoreAdj": -1000}, {}),
    ("shared memory", {"ShmSize": 2**50}, {}),
    ("files", {"Ulimits": [{"Name": "nofile", "Soft": -1, "Hard": -1}]}, {}),
    ("for ever", {"RestartPolicy": {"Name": "always"}}, {}),
    ("a tmpfs of all memory", {"Tmpfs": {"/x": "size=100%"}}, {}),
    ("all capabilities", {"CapAdd": ["ALL"]}, {}),
    ("all capabilities, and none", {"CapAdd": ["ALL"], "CapDrop": ["all"]}, {}),
    ("its own socket", {"Binds": ["/var/run/docker.sock:/var/run/docker.sock"]}, {}),
    ("the whole work", {"Binds": ["/home/agent/_work//.:/w:z"]}, {}),
    ("what the client may only read", {"Binds": ["/home/agent/externals/node:/n:rw"]}, {}),
    ("a dataset to write to", {"Binds": ["/data/imagenet:/d:rw"]}, {}),
    ("another's volume by its id", {"Binds": [f"{THEIR_VOLUME}:/x"]}, {}),
    ("a name that only looks like Mayfly's", {"Binds": ["mf-0mzzzzzzzzzz-data:/x"]}, {}),
    ("its own volume without a name", {"Binds": [f"{ANONYMOUS}:/x"]}, {}),
    (
        "a published port",
        {"PortBindings": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}]}},
        {},
    ),
    ("all ports", {"PublishAllPorts": True}, {"ExposedPorts": {"80/tcp": {}}}),
    ("a health check a thousand times a second", {}, {"Healthcheck": {"Interval": 10**6}}),
    ("an id that is a file", {"ContainerIDFile": "/etc/cron.d/x"}, {}),
    ("no network", {}, {"NetworkDisabled": True}),
    ("a container that waits for ever", {}, {"StopTimeout": -1}),
]


@pytest.mark.parametrize(
    ("host", "config"), [pytest.param(*row[1:], id=row[0]) for row in HARMLESS]
)
def test_what_is_let_through_comes_to_what_the_agent_may_have(
    host: dict[str, Any], config: dict[str, Any]
) -> None:
    body = {**made(host=host), **config}
    outcome = forwarded("POST", "/containers/create", body)
    assert_safe(outcome, GRANT)
    for grant in (replace(GRANT, gpu=None, lease=()), replace(GRANT, work=None, mounts=())):
        less = decided("POST", "/containers/create", body, grant=grant)
        if isinstance(less, Forward):
            assert_safe(less, grant)


@pytest.mark.parametrize(
    "image",
    [
        {"Volumes": {f"/var/run/nvidia-container-devices/{OTHER_UUID}": {}}},
        {"Volumes": {"/x/../proc": {}}},
        {"Volumes": {"/": {}}},
    ],
)
def test_an_image_mounts_nothing_that_a_creation_may_not(image: dict[str, Any]) -> None:
    world = engine()
    world.things[ALPINE] = {**world.things[ALPINE], "Config": image}
    assert "VOLUME" in refused("POST", "/containers/create", made(), world=world).sentence


def test_an_image_says_nothing_for_a_container() -> None:
    world = engine()
    config = {
        "Env": ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_MIG_CONFIG_DEVICES=all"],
        "Labels": {"io.mayfly.slot": "gpu-1"},
        "Volumes": {"/data": {}},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000},
    }
    world.things[ALPINE] = {**world.things[ALPINE], "Config": config}
    outcome = forwarded("POST", "/containers/create", made(), world=world)
    assert_safe(outcome, GRANT)
    assert outcome.body is not None
    assert "NVIDIA_VISIBLE_DEVICES=void" in outcome.body["Env"]
    assert "NVIDIA_MIG_CONFIG_DEVICES" in outcome.body["Env"]
    assert outcome.body["Labels"]["io.mayfly.slot"] == ""
    assert outcome.body["Healthcheck"] == {"Interval": 10**9}
    (mount,) = [one for one in outcome.body["HostConfig"]["Mounts"] if one["Target"] == "/data"]
    assert mount["VolumeOptions"]["Labels"] == GRANT.labels


def test_a_slot_without_gpus_has_none() -> None:
    grant = replace(GRANT, gpu=None, lease=())
    for host in (
        {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]},
        {"Runtime": "nvidia"},
        {"Devices": [{"PathOnHost": "nvidia.com/gpu=all"}]},
    ):
        outcome = refused("POST", "/containers/create", made(host=host), grant=grant)
        assert outcome.sentence.startswith("this slot has no GPU")
    asked = {**made(), "Env": ["NVIDIA_VISIBLE_DEVICES=all"]}
    forward = forwarded("POST", "/containers/create", asked, grant=grant)
    assert forward.body is not None
    assert "NVIDIA_VISIBLE_DEVICES=void" in forward.body["Env"]
    assert "Runtime" not in forward.body["HostConfig"]


def test_a_pool_without_a_network_gives_none() -> None:
    grant = replace(GRANT, network="none")
    outcome = forwarded("POST", "/containers/create", made(), grant=grant)
    assert outcome.body is not None
    assert outcome.body["HostConfig"]["NetworkMode"] == "none"
    told = refused("POST", "/networks/create", {"Name": "x"}, grant=grant)
    assert "no network" in told.sentence
    told = refused("POST", "/networks/bridge/connect", {"Container": "db"}, grant=grant)
    assert "no network" in told.sentence


def test_the_lease_is_all_that_is_asked_for() -> None:
    for host in (
        {"DeviceRequests": [{"Count": 2, "Capabilities": [["gpu", "compute"]]}]},
        {"DeviceRequests": [{"DeviceIDs": ["0", OTHER_UUID], "Capabilities": [["gpu"]]}]},
        {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]},
        {"Runtime": "nvidia"},
    ):
        outcome = forwarded("POST", "/containers/create", made(host=host))
        assert outcome.body is not None
        assert f"NVIDIA_VISIBLE_DEVICES={UUID}" in outcome.body["Env"]
        assert outcome.body["HostConfig"]["Runtime"] == "nvidia"
        assert "DeviceRequests" not in outcome.body["HostConfig"]
        assert OTHER_UUID not in json.dumps(outcome.body)
