"""What an agent's container has to be, in words that every engine understands.

Pure, and unaware of any engine: how it is done (runtimes, capabilities by number, host configuration) is each
engine's own. Nothing secret stands in a plan, since engines show to anybody what they were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mayfly.core import bench_lane, naming
from mayfly.core.actions import Prepare
from mayfly.core.container_labels import labels_of
from mayfly.core.model import (
    CA_TARGET,
    DOOR_TARGET,
    FIGURES_TARGET,
    STOP_GRACE,
    BenchPlan,
    ContainerId,
    DeviceKind,
    Generation,
    HostId,
    Injection,
    Limits,
    PoolName,
    PoolSpec,
    Registry,
    Removal,
    SlotName,
    SlotSpec,
    Ulimit,
)
from mayfly.core.quantities import whole_number
from mayfly.core.seal import belongs_seal, slot_key

ROOM = "/run/mayfly"
WITNESS_TARGET = f"{ROOM}/w"
CAPABILITIES = ("SETUID", "SETGID", "KILL", "CHOWN")
# What a container has where nobody says otherwise (the set of the OCI engines), which `sudo = true` gets, but
# without MKNOD, and without NET_RAW: an agent could pass itself off as its neighbour in the pool's network.
SUDO_CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
DRIVER_CAPABILITIES = ("compute", "utility")  # CUDA, and NVML with nvidia-smi
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
SCRATCH = ("/tmp", "/var/tmp")  # noqa: S108  of the container, where all may write
OOM_SCORE = 500
SHM_WITH_GPUS = 8 * 1024**3  # bytes, where nothing else is said


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory or file of the host inside the container, without propagation either way."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Security:
    """What the container's processes may do."""

    capabilities: tuple[str, ...] = CAPABILITIES  # of root inside; all others are dropped
    new_privileges: bool = False  # whether a set-uid program may raise them
    oom_score: int = OOM_SCORE
    # by name; of the others the engine says what they are
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    runtime: str | None = None  # None: the engine's default, or what GPUs need
    seccomp: str | None = None  # "unconfined" or a profile's file; None: the engine's own
    apparmor: str | None = None  # a profile's name; None: the engine's own
    read_only: bool = False  # the image's files
    cpuset: str | None = None  # None: all processors
    memory_nodes: str | None = None  # of which it gets its memory; None: of all
    userns: str | None = None  # "host"; None: as the engine has it
    # by number, of what is started beside the job; the launcher sees to the job's own
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Network:
    """The network that it is to be in."""

    name: str | None = None  # None: the pool's own, which the engine makes without traffic inside
    dns: tuple[str, ...] = ()
    # the holder whose namespace it joins: name and servers are that one's; None: it gets its own
    sandbox: ContainerId | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """What an agent gets that may have containers of its own."""

    place: str  # the directory of the host that its socket comes to be in
    seal: str  # what its belongings bear; no secret: it stands on them
    work: str | None = None  # the directory that its jobs work in, a volume of its own; None: none
    shared: tuple[str, ...] = ()  # directories of its image that its containers may mount, too
    images: tuple[str, ...] = ()  # the patterns of those that it may use
    builder: str | None = None  # the one whose containers may build images; None: none may
    agents: tuple[str, ...] = ()  # those of what agents are made of: none is fetched for it
    pull: Literal["missing", "always", "never"] = "missing"
    registries: tuple[Registry, ...] = ()  # where those are fetched as a user
    dropped: tuple[str, ...] = ()  # capabilities that not even root in them has
    alone: bool = False  # its containers get no network: its pool has none
    env: Mapping[str, str] = field(default_factory=dict)  # what its containers get: the proxy
    ca: str | None = None  # a file of the host with the authority that they are to trust


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """One agent's container, from its name to its end."""

    host: HostId
    pool: PoolName
    slot: SlotName
    generation: Generation
    name: str
    spare_name: str  # taken where another has the name
    image: str
    labels: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)  # the gate's and the lease's
    variables: Mapping[str, str] = field(default_factory=dict)  # the job's, of the pool's making
    injection: Injection | None = None  # how the GPUs of its lease get in; None: it has none
    devices: int = 0  # how many GPUs the engine is to give it, where it picks them
    device_kind: DeviceKind | None = None  # of which kind; None: of the engine's own
    mounts: tuple[Mount, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)  # target: options, as of mount(8)
    limits: Limits = field(default_factory=Limits)
    security: Security = field(default_factory=Security)
    network: Network = field(default_factory=Network)
    removes_itself: bool = True
    log_max_size: int = 10 * 1024 * 1024  # bytes of the engine's own log
    stop_grace: int = STOP_GRACE
    door: Door | None = None  # None: it has no containers of its own
    # what the engine seals with what it keeps for the slot; told to nobody
    slot_key: str = field(default="", repr=False)


