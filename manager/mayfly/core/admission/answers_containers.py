"""A container as a job is shown it, inspected and in a list: as if Docker itself had made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.core.admission.answers_parts import Listens, Published, clean_labels, kept, named
from mayfly.core.admission.create_network import JOINS
from mayfly.core.admission.errors import sentence
from mayfly.core.admission.grant import LABEL_IMAGE, LABEL_PORTS, Grant
from mayfly.core.admission.ports import published_of
from mayfly.core.model import CA_TARGET

LOOPBACK = "127.0.0.1"
DOOR = "/var/run/docker.sock"
_TOP = (
    *("Id", "Created", "Path", "Args", "Image", "RestartCount", "Driver", "Platform", "ExecIDs"),
    *("AppArmorProfile", "SizeRw", "SizeRootFs"),
)
_STATE = (
    *("Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead", "ExitCode", "StartedAt"),
    *("FinishedAt", "Health"),
)
_CONFIG = (
    *("Hostname", "Domainname", "User", "AttachStdin", "AttachStdout", "AttachStderr", "Tty"),
    *(
        "ExposedPorts",
        "OpenStdin",
        "StdinOnce",
        "Env",
        "Cmd",
        "Healthcheck",
        "Volumes",
        "WorkingDir",
    ),
    *("Entrypoint", "OnBuild", "StopSignal", "StopTimeout", "Shell"),
)
_HOST = (
    *("AutoRemove", "CapAdd", "CapDrop", "ConsoleSize", "CpuShares", "DeviceRequests", "Dns"),
    *(
        "DnsOptions",
        "DnsSearch",
        "ExtraHosts",
        "GroupAdd",
        "Init",
        "IpcMode",
        "LogConfig",
        "Memory",
    ),
    *("MemoryReservation", "MemorySwap", "NanoCpus", "OomScoreAdj", "PidMode", "PidsLimit"),
    *("ReadonlyRootfs", "RestartPolicy", "Runtime", "ShmSize", "Sysctls", "Tmpfs", "Ulimits"),
    *("VolumesFrom",),
)
_ENDPOINT = (
    *("IPAMConfig", "Aliases", "MacAddress", "NetworkID", "EndpointID", "Gateway", "IPAddress"),
    *("IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "DriverOpts"),
    *("GwPriority",),
)
_LISTED = (
    "Id",
    "ImageID",
    "Command",
    "Created",
    "State",
    "Status",
    "SizeRw",
    "SizeRootFs",
    "Health",
)


def container(document: Mapping[str, Any], grant: Grant, published: Published) -> dict[str, Any]:
    """An inspection."""
    config, host = document.get("Config") or {}, document.get("HostConfig") or {}
    labels = config.get("Labels") or {}
    by_id = str(document.get("Id"))
    listens = published.get(by_id, {})
    state = document.get("State") or {}
    driver = (document.get("GraphDriver") or {}).get("Name", document.get("Driver", ""))
    return kept(document, _TOP) | {
        "Name": "/" + named(str(document.get("Name", "")), grant),
        # The process's number is the host's.
        "State": kept(state, _STATE) | {"Pid": 0, "Error": sentence(state.get("Error"), grant)},
        "Config": kept(config, _CONFIG)
        | {"Image": labels.get(LABEL_IMAGE, ""), "Labels": clean_labels(labels)},
        "HostConfig": _host(host, labels, grant),
        "Mounts": _mounts(document.get("Mounts") or (), host.get("Mounts") or (), grant),
        "NetworkSettings": _networks(document, config, labels, listens, grant),
        "GraphDriver": {"Name": driver, "Data": None},
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": "",
        "MountLabel": "",
        "ProcessLabel": "",
    }


def listed(document: Mapping[str, Any], grant: Grant, published: Published) -> dict[str, Any]:
    """An entry of the list."""
    labels = document.get("Labels") or {}
    mode = (document.get("HostConfig") or {}).get("NetworkMode", "")
    networks = (document.get("NetworkSettings") or {}).get("Networks") or {}
    names = [one for one in document.get("Names") or () if one.startswith(f"/{grant.prefix}")]
    listens = published.get(str(document.get("Id")), {})
    return kept(document, _LISTED) | {
        "Names": ["/" + named(one, grant) for one in names],
        "Image": labels.get(LABEL_IMAGE, ""),
        "Labels": clean_labels(labels),
        "HostConfig": {"NetworkMode": _mode(mode, grant)},
        "NetworkSettings": {"Networks": _endpoints(networks, grant)},
        "Mounts": _mounts(document.get("Mounts") or (), (), grant),
        "Ports": _listed_ports(document.get("Ports") or (), listens),
    }


def process(document: Mapping[str, Any]) -> dict[str, Any]:
    """A process that was started in a container."""
    keys = (
        *("ID", "Running", "ExitCode", "ProcessConfig", "OpenStdin", "OpenStderr", "OpenStdout"),
        *("CanRemove", "ContainerID", "DetachKeys"),
    )
    return kept(document, keys) | {"Pid": 0}  # its number is the host's


def _host(host: Mapping[str, Any], labels: Mapping[str, str], grant: Grant) -> dict[str, Any]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for one in published_of(labels.get(LABEL_PORTS)):
        told = {"HostIp": "", "HostPort": str(one.at) if one.at else ""}
        bindings.setdefault(f"{one.port}/tcp", []).append(told)
    mounts = [
        {**kept(one, ("Type", "Target", "ReadOnly", "TmpfsOptions")), **known}
        for one in host.get("Mounts") or ()
        if (known := _source(one, grant)) is not None
    ]
    return kept(host, _HOST) | {
        "NetworkMode": _mode(host.get("NetworkMode", ""), grant),
        "PortBindings": bindings,
        "PublishAllPorts": False,
        "Privileged": False,
        "Binds": None,
        "Mounts": mounts,
        "Links": None,
        "CgroupParent": "",
        "VolumeDriver": "",
    }


def _mode(mode: str, grant: Grant) -> str:
    return mode if mode.startswith(JOINS) else named(mode, grant)


def _source(one: Mapping[str, Any], grant: Grant) -> dict[str, Any] | None:
    """Type and source of a mount as the job said it; ``None``: it did not."""
    source = one.get("Source") or ""
    if one.get("Type") == "bind":
        return _of_host(source, str(one.get("Target")), grant)
    if one.get("Type") != "volume":
        return {}
    for place in (grant.work, *grant.shared):
        if place is not None and source == place.volume:
            rest = (one.get("VolumeOptions") or {}).get("Subpath", "")
            return {"Type": "bind", "Source": place.target + (f"/{rest}" if rest else "")}
    return {"Source": named(source, grant)} if source else {}


def _of_host(source: str, target: str, grant: Grant) -> dict[str, Any] | None:
    if source == grant.door:
        return {"Source": DOOR}
    if target == CA_TARGET and source == grant.ca:
        return None
    return next(({"Source": one.target} for one in grant.mounts if one.source == source), None)


def _mounts(
    mounts: Iterable[Mapping[str, Any]], said: Iterable[Mapping[str, Any]], grant: Grant
) -> list[dict[str, Any]]:
    """What is mounted; ``said`` is what the creation said, which knows a volume's directory."""
    asked = {one.get("Target"): one for one in said}
    found = []
    for one in mounts:
        name, place = one.get("Name") or "", one.get("Destination")
        as_said = asked.get(place) or {}
        source = name if one.get("Type") == "volume" else one.get("Source") or ""
        known = _source(
            {**as_said, "Type": one.get("Type"), "Source": source, "Target": place}, grant
        )
        if known is None:
            continue
        told = kept(one, ("Type", "Destination", "Mode", "RW", "Propagation")) | {"Source": ""}
        if one.get("Type") == "volume" and known.get("Type") != "bind":
            told |= {"Name": known.get("Source", ""), "Driver": "local", "Source": ""}
        else:
            told |= known
        found.append(told)
    return found


