"""What is told to people elsewhere, and when: two messages an episode of a condition, one for a job's end.

Pure. An episode begins when a condition of a code and pool has stood for a while, and ends when none of them
was there for a longer while: what comes and goes is one episode, and what nobody could act on is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from string import Formatter

from mayfly.core.model import Condition, Severity
from mayfly.core.notice_targets import Target
from mayfly.core.quantities import spoken_age
from mayfly.core.read_on import line

STANDS = 60.0  # seconds that a condition stands before it is told
SETTLED = 300.0  # seconds without it after which it is told to be over
TITLE_MOST = 200  # characters
TEXT_MOST = 4000


class Kind(StrEnum):
    """What a notice is of."""

    BEGAN = "began"
    ENDED = "ended"
    JOB = "job"
    RESERVATION = "reservation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Notice:
    """One message, before anybody's template."""

    kind: Kind
    at: float
    host: str
    code: str = ""  # of a condition
    severity: str = ""
    pool: str = ""
    slots: tuple[str, ...] = ()
    text: str = ""  # the condition's, or the sentence on a job's end
    fix: str = ""  # what to type
    seconds: float = 0.0  # that the episode lasted, or the job ran
    job: str = ""  # or the reservation
    name: str = ""  # that its owner gave it
    user: str = ""
    state: str = ""
    cause: str = ""
    exit_code: int | None = None

    def fields(self) -> dict[str, str]:
        """What a template may name."""
        return {
            "kind": self.kind.value,
            "host": self.host,
            "where": f"{self.host}, pool {self.pool}" if self.pool else self.host,
            "code": self.code,
            "severity": self.severity,
            "pool": self.pool,
            "slots": ", ".join(self.slots),
            "text": self.text,
            "fix": self.fix,
            "help": line(self.code) if self.code else "",
            "duration": spoken_age(self.seconds),
            "job": self.job,
            "name": self.name,
            "user": self.user,
            "state": self.state,
            "cause": self.cause,
            "exit_code": "" if self.exit_code is None else str(self.exit_code),
        }


FIELDS = tuple(Notice(Kind.TEST, 0.0, "").fields())


@dataclass(frozen=True, slots=True)
class Message:
    """As it is sent."""

    title: str
    text: str
    notice: Notice


@dataclass(frozen=True, slots=True)
class Episode:
    """A condition that stands, or did until a moment ago."""

    notice: Notice  # as it would be told, ``at`` when it began
    told: bool = False
    gone: float | None = None  # since when it is not there; None: it is


Key = tuple[str, str, str]  # code, pool and severity


@dataclass(frozen=True, slots=True)
class Episodes:
    """All that goes on; never changed in place."""

    open: Mapping[Key, Episode] = field(default_factory=dict)

    def step(
        self, conditions: Iterable[Condition], host: str, now: float
    ) -> tuple[Episodes, tuple[Notice, ...]]:
        """After one more look at all conditions, and what is to be told."""
        standing: dict[Key, Condition] = {}
        for condition in conditions:
            key = (condition.code, condition.pool or "", condition.severity.value)
            standing.setdefault(key, condition)
        after: dict[Key, Episode] = {}
        told: list[Notice] = []
        for key, episode in self.open.items():
            if key in standing:
                continue
            gone = now if episode.gone is None else min(episode.gone, now)  # clocks are set back
            if now - gone < SETTLED:
                after[key] = replace(episode, gone=gone)
            elif episode.told:
                lasted = max(0.0, gone - episode.notice.at)
                told.append(replace(episode.notice, kind=Kind.ENDED, at=now, seconds=lasted))
        for key, condition in standing.items():
            before = self.open.get(key)
            began = now if before is None else min(before.notice.at, now)
            known = before is not None and before.told
            due = not known and now - began >= STANDS
            notice = _of(condition, host, began)
            after[key] = Episode(notice, told=known or due)
            if due:
                told.append(replace(notice, seconds=now - began))
        return (self if after == self.open else Episodes(after)), tuple(told)

    def due(self, now: float) -> float | None:
        """When there will be something to tell though no condition changes; ``None``: nothing is awaited."""
        dues = [
            episode.gone + SETTLED if episode.gone is not None else episode.notice.at + STANDS
            for episode in self.open.values()
            if episode.gone is not None or not episode.told
        ]
        return max(now, min(dues)) if dues else None


def _of(condition: Condition, host: str, began: float) -> Notice:
    return Notice(
        Kind.BEGAN,
        began,
        host,
        code=condition.code,
        severity=condition.severity.value,
        pool=condition.pool or "",
        slots=tuple(condition.slots),
        text=condition.text,
        fix=condition.fix,
    )


def wanted(target: Target, notice: Notice) -> bool:
    """Whether this one is told that."""
    if notice.kind is Kind.TEST:
        return True
    if target.pools and notice.pool not in target.pools:
        return False
    if target.mail is not None and not target.whom(notice.user):
        return False
    if notice.kind is Kind.JOB:
        if target.users and notice.user not in target.users:
            return False
        return target.jobs == "all" or (target.jobs == "failed" and notice.state != "succeeded")
    if notice.kind is Kind.RESERVATION:
        return target.reservations and (not target.users or notice.user in target.users)
    if target.conditions == "error":
        return notice.severity == Severity.ERROR
    return target.conditions == "warning" and notice.severity != Severity.INFO


OWN: Mapping[Kind, tuple[str, str]] = {
    Kind.BEGAN: ("{where}: {code}", "{text}\n\nNext: {fix}\nWhy: {help}"),
    Kind.ENDED: ("{where}: {code} is over", "It lasted {duration}: {text}"),
    Kind.JOB: ("{where}: job {job} {state}", "{text}"),
    Kind.RESERVATION: ("{where}: reservation {job} {state}", "{text}"),
    Kind.TEST: ("{where}: a test of Mayfly's notices", "{text}"),
}


def message(target: Target, notice: Notice) -> Message:
    """As this one is told it; one line of title, nothing that a terminal or a mail header would obey."""
    fields = notice.fields()
    title, text = OWN[notice.kind]
    title, text = target.title or title, target.text or text
    filled = _printable(_filled(title, fields), " ")[:TITLE_MOST]
    return Message(filled, _printable(_filled(text, fields), "\n")[:TEXT_MOST], notice)


def _filled(template: str, fields: Mapping[str, str]) -> str:
    """A template with its fields put in once: what a job can write in one is not read as another."""
    found = []
    for literal, name, _, _ in Formatter().parse(template):
        found.append(literal)
        if name is not None:
            found.append(fields[name])
    return "".join(found)


def _printable(text: str, line: str) -> str:
    return "".join(
        char if char.isprintable() else line if char == "\n" else " " for char in text
    ).strip()


def template_fault(template: str) -> str:
    """What is wrong with a template, a sentence's end; ``""``: nothing is."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return f"is no template: {error}; a brace of its own is written twice"
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in FIELDS or spec or conversion:
            return f"names {{{name}}}, and there are {', '.join(FIELDS)}"
    return ""
