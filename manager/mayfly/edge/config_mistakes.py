"""What is wrong between the keys of a configuration, each of which is right by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from mayfly.core import model
from mayfly.core.admission.image_names import is_within
from mayfly.core.agent_plan import CAPABILITIES, SUDO_CAPABILITIES
from mayfly.core.gpu_selection import GpuSelection
from mayfly.core.isolation import OPEN_NETWORKS
from mayfly.core.job_images import matches
from mayfly.core.mounts import cache_above, profile
from mayfly.core.naming import GENERATION_LENGTH, REGISTERED_LENGTH
from mayfly.core.quantities import written_duration
from mayfly.core.reserved_paths import beneath, cache_target_problem, source_problem, unaliased
from mayfly.edge import page_values
from mayfly.edge.mistakes import nearest
from mayfly.edge.provider_keys import secrets_of
from mayfly.edge.slurm_mistakes import leased_by_slurm
from mayfly.edge.sources import Where

LEAST_MEMORY = 6 * 1024 * 1024  # bytes of a container, by every engine's own bound
# With none of these a job changes its network, or sees another's.
HARMLESS_TO_NETWORKS = frozenset({*SUDO_CAPABILITIES, "IPC_LOCK", "SYS_NICE", "SYS_RESOURCE"})
# By which root in a container gives a user namespace of its own all the numbers that it has itself.
MAPPING = ("SETFCAP", "SETGID", "SETUID")
# What root of a user namespace has over files whose owners have a number there, whatever its container lacks.
OVER_FILES = ("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID")
SOCKET_MAX = 107  # sun_path less its final zero


def contradictions(
    config: model.Config, providers: Sequence[str], broken: Mapping[str, str]
) -> Iterator[tuple[Where, str]]:
    """What is wrong between keys, each of which is right by itself; ``broken``: providers of no use."""
    if len(config.host.socket.encode()) > SOCKET_MAX:
        yield ("host", "socket"), f"is longer than the {SOCKET_MAX} bytes of a socket's path"
    for name, told in page_values.mistakes(config.host):
        yield ("host", name), told
    if not config.pools:
        yield (), "there is no [[pool]], so there is nothing to keep filled"
    names = [pool.name for pool in config.pools]
    for index, pool in enumerate(config.pools):
        here: Where = ("pool", index)
        if pool.name in names[:index]:
            yield (*here, "name"), f"there is more than one pool named {pool.name}"
        for key, text in _pool_contradictions(config.host.name, pool, providers, broken):
            yield (*here, *key), text
        for key, text in leased_by_slurm(pool, providers, config):
            yield (*here, *key), text
        for key, text in _sources(pool, config):
            yield (*here, *key), text
    yield from _idle_hosts(config, providers)


def _pool_contradictions(
    host: str, pool: model.PoolSpec, providers: Sequence[str], broken: Mapping[str, str]
) -> Iterator[tuple[Where, str]]:
    stem = f"{host}-{pool.name}-{max(0, pool.slots - 1)}-"
    if len(stem) + GENERATION_LENGTH > REGISTERED_LENGTH:
        text = (
            f"{stem}GENERATION has {len(stem)} + {GENERATION_LENGTH} characters, and services take "
            f"{REGISTERED_LENGTH}: shorten the pool's name or [host] name"
        )
        yield ("name",), text
    if pool.provider in broken:
        yield ("provider",), broken[pool.provider]
    elif pool.provider not in providers:
        text = f"there is no provider {pool.provider!r}"
        yield ("provider",), text + nearest(pool.provider, list(providers))
    if (pool.proxy or "").startswith("socks5:") and not pool.embedded:
        yield (
            ("proxy",),
            "is a SOCKS proxy, by which Mayfly itself asks no service: name an http one",
        )
    yield from _mounts(pool)
    whose = re.fullmatch(r"mayfly/([a-z][a-z0-9-]*):.*", pool.image or "")
    ours = pool.images or pool.provider
    if whose is not None and whose[1] in providers and whose[1] not in (ours, pool.provider):
        yield ("image",), f"is an image for provider {whose[1]}, and this pool's is {pool.provider}"
    if pool.job_images and pool.provider in providers and not pool.embedded:
        yield (
            ("job_images",),
            "has no meaning here: jobs of a service do not come by `mayfly submit`",
        )
    if pool.limits.memory is not None and pool.limits.memory < LEAST_MEMORY:
        yield ("limits", "memory"), "must be at least 6MiB: in less no container starts"
    if pool.limits.shm and pool.limits.memory and pool.limits.shm > pool.limits.memory:
        yield ("limits", "shm"), "is larger than memory, and counts towards it"
    yield from _holds(pool)
    yield from _waiting(pool, providers)
    yield from _security(pool)
    yield from _containers(pool)
    if pool.sandbox == "slot":
        yield from _kept_network(pool)
    yield from _selection(pool)
    if pool.gpus == 0 and pool.share:
        yield ("share",), "has no meaning in a pool without GPUs"
    yield from _turns(pool, providers)
    yield from _heal(pool)
    yield from _bench(pool, providers)
    yield from _reserve(pool)


def _holds(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    """Where there is nothing to be held of a failed job."""
    if not pool.hold_failed:
        return
    if pool.removal is model.Removal.ENGINE:
        yield (
            ("removal",),
            'is "engine", which keeps nothing: leave it out where there is hold_failed',
        )
    if pool.security.read_only:
        text = "keeps nothing with security.read_only: a job's files are in memory, and go with its processes"
        yield ("hold_failed",), text
    if pool.hold_failed > pool.hold_most:
        most = written_duration(pool.hold_most)
        yield ("hold_failed",), f"is more than hold_most ({most}), for which one is held at most"


def _bench(pool: model.PoolSpec, providers: Sequence[str]) -> Iterator[tuple[Where, str]]:
    """What does not go with jobs that are measured."""
    if pool.bench is None:
        return
    if pool.gpus == 0:
        yield ("bench",), "has no meaning in a pool whose slots have no GPUs of this host"
    if pool.share:
        yield ("bench",), "is not for GPUs that jobs share: leave out `share`"
    if pool.provider in providers and not pool.embedded and not pool.dispatched:
        why = (
            "an agent that waits at its service for a job would have its clocks locked all the time"
        )
        text = "that is for the embedded queue, and for a service that hands its jobs out"
        yield ("bench",), f"cannot be had here: {why}; {text}"


def _reserve(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    """Pools whose GPUs are not Mayfly's to promise."""
    if pool.reserve is None:
        return
    if pool.devices:
        yield ("reserve",), "cannot be had here: the cluster gives its GPUs, and to whom it wants"
    elif pool.gpus == 0:
        yield ("reserve",), "has no meaning in a pool whose slots have no GPUs of this host"
    if pool.by_slurm:
        text = "its GPUs are Slurm's: people reserve them there"
        yield ("reserve",), f'does not go with lease = "slurm": {text}'
    if pool.bench is not None:
        text = "a person at work for hours would have clocks locked that jobs are to be measured at"
        yield ("reserve",), f"does not go with bench: {text}"


