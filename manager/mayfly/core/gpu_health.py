"""The health gate: whether the GPUs of a slot may be given to its next agent.

Pure: judges what NVML said and asks it nothing. It tells three things apart: fit; sick, which holds the slot
until a person has seen to the GPU; and not known yet, which opens no gate and holds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from mayfly.core.leases import Gpu
from mayfly.core.model import ContainerId, Generation, GpuVerdict, Pending, SlotName

RECHECK = 10.0  # seconds that processes and memory have to go away after a job
SLACK = 512 * 1024 * 1024  # bytes in use beyond the quiet GPU's that are not held against it

# What an application does wrong, and what a job that is killed leaves behind: those that NVIDIA's own device
# plugin for Kubernetes passes over. Meanings: https://docs.nvidia.com/deploy/xid-errors/
APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
XID_MEANINGS: Mapping[int, str] = {
    13: "an illegal instruction or address",
    31: "a memory page fault",
    43: "the job's own channel was stopped",
    45: "the job was killed while it computed",
    48: "an uncorrectable ECC error",
    62: "the GPU's own controller halted",
    63: "a row of its memory was remapped, or a page retired",
    64: "a row of its memory could not be remapped",
    68: "a video processor's exception",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    92: "many corrected ECC errors",
    94: "a contained ECC error",
    95: "an uncontained ECC error",
    109: "a context switch timed out",
    119: "the GPU's system processor does not answer",
    120: "an error of the GPU's system processor",
}


@dataclass(frozen=True, slots=True)
class Process:
    """A process that computes on a GPU."""

    pid: int  # the host's number
    memory: int | None  # bytes; None: NVML did not say
    container: ContainerId | None = None  # None: on the host itself
    gone: bool = False  # there is no such process any more, and the driver still counts it
    agent: Generation | None = (
        None  # whose containers it is among; None: of none that may have some
    )

    @property
    def named(self) -> str:
        """What a person finds it by."""
        of = f" of container {self.container[:12]}" if self.container is not None else ""
        return f"process {self.pid}{of}"


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
    problem: str | None = None  # what NVML answers instead, a whole sentence
    lost: bool = False  # it is not there any more


@dataclass(frozen=True, slots=True)
class ForeignContainer:
    """A running container that is not Mayfly's and was given GPUs."""

    id: str
    name: str
    devices: tuple[str, ...]  # as it was asked for: UUIDs, numbers, "all", CDI's names


@dataclass(frozen=True, slots=True)
class Xid:
    """An error that the driver reported."""

    uuid: str  # of the GPU, also where it is split
    code: int
    at: float

    @property
    def hardware(self) -> bool:
        """Whether it speaks against the GPU and not against the job."""
        return self.code not in APPLICATION_XIDS


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


@dataclass(frozen=True, slots=True)
class Record:
    """What is held in mind of one device from reading to reading."""

    quiet: int | None = None  # the least that was ever in use; None: never looked at
    ecc: int | None = None  # errors that are forgiven; None: never looked at
    xids: Mapping[int, Xid] = field(default_factory=dict)  # not forgiven: the last of each code


@dataclass(frozen=True, slots=True)
class Ours:
    """Whose processes are no stranger's."""

    containers: AbstractSet[ContainerId] = frozenset()  # agents', all that there ever were
    standing: AbstractSet[ContainerId] = (
        frozenset()
    )  # that may hold a GPU now: of who waits or works
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


def recorded(records: Mapping[str, Record], reading: Reading) -> dict[str, Record]:
    """The records after one more reading."""
    after = dict(records)
    for uuid, vitals in reading.vitals.items():
        before = after.get(uuid, Record())
        quiet = before.quiet
        if vitals.used is not None:
            quiet = vitals.used if quiet is None else min(quiet, vitals.used)
        ecc = before.ecc if before.ecc is not None else vitals.ecc
        after[uuid] = Record(quiet, ecc, before.xids)
    for xid in reading.xids:
        before = after.get(xid.uuid, Record())
        after[xid.uuid] = Record(before.quiet, before.ecc, {**before.xids, xid.code: xid})
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


