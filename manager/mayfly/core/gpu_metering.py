"""What a GPU's counter of energy and the reasons for its clocks come to for a job, from reading to reading.

Pure. The counter is the GPU's own, in millijoules since the driver was loaded (NVML,
``nvmlDeviceGetTotalEnergyConsumption``), so that two readings tell what was used between them, however far
apart they are. Nothing is estimated from samples of power: a GPU without the counter has no energy. The
reasons are what was so at a reading (``nvmlDeviceGetCurrentClocksEventReasons``); each stands for the time
since the reading before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MOST_WATTS = 10_000.0  # several times what any GPU takes: a counter that grew faster has jumped
STANDS_FOR = 15.0  # seconds that one reading of the reasons may stand for
UNMEASURED = 5.0  # seconds of a job that may lack before its figures are called partial


class Throttle(StrEnum):
    """Why a GPU's clocks are lower than its work would have them."""

    THERMAL = "thermal"  # it is too hot
    POWER_BRAKE = "power_brake"  # its power supply asks for it
    POWER_CAP = "power_cap"  # it takes all the power that it may
    SLOWDOWN = "slowdown"  # its hardware asks for it, and the driver does not say why


@dataclass(frozen=True, slots=True)
class Meter:
    """What one reading told of one device."""

    at: float
    energy: int | None = None  # millijoules; None: the device has no such counter
    throttles: tuple[Throttle, ...] | None = None  # None: the device or driver does not say


@dataclass(frozen=True, slots=True)
class Metered:
    """What a device did for one job so far; never changed in place."""

    energy: float = 0.0  # millijoules
    metered: float = 0.0  # seconds that these are of
    throttled: Mapping[Throttle, float] = field(default_factory=dict)  # seconds for each reason
    watched: float = 0.0  # seconds that these are of

    def add(self, before: Meter, after: Meter, since: float) -> Metered:
        """One more reading of a device whose job runs ``since`` then: of what came before nothing counts."""
        apart = after.at - before.at
        own = after.at - max(before.at, since)
        if apart <= 0 or own <= 0:  # the clock was set back, or the job is younger than the reading
            return self
        used = _used(before, after, apart)
        energy, metered = self.energy, self.metered
        if used is not None:
            energy, metered = energy + used * own / apart, metered + own
        if after.throttles is None or apart > STANDS_FOR:
            return Metered(energy, metered, self.throttled, self.watched)
        throttled = dict(self.throttled)
        for reason in after.throttles:
            throttled[reason] = throttled.get(reason, 0.0) + own
        return Metered(energy, metered, throttled, self.watched + own)

    @property
    def joules(self) -> float | None:
        """The energy; ``None`` where nothing is known of it."""
        return round(self.energy / 1000, 3) if self.metered else None

    @property
    def seconds_throttled(self) -> dict[str, float] | None:
        """Seconds by reason; ``None`` where nobody could tell."""
        if not self.watched:
            return None
        return {str(reason): round(self.throttled[reason], 1) for reason in sorted(self.throttled)}


def _used(before: Meter, after: Meter, apart: float) -> int | None:
    """Millijoules between two readings; ``None`` where the counter does not tell: there is none, it began
    anew with a driver that was loaded again, or it has jumped.
    """
    if before.energy is None or after.energy is None:
        return None
    used = after.energy - before.energy
    return used if 0 <= used <= apart * MOST_WATTS * 1000 else None
