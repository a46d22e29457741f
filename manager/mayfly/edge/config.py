"""The configuration: TOML in, ``core.model.Config`` out, or every mistake at once.

A model here says what a key may be and what it is for (the reference and the JSON Schema are made from it);
what it defaults to is said by the core's dataclasses alone. A provider's keys come from its package, which is
never known by name here. No secret is ever read: a token stays a reference.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model
from pydantic.functional_validators import PlainValidator

from mayfly.core import model
from mayfly.core.gpu_selection import GpuSelection
from mayfly.core.reserve_rules import ReserveRules
from mayfly.core.slurm_request import SlurmRequest
from mayfly.edge import cluster, page_values, sources
from mayfly.edge import config_values as values
from mayfly.edge.config_mistakes import contradictions
from mayfly.edge.config_pruning import concerns, pruned
from mayfly.edge.config_types import (
    AbsolutePath,
    Account,
    Address,
    BranchText,
    Capability,
    Clock,
    ComputeText,
    CpusetText,
    CudaText,
    Day,
    Duration,
    EngineText,
    Env,
    EnvName,
    GpuChecks,
    Gpus,
    HalfLife,
    HostNameText,
    ImagePattern,
    ImageText,
    LabelText,
    MemoryClock,
    MigText,
    ModelText,
    NetworkText,
    PlainText,
    PoolNameText,
    PositiveDuration,
    ProfileText,
    RateLimit,
    Reference,
    RegistryText,
    RuntimeText,
    SeccompText,
    Size,
    SizeLimit,
    SlurmText,
    Source,
    Table,
    Target,
    TimeLimit,
    Tmpfs,
    Ulimits,
    default,
    key,
    said,
)
from mayfly.edge.flat_keys import Lifted, lift
from mayfly.edge.idle_table import IdleTable, idle
from mayfly.edge.idle_table import wrong as wrong_idle
from mayfly.edge.mistakes import ConfigError, Problem, follow, problem, told
from mayfly.edge.notify_table import NotifyTable, target
from mayfly.edge.notify_table import wrong as wrong_notices
from mayfly.edge.provider_keys import ProviderKeys, unencrypted
from mayfly.edge.sources import Where

__all__ = ["ConfigError", "Loaded", "Problem", "load", "schema"]


NOTHING_BROKEN: Mapping[str, str] = MappingProxyType({})
DEFAULT_PROVIDER: str = default(model.PoolSpec, "provider")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, the files that it came from, and where each key was said."""

    config: model.Config
    files: tuple[Path, ...]
    origins: Mapping[str, str]  # "pool.gpu.limits.memory" -> the file, "$VARIABLE" or "flag"
    merged: sources.Merged = field(repr=False)

    def problem(self, where: Where, text: str) -> Problem:
        """A mistake that only this host makes one, at the place where it was written."""
        return told(where, text, self.merged, str(self.files[0]))


class DatasetTable(Table):
    """A directory of the host that every agent of the pool sees read-only."""

    source: Source = Field(
        description="the directory on the host; with engine kubernetes also `pvc:CLAIM/DIRECTORY`, or "
        "`image:REFERENCE`"
    )
    target: Target = Field(description="where agents see it")
    env: EnvName | None = key(model.Dataset, "env", "a variable that holds the target")
    nested: Literal["refuse", "allow"] = key(
        model.Dataset,
        "nested",
        "what to do with mounts beneath the source on Engines before 25, which would show them "
        "writable: refuse the dataset, or allow that",
    )


class CacheTable(Table):
    """A directory of the host that the agents of one pool share, read-write."""

    source: Source = Field(
        description="the directory on the host; with engine kubernetes `pvc:CLAIM/DIRECTORY`"
    )
    target: Target = Field(description="where agents see it")
    env: EnvName | None = key(model.Cache, "env", "a variable that holds the target")


class SlurmTable(Table):
    """What is asked of Slurm for the GPUs of a pool with `lease = "slurm"`."""

    partition: SlurmText | None = key(
        SlurmRequest, "partition", "absent: the default of Slurm's configuration"
    )
    account: SlurmText | None = key(
        SlurmRequest, "account", "who is charged for it; absent: the manager's user's own"
    )
    qos: SlurmText | None = key(SlurmRequest, "qos", "the quality of service; absent: the default")
    gres: SlurmText = key(
        SlurmRequest, "gres", 'what GPUs are called in gres.conf, with a type as in "gpu:a100"'
    )
    node: SlurmText | None = key(
        SlurmRequest, "node", "what Slurm calls this host; absent: its short name"
    )
    time_limit: Duration | None = key(
        SlurmRequest,
        "time_limit",
        "how long an allocation is asked for; absent: `limits.job_timeout` and a quarter of an hour",
    )
    wait: Duration = key(
        SlurmRequest, "wait", "how long one may wait in Slurm's queue before it is given up"
    )
    retry: Duration = key(
        SlurmRequest, "retry", "how long until one is asked for again that was given up, or refused"
    )
    idle: Duration = key(
        SlurmRequest, "idle", "how long one is kept without a job before it is given back"
    )
    look: Duration = key(SlurmRequest, "look", "how often Slurm's queue is looked at meanwhile")
    options: list[PlainText] = Field(
        default=[], description="further options of salloc, as in --constraint=a100 or --mem=16G"
    )


