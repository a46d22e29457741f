"""What the world shows that the memory does not know yet, as facts.

Reading only: nothing here decides to do anything. An agent's end is recorded once, when it is certain: by the
kernel's or the Engine's word that nothing of it runs any more. Its witness says how it ended, never that it
has: a job may have written there. What is unknown is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from mayfly.core import belongings, job_ends
from mayfly.core.apply import apply
from mayfly.core.facts import (
    AgentAdopted,
    AgentDoomed,
    AgentEquipped,
    AgentExited,
    AgentOpened,
    AgentReady,
    Fact,
    JobEnded,
    JobRequeued,
    SlotCooled,
    SlotHeld,
    SlotRecovered,
    SlotReleased,
    SlotUnbooked,
)
from mayfly.core.memory import Agent, Job, Memory, reprieved
from mayfly.core.model import (
    Cause,
    Container,
    ContainerState,
    DoomReason,
    Generation,
    Hold,
    JobState,
    PoolName,
    SlotName,
    Witness,
    World,
)
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.queue import forsaken
from mayfly.core.rosters import confirmations, spared
from mayfly.core.slots import backoff, trial_wait, within

Judge = Callable[[PoolName, End, tuple[str, ...]], Outcome]

ITS_TIME = 60.0  # seconds that an image may take from its start to its gate before it is to blame
LAST_WORDS = 2.0  # seconds that the account of who died at its gate waits for its last line
DOUBT = 3.0  # seconds between an end that nobody here asked for and the account of it
ENGINE_STOP_REACH = 60.0  # an Engine that stops may take this long to end its containers
TRIES = 3
NOBODY = Witness()
# Ends that say nothing against the slot: somebody or something else wanted them.
BLAMELESS = frozenset(
    {
        DoomReason.FORCED,
        DoomReason.DRAINED,
        DoomReason.RECYCLED,
        DoomReason.STALE,
        DoomReason.IMAGE,
        DoomReason.OLD,
        DoomReason.INTERRUPTED,
        DoomReason.UNWANTED,
        DoomReason.SURPLUS,
        DoomReason.CANCELLED,
        DoomReason.CUT_OFF,
        DoomReason.NO_SANDBOX,
        DoomReason.BROKEN_OFF,
        DoomReason.TAKEN_BACK,
        DoomReason.LEASE_LOST,
    }
)

# Its gate stays shut, and its job is not to blame.
NOT_ITS_JOBS = (DoomReason.NO_SANDBOX, DoomReason.BROKEN_OFF)


def notice(
    memory: Memory, world: World, now: float, judge: Judge, in_flight: frozenset[str]
) -> list[Fact]:
    """The facts that follow from the world; subjects ``in_flight`` are not judged by their containers."""
    facts: list[Fact] = []
    for agent in memory.agents.values():
        if not agent.settled:
            facts.extend(_of_agent(agent, memory, world, now, judge, in_flight))
    facts.extend(spared(memory, world, now, judge))
    if world.rosters:
        # A gate that is seen open now counts: its agent may be in the roster already.
        facts.extend(confirmations(apply(memory, facts), world, now))
    if world.containers is not None:
        facts.extend(_strays(memory, world.containers, world, now, in_flight))
    facts.extend(forsaken(memory, now))
    return facts


def _of_agent(
    agent: Agent,
    memory: Memory,
    world: World,
    now: float,
    judge: Judge,
    in_flight: frozenset[str],
) -> Iterator[Fact]:
    witness = world.witnesses.get(agent.generation, NOBODY)
    known = memory.slot(agent.slot)
    if agent.ready is None and witness.ready is not None:
        yield AgentReady(now, agent.generation)
        if known.held is not None and known.hold is Hold.MAKING and agent.doom is None:
            yield SlotReleased(now, agent.slot)
    elif agent.confirmed is not None and known.held is not None and known.hold is Hold.SERVICE:
        yield SlotReleased(now, agent.slot)
    # What no launcher writes a job has written, which may have taken the record of its beginning away.
    begun = now if agent.committed is not None and agent.generation in world.overfull else None
    if agent.opened is None and (witness.opened is not None or begun is not None):
        # A clock set back leaves times of the future behind, and a file's goes by ticks.
        opened = min(max(witness.opened or now, agent.committed or agent.born), now)
        yield AgentOpened(opened, agent.generation)
        agent = reprieved(replace(agent, opened=opened))
    seen = world.containers.get(agent.generation) if world.containers is not None else None
    if seen is not None and seen.devices and seen.devices != agent.devices:
        yield AgentEquipped(now, agent.generation, seen.devices)
    end = _end(agent, witness, world, now, in_flight)
    if end is not None:
        # Nobody may have looked when it ended; and a clock set back leaves times of the future behind.
        at = min(max(_ended_at(agent, witness, world), agent.opened or agent.born), now)
        closing = world.closed.get(agent.generation)
        for fact in settle(agent, end, at, witness.signs, memory, now, judge):
            yield belongings.with_closing(fact, agent, closing)


def _end(
    agent: Agent,
    witness: Witness,
    world: World,
    now: float,
    in_flight: frozenset[str],
) -> End | None:
    """How the agent ended; ``None`` while it has not, or while that is not certain."""
    if witness.exit is not None:
        if not _over(agent, world):
            return None  # who is root in there can write that: until then it is but said
    elif agent.generation in in_flight or not _gone(agent, world):
        return None
    if witness.exit is None and agent.generation in world.unreadable:
        return None  # whether it opened, or how it ended, is unknown
    if not belongings.is_shut(agent, world):
        return None  # what it has made is unknown, and whether it makes more
    death = world.deaths.get(agent.generation)
    at = _ended_at(agent, witness, world)
    engine_stopped = False
    if agent.doom is None and (witness.exit is None or _suspicious(witness)):
        engine_stopped = _engine_stopped(agent, at, world)
        certain = world.containers is not None and not within(now, at, DOUBT)
        if agent.committed is not None and not engine_stopped and not certain:
            return None
        if _may_still_say(agent, world) and within(now, at, LAST_WORDS):
            return None
    died = witness.died if agent.opened is None else None
    code = death.exit_code if death is not None else None
    return End(
        committed=agent.committed is not None,
        opened=agent.opened is not None,
        exit=witness.exit,
        signalled=witness.signalled,
        doom=agent.doom.reason if agent.doom is not None else None,
        because=agent.doom.detail if agent.doom is not None else "",
        engine_stopped=engine_stopped,
        death_seen=death is not None,
        died_with=code if code is not None or died is None else died.code,
        words=died.words if died is not None else world.last_words.get(agent.generation, ""),
        done_to=death.why if death is not None else "",
        unseen=_unseen(agent, witness, world, code),
    )


def _unseen(agent: Agent, witness: Witness, world: World, code: int | None) -> bool:
    """Whether it may have had a job, is gone, and nobody said that its processes have ended: an engine may
    forget a container before its host has ended it.
    """
    if agent.committed is None or witness.exit is not None or agent.generation in world.ended:
        return False
    return (
        code is None and world.containers is not None and agent.generation not in world.containers
    )


def _may_still_say(agent: Agent, world: World) -> bool:
    """Whether the last line of an agent that died at its gate is on its way; its witness may have it."""
    if agent.committed is not None or agent.generation in world.outputs_kept:
        return False
    return world.witnesses.get(agent.generation, NOBODY).died is None


def _suspicious(witness: Witness) -> bool:
    """Whether somebody outside signalled the agent to stop, and it did."""
    return witness.exit is not None and witness.signalled and witness.exit.code != 0


def _ended_at(agent: Agent, witness: Witness, world: World) -> float:
    if witness.exit is not None:
        return witness.exit.at
    death = world.deaths.get(agent.generation)
    if death is not None:
        return death.at
    return world.first_missed.get(agent.generation, agent.born)


def doubtful_until(agent: Agent, world: World) -> float | None:
    """When the account of an end that nobody asked for falls due; ``None`` where nothing is in doubt."""
    if agent.settled or agent.doom is not None:
        return None
    if agent.committed is None:
        if not _gone(agent, world) or not _may_still_say(agent, world):
            return None
        return _ended_at(agent, NOBODY, world) + LAST_WORDS
    witness = world.witnesses.get(agent.generation, NOBODY)
    if _suspicious(witness) or (witness.exit is None and _gone(agent, world)):
        return _ended_at(agent, witness, world) + DOUBT
    return None


def _over(agent: Agent, world: World) -> bool:
    """Whether the kernel or the Engine says that nothing of it runs any more."""
    told = agent.generation in world.ended or agent.generation in world.deaths
    return told or _gone(agent, world)


def _gone(agent: Agent, world: World) -> bool:
    """Whether its container is known to run no longer. (One that was made and not started is no agent's end:
    it is doomed, then removed.)
    """
    return belongings.is_gone(agent, world)


def _engine_stopped(agent: Agent, at: float, world: World) -> bool:
    """Whether an Engine stop after it was last seen running explains its end, noticed at ``at``."""
    stop = world.engine_stop
    if stop is None:
        return False
    last_seen = world.last_seen.get(agent.generation, agent.born)
    return last_seen - DOUBT <= stop <= at + ENGINE_STOP_REACH


def settle(
    agent: Agent,
    end: End,
    at: float,
    signs: tuple[str, ...],
    memory: Memory,
    now: float,
    judge: Judge,
) -> Iterator[Fact]:
    """The account of an agent's end, ``at`` that time: its own, its job's, and what it means for its slot."""
    outcome = judge(agent.pool, end, signs)
    yield AgentExited(
        at=at,
        generation=agent.generation,
        outcome=outcome.result,
        cause=outcome.cause,
        exit_code=end.exit.code if end.exit is not None else None if end.opened else end.died_with,
        oom_kills=end.exit.oom_kills if end.exit is not None else None,
        detail=outcome.detail,
        clean=outcome.result is Result.JOB_DONE
        or (outcome.result is Result.NO_JOB and end.doom is None),
        job_succeeded=outcome.succeeded,
        unseen=end.unseen,
    )
    if agent.committed is not None:
        yield from _job_account(agent, end, outcome, at, memory, now)
    elif not _blameless(end):
        counted = _image_is_to_blame(agent, end)
        yield from unmade_for_job(agent, outcome.detail, memory, now, counted=counted)
    yield from _slot_account(agent, end, outcome, memory, now)


def _job_account(
    agent: Agent, end: End, outcome: Outcome, at: float, memory: Memory, now: float
) -> Iterator[Fact]:
    job = memory.jobs.get(agent.job) if agent.job is not None else None
    if job is None or job.agent != agent.generation:
        return
    if end.opened:
        state = outcome.job or JobState.LOST
        code = end.exit.code if end.exit is not None else None
        if state is JobState.LOST and _again(job):
            yield JobRequeued(now, job.id, agent.generation, counted=False, lost=True)
        else:
            told = job_ends.why(outcome.cause, end, agent, job)
            yield JobEnded(at, job.id, state, outcome.cause, code, told)
    elif job.cancelled_by is not None:
        yield JobEnded(now, job.id, JobState.CANCELLED, Cause.CANCELLED, None)
    else:
        yield _not_begun(job, agent, now, end.because, counted=not _blameless(end))


def _again(job: Job) -> bool:
    """Whether it is run once more where it is lost."""
    return job.lost < job.retry_lost and job.cancelled_by is None


def _not_begun(job: Job, agent: Agent, now: float, because: str, *, counted: bool) -> Fact:
    """What becomes of a job whose agent ended before it began."""
    tries = job.tries + int(counted)
    if tries < TRIES:
        return JobRequeued(now, job.id, agent.generation, counted)
    if _again(job):
        return JobRequeued(now, job.id, agent.generation, counted, lost=True)
    told = job_ends.never_started(tries, because, job.image)
    return JobEnded(now, job.id, JobState.LOST, Cause.NEVER_STARTED, None, told)


def unmade_for_job(
    agent: Agent, why: str, memory: Memory, now: float, *, counted: bool
) -> Iterator[Fact]:
    """What follows for the job that an agent was made for, of the image that it asks for, where that ended
    before its gate was opened: a try of the job where its image is to blame.
    """
    booking = memory.slot(agent.slot).booking
    job = memory.jobs.get(booking.job) if booking is not None else None
    if booking is None or job is None or agent.asked_image != booking.image:
        return
    if agent.born < booking.since:
        return  # an earlier booking's: this one's agent is yet to come
    yield SlotUnbooked(now, agent.slot, job.id, f"no agent of image {booking.image} came of it")
    yield _not_begun(job, agent, now, why, counted=counted)


def _image_is_to_blame(agent: Agent, end: End) -> bool:
    """Whether an agent of an image that a job asks for ended at its gate because of that image: by itself, or
    it had its time and did not come there. All else is the host's: its Engine, its GPUs, its directories.
    """
    if agent.doom is None:
        return True
    if end.doom is not DoomReason.MISSED or agent.ready is not None or agent.armed is None:
        return False
    return agent.doom.at - agent.armed >= ITS_TIME


def _blameless(end: End) -> bool:
    return end.engine_stopped or (end.doom is not None and end.doom in BLAMELESS)


def _slot_account(
    agent: Agent, end: End, outcome: Outcome, memory: Memory, now: float
) -> Iterator[Fact]:
    known = memory.slot(agent.slot)
    if outcome.result in (Result.IMAGE_TOO_OLD, Result.REFUSED):
        reason = outcome.detail or str(outcome.result)
        yield held(agent.slot, agent.fingerprint, reason, Hold.SERVICE, memory, now)
    elif _young(agent, end, outcome):
        yield cooled(agent.slot, _why_young(agent, outcome), memory, now)
    elif known.failures and _lived(end, outcome):
        yield SlotRecovered(now, agent.slot)


def _young(agent: Agent, end: End, outcome: Outcome) -> bool:
    """Whether its end speaks against its slot: it missed a deadline, or ended before it was of use."""
    if end.doom in NOT_ITS_JOBS and end.committed and not end.opened:
        return True  # else a host where that happens each time goes on at full speed
    if end.doom is DoomReason.UNBROUGHT:
        return False  # its job is to blame: else who brings what cannot be put anywhere would stop a pool
    if agent.armed is None or _blameless(end) or outcome.result is Result.JOB_DONE:
        return False
    if agent.asked_image is not None and not end.opened:
        # What is its image's doing, or its job's, says nothing against the slot.
        return not end.committed and not _image_is_to_blame(agent, end)
    missed = end.doom in (DoomReason.MISSED, DoomReason.UNOPENED, DoomReason.REFUSED)
    return missed or outcome.result is Result.DIED_YOUNG or not end.opened


def _why_young(agent: Agent, outcome: Outcome) -> str:
    doom = agent.doom.detail if agent.doom is not None else ""
    if doom and doom not in outcome.detail:
        return doom
    return outcome.detail or "the agent ended before it could be of use"


def _lived(end: End, outcome: Outcome) -> bool:
    """Whether its end shows that agents of the slot live: it did a job, or was there for long."""
    if outcome.result is Result.NO_JOB:
        return end.doom is DoomReason.OLD or (end.doom is None and not end.engine_stopped)
    return outcome.result is Result.JOB_DONE


def cooled(slot: SlotName, reason: str, memory: Memory, now: float) -> SlotCooled:
    """One more young death: the slot waits twice as long as after the last."""
    failures = memory.slot(slot).failures + 1
    return SlotCooled(now, slot, now + backoff(failures), failures, reason)


def held(
    slot: SlotName, fingerprint: str, reason: str, hold: Hold, memory: Memory, now: float
) -> SlotHeld:
    """An agent made so was refused: another is tried, and each time later."""
    known = memory.slot(slot)
    trials = known.trials + 1 if known.held is not None and known.hold is hold else 1
    due = now + trial_wait(hold, trials)
    return SlotHeld(now, slot, reason, hold, due, trials, fingerprint)


def unprepared(agent: Agent, message: str, lasting: bool, memory: Memory, now: float) -> list[Fact]:
    """The account of an agent that could not be made; ``lasting``: not before something changes."""
    known = memory.agents.get(agent.generation)
    if known is None or known.settled:
        return []
    end = AgentExited(now, agent.generation, Result.DIED_YOUNG, None, None, None, message)
    for_slot = unmade(agent.slot, agent.fingerprint, message, lasting, memory, now)
    if agent.asked_image is None:
        return [end, for_slot]
    for_job = unmade_for_job(agent, message, memory, now, counted=lasting)
    return [end, *for_job] if lasting else [end, *for_job, for_slot]


def unmade(
    slot: SlotName, fingerprint: str, message: str, lasting: bool, memory: Memory, now: float
) -> Fact:
    """What follows for a slot whose agent or sandbox could not be made."""
    if lasting:
        return held(slot, fingerprint, message, Hold.MAKING, memory, now)
    return cooled(slot, message, memory, now)


def unopened(
    agent: Agent,
    message: str,
    memory: Memory,
    now: float,
    reason: DoomReason = DoomReason.UNOPENED,
) -> list[Fact]:
    """What follows when opening its gate failed: it is ended, unless it is known to run after all."""
    known = memory.agents.get(agent.generation)
    if known is None or known.settled or known.opened is not None or known.doom is not None:
        return []
    return [AgentDoomed(now, agent.generation, reason, detail=message)]


def _strays(
    memory: Memory,
    containers: Mapping[Generation, Container],
    world: World,
    now: float,
    in_flight: frozenset[str],
) -> Iterator[Fact]:
    """Containers of ours that no record knows: those that run a job are kept, the others ended.

    One that the engine is removing already, which may take it long, is nobody's any more.
    """
    serial = memory.serial
    for generation, container in containers.items():
        if generation in memory.agents or generation in in_flight | world.unreadable:
            continue
        if container.state is ContainerState.REMOVING:
            continue
        serial += 1
        witness = world.witnesses.get(generation, NOBODY)
        yield AgentAdopted(
            now,
            Agent(
                generation=generation,
                slot=container.slot,
                pool=container.pool,
                serial=serial,
                fingerprint=container.fingerprint,
                image=container.image,
                lease=container.lease,
                born=container.created,
                container=container.id,
                armed=container.created,
                committed=container.created,
                opened=witness.opened,
                embedded=container.pool not in world.rosters,
                door=container.door,
            ),
        )
        if witness.opened is None:
            yield AgentDoomed(
                now, generation, DoomReason.INTERRUPTED, detail="found without a record"
            )
