"""Whose container it is: the seal on an agent's labels, and what is taken for ours by it.

Labels are anybody's to write: an image may bring them, `docker commit` hands them on, a person copies them.
So a container is ours where its id is on record for its agent; where it is not yet, its labels have to be
sealed with the installation's key, which nobody else has, and it has to bear a name that its agent was given,
which a copy does not. Anything else is a stranger: told, never adopted, never removed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import replace

from mayfly.core import naming
from mayfly.core.memory import Memory
from mayfly.core.model import Container, Generation, HostId, PoolName, SlotName


def seal(
    key: str,
    host: HostId,
    pool: PoolName,
    slot: SlotName,
    generation: Generation,
    fingerprint: str,
    lease: Iterable[str],
    *,
    holds: bool = False,
) -> str:
    """32 hexadecimal characters that only who has the key can make for these labels.

    ``holds``: of a slot's holder, whose seal is none of an agent's.
    """
    told = "\0".join((host, pool, slot, generation, fingerprint, ",".join(lease)))
    if holds:
        told += "\0sandbox"
    return hmac.new(key.encode(), _bytes(told), hashlib.sha256).hexdigest()[:32]


def slot_key(key: str, host: HostId, pool: PoolName, slot: SlotName) -> str:
    """What an engine seals with what it keeps for a slot beside its containers; it is to stand nowhere."""
    told = f"slot\0{host}\0{pool}\0{slot}"
    return hmac.new(key.encode(), _bytes(told), hashlib.sha256).hexdigest()


def belongs_seal(
    key: str, host: HostId, pool: PoolName, slot: SlotName, generation: Generation
) -> str:
    """32 hexadecimal characters that what an agent makes bears, so that it is known for the agent's."""
    told = f"belongs\0{host}\0{pool}\0{slot}\0{generation}"
    return hmac.new(key.encode(), _bytes(told), hashlib.sha256).hexdigest()[:32]


def bears_belongings_seal(seal: str, own: str) -> bool:
    """Whether what stands on a label is that seal."""
    return hmac.compare_digest(_bytes(seal), _bytes(own))


def looked_at(key: str, containers: Iterable[Container]) -> tuple[Container, ...]:
    """The containers, each with whether its seal is that of this key; the seal itself goes no further."""
    return tuple(replace(one, sealed=_bears_seal(key, one), seal="") for one in containers)


def _bears_seal(key: str, one: Container) -> bool:
    own = seal(
        *(key, one.host, one.pool, one.slot, one.generation, one.fingerprint, one.lease),
        holds=one.holds,
    )
    # As bytes: a label may be any text, and of texts the comparison takes ASCII alone.
    return hmac.compare_digest(_bytes(one.seal), _bytes(own))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def is_ours(container: Container, memory: Memory) -> bool:
    """Whether it is the agent of this installation that its labels say; its host's id is ours."""
    agent = memory.agents.get(container.generation)
    if agent is not None and agent.container is not None and not container.holds:
        return container.id == agent.container
    return container.sealed and bears_its_name(container)


def bears_its_name(container: Container) -> bool:
    """Whether it is called as an agent with its labels is."""
    slot, generation = container.slot, container.generation
    if container.holds:
        return naming.is_generation(generation) and container.name == naming.holder(
            slot, generation
        )
    return naming.is_generation(generation) and container.name in (
        slot,
        naming.standby(slot, generation),
    )