class RegistryTable(Table):
    """A registry from which images for jobs' own containers are fetched as a user of it."""

    address: RegistryText = Field(
        description='as images name it, "registry.lab.example:5000"; `allowed_images` has to name it, too'
    )
    user: PlainText = Field(description="the user, or what the registry calls so")
    password: Reference = Field(
        description='where the password or token is, { file = "/path" }, which is read for each pull, or '
        '{ credential = "NAME" } of mayfly-gateway.service'
    )


class LimitsTable(Table):
    """What one agent may use, and for how long; ``"none"`` lifts a limit."""

    memory: SizeLimit = key(model.Limits, "memory", "RAM of one agent, swap not added")
    cpus: Annotated[float, Field(gt=0, le=4096)] | None = key(
        model.Limits,
        "cpus",
        "how many CPUs one agent may use. Where CPUs are short, less than 1 also lowers its weight, and "
        "a job older than ten seconds has an eighth of the weight",
    )
    pids: int = key(model.Limits, "pids", "processes and threads of one agent", ge=32, le=4194304)
    shm: SizeLimit = key(
        model.Limits,
        "shm",
        "size of /dev/shm; absent: 64 MiB, with GPUs half of `memory`, or 8 GiB",
    )
    disk: SizeLimit = key(
        model.Limits, "disk", "the writable layer, looked at every 30 s; over it the agent is ended"
    )
    job_timeout: TimeLimit = key(model.Limits, "job_timeout", "how long one job may run")
    idle_recycle: Duration = key(
        model.Limits, "idle_recycle", "an agent idle for so long is replaced by a fresh one"
    )
    connection_rate: RateLimit = key(
        model.Limits,
        "connection_rate",
        "connections to the outside that one agent may open each second, in the long run; 5,000 at once. An "
        "agent that opens more is throttled while the kernel's table of them is crowded",
    )
    process_rate: RateLimit = key(
        model.Limits,
        "process_rate",
        "processes and threads that one agent may start each second for each processor of the host, in the "
        "long run; those of 30 s at once. An agent that starts more is throttled",
    )


class SecurityTable(Table):
    """What the processes of an agent may do and take, where that is to be otherwise than by default."""

    ulimits: Ulimits = key(
        model.PoolSecurity,
        "ulimits",
        'resource limits, { nofile = 1048576, memlock = "unlimited", … }; absent: the manager\'s own, and '
        "open files 65,536, at most 524,288",
    )
    runtime: RuntimeText | None = key(
        model.PoolSecurity,
        "runtime",
        "what runs the containers, as the Engine calls it: a sandbox such as runsc (gVisor) or kata; absent: "
        "its default. Not with GPUs, which bring their own",
    )
    seccomp: SeccompText | None = key(
        model.PoolSecurity,
        "seccomp",
        "\"unconfined\", or a profile's JSON file on the host; absent: the Engine's own",
    )
    apparmor: ProfileText | None = key(
        model.PoolSecurity,
        "apparmor",
        "a profile of the host's AppArmor by name, or \"unconfined\"; absent: the Engine's own",
    )
    cap_drop: list[Capability] = Field(
        default_factory=list,
        description="which of the capabilities that `sudo` brings its jobs do not get",
    )
    read_only: bool = key(
        model.PoolSecurity,
        "read_only",
        "nothing in the image can be written; /tmp, /var/tmp and `tmpfs` are in memory. Not with `sudo`",
    )
    tmpfs: Tmpfs = key(
        model.PoolSecurity,
        "tmpfs",
        'places in memory that jobs write to, { "/home/runner" = "1GiB", … }; they count towards `memory`',
    )
    cpuset: CpusetText | None = key(
        model.PoolSecurity, "cpuset", 'the processors that agents run on, "0-7,16"; absent: all'
    )
    userns: Literal["host"] | None = key(
        model.PoolSecurity,
        "userns",
        '"host": users of agents are those of the host though the Engine has `userns-remap`',
    )