def _idle_hosts(config: model.Config, providers: Sequence[str]) -> Iterator[tuple[Where, str]]:
    """Pools beside which the host cannot be kept idle for a job that is measured."""
    alone = [one for one in config.pools if one.bench is not None and one.bench.others_idle]
    restless = [
        one.name
        for one in config.pools
        if one.provider in providers and not one.embedded and not one.dispatched
    ]
    for index, pool in enumerate(config.pools):
        if pool in alone and restless and pool.name not in restless:
            why = "may be given a job by its service at any time"
            text = f"cannot be had beside pool {restless[0]}, whose idle agents each {why}"
            yield ("pool", index, "bench", "others_idle"), text


def _waiting(pool: model.PoolSpec, providers: Sequence[str]) -> Iterator[tuple[Where, str]]:
    """What is said of a service's jobs and token, in a pool that has none, or against itself."""
    if pool.provider in providers and pool.embedded:
        defaults = {one.name: one.default for one in fields(model.PoolSpec)}
        for name in ("stuck_after", "cancel_stuck", "token_expires", "job_lines"):
            if getattr(pool, name) != defaults[name]:
                yield (name,), "has no meaning here: the embedded queue is no service"
    elif pool.cancel_stuck and not pool.stuck_after:
        yield ("cancel_stuck",), "has no meaning with stuck_after = 0: nobody looks for such jobs"
    elif pool.cancel_stuck and pool.cancel_stuck < pool.stuck_after:
        yield (
            ("cancel_stuck",),
            "must be at least stuck_after: a job is stuck first, then cancelled",
        )


