"""What pools in turn want of their GPUs, as the world and the memory have it: ``core/turns.py`` decides.

Pure. A slot that cannot open its gate whatever its GPUs do keeps nobody from theirs: one that is cordoned,
held or in want of anything takes no part, and an agent that is not there is waited for no longer than one is
made at the most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from mayfly.core import belongings, naming
from mayfly.core.dispatch import Dispatches
from mayfly.core.facts import Fact, TurnAwaited
from mayfly.core.memory import Agent, Memory, SlotMemory
from mayfly.core.model import (
    ContainerState,
    Desired,
    Generation,
    Phase,
    PoolName,
    PoolSpec,
    SlotName,
    SlotSpec,
)
from mayfly.core.plan import View
from mayfly.core.queue import Queue
from mayfly.core.reservations import NOTHING_RESERVED
from mayfly.core.slots import DEADLINES, VACANCY, SlotStatus, Tenancy, cooling, trial_due, within
from mayfly.core.turns import (
    AHEAD,
    NO_TURN,
    Seat,
    Turns,
    accounts,
    active_pools,
    behind,
    caught_up,
    changes,
    decided,
    levels,
)

# Seconds for which GPUs are kept for an agent that is being made, and not for one that never comes.
MAKING = DEADLINES[Phase.PREPARING].seconds or 0.0


@dataclass(frozen=True, slots=True)
class Wants:
    """Who wants a GPU beside those who have one."""

    tenants: Mapping[SlotName, Tenancy]
    leased: Mapping[str, object]  # GPUs that somebody may be at
    queue: Queue
    dispatches: Dispatches
    gates: Mapping[PoolName, int]
    enrolling: AbstractSet[Generation]


def pools_in_turn(desired: Desired) -> dict[PoolName, PoolSpec]:
    """The pools that take turns, in config order."""
    return {spec.pool.name: spec.pool for spec in desired.slots if spec.pool.takes_turns}


def turns_of(view: View, wants: Wants) -> tuple[Turns, list[Fact]]:
    """Whose turn it is, and who has something to do from now on: until that is recorded it is nobody's."""
    pools = pools_in_turn(view.desired)
    active = active_pools(view.memory)
    if not view.desired.slots or not (pools or active):
        return NO_TURN, []
    specs = [spec for spec in view.desired.slots if spec.pool.takes_turns]
    seats = [seat for spec in specs if (seat := _seat(view, wants, spec)) is not None]
    waiting = {name: _waiting(view, wants, pool) for name, pool in pools.items()}
    leases = _leases(specs)
    wanted = seats
    if (
        view.reserved.held or view.reserved.kept
    ):  # who waits behind a reservation has something to do
        bare = replace(view, reserved=NOTHING_RESERVED)
        wanted = [seat for spec in specs if (seat := _seat(bare, wants, spec)) is not None]
    able = {name: _able(view, specs, wanted, name, count) for name, count in waiting.items()}
    facts = changes(pools, leases, view.memory, able, view.now)
    if facts:
        return NO_TURN, [*facts]
    jobs = {name: count or 0 for name, count in waiting.items()}
    used = levels(accounts(view.memory, pools, view.now, AHEAD), pools, leases, active)
    busy = wants.leased.keys() | belongings.gpus_of_forgotten(view)
    return decided(pools, seats, jobs, used, busy), []


def not_next(view: View, wants: Wants) -> frozenset[PoolName]:
    """The pools in turn of which nobody would be next who began to wait now: jobs of another pool are."""
    pools = pools_in_turn(view.desired)
    if len(pools) < 2:
        return frozenset()
    specs = [spec for spec in view.desired.slots if spec.pool.takes_turns]
    able = {seat.pool for spec in specs if (seat := _seat(view, wants, spec)) is not None}
    waiting = {name: _waiting(view, wants, pools[name]) or 0 for name in able}
    return behind(pools, _leases(specs), view.memory, waiting, view.now)


def caught_up_by(view: View, pool: PoolName) -> TurnAwaited | None:
    """What is recorded of a pool's account as its turn begins; ``None``: nothing."""
    pools = pools_in_turn(view.desired)
    if pool not in pools:
        return None
    return caught_up(pools, _leases(view.desired.slots), view.memory, view.now, pool)


def _leases(specs: Iterable[SlotSpec]) -> dict[PoolName, list[str]]:
    """The GPUs of each pool's slots."""
    found: dict[PoolName, list[str]] = {}
    for spec in specs:
        if spec.pool.takes_turns:
            found.setdefault(spec.pool.name, []).extend(spec.lease)
    return found


def _able(
    view: View,
    specs: Iterable[SlotSpec],
    seats: Iterable[Seat],
    pool: PoolName,
    waiting: int | None,
) -> int | None:
    """How many jobs of the pool could have a turn; ``None``: that is not known at the moment."""
    unknown = view.desired.undetermined
    if waiting is None or any(spec.pool.name == pool and spec.name in unknown for spec in specs):
        return None
    own = [seat for seat in seats if seat.pool == pool]
    return waiting + sum(seat.promised for seat in own) if own else 0


def _waiting(view: View, wants: Wants, pool: PoolSpec) -> int | None:
    """How many jobs of the pool wait for a slot, whichever; ``None``: its service has not said."""
    if pool.embedded:
        return wants.queue.waiting(pool.name)
    known = wants.dispatches.get(pool.name)
    if known is None or known.at is None or pool.name in view.down:
        return None
    return max(0, wants.gates.get(pool.name, 0))


