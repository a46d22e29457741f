"""What the configuration says of a cluster that runs the containers: ``[host.kubernetes]``, and what of a
pool has no equivalent there.

An operator is told so by `mayfly config check`, never by an agent that is otherwise than the pool says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BeforeValidator

from mayfly.core import model
from mayfly.edge import config_values as values
from mayfly.edge.config_types import AbsolutePath, Table, form, key
from mayfly.edge.sources import Where

ENGINE = "kubernetes"
CLAIM, IMAGE = "pvc:", "image:"  # how a source begins that is no directory of a node
_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAMES = rf"{_NAME}(\.{_NAME})*"  # of all that may have dots: claims, secrets, classes, accounts
_CLAIM = re.compile(rf"pvc:{_NAMES}(/[^/\0]+)*")
_IMAGE = re.compile(r"image:[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the pods are made, and how."""

    namespace: str = "mayfly"
    # None: from inside the cluster, by the account of the manager's own pod
    kubeconfig: str | None = None
    context: str | None = None  # None: the file's current one
    registry: str = ""  # what stands before `mayfly/…` in an image's name
    pull: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    gpu_resource: str = "nvidia.com/gpu"
    # None: devices are counted, and each pod gets others
    device_class: str | None = None
    device_selector: str | None = None  # None: any of the class
    priority_class: str | None = None  # None: the namespace's default
    service_account: str | None = None  # None: the namespace's default; no token is mounted
    start_seconds: float = 100.0  # how long a pod may take until it runs, its image's pull aside
    pull_seconds: float = 3600.0  # how long a node may take for its image
    metrics: str | None = None  # of a manager that is a pod; None: on the control socket only
    # those that pools have of their own, when the manager began: to be looked at, and nothing else
    pools_kinds: tuple[model.DeviceKind, ...] = field(
        default=(), compare=False, metadata={"key": False}
    )

    pools_runtimes: tuple[str, ...] = field(default=(), compare=False, metadata={"key": False})

    def kind(self, own: model.DeviceKind | None) -> model.DeviceKind:
        """Which devices the agents of a pool get that says so of its own (``None``: it says nothing)."""
        if own is None:
            return model.DeviceKind(self.gpu_resource, self.device_class, self.device_selector)
        if own.gpu_resource is not None:
            return own
        selector = None if own.device_class is not None else self.device_selector
        return model.DeviceKind(
            self.gpu_resource,
            own.device_class or self.device_class,
            own.device_selector or selector,
        )

    @property
    def kinds(self) -> tuple[model.DeviceKind, ...]:
        """All kinds of devices that pools may have."""
        return tuple(dict.fromkeys(self.kind(own) for own in (None, *self.pools_kinds)))

    @property
    def device_classes(self) -> tuple[str, ...]:
        """All classes that devices are claimed from."""
        classes = (kind.device_class for kind in self.kinds)
        return tuple(dict.fromkeys(one for one in classes if one is not None))

    @property
    def gpu_resources(self) -> tuple[str, ...]:
        """All resources that devices are counted as."""
        counted = (kind.gpu_resource for kind in self.kinds if kind.device_class is None)
        return tuple(dict.fromkeys(one for one in counted if one is not None))


_RESOURCE = Annotated[
    str, form(rf"{_NAME}(\.{_NAME})*/[A-Za-z0-9._-]{{1,63}}", "is no resource of a cluster")
]
_CLASS = Annotated[str, form(_NAMES, "is no name of a device class")]
_SELECTOR = Annotated[str, form(r"[^\0]{1,4096}", "is too long")]


class PoolClusterTable(Table):
    """Which GPUs of the cluster a pool's are, where `[host.kubernetes]` does not say it for all."""

    gpu_resource: _RESOURCE | None = key(
        model.DeviceKind,
        "gpu_resource",
        "its GPUs are counted, as this resource: nvidia.com/mig-1g.10gb",
    )
    device_class: _CLASS | None = key(
        model.DeviceKind,
        "device_class",
        "its GPUs are claimed, from this class of devices; absent: from that of `host.kubernetes`",
    )
    device_selector: _SELECTOR | None = key(
        model.DeviceKind,
        "device_selector",
        'which devices of the class, in CEL: device.attributes["gpu.nvidia.com"].architecture == "Hopper"',
    )


