"""How a memory follows from facts: ``apply`` is the only way in which it changes.

Replaying the facts of a history gives the memory again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from mayfly.core import failed_runs, unseen_ends
from mayfly.core.facts import (
    AgentAdopted,
    AgentArmed,
    AgentAttached,
    AgentCleared,
    AgentConfirmed,
    AgentCordoned,
    AgentCreated,
    AgentDetached,
    AgentDismissed,
    AgentDoomed,
    AgentEnrolled,
    AgentEquipped,
    AgentExited,
    AgentFact,
    AgentHeld,
    AgentOpened,
    AgentReady,
    AgentRemoved,
    AgentStopStepped,
    AgentThrottled,
    AgentUnthrottled,
    ClockJumped,
    ClocksFact,
    ClocksLocked,
    ClocksLocking,
    ClocksRefused,
    ClocksUnlocked,
    Fact,
    GateOpening,
    GpuFact,
    GpuHealed,
    GpuHealing,
    GpuReset,
    GpuResetting,
    HoldAsked,
    HoldEnded,
    HoldExtended,
    HoldFact,
    HostClosing,
    HostKept,
    HostPausing,
    HostReturned,
    JobCancelling,
    JobEnded,
    JobRequeued,
    JobSubmitted,
    ManagerPaused,
    ManagerResumed,
    ReservationBegan,
    ReservationEnded,
    ReservationExtended,
    ReservationFact,
    ReservationIdled,
    ReservationMade,
    ReservationUsed,
    ReservationWarned,
    ResultsTaken,
    RunSubmitted,
    SlotBooked,
    SlotCooled,
    SlotCordoned,
    SlotFact,
    SlotHeld,
    SlotRecovered,
    SlotReleased,
    SlotUnbooked,
    SlotUncordoned,
    TurnAwaited,
    TurnEnded,
    TurnWaived,
    WaitingCancelled,
    WaitingCancelling,
)
from mayfly.core.memory import (
    ENDS_JOBS,
    NO_SHARE,
    NO_TURNS,
    NOTHING,
    Booking,
    ClockLock,
    Doom,
    Heal,
    HoldWish,
    JobHold,
    Memory,
    ShareKey,
    Visit,
    reprieved,
)
from mayfly.core.model import (
    Generation,
    Hold,
    JobId,
    JobState,
    Phase,
    PoolName,
    Priority,
    SlotName,
)
from mayfly.core.queue import followed, followers
from mayfly.core.reserved_hours import moved, with_ended


class _Draft:
    """A memory being rewritten: the large tables are copied at once, the others with each change."""

    def __init__(self, memory: Memory) -> None:
        self.agents = dict(memory.agents)
        self.slots = dict(memory.slots)
        self.jobs = dict(memory.jobs)
        self.pause = memory.pause
        self.serial = memory.serial
        self.shares = memory.shares
        self.turns = memory.turns
        self.heals = memory.heals
        self.reservations = memory.reservations
        self.had = memory.had
        self.followers: dict[JobId, list[JobId]] | None = None  # None: not looked up yet

    def agent(self, generation: Generation, **changes: object) -> None:
        known = self.agents.get(generation)
        if known is not None:
            self.agents[generation] = replace(known, **changes)  # type: ignore[arg-type]

    def reprieve(self, generation: Generation) -> None:
        known = self.agents.get(generation)
        if known is not None:
            self.agents[generation] = reprieved(known)

    def slot(self, name: SlotName, **changes: object) -> None:
        self.slots[name] = replace(self.slots.get(name, NOTHING), **changes)  # type: ignore[arg-type]

    def job(self, job: JobId, **changes: object) -> None:
        known = self.jobs.get(job)
        if known is not None:
            self.jobs[job] = replace(known, **changes)  # type: ignore[arg-type]

    def begin(self, job: JobId, generation: Generation, at: float) -> None:
        known, agent = self.jobs.get(job), self.agents.get(generation)
        if known is not None and agent is not None:
            self.jobs[job] = replace(known, agent=generation, slot=agent.slot)
            if known.brings:
                self.agent(generation, brings=True, out=known.out)
            if self.slots.get(agent.slot, NOTHING).booking is not None:
                self.slot(agent.slot, booking=None)
            self.share(known.share, started=at)

    def follow(self, ended: JobId, state: JobState) -> None:
        """What was to run after a job that has ended."""
        if self.followers is None:
            self.followers = followers(self.jobs.values())
        for job in self.followers.get(ended, ()):
            if job in self.jobs:
                self.jobs[job] = followed(self.jobs[job], ended, state)

    def share(self, key: ShareKey, **changes: float) -> None:
        changed = replace(self.shares.get(key, NO_SHARE), **changes)
        self.shares = {**self.shares, key: changed}

    def turn(self, pool: PoolName, **changes: float | None) -> None:
        known = self.turns.get(pool, NO_TURNS)
        self.turns = {**self.turns, pool: replace(known, **changes)}  # type: ignore[arg-type]

    def heal(self, gpu: str, **changes: object) -> None:
        known = self.heals.get(gpu)
        if known is not None:
            self.heals = {**self.heals, gpu: replace(known, **changes)}  # type: ignore[arg-type]

    def reservation(self, one: JobId, **changes: object) -> None:
        known = self.reservations.get(one)
        if known is not None:
            changed = replace(known, **changes)  # type: ignore[arg-type]
            self.reservations = {**self.reservations, one: changed}

    def done(self) -> Memory:
        return Memory(
            agents=self.agents,
            slots=self.slots,
            jobs=self.jobs,
            pause=self.pause,
            serial=self.serial,
            shares=self.shares,
            turns=self.turns,
            heals=self.heals,
            reservations=self.reservations,
            had=self.had,
        )


def apply(memory: Memory, facts: Iterable[Fact]) -> Memory:
    """The memory after the facts; facts about what is no longer known change nothing."""
    happened = tuple(facts)
    if not happened:
        return memory
    draft = _Draft(memory)
    for fact in happened:
        _write(draft, fact)
    return draft.done()


def _write(draft: _Draft, fact: Fact) -> None:  # noqa: C901, PLR0912  a case for each fact
    match fact:
        case (
            AgentCreated()
            | AgentAdopted()
            | AgentArmed()
            | AgentReady()
            | AgentEquipped()
            | AgentEnrolled()
            | GateOpening()
            | AgentOpened()
            | AgentConfirmed()
            | AgentDismissed()
            | AgentCordoned()
            | AgentThrottled()
            | AgentUnthrottled()
            | AgentDoomed()
            | AgentStopStepped()
            | AgentExited()
            | ResultsTaken()
            | AgentCleared()
            | AgentRemoved()
        ):
            _write_agent(draft, fact)
        case (
            AgentAttached()
            | AgentDetached()
            | HoldAsked()
            | AgentHeld()
            | HoldExtended()
            | HoldEnded()
        ):
            _write_visit(draft, fact)
        case (
            SlotCooled()
            | SlotRecovered()
            | SlotHeld()
            | SlotReleased()
            | SlotCordoned()
            | SlotUncordoned()
            | SlotBooked()
            | SlotUnbooked()
        ):
            _write_slot(draft, fact)
        case ClocksLocking() | ClocksLocked() | ClocksRefused() | ClocksUnlocked():
            _write_clocks(draft, fact)
        case JobSubmitted(job=job):
            draft.jobs[job.id] = job
            draft.followers = None
            draft.serial = max(draft.serial, job.serial)
        case RunSubmitted() | WaitingCancelling() | WaitingCancelled():
            pass  # its jobs are remembered, each by itself
        case HostClosing() | HostPausing() | HostKept() | HostReturned():
            pass  # the slots that are closed for it are cordoned
        case JobRequeued(job=job_id, counted=counted, lost=lost):
            known = draft.jobs.get(job_id)
            if known is not None:
                tries = 0 if lost else known.tries + int(counted)
                again = {"tries": tries, "lost": known.lost + int(lost)}
                draft.job(job_id, agent=None, slot=None, started=None, **again)
        case JobCancelling(job=job_id, by=by):
            draft.job(job_id, cancelled_by=by)
        case JobEnded(at=at, job=job_id, state=state, used=used):
            known = draft.jobs.pop(job_id, None)
            if known is not None and used is not None:
                before = draft.shares.get(known.share, NO_SHARE)
                draft.share(known.share, used=used, at=max(before.at, at))
            draft.follow(job_id, state)
        case TurnAwaited(at=at, pool=pool, used=used):
            draft.turn(pool, used=used, since=at)
        case TurnEnded(pool=pool, used=used):
            draft.turn(pool, used=used)
        case TurnWaived(pool=pool):
            draft.turn(pool, since=None)
        case GpuHealing() | GpuResetting() | GpuReset() | GpuHealed():
            _write_heal(draft, fact)
        case (
            ReservationMade()
            | ReservationBegan()
            | ReservationUsed()
            | ReservationWarned()
            | ReservationIdled()
            | ReservationExtended()
            | ReservationEnded()
        ):
            _write_reservation(draft, fact)
        case ManagerPaused(pause=pause):
            draft.pause = pause
        case ManagerResumed():
            draft.pause = None
        case ClockJumped(by=by):
            _shift(draft, by)
        case _:
            assert_never(fact)


def _write_slot(draft: _Draft, fact: SlotFact) -> None:
    match fact:
        case SlotCooled(slot=slot, until=until, failures=failures, reason=reason):
            first = draft.slots.get(slot, NOTHING).failing_since if failures > 1 else None
            since = fact.at if first is None else first
            draft.slot(
                slot, cooling_until=until, failures=failures, reason=reason, failing_since=since
            )
        case SlotRecovered(slot=slot):
            draft.slot(slot, cooling_until=None, failures=0, reason="", failing_since=None)
        case SlotHeld(slot=slot, reason=reason):
            draft.slot(
                slot,
                held=reason,
                hold=fact.hold,
                trial_at=fact.trial_at,
                trials=fact.trials,
                held_with=fact.fingerprint,
            )
        case SlotReleased(slot=slot, by=by):
            draft.slot(slot, cooling_until=None, failures=0, reason="", **RELEASED)
            if by is not None:
                draft.slot(slot, failed_run=None)
        case SlotCordoned(slot=slot, cordon=cordon):
            draft.slot(slot, cordon=cordon)
        case SlotUncordoned(slot=slot):
            draft.slot(slot, cordon=None, failed_run=None)
        case SlotBooked(at=at, slot=slot, job=job_id, image=image):
            draft.slot(slot, booking=Booking(job_id, image, at))
        case SlotUnbooked(slot=slot):
            draft.slot(slot, booking=None)
        case _:
            assert_never(fact)


def _write_heal(draft: _Draft, fact: GpuFact) -> None:
    match fact:
        case GpuHealing(at=at, gpu=gpu):
            heal = Heal(
                gpu,
                together=fact.together,
                devices=fact.devices,
                mig=fact.mig,
                slots=fact.slots,
                reason=fact.reason,
                asked=at,
                by=fact.by,
            )
            draft.heals = {**draft.heals, gpu: heal}
        case GpuResetting(at=at, gpu=gpu, run_id=run_id):
            draft.heal(gpu, began=at, run_id=run_id)
        case GpuReset(at=at, gpu=gpu):
            draft.heal(gpu, reset=at)
        case GpuHealed(at=at, gpu=gpu, failure=failure):
            draft.heal(gpu, ended=at, failure=failure)
            if fact.untouched:
                draft.heal(gpu, began=None)
        case _:
            assert_never(fact)


def _write_reservation(draft: _Draft, fact: ReservationFact) -> None:
    match fact:
        case ReservationMade(reservation=one):
            draft.reservations = {**draft.reservations, one.id: one}
        case ReservationBegan(at=at, reservation=one, slots=slots, devices=devices, until=until):
            draft.reservation(one, began=at, taken=slots, devices=devices, until=until)
        case ReservationUsed(at=at, reservation=one):
            draft.reservation(one, used=at, idled=False)
        case ReservationWarned(reservation=one, minutes=minutes):
            draft.reservation(one, warned=minutes)
        case ReservationIdled(reservation=one):
            draft.reservation(one, idled=True)
        case ReservationExtended(at=at, reservation=one, until=until):
            known = draft.reservations.get(one)
            told = known.warned if known is not None else None
            # Nobody is told the same anew for each second more that somebody asks for.
            stands = told is not None and until - at <= told * 60.0
            draft.reservation(one, until=until, warned=told if stands else None)
        case ReservationEnded(at=at, reservation=one, used=used):
            known = draft.reservations.get(one)
            draft.reservations = {
                key: kept for key, kept in draft.reservations.items() if key != one
            }
            if known is not None and not known.shell:
                for slot in known.taken:  # what is looked at from before may show its owner's work
                    draft.slot(slot, vacant_since=at)
            if known is not None and used is not None:
                _write_share(draft, (known.pool, known.uid), used, at)
            if known is not None and known.began is not None:
                whose, end = (known.pool, known.uid), min(at, known.ends)
                draft.had = {**draft.had, whose: with_ended(draft.had.get(whose), known, end)}
        case _:
            assert_never(fact)


def _write_clocks(draft: _Draft, fact: ClocksFact) -> None:
    lock = draft.slots.get(fact.slot, NOTHING).clocks
    match fact:
        case ClocksLocking():
            asked = (fact.generation, fact.gpus, fact.clock, fact.memory_clock)
            draft.slot(fact.slot, clocks=ClockLock(*asked, fact.at))
        case ClocksLocked(at=at, driver=driver, began=began) if lock is not None:
            draft.slot(
                fact.slot,
                clocks=replace(lock, locked=at, driver=driver, began=began),
                clocks_refused="",
                clocks_retry=None,
            )
        case ClocksRefused(reason=reason, retry_at=retry_at) if lock is not None:
            draft.slot(
                fact.slot,
                clocks=replace(lock, refused=reason),
                clocks_refused=reason,
                clocks_retry=retry_at,
            )
        case ClocksUnlocked():
            draft.slot(fact.slot, clocks=None)
        case _:
            pass


def _write_visit(draft: _Draft, fact: AgentAttached | AgentDetached | HoldFact) -> None:
    if not isinstance(fact, AgentAttached | AgentDetached):
        _write_hold(draft, fact)
        return
    known = draft.agents.get(fact.generation)
    if known is None or not fact.mark:
        return
    others = tuple(visit for visit in known.attached if visit.mark != fact.mark)
    entered = (Visit(fact.by, fact.mark),) if isinstance(fact, AgentAttached) else ()
    draft.agent(fact.generation, attached=(*others, *entered))


def _write_hold(draft: _Draft, fact: HoldFact) -> None:
    if isinstance(fact, HoldAsked):
        if fact.generation is not None:
            draft.agent(fact.generation, hold_wish=HoldWish(fact.seconds, fact.by))
        elif fact.job is not None:
            draft.job(fact.job, hold=HoldWish(fact.seconds, fact.by))
        return
    known = draft.agents.get(fact.generation)
    hold = known.hold if known is not None else None
    match fact:
        case AgentHeld(at=at, generation=generation, user=user, uid=uid, until=until):
            draft.agent(generation, hold=JobHold(user, uid, at, until, fact.latest))
        case HoldExtended(generation=generation, until=until) if hold is not None:
            draft.agent(generation, hold=replace(hold, until=until))
        case HoldEnded(at=at, generation=generation) if hold is not None:
            draft.agent(generation, hold=replace(hold, over=at))
        case _:
            pass


RELEASED: Mapping[str, object] = {
    "held": None,
    "hold": Hold.PERSON,
    "trial_at": None,
    "trials": 0,
    "held_with": "",
}
AGENT_TIMES = (
    "born",
    "armed",
    "ready",
    "enrolled",
    "committed",
    "opened",
    "confirmed_at",
    "idle_at",
    "throttled",
    "exited",
    "cleared",
)

HEAL_TIMES = ("asked", "began", "reset", "ended")


def ahead(memory: Memory, now: float) -> float:
    """How many seconds what is remembered lies in the future: the clock was set back meanwhile."""
    times = [
        *(getattr(agent, name) for agent in memory.agents.values() for name in AGENT_TIMES),
        *(getattr(heal, name) for heal in memory.heals.values() for name in HEAL_TIMES),
        *(
            time
            for slot in memory.slots.values()
            for time in (
                *(slot.vacant_since, slot.gate_at, slot.unseen_end),
                *((slot.clocks.since, slot.clocks.locked) if slot.clocks is not None else ()),
            )
        ),
    ]
    return max(0.0, max((time - now for time in times if time is not None), default=0.0))


def _moved(value: float | None, by: float) -> float | None:
    return None if value is None else value + by


def _moved_lock(lock: ClockLock | None, by: float) -> ClockLock | None:
    if lock is None:
        return None
    return replace(lock, since=lock.since + by, locked=_moved(lock.locked, by))


def _moved_hold(hold: JobHold | None, by: float) -> JobHold | None:
    """It lasts as long as it was to."""
    if hold is None:
        return None
    moved = replace(hold, since=hold.since + by, until=hold.until + by, latest=hold.latest + by)
    return replace(moved, over=_moved(hold.over, by))


def _shift(draft: _Draft, by: float) -> None:
    """Move every time that an age is counted from; a time promised to a person stays."""
    for generation, agent in list(draft.agents.items()):
        times = {name: _moved(getattr(agent, name), by) for name in AGENT_TIMES}
        doom = agent.doom
        if doom is not None:
            doom = replace(doom, at=doom.at + by, stepped=doom.stepped + by)
        draft.agent(generation, **times, doom=doom, hold=_moved_hold(agent.hold, by))
    for name, slot in list(draft.slots.items()):
        run = slot.failed_run
        if run is not None:
            run = replace(run, since=run.since + by, last=run.last + by)
        booking = slot.booking
        if booking is not None:
            booking = replace(booking, since=booking.since + by)
        draft.slot(
            name,
            failed_run=run,
            booking=booking,
            cooling_until=_moved(slot.cooling_until, by),
            vacant_since=_moved(slot.vacant_since, by),
            unseen_end=_moved(slot.unseen_end, by),
            failing_since=_moved(slot.failing_since, by),
            trial_at=_moved(slot.trial_at, by),
            clocks=_moved_lock(slot.clocks, by),
            clocks_retry=_moved(slot.clocks_retry, by),
            gate_at=_moved(slot.gate_at, by),
        )
    for job_id, job in list(draft.jobs.items()):
        draft.job(job_id, started=_moved(job.started, by), submitted=job.submitted + by)
    for key, share in draft.shares.items():
        draft.share(key, at=share.at + by)
        if share.started is not None:
            draft.share(key, started=share.started + by)
    for pool, account in draft.turns.items():
        draft.turn(pool, since=_moved(account.since, by))
    for reservation, one in draft.reservations.items():
        # One that has begun lasts as long as it was to; one that is booked is for a time of the clock.
        times = {name: _moved(getattr(one, name), by) for name in ("began", "until", "used")}
        draft.reservation(reservation, **times)
    draft.had = {whose: moved(one, by) for whose, one in draft.had.items()}
    for gpu, heal in draft.heals.items():
        times = {name: _moved(getattr(heal, name), by) for name in HEAL_TIMES}
        draft.heal(gpu, **times)


def _write_agent(draft: _Draft, fact: AgentFact) -> None:  # noqa: C901, PLR0912, PLR0915  a case for each fact
    match fact:
        case AgentCreated(agent=agent) | AgentAdopted(agent=agent):
            draft.agents[agent.generation] = agent
            draft.serial = max(draft.serial, agent.serial)
        case AgentArmed(at=at, generation=generation, container=container):
            draft.agent(generation, armed=at, container=container)
        case AgentReady(at=at, generation=generation):
            draft.agent(generation, ready=at)
        case AgentEquipped(generation=generation, devices=devices):
            draft.agent(generation, devices=devices)
        case AgentEnrolled(at=at, generation=generation):
            draft.agent(
                generation,
                enrolled=at,
                registration=fact.registration,
                registered=fact.registered,
                enrolled_by_run=fact.run_id,
            )
        case GateOpening(at=at, generation=generation, run_id=run_id, job=job, timeout=timeout):
            draft.agent(generation, committed=at, run_id=run_id, job=job, timeout=timeout)
            if job is not None:
                draft.begin(job, generation, at)
            opened = draft.agents.get(generation)
            if opened is not None:
                draft.slot(opened.slot, gate_at=at)
            if opened is not None and opened.devices:
                for name, left in unseen_ends.after_opening(draft.slots, opened).items():
                    since = draft.slots[name].unseen_end if left else None
                    draft.slot(name, unseen_end=since, unseen_devices=left)
        case AgentOpened(at=at, generation=generation):
            draft.agent(generation, opened=at)
            draft.reprieve(generation)
            known = draft.agents.get(generation)
            if known is not None and known.job is not None:
                draft.job(known.job, started=at)
        case AgentConfirmed(at=at, generation=generation, phase=phase):
            draft.agent(generation, confirmed=phase, confirmed_at=at)
            known = draft.agents.get(generation)
            if phase is Phase.IDLE and known is not None and known.idle_at is None:
                draft.agent(generation, idle_at=at)
            if fact.registration is not None:
                draft.agent(generation, registration=fact.registration)
            draft.reprieve(generation)
        case AgentDismissed(generation=generation):
            draft.agent(generation, dismissed=True)
        case AgentCordoned(generation=generation, cordoned=cordoned):
            draft.agent(generation, cordoned_there=cordoned)
        case AgentThrottled(at=at, generation=generation, excess=excess):
            known = draft.agents.get(generation)
            if known is not None:
                since = at if known.throttled is None else known.throttled
                draft.agent(generation, throttled=since, excess=(*known.excess, excess))
        case AgentUnthrottled(generation=generation):
            draft.agent(generation, throttled=None, excess=())
        case AgentDoomed(at=at, generation=generation, reason=reason, by=by, detail=detail):
            known = draft.agents.get(generation)
            if known is not None and (reason in ENDS_JOBS or not known.busy):
                draft.agent(generation, doom=Doom(reason, at, by, detail))
        case AgentStopStepped(at=at, generation=generation, step=step):
            known = draft.agents.get(generation)
            if known is not None and known.doom is not None:
                draft.agent(generation, doom=replace(known.doom, step=step, stepped=at))
        case AgentExited(at=at, generation=generation):
            draft.agent(generation, exited=at, clean=fact.clean, failed=fact.failed, made=fact.made)
            known = draft.agents.get(generation)
            if known is not None:
                draft.slot(known.slot, vacant_since=at, left=known.lease)
                if fact.unseen:
                    left = unseen_ends.after_loss(draft.slots[known.slot], known.devices)
                    draft.slot(known.slot, unseen_end=at, unseen_devices=left)
                for name, run in failed_runs.after_end(draft.slots, known, fact).items():
                    draft.slot(name, failed_run=run)
        case ResultsTaken(at=at, generation=generation):
            draft.agent(generation, results=at)
        case AgentCleared(at=at, generation=generation):
            draft.agent(generation, cleared=at)
            known = draft.agents.get(generation)
            if known is not None:  # what is looked at from before then may show what it had made
                draft.slot(known.slot, vacant_since=at, left=known.lease)
        case AgentRemoved(at=at, generation=generation):
            gone = draft.agents.pop(generation, None)
            if (
                gone is not None and gone.hold is not None
            ):  # until now somebody may have been at its GPUs
                draft.slot(gone.slot, vacant_since=at, left=gone.lease)
                if fact.used is not None:
                    _write_share(draft, (gone.pool, gone.hold.uid), fact.used, at)
        case _:
            assert_never(fact)


def _write_share(draft: _Draft, whose: tuple[PoolName, int | None], used: float, at: float) -> None:
    """What somebody's share of a pool is, with slots that they had otherwise than by a job."""
    key = (*whose, Priority.NORMAL)
    draft.share(key, used=used, at=max(draft.shares.get(key, NO_SHARE).at, at))
