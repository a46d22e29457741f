"""Rosters: one thread a service pool asks the service who is there, and sends what it said.

It asks when it is told to: the pace is decided in ``core/contact.py``. A failed question is sent as failed;
the last answer is not sent again in its place. The same thread tries an enrolment where one was refused, so
that nobody else waits for that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeAlias

from mayfly.core.model import PoolName
from mayfly.core.requests import Trial
from mayfly.core.stimuli import (
    EnrolmentTried,
    Failure,
    RosterFailed,
    RosterSeen,
    ServiceAnswered,
    WaitingAnswered,
    WaitingSeen,
    WaitingUnseen,
)
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.lasting_thread import LastingThread
from mayfly.providers import Answering, Provider, Queueing
from mayfly.service.bugs import Bug, bug
from mayfly.service.failures import failure_of

Heard: TypeAlias = (
    RosterSeen
    | RosterFailed
    | ServiceAnswered
    | EnrolmentTried
    | WaitingSeen
    | WaitingUnseen
    | WaitingAnswered
)


class RosterWatch:
    """Asks one pool's service until stopped."""

    def __init__(
        self,
        pool: PoolName,
        provider: Provider,
        send: Callable[[Heard | Bug], None],
    ) -> None:
        self._pool = pool
        self._provider = provider
        self._send = send
        self._rung = threading.Event()
        self._asked = self._knocked = self._stopping = False
        self._trials: SimpleQueue[Trial] = SimpleQueue()
        self._labels: tuple[tuple[str, ...], ...] | None = None  # to ask with which jobs wait
        self._ending: SimpleQueue[str] = SimpleQueue()  # jobs that are to be cancelled
        self._thread = LastingThread(self._run, f"roster-{pool}")
        self._thread.start_if_possible()

    def ask(self) -> None:
        """Ask the service who is there, now or after what is asked of it now."""
        self._asked = True
        self._rung.set()
        self._thread.start_if_possible()  # where there was none to be had before

    def knock(self) -> None:
        """Ask the service for something small; one that has nothing small is asked who is there."""
        if not isinstance(self._provider, Answering):
            self.ask()
            return
        self._knocked = True
        self._rung.set()
        self._thread.start_if_possible()

    def try_enrolment(self, trial: Trial) -> None:
        """Ask the service for an enrolment that nobody gets; its outcome is sent."""
        self._trials.put(trial)
        self._rung.set()
        self._thread.start_if_possible()

    def ask_waiting(self, labels: tuple[tuple[str, ...], ...]) -> None:
        """Ask the service which jobs wait, where it can tell."""
        if isinstance(self._provider, Queueing):
            self._labels = labels
            self._rung.set()
            self._thread.start_if_possible()

    def cancel_waiting(self, waiting: str) -> None:
        """Have the service cancel one of them."""
        self._ending.put(waiting)
        self._rung.set()
        self._thread.start_if_possible()

    def stop(self) -> None:
        """End after the question under way."""
        self._stopping = True
        self._rung.set()

    def _run(self) -> None:
        while True:
            self._rung.wait()
            self._rung.clear()
            if self._stopping:
                return
            while not self._trials.empty():
                self._send(EnrolmentTried(self._pool, self._try(self._trials.get())))
            if self._asked:
                self._asked = self._knocked = False
                self._hear(self._roster)
            elif self._knocked:
                self._knocked = False
                self._hear(self._answer)
            while not self._ending.empty():
                waiting = self._ending.get()
                self._send(WaitingAnswered(self._pool, waiting, self._cancel(waiting)))
            if self._labels is not None:
                labels, self._labels = self._labels, None
                self._send(self._waiting(labels))

    def _waiting(self, labels: tuple[tuple[str, ...], ...]) -> WaitingSeen | WaitingUnseen:
        """Which jobs wait; a service that does not tell is no trouble of the pool's."""
        assert isinstance(self._provider, Queueing)
        try:
            return WaitingSeen(self._pool, self._provider.waiting(labels))
        except Fault as fault:
            return WaitingUnseen(self._pool, failure_of(fault))
        except Exception as error:  # noqa: BLE001  a bug in here costs this look
            self._send(bug(f"the jobs that wait for pool {self._pool}", error))
            return WaitingUnseen(self._pool, _unexpected(error))

    def _cancel(self, waiting: str) -> Failure | None:
        """Why a job was not cancelled; ``None``: it was."""
        try:
            if isinstance(self._provider, Queueing):
                self._provider.cancel_waiting(waiting)
        except Fault as fault:
            return failure_of(fault)
        except Exception as error:  # noqa: BLE001  nor may it end the thread
            self._send(bug(f"the end of a job that waits for pool {self._pool}", error))
            return _unexpected(error)
        return None

    def _roster(self) -> RosterSeen:
        roster = self._provider.roster()
        return RosterSeen(self._pool, roster, self._provider.roster_interval)

    def _answer(self) -> ServiceAnswered:
        assert isinstance(self._provider, Answering)
        self._provider.answer()
        return ServiceAnswered(self._pool)

    def _hear(self, ask: Callable[[], RosterSeen | ServiceAnswered]) -> None:
        try:
            self._send(ask())
        except Fault as fault:
            self._send(RosterFailed(self._pool, failure_of(fault)))
        except Exception as error:  # noqa: BLE001  a bug in here must not leave the pool without a roster
            self._send(bug(f"the roster of pool {self._pool}", error))
            self._send(RosterFailed(self._pool, _unexpected(error)))

    def _try(self, trial: Trial) -> Failure | None:
        """Why no enrolment is given; ``None`` where one is. It is given back, unless it is the slot's."""
        try:
            given = self._provider.enrol(trial.agent, trial.labels)
            if given.registration is not None and not self._provider.traits.keeps_entries:
                with suppress(
                    Fault
                ):  # what stays is found in the next roster, and belongs to nobody
                    self._provider.dismiss(given.registration)
        except Fault as fault:
            return failure_of(fault)
        except Exception as error:  # noqa: BLE001  nor one in there without a trial
            self._send(bug(f"the trial of pool {self._pool}", error))
            return _unexpected(error)
        return None


def _unexpected(error: Exception) -> Failure:
    return failure_of(Passing(f"{type(error).__name__}: {error}"))
