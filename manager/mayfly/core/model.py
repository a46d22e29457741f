"""The words of Mayfly as types; every other module speaks in these and none is redefined elsewhere.

Nothing here may import from outside ``core`` or hold behaviour beyond reading its own fields.
Times are seconds since the epoch (UTC), durations are seconds, sizes are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from math import ceil
from shlex import quote
from types import MappingProxyType
from typing import Literal, NewType

from mayfly.core.capabilities import EVERYTHING, Capabilities
from mayfly.core.gpu_checks import CheckSetting, GpuFinding
from mayfly.core.gpu_selection import GpuSelection
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.notice_targets import Target
from mayfly.core.reserve_rules import ReserveRules
from mayfly.core.slurm_request import SlurmRequest

SlotName = NewType("SlotName", str)
PoolName = NewType("PoolName", str)
Generation = NewType("Generation", str)
ContainerId = NewType("ContainerId", str)
JobId = NewType("JobId", str)
HostId = NewType("HostId", str)

GATE_PROTOCOL = "3"
LABEL_HOST = "io.mayfly.host"
LABEL_POOL = "io.mayfly.pool"
LABEL_SLOT = "io.mayfly.slot"
LABEL_GENERATION = "io.mayfly.generation"
LABEL_FINGERPRINT = "io.mayfly.fingerprint"
LABEL_LEASE = "io.mayfly.lease"  # UUIDs by commas; empty without GPUs
LABEL_SANDBOX = "io.mayfly.sandbox"  # whether it is a holder, see core/container_labels.py
LABEL_SEAL = "io.mayfly.seal"  # that the others are ours, see core/seal.py
LABEL_DOOR = "io.mayfly.door"  # of an agent that may have containers of its own; said of no other
LABEL_GATE = "io.mayfly.gate"
LABEL_PROVIDER = "io.mayfly.provider"  # of an image: whose launcher its gate opens to
LABEL_CUDA = "io.mayfly.cuda"  # of an image: the CUDA in it, such as 12.8
LABEL_CLIENT = "io.mayfly.client"  # of an image: the version of its service's client
LABEL_DOCKER = "io.mayfly.docker"  # of an image: whether Docker's client was put in; empty: not
LABEL_CHECKSUM = "io.mayfly.client.sha256"  # of an image: what the client's archive was checked by
LABEL_BUILD = "io.mayfly.build"  # of an image: how it was built, see core/image_build.py


class Phase(StrEnum):
    """What an agent is doing, or, for a slot without an agent, why there is none."""

    PREPARING = "preparing"
    ARMED = "armed"
    ENROLLING = "enrolling"
    IDLE = "idle"
    BUSY = "busy"
    ENDING = "ending"
    VACANT = "vacant"
    COOLING = "cooling"
    HELD = "held"


class JobState(StrEnum):
    """Where a job of the embedded queue stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


class Priority(StrEnum):
    """Which jobs of the embedded queue go before which."""

    HIGH = "high"  # operators' alone
    NORMAL = "normal"
    LOW = "low"


class Cause(StrEnum):
    """Why a job that did not succeed ended as it did."""

    EXIT = "exit"
    OOM = "oom"
    TIMEOUT = "timeout"
    DISK = "disk"
    CANCELLED = "cancelled"
    ENGINE_STOPPED = "engine_stopped"
    KILLED = "killed"
    NEVER_STARTED = "never_started"
    AFTER = "after"  # the job that it was to run after did not end well
    UNKNOWN = "unknown"


# What a service is told of a slot's GPUs; `core/gpu_labels.py` has what each looks like.
GpuLabel = Literal["name", "cuda", "model", "memory", "compute", "count", "driver"]


class DoomReason(StrEnum):
    """Why Mayfly ends an agent."""

    TIMEOUT = "timeout"  # the job's limit, or the pool's
    DISK = "disk"  # the writable layer is over its limit
    CANCELLED = "cancelled"  # a person cancelled the job
    FORCED = "forced"  # drain --force
    DRAINED = "drained"  # the slot is to be empty; the agent had no job
    RECYCLED = "recycled"  # a person wanted a fresh one
    STALE = "stale"  # another configuration, image, lease or driver
    IMAGE = "image"  # the slot's next job asks for another image, or no job for this one any more
    OLD = "old"  # stood at its gate for too long
    MISSED = "missed"  # a phase's deadline passed
    INTERRUPTED = "interrupted"  # its gate was being opened when the manager died
    # opening its gate failed, as far as is known: it may have opened all the same
    UNOPENED = "unopened"
    REFUSED = "refused"  # its service does not let it in
    UNWANTED = "unwanted"  # no slot has room for it
    SURPLUS = "surplus"  # its service has no job for it
    CUT_OFF = "cut off"  # its client does not come back to a service that has
    BLIND = "blind"  # it does not see exactly the GPUs of its lease
    UNBROUGHT = "unbrought"  # what its job brings could not be put there, and its gate is shut
    BROKEN_OFF = "broken off"  # likewise, for the Engine's or a disk's sake
    NO_SANDBOX = "no sandbox"  # that which it was in is gone, or somebody left something in it
    TAKEN_BACK = "taken back"  # its service has ended its job, and its client goes on with it
    LEASE_LOST = "lease lost"  # whoever gave its GPUs has taken them back


