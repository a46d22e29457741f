"""Which slot has which GPUs: exclusive by construction, sharing only where the configuration says so.

A lease is a matter of the configuration and of the devices that the host has, and of nothing else: the same
two give the same leases. Pools are served in config order, those in turn last; one that cannot be served
whole gets one sentence with the arithmetic and takes nothing, so that those after it may run. A pool gives
way to one after it where it can have other devices as well (``core/device_matching.py``): of pools that
neither share nor take turns each is served that can be beside those before it. Nothing here asks a GPU
anything.

Pools in turn may be leased the same GPUs: which of their gates opens on one is decided at the gate
(``core/turns.py``). Each gets those first that the fewest of them have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mayfly.core import naming
from mayfly.core.device_matching import Matching
from mayfly.core.gpu_selection import Device
from mayfly.core.model import PoolName, PoolSpec, SlotName
from mayfly.core.quantities import spoken_size


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
    bus: str = ""  # its PCI address; "": NVML did not say
    links: tuple[str, ...] = ()  # PCI addresses at the other ends of its NVLinks
    base_clock: int | None = None  # MHz of its processors; None: NVML did not say
    # numbers of the processors and memory nodes near it; none: NVML did not say
    cpus: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Leases:
    """What every slot holds, and the sentence that holds each pool that cannot be served."""

    slots: Mapping[SlotName, tuple[str, ...]]  # GPU and MIG UUIDs; every slot has its entry
    obstacles: Mapping[PoolName, str] = field(default_factory=dict)


class Unserved(Exception):
    """Why a pool cannot have its GPUs, in one sentence."""


_Place = tuple[PoolName, int]  # one of the devices that a pool is to have


class _Ledger:
    """The devices and who has taken them so far."""

    def __init__(self, gpus: Sequence[Gpu], pools: Sequence[PoolSpec]) -> None:
        self.gpus = sorted(gpus, key=lambda gpu: gpu.index)
        self.about = {uuid: device for gpu in self.gpus for uuid, device in devices_of(gpu).items()}
        self.devices = list(self.about)
        self.matching: Matching[_Place] = Matching()  # of pools that neither share nor take turns
        self.places: dict[PoolName, list[_Place]] = {}  # of each of those that is served
        self.exclusive: dict[str, PoolName] = {}
        self.shared: dict[str, list[PoolName]] = {}
        self.in_turn: dict[str, list[PoolName]] = {}
        # What each pool names, and what fits each that selects.
        self.named = {pool.name: tuple(self._known(pool.gpus)) for pool in pools}
        self.selected = {
            pool.name: frozenset(self.fitting(pool)) for pool in pools if pool.gpu is not None
        }
        self._orders: dict[PoolName, list[str]] = {}

    def _known(self, asked: object) -> Iterable[str]:
        found = [self.find(entry) for entry in (asked if isinstance(asked, tuple) else ())]
        return dict.fromkeys(uuid for uuid in found if uuid is not None)

    def find(self, entry: str | int) -> str | None:
        """The UUID of what a list entry names; ``None`` where the host has no such GPU."""
        if isinstance(entry, int):
            return next((gpu.uuid for gpu in self.gpus if gpu.index == entry), None)
        everything = {gpu.uuid for gpu in self.gpus} | set(self.devices)
        return entry if entry in everything else None

    def fitting(self, pool: PoolSpec) -> list[str]:
        """The devices that the pool asks for, whoever has them, in the order of NVML."""
        asked = pool.gpu
        if asked is None:
            return self.devices
        return [uuid for uuid in self.devices if asked.fits(self.about[uuid])]

    def wanted(self, pool: PoolSpec) -> list[str]:
        """The same, what nobody else names or selects first."""
        if pool.name not in self._orders:
            names = [held for name, held in self.named.items() if name != pool.name]
            selects = [held for name, held in self.selected.items() if name != pool.name]
            self._orders[pool.name] = sorted(
                self.fitting(pool),
                key=lambda uuid: (
                    any(uuid in held for held in names),
                    sum(uuid in held for held in selects),
                ),
            )
        return self._orders[pool.name]

    def free(self, pool: PoolSpec) -> list[str]:
        """What the pool in turn may have, and last what others in turn have too."""
        found = [uuid for uuid in self.wanted(pool) if uuid not in self.exclusive]
        return sorted(
            (uuid for uuid in found if uuid not in self.shared),
            key=lambda uuid: len(self.in_turn.get(uuid, ())),
        )

    def admit(self, pool: PoolSpec, wants: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        """Give each of the pool's places one of what it wants; nothing at all, and what is lacking, where one
        of them would go without.
        """
        places: list[_Place] = []
        lacking: list[Sequence[str]] = []
        for number, one in enumerate(wants):
            place = (pool.name, number)
            if self.matching.add(place, one):
                places.append(place)
            else:
                lacking.append(one)
        if not lacking:
            self.places[pool.name] = places
            return []
        for place in places:
            self.matching.drop(place)
        return lacking

    def open_up(self, among: Sequence[str], most: int, later: Sequence[PoolSpec]) -> list[str]:
        """Which of these a pool that shares may have, ``most`` at most: first those that ``later`` pools can
        do without, and nobody shares yet.
        """
        found: list[str] = []
        left = sorted(among, key=lambda uuid: uuid in self.shared)
        trial = self.matching.copy()
        narrow = [one for one in later if one.gpu is not None or isinstance(one.gpus, tuple)]
        while left and len(found) < most:
            beside = self._served(trial, later if narrow else ())
            best = (
                one for one in left if self._spares(trial, one, later if narrow else (), beside)
            )
            able = (one for one in left if trial.copy().close(one))
            taken = next(best, None) or next(able, None)
            if taken is None:
                break
            trial.close(taken)
            left.remove(taken)
            found.append(taken)
        return found

    def _spares(
        self, matching: Matching[_Place], uuid: str, later: Sequence[PoolSpec], beside: list[bool]
    ) -> bool:
        trial = matching.copy()
        return trial.close(uuid) and self._served(trial, later) == beside

    def _served(self, matching: Matching[_Place], pools: Sequence[PoolSpec]) -> list[bool]:
        """Which of these could be served beside who is."""
        trial, told = matching.copy(), []
        for pool in pools:
            places = [(pool.name, number) for number in range(len(_wants(pool, self)))]
            given = [
                place
                for place, one in zip(places, _wants(pool, self), strict=True)
                if trial.add(place, one)
            ]
            told.append(len(given) == len(places))
            for place in given if not told[-1] else ():
                trial.drop(place)
        return told

    def take(self, pool: PoolSpec, uuids: Iterable[str]) -> None:
        """The pool has these from now on."""
        for uuid in uuids:
            if not pool.share and not pool.takes_turns:
                self.exclusive[uuid] = pool.name
                continue
            if pool.share:
                self.matching.close(uuid)
            holders = (self.shared if pool.share else self.in_turn).setdefault(uuid, [])
            if pool.name not in holders:
                holders.append(pool.name)

    def settle(self) -> dict[PoolName, list[str]]:
        """Which devices each pool that has its own has for good, in the order of its places."""
        return {
            name: [self.matching.settle(place) for place in places]
            for name, places in self.places.items()
        }

    def holders(self, uuids: Iterable[str]) -> list[PoolName]:
        """The pools that have any of these, in the order in which they were served."""
        found: dict[PoolName, None] = {}
        for uuid in uuids:
            place = self.matching.whose(uuid)
            if uuid in self.exclusive or place is not None:
                found[self.exclusive[uuid] if place is None else place[0]] = None
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
    GPU that is not split, or a MIG device of one that is: ``gpus = N`` counts those, in the order of NVML,
    that ``gpu`` selects.
    """
    served = [pool for pool in pools if not pool.by_slurm]  # those have theirs for a time
    ledger = _Ledger(gpus or (), served)
    given: dict[PoolName, list[tuple[str, ...]]] = {}
    obstacles: dict[PoolName, str] = {}
    lasting = [pool for pool in served if not pool.takes_turns]
    for at, pool in enumerate(lasting):
        later = [one for one in lasting[at + 1 :] if not one.share] if gpus is not None else []
        with _told(obstacles, pool):
            given[pool.name] = _serve(pool, ledger, unknown if gpus is None else None, later)
    for name, uuids in ledger.settle().items():
        pool = next(one for one in lasting if one.name == name)
        each = len(uuids) // pool.slots
        given[name] = [tuple(uuids[each * slot :][:each]) for slot in range(pool.slots)]
        ledger.take(pool, uuids)
    for pool in served:
        if pool.takes_turns:
            with _told(obstacles, pool):
                given[pool.name] = _serve(pool, ledger, unknown if gpus is None else None, ())
    leases: dict[SlotName, tuple[str, ...]] = {}
    for pool in pools:
        own = given.get(pool.name, [()] * pool.slots)
        names = [naming.slot(pool.name, index) for index in range(pool.slots)]
        leases.update(zip(names, own, strict=True))
        if pool.by_slurm and (why := _ungiven(pool, gpus, unknown)):
            obstacles[pool.name] = why
    return Leases(leases, obstacles)


