"""What ought to be: the slots of the configuration with image, lease, removal and fingerprint resolved.

It is given what was found on the host and asks for nothing itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace

from mayfly import __version__
from mayfly.core import bench_lane, images, injection, job_images, mounts, naming
from mayfly.core.allocations import NOT_ASKED, Allocation, Allocations
from mayfly.core.capabilities import EVERYTHING, Capabilities
from mayfly.core.client_release import ClientRecords
from mayfly.core.gpu_checks import GpuFinding
from mayfly.core.gpu_health import ForeignContainer
from mayfly.core.gpu_labels import branches_of, labels
from mayfly.core.image_line import build_line
from mayfly.core.images import Catalogue
from mayfly.core.leases import Gpu, Leases, assign
from mayfly.core.memory import Job
from mayfly.core.model import (
    GATE_PROTOCOL,
    LABEL_CLIENT,
    LABEL_CUDA,
    LABEL_DOCKER,
    LABEL_GATE,
    LABEL_PROVIDER,
    BenchPlan,
    Config,
    Desired,
    Generation,
    Injection,
    JobImage,
    PoolName,
    PoolSpec,
    Removal,
    SlotName,
    SlotSpec,
    Traits,
)
from mayfly.core.mounts import Source
from mayfly.core.tainted_devices import TaintedDevice
from mayfly.core.token_end import Credential

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class ImageSeen:
    """An image on this host, as far as filling a slot goes."""

    id: str
    gate: str | None  # None: it has no gate of ours
    cuda: str | None = None  # such as "12.8"; None: it does not say
    provider: str | None = None  # whose launcher it has; None: it does not say
    volumes: tuple[str, ...] = ()  # places whose files no limit counts
    client: str | None = None  # the version of its service's client; None: it does not say
    looked_at: bool = True  # False: it is elsewhere, and taken at its word
    docker: bool | None = None  # whether Docker's client was put in; None: it does not say
    created: float | None = None  # when it was built; None: it does not say

    @classmethod
    def unseen(cls, identity: str) -> ImageSeen:
        """An image that nobody can look at from here: whether it has a gate, its agents show."""
        return cls(identity, GATE_PROTOCOL, looked_at=False)

    @classmethod
    def labelled(
        cls,
        identity: str,
        labels: Mapping[str, str],
        volumes: tuple[str, ...] = (),
        created: float | None = None,
    ) -> ImageSeen:
        """The image of that id with those labels and volumes."""
        gate, cuda, provider, client = (
            _word(labels.get(name))
            for name in (LABEL_GATE, LABEL_CUDA, LABEL_PROVIDER, LABEL_CLIENT)
        )
        docker = None if (put := labels.get(LABEL_DOCKER)) is None else put != ""
        client = client or None
        return cls(identity, gate, cuda, provider, volumes, client, docker=docker, created=created)


def _word(label: str | None) -> str | None:
    """A label of an image as it may stand in a sentence; what is no version and no name is told as one."""
    return label if label is None or _LABEL.fullmatch(label) else "(unreadable)"


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found on the host that bears on how slots are filled."""

    images: Mapping[str, ImageSeen | None] = field(default_factory=dict)  # None: not there
    # of a pool's directory: what is wrong beneath it
    mounts: Mapping[tuple[PoolName, str], str] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)  # of the paths that agents mount
    runtimes: frozenset[str] = frozenset()
    removal_unsafe: bool = False
    cdi: frozenset[str] = frozenset()  # the qualified names that the Engine lists
    engine: Capabilities = EVERYTHING
    hook: bool = False  # the host has the program that serves device requests
    foreign_containers: tuple[
        ForeignContainer, ...
    ] = ()  # containers of others that were given GPUs
    clients: ClientRecords = field(default_factory=ClientRecords)  # what services hand out
    tainted: tuple[TaintedDevice, ...] = ()  # GPUs that the engine gives to nobody
    credential: Credential | None = None  # by which it knows the manager; None: by none that ends
    # of which agents of ours something is there that they have made, and whose slots those were
    belongings: Mapping[Generation, SlotName] = field(default_factory=dict)

    def mount_problems(self, pool: PoolSpec, pools: Iterable[PoolSpec]) -> dict[str, str]:
        """What is wrong with the paths that the pool's agents mount, one sentence each; ``pools`` are all."""
        beneath = {path: text for (name, path), text in self.mounts.items() if name == pool.name}
        return beneath | dict(mounts.problems(pool, self.sources, pools))