class ClusterTable(Table):
    """A namespace of a Kubernetes cluster that runs the agents."""

    namespace: Annotated[str, form(_NAME, "is no name of a namespace")] = key(
        Cluster, "namespace", "where the agents are, which no other Mayfly uses"
    )
    kubeconfig: AbsolutePath | None = key(
        Cluster,
        "kubeconfig",
        "how the cluster is reached; absent: as the pod that the manager itself is",
    )
    context: Annotated[str, form(r"[^\0\n]{1,255}", "is no name of a context")] | None = key(
        Cluster, "context", "which context of `kubeconfig`; absent: its current one"
    )
    registry: Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9.:/_-]{0,200}", "is no registry")] = key(
        Cluster,
        "registry",
        'where nodes find the images that are called mayfly/…, "registry.lab:5000/ci"',
    )
    pull: Literal["Always", "IfNotPresent", "Never"] = key(
        Cluster, "pull", "when a node pulls an image"
    )
    pull_secrets: list[Annotated[str, form(_NAMES, "is no name of a secret")]] = key(
        Cluster, "pull_secrets", "secrets of the namespace that nodes pull with"
    )
    gpu_resource: _RESOURCE = key(
        Cluster, "gpu_resource", "what `gpus` counts: nvidia.com/gpu, nvidia.com/mig-1g.10gb, …"
    )
    device_class: _CLASS | None = key(
        Cluster,
        "device_class",
        "the class of devices that a slot's `gpus` are claimed from (DRA), for all its agents; absent: "
        "they are counted as `gpu_resource`",
    )
    device_selector: _SELECTOR | None = key(
        Cluster,
        "device_selector",
        'which devices of the class, in CEL: device.attributes["gpu.nvidia.com"].uuid == "GPU-…"',
    )
    priority_class: Annotated[str, form(_NAMES, "is no name of a priority class")] | None = key(
        Cluster, "priority_class", "of the agents; absent: the cluster's default"
    )
    service_account: Annotated[str, form(_NAMES, "is no name of an account")] | None = key(
        Cluster, "service_account", "of the agents, without a token; absent: the default one"
    )
    start_seconds: float = key(
        Cluster,
        "start_seconds",
        "how long a pod may take from its creation until it runs, the pull of its image aside",
        ge=5,
        le=110,
    )
    pull_seconds: float = key(
        Cluster, "pull_seconds", "how long a node may take to pull its image", ge=60, le=86_400
    )
    metrics: Annotated[str, BeforeValidator(values.listened)] | None = key(
        Cluster,
        "metrics",
        'where a manager that is a pod itself serves metrics, /livez and /readyz, "0.0.0.0:9925"',
    )


def named(path: str) -> bool:
    """Whether a source is written as something of a cluster."""
    return path.startswith((CLAIM, IMAGE))


def contradictions(config: model.Config) -> Iterator[tuple[Where, str]]:
    """What of the configuration a cluster has no equivalent for, or only a cluster has."""
    chosen = config.host.engine == ENGINE
    if not chosen and config.host.engine_settings is not None:
        yield ("host", "kubernetes"), f'has no meaning without engine = "{ENGINE}"'
    if chosen and config.host.gpu == "required":
        yield ("host", "gpu"), '"required" has no meaning: the GPUs are those of nodes'
    settings = config.host.engine_settings
    if isinstance(settings, Cluster) and settings.device_selector and not settings.device_class:
        yield ("host", "kubernetes", "device_selector"), "has no meaning without `device_class`"
    if isinstance(settings, Cluster) and settings.metrics and settings.kubeconfig is not None:
        yield (
            ("host", "kubernetes", "metrics"),
            "is for a manager that is a pod itself, without `kubeconfig`: elsewhere there is host.metrics",
        )
    for index, pool in enumerate(config.pools):
        for where, text in _of_pool(pool) if chosen else _only_there(pool):
            yield ("pool", index, *where), text
        if isinstance(settings, Cluster) and chosen:
            for where, text in _of_kind(pool, settings):
                yield ("pool", index, ENGINE, *where), text


