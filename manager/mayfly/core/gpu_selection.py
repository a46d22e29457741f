"""Which GPUs a pool asks for where it names none: by model, memory, compute capability and MIG profile.

Values and rules over them alone. What NVML says of a device is compared as it stands: nothing is rounded, and
what NVML does not say fits nothing that asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from operator import eq, ge, gt, le, lt

from mayfly.core.quantities import spoken_size

WHOLE = "none"  # in place of a profile: no MIG device at all
_WORD = re.compile(r"[a-z0-9]+")
_BOUND = re.compile(r"\s*(>=|<=|==|>|<)\s*([0-9]{1,2})\.([0-9])\s*")
# As NVIDIA names them: compute slices, memory slices, memory, and what is special about it.
_PROFILE = re.compile(r"([1-7]c\.)?[1-7]g\.[0-9]{1,3}gb([+-][a-z.]{1,12})*")
_HOLDS: dict[str, Callable[[tuple[int, int], tuple[int, int]], bool]] = {
    ">=": ge,
    "<=": le,
    "==": eq,
    ">": gt,
    "<": lt,
}
_ALL = tuple((major, minor) for major in range(100) for minor in range(10))


@dataclass(frozen=True, slots=True)
class Device:
    """What NVML says of a device that CUDA sees as a GPU."""

    model: str  # of the GPU itself, such as "NVIDIA A100-SXM4-40GB"; also where it is a part of it
    memory: int  # bytes, of a MIG device its own
    compute: tuple[int, int] | None  # None: NVML did not say
    profile: str | None  # of a MIG device; None: it is a whole GPU


@dataclass(frozen=True, slots=True)
class GpuSelection:
    """Which GPUs a pool's may be; a key that is not said asks for nothing."""

    model: str | None = None  # words of the model's name
    min_memory: int | None = None  # bytes
    compute: str | None = None  # such as ">=8.0,<9.0"
    mig: str | None = None  # a profile, or "none": whole GPUs alone

    def fits(self, device: Device) -> bool:
        """Whether the pool may have that device."""
        if self.model is not None and not _named(self.model, device.model):
            return False
        if self.min_memory is not None and device.memory < self.min_memory:
            return False
        if self.compute is not None and not _within(self.compute, device.compute):
            return False
        if self.mig is None:
            return True
        return (device.profile or WHOLE).lower() == self.mig.lower()

    @property
    def words(self) -> str:
        """What is asked for, as the end of a sentence about GPUs: ``of model "H100" with at least 40GiB``."""
        found: list[str] = []
        if self.model is not None:
            found.append(f'of model "{self.model}"')
        if self.mig is not None:
            found.append(
                "that are no MIG devices" if self.mig == WHOLE else f"of MIG profile {self.mig}"
            )
        if self.min_memory is not None:
            found.append(f"with at least {spoken_size(self.min_memory)}")
        if self.compute is not None:
            found.append(f"of compute capability {self.compute}")
        return " ".join(found)


def model_problem(text: str) -> str | None:
    """Why no model can be called so; ``None`` where one can."""
    if not text.isprintable() or not _WORD.findall(text.lower()):
        return f'{text!r} has no word of a model\'s name such as "H100" or "RTX 6000 Ada"'
    return None


def compute_problem(text: str) -> str | None:
    """Why that says no compute capabilities; ``None`` where it does."""
    bounds = _bounds(text)
    if bounds is None:
        return f'{text!r} is not such as ">=8.0", "==9.0" or ">=8.0,<9.0"'
    if not any(_within(text, one) for one in _ALL):
        return f"{text!r} is no compute capability at all: its bounds exclude each other"
    return None


def profile_problem(text: str) -> str | None:
    """Why no MIG device has that profile; ``None`` where one may."""
    if text == WHOLE or _PROFILE.fullmatch(text.lower()):
        return None
    return f'{text!r} is no MIG profile such as "1g.10gb", and not "{WHOLE}" (whole GPUs alone)'


def _named(asked: str, name: str) -> bool:
    """Whether each word that is asked for is a whole word of the name, in the same order."""
    words = iter(_WORD.findall(name.lower()))
    return all(word in words for word in _WORD.findall(asked.lower()))


def _within(asked: str, compute: tuple[int, int] | None) -> bool:
    bounds = _bounds(asked)
    if compute is None or bounds is None:
        return False
    return all(_HOLDS[sign](compute, version) for sign, version in bounds)


@cache
def _bounds(text: str) -> tuple[tuple[str, tuple[int, int]], ...] | None:
    """Each comparison; ``None`` where the text is none."""
    found = []
    for part in text.split(","):
        match = _BOUND.fullmatch(part)
        if match is None:
            return None
        found.append((match[1], (int(match[2]), int(match[3]))))
    return tuple(found)