class Removal(StrEnum):
    """Who removes an ended container."""

    ENGINE = "engine"
    MANAGER = "manager"


class Excess(StrEnum):
    """What an agent can do so much of that others pay for it, whatever its limits are."""

    OUTPUT = "output"
    CONNECTIONS = "connections"
    PROCESSES = "processes"


class Hold(StrEnum):
    """What ends the hold of a slot, beside a person who says retry."""

    PERSON = "person"  # nothing: a person has to look
    GPU = "gpu"  # its GPUs are seen to be well
    MAKING = "making"  # an agent stands at its gate; one is made now and then to see
    SERVICE = "service"  # its service takes an agent; one is tried now and then to see


class Severity(StrEnum):
    """How much a health line matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


STOP_GRACE = 30  # seconds that a person's polite stop leaves the job at least
CA_TARGET = "/etc/mayfly/ca.pem"  # where a container finds the pool's `ca`
DOOR_TARGET = "/run/mayfly-docker"  # where an agent finds the socket that is its own
DOOR_SOCKET = f"{DOOR_TARGET}/docker.sock"
FIGURES_TARGET = "/run/mayfly-job"  # where its hooks find what the manager says of it


# -- what the configuration says ------------------------------------------------------------

# Of a key that is not baked into containers: changing it replaces no agent.
UNBAKED: Mapping[str, object] = MappingProxyType({"baked": False})
# Of a key of [host] that a manager that runs reads again.
LIVE: Mapping[str, object] = MappingProxyType({"live": True})
# Of a key that says where a secret is, and is none itself.
SECRET: Mapping[str, object] = MappingProxyType({"baked": False, "secret": True})


@dataclass(frozen=True, slots=True)
class Dataset:
    """A directory of the host that every agent of a pool sees read-only."""

    source: str
    target: str
    env: str | None = None  # None: no variable names the target
    nested: Literal["refuse", "allow"] = "refuse"


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory of the host that the agents of one pool share, read-write."""

    source: str
    target: str
    env: str | None = None  # None: no variable names the target


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry from which a pool's jobs have images fetched as a user of it."""

    address: str  # as images name it, such as "registry.example:5000"
    user: str
    # where the password is
    password: Mapping[str, str] = field(metadata=SECRET)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one agent may use, and for how long."""

    memory: int | None = None  # bytes; None: no limit
    cpus: float | None = None  # None: no limit
    pids: int = 4096
    # bytes; None: with GPUs half of the memory, or 8 GiB where that has no limit; else 64 MiB
    shm: int | None = None
    # bytes of the writable layer; None: not watched
    disk: int | None = field(default=None, metadata=UNBAKED)
    # None: no limit
    job_timeout: float | None = field(default=6 * 3600.0, metadata=UNBAKED)
    idle_recycle: float = field(default=24 * 3600.0, metadata=UNBAKED)
    # What an agent may begin for ever, of each a second, before it is throttled; None: no limit.
    connection_rate: float | None = field(default=100.0, metadata=UNBAKED)
    # processes and threads, for each processor of the host
    process_rate: float | None = field(default=150.0, metadata=UNBAKED)


# The resource limits that Linux has, as ``docker run --ulimit`` calls them.
ULIMITS = (
    "core",
    "cpu",
    "data",
    "fsize",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
)


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A resource limit of the processes of an agent, in the kernel's unit; -1: none."""

    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class PoolSecurity:
    """What the processes of an agent may do and take, where a pool wants it otherwise than Mayfly."""

    # by name, those that are not as the manager's own
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)
    # what runs the containers, as the engine calls it: a sandbox such as runsc; None: its default
    runtime: str | None = None
    # "unconfined", or a profile's file on the host; None: the engine's own profile
    seccomp: str | None = None
    # a profile's name, or "unconfined"; None: the engine's own profile
    apparmor: str | None = None
    cap_drop: tuple[str, ...] = ()  # of those that `sudo` brings
    read_only: bool = False  # the image's files; what is to be written is in `tmpfs`, or mounted
    # bytes by place
    tmpfs: Mapping[str, int] = field(default_factory=dict)
    cpuset: str | None = None  # None: all processors
    # "host": outside the user namespace that the engine remaps into; None: as the engine has it
    userns: Literal["host"] | None = None


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """Which GPUs a pool's are, where the engine picks them and has several kinds."""

    # by what they are counted; None: they are not, or as everywhere
    gpu_resource: str | None = None
    device_class: str | None = None  # what they are claimed from; None: not, or as everywhere
    device_selector: str | None = None  # which of that; None: any, or as everywhere