def _only_there(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    if pool.device_kind is not None:
        yield (ENGINE,), f'has no meaning without engine = "{ENGINE}"'
    for where, source in _sources(pool):
        if named(source):
            yield where, f'{source} has no meaning without engine = "{ENGINE}"'


def _of_kind(pool: model.PoolSpec, settings: Cluster) -> Iterator[tuple[Where, str]]:
    """What is wrong with the kind of devices that a pool has of its own."""
    kind = pool.device_kind
    if kind is None:
        return
    if not pool.devices:
        yield (), "has no meaning without `gpus`"
    claimed = next((one for one in ("device_class", "device_selector") if getattr(kind, one)), None)
    if kind.gpu_resource is not None and claimed is not None:
        yield (
            (claimed,),
            "cannot be beside `gpu_resource`: GPUs are counted as a resource, or claimed from a class",
        )
    elif claimed == "device_selector" and settings.device_class is None:
        yield (claimed,), "has no meaning without `device_class`, here or in host.kubernetes"


def _sources(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    for at, dataset in enumerate(pool.datasets):
        yield ("dataset", at, "source"), dataset.source
    for at, cache in enumerate(pool.caches):
        yield ("caches", at, "source"), cache.source


def _of_pool(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    if pool.name.endswith("-"):
        yield ("name",), "must not end with -: pods bear it as a label, which takes none there"
    for where, asked, text in (*_limits(pool), *_network(pool), *_security(pool), *_gpus(pool)):
        if asked:
            yield where, text
    yield from _mounts(pool)


Row = tuple[Where, bool, str]  # the key, whether it is said, and what is wrong with that


def _limits(pool: model.PoolSpec) -> tuple[Row, ...]:
    limits, usual = pool.limits, model.Limits()
    needed = "must be set: a pod without it is the first that a node throws out"
    return (
        (("limits", "memory"), limits.memory is None, needed),
        (("limits", "cpus"), limits.cpus is None, needed),
        (
            ("limits", "pids"),
            limits.pids != usual.pids,
            "is the node's to say: podPidsLimit of its kubelet",
        ),
        (
            ("limits", "process_rate"),
            limits.process_rate != usual.process_rate,
            "has no equivalent: a pod is not frozen, and its node counts no processes for it",
        ),
        (
            ("limits", "connection_rate"),
            limits.connection_rate != usual.connection_rate,
            "has no equivalent: a pod is not frozen, and its node counts no connections for it",
        ),
        (
            ("removal",),
            pool.removal is model.Removal.ENGINE,
            '"engine" has no equivalent: nothing there removes an ended pod in time',
        ),
        (
            ("hold_failed",),
            bool(pool.hold_failed),
            "has no equivalent: a pod that has ended is not started again, and its files go with it",
        ),
        (
            ("containers",),
            pool.containers,
            "has no equivalent: a cluster has no Engine that a job could ask for a container",
        ),
        (
            ("job_images",),
            bool(pool.job_images),
            "has no equivalent yet: an image's gate cannot be seen from here",
        ),
    )


def _network(pool: model.PoolSpec) -> tuple[Row, ...]:
    return (
        (
            ("network",),
            pool.network is not None,
            "has no equivalent: agents are in the pods' network, and a NetworkPolicy says whom they reach",
        ),
        (
            ("isolation",),
            pool.isolation == "required",
            '"required" has no equivalent yet: whom agents reach is not tried on a cluster',
        ),
        (
            ("sandbox",),
            pool.sandbox == "slot",
            '"slot" has no equivalent: each pod has a network namespace of its own',
        ),
    )


def _security(pool: model.PoolSpec) -> tuple[Row, ...]:
    security = pool.security
    return (
        (
            ("security", "ulimits"),
            bool(security.ulimits),
            "has no equivalent: the node's container runtime says them",
        ),
        (
            ("security", "cpuset"),
            security.cpuset is not None,
            "has no equivalent: the node's CPU manager deals processors out",
        ),
        (
            ("security", "userns"),
            security.userns is not None,
            "has no meaning: pods are in the node's user namespace",
        ),
        (
            ("security", "seccomp"),
            (security.seccomp or "").startswith("/"),
            'is a file of this host, which no node has: leave it out, or say "unconfined"',
        ),
    )


def _gpus(pool: model.PoolSpec) -> tuple[Row, ...]:
    return (
        (
            ("gpus",),
            not isinstance(pool.gpus, int),
            "must be a number: which GPU a pod gets is the node's to say",
        ),
        (
            ("gpu",),
            pool.gpu is not None,
            "is of this host: say gpu_resource, or device_class and device_selector, in [pool.kubernetes]",
        ),
        (
            ("cuda",),
            bool(pool.devices) and pool.image is None and pool.cuda is None,
            "must be set, or `image`: the driver of a node is not seen from here",
        ),
        (
            ("injection",),
            pool.injection != "auto",
            "has no meaning: the node's device plugin brings GPUs in",
        ),
        (
            ("share",),
            pool.share,
            "has no equivalent: the resource that `gpu_resource` names says who shares",
        ),
        (
            ("heal",),
            pool.heal != "off",
            "has no equivalent: the cluster's GPUs are its administrator's to reset",
        ),
        (
            ("exclusive",),
            pool.takes_turns,
            "has no equivalent: the cluster says which pod has a GPU next",
        ),
        (
            ("lease",),
            pool.by_slurm,
            "has no equivalent: the cluster gives GPUs to pods, and Slurm does not",
        ),
    )


def _mounts(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    for where, source in _sources(pool):
        if source.startswith(CLAIM) and _CLAIM.fullmatch(source) is None:
            yield where, f"{source} is no claim: write pvc:NAME, or pvc:NAME/DIRECTORY"
        if source.startswith(IMAGE) and _IMAGE.fullmatch(source) is None:
            yield where, f"{source} is no image: write image:REGISTRY/NAME:TAG"
        if where[0] == "caches" and not source.startswith(CLAIM):
            yield where, f"{source} must be a claim, pvc:NAME: a directory of one node is no cache"
