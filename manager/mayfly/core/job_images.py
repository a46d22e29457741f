"""Which images jobs of a pool may ask for, and what an agent is that is made of one of them.

Pure. A pool of the embedded queue names them (``job_images``); it gives such an agent everything else that
its own have: limits, mounts, network, GPUs, user.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from mayfly.core.memory import Job
from mayfly.core.model import Desired, JobImage, PoolName, PoolSpec, SlotSpec

# What an engine takes for the name of an image, with a registry, a tag or a digest.
NAME = r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}"
ANY = "*"
LATEST = ":latest"
BY_ID = "sha256:"  # what begins so is no name
SHOWN = 6  # of what a sentence lists


def of_agents(pools: Iterable[PoolSpec]) -> tuple[str, ...]:
    """The patterns of what agents are made of, beside Mayfly's own images."""
    named = (one for pool in pools for one in (pool.image, *pool.job_images) if one)
    return tuple(dict.fromkeys(named))


def allows(pool: PoolSpec, image: str) -> bool:
    """Whether jobs of the pool may ask for the image."""
    return pool.embedded and any(matches(pattern, image) for pattern in pool.job_images)


def allowed(pools: Iterable[PoolSpec], image: str) -> bool:
    """Whether jobs of any of the pools may ask for the image."""
    return any(allows(pool, image) for pool in pools)


def matches(pattern: str, image: str) -> bool:
    """``*`` stands for any characters; a name without a tag is one with ``:latest``, as engines have it."""
    parts = (re.escape(part) for part in tagged(pattern).split(ANY))
    named = tagged(image)
    return not named.startswith(BY_ID) and re.fullmatch(".*".join(parts), named) is not None


def tagged(name: str) -> str:
    """The name as an engine is to be asked for it: what has neither tag nor digest may be the beginning of
    any image's id to it.
    """
    last = name.rpartition("/")[2]
    return name if any(sign in last for sign in (":", "@", ANY)) else name + LATEST


def offers(pools: Iterable[PoolSpec]) -> str:
    """Which pools allow which images, of agents or of containers, for a sentence; empty where none does."""
    told = [f"{pool.name}: {_listed(names)}" for pool in pools if (names := _names(pool))]
    return "; ".join(told[:SHOWN]) + ("; …" if len(told) > SHOWN else "")


def _names(pool: PoolSpec) -> tuple[str, ...]:
    beside = pool.allowed_images if pool.embedded and pool.containers else ()
    return (*pool.job_images, *beside)


def _listed(images: tuple[str, ...]) -> str:
    return ", ".join(images[:SHOWN]) + (", …" if len(images) > SHOWN else "")


def asked_for(jobs: Iterable[Job]) -> frozenset[str]:
    """The images that queued jobs ask for."""
    return frozenset(job.image for job in jobs if job.image is not None and job.agent is None)


def problem(desired: Desired, pool: PoolSpec, image: str) -> str | None:
    """Why no job of the pool can begin in that image now; ``None`` where one can."""
    if not allows(pool, image):
        return f'pool "{pool.name}" does not let jobs ask for image {image} any more (job_images)'
    found = desired.job_images.get((pool.name, image))
    return found.problem if found is not None else f"image {image} has not been looked at yet"


def unknown(desired: Desired, pool: PoolSpec, image: str) -> bool:
    """Whether nobody has looked for an image that the pool allows."""
    return allows(pool, image) and (pool.name, image) not in desired.job_images


def made_of(spec: SlotSpec, image: str, found: JobImage) -> SlotSpec:
    """The slot as its next agent is to be for a job that asks for that image."""
    told = hashlib.sha256(f"{spec.fingerprint} {found.id}".encode()).hexdigest()[:16]
    return replace(spec, image=found.id, reference=image, asked_image=image, fingerprint=told)


def wanted_for(image: str) -> str:
    """Why the slot's agent is to be of that image."""
    return f"the slot's next job asks for image {image}"


def usable(images: Mapping[tuple[PoolName, str], JobImage], job: Job) -> bool:
    """Whether the job is of its pool's own image, or of one that agents can be made of."""
    if job.image is None:
        return True
    found = images.get((job.pool, job.image))
    return found is not None and found.problem is None
