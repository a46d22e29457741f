"""Why a GPU's clocks are lowered, as NVML's bits have it (``nvmlClocksEventReasons`` in nvml.h)."""

from __future__ import annotations

from mayfly.core.gpu_metering import Throttle

IDLE = 0x1
POWER_CAP = 0x4
SLOWDOWN = 0x8  # set beside the two of hardware below, alone where the GPU does not tell them apart
THERMAL = 0x20 | 0x40  # by the driver, by hardware
POWER_BRAKE = 0x80


def throttles(bits: int) -> tuple[Throttle, ...]:
    """What keeps the clocks down; that a person has set them so, or that there is nothing to do, is none."""
    found = set()
    if bits & POWER_CAP and not bits & IDLE:
        found.add(Throttle.POWER_CAP)
    if bits & THERMAL:
        found.add(Throttle.THERMAL)
    if bits & POWER_BRAKE:
        found.add(Throttle.POWER_BRAKE)
    if bits & SLOWDOWN and not bits & (0x40 | POWER_BRAKE):
        found.add(Throttle.SLOWDOWN)
    return tuple(sorted(found))
