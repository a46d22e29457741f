"""Providers: the CI services, and what is particular to each.

A provider is one package (here, or installed beside Mayfly), one launcher in its image and one fake. Its
calls block for a bounded time and are safe to repeat; ``read`` and ``judge`` are pure. It never touches the
Engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from mayfly.core.client_release import ClientRelease
from mayfly.core.delivery import Delivery
from mayfly.core.memory import Agent
from mayfly.core.model import HostId, HostSpec, ImageClient, PoolSpec, Roster, Severity, Traits
from mayfly.core.outcomes import End, Outcome
from mayfly.core.pipeline.task import Task
from mayfly.core.requests import Listen
from mayfly.core.waiting import WaitingJob
from mayfly.core.workspace import Brought
from mayfly.edge.faults import Fault, Passing, Refused, Untrusted

if TYPE_CHECKING:
    from mayfly.edge.provider_keys import ProviderKeys
    from mayfly.providers.canary_job import CanaryMaker
    from mayfly.providers.setting_up import Surveying


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What makes one container able to take one job; secret, so its ``repr`` shows no content."""

    files: Mapping[str, bytes]
    registration: str | None = None  # the service's id of it; None: not known yet, or none
    registered: str | None = None  # its name at the service; None: it has none
    brought: Brought | None = None  # what is put into its container first; None: nothing

    def __repr__(self) -> str:
        """The names of the files alone."""
        return f"Enrolment(files={sorted(self.files)}, registration={self.registration!r})"


@dataclass(frozen=True, slots=True)
class Sign:
    """What a line of the client's output means."""

    # job_started: it was handed a job; job_begun: the service knows that it runs; job_dropped: it is not to
    # have that job. trouble may pass, and reconnected says that it has; refused never does: the service lets
    # it have no job
    kind: Literal[
        "listening",
        "job_started",
        "job_begun",
        "job_dropped",
        "job_ended",
        "trouble",
        "reconnected",
        "refused",
    ]
    text: str = ""
    # of a trouble: seconds for which the client says no more of it; None: until it is over
    quiet: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a provider's check."""

    severity: Severity
    text: str
    fix: str
    # the service's certificate is of no authority that is trusted here
    untrusted: bool = False
    # the service did not answer, or not now
    passing: bool = False


Diagnosis = tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Cordoned:
    """The service gives the agent no new job, or gives it jobs again."""

    busy: bool = False  # it runs a job that it had already


@dataclass(frozen=True, slots=True)
class Dismissed:
    """The service was asked to let go of an agent."""

    busy: bool = False  # it runs a job and was left alone


BEGUN = "a job of it has begun meanwhile, so it is left alone"  # of what was to be cancelled


def diagnosis(findings: Iterator[Finding]) -> Diagnosis:
    """What a check finds, a fault that ends it included: a check raises none."""
    found: list[Finding] = []
    again = "mayfly doctor   # again, once that is mended"
    try:
        found.extend(findings)
    except Refused as fault:
        untrusted = isinstance(fault, Untrusted)
        found.append(Finding(Severity.ERROR, str(fault), again, untrusted=untrusted))
    except Fault as fault:
        text = f"it could not be asked: {fault}"
        found.append(Finding(Severity.ERROR, text, again, passing=isinstance(fault, Passing)))
    return tuple(found)


def unseen_jobs(
    pool: PoolSpec, look: Callable[[tuple[tuple[str, ...], ...]], object]
) -> Iterator[Finding]:
    """That nobody sees which jobs wait too long, where the token may not know: no agent needs that."""
    if not pool.stuck_after:
        return
    try:
        look(())
    except Refused as fault:
        severity = Severity.WARNING if pool.cancel_stuck else Severity.INFO
        text = f"jobs that wait too long are not seen: {fault}"
        yield Finding(severity, text, "# or do not look for them: stuck_after = 0")


class Provider(Protocol):
    """What Mayfly asks of a CI service."""

    @property
    def traits(self) -> Traits:
        """What it says of itself; no file is read and no call made for it."""

    @property
    def roster_interval(self) -> float:
        """Seconds between rosters while nothing is awaited."""

    def check(self) -> Diagnosis:
        """Whether the service is reachable and lets us do what we must; empty where all is well.

        What it cannot find out is a finding, too: it raises no fault.
        """

    def roster(self) -> Roster | None:
        """Our agents as the service knows them; ``None`` where the service tells nothing."""

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """Everything that exactly one container needs for exactly one job."""

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """Tell the service to give the agent no new job, if it can be told."""

    def dismiss(self, registration: str) -> Dismissed:
        """Take a registration back: gone already is success, running a job is an answer."""

    def retire(self, registration: str) -> None:
        """See that an ended agent's key opens nothing more; its entry stays. Gone already is success.

        Only asked where its traits say ``keeps_entries``, always before the slot's next agent is enrolled.
        """

    def read(self, line: str) -> Sign | None:
        """What a line of the client's output means; ``None``: nothing."""

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""


@runtime_checkable
class Counting(Protocol):
    """A provider that counts its calls."""

    def calls(self) -> dict[tuple[str, str], int]:
        """How many there were, by operation and HTTP status; may be asked from any thread."""


@runtime_checkable
class Answering(Protocol):
    """A provider whose service can be asked for less than its roster, to see whether it answers."""

    def answer(self) -> None:
        """One call, the smallest there is; it raises a fault where the service does not answer it."""


