"""GPUs that did not answer an agent, and that their engine gives to nobody until a person has looked.

Pure. A condition for each pool; it ends once the engine has no such rule any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from shlex import quote

from mayfly.core.model import Condition, EngineLines, HostId, PoolName, Severity, SlotName

SPELT_OUT = 6  # rules that a line to type names


@dataclass(frozen=True, slots=True)
class TaintedDevice:
    """A GPU that is given to nobody."""

    device: str  # as the engine calls it
    rule: str  # what a person takes away once it is well
    host: HostId
    pool: PoolName
    slot: SlotName  # whose agent it did not answer


def tainted_conditions(
    devices: Iterable[TaintedDevice], host: HostId, lines: EngineLines
) -> list[Condition]:
    """A condition for each pool of this host whose agents met such a GPU."""
    pools: dict[PoolName, list[TaintedDevice]] = {}
    for one in devices:
        if one.host == host:
            pools.setdefault(one.pool, []).append(one)
    return [_of_pool(pool, found, lines) for pool, found in pools.items()]


def _of_pool(pool: PoolName, found: list[TaintedDevice], lines: EngineLines) -> Condition:
    slots = tuple(dict.fromkeys(one.slot for one in found))
    first, more = found[0], len(found) - 1
    others = f" and {more} more" if more else ""
    rules = " ".join(quote(one.rule) for one in found[:SPELT_OUT])
    fix = lines.untaint.replace("{name}", rules)
    whose = f"an agent of slot {first.slot}" if len(slots) == 1 else f"agents of pool {pool}"
    text = (
        f"device {first.device}{others} did not answer {whose}, and {'are' if more else 'is'} given to "
        "nobody until you have looked"
    )
    return Condition("gpu.tainted", Severity.WARNING, text, fix, pool, slots)