class GpuTable(Table):
    """Which GPUs of the host a pool's may be, where it counts them."""

    model: ModelText | None = key(
        GpuSelection,
        "model",
        'whole words of the model\'s name as NVML says it, in any case: "H100", "RTX 6000 Ada"',
    )
    min_memory: Size | None = key(
        GpuSelection,
        "min_memory",
        'what each has at least by NVML, a MIG device by itself: "80GB" is what makers call so',
    )
    compute: ComputeText | None = key(
        GpuSelection, "compute", 'compute capability: ">=8.0", "==9.0", ">=8.0,<9.0"'
    )
    mig: MigText | None = key(
        GpuSelection, "mig", 'a MIG profile, "1g.10gb", or "none": whole GPUs alone; absent: both'
    )


class BenchTable(Table):
    """How the pool's jobs are measured; `bench = true` is this table with nothing said."""

    clock: Clock = key(
        model.Bench,
        "clock",
        'MHz at which the GPUs of a job are locked; "base" is what NVML gives as their default',
    )
    memory_clock: MemoryClock | None = key(
        model.Bench, "memory_clock", "MHz at which their memory is locked; absent: not locked"
    )
    others_idle: bool = key(
        model.Bench,
        "others_idle",
        "no other gate of this host is open while such a job runs: it waits for the others to end",
    )


class ReserveTable(Table):
    """How much of the pool people may reserve; `reserve = true` is this table with nothing said."""

    longest: PositiveDuration = key(
        ReserveRules,
        "longest",
        "how long one reservation is at the most, and from when it is extended on",
    )
    ahead: Duration = key(ReserveRules, "ahead", "how far from now one begins at the most")
    per_person: int = key(
        ReserveRules, "per_person", "how many one person may have at once, begun or not", ge=1
    )
    at_once: int | None = key(
        ReserveRules, "at_once", "slots that are reserved at any moment; absent: all of them", ge=1
    )
    per_week: Duration = key(
        ReserveRules,
        "per_week",
        "hours of one GPU that a person may have reserved in any seven days; 0: not bounded",
    )
    idle: Duration = key(
        ReserveRules, "idle", "how long nobody uses one until it is given back; 0: it is not"
    )
    clear: Duration = key(
        ReserveRules,
        "clear",
        "how long before one begins no job begins any more where it is to be; 0: until then",
    )


