"""Reads what goes to the Engine as the Engine's own reader would, and says that it is safe.

Written apart from the policy, of its own knowledge of the API: keys are found by their letters in any case,
and the last of them counts, as Go's reader has it. It knows nothing of how a request came to be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from mayfly.core.admission.builder_image import calls
from mayfly.core.admission.grant import Grant
from mayfly.core.admission.outcome import Forward
from tests.core.admission.engine import BUILDERS, OWN

PATH = re.compile(r"/v1\.[0-9]+(/[^?]*)(?:\?(.*))?|(/[^?]*)(?:\?(.*))?")
CREATED = "/containers/create"
LISTED = (
    *("/containers/json", "/networks", "/volumes", "/events", "/containers/prune"),
    *("/networks/prune", "/volumes/prune"),
)
WORDS = frozenset(
    {
        *("_ping", "archive", "attach", "auth", "changes", "connect", "containers", "create"),
        *(
            "disconnect",
            "events",
            "exec",
            "export",
            "history",
            "images",
            "info",
            "json",
            "kill",
            "logs",
        ),
        *(
            "networks",
            "pause",
            "prune",
            "rename",
            "resize",
            "restart",
            "start",
            "stats",
            "stop",
            "top",
        ),
        *("unpause", "version", "volumes", "wait"),
    }
)
# Of a HostConfig: everything that has to be empty, or not there.
EMPTY = (
    *("Privileged", "Devices", "DeviceCgroupRules", "Cgroup", "StorageOpt", "Annotations", "Binds"),
    *("PublishAllPorts", "PortBindings", "OomKillDisable", "CpusetMems", "CpuRealtimePeriod"),
    *("CpuRealtimeRuntime", "KernelMemory", "BlkioWeight", "BlkioWeightDevice", "Isolation"),
    *("BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"),
    *("MaskedPaths", "ReadonlyPaths", "ContainerIDFile", "UTSMode", "CpuPeriod", "CpuQuota"),
)
KNOWN_HOST = frozenset(
    {
        *("networkmode", "ipcmode", "pidmode", "mounts", "tmpfs", "volumesfrom", "volumedriver"),
        *("portbindings", "publishallports", "dns", "dnsoptions", "dnssearch", "extrahosts"),
        *("memory", "memoryswap", "memoryreservation", "nanocpus", "cpushares", "cpusetcpus"),
        *("pidslimit", "shmsize", "ulimits", "oomscoreadj", "oomkilldisable", "cgroupparent"),
        *(
            "privileged",
            "capdrop",
            "capadd",
            "securityopt",
            "readonlyrootfs",
            "groupadd",
            "sysctls",
        ),
        *("usernsmode", "cgroupnsmode", "utsmode", "init", "restartpolicy", "autoremove"),
        *("consolesize", "logconfig", "runtime", "devicerequests"),
    }
)


def as_go_reads(value: Any) -> Any:
    """The object with its keys in small letters, the last of each."""
    if isinstance(value, Mapping):
        return {str(key).lower(): as_go_reads(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_go_reads(one) for one in value]
    return value


def assert_safe(forward: Forward, grant: Grant, own: frozenset[str] = OWN) -> None:
    """Nothing of it names what is not the agent's; ``own`` are the ids of what is, and of images."""
    read = PATH.fullmatch(forward.target)
    assert read, forward.target
    path = read[1] or read[3]
    assert "//" not in path
    assert ".." not in path.split("/")
    assert set(forward.headers) <= {"Content-Type", "Connection", "Upgrade", "X-Registry-Auth"}
    assert not any("\n" in value or "\r" in value for value in forward.headers.values())
    json.dumps(forward.body).encode()
    _path(path, grant, own)
    query = {
        name: unquote(value)
        for name, _, value in (
            part.partition("=") for part in (read[2] or read[4] or "").split("&")
        )
    }
    for name in re.findall(
        rf"mf-{grant.generation}-([^\"/?&]*)", json.dumps(forward.body) + forward.target
    ):
        assert not re.match(r"mf-[0-9a-z]{13}-", name) or path in LISTED, name
    if path in LISTED:
        filters = json.loads(query["filters"])
        if path == "/events":
            values = [
                one for name in ("container", "network", "volume") for one in filters.get(name, ())
            ]
            assert values
            assert all(one in own or one.startswith(f"mf-{grant.generation}-") for one in values)
            assert not any(one.startswith("io.mayfly.") for one in filters.get("label", ()))
            return
        labels = filters["label"]
        assert f"io.mayfly.belongs={grant.generation}" in labels
        assert all(
            not one.startswith("io.mayfly.") or one.endswith(grant.generation) for one in labels
        )
    if path == CREATED:
        _creation(forward, grant, own)
    elif path == "/images/create":
        host, _, rest = query["fromImage"].partition("/")
        assert "." in host
        assert not re.match(r"[0-9.:]+$|localhost|127|\[", host)
        assert rest
        assert query["tag"]
        assert set(query) == {"fromImage", "tag"}
    elif path.endswith(("/connect", "/disconnect")):
        body = as_go_reads(forward.body)
        assert body["container"] in own
        assert set(body.get("endpointconfig", {})) <= {"aliases", "links"}
    elif path.endswith("/exec"):
        assert as_go_reads(forward.body)["privileged"] is False
    elif path.endswith("/rename"):
        assert query["name"].startswith(f"mf-{grant.generation}-")
    elif path in ("/networks/create", "/volumes/create"):
        body = as_go_reads(forward.body)
        assert body["name"].startswith(f"mf-{grant.generation}-")
        assert body["driver"] in ("bridge", "local")
        assert not body.get("driveropts")
        assert not body.get("clustervolumespec")
        _marked(dict(forward.body or {})["Labels"], grant)
        assert forward.makes


