"""What a person may change by the page: where it is offered, what is asked first, and how.

Pure. Each is offered for what is theirs alone; whether they may is the manager's to say, when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mayfly.service.page.markup import NOTHING, Html, el, join, safe_id

Row = Mapping[str, Any]
OPEN = frozenset({"queued", "running"})  # states of a job that has not ended
LONGER = 1800.0  # seconds for which something is asked for longer at once


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is done to a job or a reservation. ``{name}`` in its texts is which."""

    link: str  # what leads to it
    question: str
    button: str
    told: str = ""  # what it comes to
    body: Mapping[str, object] = field(default_factory=dict)  # that the manager's path is sent
    ends: bool = False  # something is over then


OF_JOBS: Mapping[str, Act] = {
    "cancel": Act("Cancel…", "Cancel job {name}?", "Cancel job {name}", ends=True),
    "hold": Act(
        "Hold…",
        "Hold job {name} when it has ended?",
        "Hold job {name}",
        "Its container then stays for as long as its pool says, with its files and GPUs, and no other job "
        "begins in its slot. On the host, mayfly attach {name} goes in.",
    ),
    "extend": Act(
        "30 minutes longer…",
        "Hold job {name} for 30 minutes longer?",
        "Hold job {name} for 30 minutes longer",
        body={"seconds": LONGER},
    ),
    "release": Act(
        "Release…",
        "Release job {name}?",
        "Release job {name}",
        "Its container goes, with the files that are in it, and its slot takes the next job. A job that has "
        "not ended is not held then.",
        ends=True,
    ),
}
OF_RESERVATIONS: Mapping[str, Act] = {
    "extend": Act(
        "30 minutes longer…",
        "Extend reservation {name} by 30 minutes?",
        "Extend reservation {name} by 30 minutes",
        body={"for": LONGER},
    ),
    "release": Act(
        "Release…",
        "Release reservation {name}?",
        "Release reservation {name}",
        "Its GPUs are given back. What still runs there of a shell is ended.",
        ends=True,
    ),
}


def wish(row: Row) -> float:
    """For how many seconds a job is to be held when it has ended, as somebody asked; 0: nobody did."""
    told = row.get("hold")
    seconds = told.get("seconds") if isinstance(told, Mapping) else None
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def of_job(row: Row, user: str | None) -> Html:
    """The ways to what they may do to a job; nothing where it is not theirs."""
    if user is None or row.get("owner") != user:
        return NOTHING
    state = row.get("state")
    wished = wish(row) > 0
    words = [
        # A reservation ends with its time, and nothing of it is held.
        *(["hold"] if state == "running" and not wished and not row.get("reservation") else []),
        *(["release"] if state in OPEN and wished else []),
        *(["extend", "release"] if row.get("held") and state not in OPEN else []),
        *(["cancel"] if state in OPEN else []),
    ]
    own = safe_id(row.get("job"))
    return _links([(word, OF_JOBS[word]) for word in words], f"/jobs/{own}", own)


def of_reservation(row: Row, user: str | None) -> Html:
    """The same of a reservation."""
    if user is None or row.get("user") != user:
        return NOTHING
    words = ["extend", "release"] if row.get("state") == "active" else ["release"]
    own = safe_id(row.get("reservation"))
    acts = [(word, OF_RESERVATIONS[word]) for word in words]
    return _links(acts, f"/reservations/{own}", f"reservation-{own}")


def _links(acts: Sequence[tuple[str, Act]], address: str, own: str) -> Html:
    """To where each is asked first."""
    links = [
        el("a", act.link, href=f"{address}/{word}", id=f"{word}-{own}", class_=_looks(act))
        for word, act in acts
    ]
    return el("span", links, class_="acts") if links else NOTHING


def question(act: Act, name: str, address: str, leave: str, token: str, shown: Html) -> Html:
    """What is asked before it is done: a form that is sent to ``address``; ``leave`` leads away."""
    word = address.rpartition("/")[2]
    asked = el(
        "form",
        el("input", type="hidden", name="token", value=token),
        el("button", _of(act.button, name), type="submit", id=word, class_=_looks(act)),
        " ",
        el("a", "Leave it", href=leave, id="leave"),
        method="post",
        action=address,
    )
    told = el("p", _of(act.told, name)) if act.told else None
    return join(el("h2", _of(act.question, name)), shown, told, asked)


def _of(text: str, name: str) -> str:
    return text.replace("{name}", name)


def _looks(act: Act) -> str:
    return "button" if act.ends else "button calm"
