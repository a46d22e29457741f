"""A canary job: one small job that a person has run at the service, to see it end on a slot of this host.

Only what is there already is run, and only what a person has named: nothing is ever written at the service. A
``Fault`` says why it cannot be listed, begun or looked at.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from mayfly.core.model import PoolSpec
from mayfly.core.quantities import moment
from mayfly.edge.faults import Passing
from mayfly.edge.web import clean

LOOKED_AT = 10  # places whose files are read to find what can be run
READ = 20  # files that are read for that
OFFERED = 20  # that a person is shown


@dataclass(frozen=True, slots=True)
class RunnableJob:
    """Something that can be run by hand at the service: a workflow, a pipeline."""

    # what it is named by
    name: str
    # its jobs ask for the pool's agents, as far as that can be read; False: nobody knows
    asks_for_us: bool = False


@dataclass(frozen=True, slots=True)
class BegunRun:
    """What was begun."""

    id: str
    # where a person sees it, or the list that it is in
    url: str


@dataclass(frozen=True, slots=True)
class SeenJob:
    """One job of it, as the service shows it."""

    name: str
    # the name of the agent that has it; None: none has
    agent: str | None
    ended: bool
    # the service's word for its end, such as success; "": it has not ended
    result: str = ""
    succeeded: bool = False
    # that it ran, by the service's clock; None: it does not say
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SeenRun:
    """What was begun, as the service shows it."""

    ended: bool
    result: str  # "": it has not ended
    jobs: tuple[SeenJob, ...]
    url: str = ""  # where a person sees it; "": where it was begun


class PerhapsBegun(Passing):
    """The service was asked to run it, and what came of that is not known.

    ``url``: where a person sees it.
    """

    def __init__(self, message: str, url: str) -> None:
        super().__init__(message)
        self.url = url


@contextmanager
def may_have_begun(url: str) -> Iterator[None]:
    """Around the call that begins it: what is lost from there on is no word that nothing runs."""
    try:
        yield
    except Passing as fault:
        raise PerhapsBegun(str(fault), url) from fault


class CanaryJobs(Protocol):
    """What can be run at the service of one pool."""

    # how one is named, such as OWNER/REPOSITORY/FILE.yml
    form: str

    def runnable(self) -> tuple[RunnableJob, ...]:
        """What there is, those first that ask for the pool's agents; a bounded number of calls."""

    def begin(self, name: str) -> BegunRun:
        """Run it; ``Refused`` and ``Passing`` say that it was not begun, but for ``PerhapsBegun``."""

    def look(self, run: BegunRun) -> SeenRun:
        """How it stands."""


CanaryMaker = Callable[[PoolSpec], CanaryJobs]


def word(value: object) -> str:
    """What a service calls something, on one line; "" where it says nothing."""
    return clean(value) if isinstance(value, str) else ""


def seen_job(
    name: object,
    agent: object,
    result: object,
    *,
    ended: bool,
    succeeded: bool,
    times: tuple[object, object],
) -> SeenJob:
    """A job by what a service's row says; ``times``: when it began and when it ended, as it writes them."""
    began, end = map(moment, times)
    return SeenJob(
        word(name),
        agent if isinstance(agent, str) and agent else None,
        ended,
        word(result) if ended else "",
        succeeded,
        end - began if ended and began is not None and end is not None else None,
    )


def asks_for(text: str, pool: PoolSpec) -> bool:
    """Whether a workflow's or a pipeline's text has the pool's name or one of its labels, as a word."""
    lines = "\n".join(line.partition("#")[0] for line in text.splitlines())
    wanted = [str(pool.name), *pool.labels]
    return any(re.search(rf"(?<![\w.-]){re.escape(one)}(?![\w.-])", lines) for one in wanted)


def ours_first(found: Iterable[RunnableJob]) -> tuple[RunnableJob, ...]:
    """As many as a person is shown, those first that ask for the pool's agents."""
    return tuple(sorted(found, key=lambda one: not one.asks_for_us))[:OFFERED]


def file_text(body: Mapping[str, object]) -> str | None:
    """A file as the services' REST gives it, in base64; ``None`` where it is given otherwise."""
    content = body.get("content")
    if body.get("encoding") != "base64" or not isinstance(content, str):
        return None
    try:
        return base64.b64decode(content).decode(errors="replace")
    except ValueError:
        return None