class PoolTable(Table):
    """Slots that share a provider, image, GPUs per slot, datasets and limits."""

    name: PoolNameText = Field(description="the pool's name; its slots are NAME-0, NAME-1, …")
    provider: str = key(model.PoolSpec, "provider", "the CI service")
    slots: int = key(model.PoolSpec, "slots", "how many agents are kept", ge=0, le=1000)
    gpus: Gpus = key(
        model.PoolSpec, "gpus", 'per slot: a number, "all", or a list of "GPU-…", "MIG-…", indexes'
    )
    gpu: GpuTable | None = Field(
        default=None,
        description='which GPUs `gpus` counts, { model = "H100", min_memory = "80GB" }; absent: any',
    )
    gpu_labels: list[model.GpuLabel] = key(
        model.PoolSpec,
        "gpu_labels",
        "which labels or tags of its GPUs jobs may ask for, beside `labels`: name, cuda, model, memory, "
        "compute, count, driver",
    )
    cuda: CudaText | None = key(
        model.PoolSpec, "cuda", "CUDA version of the image; absent: the newest that the driver runs"
    )
    cuda_compat: bool = key(
        model.PoolSpec, "cuda_compat", "allow minor-version compatibility when choosing an image"
    )
    image: ImageText | None = key(
        model.PoolSpec, "image", "an image of your own, FROM mayfly/…; absent: chosen for the host"
    )
    job_images: list[ImagePattern] = key(
        model.PoolSpec,
        "job_images",
        'images that jobs may ask for instead (`submit --image`), ["lab/torch:2.5", "lab/cuda:*"]; of the '
        "embedded queue",
    )
    labels: list[LabelText] = key(
        model.PoolSpec, "labels", "labels or tags that jobs ask for, at the service"
    )
    env: Env = key(model.PoolSpec, "env", "variables of every job; never secrets")
    dataset: list[DatasetTable] = Field(default=[], description="read-only directories")
    caches: list[CacheTable] = Field(default=[], description="read-write directories of the pool")
    limits: LimitsTable = Field(default=LimitsTable(), description="what one agent may use")
    slurm: SlurmTable = Field(
        default=SlurmTable(), description='what is asked of Slurm, with `lease = "slurm"`'
    )
    security: SecurityTable = Field(
        default=SecurityTable(), description="what the processes of an agent may do and take"
    )
    user: Account = key(model.PoolSpec, "user", "whom the job runs as, never root")
    groups: list[Account] = key(model.PoolSpec, "groups", "further groups of that user")
    network: NetworkText | None = key(
        model.PoolSpec,
        "network",
        'absent: one network per pool without traffic between agents; "none", "host", or a name',
    )
    isolation: Literal["told", "required"] = key(
        model.PoolSpec,
        "isolation",
        "what happens if the pool's agents reach each other, a cloud's metadata or others' GPUs: you are "
        'told ("told"), or the pool gets no agents ("required")',
    )
    dns: list[Address] = key(model.PoolSpec, "dns", "name servers instead of the host's")
    sandbox: Literal["job", "slot"] = key(
        model.PoolSpec,
        "sandbox",
        'which network namespace agents get: each a new one ("job"), or one that the slot keeps for the '
        'next agent ("slot"), which starts agents faster',
    )
    proxy: Annotated[str, BeforeValidator(values.url("http", "https", "socks5"))] | None = key(
        model.PoolSpec, "proxy", "sets http_proxy and https_proxy in both spellings"
    )
    no_proxy: PlainText | None = key(model.PoolSpec, "no_proxy", "what the proxy is not used for")
    plain_http: bool = key(
        model.PoolSpec,
        "plain_http",
        "let the token go to an http:// address, where everybody on the way can read it",
    )
    ca: AbsolutePath | None = key(
        model.PoolSpec,
        "ca",
        "a PEM file of the host that agents trust beside what their image does",
    )
    cap_add: list[Capability] = key(
        model.PoolSpec,
        "cap_add",
        "capabilities beside SETUID SETGID KILL CHOWN; without `sudo` a job's bounding set, no more",
    )
    sudo: bool = key(
        model.PoolSpec,
        "sudo",
        "let jobs become root inside: Docker's default capabilities, no no-new-privileges",
    )
    job_lines: bool = key(
        model.PoolSpec,
        "job_lines",
        "have a job's log at its service begin with what it runs on and end with what it used",
    )
    containers: bool = key(
        model.PoolSpec,
        "containers",
        "let jobs have containers of their own: `docker run`, and what a service starts for a job. They get "
        "the slot's GPUs and no others, and have its limits together with the agent. Needs Docker Engine 26 "
        "or newer and the service mayfly-gateway",
    )
    allowed_images: list[ImagePattern] = key(
        model.PoolSpec,
        "allowed_images",
        'the images that such containers may use, ["postgres:*", "registry.lab/*"]; absent: all of the '
        "well-known public registries; a registry of your own has to be named",
    )
    builder: ImageText | None = key(
        model.PoolSpec,
        "builder",
        "with `containers`: the image whose containers may build images, by a builder that needs user "
        "namespaces, as buildah; absent: none may",
    )
    pull: Literal["missing", "always", "never"] = key(
        model.PoolSpec,
        "pull",
        'when such an image is fetched: if the host does not have it ("missing"), for each container '
        '("always"), or never',
    )
    registries: list[RegistryTable] = Field(
        default=[],
        description="registries that want credentials for such images; no job gets to see these",
    )
    images_keep: TimeLimit = key(
        model.PoolSpec,
        "images_keep",
        "how long an image that a job has fetched stays after its last use; of several pools the longest "
        'time counts; "none" keeps them',
    )
    standby: bool = key(
        model.PoolSpec, "standby", "keep the slot's next agent started and waiting at its gate"
    )
    removal: Literal["engine", "manager"] | None = key(
        model.PoolSpec,
        "removal",
        "who removes ended containers; absent: the manager for the embedded queue, once it has the output; "
        "the engine for a service, where it can",
    )
    hold_failed: Duration = key(
        model.PoolSpec,
        "hold_failed",
        "how long the container of a job that failed is held, with its GPUs, for its owner to go into",
    )
    hold_most: Duration = key(
        model.PoolSpec,
        "hold_most",
        "how long one is held at most, however it was asked for; 0: none is",
    )
    share: bool = key(model.PoolSpec, "share", "let its GPUs be in other slots too")
    exclusive: Literal["always", "in turn"] = key(
        model.PoolSpec,
        "exclusive",
        'its GPUs are for its slots only ("always"), or pools that say "in turn" use the same ones, one job '
        "after the other; only for the embedded queue, or a service that hands jobs out",
    )
    weight: int = key(
        model.PoolSpec,
        "weight",
        "of pools in turn: how much of the GPUs' time it gets while all have jobs; 2 is twice as much as 1",
        ge=1,
        le=1000,
    )
    heal: Literal["off", "reset"] = key(
        model.PoolSpec,
        "heal",
        'what happens to a sick GPU that a reset may mend: nothing ("off"), or a reset once nobody uses it, '
        'at most once an hour ("reset"); all pools that may have the GPU have to say so',
    )
    lease: Literal["fixed", "slurm"] = key(
        model.PoolSpec,
        "lease",
        'who assigns the GPUs of its slots: the configuration ("fixed"), or Slurm ("slurm"), which is asked '
        "when there is a job",
    )
    stuck_after: Duration = key(
        model.PoolSpec,
        "stuck_after",
        "how long a job may wait at the service although a slot that fits it is idle, before that is told; "
        "0: nobody looks",
    )
    cancel_stuck: Duration = key(
        model.PoolSpec,
        "cancel_stuck",
        "how long such a job has waited when it is cancelled at the service, once; 0: never",
    )
    token_expires: Day | None = key(
        model.PoolSpec,
        "token_expires",
        "the last day of its token, 2027-11-29, where the service does not tell it",
    )
    injection: Literal["auto", "runtime", "cdi", "request"] = key(
        model.PoolSpec, "injection", "how GPUs get into a container"
    )
    bench: Annotated[
        BenchTable | None,
        BeforeValidator(values.switched, json_schema_input_type=bool | BenchTable),
    ] = Field(
        default=None,
        description="for measuring: each job has its GPUs' clocks locked, and the processors and memory near "
        "them; true, or a table that says at which frequency",
    )
    reserve: Annotated[
        ReserveTable | None,
        BeforeValidator(values.switched, json_schema_input_type=bool | ReserveTable),
    ] = Field(
        default=None,
        description="people may reserve its GPUs for a while, with `mayfly reserve`; true, or a table that "
        "says how many and for how long",
    )
    kubernetes: cluster.PoolClusterTable | None = Field(
        default=None, description="which GPUs of a cluster its are"
    )