@dataclass(frozen=True, slots=True)
class Bench:
    """That a pool's jobs are measured: each has its GPUs at one frequency, and what is near them."""

    clock: int | Literal["base"] = "base"  # MHz of the processors of its GPUs
    memory_clock: int | None = None  # MHz of their memory; None: as the driver has it
    # no other gate of the host is open meanwhile
    others_idle: bool = False


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """One ``[[pool]]`` of the configuration, checked."""

    name: PoolName
    provider: str = "local"
    # its jobs come from Mayfly's own queue; False: from a service
    embedded: bool = field(default=True, metadata={**UNBAKED, "key": False})
    # its provider's own keys, a frozen dataclass that is known there alone; None: it has none
    settings: object = field(default=None, metadata={"key": False})
    # the repository of its provider's images; None: Mayfly's own for the provider
    images: str | None = field(default=None, metadata={**UNBAKED, "key": False})
    # what values that are not to be read are masked with, and labels sealed; "": in a bug report
    installation_key: str = field(default="", repr=False, metadata={**UNBAKED, "key": False})
    slots: int = field(default=1, metadata=UNBAKED)
    gpus: int | Literal["all"] | tuple[str | int, ...] = field(default=0, metadata=UNBAKED)
    # which those are that `gpus` counts; None: any
    gpu: GpuSelection | None = field(default=None, metadata=UNBAKED)
    # what jobs at its service may ask for of what its GPUs are
    gpu_labels: tuple[GpuLabel, ...] = field(default=("name", "cuda"), metadata=UNBAKED)
    # how many GPUs per slot the engine is to pick; `gpus` is 0 then
    devices: int = field(default=0, metadata={"key": False})
    # of which kind those are; None: of the engine's own
    device_kind: DeviceKind | None = field(default=None, metadata={"key": False})
    # None: the newest that the driver runs
    cuda: str | None = field(default=None, metadata=UNBAKED)
    cuda_compat: bool = False
    # None: chosen from the catalogue
    image: str | None = field(default=None, metadata=UNBAKED)
    # what its jobs may ask for instead, by name; * stands for any characters
    job_images: tuple[str, ...] = field(default=(), metadata=UNBAKED)
    labels: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[Dataset, ...] = ()
    caches: tuple[Cache, ...] = ()
    limits: Limits = Limits()
    security: PoolSecurity = PoolSecurity()
    user: str = "1000"
    groups: tuple[str, ...] = ()
    network: str | None = None  # None: one network per pool; "none", "host", or a network's name
    # what follows where agents reach each other: it is told, or the pool gets none
    isolation: Literal["told", "required"] = field(default="told", metadata=UNBAKED)
    dns: tuple[str, ...] = ()
    # whose the network namespace is: each agent's, or the slot's, kept from one agent to the next
    sandbox: Literal["job", "slot"] = "job"
    proxy: str | None = None
    no_proxy: str | None = None
    # its service may be one that is asked over http, where everybody on the way reads the token
    plain_http: bool = field(default=False, metadata=UNBAKED)
    ca: str | None = None  # a PEM file of the host, mounted read-only
    cap_add: tuple[str, ...] = ()
    sudo: bool = False
    # the first and the last lines of a job's log at its service say what it runs on and what it used
    job_lines: bool = True
    # its jobs may have containers of their own. (Of these a fingerprint takes what an agent is told of them,
    # and only where they are allowed: see core/desire.py.)
    containers: bool = field(default=False, metadata=UNBAKED)
    # the images that those may be of, by name; * stands for any characters
    allowed_images: tuple[str, ...] = field(default=("*",), metadata=UNBAKED)
    # the image whose containers may build images; None: none may
    builder: str | None = field(default=None, metadata=UNBAKED)
    # when such an image is fetched from its registry
    pull: Literal["missing", "always", "never"] = field(default="missing", metadata=UNBAKED)
    # where such images are fetched with credentials
    registries: tuple[Registry, ...] = field(default=(), metadata=UNBAKED)
    # seconds that an image which a job has fetched stays without being used; None: for ever
    images_keep: float | None = field(default=14 * 24 * 3600.0, metadata=UNBAKED)
    standby: bool = field(default=True, metadata=UNBAKED)
    removal: Removal | None = None  # None: see core/desire.py
    # seconds for which the container of a job that failed is held for its owner
    hold_failed: float = field(default=0.0, metadata=UNBAKED)
    # seconds for which one is held at most, however often somebody asks for more; 0: none is held
    hold_most: float = field(default=8 * 3600.0, metadata=UNBAKED)
    share: bool = field(default=False, metadata=UNBAKED)
    # "in turn": pools that say so may have the same GPUs, one after the other
    exclusive: Literal["always", "in turn"] = field(default="always", metadata=UNBAKED)
    # how much of them it gets, beside the others' weights, while they all have jobs
    weight: int = field(default=1, metadata=UNBAKED)
    # its service hands its jobs out: an agent is enrolled for a job alone
    dispatched: bool = field(default=False, metadata={**UNBAKED, "key": False})
    # seconds that a job may wait at the service although a slot is idle; 0: nobody looks
    stuck_after: float = field(default=3600.0, metadata=UNBAKED)
    # seconds of such waiting after which it is cancelled there; 0: never
    cancel_stuck: float = field(default=0.0, metadata=UNBAKED)
    # the last day of its token, YYYY-MM-DD, where the service does not tell; None: not known
    token_expires: str | None = field(default=None, metadata=UNBAKED)
    # what is done about a sick GPU that a reset may mend
    heal: Literal["off", "reset"] = field(default="off", metadata=UNBAKED)
    injection: Literal["auto", "runtime", "cdi", "request"] = "auto"
    # its jobs are measured; None: they are not. (Of this a fingerprint takes what the lease comes to.)
    bench: Bench | None = field(default=None, metadata=UNBAKED)
    # how much of it people may reserve for themselves; None: nothing
    reserve: ReserveRules | None = field(default=None, metadata=UNBAKED)
    # whose word it is which GPUs its slots have: the configuration's, or Slurm's, for a time
    lease: Literal["fixed", "slurm"] = field(default="fixed", metadata=UNBAKED)
    slurm: SlurmRequest = field(default=SlurmRequest(), metadata=UNBAKED)

    @property
    def by_slurm(self) -> bool:
        """Whether its slots' GPUs are allocations of Slurm's."""
        return self.lease == "slurm"

    @property
    def takes_turns(self) -> bool:
        """Whether other pools may be leased the same GPUs, and their gates open one after the other."""
        return self.exclusive == "in turn"

    @property
    def mounts(self) -> tuple[Dataset | Cache, ...]:
        """The host's directories that its agents see."""
        return (*self.datasets, *self.caches)

    def claims(self, engine: Capabilities) -> str:
        """By what its GPUs are claimed for a slot and all its agents; ``""``: each agent gets others."""
        kind = self.device_kind
        if kind is None:
            return engine.claims
        return "" if kind.gpu_resource else engine.claims or kind.device_class or ""