def judge(
    tenant: Tenant,
    reading: Reading | None,
    records: Mapping[str, Record],
    gpus: Sequence[Gpu],
    ours: Ours,
) -> GpuVerdict:
    """The word on a slot's GPUs."""
    if reading is None:
        return GpuVerdict(pending=Pending.NO_ANSWER, text="NVML has not answered yet")
    if reading.problem is not None:
        return GpuVerdict(pending=Pending.NO_ANSWER, text=reading.problem)
    for uuid in tenant.lease:
        ill = _ill(uuid, reading, records, gpus)
        if ill is not None:
            return GpuVerdict(sick=ill[0], returns=ill[1])
    if tenant.at_work:
        return GpuVerdict(fit=True)
    if reading.began < tenant.since:
        text = "NVML has not been asked since the last job ended"
        return GpuVerdict(pending=Pending.NOT_ASKED, text=text)
    for uuid in tenant.lease:
        unclean = _unclean(uuid, tenant, reading, records, gpus, ours)
        if unclean is None:
            continue
        if reading.began < tenant.since + RECHECK:
            return GpuVerdict(pending=Pending.UNCLEAN, text=unclean)
        return GpuVerdict(sick=unclean, returns=True)
    return GpuVerdict(fit=True)


def _ill(
    uuid: str, reading: Reading, records: Mapping[str, Record], gpus: Sequence[Gpu]
) -> tuple[str, bool] | None:
    """What speaks against the device, and whether each reading shows afresh if it still does; ``None`` where
    nothing does.
    """
    whole = physical(uuid, gpus)
    for part in dict.fromkeys((uuid, whole)):
        vitals = reading.vitals.get(part)
        if vitals is None:
            return f"{part} is not there any more: see `nvidia-smi -L` and dmesg", True
        if vitals.lost and vitals.problem is not None:
            return vitals.problem, True
        record = records.get(part, Record())
        for xid in record.xids.values():
            if xid.hardware:
                meaning = XID_MEANINGS.get(xid.code, "see NVIDIA's Xid catalogue")
                return (
                    (
                        f"XID {xid.code} on {part} ({meaning}): see dmesg, reset or replace the GPU, "
                        "then `mayfly retry`"
                    ),
                    False,
                )
        if vitals.remap_failed:
            return f"{part} could not remap a broken row of its memory: replace it", True
        if vitals.remap_pending:
            return (
                (
                    f"{part} has broken rows of memory that a reset would remap: "
                    f"`nvidia-smi --gpu-reset -i {part}`"
                ),
                True,
            )
        if vitals.ecc is not None and record.ecc is not None and vitals.ecc > record.ecc:
            many = vitals.ecc - record.ecc
            text = f"{many} uncorrected ECC error{'s' if many > 1 else ''} on {part}"
            return f"{text}: reset or replace the GPU, then `mayfly retry`", False
    return None


def _unclean(
    uuid: str,
    tenant: Tenant,
    reading: Reading,
    records: Mapping[str, Record],
    gpus: Sequence[Gpu],
    ours: Ours,
) -> str | None:
    """What the last job has left on the device; ``None`` where it has left nothing."""
    for part in dict.fromkeys((uuid, physical(uuid, gpus))):
        problem = reading.vitals[part].problem
        if problem is not None:
            return problem
    if tenant.share:
        return None
    vitals = reading.vitals[uuid]
    for process in vitals.processes:
        if (whose := ours.left(process)) is not None:
            named = process.named if process.agent in ours.makers else f"process {process.pid}"
            return f"{named} of {whose} that has ended still holds {uuid}: end it or reset the GPU"
    quiet = records.get(uuid, Record()).quiet
    if vitals.used is None or quiet is None:
        return None
    if any(process.memory is None for process in vitals.processes):
        return None
    accounted = sum(process.memory or 0 for process in vitals.processes)
    lacking = vitals.used - quiet - accounted
    if lacking <= SLACK:
        return None
    return (
        f"{lacking // 2**20} MiB of {uuid} were not returned and no process holds them: "
        "reset the GPU"
    )


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
