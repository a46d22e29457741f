"""Two hundred jobs through Gitea's own server and runner while both, and Mayfly, fail at random.

make soak PROVIDER=gitea [JOBS=200] [SEED=1]
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import until
from tests.hurried import hurried
from tests.real.gitea.real_pool import GiteaPool, gitea_pool
from tests.real.gitea.real_server import GiteaServer, Parts

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.soak, pytest.mark.timeout(3600)]
SLOTS, AHEAD = 4, 6
EACH = 5  # jobs, after which something goes wrong
BRISK = hurried(
    *("core.contact.LIST_REST=3.5", "core.contact.CALL_REST=3.0", "core.contact.BLIP=0.5"),
    *("core.rosters.ORPHANED=20", "core.slots.BACKOFF_MOST=5"),
)
# What a script is, and what becomes of it where nothing is done to it.
SCRIPTS = (
    ("true", "success"),
    ("sleep 0.5", "success"),
    ("sleep 3; echo done", "success"),
    ("exit 3", "failure"),
)


@dataclass
class Soak:
    """What was done, and what it came to."""

    pool: GiteaPool
    chance: random.Random
    wanted: dict[int, str] = field(default_factory=dict)  # of each run
    results: dict[int, str] = field(default_factory=dict)
    blows: Counter[str] = field(default_factory=Counter)

    def submit(self) -> None:
        """One more job."""
        script, result = self.chance.choice(SCRIPTS)
        number = len(self.wanted)
        self.wanted[self.pool.dispatch(f"echo begun-{number}-; {script}")] = result

    def look(self) -> int:
        """How many jobs are not over yet."""
        for run in self.wanted.keys() - self.results.keys():
            job = self.pool.job(run)
            if job["status"] == "completed":
                self.results[run] = job["conclusion"]
        return len(self.wanted) - len(self.results)

    def blow(self) -> None:
        """One thing goes wrong."""
        blows = (
            self.kill_container,
            self.delete_runner,
            self.cancel,
            self.crash_manager,
            self.outage,
        )
        chosen = self.chance.choices(blows, (4, 3, 2, 1, 1))[0]
        chosen()
        self.blows[chosen.__name__] += 1

    def kill_container(self) -> None:
        names = self.pool.manager.containers()
        if names:
            self.pool.manager.docker("kill", self.chance.choice(sorted(names)), check=False)

    def delete_runner(self) -> None:
        runners = self.pool.runners_here()
        if runners:
            number = self.chance.choice(runners)["id"]
            self.pool.server.call("DELETE", f"/admin/actions/runners/{number}")

    def cancel(self) -> None:
        running = [run for run in self.wanted if run not in self.results]
        if running:
            self.pool.server.cancel(self.pool.repository, self.chance.choice(running))

    def crash_manager(self) -> None:
        self.pool.manager.kill(signal.SIGKILL)
        self.pool.manager.start(*BRISK, wait=None)

    def outage(self) -> None:
        self.pool.server.stop(self.chance.choice((signal.SIGKILL, signal.SIGTERM)))
        over = time.monotonic() + self.chance.uniform(0.5, 6)
        until(lambda: time.monotonic() > over, "the outage is over")
        self.pool.server.start()


def test_two_hundred_jobs_are_each_run_once_and_nothing_is_left(
    engine: PrivateEngine, built: Parts, tmp_path: Path
) -> None:
    jobs, seed = int(os.environ.get("JOBS", "200")), int(os.environ.get("SEED", "1"))
    with (
        GiteaServer(built, tmp_path, zombie=20) as server,
        gitea_pool(engine, server, "soak") as pool,
    ):
        pool.configure(SLOTS)
        pool.manager.start(*BRISK, wait=None)
        soak = Soak(pool, random.Random(seed))
        began = time.monotonic()
        while len(soak.wanted) < jobs or soak.look():
            while len(soak.wanted) < jobs and soak.look() < SLOTS + AHEAD:
                soak.submit()
                if len(soak.wanted) % EACH == 0:
                    soak.blow()
            assert time.monotonic() < began + 300 + jobs * 8, f"{soak.look()} are not over"
        _account(soak, time.monotonic() - began)


def _account(soak: Soak, seconds: float) -> None:
    pool = soak.pool
    undisturbed = sum(soak.results[run] == wanted for run, wanted in soak.wanted.items())
    runners = Counter(
        number for run in soak.wanted if (number := pool.job(run).get("runner_id")) is not None
    )
    del runners[0]
    twice = [run for n, run in enumerate(soak.wanted) if pool.log(run).count(f"begun-{n}-\n") > 1]
    for name in (f"g-{number}" for number in range(SLOTS)):
        pool.manager.in_phase("idle", name, 180)
    pool.manager.configure('[[pool]]\nname = "other"\nslots = 0\n')
    pool.manager.cli("reload")
    until(lambda: not pool.manager.containers(), "no container is left", 120)
    until(lambda: not pool.runners_here(), "no runner is left registered", 120)
    agents = pool.manager.state / "agents"
    until(lambda: not list(agents.iterdir()), "no witness is left", 120)
    rows = pool.manager.json("history", "--limit", "100000")["agents"]
    print(
        f"{len(soak.wanted)} jobs in {seconds:.0f} s by {len(rows)} agents, {undisturbed} of them as their "
        f"scripts have it; {dict(soak.blows)}; outcomes {dict(Counter(row['outcome'] for row in rows))}"
    )
    assert set(soak.results.values()) <= {"success", "failure", "cancelled"}
    assert [number for number, times in runners.items() if times > 1] == []
    assert twice == []
    # What nobody touched ends as its script has it: a blow costs one job, an outage one of each slot.
    allowed = sum(soak.blows.values()) + SLOTS * soak.blows["outage"]
    assert len(soak.wanted) - undisturbed <= allowed