def _path(path: str, grant: Grant, own: frozenset[str]) -> None:
    """Every part of it is a word of the API's, or the id of a thing that is the agent's own."""
    for part in path.split("/")[1:]:
        known = part in WORDS or unquote(part) in own or part.startswith(f"mf-{grant.generation}-")
        assert known, path


def _marked(labels: Mapping[str, str], grant: Grant) -> None:
    assert labels["io.mayfly.belongs"] == grant.generation
    assert labels["io.mayfly.belongs.host"] == grant.host
    assert labels["io.mayfly.belongs.seal"] == grant.seal


def _creation(forward: Forward, grant: Grant, own: frozenset[str]) -> None:
    assert forward.makes
    assert re.search(rf"\?name=mf-{grant.generation}-[A-Za-z0-9]", forward.target)
    document = dict(forward.body or {})
    body = as_go_reads(document)
    host = body["hostconfig"]
    labels = document["Labels"]
    _marked(labels, grant)
    for name in ("host", "pool", "slot", "fingerprint", "lease", "sandbox", "seal"):
        assert labels[f"io.mayfly.{name}"] == ""
    assert "io.mayfly.generation" not in labels  # what agents are listed by
    for key in EMPTY:
        assert not host.get(key.lower()), key
    assert set(host) <= KNOWN_HOST, set(host) - KNOWN_HOST
    assert not body.get("macaddress")
    assert document["Image"] in own
    _namespaces(host, body, grant, own)
    _limits(host, grant, builds=grant.builder is not None and body["image"] == BUILDERS)
    _gpus(host, body, grant)
    targets = [_mount(one, grant, own) for one in host["mounts"]]
    assert len(targets + list(host["tmpfs"])) == len({*targets, *host["tmpfs"]})
    for place in (*targets, *host["tmpfs"]):
        assert place.startswith("/")
        assert place != "/"
        assert ".." not in place.split("/")
        assert not re.match(r"/(proc|sys)(/|$)|/dev(/(?!shm$)|$)|(/var)?/run/nvidia", place), place
    for options in host["tmpfs"].values():
        assert "dev" not in options.split(",")


def _namespaces(
    host: Mapping[str, Any], body: Mapping[str, Any], grant: Grant, own: frozenset[str]
) -> None:
    prefix = f"mf-{grant.generation}-"
    mode = host["networkmode"]
    joins = {f"container:{one}" for one in own}
    assert mode == "none" or mode.startswith(prefix) or mode in joins, mode
    if grant.network == "none":
        assert mode == "none" or mode in joins
    for network, settings in body["networkingconfig"]["endpointsconfig"].items():
        assert network.startswith(prefix.lower())
        assert set(settings) <= {"aliases", "links"}
        assert all(link.startswith(prefix) for link in settings["links"])
    assert host["pidmode"] == "" or host["pidmode"] in joins
    assert host["ipcmode"] in ("private", "shareable", "none") or host["ipcmode"] in joins
    assert host["cgroupnsmode"] == "private"
    assert host["usernsmode"] == (grant.security.userns or "")
    for one in host["volumesfrom"]:
        assert one.partition(":")[0] in own
        assert one.partition(":")[2] in ("", "ro", "rw")
    for one in host["extrahosts"]:
        assert "host-gateway" not in one
    assert all(
        name.startswith(("net.", "kernel.shm", "kernel.msg", "kernel.sem"))
        for name in host["sysctls"]
    )