# -- networks and ports ---------------------------------------------------------------------------


def _networks(
    document: Mapping[str, Any],
    config: Mapping[str, Any],
    labels: Mapping[str, str],
    listens: Listens,
    grant: Grant,
) -> dict[str, Any]:
    settings = document.get("NetworkSettings") or {}
    endpoints = _endpoints(settings.get("Networks") or {}, grant)
    first = endpoints.get("bridge") or {}
    running = (document.get("State") or {}).get("Running") is True
    ports: dict[str, Any] = {}
    if running:
        named_ports = [f"{one.port}/tcp" for one in published_of(labels.get(LABEL_PORTS))]
        for port in dict.fromkeys((*(config.get("ExposedPorts") or ()), *named_ports, *listens)):
            told = [{"HostIp": LOOPBACK, "HostPort": str(at)} for at in listens.get(port, ())]
            ports[port] = told or None
    return {
        "Bridge": "",
        "SandboxID": settings.get("SandboxID", ""),
        "SandboxKey": "",
        "Ports": ports,
        "Networks": endpoints,
        **{
            key: first.get(key, 0 if key.endswith("Len") else "")
            for key in (
                *("EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "MacAddress", "IPv6Gateway"),
                *("GlobalIPv6Address", "GlobalIPv6PrefixLen"),
            )
        },
    }


def _endpoints(networks: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    return {
        named(name, grant): kept(one, _ENDPOINT)
        | {
            "Links": [link.replace(grant.prefix, "") for link in one.get("Links") or ()] or None,
            "DNSNames": [named(other, grant) for other in one.get("DNSNames") or ()] or None,
        }
        for name, one in networks.items()
        if one is not None
    }


def _listed_ports(ports: Iterable[Mapping[str, Any]], listens: Listens) -> list[dict[str, Any]]:
    bare = {(one.get("PrivatePort") or 0, one.get("Type") or "tcp"): None for one in ports}
    bare |= {(int(name.partition("/")[0]), "tcp"): None for name in listens}
    found: list[dict[str, Any]] = []
    for port, kind in bare:
        told = {"PrivatePort": port, "Type": kind}
        at = listens.get(f"{port}/{kind}", ())
        found += [{"IP": LOOPBACK, **told, "PublicPort": one} for one in at] or [told]
    return found