@dataclass(frozen=True, slots=True)
class Hardware:
    """What NVML says of the host, and the images that there are."""

    gpus: tuple[Gpu, ...] | None = ()  # None: not known
    cuda: images.Version | None = None  # the highest that the driver runs; None: not known
    unknown: str = ""  # why gpus is None
    driver: str = ""  # its version; "": not known
    findings: tuple[GpuFinding, ...] = ()  # what one reading shows against the GPUs
    pending: bool = False  # gpus is None because NVML has not been heard yet
    architecture: str = "amd64"
    catalogue: Catalogue = field(default_factory=Catalogue)


@dataclass(frozen=True, slots=True)
class _Pool:
    """A pool with what the host gives it."""

    spec: PoolSpec
    image: str | None  # None: not to be known before its GPUs are
    obstacle: str | None  # what is in the way of its leases, its image or their way in
    leases: Mapping[SlotName, tuple[str, ...]]
    injections: Mapping[SlotName, Injection]
    labels: Mapping[SlotName, tuple[str, ...]]
    benches: Mapping[SlotName, BenchPlan]


def leases_of(config: Config, hardware: Hardware) -> Leases:
    """What every slot of the configuration gets of the host's GPUs."""
    return assign(config.pools, hardware.gpus, hardware.unknown)


def references(config: Config, hardware: Hardware, jobs: Iterable[Job] = ()) -> frozenset[str]:
    """Every image that the configuration needs, as far as that is known, and those that queued ones of the
    ``jobs`` ask for and a pool allows.
    """
    allowed = (
        image for image in job_images.asked_for(jobs) if job_images.allowed(config.pools, image)
    )
    return frozenset((*images_of(config, hardware).values(), *allowed))


def images_of(config: Config, hardware: Hardware) -> dict[PoolName, str]:
    """The image of each pool by name, as far as it is known."""
    leases = leases_of(config, hardware)
    chosen = {pool.name: _image(pool, leases, hardware)[0] for pool in config.pools}
    return {name: reference for name, reference in chosen.items() if reference is not None}


def _image(pool: PoolSpec, leases: Leases, hardware: Hardware) -> tuple[str | None, str | None]:
    """The pool's image by name, and what is in the way of choosing one."""
    if pool.image is not None:
        return pool.image, None
    if pool.gpus == 0:
        return images.reference(pool.images or pool.provider, pool.cuda), None
    pinned = images.parse(pool.cuda) if pool.cuda is not None else None
    named = (
        images.reference(pool.images or pool.provider, pool.cuda) if pool.cuda is not None else None
    )
    if pool.name in leases.obstacles:
        return named, leases.obstacles[pool.name]
    if hardware.cuda is None:
        why = "the driver does not say which CUDA it runs: set `image` or `cuda`"
        return named, None if named is not None else f'pool "{pool.name}": {why}'
    choice = images.select(
        hardware.catalogue,
        hardware.cuda,
        _capabilities(pool, leases, hardware),
        hardware.architecture,
        provider=pool.images or pool.provider,
        pinned=pinned,
        compat=pool.cuda_compat,
    )
    if choice.image is None:
        return named, f'pool "{pool.name}": {choice.reason}'
    return choice.image, None


def _capabilities(pool: PoolSpec, leases: Leases, hardware: Hardware) -> tuple[images.Version, ...]:
    """The compute capabilities of the pool's GPUs, each once; of all that Slurm may give it."""
    if pool.by_slurm:
        every = {gpu.capability: None for gpu in hardware.gpus or () if gpu.capability is not None}
        return tuple(every)
    held = {
        uuid
        for index in range(pool.slots)
        for uuid in leases.slots.get(naming.slot(pool.name, index), ())
    }
    found = {
        gpu.capability: None
        for gpu in hardware.gpus or ()
        if gpu.capability is not None and held & {gpu.uuid, *(part.uuid for part in gpu.mig)}
    }
    return tuple(found)


