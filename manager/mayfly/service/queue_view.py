"""Where queued jobs stand, why, and when they may start: read from the loop's state, which is a value.

Asked from the threads of the control socket. It changes nothing, and what it says of times is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import SubmitJob
from mayfly.core.memory import Job, Memory
from mayfly.core.model import Config, Desired, JobId, PoolName
from mayfly.core.queue import Queue, waits
from mayfly.core.queue_estimate import (
    median,
    room_of,
    starts,
    why,
    why_for_its_image,
    why_in_turn,
)
from mayfly.core.reservation_words import why_reserved
from mayfly.core.reserving import in_use
from mayfly.core.state import State
from mayfly.core.submitting import entries
from mayfly.core.taking_turns import waits_for
from mayfly.service import reservation_document

# seconds: shares fade by the hour, and change no order meanwhile that anybody would miss
KEPT = 1.0
NEVER_GIVEN = JobId("-")  # the id of a job that is not there: none begins so
COMPARED = 500  # sorts of jobs whose runs are looked up for one answer


class Runs(Protocol):
    """How long jobs ran: ``edge.history_reader.HistoryReader``."""

    def likenesses(self, pool: str) -> Mapping[JobId, str]:
        """What the runs of each open job of the pool are compared by."""

    def lasted(self, pool: str, alike: str | None = None) -> list[float]:
        """Of how many seconds the last runs were, the newest first."""


class QueueView(Protocol):
    """What the paths of the control socket say of the queue beside what is on disk."""

    def positions(self) -> Mapping[str, int]:
        """Of each job that waits for a slot: 1 is next in its pool."""

    def seconds_left(self, pool: str, timeout: float | None, started: float) -> float | None:
        """How long a job may still run; ``None``: as long as it likes."""

    def standing(self, job: str) -> Mapping[str, Any]:
        """Of a queued job: ``position``, ``starts_at`` and ``why``; else nothing."""

    def standings(self, jobs: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """The same of several, in the time of few."""

    def estimate(self, command: SubmitJob) -> Mapping[str, Any] | Refusal:
        """Where a submission would stand that is not made; or why it would not be taken."""

    def reservations(self) -> dict[str, object]:
        """The calendar of reserved GPUs, as ``mayfly reservations --json`` prints it."""

    def is_reservation(self, job: str) -> bool:
        """Whether it is the job by which somebody has reserved GPUs."""


class NoQueue:
    """Where nothing is known."""

    def reservations(self) -> dict[str, object]:
        """None."""
        return reservation_document.document(Memory(), (), 0.0)

    def is_reservation(self, job: str) -> bool:
        """No."""
        del job
        return False

    def positions(self) -> Mapping[str, int]:
        """None."""
        return {}

    def seconds_left(self, pool: str, timeout: float | None, started: float) -> float | None:
        """Not known."""
        del pool, timeout, started
        return None

    def standing(self, job: str) -> Mapping[str, Any]:
        """Nothing."""
        del job
        return {}

    def standings(self, jobs: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """Nothing."""
        del jobs
        return {}

    def estimate(self, command: SubmitJob) -> Refusal:
        """Not known."""
        del command
        return Refusal(503, "unavailable", "nothing is known of the queue yet: ask again")


NO_QUEUE = NoQueue()


@dataclass(frozen=True, slots=True)
class Kept:
    """An order that was worked out, and what of."""

    memory: Memory = field(default_factory=Memory)
    config: Config | None = None
    desired: Desired | None = None
    at: float = 0.0
    orders: Mapping[PoolName, tuple[Job, ...]] = field(default_factory=dict)


class Keeper:
    """The last one, for all threads: a reference that is read and replaced as a whole."""

    def __init__(self) -> None:
        self._kept = Kept()

    def get(self) -> Kept:
        """What was put there last."""
        return self._kept

    def put(self, kept: Kept) -> None:
        """In place of what was there."""
        self._kept = kept


@dataclass(frozen=True, slots=True)
class LiveQueue:
    """The queue of the loop that runs."""

    state: Callable[[], State]
    now: Callable[[], float]
    runs: Runs
    kept: Keeper = field(default_factory=Keeper)

    def positions(self) -> dict[str, int]:
        """Of each job that waits for a slot: 1 is next in its pool."""
        orders = self._orders(self.state())
        return {
            job.id: place for jobs in orders.values() for place, job in enumerate(jobs, start=1)
        }

    def is_reservation(self, job: str) -> bool:
        """Whether the job is a reservation's."""
        return job in self.state().memory.reservations

    def reservations(self) -> dict[str, object]:
        """The calendar of reserved GPUs."""
        state = self.state()
        using = in_use(state.memory, state.gpus.reading)
        return reservation_document.document(state.memory, using, self.now(), state.config.pools)

    def seconds_left(self, pool: str, timeout: float | None, started: float) -> float | None:
        """How long a job may still run: its own limit, or its pool's, whichever is over first."""
        config = self.state().config
        of_pool = [one.limits.job_timeout for one in config.pools if one.name == pool]
        limits = [limit for limit in (timeout, *of_pool) if limit is not None]
        return max(0.0, started + min(limits) - self.now()) if limits else None

    def standing(self, job: str) -> dict[str, Any]:
        """Of a queued job: ``position``, ``starts_at`` and ``why``; else nothing."""
        return self.standings([job])[job]

    def standings(self, jobs: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The same of several; how long jobs of a pool run is asked once."""
        state = self.state()
        asked: dict[PoolName, Callable[[Job], float | None]] = {}
        return {job: self._standing(state, job, asked) for job in jobs}

    def _standing(
        self, state: State, job: str, asked: dict[PoolName, Callable[[Job], float | None]]
    ) -> dict[str, Any]:
        known = state.memory.jobs.get(JobId(job))
        if known is None or known.agent is not None:
            return {}
        ordered = self._orders(state).get(known.pool, ()) if waits(known) else ()
        place = next((at for at, one in enumerate(ordered, start=1) if one.id == known.id), 0)
        lasting = asked.get(known.pool) or self._lasting(known.pool)
        asked[known.pool] = lasting
        room = room_of(
            known.pool,
            state.desired,
            state.memory,
            self.now(),
            lasting,
            booked=known.image is not None,
        )
        ahead = max(0, place - 1)
        at = None
        if place and state.memory.pause is None:
            at = starts(ordered[:place], room.free_at, lasting)[known.id]
        told = why_for_its_image(known, state.desired, state.memory, self.now())
        turn = waits_for(known.pool, state.turns, state.desired, state.memory)
        if told is None and turn is not None and waits(known) and state.memory.pause is None:
            told, at = why_in_turn(known, ahead, turn), None
        one = state.memory.reservations.get(known.id)
        if one is not None:
            return {
                "position": None,
                # One that takes its turn begins when nobody can tell.
                "starts_at": max(one.start, self.now()) if one.booked else None,
                "why": why_reserved(one),
            }
        told = told or why(known, ahead, room, paused=state.memory.pause is not None)
        return {"position": place or None, "starts_at": at, "why": told}

    def estimate(self, command: SubmitJob) -> dict[str, Any] | Refusal:
        """Where its jobs would stand if they were submitted now: when the last of them starts, why it waits,
        how many are before it, and the slots of its pools. Nothing is changed.
        """
        state, now = self.state(), self.now()
        known = (state.config, state.desired, state.memory)
        found = entries(command, *known, now, new=NEVER_GIVEN, named={})
        if isinstance(found, Refusal):
            return found
        jobs = {entry.job.id: entry.job for entry in found}
        memory = replace(state.memory, jobs={**state.memory.jobs, **jobs})
        as_if = replace(self, state=lambda: replace(state, memory=memory), kept=Keeper())
        standings = list(as_if.standings([*jobs]).values())
        starts_at = [one["starts_at"] for one in standings]
        last = max(standings, key=lambda one: (one["starts_at"] is None, one["starts_at"] or 0.0))
        pools = dict.fromkeys(job.pool for job in jobs.values())
        rooms = [room_of(pool, *known[1:], now, self._lasting(pool)) for pool in pools]
        return {
            "jobs": len(jobs),
            "pools": [*pools],
            "starts_in": None if None in starts_at else max(0.0, max(starts_at) - now),
            "why": last["why"],
            "ahead": max((one["position"] or 1) - 1 for one in standings),
            "slots": sum(room.takes_jobs for room in rooms) if state.memory.pause is None else 0,
            "busy": sum(room.busy for room in rooms),
        }

    def _orders(self, state: State) -> Mapping[PoolName, tuple[Job, ...]]:
        """Of each pool all that wait, in order; worked out once for all who ask within a second."""
        kept, now = self.kept.get(), self.now()
        if (
            kept.memory is state.memory
            and kept.config is state.config
            and kept.desired is state.desired
            and 0 <= now - kept.at < KEPT
        ):
            return kept.orders
        half_life = state.config.host.fair_share_half_life
        queue = Queue(state.memory, now, half_life, state.desired.job_images)
        orders = {pool: tuple(queue.order(pool)) for pool in queue.pools()}
        self.kept.put(Kept(state.memory, state.config, state.desired, now, orders))
        return orders

    def _lasting(self, pool: PoolName) -> Callable[[Job], float | None]:
        """How long a job of the pool runs: the median of the last runs of its like, else of the pool's."""
        alike = self.runs.likenesses(pool)
        of_all = median(self.runs.lasted(pool))
        known: dict[str, float | None] = {}

        def lasting(job: Job) -> float | None:
            sort = alike.get(job.id)
            if sort is None or (sort not in known and len(known) >= COMPARED):
                return of_all
            if sort not in known:
                known[sort] = median(self.runs.lasted(pool, sort))
            found = known[sort]
            return of_all if found is None else found

        return lasting
