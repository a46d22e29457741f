"""What Mayfly asks of the Engine and hears from it, as values; no I/O and no client library here.

Sizes are bytes, times seconds since the epoch (UTC), unless a name says nanoseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mayfly.core.agent_plan import Mount
from mayfly.core.model import ContainerState, Continuity, HostId, PoolName, Ulimit
from mayfly.engines.protocol import EngineEvent, EventCursor

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Network:
    """A network that carries a Mayfly's label."""

    id: str
    name: str
    host: HostId
    pool: PoolName


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """GPUs asked of the Engine itself: driver ``cdi`` with qualified names, or ``""`` with
    capabilities.
    """

    ids: tuple[str, ...]
    driver: str = ""
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """A volume in a container; an empty one gets what the image has at that place."""

    volume: str  # its name
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """What of an Engine decides how it is asked, and where it is looked at."""

    api: tuple[int, int] = (1, 41)
    cgroup: str = "2"  # the version that its host has
    root: str = ""  # the directory of its own files
    driver: str = "cgroupfs"  # what makes its control groups
    sizes: bool = False  # its disk bounds what a container and a volume hold, where that is said

    @property
    def names_seccomp(self) -> bool:
        """Whether its own seccomp profile can be asked for by name."""
        return self.api >= (1, 42)

    @property
    def ends_logs(self) -> bool:
        """Whether who follows the log of a container that removes itself gets its last lines."""
        return self.api >= (1, 42)


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """A container as it is to be created; ``env`` holds nothing secret, since ``docker inspect``
    shows it.
    """

    name: str
    hostname: str | None  # None: that of the container whose namespace it joins
    image: str
    labels: Mapping[str, str]
    # None: without it, also where the image has it
    env: Mapping[str, str | None] = field(default_factory=dict)
    entrypoint: tuple[str, ...] | None = None  # None: the image's
    command: tuple[str, ...] | None = None  # None: the image's
    user: str = "0"  # the gate starts as root, whatever the image says
    runtime: str | None = None  # None: the Engine's default
    device_requests: tuple[DeviceRequest, ...] = ()
    mounts: tuple[Mount, ...] = ()
    tmpfs: Mapping[str, str] = field(
        default_factory=dict
    )  # target: options, such as "mode=0700,size=16m,exec"
    memory: int | None = None  # also the limit of memory and swap together; None: no limit
    cpus: float | None = None  # None: no limit
    pids: int | None = None  # None: no limit
    shm: int | None = None  # None: 64 MiB
    # by name, those that are not as the manager's own
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    seccomp: str | None = None  # "unconfined" or a profile itself; None: the Engine's own
    apparmor: str | None = None  # a profile's name; None: the Engine's own
    read_only: bool = False  # the image's files
    cpuset: str | None = None  # None: all processors
    memory_nodes: str | None = None  # None: all
    userns: str | None = None  # None: as the Engine has it
    cap_drop: tuple[str, ...] = ("ALL",)
    cap_add: tuple[str, ...] = ()
    no_new_privileges: bool = True
    oom_score_adj: int = 500
    init: bool = True
    auto_remove: bool = True
    network: str = "none"  # a network's name, "none", "host" or "container:ID"
    dns: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # further ones of every process that is started in it, by number
    sysctls: Mapping[str, str] = field(default_factory=dict)
    # places that not even root writes to; None: the Engine's own
    read_only_paths: tuple[str, ...] | None = None
    log_max_size: int = 10 * 1024 * 1024
    log_max_files: int = 2
    stop_timeout: int = 10  # seconds that `docker stop` leaves before it kills
    volumes: tuple[VolumeMount, ...] = ()
    cgroup_parent: str | None = None  # None: as the Engine has it
    size: int | None = None  # bytes of its files; None: no bound, or none that is kept
    terminal: bool | None = None  # a person's: on a terminal, or piped; None: an agent's


@dataclass(frozen=True, slots=True)
class Replay:
    """What the Engine's short memory still holds after a cursor."""

    events: tuple[EngineEvent, ...]
    continuity: Continuity
    cursor: EventCursor | None  # None: the Engine remembers nothing


def container_state(word: str) -> ContainerState:
    """The state for the Engine's word; an unheard-of one counts as running, since what runs is left
    alone.
    """
    try:
        return ContainerState(word)
    except ValueError:
        return ContainerState.RUNNING


def numbers(version: str) -> tuple[int, ...]:
    """``20.10.24+dfsg1`` as ``(20, 10, 24)``."""
    begun = re.match(r"[0-9]{1,9}(\.[0-9]{1,9})*", version)
    return tuple(map(int, begun[0].split("."))) if begun is not None else ()


def gpus_of(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The GPUs that an inspected container was given, as it was asked for; empty where it was given none."""
    host = found.get("HostConfig") or {}
    devices: list[str] = []
    for asked in host.get("DeviceRequests") or ():
        devices += asked.get("DeviceIDs") or (["all"] if asked.get("Count") else [])
    if host.get("Runtime") == "nvidia":
        for pair in (found.get("Config") or {}).get("Env") or ():
            name, _, value = pair.partition("=")
            if name == "NVIDIA_VISIBLE_DEVICES":
                devices += [word.strip() for word in value.split(",") if word.strip()]
    return tuple(word for word in dict.fromkeys(devices) if word not in ("none", "void"))