def _ungiven(pool: PoolSpec, gpus: Sequence[Gpu] | None, unknown: str) -> str:
    """Why nothing that Slurm gives would be of use; ``""``: it would be."""
    if gpus is None:
        why = f"needs GPUs, and what this host has is not known: {unknown}"
        return f"pool {_quoted(pool.name)} {why}"
    return "" if gpus else f"pool {_quoted(pool.name)} asks Slurm for GPUs and this host has none"


@contextmanager
def _told(obstacles: dict[PoolName, str], pool: PoolSpec) -> Iterator[None]:
    """A pool that cannot be served does not keep others from being."""
    try:
        yield
    except Unserved as reason:
        obstacles[pool.name] = str(reason)


def _serve(
    pool: PoolSpec, ledger: _Ledger, unknown: str | None, later: Sequence[PoolSpec]
) -> list[tuple[str, ...]]:
    """A lease for each slot of the pool; ``Unserved`` where it cannot have them all.

    Of a pool with devices of its own it is not known before all are served which of them it has: nothing
    is said of its slots here.
    """
    if pool.gpus == 0 or pool.slots == 0:
        return [()] * pool.slots
    if unknown is not None:
        raise Unserved(
            f"pool {_quoted(pool.name)} needs GPUs, and what this host has is not known: {unknown}"
        )
    if not ledger.devices:
        raise Unserved(_none_at_all(pool, ledger))
    if pool.gpu is not None and not ledger.fitting(pool):
        raise Unserved(
            f"pool {_quoted(pool.name)} {_asked(pool)}, and none here is such a one: this host has "
            f"{inventory(ledger.gpus)}"
        )
    named = _named(pool, pool.gpus, ledger) if isinstance(pool.gpus, tuple) else []
    if pool.slots > 1 and not pool.share and not isinstance(pool.gpus, int):
        asked = f"names {_and(named)} for" if named else f"{_asked(pool, ledger)} in"
        raise Unserved(
            f"pool {_quoted(pool.name)} {asked} each of its {pool.slots} slots: "
            "give it one slot, or set share = true"
        )
    if pool.share or pool.takes_turns:
        leases = _together(pool, ledger, later)
        for lease in leases:
            ledger.take(pool, lease)
        return leases
    wants = _wants(pool, ledger)
    lacking = ledger.admit(pool, wants)
    if lacking:
        raise Unserved(_in_the_way(pool, ledger, lacking, len(wants) - len(lacking)))
    return []