def _selection(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    """What is said of which GPUs the pool's are, beside what else says that."""
    usual = next(one.default for one in fields(model.PoolSpec) if one.name == "gpu_labels")
    if pool.gpus == 0 and not pool.devices and pool.gpu_labels not in (usual, ()):
        yield ("gpu_labels",), "has no meaning in a pool without GPUs"
    if pool.gpu is None:
        return
    if pool.gpu == GpuSelection():
        yield ("gpu",), "says nothing: give it model, min_memory, compute or mig, or leave it out"
    if isinstance(pool.gpus, tuple):
        yield (
            ("gpu",),
            "says which GPUs beside a list in `gpus` that names them: take one of the two",
        )
    elif pool.gpus == 0 and not pool.devices:
        yield ("gpu",), 'has no meaning without `gpus`: say how many of them a slot has, or "all"'


def _turns(pool: model.PoolSpec, providers: Sequence[str]) -> Iterator[tuple[Where, str]]:
    """What does not go with GPUs that pools have one after the other."""
    if not pool.takes_turns:
        if pool.weight != 1:
            yield ("weight",), 'has no meaning without exclusive = "in turn"'
        return
    if pool.gpus == 0 and not pool.devices:
        yield ("exclusive",), 'is "in turn", which has no meaning in a pool without GPUs'
    if pool.share:
        yield (
            ("exclusive",),
            'is "in turn", and share = true lets jobs have a GPU at once: take one of the two',
        )
    if pool.provider in providers and not pool.embedded and not pool.dispatched:
        why = "an agent that waits at its service for a job would keep its GPUs from all others"
        text = "that is for the embedded queue, and for a service that hands its jobs out"
        yield ("exclusive",), f'is "in turn", and {why}: {text}'


def _heal(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    """Where there is nothing to be reset."""
    if pool.heal != "off" and pool.gpus == 0 and not pool.devices:
        yield ("heal",), "has no meaning in a pool without GPUs"


def _containers(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    """What does not go with containers of jobs' own."""
    if not pool.containers:
        usual = {one.name: one.default for one in fields(model.PoolSpec)}
        for name in ("allowed_images", "builder", "pull", "registries", "images_keep"):
            if getattr(pool, name) != usual[name]:
                yield (name,), "has no meaning without containers = true"
        return
    if pool.network not in (None, "none"):
        why = f'has no meaning with network = "{pool.network}": jobs\' containers are in others'
        yield ("containers",), f'{why}. Leave `network` out, or say "none"'
    any_registry = any(one.startswith("*") for one in pool.allowed_images)
    if pool.network == "none" and pool.pull != "never" and any_registry:
        why = "lets jobs that have no network carry data in and out, by the images that they have fetched"
        yield ("pull",), f'{why}. Say "never", or name the registries in allowed_images'
    known: set[str] = set()
    for index, one in enumerate(pool.registries):
        here: Where = ("registries", index, "address")
        if one.address in known:
            yield here, f"there is more than one entry for {one.address}"
        elif not is_within(one.address, pool.allowed_images):
            yield here, f'no image of it is allowed: add "{one.address}/*" to allowed_images'
        elif pool.pull == "never":
            yield here, 'has no meaning with pull = "never"'
        known.add(one.address)
    if pool.security.userns is not None:
        yield (
            ("containers",),
            "is not for a pool with security.userns: whose files are whose would not be kept apart",
        )
    if pool.builder is not None:
        yield from _builder(pool, pool.builder)


def _builder(pool: model.PoolSpec, image: str) -> Iterator[tuple[Where, str]]:
    if not any(matches(pattern, image) for pattern in pool.allowed_images):
        yield ("builder",), f'is none of allowed_images: put "{image}" there, too'
    if pool.security.seccomp is not None:
        why = "is not for a pool with security.seccomp: its containers have a profile of their own"
        yield ("builder",), why
    if lost := [name for name in MAPPING if name in pool.security.cap_drop]:
        why = f"needs {' and '.join(lost)}, which security.cap_drop takes away: leave one out"
        yield ("builder",), why
    if given := [name for name in OVER_FILES if name in pool.security.cap_drop]:
        why = f"gives {' and '.join(given)} back, which security.cap_drop takes away: leave one out"
        yield ("builder",), why


def _kept_network(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    """Why a network namespace cannot be handed from one job to the next."""
    if pool.network in OPEN_NETWORKS:
        why = f'has no meaning with network = "{pool.network}": there is nothing to keep'
        yield ("sandbox",), f'"slot" {why}'
    changing = [name for name in pool.cap_add if name not in HARMLESS_TO_NETWORKS]
    if changing:
        yield (
            ("sandbox",),
            f'"slot" keeps a network for the next job, which {changing[0]} could change: leave one out',
        )
    if pool.security.runtime is not None:
        yield ("sandbox",), '"slot" is not for agents with a `runtime` of their own'


def _security(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    asked = pool.security
    if asked.runtime is not None and pool.gpus != 0:
        yield (
            ("security", "runtime"),
            "has no meaning with GPUs: theirs is the one that brings them in",
        )
    if asked.read_only and pool.sudo:
        yield ("security", "read_only"), "leaves sudo no place for its rule: take one of the two"
    needed = [name for name in asked.cap_drop if name in CAPABILITIES]
    if needed:
        yield (
            ("security", "cap_drop"),
            f"takes {needed[0]}, which the launcher needs to start a job",
        )
    elif asked.cap_drop and not pool.sudo:
        yield ("security", "cap_drop"), "has no meaning without sudo: such a job has no capability"
    both = [name for name in asked.cap_drop if name in pool.cap_add]
    if both:
        yield ("security", "cap_drop"), f"takes {both[0]}, which cap_add gives"
    mounted = {unaliased(mount.target) for mount in pool.mounts}
    for place in asked.tmpfs:
        within = _within_a_mount(pool, place)
        if within is not None:
            yield ("security", "tmpfs"), within
        if unaliased(place) in mounted:
            yield ("security", "tmpfs"), f"{place} is the target of a dataset or cache"


def _within_a_mount(pool: model.PoolSpec, target: str) -> str | None:
    """Why that target cannot lie in a dataset or cache of the pool; ``None``: it lies in none.

    What is mounted below a cache goes where a job of before has a link lead: over the gate, which root runs.
    """
    for cache in pool.caches:
        if beneath(target, cache.target):
            return (
                f"{target} is below the cache at {cache.target}, whose jobs can put a link to anywhere "
                "in its place: take a target that is not in a cache"
            )
    for dataset in pool.datasets:
        if beneath(target, dataset.target):
            why = f"is below the dataset at {dataset.target}, which is read-only"
            return f"{target} {why}: no place can be made there"
    return None


def _sources(pool: model.PoolSpec, config: model.Config) -> Iterator[tuple[Where, str]]:
    """Places of the host that jobs may not have, as they are written; links are looked at where they are."""
    own = (config.host.state_dir, config.host.socket)
    caches = [(one.name, cache.source) for one in config.pools for cache in one.caches]
    for where, mount in _numbered(pool):
        writable = isinstance(mount, model.Cache)
        never = source_problem(mount.source, writable=writable, own=own)
        above = cache_above(mount.source, caches)
        if never is not None:
            yield (*where, "source"), never
        elif above is not None:
            text = f'{mount.source} lies in the cache {above[1]} of pool "{above[0]}"'
            yield (*where, "source"), f"{text}, whose jobs can put anything in its place"

    files: tuple[tuple[Where, str | None], ...] = (
        (("ca",), pool.ca),
        (("security", "seccomp"), profile(pool)),
        *(((pool.provider,), one.get("file")) for one in secrets_of(pool.settings)),
        *(
            (("registries", index, "password"), one.password.get("file"))
            for index, one in enumerate(pool.registries)
        ),
    )
    for where, file in files:
        above = cache_above(file, caches) if file is not None else None
        if above is not None:
            text = f'{file} lies in the cache {above[1]} of pool "{above[0]}"'
            yield where, f"{text}, whose jobs can put anything in its place"


def _numbered(pool: model.PoolSpec) -> list[tuple[Where, model.Dataset | model.Cache]]:
    return [
        *((("dataset", i), dataset) for i, dataset in enumerate(pool.datasets)),
        *((("caches", i), cache) for i, cache in enumerate(pool.caches)),
    ]


def _mounts(pool: model.PoolSpec) -> Iterator[tuple[Where, str]]:
    targets: set[str] = set()
    variables = set(pool.env)
    for where, mount in _numbered(pool):
        never = cache_target_problem(mount.target) if isinstance(mount, model.Cache) else None
        wrong = never or _within_a_mount(pool, mount.target)
        if wrong is not None:
            yield (*where, "target"), wrong
        if unaliased(mount.target) in targets:
            yield (*where, "target"), f"{mount.target} is the target of another one"
        if mount.env is not None and mount.env in variables:
            yield (*where, "env"), f"{mount.env} is set by another one, or by env"
        targets.add(unaliased(mount.target))
        if mount.env is not None:
            variables.add(mount.env)
