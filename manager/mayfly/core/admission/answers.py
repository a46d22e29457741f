"""What of the Engine's answers a job is shown: its own things, by its own names, and nothing of the host.

Answers are put together anew from keys that are known, as requests are. The prefix is taken from names and
Mayfly's labels are left out, whichever way they came in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from mayfly.core.admission.answers_containers import (
    container,
    listed,
    process,
)
from mayfly.core.admission.answers_parts import Published, clean_labels, kept, named
from mayfly.core.admission.errors import sentence, shown_error
from mayfly.core.admission.grant import LABEL_DEFAULT, LABEL_IMAGE, RESERVED, Grant
from mayfly.core.admission.image_names import names_of, was_pulled
from mayfly.core.admission.outcome import Answer

__all__ = ["shown", "shown_error", "shown_headers"]

HEADERS = (
    "api-version",
    "cache-control",
    "content-type",
    "docker-experimental",
    "ostype",
    "pragma",
    "server",
    "x-docker-container-path-stat",
)
_NETWORK = (
    *("Id", "Created", "Scope", "Driver", "EnableIPv4", "EnableIPv6", "Internal", "Attachable"),
    *("Ingress", "ConfigOnly", "ConfigFrom", "IPAM", "Options"),
)
_IMAGE = (
    *(
        "Id",
        "Parent",
        "Comment",
        "Created",
        "DockerVersion",
        "Author",
        "Architecture",
        "Variant",
        "Os",
    ),
    *("OsVersion", "Size", "VirtualSize", "RootFS", "Metadata"),
)
_LISTED_IMAGE = ("Id", "ParentId", "Created", "Size", "SharedSize", "VirtualSize", "Containers")
_INFO = (
    *("ServerVersion", "OperatingSystem", "OSVersion", "OSType", "Architecture", "KernelVersion"),
    *("Driver", "CgroupDriver", "CgroupVersion", "LoggingDriver"),
)
_VERSION = (
    *("Version", "ApiVersion", "MinAPIVersion", "GitCommit", "GoVersion", "Os", "Arch"),
    *("KernelVersion", "BuildTime", "Experimental"),
)
_DETAILS = (*_VERSION[1:], "Version")
_STATS = (
    *("id", "read", "preread", "os_type", "num_procs", "pids_stats", "blkio_stats", "cpu_stats"),
    *("precpu_stats", "memory_stats", "networks", "storage_stats"),
)
# Titles of ps; what another column has is not shown.
_NUMBERS = frozenset(
    {"PID", "PPID", "PGID", "PGRP", "SID", "SESS", "TGID", "LWP", "TID", "SPID", "TPGID"}
)
_COLUMNS = frozenset(
    {
        *("UID", "USER", "EUSER", "RUSER", "GID", "GROUP", "EUID", "RUID", "C", "%CPU", "%MEM"),
        *("VSZ", "RSS", "SZ", "TTY", "TT", "STAT", "S", "START", "STIME", "STARTED", "TIME"),
        *("ELAPSED", "CMD", "COMMAND", "NI", "PRI", "NLWP", "THCNT", "VIRT", "F"),
    }
)
_EVENT = ("Type", "Action", "scope", "time", "timeNano", "status", "id")
_PULL = ("status", "id", "progress", "progressDetail", "aux")


def shown(
    answer: Answer,
    document: Any,
    grant: Grant,
    published: Published | None = None,
    pulled: Collection[str] = (),
) -> Any:
    """The document as the client gets it; ``None``: it is left out, which is of an event alone.

    ``published`` has by a container's id what the gateway listens on for it: ``{"80/tcp": (8080,)}``. In
    ``pulled`` are the names of the images that this agent has fetched, as people write them.
    """
    if answer is Answer.IMAGES and grant.pull == "always":
        # The id of an image is enough for a registry to have it named anew.
        document = [one for one in document if was_pulled(one, pulled)]
    show = _SHOWN.get(answer)
    return document if show is None else show(document, grant, published or {})


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the Engine's headers that the client gets; length and framing are the gateway's own.

    The builder that clients are told of is the old one, whose refusal says what to use instead.
    """
    found = {name: value for name, value in headers.items() if name.lower() in HEADERS}
    if any(name.lower() == "builder-version" for name in headers):
        found["Builder-Version"] = "1"
    return found


# -- networks and volumes -------------------------------------------------------------------------


