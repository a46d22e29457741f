"""Which slot has which GPUs: exclusive by construction, sharing only where the configuration says so.

A lease is a matter of the configuration and of the devices that the host has, and of nothing else: the same
two give the same leases. Pools are served in config order, those in turn last; one that cannot be served
whole gets one sentence with the arithmetic and takes nothing, so that those after it may run. Nothing here
asks a GPU anything.

Pools in turn may be leased the same GPUs: which of their gates opens on one is decided at the gate
(``core/turns.py``). Each gets those first that the fewest of them have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mayfly.core import naming
from mayfly.core.model import PoolName, PoolSpec, SlotName


@dataclass(frozen=True, slots=True)
class Mig:
    """One MIG device: a part of a GPU that CUDA sees as a GPU."""

    uuid: str
    name: str = ""  # the profile, such as "1g.10gb"
    memory: int = 0  # bytes


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of the host, as far as leases are concerned."""

    uuid: str
    index: int  # NVML's, in PCI order
    name: str = ""
    memory: int = 0  # bytes
    mig: tuple[Mig, ...] = ()
    split: bool = False  # MIG mode is on: CUDA sees its MIG devices and not the GPU itself
    capability: tuple[int, int] | None = None  # compute capability; None: NVML did not say
    minor: int | None = None  # of /dev/nvidiaN; None: NVML did not say


@dataclass(frozen=True, slots=True)
class Leases:
    """What every slot holds, and the sentence that holds each pool that cannot be served."""

    slots: Mapping[SlotName, tuple[str, ...]]  # GPU and MIG UUIDs; every slot has its entry
    obstacles: Mapping[PoolName, str] = field(default_factory=dict)


class Unserved(Exception):
    """Why a pool cannot have its GPUs, in one sentence."""


class _Ledger:
    """The devices and who has taken them so far."""

    def __init__(self, gpus: Sequence[Gpu], pools: Sequence[PoolSpec]) -> None:
        self.gpus = sorted(gpus, key=lambda gpu: gpu.index)
        self.devices = [uuid for gpu in self.gpus for uuid in _devices(gpu)]
        self.exclusive: dict[str, PoolName] = {}
        self.shared: dict[str, list[PoolName]] = {}
        self.in_turn: dict[str, list[PoolName]] = {}
        self.named = {
            pool.name: frozenset(self._known(pool.gpus)) for pool in pools
        }  # what each pool names

    def _known(self, asked: object) -> Iterable[str]:
        for entry in asked if isinstance(asked, tuple) else ():
            uuid = self.find(entry)
            if uuid is not None:
                yield uuid

    def find(self, entry: str | int) -> str | None:
        """The UUID of what a list entry names; ``None`` where the host has no such GPU."""
        if isinstance(entry, int):
            return next((gpu.uuid for gpu in self.gpus if gpu.index == entry), None)
        everything = {gpu.uuid for gpu in self.gpus} | set(self.devices)
        return entry if entry in everything else None

    def free(self, pool: PoolSpec) -> list[str]:
        """What the pool may have, what nobody else names first, and last what other pools share with it."""
        others = {uuid for name, held in self.named.items() if name != pool.name for uuid in held}
        open_to_it = [uuid for uuid in self.devices if self._is_open(uuid, pool)]
        return sorted(
            open_to_it,
            key=lambda uuid: (
                uuid in self.shared,
                len(self.in_turn.get(uuid, ())),
                uuid in others,
            ),
        )

    def _is_open(self, uuid: str, pool: PoolSpec) -> bool:
        """Whether the pool may have it, whoever has it already."""
        if uuid in self.exclusive:
            return False
        may_share = pool.share or uuid not in self.shared
        return may_share and (pool.takes_turns or uuid not in self.in_turn)

    def take(self, pool: PoolSpec, uuids: Iterable[str]) -> None:
        """The pool has these from now on."""
        for uuid in uuids:
            if not pool.share and not pool.takes_turns:
                self.exclusive[uuid] = pool.name
                continue
            holders = (self.shared if pool.share else self.in_turn).setdefault(uuid, [])
            if pool.name not in holders:
                holders.append(pool.name)

    def holders(self, uuids: Iterable[str]) -> list[PoolName]:
        """The pools that have any of these, in the order in which they were served."""
        found: dict[PoolName, None] = {}
        for uuid in uuids:
            if uuid in self.exclusive:
                found[self.exclusive[uuid]] = None
            for name in (*self.shared.get(uuid, ()), *self.in_turn.get(uuid, ())):
                found[name] = None
        return list(found)


def assign(
    pools: Sequence[PoolSpec],
    gpus: Sequence[Gpu] | None,
    unknown: str = "the driver does not answer",
) -> Leases:
    """The lease of every slot of the pools: in config order, and pools in turn get what the others leave.

    ``gpus`` is ``None`` where nobody knows what the host has; ``unknown`` then says why. A device is a
    GPU that is not split, or a MIG device of one that is: ``gpus = N`` counts those, in the order of NVML.
    """
    ledger = _Ledger(gpus or (), pools)
    leases: dict[SlotName, tuple[str, ...]] = {}
    obstacles: dict[PoolName, str] = {}
    for pool in sorted(pools, key=lambda one: one.takes_turns):
        names = [naming.slot(pool.name, index) for index in range(pool.slots)]
        try:
            given = _serve(pool, ledger, unknown if gpus is None else None)
        except Unserved as reason:
            leases.update((name, ()) for name in names)
            obstacles[pool.name] = str(reason)
            continue
        leases.update(zip(names, given, strict=True))
    return Leases(leases, obstacles)