class HostTable(Table):
    """The host and the manager itself."""

    name: HostNameText | None = Field(
        default=None, description="this host at the services; absent: the machine's host name"
    )
    gpu: Literal["auto", "required", "off"] = key(
        model.HostSpec,
        "gpu",
        '"required": a host without GPUs is a mistake; "off": nobody looks for GPUs',
    )
    driver_branches: list[BranchText] = Field(
        default=[],
        description='the driver branches that a lab tests with, ["535", "580"], of which `gpu_labels` '
        "names the latest and the earliest; absent: the catalogue's",
    )
    gpu_checks: GpuChecks = key(
        model.HostSpec,
        "gpu_checks",
        'what each [check of GPUs](gpu-checks.md) does, by its code: `"gpu.xid_notice" = "off"`, or '
        '`{ severity = "hold", threshold = 20 }`',
    )
    engine: EngineText = key(
        model.HostSpec, "engine", "what runs the containers: docker, or a package that is installed"
    )
    kubernetes: cluster.ClusterTable | None = Field(
        default=None, description="the cluster of engine kubernetes"
    )
    docker_host: Annotated[str, BeforeValidator(values.docker_host)] = key(
        model.HostSpec, "docker_host", "the Engine's socket"
    )
    state_dir: AbsolutePath = key(
        model.HostSpec, "state_dir", "history, witnesses and kept output; $STATE_DIRECTORY counts"
    )
    socket: AbsolutePath = key(
        model.HostSpec, "socket", "the control socket; $RUNTIME_DIRECTORY counts"
    )
    metrics: Annotated[str, BeforeValidator(values.loopback)] | None = key(
        model.HostSpec, "metrics", 'serve metrics on loopback too, "127.0.0.1:9925"'
    )
    web: Annotated[str, BeforeValidator(page_values.place)] | None = key(
        model.HostSpec,
        "web",
        'where the [page](../how-to/page.md) is, "127.0.0.1:9788" or a socket\'s path',
    )
    web_user_header: Annotated[str, BeforeValidator(page_values.header_name)] | None = key(
        model.HostSpec,
        "web_user_header",
        'the header in which a proxy says who is signed in, "X-Remote-User"',
    )
    web_trusted_proxies: list[Annotated[str, BeforeValidator(page_values.proxy)]] = Field(
        default=[],
        description="who may send that header: the users of this host that a proxy runs as, or addresses of "
        "other machines",
    )
    web_boxes: Annotated[dict[str, str], BeforeValidator(page_values.boxes)] = key(
        model.HostSpec,
        "web_boxes",
        'other boxes for the page, with the address of each one\'s page: `{ gpu2 = "https://gpu2.lab" }`',
    )
    docs: Annotated[str, BeforeValidator(page_values.site)] | None = key(
        model.HostSpec,
        "docs",
        'where these pages are as a site, "https://docs.lab.example/mayfly": conditions lead there',
    )
    log_max_size: Size = key(model.HostSpec, "log_max_size", "the Engine's log of one container")
    output_per_agent: Size = key(
        model.HostSpec, "output_per_agent", "kept output of one agent; the oldest part goes first"
    )
    output_total: Size = key(
        model.HostSpec,
        "output_total",
        "kept output of all agents together; of the size that takes most the oldest goes first",
    )
    workspace_max: Size = key(
        model.HostSpec,
        "workspace_max",
        "the tree, or the input, that one job brings (`submit --dir`)",
    )
    workspaces_per_user: Size = key(
        model.HostSpec,
        "workspaces_per_user",
        "what is kept of the trees that one user sent; what was not used for longest goes first",
    )
    workspaces_total: Size = key(
        model.HostSpec, "workspaces_total", "what is kept of what all users sent"
    )
    results_max: Size = key(
        model.HostSpec, "results_max", "what is brought back of one job (`submit --out`)"
    )
    results_total: Size = key(
        model.HostSpec,
        "results_total",
        "what is kept of all jobs' results; the oldest of whoever has most go first",
    )
    images_total: SizeLimit = key(
        model.HostSpec,
        "images_total",
        "the images that jobs have fetched for their containers, together; those not used for longest go "
        'first, and none that is in use; "none": only `images_keep` counts',
    )
    history_days: float = key(
        model.HostSpec, "history_days", "how long ended agents are remembered", gt=0, le=36500
    )
    history_events: int = key(
        model.HostSpec,
        "history_events",
        "how many events, ended agents and ended jobs are remembered",
        ge=100,
        le=10_000_000,
    )
    fair_share_half_life: HalfLife = key(
        model.HostSpec,
        "fair_share_half_life",
        "after so long, the time that a person's jobs had in a pool's slots counts half",
        ge=60,
    )
    notify: list[NotifyTable] = Field(
        default=[], description="who is told of conditions and of jobs' ends"
    )
    idle: IdleTable | None = Field(
        default=None,
        description="what is done about a host that has nothing to do; absent: nothing",
    )


