"""The labels of our containers: what is written on them, and how a container is read from them.

An image has labels, too, and a container has those of its image that it does not say itself. So all of ours
are always said, also where they are nothing, and only what one says counts, never that it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mayfly.core.model import (
    LABEL_DOOR,
    LABEL_FINGERPRINT,
    LABEL_GENERATION,
    LABEL_HOST,
    LABEL_LEASE,
    LABEL_POOL,
    LABEL_SANDBOX,
    LABEL_SEAL,
    LABEL_SLOT,
    Container,
    ContainerId,
    ContainerState,
    Generation,
    HostId,
    PoolName,
    SlotName,
    SlotSpec,
)
from mayfly.core.seal import seal

OURS = (
    LABEL_HOST,
    LABEL_POOL,
    LABEL_SLOT,
    LABEL_GENERATION,
    LABEL_FINGERPRINT,
    LABEL_LEASE,
    LABEL_SANDBOX,
    LABEL_SEAL,
)
# Of a container that we make and that is no slot's, whatever its image says.
NOBODYS: Mapping[str, str] = MappingProxyType(dict.fromkeys(OURS, ""))
HOLDER = "holder"  # what LABEL_SANDBOX says of one


def labels_of(
    spec: SlotSpec, generation: Generation, host: HostId, *, holds: bool = False
) -> dict[str, str]:
    """The labels of an agent of that slot, or (``holds``) of its holder, sealed."""
    pool = spec.pool
    lease = () if holds else spec.lease
    told = (host, pool.name, spec.name, generation, spec.fingerprint, lease)
    door = {LABEL_DOOR: "1"} if pool.containers and not holds else {}
    return {
        LABEL_HOST: host,
        LABEL_POOL: pool.name,
        LABEL_SLOT: spec.name,
        LABEL_GENERATION: generation,
        LABEL_FINGERPRINT: spec.fingerprint,
        LABEL_LEASE: ",".join(lease),
        LABEL_SANDBOX: HOLDER if holds else "",
        LABEL_SEAL: seal(pool.installation_key, *told, holds=holds),
        **door,
    }


def is_slots(labels: Mapping[str, str]) -> bool:
    """Whether they are those of an agent or a holder, of any Mayfly."""
    return bool(labels.get(LABEL_HOST) and labels.get(LABEL_GENERATION))


def labelled(
    labels: Mapping[str, str],
    *,
    container: ContainerId,
    name: str,
    state: ContainerState,
    image: str,
    created: float,
    sandbox: ContainerId | None = None,
) -> Container:
    """The container that has these labels, of itself and of its image; ``created`` in seconds."""
    return Container(
        id=container,
        name=name,
        state=state,
        host=HostId(labels.get(LABEL_HOST, "")),
        pool=PoolName(labels.get(LABEL_POOL, "")),
        slot=SlotName(labels.get(LABEL_SLOT, "")),
        generation=Generation(labels.get(LABEL_GENERATION, "")),
        fingerprint=labels.get(LABEL_FINGERPRINT, ""),
        image=image,
        created=created,
        lease=tuple(uuid for uuid in labels.get(LABEL_LEASE, "").split(",") if uuid),
        seal=labels.get(LABEL_SEAL, ""),
        holds=labels.get(LABEL_SANDBOX) == HOLDER,
        sandbox=sandbox,
        door=bool(labels.get(LABEL_DOOR)),
    )
