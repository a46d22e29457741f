"""What ought to be: the slots of the configuration with image, lease, removal and fingerprint resolved.

It is given what was found on the host and asks for nothing itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from manager.core import naming
from manager.core.model import (
    GATE_PROTOCOL,
    LABEL_GATE,
    Config,
    Desired,
    PoolName,
    PoolSpec,
    Removal,
    SlotName,
    SlotSpec,
    Step,
)

LOCAL_IMAGE = "mayfly/local:cpu"


@dataclass(frozen=True, slots=True)
class ImageSeen:
    """An image on this host, as far as filling a slot goes."""

    id: str
    gate: str | None  # None: it has no gate of ours


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found on the host that bears on how slots are filled."""

    images: Mapping[str, ImageSeen | None] = field(default_factory=dict)  # None: not there
    mounts: Mapping[str, str] = field(default_factory=dict)  # directory -> what is wrong with it
    runtimes: frozenset[str] = frozenset()
    autoremove_fault: bool = False
    leases: Mapping[SlotName, tuple[str, ...]] = field(default_factory=dict)
    lease_obstacles: Mapping[PoolName, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trait:
    """What a pool's provider says of itself."""

    queue: bool
    ladder: tuple[Step, ...]
    enrol_deadline: float | None = None  # seconds; None: the table's
    tells: bool = False
    keeps_entries: bool = False


def image_of(pool: PoolSpec) -> str:
    """The reference of the pool's image."""
    return pool.image or LOCAL_IMAGE


def desired(
    config: Config,
    survey: Survey,
    traits: Mapping[PoolName, Trait],
    *,
    refusals: Mapping[PoolName, str] | None = None,
    namesakes: Mapping[SlotName, str] | None = None,
) -> Desired:
    """Every slot of the configuration, and the sentence that holds those that cannot be filled.

    ``refusals`` holds the pools that their service refuses, ``namesakes`` the slots whose name is
    taken there.
    """
    refusals, namesakes = refusals or {}, namesakes or {}
    slots: list[SlotSpec] = []
    obstacles: dict[SlotName, str] = {}
    for pool in config.pools:
        obstacle = _obstacle(pool, survey) or refusals.get(pool.name)
        for index in range(pool.slots):
            name = naming.slot(pool.name, index)
            slots.append(_slot(pool, index, survey, traits[pool.name]))
            if obstacle is not None or name in namesakes:
                obstacles[name] = obstacle or namesakes[name]
    return Desired(tuple(slots), obstacles, _unseen(slots, survey))


def _slot(pool: PoolSpec, index: int, survey: Survey, trait: Trait) -> SlotSpec:
    name = naming.slot(pool.name, index)
    reference = image_of(pool)
    seen = survey.images.get(reference)
    removal = _removal(pool, survey)
    lease = survey.leases.get(name, ())
    return SlotSpec(
        name=name,
        index=index,
        pool=pool,
        image=seen.id if seen is not None else reference,
        fingerprint=fingerprint(pool, seen.id if seen is not None else "", lease, removal),
        lease=lease,
        removal=removal,
        queue=trait.queue,
        ladder=trait.ladder,
        enrol_deadline=trait.enrol_deadline,
        tells=trait.tells,
        keeps_entries=trait.keeps_entries,
    )


def _unseen(slots: Iterable[SlotSpec], survey: Survey) -> frozenset[SlotName]:
    """Slots whose image has not been looked at yet: they are left as they are until it has."""
    return frozenset(spec.name for spec in slots if image_of(spec.pool) not in survey.images)


def _removal(pool: PoolSpec, survey: Survey) -> Removal:
    if pool.removal is not None:
        return pool.removal
    if pool.keep_failed or survey.autoremove_fault:
        return Removal.MANAGER
    return Removal.ENGINE


# Keys of a pool that are not baked into its containers: changing them replaces no agent.
NOT_BAKED = ("slots", "gpus", "standby", "keep_failed", "token", "share", "cuda", "image")


def fingerprint(pool: PoolSpec, image_id: str, lease: tuple[str, ...], removal: Removal) -> str:
    """16 hexadecimal characters that change when anything baked into the slot's container changes."""
    baked = {key: value for key, value in asdict(pool).items() if key not in NOT_BAKED}
    limits = {
        key: value
        for key, value in baked.pop("limits").items()
        if key not in ("job_timeout", "idle_recycle", "disk")
    }
    text = json.dumps(
        [GATE_PROTOCOL, baked, limits, image_id, lease, removal], sort_keys=True, default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _obstacle(pool: PoolSpec, survey: Survey) -> str | None:
    """Why the pool's slots cannot be filled; ``None`` where they can."""
    reference = image_of(pool)
    if reference not in survey.images:
        return None
    seen = survey.images[reference]
    if seen is None:
        return f"image {reference} is not on this Engine: build it (`make image`) or pull it"
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
    for mount in pool.mounts:
        if mount.source in survey.mounts:
            return survey.mounts[mount.source]
    if pool.name in survey.lease_obstacles:
        return survey.lease_obstacles[pool.name]
    if pool.gpus and "nvidia" not in survey.runtimes:
        return (
            "the Engine has no runtime nvidia: install nvidia-container-toolkit, then "
            "`nvidia-ctk runtime configure --runtime=docker` and restart Docker"
        )
    return None
