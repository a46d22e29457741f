"""Which pools a host's GPUs are for, where nobody has said: one for each kind, as a person would begin.

What is proposed is served whole by these GPUs (``core/leases.py``), and gives each of them to a slot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mayfly.core.gpu_labels import short_model
from mayfly.core.gpu_selection import WHOLE, Device, GpuSelection
from mayfly.core.leases import Gpu, devices_of

WIDE_FROM = 4  # whole GPUs of a kind from which on jobs of several are thought of


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pool that could be."""

    name: str
    slots: int
    gpus: int  # of each slot
    gpu: GpuSelection | None  # None: there is one kind alone
    in_turn: bool  # beside others of the same GPUs
    of: str  # what they are, for people


def proposals(gpus: Sequence[Gpu], *, turns: bool) -> tuple[Proposal, ...]:
    """A pool for each kind of device, in the order of NVML; none without one.

    ``turns``: pools may have GPUs in turn, so many equal ones are for narrow jobs and for wide ones.
    """
    kinds: dict[Device, int] = {}
    for gpu in sorted(gpus, key=lambda one: one.index):
        for device in devices_of(gpu).values():
            # Two of a kind may differ by a few pages that one has lost.
            like = next((known for known in kinds if _alike(known, device)), device)
            kinds[like] = kinds.get(like, 0) + 1
    found: list[Proposal] = []
    taken: set[str] = set()
    for device, count in kinds.items():
        selection = _selection(device, kinds) if len(kinds) > 1 else None
        name = _free(_name(device) if len(kinds) > 1 else "gpu", taken)
        part = "" if device.profile is None else f"MIG {device.profile} of "
        pool = Proposal(name, count, 1, selection, False, f"{part}{device.model or 'unnamed'}")
        widths = _widths(count) if turns and device.profile is None else (1,)
        for width in widths:
            many = replace(pool, slots=count // width, gpus=width, in_turn=len(widths) > 1)
            found.append(
                many if width == 1 else replace(many, name=_free(f"{name}-x{width}", taken))
            )
    return tuple(found)


def _alike(one: Device, other: Device) -> bool:
    same = (one.model, one.compute, one.profile) == (other.model, other.compute, other.profile)
    return same and abs(one.memory - other.memory) * 20 <= max(one.memory, other.memory)


def _widths(count: int) -> tuple[int, ...]:
    """How many GPUs jobs may have: one, half of them, all."""
    if count < WIDE_FROM:
        return (1,)
    return (1, count // 2, count) if count % 2 == 0 else (1, count)


def _selection(device: Device, kinds: Mapping[Device, int]) -> GpuSelection:
    """What fits that kind, and of the others as few as can be told from it."""
    model = re.sub(r"^NVIDIA ", "", device.model).strip()
    named = GpuSelection(model=model if re.search("[A-Za-z0-9]", model) else None)
    others = [one for one in kinds if one != device]
    if device.profile is not None:
        named = replace(named, mig=device.profile)
    elif any(named.fits(one) and one.profile is not None for one in others):
        named = replace(named, mig=WHOLE)
    if any(named.fits(one) for one in others) and device.compute is not None:
        major, minor = device.compute
        named = replace(named, compute=f"=={major}.{minor}")
    if any(named.fits(one) and one.memory < device.memory for one in others):
        named = replace(named, min_memory=device.memory // 2**30 * 2**30)
    return named


def _name(device: Device) -> str:
    told = [short_model(device.model) or "gpu", *([device.profile] if device.profile else [])]
    return re.sub(r"[^a-z0-9]+", "-", "-".join(told).lower()).strip("-")[:24].strip("-") or "gpu"


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number where another pool has it."""
    number, free = 2, name
    while free in taken:
        number, free = number + 1, f"{name}-{number}"
    taken.add(free)
    return free
