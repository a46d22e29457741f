"""What NVML tells of a GPU's memory, link, clocks, firmware and fabric, and what of it lasts or grows.

Pure, values. What a GPU or driver does not have is ``None``, and says nothing. A single reading says little:
links and clocks go up and down, and a counter matters by how fast it grows. So what is so is followed from
reading to reading, and what a counter has grown by in a while.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from mayfly.core import gpu_checks as checks
from mayfly.core.gpu_checks import CheckTable
from mayfly.core.gpu_metering import Throttle

LOAD = 50  # per cent of utilisation from which on a GPU is at work, and its link and clocks should be up
BRIDGED = 60.0  # seconds without a word on something that do not end it
PARTS = 12  # points that are kept of a counter for the time that it is watched


class Recovery(IntEnum):
    """What the driver itself asks to be done with a GPU (NVML's field 230, NVML_GPU_RECOVERY_ACTION_…)."""

    NONE = 0
    RESET = 1
    REBOOT = 2
    DRAIN_PEERS = 3
    DRAIN_AND_RESET = 4


class FabricState(IntEnum):
    """How far a GPU's registration with the NVSwitch fabric is.

    https://docs.nvidia.com/deploy/nvml-api/api/group__nvmlFabricDefs.html
    """

    UNSUPPORTED = 0
    NOT_STARTED = 1
    IN_PROGRESS = 2
    COMPLETED = 3


@dataclass(frozen=True, slots=True)
class Fabric:
    """What NVML says of that registration."""

    state: int
    status: int = 0  # NVML's own code of what came of it, once it is complete
    summary: int = 0  # NVML_GPU_FABRIC_HEALTH_SUMMARY_…; 0: the driver does not say

    @property
    def waits(self) -> bool:
        """Whether it is not complete yet."""
        return self.state in (FabricState.NOT_STARTED, FabricState.IN_PROGRESS)

    @property
    def failed(self) -> bool:
        """Whether it ended in an error, or the fabric is not well."""
        return self.state == FabricState.COMPLETED and (self.status != 0 or self.summary == 2)


@dataclass(frozen=True, slots=True)
class Gauges:
    """How the hardware of a GPU fares, at one moment; of a MIG device nothing is told."""

    corrected: int | None = None  # ECC errors since the driver was loaded
    generation: int | None = None  # of its PCIe link
    generation_most: int | None = None  # that the GPU and what it is plugged into can do
    width: int | None = None  # lanes
    width_most: int | None = None
    replays: int | None = None  # of its PCIe link, since the driver was loaded
    clock: int | None = None  # MHz, of what computes
    clock_most: int | None = None
    recovery: int | None = None  # of ``Recovery``, or newer
    fabric: Fabric | None = None


@dataclass(frozen=True, slots=True)
class Lasting:
    """Something that has been so from reading to reading."""

    since: float
    last: float  # when it was last seen to be so

    @property
    def seconds(self) -> float:
        """For how long it was seen."""
        return self.last - self.since


@dataclass(frozen=True, slots=True)
class Growing:
    """A counter of the driver's, over the time that it is watched; never changed in place."""

    points: tuple[tuple[float, int], ...]  # (when, value), oldest first
    latest: int

    @property
    def grown(self) -> int:
        """By how much, in that time."""
        return self.latest - self.points[0][1]


def grown(known: Growing | None, value: int, at: float, window: float) -> Growing:
    """The counter after one more reading; begun anew where the driver has, or the clock was set back."""
    first = ((at, value),)
    if known is None or value < known.latest or at < known.points[-1][0]:
        return Growing(first, value)
    points = tuple(point for point in known.points if point[0] > at - window) or first
    if at - points[-1][0] >= window / PARTS:
        points = (*points, (at, value))
    return Growing(points, value)


WATCHED = {checks.ECC_CORRECTED: 3600.0, checks.PCIE_REPLAYS: 60.0}  # seconds, by check


def counters(gauges: Gauges) -> Iterator[tuple[str, int]]:
    """The counters that there are, by the check that watches each."""
    if gauges.corrected is not None:
        yield checks.ECC_CORRECTED, gauges.corrected
    if gauges.replays is not None:
        yield checks.PCIE_REPLAYS, gauges.replays


def states(
    gauges: Gauges,
    utilisation: int | None,
    throttles: Collection[Throttle] | None,
    table: CheckTable,
) -> dict[str, bool | None]:
    """What is so, by the check that follows it; ``None`` where this moment says nothing of it.

    A link and clocks go down when a GPU idles: they are looked at only while it works.
    """
    works = utilisation is not None and utilisation >= LOAD
    stuck: bool | None = None
    if works and gauges.clock is not None and gauges.clock_most:
        low = gauges.clock * 100 <= gauges.clock_most * table.threshold(checks.CLOCKS_STUCK)
        stuck = low and not throttles
    return {
        checks.PCIE_GENERATION: _below(works, gauges.generation, gauges.generation_most),
        checks.PCIE_WIDTH: _below(works, gauges.width, gauges.width_most),
        checks.CLOCKS_STUCK: stuck,
        checks.THERMAL: _among(Throttle.THERMAL, throttles),
        checks.POWER_BRAKE: _among(Throttle.POWER_BRAKE, throttles),
        checks.POWER_CAP: _among(Throttle.POWER_CAP, throttles),
        checks.FABRIC_WAITING: gauges.fabric.waits if gauges.fabric is not None else None,
    }


def _among(one: Throttle, throttles: Collection[Throttle] | None) -> bool | None:
    return one in throttles if throttles is not None else None


def _below(works: bool, now: int | None, most: int | None) -> bool | None:
    return now < most if works and now is not None and most is not None else None


def lasting(
    known: Mapping[str, Lasting], now_so: Mapping[str, bool | None], at: float
) -> dict[str, Lasting]:
    """What lasts after one more reading; a reading that says nothing of it ends it only after a while."""
    after: dict[str, Lasting] = {}
    for code, so in now_so.items():
        before = known.get(code)
        if before is not None and before.last > at:  # the clock was set back
            before = None
        if so:
            after[code] = Lasting(before.since if before is not None else at, at)
        elif so is None and before is not None and at - before.last <= BRIDGED:
            after[code] = before
    return after