@cache
def file_shape(providers: tuple[ProviderKeys, ...]) -> type[Table]:
    """The whole of ``config.toml``: a pool has a table for each provider that is there."""
    tables: dict[str, Any] = {
        keys.name: (keys.table | None, Field(default=None, description=f"provider {keys.name}"))
        for keys in providers
        if keys.table is not None
    }
    names = ", ".join(keys.name for keys in providers)
    tables["provider"] = (
        str,
        Field(default=DEFAULT_PROVIDER, description=f"the CI service: {names}"),
    )
    pool: Any = create_model("PoolTable", __base__=PoolTable, __doc__=PoolTable.__doc__, **tables)
    return create_model(
        "FileShape",
        __base__=Table,
        __doc__="The whole of ``config.toml``.",
        host=(HostTable, Field(default=HostTable(), description="the host and the manager itself")),
        pool=(list[pool], Field(default=[], description="one entry a pool")),
    )


# -- loading --------------------------------------------------------------------------------------


def load(
    path: str | os.PathLike[str] | None,
    providers: Mapping[str, ProviderKeys],
    broken: Mapping[str, str] = NOTHING_BROKEN,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    texts: Mapping[Path, str] | None = None,
) -> Loaded:
    """Read, merge and check the configuration; ``flags`` maps ``[host]`` keys to values.

    ``broken`` says of providers that are installed why they cannot be used.
    ``texts`` is what some of its files would say instead of what they say, or where there are none yet.
    Raises ``ConfigError`` with every mistake found.
    """
    environ = os.environ if environ is None else environ
    main = sources.main_file(path, environ)
    layers = list(_from_directories(environ))
    found = sources.files(main, texts or ())
    unreadable: list[Problem] = []
    whole = True
    for file in found:
        try:
            layers.append(sources.read_toml(file, (texts or {}).get(file)))
        except sources.Unreadable as error:
            unreadable.append(Problem(error.origin, "", "", error.text))
            whole = False
    layers += [_typed(layer) for layer in sources.environment(environ)]
    if flags:
        layers.append(_typed(sources.Layer("flag", {"host": dict(flags)})))
    unreadable += [
        Problem(layer.origin, "", "", text, line) for layer in layers for line, text in layer.wrong
    ]
    whole = whole and not any(layer.wrong and not layer.text for layer in layers)
    merged = sources.merge(layers)
    lifted = lift(merged, providers, DEFAULT_PROVIDER)
    old = tuple(str(told(where, text, merged, str(main))) for where, text in lifted.old)
    try:
        config = _checked(merged, lifted, str(main), providers, broken, whole=whole)
    except ConfigError as error:
        lines = {(problem.file, problem.line) for problem in unreadable}
        others = [
            problem for problem in error.problems if (problem.file, problem.line) not in lines
        ]
        raise ConfigError(_in_order(found, [*unreadable, *others]), old) from error
    if unreadable:
        raise ConfigError(_in_order(found, unreadable), old)
    config = replace(config, old_keys=old)
    return Loaded(config, found, _named_origins(merged, lifted, config), merged)


