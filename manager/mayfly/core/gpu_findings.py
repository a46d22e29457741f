"""What the health gate's checks find on a GPU or MIG device, in one reading of NVML.

Pure: looks at values and asks nothing. What NVML does not tell is no finding. Each finding is one whole
sentence with what to do, and bears its check's code and what that check does here (``gpu_checks``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mayfly.core import gpu_checks as checks
from mayfly.core.gpu_checks import CheckSeverity, CheckTable, GpuFinding
from mayfly.core.gpu_gauges import Gauges, Recovery
from mayfly.core.gpu_health import Ours, Process, Reading, Record, Vitals, physical
from mayfly.core.leases import Gpu
from mayfly.core.xids import Xid, XidKind

STUCK_FOR = 60.0  # seconds of work at a low clock that are no coincidence
SHOWN = 3600.0  # seconds that a report is shown of which nothing says when it is over
OF_KIND = {
    XidKind.HARDWARE: checks.XID,
    XidKind.NOTICE: checks.XID_NOTICE,
    XidKind.APPLICATION: checks.XID_APPLICATION,
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """One device as its checks look at it."""

    uuid: str
    vitals: Vitals
    record: Record
    at: float  # when NVML was asked
    table: CheckTable

    def found(
        self, code: str, text: str, *, healable: bool | None = None, xid: int | None = None
    ) -> GpuFinding:
        check = checks.CHECKS[code]
        return GpuFinding(
            code,
            self.uuid,
            text,
            self.table.severity(code, xid),
            check.healable if healable is None else healable,
            not check.until_retried,
            xid,
        )


def on_device(
    uuid: str,
    reading: Reading,
    records: Mapping[str, Record],
    gpus: Sequence[Gpu],
    table: CheckTable,
) -> Iterator[GpuFinding]:
    """What speaks against the device, or against the GPU that it is a part of, whoever uses it; what is
    switched off is not among it.
    """
    for part in dict.fromkeys((uuid, physical(uuid, gpus))):
        vitals = reading.vitals.get(part, Vitals(gone=True))
        seen = _Seen(part, vitals, records.get(part, Record()), reading.began, table)
        yield from (one for one in _found(seen) if one.severity is not CheckSeverity.OFF)


def _found(seen: _Seen) -> Iterator[GpuFinding]:
    vitals = seen.vitals
    if vitals.gone:
        text = f"{seen.uuid} is not there any more: see `nvidia-smi -L` and dmesg"
        yield seen.found(checks.GONE, text)
        return
    if vitals.lost and vitals.problem is not None:
        yield seen.found(
            checks.RESET_REQUIRED if vitals.needs_reset else checks.LOST, vitals.problem
        )
        return
    for xid in seen.record.xids.values():
        yield from _xid(seen, xid)
    yield from _memory(seen)
    yield from _firmware(seen)
    yield from _grown(seen)
    yield from _lasting(seen)


def _xid(seen: _Seen, xid: Xid) -> Iterator[GpuFinding]:
    said = f"XID {xid.code} on {seen.uuid} ({xid.meaning.text})"
    found = seen.found(
        OF_KIND[xid.kind],
        f"{said}: see dmesg, reset or replace the GPU, then `mayfly retry`",
        healable=xid.meaning.resettable,
        xid=xid.code,
    )
    if found.severity is CheckSeverity.HOLD:
        # Whatever its kind: nothing tells that it is over.
        yield GpuFinding(
            found.code, found.uuid, found.text, found.severity, found.healable, False, xid.code
        )
    elif seen.at - xid.at < SHOWN:
        yield GpuFinding(found.code, found.uuid, said, found.severity, found.healable, xid=xid.code)


def _memory(seen: _Seen) -> Iterator[GpuFinding]:
    vitals, record = seen.vitals, seen.record
    if vitals.remap_failed:
        text = f"{seen.uuid} could not remap a broken row of its memory: replace it"
        yield seen.found(checks.REMAP_FAILED, text)
    if vitals.remap_pending:
        yield seen.found(
            checks.REMAP_PENDING,
            f"{seen.uuid} has broken rows of memory that a reset would remap: "
            f"`nvidia-smi --gpu-reset -i {seen.uuid}`",
        )
    many = (vitals.ecc or 0) - (record.ecc or 0)
    known = vitals.ecc is not None and record.ecc is not None
    if known and many > seen.table.threshold(checks.ECC_UNCORRECTED):
        text = f"{many} uncorrected ECC error{'s' if many > 1 else ''} on {seen.uuid}"
        yield seen.found(
            checks.ECC_UNCORRECTED, f"{text}: reset or replace the GPU, then `mayfly retry`"
        )


def _firmware(seen: _Seen) -> Iterator[GpuFinding]:
    recovery, fabric = seen.vitals.gauges.recovery, seen.vitals.gauges.fabric
    if recovery:
        resets = recovery in (Recovery.RESET, Recovery.DRAIN_AND_RESET)
        todo = (
            f"reset it: `nvidia-smi --gpu-reset -i {seen.uuid}`" if resets else _REST.get(recovery)
        )
        text = f"the driver asks that {seen.uuid} be recovered: {todo or 'see dmesg, then reboot'}"
        yield seen.found(checks.RECOVERY, text, healable=resets)
    if fabric is not None and fabric.failed:
        text = (
            f"{seen.uuid} could not join its NVSwitch fabric (NVML's status {fabric.status}): see "
        )
        yield seen.found(checks.FABRIC, f"{text}`journalctl -u nvidia-fabricmanager`")


_REST: Mapping[int, str] = {
    Recovery.REBOOT: "reboot the host",
    Recovery.DRAIN_PEERS: "end what uses its NVLink peers, too, then reset them together",
}


def _grown(seen: _Seen) -> Iterator[GpuFinding]:
    """What a counter has grown by in the time that it is watched."""
    said = {
        checks.ECC_CORRECTED: "corrected ECC errors on {gpu} in the last hour: its memory may be going bad",
        checks.PCIE_REPLAYS: "PCIe replays of {gpu} in the last minute: see to its slot, riser or cable",
    }
    for code, growing in seen.record.growing.items():
        if growing.grown > seen.table.threshold(code):
            yield seen.found(code, f"{growing.grown} {said[code].format(gpu=seen.uuid)}")


def _lasting(seen: _Seen) -> Iterator[GpuFinding]:
    """What has been so for long enough, reading after reading."""
    for code, so in seen.record.lasting.items():
        enough = STUCK_FOR if code == checks.CLOCKS_STUCK else seen.table.threshold(code)
        if so.seconds >= enough:
            yield seen.found(code, _said_of(code, seen.uuid, seen.vitals.gauges))


def _said_of(code: str, uuid: str, gauges: Gauges) -> str:
    """The sentence of what lasts; a value that is not told any more is left out."""
    match code:
        case checks.PCIE_GENERATION:
            most = f" of {gauges.generation_most}" if gauges.generation_most else ""
            now = f" {gauges.generation}{most}" if gauges.generation else " below what it could be"
            return f"{uuid} works over a PCIe link of generation{now}: see to its slot and the BIOS"
        case checks.PCIE_WIDTH:
            lanes = f"{gauges.width} of {gauges.width_most}" if gauges.width else "not all"
            return f"{uuid} works over {lanes} lanes of its PCIe link: reseat it"
        case checks.THERMAL:
            return f"{uuid} slows down since it is too hot: see to its fans and the room's air"
        case checks.POWER_BRAKE:
            return f"{uuid} slows down since the power supply asks for it: see to the host's power"
        case checks.POWER_CAP:
            return f"{uuid} takes all the power that it may: see `nvidia-smi -q -d POWER`"
        case checks.CLOCKS_STUCK:
            now = f"at {gauges.clock} of {gauges.clock_most} MHz" if gauges.clock else "slowly"
            return f"{uuid} works {now}, and nothing says why: see `nvidia-smi -q -d CLOCK`"
        case _:
            text = f"{uuid} has not joined its NVSwitch fabric yet"
            return f"{text}: see `systemctl status nvidia-fabricmanager`"


def left_behind(
    uuid: str,
    reading: Reading,
    records: Mapping[str, Record],
    gpus: Sequence[Gpu],
    ours: Ours,
    table: CheckTable,
    *,
    share: bool = False,
) -> Iterator[GpuFinding]:
    """What the last job has left on the device, and what may pass with a little patience; where slots
    ``share`` it, what is in use says nothing.
    """
    for part in dict.fromkeys((uuid, physical(uuid, gpus))):
        vitals = reading.vitals.get(part, Vitals(gone=True))
        if vitals.problem is not None:
            seen = _Seen(part, vitals, records.get(part, Record()), reading.began, table)
            yield seen.found(checks.UNREADABLE, vitals.problem)
            return
    if not share and uuid in reading.vitals:
        seen = _Seen(uuid, reading.vitals[uuid], records.get(uuid, Record()), reading.began, table)
        yield from (one for one in _left(seen, ours) if one.severity is not CheckSeverity.OFF)


def _bare(process: Process) -> Process:
    """The process without its container, whose name says nothing once its agent is gone."""
    return replace(process, container=None)


def _left(seen: _Seen, ours: Ours) -> Iterator[GpuFinding]:
    vitals, uuid = seen.vitals, seen.uuid
    for process in vitals.processes:
        if (whose := ours.left(process)) is not None:
            named = (process if process.agent in ours.makers else _bare(process)).described
            yield seen.found(
                checks.LEFTOVER_PROCESS,
                f"{named} of {whose} that has ended still holds {uuid}: end it or reset the GPU",
                healable=process.gone,  # what lives uses it, and is ended first
            )
    quiet = seen.record.quiet
    if vitals.used is None or quiet is None:
        return
    if any(process.memory is None for process in vitals.processes):
        return
    accounted = sum(process.memory or 0 for process in vitals.processes)
    most = seen.table.threshold(checks.MEMORY_KEPT) * 2**20
    if not seen.record.rested:
        if vitals.used - accounted > most:
            yield seen.found(
                checks.MEMORY_KEPT,
                f"{(vitals.used - accounted) // 2**20} MiB of {uuid} are in use, no process holds them, "
                "and whether they are the last job's is not known yet",
            )
        return
    lacking = vitals.used - quiet - accounted
    if lacking > most:
        yield seen.found(
            checks.MEMORY_KEPT,
            f"{lacking // 2**20} MiB of {uuid} were not returned and no process holds them: "
            "reset the GPU",
        )
