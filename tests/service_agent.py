"""An agent of a service, as values for tests that need no host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mayfly.core.memory import Agent
from mayfly.core.model import Generation, PoolName, SlotName

_MADE = Agent(
    generation=Generation("l0000000abcde"),
    slot=SlotName("gh-0"),
    pool=PoolName("gh"),
    serial=1,
    fingerprint="f",
    image="i",
    lease=(),
    born=0.0,
    embedded=False,
)


def service_agent(pool: PoolName, **known: Any) -> Agent:
    """The first agent of the pool's first slot, and what else is known of it."""
    return replace(_MADE, slot=SlotName(f"{pool}-0"), pool=pool, **known)