def check(
    merged: sources.Merged,
    main: str,
    providers: Mapping[str, ProviderKeys],
    broken: Mapping[str, str] = NOTHING_BROKEN,
) -> model.Config:
    """A merged tree as a ``Config``; ``ConfigError`` with every mistake."""
    lifted = lift(merged, providers, DEFAULT_PROVIDER)
    return _checked(merged, lifted, main, providers, broken, whole=True)


def _checked(
    merged: sources.Merged,
    lifted: Lifted,
    main: str,
    providers: Mapping[str, ProviderKeys],
    broken: Mapping[str, str],
    *,
    whole: bool,
) -> model.Config:
    """``whole`` is false where part of what was written could not be read: then nothing is missing."""

    def at(where: Where, text: str) -> Problem:
        return told(lifted.written(where), text, merged, main)

    shape = file_shape(tuple(providers.values()))
    problems = [told(where, text, merged, main) for where, text in lifted.wrong if whole]
    cuts: tuple[Where, ...] = ()
    try:
        read: Any = shape.model_validate(lifted.tree)
    except ValidationError as error:
        known = partial(_known, shape)
        details = [one for one in error.errors() if whole or one["type"] != "missing"]
        problems += [problem(detail, lifted, merged, main, known) for detail in details]
        wrong = [(follow(lifted.tree, detail["loc"]), detail["type"]) for detail in details]
        rest, cuts = pruned(lifted.tree, wrong)
        try:
            read = None if rest is None else shape.model_validate(rest)
        except ValidationError:
            read = None
    if read is not None and whole:
        config, between = _translate(read, providers)
        between += contradictions(config, tuple(providers), broken)
        between += cluster.contradictions(config)
        problems += [at(where, text) for where, text in between if not concerns(where, cuts)]
        if not problems:
            return config
    raise ConfigError(tuple(dict.fromkeys(problems)))