def _serve(pool: PoolSpec, ledger: _Ledger, unknown: str | None) -> list[tuple[str, ...]]:
    """A lease for each slot of the pool; ``Unserved`` where it cannot have them all."""
    if pool.gpus == 0 or pool.slots == 0:
        return [()] * pool.slots
    if unknown is not None:
        raise Unserved(
            f"pool {_quoted(pool.name)} needs GPUs, and what this host has is not known: {unknown}"
        )
    if not ledger.devices:
        raise Unserved(_none_at_all(pool, ledger))
    if isinstance(pool.gpus, tuple):
        given = _named(pool, pool.gpus, ledger)
    elif pool.gpus == "all":
        given = _all(pool, ledger)
    else:
        given = _counted(pool, pool.gpus, ledger)
    for lease in given:
        ledger.take(pool, lease)
    return given


def _counted(pool: PoolSpec, each: int, ledger: _Ledger) -> list[tuple[str, ...]]:
    free = ledger.free(pool)
    needed = each if pool.share else each * pool.slots
    if needed > len(free):
        sum_of = f" ({pool.slots} slots of {each})" if pool.slots > 1 and not pool.share else ""
        what = _gpus(needed) + sum_of
        raise Unserved(f"pool {_quoted(pool.name)} asks for {what} and {_left(free, ledger)}")
    # Slots that share are spread: each begins where the one before it ended, round and round.
    ring = free[: each * pool.slots]
    return [
        tuple(ring[(slot * each + place) % len(ring)] for place in range(each))
        for slot in range(pool.slots)
    ]


def _all(pool: PoolSpec, ledger: _Ledger) -> list[tuple[str, ...]]:
    total = len(ledger.devices)
    if pool.slots > 1 and not pool.share:
        raise Unserved(
            f"pool {_quoted(pool.name)} asks for all {_gpus(total)} in each of its {pool.slots} slots: "
            "give it one slot, or set share = true"
        )
    free = ledger.free(pool)
    if len(free) < total:
        raise Unserved(
            f"pool {_quoted(pool.name)} asks for all {_gpus(total)} and {_left(free, ledger)}"
        )
    return [tuple(ledger.devices)] * pool.slots


def _named(
    pool: PoolSpec, entries: tuple[str | int, ...], ledger: _Ledger
) -> list[tuple[str, ...]]:
    uuids: list[str] = []
    for entry in entries:
        uuid = _one(pool, entry, ledger)
        if uuid in uuids:
            raise Unserved(f"pool {_quoted(pool.name)} names {uuid} twice, once as {_entry(entry)}")
        uuids.append(uuid)
    taken = [uuid for uuid in uuids if uuid not in ledger.free(pool)]
    if taken:
        holder = _and([_quoted(name) for name in ledger.holders(taken)])
        raise Unserved(
            f"pool {_quoted(pool.name)} names {_and(taken)}, already leased to pool {holder}"
        )
    if pool.slots > 1 and not pool.share:
        raise Unserved(
            f"pool {_quoted(pool.name)} names {_and(uuids)} for each of its {pool.slots} slots: "
            "give it one slot, or set share = true"
        )
    return [tuple(uuids)] * pool.slots


def _one(pool: PoolSpec, entry: str | int, ledger: _Ledger) -> str:
    uuid = ledger.find(entry)
    if uuid is None:
        known = _and([f"{gpu.index} ({gpu.uuid})" for gpu in ledger.gpus])
        raise Unserved(
            f"pool {_quoted(pool.name)} names {_entry(entry)}, which this host does not have: it has {known}"
        )
    if uuid not in ledger.devices:
        raise Unserved(
            f"pool {_quoted(pool.name)} names {_entry(entry)}, which is split by MIG: name its MIG devices"
        )
    return uuid


def _none_at_all(pool: PoolSpec, ledger: _Ledger) -> str:
    if isinstance(pool.gpus, int):
        asked = f"asks for {_gpus(pool.gpus if pool.share else pool.gpus * pool.slots)}"
    elif pool.gpus == "all":
        asked = "asks for all GPUs"
    else:
        asked = f"names {_and([_entry(entry) for entry in pool.gpus])}"
    if ledger.gpus:
        return f"pool {_quoted(pool.name)} {asked} and every GPU here is split by MIG without a MIG device"
    return f"pool {_quoted(pool.name)} {asked} and this host has none"


def _devices(gpu: Gpu) -> tuple[str, ...]:
    if gpu.split or gpu.mig:
        return tuple(part.uuid for part in gpu.mig)
    return (gpu.uuid,)


def _left(free: Sequence[str], ledger: _Ledger) -> str:
    """``1 of 2 is left after pool "a"``, or ``this host has 2`` where nobody took any."""
    total = len(ledger.devices)
    holders = ledger.holders(uuid for uuid in ledger.devices if uuid not in free)
    if not holders:
        return f"this host has {total}"
    verb = "is" if len(free) == 1 else "are"
    pools = "pool" if len(holders) == 1 else "pools"
    return f"{len(free)} of {total} {verb} left after {pools} {_and([_quoted(name) for name in holders])}"


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _entry(entry: str | int) -> str:
    return f"GPU {entry}" if isinstance(entry, int) else entry


def _quoted(name: str) -> str:
    return f'"{name}"'


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