@dataclass(frozen=True, slots=True)
class HostSpec:
    """The ``[host]`` table of the configuration, checked."""

    name: str
    gpu: Literal["auto", "required", "off"] = field(default="auto", metadata=LIVE)
    # what `driver-latest` and `driver-earliest` are of; empty: of the catalogue
    driver_branches: tuple[str, ...] = field(default=(), metadata=LIVE)
    # what the configuration says of the health gate's checks, by code
    gpu_checks: Mapping[str, CheckSetting] = field(default_factory=dict, metadata=LIVE)
    engine: str = "docker"  # what runs the containers
    # its own keys, a frozen dataclass that is known at the edge; None: it has none, or none are said
    engine_settings: object = field(default=None, metadata={"key": False})
    docker_host: str = "unix:///var/run/docker.sock"
    state_dir: str = "/var/lib/mayfly"
    socket: str = "/run/mayfly/control.sock"
    metrics: str | None = None  # None: on the control socket only; "127.0.0.1:PORT"
    web: str | None = None  # where the page is, "127.0.0.1:PORT" or a socket's path; None: nowhere
    # the header in which a proxy names who is signed in; None: nobody is named
    web_user_header: str | None = None
    web_trusted_proxies: tuple[str, ...] = ()  # users of this host, IP addresses, networks
    web_boxes: Mapping[str, str] = field(
        default_factory=dict
    )  # addresses of other boxes' pages by name
    # where Mayfly's pages are as a site; None: nowhere that is known
    docs: str | None = field(default=None, metadata=LIVE)
    log_max_size: int = 10 * 1024 * 1024  # of the Engine's log of one container
    output_per_agent: int = 16 * 1024 * 1024  # of the kept output of one agent
    output_total: int = 2 * 1024 * 1024 * 1024  # of all kept output
    workspace_max: int = 1024 * 1024 * 1024  # of the tree, or the input, that one job brings
    workspaces_per_user: int = 10 * 1024 * 1024 * 1024  # of all that is kept of one user's
    workspaces_total: int = 20 * 1024 * 1024 * 1024  # of all users'
    results_max: int = 1024 * 1024 * 1024  # of what is brought back of one job
    results_total: int = 10 * 1024 * 1024 * 1024  # of all jobs
    # of all images that jobs' containers had fetched; None: no bound but `images_keep`
    images_total: int | None = field(default=100 * 1024**3, metadata=LIVE)
    history_days: float = field(default=90.0, metadata=LIVE)
    history_events: int = field(default=100_000, metadata=LIVE)
    # seconds after which half of what somebody's jobs had of a pool's slots still counts
    fair_share_half_life: float = field(default=24 * 3600.0, metadata=LIVE)
    notify: tuple[Target, ...] = ()  # who is told of conditions and of jobs' ends
    # when a host with nothing to do is paused, and by what; None: it is not
    idle: IdleSettings | None = None

    def reread(self, wanted: HostSpec) -> tuple[HostSpec, tuple[str, ...]]:
        """What is in force once ``wanted`` was read by a manager that runs, and the keys that differ and are
        read at its start alone.
        """
        at_start = [one.name for one in fields(self) if not one.metadata.get("live", False)]
        kept = {name: getattr(self, name) for name in at_start}
        table = (self if self.engine_settings is not None else wanted).engine
        called = {"engine_settings": table}  # as the configuration has it
        differ = tuple(
            called.get(name, name) for name in at_start if kept[name] != getattr(wanted, name)
        )
        return replace(wanted, **kept), differ


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration."""

    host: HostSpec
    pools: tuple[PoolSpec, ...]
    # a sentence for each key that is read and has a better place now
    old_keys: tuple[str, ...] = field(default=(), compare=False)

    def with_installation_key(self, key: str) -> Config:
        """The same, with what this installation masks values with."""
        return replace(
            self, pools=tuple(replace(pool, installation_key=key) for pool in self.pools)
        )

    def pool(self, name: PoolName) -> PoolSpec:
        """The pool of that name; ``KeyError`` where there is none."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise KeyError(name)


