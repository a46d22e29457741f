"""How agents end: let go by their service, then stopped step by step, then cleared away."""

from __future__ import annotations

from dataclasses import replace

from mayfly.core import held_jobs
from mayfly.core.actions import Action, Dismiss, Forget, Remove, Signal, TakeResults
from mayfly.core.facts import AgentStopStepped, ResultsTaken
from mayfly.core.keeping import (
    awaits_roster,
    cancelled,
    keep_committed,
    lease_lost,
    may_hold_untracked_job,
    set_schedulable,
)
from mayfly.core.memory import ENDS_JOBS, Agent
from mayfly.core.memory import Doom as Dooming
from mayfly.core.model import Container, DoomReason, Phase, Removal, Results, SlotSpec, StopStep
from mayfly.core.plan import STAY, Act, Doom, Stay, Verdict, View
from mayfly.core.rosters import ORPHANED
from mayfly.core.slots import DEADLINES, overdue, within

LETTING_GO = DEADLINES[Phase.ENDING].seconds or 60.0  # seconds for a service to let go of an agent
HUNG = 6.0  # seconds for a client whose calls hang to heed each signal
SELF_REMOVAL = 20.0  # seconds for the Engine to remove an ended container by itself
# seconds that an ended container stays at most until all of its output is on disk
OUTPUT_WAIT = 300.0
RESULTS_WAIT = 600.0  # seconds that it stays at most until what its job's owner wants of it is kept
OUTPUTS_AWAITED = 8  # ended containers of one slot that stay for either
# Of these nothing is waited for: no call that hangs, no report of a job that its service has ended, and none
# of one whose GPUs are somebody else's.
HEEDLESS = frozenset({DoomReason.CUT_OFF, DoomReason.TAKEN_BACK, DoomReason.LEASE_LOST})


def end(view: View, agent: Agent, spec: SlotSpec | None) -> Verdict:
    """The next step towards the end of a doomed agent, if it is time for one."""
    if agent.doom is None or not view.free(agent.generation):
        return STAY
    container = view.containers.get(agent.generation)
    if container is None:
        return STAY
    # An agent that its service refuses cannot get a job, so the dismissal is skipped.
    hard = agent.doom.reason in ENDS_JOBS or agent.doom.reason is DoomReason.REFUSED
    gently = agent.opened is not None and container.live and not hard
    if gently and within(view.now, agent.doom.at, LETTING_GO):
        reason = f"{agent.doom.reason}: it is let go before it is stopped"
        letting_go = _let_go(view, agent, spec, reason)
        if letting_go is not None:
            return replace(letting_go, until=agent.doom.at + LETTING_GO)
    steps = spec.ladder if spec is not None else ()
    ladder = tuple(step for step in steps if gently or not step.idle)
    if agent.doom.reason in HEEDLESS:
        hung = (replace(step, grace=min(step.grace, HUNG)) for step in ladder if not step.idle)
        ladder = tuple(hung)
    if agent.opened is None or not container.live:
        ladder = ()
    return _climb(view, agent, container, agent.doom, ladder)


def _let_go(view: View, agent: Agent, spec: SlotSpec | None, reason: str) -> Stay | Act | None:
    """See that the service gives the agent no further job; ``None`` where it cannot, or knows already.

    An entry that belongs to the slot is not taken back for that: jobs wait for it.
    """
    if spec is None or not spec.keeps_entries:
        if not registered_at_service(agent):
            return None
        actions = _dismissal(view, agent, reason)
        return Act(actions) if actions else STAY
    if agent.registration is None or agent.cordoned_there:
        return None
    return set_schedulable(view, spec, agent, cordoned=True, reason=reason)


def _dismissal(view: View, agent: Agent, reason: str, *, keep: bool = False) -> tuple[Action, ...]:
    """What has the service let go of an agent that it knows; nothing where that is under way."""
    assert agent.registration is not None
    action = Dismiss(
        agent.generation, agent.slot, agent.pool, agent.registration, reason, keep=keep
    )
    return (action,) if view.asks(action.pool, action.subject) else ()


def registered_at_service(agent: Agent) -> bool:
    """Whether its service may still know the agent."""
    return not agent.embedded and agent.registration is not None and not agent.dismissed


def sweep(view: View) -> list[Verdict]:
    """Entries of ours at a service that no agent of ours stands behind."""
    found: list[Verdict] = []
    for (pool, registration), since in view.world.orphans.items():
        if within(view.now, since, ORPHANED):
            found.append(Stay(since + ORPHANED))
            continue
        action = Dismiss(None, None, pool, registration, "no agent of ours stands behind it")
        if view.asks(pool, action.subject):
            found.append(Act((action,)))
    return found