def _resolved(
    pool: PoolSpec,
    leases: Leases,
    survey: Survey,
    hardware: Hardware,
    branches: tuple[str, ...],
) -> _Pool:
    image, obstacle = _image(pool, leases, hardware)
    everything = tuple(gpu.uuid for gpu in hardware.gpus or ())
    own: dict[SlotName, tuple[str, ...]] = {}
    injections: dict[SlotName, Injection] = {}
    benches: dict[SlotName, BenchPlan] = {}
    for index in range(pool.slots):
        name = naming.slot(pool.name, index)
        own[name] = leases.slots.get(name, ())
        if not own[name] and not (pool.by_slurm and everything):
            continue
        way = injection.choose(
            pool,
            own[name]
            or everything,  # before Slurm gives any it is to be seen whether there is a way in
            runtimes=survey.runtimes,
            cdi=survey.cdi,
            hook=survey.hook,
            gpus=hardware.gpus or (),
        )
        if isinstance(way, str):
            obstacle = obstacle or way
        elif own[name]:
            injections[name] = way
        bench = bench_lane.planned(pool, own[name], hardware.gpus or ())
        if isinstance(bench, str):
            obstacle = obstacle or f'pool "{pool.name}": {bench}'
        elif bench is not None:
            benches[name] = bench
    told = {
        name: labels(
            pool.gpu_labels,
            own[name],
            hardware.gpus or (),
            image=image,
            driver=hardware.driver,
            branches=branches or branches_of(hardware.catalogue),
        )
        for name in own
    }
    obstacle = leases.obstacles.get(pool.name) or obstacle
    return _Pool(pool, image, obstacle, own, injections, told, benches)


def desired(
    config: Config,
    survey: Survey,
    traits: Mapping[PoolName, Traits],
    *,
    hardware: Hardware | None = None,
    refusals: Mapping[PoolName, str] | None = None,
    namesakes: Mapping[SlotName, str] | None = None,
    allocations: Allocations = NOT_ASKED,
) -> Desired:
    """Every slot of the configuration, and the sentence that holds those that cannot be filled.

    ``refusals`` holds the pools that their service refuses, ``namesakes`` the slots whose name is
    taken there. ``allocations``: what Slurm has given.
    """
    refusals, namesakes = refusals or {}, namesakes or {}
    hardware = hardware or Hardware()
    leases = leases_of(config, hardware)
    granted = allocations.leases(config.pools, hardware.gpus)
    held = {name: uuids for name, (_, uuids) in granted.items()}
    leases = replace(leases, slots={**leases.slots, **held})
    awaiting: dict[SlotName, str] = {}
    slots: list[SlotSpec] = []
    obstacles: dict[SlotName, str] = {}
    undetermined: set[SlotName] = set()
    image_blocked: set[SlotName] = set()
    for pool in config.pools:
        found = _resolved(pool, leases, survey, hardware, config.host.driver_branches)
        if _undecided(found, survey, hardware):
            undetermined |= found.leases.keys()
        unfit = _unfit_image(found, survey, hardware)
        other = _obstacle(found, survey, hardware, config.pools) or refusals.get(pool.name)
        if pool.by_slurm:
            other = other or allocations.unfit or None
            undetermined |= found.leases.keys() if allocations.problem else set()
        obstacle = other or unfit
        for index in range(pool.slots):
            name = naming.slot(pool.name, index)
            own, _ = granted.get(name, (None, ()))
            slots.append(_slot(found, index, survey, traits[pool.name], hardware.driver, own))
            if pool.by_slurm and own is None:
                awaiting[name] = allocations.awaits(name)
            if obstacle is not None or name in namesakes:
                obstacles[name] = obstacle or namesakes[name]
                if other is None and name not in namesakes:
                    image_blocked.add(name)
    return Desired(
        tuple(slots),
        obstacles,
        frozenset(image_blocked),
        frozenset(undetermined),
        awaiting,
        {
            (pool.name, reference): _job_image(reference, seen, pool)
            for pool in config.pools
            for reference, seen in survey.images.items()
            if job_images.allows(pool, reference)
        },
    )


def _job_image(reference: str, seen: ImageSeen | None, pool: PoolSpec) -> JobImage:
    """What is there of an image that jobs of the pool may ask for."""
    problem = problem_with_job_image(reference, seen, pool)
    return JobImage(seen.id if seen is not None else "", problem)


def problem_with_job_image(reference: str, seen: ImageSeen | None, pool: PoolSpec) -> str | None:
    """Why no agent of the pool can be made of the image that a job asks for; ``None`` where one can."""
    if seen is None:
        ours = reference.startswith("mayfly/")
        way = _remedy(reference) if ours else f"`sudo docker pull {reference}`, or build it there"
        return f"image {reference} is not on this Engine: {way}"
    wrong = unfit(reference, seen)
    if wrong is None:
        return of_another(reference, seen, pool)
    if seen.gate is not None:
        return wrong
    return (
        f"image {reference} has no Mayfly gate (label {LABEL_GATE}): "
        f"`mayfly images build cpu --base {reference} --tag NAME` makes one on it that has"
    )