# -- what is desired -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StopStep:
    """One step of a stop ladder: a signal, and the seconds that the agent has to end by itself."""

    signal: str
    grace: float
    idle: bool = False  # only for an agent that has no job, as far as is known


@dataclass(frozen=True, slots=True)
class ImageClient:
    """A service's client in an agent image: which version and checksum, its service or its maker is asked."""

    name: str  # as people call it, as in "the runner"
    argument: str  # how its build arguments begin, as in ARGUMENT_VERSION
    place: str  # where its versions stand for people to read
    # days for which the service takes a version after its successor came out; None: it refuses none for that
    good_for: float | None = None
    # it calls the `docker` command for a job's containers
    calls_docker: bool = True

    @property
    def arguments(self) -> tuple[str, str]:
        """The build arguments of its version and its checksum."""
        return f"{self.argument}_VERSION", f"{self.argument}_SHA256"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a pool's provider says of itself."""

    # jobs come from Mayfly's own queue; False: from a service
    embedded: bool = False
    # how to end an agent gently, step by step
    stop_ladder: tuple[StopStep, ...] = ()
    # what confirms idle and busy at a service
    proof: Literal["roster", "lines"] = "roster"
    # seconds from the gate to the service's first confirmation; None: the table's
    enrol_deadline: float | None = None
    # the service can be told to give an agent no new job
    can_cordon: bool = False
    # the service's entry belongs to the slot, and stays when an agent ends
    keeps_entries: bool = False
    # the service deletes an agent's entry as soon as its job is over there, whoever has ended it
    entry_ends_with_job: bool = False
    # the service hands its jobs out: an agent is enrolled for a job alone
    dispatches: bool = False
    # where its client keeps a job's files in an agent: a job's own containers may mount what lies beneath it;
    # None: its jobs can have none
    work: str | None = None
    # what of the client's own they mount beside that, read-only: directories of the image
    shared: tuple[str, ...] = ()
    # what its images have beside the launcher, as its package says; None: no client of a service
    client: ImageClient | None = None