def agent_plan(
    action: Prepare,
    *,
    host: HostId,
    witness: str,
    log_max_size: int,
    door: str | None = None,
    figures: str | None = None,
    agents: tuple[str, ...] = (),
) -> AgentPlan:
    """The plan of the agent that is to be prepared; ``witness``, ``door`` and ``figures`` are its directories
    on the host.

    ``door``: ``None`` where its pool lets it have no containers of its own. ``figures``: ``None`` where
    nobody writes any for it (`SlotSpec.has_figures`). ``agents``: the patterns of the
    images that agents of this host are made of (`job_images.of_agents`).
    """
    spec, pool = action.spec, action.spec.pool
    mounts = [Mount(witness, WITNESS_TARGET, read_only=False)]
    mounts += [Mount(dataset.source, dataset.target) for dataset in pool.datasets]
    mounts += [Mount(cache.source, cache.target, read_only=False) for cache in pool.caches]
    if pool.ca is not None:
        mounts.append(Mount(pool.ca, CA_TARGET))
    if door is not None:
        mounts.append(Mount(door, DOOR_TARGET))
    if figures is not None:
        mounts.append(Mount(figures, FIGURES_TARGET))
    return AgentPlan(
        host=host,
        pool=pool.name,
        slot=spec.name,
        generation=action.generation,
        name=action.name,
        spare_name=naming.standby(spec.name, action.generation),
        image=spec.image,
        labels=labels_of(spec, action.generation, host),
        environment=environment(spec, action.generation),
        variables=job_variables(spec),
        injection=spec.injection,
        devices=pool.devices,
        device_kind=pool.device_kind,
        mounts=tuple(mounts),
        tmpfs={ROOM: "mode=0700,size=64m"} | _tmpfs(pool),
        limits=limits_of(spec),
        security=_near(_security(pool), spec.bench),
        network=Network(pool.network, pool.dns, action.sandbox),
        removes_itself=spec.removal is Removal.ENGINE,
        log_max_size=log_max_size,
        slot_key=slot_key(pool.installation_key, host, pool.name, spec.name),
        stop_grace=spec.stop_grace,
        door=None if door is None else _door(spec, action.generation, host, door, agents),
    )


def _door(
    spec: SlotSpec, generation: Generation, host: HostId, place: str, agents: tuple[str, ...]
) -> Door:
    pool = spec.pool
    return Door(
        place=place,
        seal=belongs_seal(pool.installation_key, host, pool.name, spec.name, generation),
        work=spec.work,
        shared=spec.shared,
        images=pool.allowed_images,
        builder=pool.builder,
        agents=agents,
        pull=pool.pull,
        registries=pool.registries,
        dropped=pool.security.cap_drop,
        alone=pool.network == "none",
        env=proxy_variables(pool),
        ca=pool.ca,
    )


def _security(pool: PoolSpec) -> Security:
    asked = pool.security
    own = SUDO_CAPABILITIES if pool.sudo else CAPABILITIES
    return Security(
        tuple(name for name in (*own, *pool.cap_add) if name not in asked.cap_drop),
        new_privileges=pool.sudo,
        ulimits=asked.ulimits,
        runtime=asked.runtime,
        seccomp=asked.seccomp,
        apparmor=asked.apparmor,
        read_only=asked.read_only,
        cpuset=asked.cpuset,
        userns=asked.userns,
        groups=tuple(group for group in pool.groups if whole_number(group) is not None),
    )


def _near(security: Security, bench: BenchPlan | None) -> Security:
    """With what is near its GPUs, where its jobs are measured; processors that the pool names come first."""
    if bench is None:
        return security
    cpus = security.cpuset or bench.cpus or None
    return replace(security, cpuset=cpus, memory_nodes=bench.nodes or None)


def _tmpfs(pool: PoolSpec) -> dict[str, str]:
    """What of it jobs may write to; with files that are read-only also where all programs expect it.

    A place that the image has keeps the image's mode, so each is the job user's, whose number is known where
    the pool says it.
    """
    uid, _, gid = pool.user.partition(":")
    number = f",uid={uid}" if whole_number(uid) is not None else ""
    group = f",gid={gid}" if whole_number(gid) is not None else ""
    scratch = SCRATCH if pool.security.read_only else ()
    return dict.fromkeys(scratch, "mode=1777,exec") | {
        place: f"mode=1777,exec,size={size}{number}{group}"
        for place, size in pool.security.tmpfs.items()
    }


def limits_of(spec: SlotSpec) -> Limits:
    """The pool's; with GPUs much of the memory may be shared memory: data loaders pass batches there."""
    limits = spec.pool.limits
    if limits.shm is None and (spec.lease or spec.pool.devices):
        return replace(limits, shm=limits.memory // 2 if limits.memory else SHM_WITH_GPUS)
    return limits


def environment(spec: SlotSpec, generation: Generation) -> dict[str, str]:
    """What the gate, the launcher and the engine's GPU support go by. All of it is said, also where it is
    nothing: what is not said here, an image may say.
    """
    pool = spec.pool
    variables = {
        "NVIDIA_VISIBLE_DEVICES": ",".join(spec.lease) or "void",
        "MAYFLY_GENERATION": generation,
        "MAYFLY_SLOT": spec.name,
        "MAYFLY_POOL": pool.name,
        "MAYFLY_IMAGE": spec.reference or spec.image,
        "MAYFLY_LINES": "1" if spec.has_job_lines else "",
        "MAYFLY_USER": pool.user,
        "MAYFLY_GROUPS": ",".join(pool.groups),
        "MAYFLY_SUDO": "1" if pool.sudo else "",
    }
    if spec.lease or pool.devices:
        variables["NVIDIA_DRIVER_CAPABILITIES"] = ",".join(DRIVER_CAPABILITIES)
    return variables


def job_variables(spec: SlotSpec) -> dict[str, str]:
    """What the pool sets for its jobs: its own, where its mounts are, its proxy and its authority."""
    pool = spec.pool
    variables = dict(pool.env)
    for mount in pool.mounts:
        if mount.env is not None:
            variables[mount.env] = mount.target
    variables |= proxy_variables(pool) | bench_lane.variables(spec.bench)
    if pool.ca is not None:
        variables |= dict.fromkeys(CA_VARIABLES, CA_TARGET)
    return variables


def proxy_variables(pool: PoolSpec) -> dict[str, str]:
    """By which a client reaches what is outside."""
    variables: dict[str, str] = {}
    if pool.proxy is not None:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            variables[name] = pool.proxy
    if pool.no_proxy is not None:
        variables |= {"no_proxy": pool.no_proxy, "NO_PROXY": pool.no_proxy}
    return variables
