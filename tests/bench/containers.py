"""A pool whose jobs may have containers, and have none, beside a pool whose jobs may not, in one run.

One manager has both, on an Engine of a release that can do it, and its gateway runs throughout. A hand-over
of the one and a hand-over of the other take turns, and who is first changes: from the old job's last
instruction to the next launcher's first, and to the next job's own. Rows of their own have what a container
of a job costs, beside the same call by somebody who talks to the Engine itself, and what a gateway takes that
nobody asks.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from mayfly.core.model import Generation
from mayfly.edge.doors import Doors
from mayfly.edge.history_reader import HistoryReader
from tests.bench import slot_gap
from tests.bench.figures import Figure, Goal, median, p95, quartiles
from tests.engine.gateway.conftest import programs
from tests.engine.gateway.served import Gateway as Served
from tests.engine.gateway_process import Gateway
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until
from tests.real.containers.images import base_image
from tests.real.containers.lab import AGENT_IMAGE, IMAGE, clients, engine_programs

ROUNDS = 30
CALLS = 14
KINDS = {"without": "", "with": 'containers = true\nallowed_images = ["*"]\n'}
CLIENTS = '[[pool.dataset]]\nsource = "{clients}"\ntarget = "/clients"\n'
CALL = f"run --rm --network none {IMAGE} true"
AGENTS = 64
SETTLE = 5.0  # seconds
WINDOW = 60.0


def pool(name: str, more: str) -> str:
    """One slot with a standby."""
    return slot_gap.POOL.format(standby="true").replace('"local"', f'"{name}"', 1) + more


@contextmanager
def served(engine: PrivateEngine, pools: str) -> Iterator[Manager]:
    """A manager and its gateway."""
    with Manager(engine.url, pools) as manager:
        gateway = Gateway(engine, manager)
        gateway.start()
        try:
            manager.start()
            yield manager
        finally:
            manager.kill()
            gateway.kill()


def measure(rounds: int = ROUNDS) -> list[Figure]:
    """The hand-over of both kinds, on this host's Engine or one that was fetched before."""
    found = programs()
    if found is None:
        print("  it wants an Engine of 26 or newer: scripts/engine-at 28", file=sys.stderr)
        return []
    gaps = {kind: slot_gap.Gaps() for kind in KINDS}
    pools = "".join(pool(kind, more) for kind, more in KINDS.items())
    with (
        PrivateEngine(programs=found or None, images=(AGENT_IMAGE,)) as engine,
        served(engine, pools) as manager,
    ):
        reader = HistoryReader(manager.state)
        for number in range(rounds + 1):
            for kind in sorted(KINDS, reverse=bool(number % 2)):
                launcher, job = slot_gap.hand_over(manager, reader, kind)
                if number:  # the first of each finds cold caches
                    gaps[kind].launcher.append(launcher)
                    gaps[kind].job.append(job)
    ways = {"launcher": "slot gap", "job": "  to the job's own first instruction"}
    return [
        _beside(name, f"{what}, jobs may have containers and have none", gaps, way)
        for name, (way, what) in zip(
            ("containers_hand_over", "containers_job_gap"), ways.items(), strict=True
        )
    ]


def _beside(name: str, what: str, gaps: dict[str, slot_gap.Gaps], way: str) -> Figure:
    own, other = (getattr(gaps[kind], way) for kind in ("with", "without"))
    return Figure(
        name=name,
        what=what,
        value=median(own) * 1000,
        unit="ms",
        goal=Goal(1.2, of_ratio=True) if way == "launcher" else None,
        beside="a pool without",
        beside_value=median(other) * 1000,
        p95=p95(own) * 1000,
        n=len(own),
        more={
            "quartiles": [round(one * 1000, 2) for one in quartiles(own)],
            "beside_quartiles": [round(one * 1000, 2) for one in quartiles(other)],
            "beside_p95": p95(other) * 1000,
        },
    )


def measure_gateway() -> list[Figure]:
    """What a gateway takes that serves 64 agents of which none asks it anything."""
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder:
        doors = Doors(Path(folder))
        made = [Generation(f"mywpiww03h{number:03d}") for number in range(AGENTS)]
        for generation in made:
            doors.make(generation)
            doors.grant(generation, "{}")
        with Served(Path(folder), f"{folder}/docker.sock") as gateway:
            sockets = [doors.path(generation) / "door/docker.sock" for generation in made]
            until(lambda: all(one.exists() for one in sockets), "each has its socket")
            time.sleep(SETTLE)
            before, began = _taken(gateway.pid), time.monotonic()
            time.sleep(WINDOW)
            after, took = _taken(gateway.pid), time.monotonic() - began
            resident = _status(gateway.pid, "VmRSS") / 1024
    what = f"gateway, {AGENTS} agents that ask nothing"
    return [
        Figure(
            name=f"gateway_cpu_{AGENTS}_idle",
            what=f"{what}: of a core",
            value=(after[1] - before[1]) / took * 100,
            unit="%",
        ),
        Figure(
            name=f"gateway_wakes_{AGENTS}_idle",
            what=f"{what}: wakes a second",
            value=(after[0] - before[0]) / took,
            unit="",
        ),
        Figure(
            name=f"gateway_rss_{AGENTS}_idle", what=f"{what}: resident", value=resident, unit="MiB"
        ),
    ]


def _taken(process: int) -> tuple[int, float]:
    """How often it has waited for something, and seconds of a processor (proc(5), ``schedstat``)."""
    ran = Path(f"/proc/{process}/schedstat").read_text().split()[0]
    return _status(process, "voluntary_ctxt_switches"), int(ran) / 1e9


def _status(process: int, key: str) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    raise LookupError(f"no {key} of {process}")


def measure_calls(rounds: int = CALLS) -> list[Figure]:
    """A call in a job, by clients that are fetched where they are not here."""
    images = (AGENT_IMAGE, base_image())
    with PrivateEngine(programs=engine_programs(), images=images) as engine:
        engine.docker("tag", base_image(), IMAGE)
        pools = pool("local", KINDS["with"] + CLIENTS.format(clients=clients()))
        with served(engine, pools) as manager:
            calls = _calls(manager, rounds)
            plain = _plain(engine, rounds)
    return [
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