@dataclass(frozen=True, slots=True)
class Injection:
    """How the GPUs of a lease get into a container."""

    kind: Literal["runtime", "cdi", "request"]
    devices: tuple[str, ...]  # UUIDs, or for CDI the qualified names


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What a slot's lease comes to where its jobs are measured."""

    clock: int  # MHz
    memory_clock: int | None = None  # MHz; None: as the driver has it
    others_idle: bool = False
    # the processors and memory nodes near its GPUs, as cpuset(7) lists them; "": the driver does not say
    cpus: str = ""
    nodes: str = ""


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """One slot as it ought to be filled, everything resolved."""

    name: SlotName
    index: int
    pool: PoolSpec
    image: str
    fingerprint: str  # changes when anything baked into the container changes
    lease: tuple[str, ...] = ()  # GPU or MIG UUIDs
    injection: Injection | None = None  # how they get into its containers; None: it has none
    reference: str = ""  # the image by name, as the operator knows it
    asked_image: str | None = None  # the same where a job asks for it; None: it is the pool's own
    removal: Removal = Removal.ENGINE
    embedded: bool = True  # jobs come from Mayfly's own queue; False: from a service
    ladder: tuple[StopStep, ...] = ()  # how to end its agent gently
    enrol_deadline: float | None = None  # seconds; None: the table's
    can_cordon: bool = False  # the service can be told to give an agent no new job
    keeps_entries: bool = False  # the service's entry belongs to the slot, not to one agent
    entry_ends_with_job: bool = False  # the service deletes it as soon as the job is over there
    dispatched: bool = False  # its service hands its jobs out: an agent is enrolled for one alone
    labels: tuple[
        str, ...
    ] = ()  # what jobs at a service may ask for that the host gives: GPU model, CUDA
    proof: Literal["roster", "lines"] = "roster"  # what confirms idle and busy at a service
    # where jobs that may have containers work (None: nowhere that those may mount), and what of the image's
    # they may mount beside that
    work: str | None = None
    shared: tuple[str, ...] = ()
    engine: Capabilities = EVERYTHING
    bench: BenchPlan | None = None  # its jobs are measured; None: they are not
    allocation: str = ""  # its lease as an allocation, by `identity`; "": Slurm has not given it
    allocated_until: float | None = None  # when that lease ends by itself; None: it does not

    @property
    def standby(self) -> bool:
        """Whether its next agent is kept started while the last one works."""
        shared = not self.pool.devices or bool(self.pool.claims(self.engine))
        return self.pool.standby and self.engine.standby and shared

    @property
    def has_job_lines(self) -> bool:
        """Whether its jobs' logs begin and end with lines of the manager's: those of a service. What a job of
        the embedded queue prints is the job's own, byte by byte.
        """
        return self.pool.job_lines and not self.embedded

    @property
    def has_figures(self) -> bool:
        """Whether the manager writes them where an agent can read them: its engine is on this host."""
        return self.has_job_lines and self.engine.on_this_host

    @property
    def stop_grace(self) -> int:
        """Seconds from somebody else's TERM until the kill: what an agent's client needs for its job. One at
        its gate ends at once.
        """
        steps = [step.signal for step in self.ladder]
        left = self.ladder[steps.index("TERM") :] if "TERM" in steps else ()
        return max(STOP_GRACE, ceil(sum(step.grace for step in left)))

    @property
    def sandboxed(self) -> bool:
        """Whether its agents join network namespaces that the slot keeps, one after the other."""
        return self.pool.sandbox == "slot" and self.engine.sandbox


@dataclass(frozen=True, slots=True)
class JobImage:
    """What the engine has of an image that jobs of a pool may ask for."""

    id: str = ""
    problem: str | None = None  # why no agent can be made of it; None: one can


@dataclass(frozen=True, slots=True)
class Desired:
    """All slots in config order, and what stands in the way of filling some of them."""

    slots: tuple[SlotSpec, ...]
    obstacles: Mapping[SlotName, str] = field(
        default_factory=dict
    )  # the sentence that holds a slot
    # the sentence is about their image alone: who stands ready stays
    image_blocked: frozenset[SlotName] = frozenset()
    # image, GPUs or mounts are not known (yet): neither fit nor unfit
    undetermined: frozenset[SlotName] = frozenset()
    # slots whose GPUs are not theirs now, and what for: no agent is made for them
    awaiting: Mapping[SlotName, str] = field(default_factory=dict)
    # of images that jobs ask for and their pool allows; left out: not looked at yet
    job_images: Mapping[tuple[PoolName, str], JobImage] = field(default_factory=dict)


# -- what the world is -----------------------------------------------------------------------


class ContainerState(StrEnum):
    """The Engine's word for a container's state."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


LIVE_STATES = frozenset({ContainerState.RUNNING, ContainerState.PAUSED, ContainerState.RESTARTING})


@dataclass(frozen=True, slots=True)
class Container:
    """A container that carries a Mayfly's labels, as one list call shows it: an agent's, or a holder."""

    id: ContainerId
    name: str  # without the leading slash
    state: ContainerState
    host: HostId
    pool: PoolName
    slot: SlotName
    generation: Generation
    fingerprint: str
    image: str  # the image's id
    created: float
    lease: tuple[str, ...] = ()  # the GPUs that it was given
    # those that the engine gave it by its own choice, as far as it says so
    devices: tuple[str, ...] = ()
    seal: str = field(default="", repr=False)  # as it stands there; "" once it was looked at
    sealed: bool = False  # whether the seal is this installation's
    holds: bool = False  # it is a slot's holder, and no agent
    sandbox: ContainerId | None = None  # whose network namespace it is in; None: its own
    door: bool = False  # its agent may have containers of its own
    waits: str = ""  # for what it does not run yet, where that may take long, in its engine's words

    @property
    def live(self) -> bool:
        """Whether processes of it may be running."""
        return self.state in LIVE_STATES

    @property
    def ended(self) -> bool:
        """Whether it has run, and does not any more."""
        return not self.live and self.state is not ContainerState.CREATED


class Continuity(StrEnum):
    """What is known of the Engine's life since the last look."""

    SAME = "same"
    RESTARTED = "restarted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Death:
    """What the Engine said when a container of ours died."""

    container: ContainerId
    exit_code: int | None  # None: the Engine did not say
    at: float
    why: str = ""  # what was done to the container, in the engine's words; "": it ended by itself


