"""How agents end: let go by their service, then stopped step by step, then cleared away."""

from __future__ import annotations

from mayfly.core.actions import Dismiss, Forget, Remove, Signal
from mayfly.core.facts import AgentStopStepped
from mayfly.core.keeping import awaits_roster, keep_committed, may_hold_untracked_job, tell
from mayfly.core.memory import ENDS_JOBS, Agent, Doom
from mayfly.core.model import Container, DoomReason, Removal, SlotSpec, StopStep
from mayfly.core.plan import Pass
from mayfly.core.rosters import ORPHANED
from mayfly.core.slots import Tenancy, overdue, within

SELF_REMOVAL = 20.0  # seconds for the Engine to remove an ended container by itself


def end(run: Pass, agent: Agent, spec: SlotSpec | None) -> None:
    """The next step towards the end of a doomed agent, if it is time for one."""
    if agent.doom is None or not run.free(agent.generation):
        return
    container = run.containers.get(agent.generation)
    if container is None:
        return
    # An agent that its service refuses cannot get a job, so the dismissal is skipped.
    hard = agent.doom.reason in ENDS_JOBS or agent.doom.reason is DoomReason.REFUSED
    gently = agent.opened is not None and container.live and not hard
    if gently and _let_go(
        run, agent, spec, f"{agent.doom.reason}: it is let go before it is stopped"
    ):
        return
    ladder = (
        tuple(step for step in spec.ladder if gently or not step.idle) if spec is not None else ()
    )
    if agent.opened is None or not container.live:
        ladder = ()
    _climb(run, agent, container, agent.doom, ladder)


def _let_go(run: Pass, agent: Agent, spec: SlotSpec | None, reason: str) -> bool:
    """See that the service gives the agent no further job; False where it cannot, or knows already.

    An entry that belongs to the slot is not taken back for that: jobs wait for it.
    """
    if spec is None or not spec.keeps_entries:
        return _dismiss(run, agent, reason)
    if agent.registration is None or agent.cordoned_there:
        return False
    tell(run, spec, agent, cordoned=True, reason=reason)
    return True


def _dismiss(run: Pass, agent: Agent, reason: str, *, keep: bool = False) -> bool:
    """See that the service lets go of the agent; False where it has, or has nothing to let go of."""
    if not registered_at_service(agent):
        return False
    assert agent.registration is not None
    action = Dismiss(
        agent.generation, agent.slot, agent.pool, agent.registration, reason, keep=keep
    )
    if run.free(action.subject):
        run.actions.append(action)
    return True


def registered_at_service(agent: Agent) -> bool:
    """Whether its service may still know the agent."""
    return not agent.embedded and agent.registration is not None and not agent.dismissed


def sweep(run: Pass) -> None:
    """Entries of ours at a service that no agent of ours stands behind."""
    for (pool, registration), since in run.world.orphans.items():
        if within(run.now, since, ORPHANED):
            run.wakes.append(since + ORPHANED)
            continue
        action = Dismiss(None, None, pool, registration, "no agent of ours stands behind it")
        if run.free(action.subject):
            run.actions.append(action)


def _climb(
    run: Pass, agent: Agent, container: Container, doom: Doom, steps: tuple[StopStep, ...]
) -> None:
    why = f"{doom.reason}: {doom.detail}" if doom.detail else str(doom.reason)
    if 0 < doom.step <= len(steps):
        grace = steps[doom.step - 1].grace
        if within(run.now, doom.stepped, grace):
            run.wakes.append(doom.stepped + grace)
            return
    if doom.step < len(steps):
        run.facts.append(AgentStopStepped(run.now, agent.generation, doom.step + 1))
        signal = steps[doom.step].signal
        run.actions.append(Signal(agent.generation, agent.slot, container.id, signal, why))
    else:
        run.actions.append(Remove(agent.generation, agent.slot, container.id, why))


def kept_failure(run: Pass, spec: SlotSpec, tenancy: Tenancy) -> Agent | None:
    """The slot's last failed agent, while its container is there for somebody to look at."""
    cordon = run.memory.slot(spec.name).cordon
    if spec.removal is not Removal.MANAGER or (cordon is not None and cordon.drain):
        return None
    last = next((agent for agent in reversed(tenancy.settled) if agent.failed), None)
    if last is None or last.exited is None or last.generation not in run.containers:
        return None
    if not within(run.now, last.exited, spec.pool.keep_failed):
        return None
    run.wakes.append(last.exited + spec.pool.keep_failed)
    return last


def clear(run: Pass, agent: Agent, spec: SlotSpec | None, *, kept: bool = False) -> None:
    """What is left of an agent whose outcome is on disk; of one that is ``kept`` the container stays."""
    if not run.free(agent.generation):
        return
    container = run.containers.get(agent.generation)
    keeps = spec is not None and spec.keeps_entries
    due = agent.committed is not None if keeps else not agent.clean
    registered = due and _dismiss(run, agent, "its agent has ended", keep=keeps)
    if container is None:
        if not registered:
            run.actions.append(Forget(agent.generation, agent.slot, "its container is gone"))
        return
    if kept:
        return
    ours = spec is not None and spec.removal is Removal.MANAGER and not container.live
    exited = agent.exited or run.now
    if ours or not within(run.now, exited, SELF_REMOVAL):
        run.actions.append(
            Remove(agent.generation, agent.slot, container.id, "its outcome is on disk")
        )
    else:
        run.wakes.append(exited + SELF_REMOVAL)


def unwanted(run: Pass, tenancy: Tenancy) -> None:
    """A slot that the configuration no longer has: what runs a job ends it, the rest goes."""
    for agent in tenancy.agents:
        if agent.settled:
            clear(run, agent, None)
        elif agent.doom is not None:
            end(run, agent, None)
        elif agent.committed is None:
            run.doom(agent, DoomReason.UNWANTED, "the configuration has no such slot")
        else:
            late = overdue(agent, None, run.now, own=True)
            if late is not None and not awaits_roster(run, None, agent):
                run.doom(agent, *late)
            elif agent.opened is None:
                keep_committed(run, agent)
            elif not agent.busy and not may_hold_untracked_job(agent):
                run.doom(agent, DoomReason.UNWANTED, "the configuration has no such slot")
