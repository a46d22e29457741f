"""Whether a container that a job had made is confined: judged by what the Engine itself says of it.

Each fault is one sentence. What it is held to is the agent's grant, and what the lab's pools say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.real.containers.lab import CPUS, MEMORY, PIDS
from tests.real.containers.leftovers import LABEL

GPU_VARIABLES = ("NVIDIA_MIG_CONFIG_DEVICES", "NVIDIA_MIG_MONITOR_DEVICES", "NVIDIA_IMEX_CHANNELS")
NO_GPU = frozenset({"", "void", "none"})
HARMLESS_LOGS = frozenset({"json-file", "local", "none"})


@dataclass(frozen=True)
class Rows:
    """What the Engine says: of one container, and of all that the agent has."""

    container: Mapping[str, Any]
    networks: Mapping[str, Mapping[str, Any]]  # those that the container is in, by their ids
    volumes: Mapping[str, Mapping[str, Any]]  # those that it mounts, by their names
    own: frozenset[str]  # the ids of the agent's containers
    told_runtime: Mapping[str, str] | None  # its variables, as the runtime for GPUs saw them


def faults(rows: Rows, grant: Mapping[str, Any]) -> list[str]:
    """What is not confined about it; nothing where all is well."""
    return [fault for rule in RULES for fault in rule(rows, grant)]


def _host(rows: Rows) -> Mapping[str, Any]:
    found: Mapping[str, Any] = rows.container["HostConfig"]
    return found


def _rights(rows: Rows, grant: Mapping[str, Any]) -> Iterator[str]:
    host = _host(rows)
    if host.get("Privileged"):
        yield "it is privileged"
    allowed = {name.removeprefix("CAP_") for name in grant["capabilities"]}
    given = {name.upper().removeprefix("CAP_") for name in host.get("CapAdd") or ()}
    if given - allowed:
        yield f"it has {sorted(given - allowed)}"
    if not {"NET_RAW", "MKNOD", "ALL"} & {
        name.upper().removeprefix("CAP_") for name in host.get("CapDrop") or ()
    }:
        yield f"of the Engine's capabilities only {host.get('CapDrop')} are taken away"
    options = " ".join(host.get("SecurityOpt") or ())
    for word in ("unconfined", "disable"):
        if word in options:
            yield f"its security options are {options}"
    for masks in ("MaskedPaths", "ReadonlyPaths"):
        if not host.get(masks):
            yield f"it has no {masks}"
    if host.get("Runtime") not in ("runc", "nvidia", "io.containerd.runc.v2"):
        yield f"its runtime is {host.get('Runtime')}"
    for name in host.get("Sysctls") or {}:
        if not name.startswith("net."):
            yield f"it sets {name}"


def _namespaces(rows: Rows, grant: Mapping[str, Any]) -> Iterator[str]:
    host = _host(rows)
    for name in ("PidMode", "IpcMode", "UTSMode", "UsernsMode", "Cgroup", "NetworkMode"):
        mode = str(host.get(name) or "")
        if mode == "host":
            yield f"its {name} is the host's"
        if mode.startswith("container:") and mode.removeprefix("container:") not in rows.own:
            yield f"its {name} is a stranger's: {mode}"
    if host.get("CgroupnsMode") not in ("private", ""):
        yield f"its cgroup namespace is {host.get('CgroupnsMode')}"
    if host.get("CgroupParent") != (grant["cgroup_parent"] or ""):
        yield f"its cgroup is beneath {host.get('CgroupParent')!r}"
    if host.get("Links"):
        yield f"it is linked: {host['Links']}"
    for it, network in rows.networks.items():
        if (network.get("Labels") or {}).get(LABEL) != grant["generation"] and network[
            "Name"
        ] != "none":
            yield f"it is in the network {network['Name']} ({it[:12]})"


def _binds(rows: Rows, grant: Mapping[str, Any]) -> Iterator[str]:
    allowed = {grant["door"]: False, **{m["source"]: m["read_only"] for m in grant["mounts"]}}
    if grant["ca"]:
        allowed[grant["ca"]] = True
    for mount in rows.container["Mounts"]:
        if mount["Type"] not in ("bind", "volume", "tmpfs"):
            yield f"it mounts a {mount['Type']}"
        if mount["Type"] != "bind":
            continue
        if mount["Source"] not in allowed:
            yield f"it mounts {mount['Source']} of the host"
        elif allowed[mount["Source"]] and mount["RW"]:
            yield f"it may write to {mount['Source']}"
        if mount.get("Propagation") not in ("rprivate", "private", ""):
            yield f"what is mounted there spreads: {mount['Propagation']}"


def _volumes(rows: Rows, grant: Mapping[str, Any]) -> Iterator[str]:
    shared = {place["volume"] for place in grant["shared"]}
    work = (grant["work"] or {}).get("volume")
    for mount in rows.container["Mounts"]:
        if mount["Type"] != "volume":
            continue
        known = rows.volumes.get(mount["Name"], {})
        if mount["Name"] in shared:
            if mount["RW"]:
                yield f"it may write to {mount['Name']}"
        elif (
            mount["Name"] != work and (known.get("Labels") or {}).get(LABEL) != grant["generation"]
        ):
            yield f"it mounts the volume {mount['Name']}"
        if known.get("Driver") != "local" or known.get("Options"):
            yield f"its volume is {known.get('Driver')} with {known.get('Options')}"


def _devices(rows: Rows, grant: Mapping[str, Any]) -> Iterator[str]:
    host = _host(rows)
    if host.get("Devices") or host.get("DeviceCgroupRules"):
        yield f"it has devices: {host.get('Devices')} {host.get('DeviceCgroupRules')}"
    if host.get("Annotations"):
        yield f"it has annotations: {host['Annotations']}"
    lease = set(grant["lease"])
    for request in host.get("DeviceRequests") or ():
        wanted = {name.removeprefix("nvidia.com/gpu=") for name in request.get("DeviceIDs") or ()}
        if not wanted or wanted - lease:
            yield f"it asks for devices: {json.dumps(request)}"
    variables = [pair.partition("=") for pair in rows.container["Config"]["Env"] or ()]
    seen = [value for name, _, value in variables if name == "NVIDIA_VISIBLE_DEVICES"]
    if len(seen) != 1 or {*seen[0].split(",")} - lease - NO_GPU:
        yield f"its variable for GPUs is {seen}"
    if rows.told_runtime is not None:
        told = set(rows.told_runtime.get("NVIDIA_VISIBLE_DEVICES", "").split(","))
        if told - lease - NO_GPU:
            yield f"the runtime was told {sorted(told)}"
    for name in GPU_VARIABLES:
        if any(name == found and value for found, _, value in variables):
            yield f"it has the variable {name}"


def _limits(rows: Rows, grant: Mapping[str, Any]) -> Iterator[str]:
    host = _host(rows)
    for name, most in (("Memory", MEMORY), ("NanoCpus", int(CPUS * 1e9)), ("PidsLimit", PIDS)):
        if not 0 < (host.get(name) or 0) <= most:
            yield f"its {name} is {host.get(name)}"
    if not 0 < (host.get("MemorySwap") or 0) <= MEMORY:
        yield f"its memory with swap is {host.get('MemorySwap')}"
    if host.get("OomKillDisable") or (host.get("OomScoreAdj") or 0) < grant["oom_score"]:
        yield f"it is killed late: {host.get('OomScoreAdj')} {host.get('OomKillDisable')}"
    if (host.get("ShmSize") or 0) > MEMORY:
        yield f"its shm is {host['ShmSize']}"
    if host.get("CpuShares", 0) > 1024 or host.get("CpuRealtimeRuntime") or host.get("CpuQuota"):
        yield "its share of the processors is its own choice"
    if host.get("BlkioWeight") or host.get("StorageOpt"):
        yield "its share of the disk is its own choice"


def _engine(rows: Rows, grant: Mapping[str, Any]) -> Iterator[str]:
    host, config = _host(rows), rows.container["Config"]
    if host.get("PortBindings") or host.get("PublishAllPorts"):
        yield f"ports of the host are its: {host.get('PortBindings')}"
    if (host.get("RestartPolicy") or {}).get("Name") not in ("", "no", "on-failure", None):
        yield f"it comes back: {host['RestartPolicy']}"
    log = host.get("LogConfig") or {}
    if log.get("Type") not in HARMLESS_LOGS:
        yield f"its log goes to {log}"
    if log.get("Type") == "json-file" and "max-size" not in (log.get("Config") or {}):
        yield "its log has no bound"
    if host.get("VolumeDriver") not in ("", "local", None) or host.get("ContainerIDFile"):
        yield f"it has {host.get('VolumeDriver')} {host.get('ContainerIDFile')}"
    if not rows.container["Name"].startswith(f"/mf-{grant['generation']}-"):
        yield f"its name is {rows.container['Name']}"
    labels = config.get("Labels") or {}
    marks = {LABEL: grant["generation"], f"{LABEL}.host": grant["host"]}
    marks[f"{LABEL}.seal"] = grant["seal"]
    if any(labels.get(name) != value for name, value in marks.items()):
        yield f"its labels are {labels}"
    if strange := [
        name
        for name, value in labels.items()
        if value and name.startswith("io.mayfly.") and not name.startswith(LABEL)
    ]:
        yield f"it bears {strange}"


Rule = Callable[[Rows, Mapping[str, Any]], Iterator[str]]
RULES: tuple[Rule, ...] = (_rights, _namespaces, _binds, _volumes, _devices, _limits, _engine)