def _wants(pool: PoolSpec, ledger: _Ledger) -> list[Sequence[str]]:
    """What each of the devices may be that the pool is to have for itself, the preferred first."""
    if isinstance(pool.gpus, int):
        return [ledger.wanted(pool)] * (pool.gpus * pool.slots)
    return [[uuid] for uuid in _each_of(pool, ledger)]


def _each_of(pool: PoolSpec, ledger: _Ledger) -> Sequence[str]:
    """The devices of a pool that does not count them."""
    return ledger.fitting(pool) if pool.gpus == "all" else ledger.named[pool.name]


def _together(pool: PoolSpec, ledger: _Ledger, later: Sequence[PoolSpec]) -> list[tuple[str, ...]]:
    """The leases of a pool whose devices others may have, too: at once, or one after the other."""
    each = pool.gpus if isinstance(pool.gpus, int) else None
    among = ledger.wanted(pool) if each is not None else _each_of(pool, ledger)
    most = each * pool.slots if each is not None else len(among)
    free = ledger.open_up(among, most, later) if pool.share else ledger.free(pool)
    if each is None:
        lacking = [[uuid] for uuid in among if uuid not in free]
        if lacking:
            raise Unserved(_in_the_way(pool, ledger, lacking, len(among) - len(lacking)))
        return [tuple(among)] * pool.slots
    if (each if pool.share else most) > len(free):
        held = [[uuid] for uuid in among if uuid not in free]
        raise Unserved(_in_the_way(pool, ledger, held, len(free)))
    # Slots that share are spread: each begins where the one before it ended, round and round.
    ring = free[:most]
    return [
        tuple(ring[(slot * each + place) % len(ring)] for place in range(each))
        for slot in range(pool.slots)
    ]