@runtime_checkable
class ClientSource(Protocol):
    """A provider that can find out which client its service wants in images."""

    def client_release(self, architecture: str, version: str | None = None) -> ClientRelease:
        """The newest client that the service hands out for ``amd64`` or ``arm64``, or that ``version`` of it.

        A few calls, bounded in time; a ``Fault`` says why it cannot be had.
        """


@runtime_checkable
class Dispatching(Protocol):
    """A provider whose service hands its jobs out to a pool, and has an agent enrolled for a job alone.

    Its traits say ``dispatches``. ``listen`` has a thread of its own and may take a minute; ``leave`` comes
    from another thread meanwhile.
    """

    def listen(self, word: Listen) -> Delivery:
        """Acknowledge those messages, then wait for what the service says of its jobs.

        Where it hands nothing out and the pool has another way configured, that is taken from then on, and
        the delivery says so.
        """

    def acquire(self, jobs: tuple[int, ...]) -> tuple[int, ...]:
        """Take on jobs that were offered; those that are ours now. Safe to repeat."""

    def leave(self, turn: int) -> None:
        """Have it hand out no more jobs: what was asked in that turn, or before it, comes to nothing, also
        what is asked only then.
        """


@runtime_checkable
class ClientRefusing(Protocol):
    """A provider whose service may say when it refuses a version of its client."""

    def client_refused(self, version: str) -> float | None:
        """When (seconds since the epoch); ``None``: it names no time."""


@runtime_checkable
class Limited(Protocol):
    """A provider whose service tells how many calls it still allows."""

    def remaining(self) -> float | None:
        """How many those are; ``None``: it has not said. May be asked from any thread."""


@runtime_checkable
class Expiring(Protocol):
    """A provider whose service tells when the pool's token ends."""

    def token_end(self) -> float | None:
        """When that is; ``None``: it has not said, or never. May be asked from any thread; makes no call."""


@runtime_checkable
class Queueing(Protocol):
    """A provider whose service tells which jobs wait for an agent, and can be asked to cancel one."""

    def waiting(self, labels: tuple[tuple[str, ...], ...]) -> tuple[WaitingJob, ...]:
        """The jobs that an agent of the pool could take, and those that ask for more than any has.

        ``labels`` are what the host gives jobs to ask for, one tuple for each kind of slot. A bounded number
        of calls; it raises a fault where the service does not tell, or the token may not know.
        """

    def cancel_waiting(self, waiting: str) -> None:
        """Cancel that one; gone already is success. A fault says why it was not, and it is not where it has
        begun since it was seen to wait.
        """


@dataclass(frozen=True, slots=True)
class Hints:
    """What ``mayfly init`` shows and asks of a provider."""

    # where jobs come from, in a few words
    jobs_from: str = "the CI service"
    # what a URL of the service looks like; "": it has none
    url: str = ""
    # the key that names a group of agents at the service, and what it means; "": there is none
    group_key: str = ""
    group: str = ""
    # what the group is where nobody says; None: none
    group_default: str | None = None
    # the key that says where agents are registered, what it means, and an example of it; "": there is none
    place_key: str = ""
    place: str = ""
    # what that key may be, beside where the URL points
    places: str = ""
    # where a person makes its token, and with which rights; "": nobody has said
    where_made: str = ""
    # how a first job is run there, with {pool} and {group} for the names of both; "": nobody has said
    first_job: str = ""
    # it takes an App's id and private key in place of a token
    app: bool = False


def nothing_left(state_dir: Path) -> tuple[PoolSpec, ...]:
    """The provider remembers nothing that would have to be cleared up."""
    del state_dir
    return ()


@dataclass(frozen=True, slots=True)
class PipelineForm:
    """How the jobs of a pipeline are written down for a service."""

    # raises ``Refused`` where the service cannot have them so
    write: Callable[[Sequence[Task]], str]
    # what is written may say which job waits for which
    ordered: bool
    # the jobs as ``POST /v1/runs`` takes them, those first that others wait for; None: it is no queue of ours
    queued: Callable[[Sequence[Task]], list[dict[str, object]]] | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """What a provider's package says of itself, before anything of it that is heavy is imported."""

    name: str
    # the provider of a pool; nothing is called yet
    make: Callable[[PoolSpec, HostSpec, HostId, Path], Provider]
    # how its own keys are read: imported when a configuration is
    keys: Callable[[], ProviderKeys]
    # jobs come from Mayfly's own queue
    embedded: bool = False
    # what its images have beside the launcher; None: no client of a service
    client: ImageClient | None = None
    # the client for an architecture and a version (None: the one that was tried) where its maker tells
    # everybody the checksums; None: only a pool's service does
    published: Callable[[str, str | None], ClientRelease] | None = None
    hints: Hints = Hints()
    # pools that something at the service is remembered for, whether the configuration has them or not
    left_behind: Callable[[Path], tuple[PoolSpec, ...]] = nothing_left
    # how its service is told the jobs of a pipeline: imported when it is; None: it cannot be told
    pipeline: Callable[[], PipelineForm] | None = None
    # what a token reaches at the service, for ``mayfly init``: imported when it is asked; None: nobody looks
    survey: Callable[[], Surveying] | None = None
    # what can be run there by hand, for a first job: imported when it is; None: it has no call for that
    canary: Callable[[], CanaryMaker] | None = None

    @property
    def calls_docker(self) -> bool:
        """Whether jobs of its pools find the `docker` command in their agent, where they may have containers:
        the client calls it, or they do.
        """
        return self.client is None or self.client.calls_docker