def _climb(
    view: View, agent: Agent, container: Container, doom: Dooming, steps: tuple[StopStep, ...]
) -> Verdict:
    why = f"{doom.reason}: {doom.detail}" if doom.detail else str(doom.reason)
    if 0 < doom.step <= len(steps):
        grace = steps[doom.step - 1].grace
        if within(view.now, doom.stepped, grace):
            return Stay(doom.stepped + grace)
    if doom.step >= len(steps):
        return Act((Remove(agent.generation, agent.slot, container.id, why),))
    stepped = AgentStopStepped(view.now, agent.generation, doom.step + 1)
    signal = steps[doom.step].signal
    return Act((Signal(agent.generation, agent.slot, container.id, signal, why),), (stepped,))


def clear(
    view: View,
    agent: Agent,
    spec: SlotSpec | None,
    *,
    crowded: bool = False,
) -> Verdict:
    """What is left of an agent whose outcome is on disk; of one that is held the container stays.

    Where the manager removes it, it does so once the output is on disk, too, and what its job's owner wants
    of it; in a slot that is ``crowded`` with such containers it waits for neither any longer.
    """
    if not view.free(agent.generation):
        return STAY
    container = view.containers.get(agent.generation)
    if agent.out and agent.opened is not None and agent.results is None:
        return _taking(view, agent, container, crowded=crowded)
    keeps = spec is not None and spec.keeps_entries
    due = agent.committed is not None if keeps else not agent.clean
    registered = due and registered_at_service(agent)
    actions = _dismissal(view, agent, "its agent has ended", keep=keeps) if registered else ()
    if agent.is_held:
        waits = _output_wait(view, agent) if container is not None else None
        return held_jobs.tended(view, agent, spec, container, actions, waits, registered=registered)
    if container is None:
        if registered:
            return Act(actions)
        if agent.generation in view.world.unsure or agent.owes:
            return STAY
        forget = Forget(agent.generation, agent.slot, "its container is gone", door=agent.door)
        return Act((forget,))
    until = None if crowded else _removable(view, agent, spec, container)
    if until is not None:
        return Act(actions, until=until)
    removal = Remove(agent.generation, agent.slot, container.id, "its outcome is on disk")
    return Act((*actions, removal))


def _taking(view: View, agent: Agent, container: Container | None, *, crowded: bool) -> Verdict:
    """What its job's owner wants of its container is kept before anything of it goes, for a while."""
    assert agent.job is not None
    ended = view.world.over.get(agent.generation, agent.exited or view.now)
    if container is None and agent.generation in view.world.unsure:
        return STAY
    if container is None or crowded or not within(view.now, ended, RESULTS_WAIT):
        gone = "its container was removed" if container is None else "they could not be had in time"
        if container is not None and crowded:
            gone = f"{OUTPUTS_AWAITED} jobs of its slot ended before they could be had"
        told = Results(left_out=(f"all of it: {gone}",))
        return Act((), (ResultsTaken(view.now, agent.generation, agent.job, told),))
    if agent.owes:
        return Stay(ended + RESULTS_WAIT)  # what it has made may change them yet
    # The engine waits for its own word where the kernel's was sooner: no look is waited for.
    over = agent.generation in view.world.ended or agent.generation in view.world.deaths
    if container.live and not over:
        return Stay(ended + RESULTS_WAIT)
    why = "its job's results are wanted"
    action = TakeResults(agent.generation, agent.slot, container.id, agent.job, agent.out, why)
    return Act((action,), until=ended + RESULTS_WAIT)


def _removable(
    view: View, agent: Agent, spec: SlotSpec | None, container: Container
) -> float | None:
    """Until when the container of a settled agent stays where it is; ``None``: it may go now."""
    ours = agent.embedded if spec is None else spec.removal is Removal.MANAGER
    if agent.hold is not None and container.live:
        return None  # it was started once more: all that its job printed is on disk
    if container.live or not ours:
        exited = agent.exited or view.now
        return exited + SELF_REMOVAL if within(view.now, exited, SELF_REMOVAL) else None
    return _output_wait(view, agent)


def _output_wait(view: View, agent: Agent) -> float | None:
    """Until when an ended container stays as it is for its output; ``None``: nobody waits for it any more."""
    if agent.generation in view.world.outputs_kept or agent.container is None:
        return None  # what a manager that died was making nobody follows
    over = view.world.over.get(agent.generation, view.now)
    return over + OUTPUT_WAIT if within(view.now, over, OUTPUT_WAIT) else None


def unwanted(view: View, agent: Agent) -> Verdict:
    """An agent of a slot that the configuration no longer has: what runs a job ends it, the rest goes."""
    if agent.settled:
        return clear(view, agent, None)
    if agent.doom is not None:
        return end(view, agent, None)
    if agent.committed is None:
        return Doom(DoomReason.UNWANTED, "the configuration has no such slot")
    if (gone := lease_lost(view, agent)) is not None:
        return gone
    late = overdue(agent, None, view.now, own=True, written=view.written.get(agent.generation))
    if late is not None and not awaits_roster(view, None, agent):
        return Doom(*late)
    if agent.opened is None:
        return keep_committed(view, agent)
    if (given_up := cancelled(view, agent)) is not None:
        return given_up
    if not agent.busy and not may_hold_untracked_job(agent):
        return Doom(DoomReason.UNWANTED, "the configuration has no such slot")
    return STAY
