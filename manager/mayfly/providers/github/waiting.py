"""Jobs that wait at GitHub: which of them an agent of the pool could take, and how a run is cancelled.

GitHub lists runs by repository alone: of an organisation those repositories are looked at that were pushed
to last. A look makes a bounded number of calls, nearly all of which cost nothing of GitHub's limit while
nothing changes. Source: GitHub's REST reference (workflow runs, workflow jobs).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from mayfly.core.model import PoolSpec
from mayfly.core.quantities import moment
from mayfly.core.waiting import WaitingJob
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.edge.web import clean
from mayfly.providers import BEGUN
from mayfly.providers.github.connection import Connection
from mayfly.providers.github.runners import Runners

REPOSITORIES = 10  # of an organisation
JOBS = 1_000  # of one look, which are compared with what all runners have
RUNS = 20  # in one look, the oldest first
NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
LACKS = 20  # labels of a job that are kept
RIGHT = (
    "give the token of {} the repository right Actions: read-only to see jobs that wait, and read and write "
    "to cancel them"
)


class Waiting:
    """The workflow jobs that wait for one pool."""

    def __init__(
        self,
        connection: Connection,
        runners: Runners,
        pool: PoolSpec,
        labels_of: Callable[[tuple[str, ...]], frozenset[str]],
    ) -> None:
        self._connection, self._runners, self._pool = connection, runners, pool
        self._labels_of = labels_of

    def look(self, given: tuple[tuple[str, ...], ...]) -> tuple[WaitingJob, ...]:
        """The jobs that wait for an agent of the pool, or for one that there is not."""
        ours = [self._labels_of(labels) for labels in given or ((),)]
        own = {label.lower() for label in (*self._pool.labels, str(self._pool.name))}
        own |= {label.lower() for labels in given for label in labels}
        runs = sorted(self._runs(), key=lambda one: (text(one[1].get("created_at")), one[0]))
        jobs = (
            (repository, run, job)
            for repository, run in runs[:RUNS]
            for job in self._jobs(repository, run)
        )
        waits = (self._waits(*each, ours, own) for each in islice(jobs, JOBS))
        return tuple(one for one in waits if one is not None)

    def _repositories(self) -> Iterator[str]:
        place = self._connection.place
        if place.kind == "repository":
            yield place.name
            return
        if place.kind == "enterprise":
            raise Refused("GitHub lists no repositories of an enterprise: set stuck_after = 0")
        path = f"{place.path}/repos?sort=pushed&per_page={REPOSITORIES}"
        for repository in self._read(path, "list the repositories", ""):
            name = text(repository.get("full_name"))
            if NAME.fullmatch(name):
                yield name

    def _read(self, path: str, operation: str, key: str) -> Iterator[Mapping[str, object]]:
        reply = self._connection.call("GET", path, operation, accept=(200, 403), conditional=True)
        if reply.status == 403:
            fault = self._connection.web.fault(reply, operation)
            if isinstance(fault, Refused):
                raise Refused(RIGHT.format(self._connection.whose))
            raise fault
        for one in items(mapping(reply.body).get(key) if key else reply.body):
            yield mapping(one)

    def _runs(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Runs that may have jobs that wait: one in progress may, too."""
        for repository in self._repositories():
            for status in ("queued", "in_progress"):
                path = f"repos/{repository}/actions/runs?status={status}&per_page=100"
                for run in self._read(path, "list the runs that wait", "workflow_runs"):
                    yield repository, run

    def _jobs(self, repository: str, run: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
        path = f"repos/{repository}/actions/runs/{integer(run.get('id'))}/jobs"
        for job in self._read(f"{path}?filter=latest&per_page=100", "list a run's jobs", "jobs"):
            if job.get("status") == "queued" and not job.get("runner_id"):
                yield job

    def _waits(
        self,
        repository: str,
        run: Mapping[str, object],
        job: Mapping[str, object],
        ours: list[frozenset[str]],
        own: set[str],
    ) -> WaitingJob | None:
        """The job, where it waits for the pool; ``None``: it may be another's, or nobody can know."""
        asked = frozenset(text(label).lower() for label in items(job.get("labels")))
        fits = any(asked <= labels for labels in ours)
        others = any(asked <= labels for labels in self._runners.labels)
        since = moment(job.get("created_at"))
        if not asked or since is None or (not fits and (others or not asked & own)):
            return None
        number = integer(run.get("id"))
        site = self._connection.place.web.removesuffix(f"/{self._connection.place.name}")
        most = max(ours, key=lambda labels: len(asked & labels))
        return WaitingJob(
            id=f"{repository}/{number}",
            name=clean(text(job.get("name"))),
            since=since - (self._connection.web.skew or 0.0),
            url=f"{site}/{repository}/actions/runs/{number}",
            fits=fits,
            alone=run.get("status") == "queued",
            lacks=tuple(clean(label) for label in sorted(asked - most)[:LACKS]) if not fits else (),
        )

    def cancel(self, waiting: str) -> None:
        """Cancel the run; one that is over already is none that waits."""
        repository, _, number = waiting.rpartition("/")
        what = "cancel a run that waits"
        path = f"repos/{repository}/actions/runs/{int(number)}"
        now = self._connection.call("GET", path, "look at a run that waits", accept=(200, 403, 404))
        if now.status == 200 and mapping(now.body).get("status") == "in_progress":
            raise Refused(BEGUN)
        reply = self._connection.call("POST", f"{path}/cancel", what, accept=(202, 403, 404, 409))
        if reply.status == 403:
            fault = self._connection.web.fault(reply, what)
            raise (
                Refused(RIGHT.format(self._connection.whose))
                if isinstance(fault, Refused)
                else fault
            )
        if reply.status == 409 and "completed" not in reply.said:
            raise self._connection.web.fault(reply, what)