def _slot(
    found: _Pool,
    index: int,
    survey: Survey,
    traits: Traits,
    driver: str,
    allocation: Allocation | None,
) -> SlotSpec:
    pool = found.spec
    name = naming.slot(pool.name, index)
    seen = survey.images.get(found.image) if found.image is not None else None
    removal = _removal(pool, survey, embedded=traits.embedded)
    lease, way = found.leases[name], found.injections.get(name)
    identity = seen.id if seen is not None else ""
    bench = found.benches.get(name)
    return SlotSpec(
        name=name,
        index=index,
        pool=pool,
        image=identity or found.image or "",
        fingerprint=fingerprint(
            pool,
            identity,
            lease,
            removal,
            way,
            mounts.identities(pool, survey.sources),
            pool.claims(survey.engine),
            driver if lease else "",
            () if traits.embedded else found.labels[name],
            bench,
            allocation.id if allocation is not None else "",
        ),
        lease=lease,
        injection=way,
        reference=found.image or "",
        removal=removal,
        embedded=traits.embedded,
        ladder=traits.stop_ladder,
        enrol_deadline=traits.enrol_deadline,
        can_cordon=traits.can_cordon,
        keeps_entries=traits.keeps_entries,
        entry_ends_with_job=traits.entry_ends_with_job,
        dispatched=traits.dispatches,
        proof=traits.proof,
        work=traits.work if pool.containers else None,
        shared=traits.shared if pool.containers else (),
        engine=survey.engine,
        labels=found.labels[name],
        bench=bench,
        allocation=allocation.id if allocation is not None else "",
        allocated_until=allocation.ends if allocation is not None else None,
    )


def _undecided(found: _Pool, survey: Survey, hardware: Hardware) -> bool:
    """Whether image, GPUs or mounts are not known: its slots are left as they are until they are."""
    if found.spec.gpus != 0 and hardware.pending:
        return True
    if mounts.unknown(found.spec, survey.sources):
        return True
    return found.image is not None and found.image not in survey.images


def _removal(pool: PoolSpec, survey: Survey, *, embedded: bool) -> Removal:
    """Who removes ended containers. The engine takes the output along; an embedded job's is nowhere else."""
    if pool.removal is not None:
        return pool.removal
    if embedded or pool.hold_failed or survey.removal_unsafe:
        return Removal.MANAGER
    return Removal.ENGINE


def fingerprint(
    pool: PoolSpec,
    image_id: str,
    lease: tuple[str, ...],
    removal: Removal,
    way: Injection | None = None,
    sources: tuple[str | None, ...] = (),
    claims: str = "",
    driver: str = "",
    labels: tuple[str, ...] = (),
    bench: BenchPlan | None = None,
    allocation: str = "",
) -> str:
    """16 hexadecimal characters that change when anything baked into the slot's container changes."""
    baked = baked_parts(without_secrets(pool))
    # With the version: how containers are made may change with it, so an upgrade is rolled as an image is.
    told: list[object] = [__version__, GATE_PROTOCOL, baked, image_id, lease, removal]
    if way is not None:
        told.append([way.kind, *way.devices])
    if allocation:
        told.append(["allocation", allocation])
    if sources:
        told.append(list(sources))
    if pool.devices and claims:
        told.append(claims)
    if driver:
        # Its libraries were put into the container when that was made.
        told.append(["driver", driver])
    if labels:
        # An agent that waits at its service for a job was registered with them.
        told.append(["labels", *labels])
    if bench is not None:  # what an agent is told of it, and where it runs
        told.append(["bench", bench.clock, bench.memory_clock, bench.cpus, bench.nodes])
    if pool.containers:
        told.append(["containers", list(pool.allowed_images), pool.pull, pool.builder])
    if pool.containers and pool.registries:
        told.append([[one.address, one.user, dict(one.password)] for one in pool.registries])
    text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


MASK = "**** "


def without_secrets(pool: PoolSpec) -> PoolSpec:
    """The pool with what jobs see in their environment masked, and a proxy that names a user."""
    key = pool.installation_key
    env = {name: masked(value, key) for name, value in pool.env.items()}
    proxy = pool.proxy
    if proxy is not None and "@" in proxy:
        proxy = masked(proxy, key)
    return replace(pool, env=env, proxy=proxy, installation_key="")


def masked(value: str, key: str) -> str:
    """What stands for a variable's value where nobody is to read it; of what is masked already, itself.

    Whoever has not the installation's key cannot try short values until one fits. A fingerprint is of the
    masked values, so that one can be made again from what a bug report holds.
    """
    if value.startswith(MASK):
        return value
    return MASK + hmac.new(key.encode(), value.encode(), hashlib.sha256).hexdigest()[:16]


