"""A pool whose jobs may have containers, and have none, beside a pool whose jobs may not, in one run.

From the old job's last instruction to the next launcher's first, each kind in its turn, on an Engine of a
release that can do it, with the gateway running throughout. What a container of a job costs is told as well,
beside the same call by somebody who talks to the Engine itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from tests.bench import slot_gap
from tests.bench.figures import Figure, Goal, median, p95
from tests.engine.gateway_process import Gateway
from tests.engine.private_engine import PrivateEngine, version
from tests.harness import Manager, until
from tests.real.containers.images import base_image
from tests.real.containers.lab import AGENT_IMAGE, IMAGE, clients, engine_programs

ROUNDS = 14
TURNS = 2
SINCE = (26,)  # Engines that mount a part of a volume
KINDS = {"without": "", "with": 'containers = true\nallowed_images = ["*"]\n'}
CLIENTS = '[[pool.dataset]]\nsource = "{clients}"\ntarget = "/clients"\n'
CALL = f"run --rm --network none {IMAGE} true"


@contextmanager
def served(engine: PrivateEngine, more: str) -> Iterator[Manager]:
    """A manager of one slot with a standby, and its gateway."""
    pool = slot_gap.POOL.format(standby="true") + more
    with Manager(engine.url, pool) as manager:
        gateway = Gateway(engine, manager)
        gateway.start()
        try:
            yield manager
        finally:
            manager.kill()
            gateway.kill()


def measure(rounds: int = ROUNDS, turns: int = TURNS) -> list[Figure]:
    """The hand-over of both kinds, and a call in a job."""
    programs = engine_programs()
    assert version(programs) >= SINCE
    gaps = {kind: slot_gap.Gaps() for kind in KINDS}
    with PrivateEngine(programs=programs, images=(AGENT_IMAGE, base_image())) as engine:
        engine.docker("tag", base_image(), IMAGE)
        for _ in range(turns):
            for kind, more in KINDS.items():
                with served(engine, more) as manager:
                    found = slot_gap.gather(engine, manager, rounds=rounds // turns, restarts=False)
                gaps[kind].launcher += found.launcher
                gaps[kind].loop += found.loop
        more = KINDS["with"] + CLIENTS.format(clients=clients())
        with served(engine, more) as manager:
            calls = _calls(manager, rounds)
            plain = _plain(engine, rounds)
    return [
        Figure(
            name="containers_hand_over",
            what="slot gap, jobs may have containers and have none",
            value=median(gaps["with"].launcher) * 1000,
            unit="ms",
            goal=Goal(1.2, of_ratio=True),
            beside="a pool without",
            beside_value=median(gaps["without"].launcher) * 1000,
            p95=p95(gaps["with"].launcher) * 1000,
            n=len(gaps["with"].launcher),
            more={
                "beside_p95": p95(gaps["without"].launcher) * 1000,
                "loop": median(gaps["with"].loop) * 1000,
                "beside_loop": median(gaps["without"].loop) * 1000,
            },
        ),
        Figure(
            name="containers_call",
            what="docker run in a job, by the gateway",
            value=median(calls) * 1000,
            unit="ms",
            beside="docker run at the Engine",
            beside_value=median(plain) * 1000,
            p95=p95(calls) * 1000,
            n=len(calls),
        ),
    ]


def _calls(manager: Manager, rounds: int) -> list[float]:
    """Seconds of each call of one job, but the first, which finds cold caches."""
    manager.start()
    loop = (
        "export PATH=/clients/bin:$PATH; "
        f"for n in $(seq {rounds + 1}); do date +%s.%N; docker {CALL}; done; date +%s.%N"
    )
    job = manager.submit("bash", "-c", loop)
    until(lambda: manager.job(job)["finished"], "the calls are made", 300)
    times = [float(line) for line in str(manager.cli("logs", job).stdout).split()]
    steps = [after - before for before, after in pairwise(times)]
    assert len(steps) == rounds + 1, manager.output(job)
    return steps[1:]


def _plain(engine: PrivateEngine, rounds: int) -> list[float]:
    """The same by a client that talks to the Engine."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        engine.docker(*CALL.split())
        taken.append(time.perf_counter() - began)
    return taken