def _in_order(files: tuple[Path, ...], problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """As a person works through them: by file, then by line."""
    place = {str(file): number for number, file in enumerate(files)}
    return tuple(sorted(problems, key=lambda one: (place.get(one.file, len(place)), one.line or 0)))


def schema(providers: Mapping[str, ProviderKeys]) -> dict[str, Any]:
    """The JSON Schema of ``config.toml``, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **file_shape(tuple(providers.values())).model_json_schema(),
        "title": "Mayfly configuration",
    }


def default_host_name(machine: str) -> str:
    """A machine's host name as a ``[host] name``: first label, lower case, letters, digits and -."""
    return (
        re.sub(r"[^a-z0-9]+", "-", machine.split(".", maxsplit=1)[0].lower()).strip("-") or "host"
    )


def _from_directories(environ: Mapping[str, str]) -> Iterator[sources.Layer]:
    """The directories that systemd made for the unit; several are separated by colons."""
    host: sources.Tree = {}
    if state := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        host["state_dir"] = state
    if runtime := environ.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        host["socket"] = f"{runtime}/control.sock"
    if host:
        yield sources.Layer("systemd", {"host": host})


def _typed(layer: sources.Layer) -> sources.Layer:
    """Text from the environment or a flag as the number that a numeric ``[host]`` key wants."""
    host = layer.tree.get("host")
    assert isinstance(host, dict)
    return sources.Layer(
        layer.origin, {"host": {key: _typed_value(key, value) for key, value in host.items()}}
    )


def _typed_value(key: str, value: object) -> object:
    field = HostTable.model_fields.get(key)
    if field is None or field.annotation not in (int, float) or not isinstance(value, str):
        return value
    if any(isinstance(extra, PlainValidator) for extra in field.metadata):
        return value  # sizes read text themselves
    try:
        return int(value) if field.annotation is int else float(value)
    except ValueError:
        return value


# -- into the core's words --------------------------------------------------------------------------


def _translate(
    shape: Any, providers: Mapping[str, ProviderKeys]
) -> tuple[model.Config, list[tuple[Where, str]]]:
    """The configuration, and what the providers say is wrong with their tables."""
    host = said(shape.host, "name", "kubernetes", "notify", "idle")
    host["notify"] = tuple(map(target, shape.host.notify))
    host["idle"] = idle(shape.host.idle)
    on_cluster = shape.host.engine == cluster.ENGINE
    if on_cluster or shape.host.kubernetes is not None:
        own = shape.host.kubernetes or cluster.ClusterTable()
        tables = (table.kubernetes for table in shape.pool)
        kinds = tuple(model.DeviceKind(**said(one)) for one in tables if one is not None)
        named = (table.security.runtime for table in shape.pool)
        runtimes = tuple(dict.fromkeys(one for one in named if one is not None))
        host["engine_settings"] = cluster.Cluster(
            **said(own), pools_kinds=kinds, pools_runtimes=runtimes
        )
        host["metrics"] = shape.host.metrics or own.metrics
    name = shape.host.name or default_host_name(socket.gethostname())
    pools: list[model.PoolSpec] = []
    wrong: list[tuple[Where, str]] = []
    for index, table in enumerate(shape.pool):
        keys = providers.get(table.provider)
        settings: object = None
        if keys is not None:
            own = getattr(table, keys.name, None)
            settings, told = keys.read(own)
            if not table.plain_http:
                told = (*told, *unencrypted(own))
            wrong += [(("pool", index, keys.name, *where), text) for where, text in told]
        pool = _pool(table, frozenset(providers))
        if keys is not None:
            pool = replace(
                pool,
                embedded=keys.embedded,
                settings=settings,
                images=keys.images,
                dispatched=settings is not None and keys.hands_out(settings),
            )
        if on_cluster and isinstance(pool.gpus, int):
            pool = replace(pool, gpus=0, devices=pool.gpus)
        pools.append(pool)
    wrong += wrong_notices(shape.host.notify, [pool.name for pool in pools])
    wrong += wrong_idle(shape.host.idle, shape.host.engine, cluster.ENGINE)
    return model.Config(model.HostSpec(name=name, **host), tuple(pools)), wrong


def _pool(table: PoolTable, providers: frozenset[str]) -> model.PoolSpec:
    own = (
        "name",
        "dataset",
        "caches",
        "limits",
        "security",
        "slurm",
        "removal",
        "kubernetes",
        "registries",
        "gpu",
        "bench",
        "reserve",
    )
    keys, kind = said(table, *own, *providers), table.kubernetes
    return model.PoolSpec(
        name=model.PoolName(table.name),
        datasets=tuple(model.Dataset(**said(dataset)) for dataset in table.dataset),
        caches=tuple(model.Cache(**said(cache)) for cache in table.caches),
        registries=tuple(model.Registry(**said(one)) for one in table.registries),
        limits=model.Limits(**said(table.limits)),
        security=model.PoolSecurity(**said(table.security)),
        slurm=SlurmRequest(**said(table.slurm)),
        removal=None if table.removal is None else model.Removal(table.removal),
        gpu=None if table.gpu is None else GpuSelection(**said(table.gpu)),
        device_kind=None if kind is None else model.DeviceKind(**said(kind)),
        bench=None if table.bench is None else model.Bench(**said(table.bench)),
        reserve=None if table.reserve is None else ReserveRules(**said(table.reserve)),
        **keys,
    )


def _named_origins(merged: sources.Merged, lifted: Lifted, config: model.Config) -> dict[str, str]:
    """Origins with pools by name, leaves only; of a key that was moved, at its new place."""
    names = [pool.name for pool in config.pools]
    now = {written: place for place, written in lifted.moved.items()}
    tables = {where[:length] for where in merged.origins for length in range(1, len(where))}
    named = {}
    for where, origin in merged.origins.items():
        place = now.get(where, where)
        if where in tables and where not in now:
            continue
        parts = [str(part) for part in place]
        if where[0] == "pool" and len(where) > 1 and isinstance(where[1], int):
            parts[1] = names[where[1]]
        named[".".join(parts)] = origin
    return named


def _known(shape: type[BaseModel], where: Where) -> list[str]:
    """The keys that the table at a location has."""
    here = shape
    for part in where:
        if isinstance(part, str) and part in here.model_fields:
            annotation = here.model_fields[part].annotation
            inner = [*get_args(annotation), annotation]
            here = next(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
    return list(here.model_fields)