def _limits(host: Mapping[str, Any], grant: Grant, *, builds: bool) -> None:
    most = grant.limits
    assert host["cgroupparent"] == (grant.cgroup_parent or "")
    assert host["oomscoreadj"] >= grant.oom_score
    assert host["memoryswap"] == host["memory"]
    if most.memory is not None:
        assert 0 < host["memory"] <= most.memory
        assert host["memoryreservation"] <= most.memory
    if most.cpus is not None:
        assert 0 < host["nanocpus"] <= most.cpus * 1e9
    if most.pids is not None:
        assert 0 < host["pidslimit"] <= most.pids
    if most.shm is not None:
        assert 0 < host["shmsize"] <= most.shm
    assert 0 < host["cpushares"] <= 1024
    assert host["capdrop"] == ["ALL"]
    assert set(host["capadd"]) <= set(grant.capabilities)
    seccomp: list[str] = []
    rest: list[str] = []
    for one in host["securityopt"]:
        (seccomp if one.startswith("seccomp=") else rest).append(one)
    own = calls() if builds else grant.security.seccomp or "builtin"
    assert seccomp == [f"seccomp={own}"]
    allowed = {
        "no-new-privileges:true",
        "no-new-privileges:false",
        f"apparmor={grant.security.apparmor or ('unconfined' if builds else None)}",
    }
    assert set(rest) <= allowed
    assert host["restartpolicy"]["name"] in ("no", "on-failure")
    assert 0 <= host["restartpolicy"]["maximumretrycount"] <= 10
    assert host["logconfig"]["type"] == "json-file"
    for one in host["ulimits"]:
        pools = grant.security.ulimits.get(one["name"])
        assert pools is not None or one["name"] not in ("rtprio", "rttime", "nice", "msgqueue")
        if pools is not None and pools.hard != -1:
            assert one["soft"] <= one["hard"] <= pools.hard


def _gpus(host: Mapping[str, Any], body: Mapping[str, Any], grant: Grant) -> None:
    env: dict[str, str] = {}
    for one in body["env"]:
        name, sign, value = one.partition("=")
        env.pop(name, None)
        if sign:
            env[name] = value
        else:
            env[name] = ""  # taken back
    visible = env["NVIDIA_VISIBLE_DEVICES"]
    assert visible in ("void", ",".join(grant.lease))
    for name in ("NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES", "NVIDIA_IMEX_CHANNELS"):
        assert env[name] == ""
    if visible == "void":
        assert host.get("runtime") == grant.security.runtime
        assert not host.get("devicerequests")
        return
    assert grant.gpu is not None
    assert host.get("runtime") == grant.gpu.host_config.get("Runtime")
    assert host.get("devicerequests") == as_go_reads(grant.gpu.host_config.get("DeviceRequests"))


def _mount(mount: Mapping[str, Any], grant: Grant, own: frozenset[str]) -> str:
    """It is one of the agent's own places, or a volume with its labels; where it is mounted."""
    kind, source = mount["type"], mount.get("source", "")
    assert set(mount) <= {"type", "source", "target", "readonly", "volumeoptions", "bindoptions"}
    if kind == "bind":
        assert mount["bindoptions"] == {"propagation": "rprivate"}
        assert not mount.get("volumeoptions")
        read_only = {one.source for one in grant.mounts if one.read_only} | {grant.ca}
        may = {grant.door, grant.ca, *(one.source for one in grant.mounts)} - {None}
        assert source in may, source
        assert mount["readonly"] or source not in read_only
        return str(mount["target"])
    assert kind == "volume"
    options = mount["volumeoptions"]
    subpath = options.get("subpath")
    assert subpath is None or (
        subpath and ".." not in subpath.split("/") and not subpath.startswith("/")
    )
    assert set(options) <= {"nocopy", "labels", "subpath", "driverconfig"}
    if grant.work is not None and source == grant.work.volume:
        return str(mount["target"])
    if source in {one.volume for one in grant.shared}:
        assert mount["readonly"] is True
        return str(mount["target"])
    assert (
        source == ""
        or source.startswith(f"mf-{grant.generation}-")
        or re.fullmatch("[0-9a-f]{64}", source)
    )
    assert options["driverconfig"] == {"name": "local"}
    _marked(options["labels"], grant)
    return str(mount["target"])
