"""How the GPUs of a host fare: what NVML said at one moment, and what is held in mind from then to then.

Pure, values: what speaks against a GPU is found in ``gpu_findings``, and what that means for a slot is judged
in ``gpu_gate``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from mayfly.core.gpu_checks import CheckTable
from mayfly.core.gpu_gauges import (
    WATCHED,
    Gauges,
    Growing,
    Lasting,
    counters,
    grown,
    lasting,
    states,
)
from mayfly.core.gpu_metering import Throttle
from mayfly.core.leases import Gpu
from mayfly.core.model import ContainerId, Generation, SlotName
from mayfly.core.quantities import spoken_age
from mayfly.core.xids import Xid, remembered

UNTOLD = Gauges()
RECHECK = 10.0  # seconds that processes and memory have to go away after a job


@dataclass(frozen=True, slots=True)
class Process:
    """A process that computes on a GPU."""

    pid: int  # the host's number
    memory: int | None  # bytes; None: NVML did not say
    container: ContainerId | None = None  # None: on the host itself
    gone: bool = False  # there is no such process any more, and the driver still counts it
    # whose containers it is among; None: of none that may have some
    agent: Generation | None = None
    command: str = ""  # how it was called, cut and printable; "": not known
    age: float | None = None  # seconds; None: not known
    uid: int | None = None  # whose it is; None: not known

    @property
    def named(self) -> str:
        """What a person finds it by."""
        return self._called(self.command)

    @property
    def described(self) -> str:
        """The same, and for how long it runs."""
        old = f"{spoken_age(self.age)} old" if self.age is not None else ""
        return self._called(", ".join(word for word in (self.command, old) if word))

    def _called(self, doing: str) -> str:
        told = f" ({doing})" if doing else ""
        of = f" of container {self.container[:12]}" if self.container is not None else ""
        return f"process {self.pid}{told}{of}"


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a GPU or MIG device fares, at one moment."""

    used: int | None = None  # bytes, the driver's own part not counted; None: NVML did not say
    total: int | None = None
    utilisation: int | None = None  # per cent; None: NVML cannot tell (MIG)
    processes: tuple[Process, ...] = ()
    ecc: int | None = None  # uncorrected errors since the driver was loaded; None: it has no ECC
    remap_pending: bool = False
    remap_failed: bool = False
    energy: int | None = None  # millijoules since the driver was loaded; None: it has no counter
    throttles: tuple[Throttle, ...] | None = None  # None: NVML cannot tell (MIG)
    temperature: int | None = None  # degrees Celsius; None: NVML cannot tell (MIG)
    problem: str | None = None  # what NVML answers instead, a whole sentence
    lost: bool = False  # it is not there any more, or answers nothing before it is reset
    needs_reset: bool = False  # the latter
    gone: bool = False  # it is not listed
    gauges: Gauges = UNTOLD


@dataclass(frozen=True, slots=True)
class ForeignContainer:
    """A running container that is not Mayfly's and was given GPUs."""

    id: str
    name: str
    devices: tuple[str, ...]  # as it was asked for: UUIDs, numbers, "all", CDI's names


@dataclass(frozen=True, slots=True)
class Reading:
    """All that NVML said at one moment."""

    began: float
    ended: float
    driver: str = ""
    cuda: tuple[int, int] | None = None  # the highest that the driver runs; None: not known
    gpus: tuple[Gpu, ...] | None = None  # None: not known, for the reason in ``problem``
    vitals: Mapping[str, Vitals] = field(default_factory=dict)  # by GPU's and MIG device's UUID
    xids: tuple[Xid, ...] = ()  # new ones since the reading before
    problem: str | None = None  # why nothing is known, a whole sentence
    loading: str = ""  # which loading of the driver answers, as text; "": not known


@dataclass(frozen=True, slots=True)
class Record:
    """What is held in mind of one device from reading to reading."""

    quiet: int | None = None  # the least that was ever in use; None: never looked at
    ecc: int | None = None  # errors that are forgiven; None: never looked at
    xids: Mapping[int, Xid] = field(default_factory=dict)  # not forgiven: the last of each code
    growing: Mapping[str, Growing] = field(default_factory=dict)  # by check
    lasting: Mapping[str, Lasting] = field(default_factory=dict)  # by check
    # Whether ``quiet`` was seen while no agent was at work, nor had just ended: else it may be a job's.
    rested: bool = True


@dataclass(frozen=True, slots=True)
class Quiet:
    """What was in use on each device at the least while no agent was at work on it, nor had just ended."""

    loading: str = ""  # the driver's, in which that was seen: with it memory comes and goes
    used: Mapping[str, int] = field(default_factory=dict)  # bytes, by device


