"""XIDs: what NVIDIA's driver reports of a GPU by number, what each means, and against whom it speaks.

Pure, a table. What an application does wrong is kept apart from what the GPU does, and both from what the
driver has dealt with already. Numbers, and which of them a reset clears, are from NVIDIA's catalogue,
https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html, in words of our own; a number that is
not in the table counts as the GPU's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class XidKind(StrEnum):
    """Against whom a report speaks."""

    APPLICATION = "application"  # a program's mistake, or what a job that is killed leaves behind
    NOTICE = "notice"  # the driver has dealt with it, and the GPU computes right
    HARDWARE = "hardware"  # the GPU, its memory, its links or its firmware


@dataclass(frozen=True, slots=True)
class XidMeaning:
    """What one number says."""

    text: str
    kind: XidKind = XidKind.HARDWARE
    resettable: bool = False  # whether a reset of the GPU clears it


def _application(text: str) -> XidMeaning:
    return XidMeaning(text, XidKind.APPLICATION)


def _notice(text: str) -> XidMeaning:
    return XidMeaning(text, XidKind.NOTICE)


def _resettable(text: str) -> XidMeaning:
    return XidMeaning(text, resettable=True)


# Those of an application are what NVIDIA's own device plugin for Kubernetes passes over.
XIDS: Mapping[int, XidMeaning] = MappingProxyType(
    {
        8: XidMeaning("the GPU stopped processing"),
        11: XidMeaning("its stream of commands was broken"),
        13: _application("an illegal instruction or address"),
        31: _application("a memory page fault"),
        32: XidMeaning("its stream of commands was broken on the way, as by a bad PCIe link"),
        38: XidMeaning("the driver's firmware failed"),
        43: _application("the job's own channel was stopped"),
        45: _application("the job was killed while it computed"),
        46: XidMeaning("the GPU stopped processing"),
        48: _resettable("an uncorrectable ECC error"),
        54: XidMeaning("its power cable does not give what it needs"),
        56: XidMeaning("its display engine failed"),
        61: XidMeaning("the GPU's own controller stopped at a breakpoint"),
        62: _resettable("the GPU's own controller halted"),
        63: _notice("a row of its memory was remapped, or a page retired"),
        64: _resettable("a row of its memory could not be remapped"),
        66: _notice("a program touched a register that is not its"),
        67: _notice("a program's context was refused"),
        68: _application("a video processor's exception"),
        69: XidMeaning("a command that its engine does not know"),
        74: XidMeaning("an NVLink error"),
        79: XidMeaning("the GPU has fallen off the bus"),
        92: _notice("many corrected ECC errors"),
        93: _notice("its own storage was written too often"),
        94: _resettable("a contained ECC error"),
        95: _resettable("an uncontained ECC error"),
        106: _notice("a test message of its management bus"),
        107: _notice("a test message of its management bus"),
        108: _notice("a translation failed at the other end of an NVLink"),
        109: _application("a context switch timed out"),
        110: _resettable("its security processor failed"),
        119: _resettable("the GPU's system processor does not answer"),
        120: _resettable("an error of the GPU's system processor"),
        121: _notice("a corrected error of the link to its processor"),
        136: _resettable("an NVLink could not be trained"),
        137: _notice("an access over NVLink was refused"),
        140: _resettable("an ECC error that could not be recovered from"),
        143: _resettable("the GPU could not be initialised"),
        144: XidMeaning("an NVLink error"),
        145: XidMeaning("an NVLink error"),
        146: XidMeaning("an NVLink error"),
        147: XidMeaning("an NVLink error"),
        148: XidMeaning("an NVLink error"),
        149: XidMeaning("an NVLink error"),
        150: XidMeaning("an NVLink error"),
        154: _notice("the driver asks for another way to recover it"),
        155: _resettable("an NVLink error that the driver defined"),
        156: _resettable("a part of it was retired, from its next reset on"),
        157: XidMeaning("a part of it could not be retired"),
        158: _resettable("an access timed out for good"),
        160: _notice("a channel of its memory was marked for repair"),
        161: XidMeaning("a channel of its memory could not be marked for repair"),
        167: XidMeaning("an access over PCIe timed out for good"),
        168: XidMeaning("it has less memory than it was made with"),
        171: _resettable("an uncorrectable error of its memory"),
        172: _resettable("an uncorrectable error of its caches"),
    }
)
APPLICATION_XIDS = frozenset(
    code for code, meaning in XIDS.items() if meaning.kind is XidKind.APPLICATION
)
_UNKNOWN = XidMeaning("see NVIDIA's Xid catalogue")
REMEMBERED = 64  # numbers of one GPU that are held in mind


@dataclass(frozen=True, slots=True)
class Xid:
    """An error that the driver reported."""

    uuid: str  # of the GPU, also where it is split
    code: int
    at: float

    @property
    def meaning(self) -> XidMeaning:
        """What it says; of a number that is not in the table no more than where to look."""
        return XIDS.get(self.code, _UNKNOWN)

    @property
    def kind(self) -> XidKind:
        """Against whom it speaks."""
        return self.meaning.kind


def remembered(known: Mapping[int, Xid], xid: Xid) -> Mapping[int, Xid]:
    """The last report of each number with one more; where they are too many, what speaks least against the
    GPU is forgotten first, so that no storm of an application's hides what the hardware has said.
    """
    after = {**known, xid.code: xid}
    if len(after) > REMEMBERED:
        least = min(after.values(), key=lambda one: (one.kind is XidKind.HARDWARE, one.at))
        del after[least.code]
    return after
