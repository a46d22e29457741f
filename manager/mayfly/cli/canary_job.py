"""``mayfly init`` has one small job run at the service, and says what became of it.

What is run is there already and is named by a person: the set-up stays whatever comes of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mayfly.cli.examination import handed_over
from mayfly.cli.setup_flow import Question
from mayfly.cli.setup_look import AGAIN
from mayfly.cli.setup_questions import Questions
from mayfly.cli.talk import say
from mayfly.cli.trouble import TimedOut, Trouble
from mayfly.core import naming
from mayfly.core.model import HostSpec, PoolSpec, SlotName
from mayfly.core.plain_text import clean
from mayfly.core.quantities import spoken_age, whole_number
from mayfly.edge.faults import Fault, Passing
from mayfly.providers.canary_job import (
    BegunRun,
    CanaryJobs,
    PerhapsBegun,
    RunnableJob,
    SeenJob,
    SeenRun,
)
from mayfly.providers.installed import guarded, package
from mayfly.providers.setting_up import Offer

NONE = "none"  # typed for no job
CANNOT = "cannot run a job at its service"
UNANSWERED = 5  # looks in a row that may fail


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a job is waited for."""

    seconds: float = 600.0
    every: float = 3.0  # seconds between two looks
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


USUAL = Patience()


def offered(provider: str) -> bool:
    """Whether its service can be asked to run something."""
    found = package(provider)
    return found is not None and found.canary is not None


def try_at_service(
    pool: PoolSpec,
    host: HostSpec,
    questions: Questions,
    named: str | None,
    patience: Patience = USUAL,
) -> None:
    """Run what was ``named``, or what a person chooses, and say what became of it.

    ``Trouble`` where that did not end well on a slot of the pool, or what was named could not be run.
    """
    found = package(pool.provider)
    if found is None or found.canary is None or (named is None and not questions.asking):
        return
    maker = found.canary
    with handed_over():
        try:
            jobs = guarded(found.name, lambda: maker()(pool), CANNOT)
            wanted = named or _chosen(jobs, questions)
            if wanted is None:
                return
            begun = guarded(found.name, lambda: jobs.begin(wanted), CANNOT)
        except PerhapsBegun as fault:
            raise Trouble(
                f"all is set up, and {clean(wanted or '')} may have begun, which is not known: "
                f"{_told(fault)}: see {clean(fault.url)}"
            ) from fault
        except Fault as fault:
            why = _told(fault)
            if named is None:
                say(f"no job is tried: {why}")
                return
            raise Trouble(f"all is set up, and no job was tried: {why}") from fault
        say(f"running {clean(wanted)}, which is shown at {clean(begun.url)}")
        try:
            say(_outcome(jobs, begun, pool, host, patience))
        except KeyboardInterrupt:
            say(f"it goes on at the service: {clean(begun.url)}")
            raise


def _told(fault: Fault) -> str:
    """A fault without what a manager would do about it."""
    text = str(fault)
    for again in AGAIN:
        text = text.removesuffix(again)
    return text


# -- what is run ------------------------------------------------------------------------------------------


def _chosen(jobs: CanaryJobs, questions: Questions) -> str | None:
    """What a person wants to have run; ``None``: nothing."""
    there = jobs.runnable()
    if not there:
        say("no job is tried: nothing is there that could be run by hand")
        return None
    say(
        "a job can be tried: what you choose is run as its own page would run it, with all its jobs"
    )
    question = Question(
        "choice",
        f"Which one, a number or {jobs.form}, or {NONE}",
        NONE,
        tuple(Offer(_shown(one), {}) for one in there),
    )
    answer = questions.ask(question, lambda text: _wrong(there, text, jobs.form))
    if answer == NONE:
        return None
    number = whole_number(answer)
    return there[number - 1].name if number is not None else answer


def _shown(one: RunnableJob) -> str:
    return clean(one.name) + ("  (asks for this pool)" if one.asks_for_us else "")


def _wrong(there: Sequence[RunnableJob], answer: str, form: str) -> str | None:
    number = whole_number(answer)
    if answer == NONE or (number is None and "/" in answer):
        return None
    if number is not None and 1 <= number <= len(there):
        return None
    return f"{answer!r} is none of them: a number from 1 to {len(there)}, {form}, or {NONE}"


# -- what became of it --------------------------------------------------------------------------------------


def _outcome(
    jobs: CanaryJobs, begun: BegunRun, pool: PoolSpec, host: HostSpec, patience: Patience
) -> str:
    """Wait until a job of it has ended on a slot of the pool; the sentence on that."""
    until = patience.clock() + patience.seconds
    unanswered, page, taken = 0, clean(begun.url), False
    seen = SeenRun(False, "", ())
    while True:
        try:
            seen = guarded(pool.provider, lambda: jobs.look(begun), CANNOT)
            unanswered, page = 0, clean(seen.url) or page
        except Passing as fault:
            unanswered += 1
            if unanswered == UNANSWERED:
                raise Trouble(
                    f"it was begun and cannot be followed: {_told(fault)}: {page}"
                ) from fault
        except Fault as fault:
            raise Trouble(f"it was begun and cannot be followed: {_told(fault)}: {page}") from fault
        ours = {job: slot for job in seen.jobs if (slot := _slot(job, pool, host)) is not None}
        for job, slot in ours.items():
            if job.ended:
                return _ended(job, slot, page)
            if not taken:
                say(f"{slot} has taken it")
                taken = True
        if seen.ended:
            raise Trouble(f"{_elsewhere(seen, pool)}: {page}")
        if patience.clock() >= until:
            raise TimedOut(f"{_unfinished(seen, ours.values(), pool, patience.seconds)}: {page}")
        patience.pause(patience.every)


def _slot(job: SeenJob, pool: PoolSpec, host: HostSpec) -> SlotName | None:
    return naming.slot_registered(job.agent, host.name, pool.name) if job.agent else None


def _ended(job: SeenJob, slot: SlotName, page: str) -> str:
    took = f" in {spoken_age(max(0.0, job.seconds))}" if job.seconds is not None else ""
    told = (
        f"job {clean(job.name)} ran on {slot}{took} and ended as {clean(job.result) or 'unknown'}"
    )
    if job.succeeded:
        return f"{told}: {page}"
    raise Trouble(f"{told}; its log is at {page}")


def _elsewhere(seen: SeenRun, pool: PoolSpec) -> str:
    others = sorted({clean(job.agent) for job in seen.jobs if job.agent})
    who = f"it ran on {', '.join(others[:3])}" if others else "no agent had a job of it"
    return (
        f"it ended as {clean(seen.result) or 'unknown'}, and on no slot of pool {pool.name}: {who}"
    )


def _unfinished(seen: SeenRun, ours: Iterable[SlotName], pool: PoolSpec, seconds: float) -> str:
    """Where it stands after that time."""
    waited = spoken_age(seconds)
    if slot := next(iter(ours), None):
        return f"it still runs on {slot} after {waited}, and goes on"
    others = sorted({clean(job.agent) for job in seen.jobs if job.agent})
    if others:
        return f"no slot of pool {pool.name} has had a job of it for {waited}: {others[0]} has one"
    return (
        f"no agent has taken it for {waited}: see whether it asks for what pool {pool.name} has, or waits "
        "for somebody's approval"
    )