@dataclass(frozen=True, slots=True)
class Ours:
    """Whose processes are no stranger's."""

    containers: AbstractSet[ContainerId] = frozenset()  # agents', all that there ever were
    # that may hold a GPU now: of who waits or works
    standing: AbstractSet[ContainerId] = frozenset()
    # Agents that could have containers of their own, ever, and in which slots they were.
    makers: Mapping[Generation, SlotName] = field(default_factory=dict)
    alive: AbstractSet[Generation] = frozenset()  # of these, who has not ended

    def has(self, process: Process) -> bool:
        """Whether an agent runs it, or a container that one has made."""
        return process.container in self.containers or process.agent in self.makers

    def left(self, process: Process) -> str | None:
        """Whose it was that has ended; ``None`` where it is not left of anybody of ours."""
        if process.gone:
            return "an agent"
        if process.container in self.containers:
            return None if process.container in self.standing else "an agent"
        slot = self.makers.get(process.agent) if process.agent is not None else None
        if slot is None or process.agent in self.alive:
            return None
        return f"{slot}'s agent {process.agent}"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A slot as its GPUs see it."""

    lease: tuple[str, ...]
    since: float  # when its last job ended, or when it was first looked at
    at_work: bool = False  # one of its agents may be using them now
    share: bool = False


def merged(known: Sequence[Gpu], seen: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """The GPUs of the host; one that is not seen any more keeps its place, so that no lease moves."""
    by_uuid = {gpu.uuid: gpu for gpu in known} | {gpu.uuid: gpu for gpu in seen}
    return tuple(sorted(by_uuid.values(), key=lambda gpu: (gpu.index, gpu.uuid)))


DEFAULTS = CheckTable()


def recorded(
    records: Mapping[str, Record], reading: Reading, table: CheckTable = DEFAULTS
) -> dict[str, Record]:
    """The records after one more reading."""
    after = dict(records)
    for uuid, vitals in reading.vitals.items():
        before = after.get(uuid, Record())
        quiet = before.quiet
        if vitals.used is not None:
            quiet = vitals.used if quiet is None else min(quiet, vitals.used)
        ecc = before.ecc if before.ecc is not None else vitals.ecc
        if ecc is not None and vitals.ecc is not None:
            ecc = min(ecc, vitals.ecc)  # the driver counts from none again after a reset
        gauges, at = vitals.gauges, reading.began
        after[uuid] = replace(
            before,
            quiet=quiet,
            ecc=ecc,
            growing={
                code: grown(before.growing.get(code), value, at, WATCHED[code])
                for code, value in counters(gauges)
            },
            lasting=lasting(
                before.lasting, states(gauges, vitals.utilisation, vitals.throttles, table), at
            ),
        )
    for xid in reading.xids:
        before = after.get(xid.uuid, Record())
        after[xid.uuid] = replace(before, xids=remembered(before.xids, xid))
    return after


def forgiven(
    records: Mapping[str, Record],
    lease: Iterable[str],
    gpus: Sequence[Gpu],
    reading: Reading | None,
) -> dict[str, Record]:
    """The records after a person has said that these devices are to be tried again."""
    after = dict(records)
    for uuid in {uuid for part in lease for uuid in (part, physical(part, gpus))}:
        vitals = reading.vitals.get(uuid) if reading is not None else None
        quiet = after[uuid].quiet if uuid in after else None
        after[uuid] = Record(quiet, vitals.ecc if vitals is not None else None)
    return after


def physical(uuid: str, gpus: Sequence[Gpu]) -> str:
    """The GPU that a MIG device is a part of; a GPU is its own."""
    for gpu in gpus:
        if any(part.uuid == uuid for part in gpu.mig):
            return gpu.uuid
    return uuid


def foreign(lease: Iterable[str], reading: Reading, ours: Ours) -> list[tuple[str, Process]]:
    """Processes on leased devices that are nobody's of ours: they are shown, and stop nothing."""
    return [
        (uuid, process)
        for uuid in lease
        for process in (reading.vitals[uuid].processes if uuid in reading.vitals else ())
        if not process.gone and not ours.has(process)
    ]


def foreign_containers_on_lease(
    lease: Iterable[str], gpus: Sequence[Gpu], foreign_containers: Iterable[ForeignContainer]
) -> list[tuple[str, ForeignContainer]]:
    """Leased devices that a container of somebody else was given, too, by whatever name."""
    found: list[tuple[str, ForeignContainer]] = []
    for uuid in lease:
        names = {uuid, "all"}
        for gpu in gpus:
            if gpu.uuid == physical(uuid, gpus):
                names |= {gpu.uuid, str(gpu.index)}
        found += [
            (uuid, foreign)
            for foreign in foreign_containers
            if any(device.rpartition("=")[2] in names for device in foreign.devices)
        ]
    return found