def _network(document: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    inside = {
        by_id: {**one, "Name": named(one.get("Name", ""), grant)}
        for by_id, one in (document.get("Containers") or {}).items()
        if str(one.get("Name", "")).startswith(grant.prefix)
    }
    return kept(document, _NETWORK) | {
        "Name": named(document.get("Name", ""), grant),
        "Containers": inside,
        "Labels": clean_labels(document.get("Labels")),
    }


def _is_own_volume(document: Mapping[str, Any], grant: Grant) -> bool:
    mounted = {place.volume for place in (grant.work, *grant.shared) if place is not None}
    return grant.owns(document.get("Labels")) and document.get("Name") not in mounted


def _volume(document: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    return kept(document, ("CreatedAt", "Driver", "Scope", "UsageData")) | {
        "Name": named(document.get("Name", ""), grant),
        "Mountpoint": "",  # it is on the host
        "Options": None,
        "Labels": clean_labels(document.get("Labels")),
    }


def _pruned(document: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    found: dict[str, Any] = kept(document, ("SpaceReclaimed", "ContainersDeleted"))
    for key in ("NetworksDeleted", "VolumesDeleted"):
        if key in document:
            found[key] = [named(one, grant) for one in document[key] or ()]
    return found


# -- images ---------------------------------------------------------------------------------------


def _names(document: Mapping[str, Any], grant: Grant) -> dict[str, list[str]]:
    visible = names_of(document, grant)
    return {
        key: [one for one in document.get(key) or () if one in visible]
        for key in ("RepoTags", "RepoDigests")
    }


def _image(document: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    config = dict(document.get("Config") or {})
    if "Labels" in config:
        config["Labels"] = clean_labels(config["Labels"])
    driver = (document.get("GraphDriver") or {}).get("Name", "")
    return kept(document, _IMAGE) | {
        **_names(document, grant),
        "Config": config,
        "GraphDriver": {"Name": driver, "Data": None},
    }


def _listed_image(document: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    return kept(document, _LISTED_IMAGE) | {
        **_names(document, grant),
        "Containers": -1,
        "Labels": clean_labels(document.get("Labels")),
    }


def _pulled(document: Any, grant: Grant) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        return {}
    found = kept(document, _PULL)
    if "error" in document or "errorDetail" in document:
        words = document.get("error") or (document.get("errorDetail") or {}).get("message")
        told = sentence(words, grant) or "the Engine could not fetch the image"
        found |= {"error": told, "errorDetail": {"message": told}}
    return found


def _made(document: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    warnings = [sentence(one, grant) for one in document.get("Warnings") or ()]
    return kept(document, ("Id",)) | {"Warnings": [one for one in warnings if one]}


def _waited(document: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    error = (document.get("Error") or {}).get("Message")
    told = {"Message": sentence(error, grant) or "the container ended otherwise"}
    return kept(document, ("StatusCode",)) | {"Error": told if error else None}


def _volumes(document: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    own = [one for one in document.get("Volumes") or () if _is_own_volume(one, grant)]
    return {"Volumes": [_volume(one, grant) for one in own], "Warnings": None}


def _history(document: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    keys = ("Id", "Created", "CreatedBy", "Size", "Comment")
    return [kept(one, keys) | {"Tags": None} for one in document]


def _own(documents: list[Mapping[str, Any]], grant: Grant) -> list[Mapping[str, Any]]:
    """Once more: the Engine was asked for no others."""
    return [one for one in documents if grant.owns(one.get("Labels"))]


# -- the Engine -----------------------------------------------------------------------------------


def _event(document: Any, grant: Grant) -> dict[str, Any] | None:
    actor = document.get("Actor") if isinstance(document, Mapping) else None
    attributes = (actor or {}).get("Attributes") or {}
    by_name = {"network": attributes.get("name"), "volume": (actor or {}).get("ID")}
    name = str(by_name.get(document.get("Type")) if actor else "")
    if not actor or not (grant.owns(attributes) or name.startswith(grant.prefix)):
        return None
    image = attributes.get(LABEL_IMAGE)
    plain = {name: value for name, value in attributes.items() if not name.startswith(RESERVED)}
    if "name" in plain:
        plain["name"] = named(plain["name"], grant)
    thing = named(str(actor.get("ID")), grant)
    found = kept(document, _EVENT) | {"Actor": {"ID": thing, "Attributes": plain}}
    if "id" in found:
        found["id"] = thing
    if image and document.get("Type") == "container":
        plain["image"] = image
        found |= {"from": image} if "from" in document else {}
    return found


def _info(document: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    """Of the Engine its releases, of the machine what the agent may take of it."""
    runtimes = {"runc": {"path": "runc"}} | ({"nvidia": {"path": "nvidia"}} if grant.gpu else {})
    cpus, memory = document.get("NCPU") or 1, document.get("MemTotal") or 0
    most = grant.limits
    return kept(document, _INFO) | {
        "ID": "",
        "Name": grant.slot,
        "NCPU": max(1, min(cpus, int(most.cpus))) if most.cpus else cpus,
        "MemTotal": min(memory, most.memory) if most.memory else memory,
        "Containers": 0,
        "ContainersRunning": 0,
        "ContainersPaused": 0,
        "ContainersStopped": 0,
        "Images": 0,
        "DriverStatus": [],
        "SystemStatus": None,
        "Plugins": {"Volume": ["local"], "Network": ["bridge", "null"], "Log": ["json-file"]},
        "MemoryLimit": True,
        "SwapLimit": True,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "CPUShares": True,
        "PidsLimit": True,
        "IPv4Forwarding": True,
        "Debug": False,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": None,
        "Labels": [],
        "ExperimentalBuild": False,
        "Runtimes": runtimes,
        "DefaultRuntime": "runc",
        "Swarm": {"LocalNodeState": "inactive"},
        "LiveRestoreEnabled": False,
        "InitBinary": "",
        "SecurityOptions": [],
        "Warnings": None,
    }


def _version(document: Mapping[str, Any]) -> dict[str, Any]:
    return kept(document, _VERSION) | {
        "Platform": kept(document.get("Platform") or {}, ("Name",)),
        "Components": [
            kept(one, ("Name", "Version")) | {"Details": kept(one.get("Details") or {}, _DETAILS)}
            for one in document.get("Components") or ()
        ],
    }


def _top(document: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of processes are the host's: each gets one of its own, by its place in the list."""
    titles = [str(one) for one in document.get("Titles") or ()]
    rows = [[str(one) for one in row] for row in document.get("Processes") or ()]
    pid = titles.index("PID") if "PID" in titles else None
    numbers: dict[str, str] = {}
    for row in rows:
        if pid is None:
            break
        numbers.setdefault(row[pid], str(len(numbers) + 1))

    def cell(title: str, value: str) -> str:
        if title in _NUMBERS:
            return numbers.get(value, "0")
        return value if title in _COLUMNS else "-"

    return {
        "Titles": titles,
        "Processes": [
            [cell(title, value) for title, value in zip(titles, row, strict=False)] for row in rows
        ],
    }


# What is not here holds no names, and is shown as it is.
_SHOWN: Mapping[Answer, Callable[[Any, Grant, Published], Any]] = {
    Answer.CONTAINER: container,
    Answer.CONTAINERS: lambda found, grant, ports: [
        listed(one, grant, ports) for one in _own(found, grant)
    ],
    Answer.CREATED: lambda found, grant, _: _made(found, grant),
    Answer.EXEC: lambda found, _grant, _: process(found),
    Answer.NETWORK: lambda found, grant, _: _network(found, grant),
    Answer.NETWORKS: lambda found, grant, _: [_network(one, grant) for one in _own(found, grant)],
    Answer.CUSTOM_NETWORKS: lambda found, grant, _: [
        _network(one, grant)
        for one in _own(found, grant)
        if not (one.get("Labels") or {}).get(LABEL_DEFAULT)
    ],
    Answer.VOLUME: lambda found, grant, _: _volume(found, grant),
    Answer.VOLUMES: lambda found, grant, _: _volumes(found, grant),
    Answer.IMAGE: lambda found, grant, _: _image(found, grant),
    Answer.IMAGES: lambda found, grant, _: [
        _listed_image(one, grant) for one in found if names_of(one, grant)
    ],
    Answer.HISTORY: lambda found, _grant, _: _history(found),
    Answer.PRUNED: lambda found, grant, _: _pruned(found, grant),
    Answer.EVENT: lambda found, grant, _: _event(found, grant),
    Answer.INFO: lambda found, grant, _: _info(found, grant),
    Answer.PULL: lambda found, grant, _: _pulled(found, grant),
    Answer.VERSION: lambda found, _grant, _: _version(found),
    Answer.TOP: lambda found, _grant, _: _top(found),
    Answer.STATS: lambda found, grant, _: {
        **kept(found, _STATS),
        "name": "/" + named(found.get("name", ""), grant),
    },
    Answer.WAIT: lambda found, grant, _: _waited(found, grant),
    Answer.LOGIN: lambda found, _grant, _: kept(found, ("Status", "IdentityToken")),
}