@dataclass(frozen=True, slots=True)
class Exit:
    """The witness's last word."""

    code: int
    oom_kills: int | None = None  # None: the launcher could not read the counter
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class GateDeath:
    """Why an agent ended at its gate, in its own words, and its exit code."""

    code: int
    words: str


@dataclass(frozen=True, slots=True)
class Witness:
    """What the launcher of one agent has recorded on the host."""

    ready: float | None = None  # when it stood at its gate
    opened: float | None = None  # None: the gate was not passed
    exit: Exit | None = None  # None: not ended, or ended without a word
    died: GateDeath | None = None  # None: not at its gate, or without a word
    signalled: bool = False  # the launcher was told from outside to stop
    signs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Closing:
    """What was found when an ended agent's door was shut, by which it could have containers of its own."""

    made: bool = False  # it may have made any, or a network or a volume, and they may be there
    refusals: tuple[str, ...] = ()  # what it asked for in vain, the first of them
    refused: int = 0  # how often


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """What a service says of one of our agents."""

    id: str
    name: str
    online: bool | None  # None: the service does not tell; such an agent is never missed for it
    busy: bool
    slot: SlotName | None = None  # None: the name is not one of ours
    generation: Generation | None = None  # None: the service's entry does not tell
    foreign: bool = False  # it bears one of our names and is not ours


@dataclass(frozen=True, slots=True)
class Roster:
    """What a service says of all our agents of one pool."""

    entries: tuple[RosterEntry, ...]
    at: float


class Pending(StrEnum):
    """Why a slot's GPUs are neither fit nor sick yet."""

    NO_ANSWER = "no_answer"  # NVML says nothing of any GPU
    NOT_ASKED = "not_asked"  # NVML has not been asked since the last job ended
    UNCLEAN = "unclean"  # the last job has left something, and may yet take it away


@dataclass(frozen=True, slots=True)
class GpuVerdict:
    """What the health gate says of a slot's GPUs: fit, sick, or neither yet."""

    fit: bool = False
    sick: str | None = None  # the sentence that holds the slot; None: nothing is known against them
    returns: bool = False  # whether being sick is seen to end
    pending: Pending | None = None  # why neither; None: fit or sick
    text: str = ""  # what it waits for, where neither
    code: str | None = None  # the check's that found it; None: fit, or no check's
    device: str | None = None  # the UUID of the GPU or MIG device that it was found on
    healable: bool = False  # whether a reset of the GPU may end all that makes it sick
    warnings: tuple[GpuFinding, ...] = ()  # what holds nothing and is shown


@dataclass(frozen=True, slots=True)
class ProbeVerdict:
    """Whether an agent at its gate sees exactly the GPUs of its lease."""

    sees: bool
    text: str = ""  # what it sees instead
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Breach:
    """Something that an agent can do and must not be able to."""

    code: str  # peers, metadata or devices
    text: str  # the end of a sentence that begins with the pool's agents
    fix: str


@dataclass(frozen=True, slots=True)
class Results:
    """What was brought back of a job's container."""

    files: int = 0
    size: int = 0  # bytes, as they are kept
    left_out: tuple[str, ...] = ()  # sentences: what was not, and why


NOTHING_TAKEN = Results()