def _named(pool: PoolSpec, entries: tuple[str | int, ...], ledger: _Ledger) -> list[str]:
    """The devices that the pool names, each of which is there."""
    uuids: list[str] = []
    for entry in entries:
        uuid = _one(pool, entry, ledger)
        if uuid in uuids:
            raise Unserved(f"pool {_quoted(pool.name)} names {uuid} twice, once as {_entry(entry)}")
        uuids.append(uuid)
    return uuids


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
    asked = _asked(pool)
    if ledger.gpus:
        return f"pool {_quoted(pool.name)} {asked} and every GPU here is split by MIG without a MIG device"
    return f"pool {_quoted(pool.name)} {asked} and this host has none"


def devices_of(gpu: Gpu) -> dict[str, Device]:
    """What CUDA sees of the GPU as one, by UUID: itself, or its MIG devices."""
    if not gpu.split and not gpu.mig:
        return {gpu.uuid: Device(gpu.name, gpu.memory, gpu.capability, None)}
    return {part.uuid: Device(gpu.name, part.memory, gpu.capability, part.name) for part in gpu.mig}


def _asked(pool: PoolSpec, ledger: _Ledger | None = None) -> str:
    """What the pool asks for; of the ledger's devices, where it asks for all of them."""
    selected = f" {pool.gpu.words}" if pool.gpu is not None else ""
    if isinstance(pool.gpus, int):
        slots = 1 if pool.share else pool.slots
        of = f" ({slots} slots of {pool.gpus})" if slots > 1 and pool.gpus else ""
        return f"asks for {_gpus(pool.gpus * slots)}{of}{selected}"
    if pool.gpus == "all":
        many = _gpus(len(ledger.fitting(pool))) if ledger is not None else "GPUs"
        return f"asks for all {many}{selected}"
    return f"names {_and([_entry(entry) for entry in pool.gpus])}"


def _in_the_way(
    pool: PoolSpec, ledger: _Ledger, lacking: Sequence[Sequence[str]], left: int
) -> str:
    """Why the pool cannot have what it asks for, ``left`` of which is to be had."""
    uuids = list(dict.fromkeys(uuid for one in lacking for uuid in one))
    holders = ledger.holders(uuids)
    pools = _and([_quoted(name) for name in holders])
    if isinstance(pool.gpus, tuple):
        return f"pool {_quoted(pool.name)} names {_and(uuids)}, already leased to pool {pools}"
    asked, total = _asked(pool, ledger), len(ledger.fitting(pool))
    such = " such" if pool.gpu is not None else ""
    if holders:
        verb, word = "is" if left == 1 else "are", "pool" if len(holders) == 1 else "pools"
        after = f"{verb} left after {word} {pools}"
        return f"pool {_quoted(pool.name)} {asked} and {left} of {total}{such} {after}"
    there = f": {inventory(ledger.gpus)}" if pool.gpu is not None else ""
    return f"pool {_quoted(pool.name)} {asked} and this host has {total}{such}{there}"


def inventory(gpus: Sequence[Gpu]) -> str:
    """The devices by model: ``2 NVIDIA L4 (22.5GiB, compute capability 8.9) and 1 …``."""
    kinds = Counter(device for gpu in gpus for device in devices_of(gpu).values())
    found = []
    for device, count in kinds.items():
        of = f"MIG {device.profile} of " if device.profile is not None else ""
        compute = device.compute
        known = "unknown" if compute is None else f"{compute[0]}.{compute[1]}"
        size = spoken_size(device.memory)
        name = device.model or "unnamed"
        found.append(f"{count} {of}{name} ({size}, compute capability {known})")
    return _and(found)


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _entry(entry: str | int) -> str:
    return f"GPU {entry}" if isinstance(entry, int) else entry


def _quoted(name: str) -> str:
    return f'"{name}"'


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
