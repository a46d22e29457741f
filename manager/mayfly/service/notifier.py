"""Tells people elsewhere of conditions and of jobs' ends, on threads of its own: nothing waits for it.

One thread looks at what the loop publishes and keeps the episodes; each target has one of its own, so that
who is slow or dead delays nobody else. What a target did not take is tried again for some hours, also after a
restart.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mayfly.core.doubling import doubling
from mayfly.core.facts import Fact, JobEnded
from mayfly.core.memory import Memory
from mayfly.core.model import Condition, PoolName, Severity
from mayfly.core.notice_targets import Target
from mayfly.core.notices import Episode, Episodes, Kind, Message, Notice, message, wanted
from mayfly.core.reservation_notices import of_reservation
from mayfly.edge import state_file
from mayfly.edge.faults import Fault, Passing, Refused, TakenBySome
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.log import Log
from mayfly.service.board import StatusBoard

LOOK = 1.0  # seconds at least between two looks at what is published
QUIET = 60.0  # and at most
AGAIN = 5.0  # seconds after the first try of a message
AGAIN_MOST = 600.0
OLD = 6 * 3600.0  # seconds after which a message is worth nothing any more
KEPT = 200  # messages that one target may be behind
TELLING = 300.0  # seconds that a target takes nothing before that is a condition

Send = Callable[[Target, Message], None]


class Notifier:
    """All targets; ``recorded`` and ``conditions`` are for the loop's thread, and never wait."""

    subject = "the notices"

    def __init__(
        self,
        targets: Sequence[Target],
        host: str,
        place: Path,
        board: StatusBoard,
        log: Log,
        send: Send,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``place``: a directory of the state, where what is to outlive a restart is kept."""
        self._host = host
        self._place = place
        self._board = board
        self._now = now
        self._stopping = threading.Event()
        self._posts = [Post(one, place / f"to-{one.name}.json", log, send, now) for one in targets]
        self._episodes = Episodes()
        self._watch = LastingThread(self._look, "notices")

    def start(self) -> None:
        """Begin; without targets there is nothing to begin."""
        if not self._posts:
            return
        with suppress(OSError):  # without a directory nothing outlives a restart
            self._place.mkdir(mode=0o700, exist_ok=True)
        self._episodes = _read_episodes(self._place / "episodes.json")
        for post in self._posts:
            post.start()
        self._watch.start()

    def stop(self) -> None:
        """End; what was not taken is kept for the next manager."""
        self._stopping.set()
        for post in self._posts:
            post.stop()

    def recorded(self, facts: Iterable[Fact], before: Memory) -> None:
        """Jobs have ended, or something has come to what is reserved, and that is on disk."""
        targets = [post.target for post in self._posts]
        if all(one.jobs == "none" and not one.reservations for one in targets):
            return
        for fact in facts:
            if isinstance(fact, JobEnded):
                self._tell(of_job(fact, before, self._host))
            elif (notice := of_reservation(fact, before, self._host)) is not None:
                self._tell(notice)

    def conditions(self) -> list[Condition]:
        """The targets that take nothing."""
        found = (post.condition() for post in self._posts)
        return [condition for condition in found if condition is not None]

    def _tell(self, notice: Notice) -> None:
        for post in self._posts:
            if wanted(post.target, notice):
                post.put(notice)

    def _look(self) -> None:
        """Keep the episodes until it is stopped."""
        rev = 0
        while not self._stopping.wait(LOOK):
            due = self._episodes.due(self._now())
            left = QUIET if due is None else min(QUIET, max(0.0, due - self._now()))
            published = self._board.wait(rev, left)
            if published is None:
                continue
            rev = published.rev
            before = self._episodes
            self._episodes, notices = before.step(
                conditions_of(published.document), self._host, self._now()
            )
            for notice in notices:
                self._tell(notice)
            if _told(before) != _told(self._episodes):
                _write(self._place / "episodes.json", _episodes_document(self._episodes))


class Post:
    """One target, and what it is still to be told, the oldest first."""

    def __init__(
        self, target: Target, place: Path, log: Log, send: Send, now: Callable[[], float]
    ) -> None:
        self.target = target
        self._place = place
        self._log = log
        self._send = send
        self._now = now
        self._waiting: deque[Notice] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._tries = 0  # in a row
        self._later: dict[int, tuple[int, float]] = {}  # of single messages: tries, and when again
        self._failing: tuple[float, str] | None = None  # since when, and why it was the last time
        self._thread = LastingThread(self._run, f"notice-{target.name}"[:15])

    def start(self) -> None:
        """Begin with what an earlier manager could not hand over."""
        self._waiting.extend(_read_notices(self._place))
        self._thread.start()

    def stop(self) -> None:
        """End; nobody waits for what is under way, which may be told twice for that."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._keep()

    def put(self, notice: Notice) -> None:
        """One more message; where too many wait the oldest is dropped, which the log says."""
        with self._changed:
            dropped = self._one_too_many() if len(self._waiting) >= KEPT else None
            self._waiting.append(notice)
            self._changed.notify_all()
        if dropped is not None:
            self._dropped(dropped, f"{KEPT} later ones wait")

    def _one_too_many(self) -> Notice:
        """The oldest end of a job, and where there is none the oldest condition."""
        jobs = (one for one in self._waiting if one.kind in (Kind.JOB, Kind.RESERVATION))
        dropped = next(jobs, self._waiting[0])
        self._forget(dropped)
        return dropped

    def _forget(self, notice: Notice) -> None:
        self._later.pop(id(notice), None)
        for at, one in enumerate(self._waiting):
            if one is notice:
                del self._waiting[at]
                return

    def condition(self) -> Condition | None:
        """That it has taken nothing for long."""
        failing = self._failing
        if failing is None or self._now() - failing[0] < TELLING:
            return None
        return Condition(
            "notify.failing",
            Severity.WARNING,
            f'notify target "{self.target.name}" takes nothing: {failing[1]}',
            f"sudo mayfly notify test {self.target.name}",
        )

    def _run(self) -> None:
        while (notice := self._next()) is not None:
            self._hand_over(notice)

    def _next(self) -> Notice | None:
        """The oldest message of those that are due, once one is; ``None``: it is over."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                dues = [self._later.get(id(one), (0, now))[1] for one in self._waiting]
                for notice, due in zip(self._waiting, dues, strict=True):
                    if due <= now:
                        return notice
                self._changed.wait(min(dues) - now if dues else None)
            return None

    def _hand_over(self, notice: Notice) -> None:
        if self._now() - notice_time(notice) > OLD:
            self._done(notice)
            self._dropped(notice, self._failing[1] if self._failing else "it is too old")
            if not self._waiting:
                self._failing = None  # nobody waits for it any more
            return
        try:
            self._send(self.target, message(self.target, notice))
        except TakenBySome as fault:  # who has it is not told again
            self._log.event("notice.refused", str(fault), target=self.target.name)
        except Fault as fault:
            self._failed(notice, fault)
            return
        except Exception as error:  # noqa: BLE001  a bug costs this message and no other
            self._done(notice)
            self._dropped(notice, f"this is a bug in mayfly: {error!r}")
            return
        self._failing = None
        self._done(notice)

    def _done(self, notice: Notice) -> None:
        with self._changed:
            kept = self._tries > 0 or id(notice) in self._later
            self._forget(notice)
        self._tries = 0
        if kept:
            self._keep()

    def _failed(self, notice: Notice, fault: Fault) -> None:
        if self._failing is None:
            self._log.event(
                "notice.delayed", str(fault), target=self.target.name, code=notice.code or None
            )
        self._failing = (self._failing[0] if self._failing else self._now(), str(fault))
        self._keep()
        # It may be for its own owner's address, or its own words. Conditions keep their order.
        if isinstance(fault, Refused) or notice.kind in (Kind.JOB, Kind.RESERVATION):
            self._put_off(notice)
        if isinstance(fault, Refused):
            return
        self._tries += 1
        pause = doubling(AGAIN, AGAIN_MOST, self._tries)
        if isinstance(fault, Passing) and fault.retry_after is not None:
            pause = max(pause, fault.retry_after)
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, pause)

    def _put_off(self, notice: Notice) -> None:
        """Others are tried before it is again."""
        with self._changed:
            if not any(one is notice for one in self._waiting):
                return  # it was one too many meanwhile
            tries = self._later.get(id(notice), (0, 0.0))[0] + 1
            due = time.monotonic() + doubling(AGAIN, AGAIN_MOST, tries)
            self._later[id(notice)] = tries, due

    def _keep(self) -> None:
        """Write down what waits."""
        with self._changed:
            waiting = [asdict(notice) for notice in self._waiting]
        _write(self._place, waiting)

    def _dropped(self, notice: Notice, why: str) -> None:
        self._log.event(
            "notice.dropped",
            f"{notice.kind} {notice.code or notice.job} was not told: {why}",
            target=self.target.name,
        )


def deliver(target: Target, text: Message) -> None:
    """Hand a message over; a ``Fault`` where that fails."""
    from mayfly.edge import notice_sending  # noqa: PLC0415  it brings requests

    notice_sending.send(target, text)


def notice_time(notice: Notice) -> float:
    """When it was to be told: of a condition, once it had stood for a while."""
    return notice.at + notice.seconds if notice.kind is Kind.BEGAN else notice.at


def of_job(fact: JobEnded, before: Memory, host: str) -> Notice:
    """What is told of a job's end."""
    job = before.jobs.get(fact.job)
    began = job.started if job is not None else None
    seconds = max(0.0, fact.at - began) if began is not None else 0.0
    name = (job.name or "") if job is not None else ""
    called = f"{fact.job} ({name})" if name else fact.job
    why = fact.detail or (fact.cause.value if fact.cause is not None else "")
    return Notice(
        Kind.JOB,
        fact.at,
        host,
        pool=job.pool if job is not None else "",
        slots=(job.slot,) if job is not None and job.slot is not None else (),
        text=f"{called} {fact.state.value}{f': {why}' if why else ''}",
        fix=f"mayfly logs {fact.job}",
        seconds=seconds,
        job=fact.job,
        name=name,
        user=(job.owner or "") if job is not None else "",
        state=fact.state.value,
        cause=fact.cause.value if fact.cause is not None else "",
        exit_code=fact.exit_code,
    )


def conditions_of(document: Mapping[str, object]) -> list[Condition]:
    """The conditions that a published status has."""
    rows: Any = document.get("health", ())
    return [
        Condition(
            row["code"],
            Severity(row["severity"]),
            row["text"],
            row["fix"],
            PoolName(row["pool"]) if row["pool"] else None,
            tuple(row["slots"]),
        )
        for row in rows
    ]


# -- what outlives a restart --------------------------------------------------------------------


def _told(episodes: Episodes) -> dict[tuple[str, str, str], bool]:
    return {key: one.gone is None for key, one in episodes.open.items() if one.told}


def _episodes_document(episodes: Episodes) -> list[dict[str, object]]:
    return [
        {"notice": asdict(one.notice), "gone": one.gone}
        for one in episodes.open.values()
        if one.told
    ]


def _read_episodes(place: Path) -> Episodes:
    """The episodes that have been told; none where the file cannot be read."""
    found = {}
    for row in _rows(place):
        with suppress(TypeError, KeyError, ValueError):
            notice = _notice(row["notice"])
            gone = None if row["gone"] is None else float(row["gone"])
            key = (notice.code, notice.pool, notice.severity)
            found[key] = Episode(notice, told=True, gone=gone)
    return Episodes(found)


def _read_notices(place: Path) -> list[Notice]:
    found = []
    for row in _rows(place):
        with suppress(TypeError, KeyError, ValueError):
            found.append(_notice(row))
    return found[-KEPT:]


def _notice(row: Mapping[str, Any]) -> Notice:
    notice = Notice(**row)
    return replace(notice, kind=Kind(notice.kind), slots=tuple(notice.slots))


def _rows(place: Path) -> list[Any]:
    try:
        rows = json.loads(state_file.content(place) or b"[]")
    except (Refused, ValueError):
        return []
    return rows if isinstance(rows, list) else []


def _write(place: Path, rows: object) -> None:
    """A disk that does not take it costs a message told twice or not after a restart, and nothing now."""
    with suppress(OSError):
        state_file.write(place, json.dumps(rows))