class UseOf(StrEnum):
    """What the figures of a job's GPU are of."""

    GPU = "gpu"  # a GPU that the job alone was given
    SHARED = "shared"  # a GPU that agents share: but for memory they are of all that ran on it
    MIG = "mig"  # a MIG device: NVML tells its memory, and neither load, energy nor throttling
    BENCH = "bench"  # nobody looked, so as not to disturb what is measured


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What an agent did with one GPU in its life."""

    uuid: str
    peak_memory: int | None  # bytes; None: never looked at
    utilisation: float | None  # mean per cent; None: never looked at, or NVML cannot tell (MIG)
    samples: int = 0
    energy: float | None = None  # joules by the GPU's own counter; None: it has none, or not known
    metered: float = 0.0  # seconds of the job that the energy is of
    throttled: Mapping[str, float] | None = None  # seconds by reason; None: not known
    watched: float = 0.0  # seconds of the job that those are of
    use_of: UseOf = UseOf.GPU
    partial: bool = False  # some of the job was not measured
    # how often the driver reported each XID meanwhile; None: nobody looked, or it is of an earlier Mayfly
    xids: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class ClocksSeen:
    """How one GPU fared while its clocks were locked."""

    uuid: str
    # MHz of its processors, at the least and at the most; None: not looked at
    low: int | None = None
    high: int | None = None
    throttled: tuple[str, ...] = ()  # what slowed it down, as far as it was seen, each once
    began: int | None = None  # degrees Celsius; None: not known
    ended: int | None = None


@dataclass(frozen=True, slots=True)
class World:
    """What was last seen outside: ``None`` always means unknown, never absent."""

    containers: Mapping[Generation, Container] | None  # ours only; None: the Engine is unknown
    witnesses: Mapping[Generation, Witness] = field(default_factory=dict)
    rosters: Mapping[PoolName, Roster | None] = field(default_factory=dict)
    sizes: Mapping[Generation, int] = field(default_factory=dict)  # bytes of the writable layer
    unmeasured: frozenset[Generation] = frozenset()  # whose writable layers cannot be measured
    deaths: Mapping[Generation, Death] = field(default_factory=dict)
    ended: frozenset[Generation] = frozenset()  # no process of theirs is left, says the kernel
    last_seen: Mapping[Generation, float] = field(
        default_factory=dict
    )  # when a look last showed it running
    first_missed: Mapping[Generation, float] = field(
        default_factory=dict
    )  # the first look that did not
    unwitnessed: Mapping[Generation, float] = field(
        default_factory=dict
    )  # since when a witness is missing
    overfull: frozenset[Generation] = frozenset()  # into whose witnesses too much was written
    unreadable: frozenset[Generation] = frozenset()  # witnesses that are there and cannot be read
    over: Mapping[Generation, float] = field(
        default_factory=dict
    )  # since when looks show its container there and not running
    outputs_kept: frozenset[Generation] = frozenset()  # all that they printed is on disk
    # whose container may be there, whatever a look showed
    unsure: frozenset[Generation] = frozenset()
    last_words: Mapping[Generation, str] = field(default_factory=dict)  # of who died at its gate
    absent: Mapping[Generation, float] = field(
        default_factory=dict
    )  # since when no roster shows it online
    orphans: Mapping[tuple[PoolName, str], float] = field(
        default_factory=dict
    )  # entries without agent, since
    engine_error: str | None = None  # why containers is None
    engine_stop: float | None = None  # when the Engine was last seen to stop or to have restarted
    gpu_verdicts: Mapping[SlotName, GpuVerdict] = field(default_factory=dict)  # slots with a lease
    probes: Mapping[Generation, ProbeVerdict] = field(default_factory=dict)  # agents at their gates
    mounts_seen: float | None = None  # when what agents mount was last looked at; None: never
    strangers: tuple[str, ...] = ()  # names of containers that say they are ours and are not
    holders: Mapping[Generation, Container] = field(default_factory=dict)  # ours only
    # Holders in whose sandbox nobody was yet, or where nothing is left of whoever was.
    clean: frozenset[ContainerId] = frozenset()
    spoilt: frozenset[ContainerId] = frozenset()  # holders in whose sandbox something was left
    closed: Mapping[Generation, Closing] = field(default_factory=dict)  # whose doors were shut
    # What agents have made whom nobody remembers, by whose it is, and whose slot that was.
    unowned: Mapping[Generation, SlotName] = field(default_factory=dict)
    # GPUs and MIG devices that are being reset, or are about to be
    resetting: frozenset[str] = frozenset()
    # Whose GPUs were taken back while they had them, and how that went.
    lost_leases: Mapping[Generation, str] = field(default_factory=dict)
    # When held containers were started once more of late, the earliest first.
    started_again: Mapping[Generation, tuple[float, ...]] = field(default_factory=dict)
    gateway: str = ""  # why no agent can have containers of its own now; "": any can
    gateway_sees: tuple[Condition, ...] = ()  # what is the matter by the gateway's own look


@dataclass(frozen=True, slots=True)
class Condition:
    """What is the matter with slots, a pool or the host; shown under ``mayfly status``, and a metric."""

    code: str
    severity: Severity
    text: str
    fix: str
    pool: PoolName | None = None  # None: it concerns the host
    slots: tuple[SlotName, ...] = ()  # those of the pool that it concerns, where not all of it


@dataclass(frozen=True, slots=True)
class GatewayHealth:
    """How the gateway fares, as it says itself."""

    missing: str = ""  # why it serves nobody now; "": it does
    conditions: tuple[Condition, ...] = ()  # what is the matter by its own look


@dataclass(frozen=True, slots=True)
class EngineLines:
    """What a person types at the engine; ``{name}`` stands for a container or a place."""

    unpause: str = "let the container {name} go on"
    rename: str = "give the container {name} another name"
    inspect: str = "look at the container {name}"
    status: str = "see whether the engine runs"
    room: str = "df -h {name}"
    untaint: str = "let the device of rule {name} be given to agents again"
    clear: str = "remove the containers that agent {name} has made"
    addresses: str = "give the engine more addresses for networks"
    between: str = "."  # what stands between slot and generation in what the engine calls an agent

    def on(self, line: str, name: str) -> str:
        """The line for that one, which is one word of a shell whatever it is called."""
        called = re.sub(r"\.([0-9a-z]{13})$", rf"{self.between}\1", name)
        return line.replace("{name}", quote(called))
