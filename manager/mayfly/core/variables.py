"""Which environment variables a person may set, in a pool or for a job.

The names that Mayfly or the NVIDIA runtime give a meaning of their own are kept: through them a job
could name GPUs that another slot leases, or pose as a different agent.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_RESERVED = re.compile(
    r"MAYFLY_.*|NVIDIA_(VISIBLE_DEVICES|DRIVER_CAPABILITIES|REQUIRE_.*|DISABLE_REQUIRE|MIG_.*|"
    r"IMEX_CHANNELS)"
)


def problem_with_name(name: str) -> str | None:
    """Why a variable may not be called so, as a sentence; ``None`` where it may."""
    if _NAME.fullmatch(name) is None:
        return f"{name!r} is not a variable's name"
    if _RESERVED.fullmatch(name) is not None:
        return f"{name} is reserved: Mayfly sets it itself"
    return None


def problem_with_value(value: str) -> str | None:
    """Why a variable may not hold this, as a sentence; ``None`` where it may."""
    return "must not contain a zero byte" if "\0" in value else None
