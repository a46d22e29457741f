"""Agents on another host that are gone while nobody said that their processes have ended.

Where the engine picks GPUs it may give those of such an agent to another slot at once, so that slot's gate
waits, too, for the time that the processes are given there (law 6, docs/architecture.md). A host that was
lost ends them only once it is back, which the first agent shows that comes to its gate on such a GPU: from
then on they have that time, however long ago their agent went. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mayfly.core.memory import Agent, Memory, SlotMemory
from mayfly.core.model import STOP_GRACE, Desired, Generation, SlotName, SlotSpec, World
from mayfly.core.slots import UNSEEN_MARGIN, SlotStatus, within

UUIDS = ("GPU-", "MIG-")  # how those of NVIDIA's begin
UNNAMED = ""  # stands among the names of GPUs for those that the engine did not name
NOTICED = 30.0  # seconds in which it is noticed that an agent is gone, and more


@dataclass(frozen=True, slots=True)
class UnseenEnd:
    """The agent of a slot is gone, and may still be at work on its GPUs."""

    slot: SlotName
    since: float  # when that was noticed
    lasts: float  # seconds until who ends it there has killed it at last
    devices: tuple[str, ...]  # its GPUs, as the engine has named them; none: it did not say

    @property
    def until(self) -> float:
        """When that time is over."""
        return self.since + self.lasts


def unseen_ends(
    desired: Desired,
    memory: Memory,
    now: float,
    world: World | None = None,
) -> tuple[UnseenEnd, ...]:
    """Those whose time is not over, or whose GPUs have had no work since; by ``world``, too, who has been
    given work and is gone without a word, before there is an account of its end. ``None``: that is not asked.
    """
    specs = {spec.name: spec for spec in desired.slots if not spec.engine.on_this_host}
    if not specs:
        return ()
    longest = max((spec.stop_grace for spec in specs.values()), default=STOP_GRACE)
    found = [
        (name, known.unseen_end, known.unseen_devices)
        for name, known in memory.slots.items()
        if known.unseen_end is not None
    ]
    found += [
        (agent.slot, now, agent.devices)
        for agent in memory.agents.values()
        if world is not None and agent.at_work and _may_be_gone(agent.generation, world)
    ]
    ends = []
    for name, since, devices in found:
        spec = specs.get(name)
        lasts = (spec.stop_grace if spec is not None else longest) + UNSEEN_MARGIN
        named = any(devices)  # (UNNAMED alone is nothing that an agent's gate could be found on.)
        has_gpus = spec is None or bool(spec.pool.devices or named)
        if has_gpus and (named or within(now, since, lasts)):
            ends.append(UnseenEnd(name, since, lasts, devices))
    return tuple(ends)


def _may_be_gone(generation: Generation, world: World) -> bool:
    """Whether its container is away, or will be in the next look, and nobody said how it ended."""
    if world.containers is not None and generation not in world.containers:
        return True
    death = world.deaths.get(generation)
    return death is not None and death.exit_code is None and generation not in world.ended


def on_its_gpus(
    ends: Iterable[UnseenEnd], spec: SlotSpec, agent: Agent, now: float
) -> UnseenEnd | None:
    """Who may be at work on that agent's GPUs, of another slot or where a host was lost meanwhile, for the
    longest, with its time as it is for that agent; ``None``: nobody.
    """
    if not spec.pool.devices:
        return None
    found = [met for one in ends if (met := _met(one, spec, agent)) is not None]
    return max(
        (one for one in found if within(now, one.since, one.lasts)),
        key=lambda one: one.until,
        default=None,
    )


def _met(end: UnseenEnd, spec: SlotSpec, agent: Agent) -> UnseenEnd | None:
    """The same with its time as it is for that agent; ``None``: that has no GPU of it."""
    pairs = [(one, other) for one in end.devices for other in agent.devices]
    if any(_of(one) == _of(other) for one, other in pairs):
        return replace(end, since=max(end.since, agent.ready or end.since))
    if pairs and all(are_two(one, other) for one, other in pairs):
        return None
    if end.slot == spec.name:
        return None  # which its own slot waits for anyway
    # Who stood at its gate before has had its GPUs since then.
    early = agent.ready is not None and agent.ready <= end.since - NOTICED
    return None if early else end


def after_loss(known: SlotMemory, devices: tuple[str, ...]) -> tuple[str, ...]:
    """The GPUs that processes of that slot may be on once an agent with those is gone, too: nobody has been
    on what was left of the ones before.
    """
    if known.unseen_end is None:
        return devices
    before = known.unseen_devices
    both = tuple(dict.fromkeys((*before, *devices)))
    return (*both, UNNAMED) if both and UNNAMED not in both and not (before and devices) else both


def after_opening(
    slots: Mapping[SlotName, SlotMemory], agent: Agent
) -> Mapping[SlotName, tuple[str, ...]]:
    """The GPUs that nobody has been at work on since, of the slots for which that agent's opened gate has
    changed it: nothing is left on those that it has.
    """
    found, its = {}, {_of(one) for one in agent.devices}
    for name, known in slots.items():
        left = tuple(one for one in known.unseen_devices if _of(one) not in its)
        if left != known.unseen_devices:
            found[name] = left
    return found


def are_two(one: str, other: str) -> bool:
    """Whether these are names of two GPUs for certain, that have nothing in common.

    A GPU has a name by its UUID, and another by whoever gives it away (DRIVER/POOL/DEVICE); one that is split
    has one of its own beside those of its parts (MIG-…). So only names of one kind tell two GPUs apart.
    """
    one, other = _of(one), _of(other)
    if one == other:
        return False
    if any(one.startswith(kind) and other.startswith(kind) for kind in UUIDS):
        return True
    (driver, pool), (its_driver, its_pool) = _place(one), _place(other)
    return driver != "" and driver == its_driver and pool != its_pool


def _of(name: str) -> str:
    """The GPU's own name, of one that is shared by time: GPU-…::2 is one turn of it."""
    return name.partition("::")[0]


def _place(name: str) -> tuple[str, str]:
    """Its driver, and the pool of its devices, which is most often a node; empty where it says none."""
    parts = name.split("/")
    return (parts[0], parts[1]) if len(parts) == 3 else ("", "")


def noted(row: SlotStatus, ends: Iterable[UnseenEnd], now: float) -> SlotStatus:
    """The row, which says so where its agent waits for another slot's."""
    if row.note or row.agent is None or row.agent.committed is not None:
        return row
    end = on_its_gpus(ends, row.spec, row.agent, now)
    if end is None:
        return row
    note = (
        f"takes a job in {end.until - now:.0f} s: nobody has said that the last agent of {end.slot} has left "
        "its GPU"
    )
    return replace(row, note=note)
