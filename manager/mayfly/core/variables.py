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


# Of every job: who it runs as decides them, so that a pool's would be overridden without a word.
_OF_THE_USER = frozenset({"HOME", "USER", "LOGNAME", "SHELL"})


def problem_with_pool_name(name: str) -> str | None:
    """Why a variable of all jobs of a pool may not be called so; ``None`` where it may."""
    if name in _OF_THE_USER:
        return f"{name} follows from the job's user: set `user`, or give it to one job (submit -e {name}=…)"
    return problem_with_name(name)


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