def baked_parts(value: object) -> object:
    """A pool, or a part of one, without what its fields say is not baked into containers."""
    if is_dataclass(value):
        return {
            one.name: baked_parts(getattr(value, one.name))
            for one in fields(value)
            if one.metadata.get("baked", True)
        }
    if isinstance(value, tuple):
        return [baked_parts(entry) for entry in value]
    if isinstance(value, Mapping):
        return {name: baked_parts(entry) for name, entry in value.items()}
    return value


def _obstacle(
    found: _Pool, survey: Survey, hardware: Hardware, pools: Iterable[PoolSpec]
) -> str | None:
    """Why the pool's slots cannot be filled, its image aside; ``None`` where they can."""
    wrong = _beyond(found.spec, survey.engine) or _no_runtime(found.spec, survey)
    wrong = wrong or next(iter(survey.mount_problems(found.spec, pools).values()), None)
    if _undecided(found, survey, hardware):
        return wrong
    return found.obstacle or wrong


def _no_runtime(pool: PoolSpec, survey: Survey) -> str | None:
    """Why the runtime that the pool asks for runs nothing; ``None`` where it does, or none is asked for."""
    asked = pool.security.runtime
    if asked is None or asked in survey.runtimes or "." in asked:  # a shim's name, in no list
        return None
    there = ", ".join(sorted(survey.runtimes)) or "none"
    return f'pool "{pool.name}": the engine has no runtime {asked}: there are {there}'


def _beyond(pool: PoolSpec, engine: Capabilities) -> str | None:
    """What the pool asks for that the engine cannot do; ``None`` where there is nothing."""
    if pool.network is None and not engine.networks:
        return (
            f'pool "{pool.name}": the engine gives a pool no network of its own: say `network`, '
            '"none", "host" or one that is there'
        )
    if pool.gpus != 0 and not engine.picks_gpu:
        why = "the engine does not let Mayfly say which GPU an agent gets: leave out `gpus`"
        return f'pool "{pool.name}": {why}'
    if pool.containers and not engine.gateway:
        cause = engine.no_gateway or "the engine lets no agent have containers of its own"
        return f'pool "{pool.name}": {cause}: leave out `containers`'
    if pool.sandbox == "slot" and not engine.sandbox:
        cause = f", as {engine.unkept}" if engine.unkept else ""
        why = f"the engine keeps no network namespace for a slot{cause}: leave out `sandbox`"
        return f'pool "{pool.name}": {why}'
    return None


def _unfit_image(found: _Pool, survey: Survey, hardware: Hardware) -> str | None:
    """Why no agent can be made of the pool's image; ``None`` where one can, or that is not known."""
    reference = found.image
    if reference is None or _undecided(found, survey, hardware):
        return None
    seen = survey.images[reference]
    if seen is None:
        return f"image {reference} is not on this Engine: {_remedy(reference)}"
    return unfit(reference, seen) or of_another(reference, seen, found.spec)


def unfit(reference: str, seen: ImageSeen) -> str | None:
    """Why no agent can be made of an image that is there; ``None`` where one can."""
    if seen.gate is None:
        return (
            f"image {reference} has no Mayfly gate (label {LABEL_GATE}): build it FROM one of the "
            "mayfly/ images"
        )
    if seen.gate != GATE_PROTOCOL:
        return (
            f"image {reference} speaks gate protocol {seen.gate}, this manager {GATE_PROTOCOL}: "
            "build it again"
        )
    return None


def of_another(reference: str, seen: ImageSeen, pool: PoolSpec) -> str | None:
    """That an image has the launcher of another provider than the pool's; ``None`` where it does not say so.

    A package beside Mayfly builds its images FROM whichever it likes.
    """
    if pool.images is not None or seen.provider in (None, pool.provider):
        return None
    return (
        f'image {reference} is for provider {seen.provider}, and that of pool "{pool.name}" is '
        f"{pool.provider}: build it FROM mayfly/{pool.provider}:…"
    )


def _remedy(reference: str) -> str:
    """How an image is come by."""
    own = re.fullmatch(
        r"mayfly/([a-z][a-z0-9-]*):(cpu|wheels|cuda(?=[0-9]))([0-9]+\.[0-9]+)?", reference
    )
    if own is None and reference.startswith("mayfly/"):
        return (
            "it is none of those that `mayfly images list` shows, and in no registry that is known"
        )
    if own is None:
        return "`mayfly images pull`"
    provider, kind, version = own.groups()
    local = provider == "local"
    line = build_line(provider, version or kind, embedded=local)
    return f"`{line}`" + (" (in a checkout: `make image`)" if local and kind == "cpu" else "")
