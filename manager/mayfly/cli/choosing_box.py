"""Which of several boxes a job goes to: the one where it starts first, as each of them estimates it.

Every box is asked, and told only what its answer depends on: neither what the job runs nor its variables. The
job itself, and what it brings, goes to the chosen one alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from mayfly.cli.boxes import Boxes, Told, say_who_is_silent
from mayfly.cli.client import Client, Document
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.plain_text import clean
from mayfly.core.quantities import spoken_age

LARGEST = 1e12
ASKED = ("pool", "priority", "cuda", "gpus", "matrix", "out", "image")  # of a submission


def chosen(
    boxes: Boxes, body: Mapping[str, object], after: Sequence[str]
) -> tuple[str, Client, list[str]]:
    """The box, its manager, and what the jobs are called there that the new one runs ``after``: these decide
    where it goes. ``Trouble`` where no box takes it.
    """
    if after:
        return _where_they_are(boxes, after)
    wanted = {key: body[key] for key in ASKED if body.get(key) is not None}
    told = boxes.each(lambda manager: manager.post("/v1/jobs/estimate", wanted))
    good = [one for one in told if one.answer is not None]
    if not good:
        raise _refused(told)
    say_who_is_silent(told)
    best = min(good, key=lambda one: rank(one.answer or {}))  # of equals the first that was named
    if sys.stderr.isatty():
        say(
            f"to {best.box}: " + "; ".join(f"{one.box} {_spoken(one.answer or {})}" for one in good)
        )
    return best.box, boxes.client(best.box), []


def _where_they_are(boxes: Boxes, after: Sequence[str]) -> tuple[str, Client, list[str]]:
    found = [boxes.found(name) for name in after]
    there = dict.fromkeys(box for box, _ in found)
    if len(there) > 1:
        raise Usage(
            f"--after: a job waits for jobs of one box, and these are of {', '.join(there)}"
        )
    (box,) = there
    return box, boxes.client(box), [name for _, name in found]


def rank(estimate: Document) -> tuple[int, float, float, float]:
    """The less the sooner: when its last job starts where that is known; else how many wait for each slot.
    Where no slot takes jobs comes last.
    """
    slots, seconds = _number(estimate.get("slots")), estimate.get("starts_in")
    ahead, busy = (_number(estimate.get(key)) / max(slots, 1.0) for key in ("ahead", "busy"))
    if slots <= 0:
        return 2, 0.0, ahead, busy
    if not _is_number(seconds):
        return 1, 0.0, ahead, busy
    return 0, float(int(_number(seconds))), ahead, busy  # nobody is sooner than now


def _number(value: object) -> float:
    return max(0.0, float(value)) if _is_number(value) else 0.0


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether it can be counted with: JSON as it is read has more that is called a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -LARGEST < value < LARGEST


def _spoken(estimate: Document) -> str:
    group, seconds, *_ = rank(estimate)
    if group:
        return "has no slot that takes jobs" if group == 2 else "cannot say when"
    return f"in {spoken_age(seconds)}" if seconds >= 1 else "now"


def _refused(told: Sequence[Told[Document]]) -> Trouble:
    """Why none takes it: the same sentence of all is said once."""
    troubles = [one.trouble for one in told if one.trouble is not None]
    sentences = dict.fromkeys(str(trouble) for trouble in troubles)
    kind = type(troubles[0]) if len({type(one) for one in troubles}) == 1 else Trouble
    if len(sentences) == 1:
        return kind(f"no box takes it: {next(iter(sentences))}")
    lines = [f"  {one.box}: {clean(str(one.trouble).splitlines()[0])}" for one in told]
    return kind("\n".join(["no box takes it:", *lines]))