def _seat(view: View, wants: Wants, spec: SlotSpec) -> Seat | None:
    """The slot's part in it; ``None``: it takes none now."""
    known = view.memory.slot(spec.name)
    own = wants.tenants.get(spec.name, VACANCY).own
    if not spec.lease or (own is not None and own.committed is not None):
        return None  # it has its turn
    ready = own is not None and _stands_ready(view, spec, own)
    if any(one.hold is not None for one in wants.tenants.get(spec.name, VACANCY).settled):
        return None  # somebody may be in it
    if _is_barred(view, spec, known, ready=ready):
        return None
    if not ready and not _is_made(view, own, known):
        return None
    if own is not None and ready and _is_unproven(view, own):
        return None
    begun = own is not None and not spec.embedded and _has_begun(view, wants, own)
    if view.reserved.owner_of(spec) or view.reserved.bars(spec.name, spec.lease, begun=begun):
        return None
    to_enrol = own if ready and not spec.embedded and not begun else None
    if to_enrol is not None and not view.asks(
        spec.pool.name, naming.enrolment_of(to_enrol.generation)
    ):
        return None
    return Seat(
        spec.name,
        spec.pool.name,
        spec.lease,
        ready=ready,
        promised=begun or known.booking is not None,
        begun=begun,
    )


def _is_barred(view: View, spec: SlotSpec, known: SlotMemory, *, ready: bool) -> bool:
    """Whether its gate would not open if its GPUs were free."""
    if known.cordon is not None:
        return True
    if known.held is not None and (spec.embedded or not trial_due(known, spec, view.now)):
        return True
    if spec.name in view.desired.undetermined or belongings.gateway_is_missing(view, spec):
        return True
    verdict = view.world.gpu_verdicts.get(spec.name)
    if verdict is not None and verdict.sick is not None:
        return True
    last_of_image = ready and spec.name in view.desired.image_blocked
    if spec.name in view.desired.obstacles and not last_of_image:
        return True
    return cooling(known, view.now) and not (ready and spec.embedded)


def _stands_ready(view: View, spec: SlotSpec, own: Agent) -> bool:
    """Whether it stands at its gate; what it sees of its GPUs may not be known yet."""
    if own.ready is None or own.doom is not None or own.lease != spec.lease:
        return False
    container = view.containers.get(own.generation)
    return container is not None and container.live and container.state is not ContainerState.PAUSED


def _is_unproven(view: View, own: Agent) -> bool:
    """Whether it has stood at its gate for long, and nobody could look at what it sees of its GPUs."""
    late = own.ready is not None and not within(view.now, own.ready, MAKING)
    return late and own.generation not in view.world.probes


def _is_made(view: View, own: Agent | None, known: SlotMemory) -> bool:
    """Whether an agent that can take the turn is about to be there."""
    doomed = own.doom.at if own is not None and own.doom is not None else None
    booked = known.booking.since if known.booking is not None else None
    begun = own.born if own is not None else known.vacant_since
    times = [time for time in (begun, doomed, booked) if time is not None]
    return not times or within(view.now, max(times), MAKING)


def _has_begun(view: View, wants: Wants, own: Agent) -> bool:
    """Whether its service has given it a job, or is about to: nobody else gets its GPUs meanwhile."""
    if own.generation in wants.enrolling:
        return True
    given = own.enrolled is not None and own.enrolled_by_run == view.run_id
    return given and own.doom is None


# -- in words ------------------------------------------------------------------------------------


def waits_for(pool: PoolName, turns: Turns, desired: Desired, memory: Memory) -> str | None:
    """Who has the GPUs that the pool waits for, and who is next on them, as the end of a sentence;
    ``None``: it waits for none.
    """
    if pool not in turns.waiting:
        return None
    leases = _leases(desired.slots)
    own = set(leases.get(pool, ()))
    having = {
        agent.pool: None
        for agent in memory.agents.values()
        if agent.at_work and not own.isdisjoint(agent.lease)
    }
    before = [
        other
        for other in turns.waiting[: turns.waiting.index(pool)]
        if not own.isdisjoint(leases.get(other, ()))
    ]
    gpus = "its GPU" if len(own) == 1 else "its GPUs"
    has = (
        f"{_pools(list(having))} {'has' if len(having) == 1 else 'have'} {gpus}, and "
        if having
        else ""
    )
    return f"{has}next in turn is {_pools(before[:1] or [pool])}"


def _pools(names: list[PoolName]) -> str:
    """``pool a``, ``pools a and b``."""
    shown = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"pool{'s' if len(names) > 1 else ''} {shown}"


def noted(row: SlotStatus, turns: Turns, desired: Desired, memory: Memory) -> SlotStatus:
    """The row, which says so where its agent waits for its turn."""
    agent = row.agent
    if row.note or agent is None or agent.committed is not None or agent.doom is not None:
        return row
    if not row.spec.pool.takes_turns or row.spec.name in turns.granted:
        return row
    told = waits_for(row.spec.pool.name, turns, desired, memory)
    if told is None:
        return row
    awaited = turns.next.get(row.spec.name)
    kept = f"next on its GPUs, {_missing(awaited)}" if awaited else f"waits for its turn: {told}"
    return replace(row, note=kept)


def _missing(awaited: tuple[str, ...]) -> str:
    more = f" and {len(awaited) - 1} more" if len(awaited) > 1 else ""
    return f"waits for {awaited[0]}{more}"
