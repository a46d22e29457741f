"""Registrations for one agent each, as files for its gate. The token that makes them stays here.

Registering is not idempotent: what a lost reply has left behind is deleted before the name is used again.
"""

from __future__ import annotations

import json
import threading

from mayfly.core.model import DOOR_SOCKET, PoolSpec
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Passing, Refused
from mayfly.providers import Enrolment
from mayfly.providers.gitea.runners import Runners
from mayfly.providers.gitea.service import GiteaApi, Registered
from mayfly.providers.lost_names import LostNames

# seconds that the runner's own limit is above the pool's, which is Mayfly's to keep
BEYOND = 3600.0
NO_LIMIT = 10 * 366 * 86400.0
FETCH_TIMEOUT = 30  # seconds; an answer that comes later is lost, and a job with it
FETCHES = 8.0  # agents of a pool ask for jobs so many times a second together at the most
FETCH_LEAST = 2.0  # seconds between two questions of one agent
# Where a pool with containers of its jobs' own has their files: in the agent and in a job container alike.
WORK = "/workspace"
# Of such a pool. What may be mounted, and which images there are, the gateway says. A job's directory is
# bound from there, not a volume of its own, and one without a container stands beneath it too: so a job that
# calls `docker` itself can mount what it stands in.
CONTAINERS: dict[str, object] = {
    "container": {
        "docker_host": f"unix://{DOOR_SOCKET}",
        "workdir_parent": WORK,
        "bind_workdir": True,
        "valid_volumes": ["**"],
        "force_pull": False,
        "privileged": False,
    },
    "host": {"workdir_parent": f"{WORK}/host"},
}
# Where the launcher has opened what the gate brought: the runner reads it as the job user.
REGISTRATION, CONFIGURATION = "/proc/self/fd/3", "/proc/self/fd/4"


class Enroller:
    """Makes the registrations of one pool."""

    def __init__(self, pool: PoolSpec, service: GiteaApi, runners: Runners, mark: str) -> None:
        self._pool, self._service, self._runners, self._mark = pool, service, runners, mark
        self._lock = threading.Lock()
        self._token: Secret | None = None
        # Names that may be taken by a registration that never reached us.
        self._lost = LostNames()

    def enrol(self, name: str, labels: tuple[str, ...]) -> Enrolment:
        """A registration under that name, as files for a gate."""
        shown = self._labels(labels)
        if name in self._lost:
            self._runners.clear_name(name)
        try:
            made = self._registered(name, shown)
        except Passing:
            self._lost.add(name)
            raise
        self._lost.discard(name)
        self._runners.know(made.id)
        return Enrolment(
            files={
                "runner": self._registration(name, shown, made),
                "config.yaml": json.dumps(self._configuration()).encode(),
            },
            registration=str(made.id),
            registered=name,
        )

    def check(self) -> None:
        """``Refused`` where no registration could be made; makes none."""
        self._labels(())
        with self._lock:
            self._token = None
        self._registration_token()

    def _labels(self, given: tuple[str, ...]) -> list[str]:
        """Nothing is added by Gitea: all that jobs may ask for, and what tells that it is ours."""
        pool = self._pool
        wanted = [*pool.labels, *given, "self-hosted"]
        if pool.gpus:
            wanted.append("gpu")
        if pool.cuda is not None:
            wanted.append(f"cuda-{pool.cuda}")
        labels = list(dict.fromkeys([*wanted, str(pool.name)]))
        wrong = next((label for label in labels if ":" in label), None)
        if wrong is not None:
            raise Refused(
                f'a runner of Gitea cannot have the label "{wrong}" of {self._service.whose}: what follows '
                "a colon says how it runs jobs; change `labels`"
            )
        return [*labels, self._mark]

    def _registered(self, name: str, labels: list[str]) -> Registered:
        """Registered; once more with a new token where the one that is remembered is good no longer."""
        for _ in (1, 2):
            token = self._registration_token()
            made = self._service.register(name, labels, token)
            if made is not None:
                return made
            with self._lock:
                self._token = None
        raise Passing(
            f"Gitea at {self._service.web.host} does not take the registration token that it has just given "
            f"{self._service.whose}; it is asked again"
        )

    def _registration_token(self) -> Secret:
        """One for all agents, until Gitea takes it no longer."""
        with self._lock:
            if self._token is None:
                self._token = self._service.registration_token()
            return self._token

    def _registration(self, name: str, labels: list[str], made: Registered) -> bytes:
        """What ``gitea-runner register`` would have written into ``.runner``."""
        shown = {
            "id": made.id,
            "uuid": made.uuid,
            "name": name,
            "token": made.token.reveal(),
            "address": self._service.place.site,
            "labels": [f"{label}:host" for label in labels],
            "ephemeral": True,
        }
        return json.dumps(shown).encode()

    def _configuration(self) -> dict[str, object]:
        limit = self._pool.limits.job_timeout
        # Else a pool with many slots would keep a small Gitea busy with questions.
        pause = max(FETCH_LEAST, self._pool.slots / FETCHES)
        return {
            "log": {"level": "info"},
            "runner": {
                "file": REGISTRATION,
                "capacity": 1,
                "timeout": f"{NO_LIMIT if limit is None else limit + BEYOND:.0f}s",
                # A job that is broken off by the runner itself is told as a success: the launcher ends its
                # steps, and the runner has time to tell.
                "shutdown_timeout": "1h",
                "fetch_timeout": f"{FETCH_TIMEOUT}s",
                "fetch_interval": f"{pause:.1f}s",
                "fetch_interval_max": f"{pause:.1f}s",
            },
            "cache": {"enabled": False},
            **(CONTAINERS if self._pool.containers else {}),
        }
