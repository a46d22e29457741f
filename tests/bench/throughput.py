"""No-op jobs a minute through eight slots, beside eight ``docker run`` loops; windows in turns."""

from __future__ import annotations

import array
import fcntl
import subprocess
import termios
import time
from collections.abc import Sequence
from contextlib import suppress

from mayfly.edge.history_reader import HistoryReader
from tests.bench.control import Control
from tests.bench.figures import Figure, Goal, median
from tests.bench.slot_gap import IMAGE
from tests.engine.private_engine import PrivateEngine, version
from tests.harness import Manager, until

SLOTS = 8
TURNS = 2
LEAD = 4.0  # seconds for what was made ahead to be used up
WINDOW = 16.0
NEWER = (23,)  # releases that start a container faster, network and all
NETWORK = "bench"
ISOLATED = ("--opt", "com.docker.network.bridge.enable_icc=false")  # as a pool's network is
POOL = f'[[pool]]\nname = "local"\nprovider = "local"\nslots = {SLOTS}\n'


def measure(engine: PrivateEngine, turns: int = TURNS) -> list[Figure]:
    """Jobs a minute in steady state: what is finished within a window that begins a while after the start."""
    ours: list[float] = []
    loops: list[float] = []
    apart: list[float] = []
    engine.docker("network", "create", *ISOLATED, NETWORK)
    with Manager(engine.url, POOL) as manager:
        manager.start()
        for _ in range(turns):
            ours.append(jobs(manager))
            loops.append(rounds(engine))
            apart.append(rounds(engine, "--network", NETWORK))
    return [
        Figure(
            name=f"jobs_per_minute_{SLOTS}_slots",
            what=f"no-op jobs a minute, {SLOTS} slots",
            value=median(ours),
            unit="/min",
            goal=Goal(1.8 if version() < NEWER else 1.3, of_ratio=True, at_least=True),
            beside=f"{SLOTS} docker run loops",
            beside_value=median(loops),
            n=turns,
            more={"windows": ours, "beside_windows": loops},
        ),
        Figure(
            name=f"jobs_per_minute_{SLOTS}_slots_apart",
            what="  beside loops whose containers cannot reach each other either",
            value=median(ours),
            unit="/min",
            beside=f"{SLOTS} such loops, --network",
            beside_value=median(apart),
            n=turns,
            more={"beside_windows": apart},
        ),
    ]


def jobs(manager: Manager, argv: Sequence[str] = ("true",)) -> float:
    """Jobs a minute while there is always another one in the queue."""
    control = Control(manager.home / "s")
    until(lambda: _all_idle(control), "every slot is idle", 120)
    began = time.time()
    end = began + LEAD + WINDOW
    given: list[str] = []
    reader = HistoryReader(manager.state)
    while time.time() < end:
        queued = sum(1 for job in given[-64:] if (reader.job(job) or {})["started"] is None)
        for _ in range(32 - queued):
            answer = control.ask("POST", "/v1/jobs", {"argv": list(argv), "env": {}})
            given.append(answer["job"])
        time.sleep(0.25)
    rows = [reader.job(job) or {} for job in given]
    finished = [row["finished"] for row in rows if row["finished"] is not None]
    within = sum(1 for at in finished if began + LEAD <= at < end)
    for row in rows[-64:]:
        with suppress(AssertionError):  # it may have begun or ended meanwhile
            control.ask("POST", f"/v1/jobs/{row['job']}/cancel", {})
    until(lambda: _all_idle(control), "every slot is idle", 120)
    return within * 60 / WINDOW


def _all_idle(control: Control) -> bool:
    rows = control.ask("GET", "/v1/status")["slots"]
    return all(row["phase"] == "idle" and row["standby"] is None for row in rows)


def rounds(engine: PrivateEngine, *options: str) -> float:
    """Containers a minute of as many shell loops."""
    run = f"docker -H {engine.url} run --rm --init --entrypoint true"
    loop = f"while {run} {' '.join(options)} {IMAGE}; do echo; done"
    began = time.monotonic()
    loops = [
        subprocess.Popen(["sh", "-c", loop], stdout=subprocess.PIPE, start_new_session=True)
        for _ in range(SLOTS)
    ]
    time.sleep(max(0.0, began + LEAD - time.monotonic()))
    before = _waiting(loops)
    began = time.monotonic()
    time.sleep(WINDOW)
    seconds, after = time.monotonic() - began, _waiting(loops)
    for one in loops:
        one.terminate()  # the shell: the container it runs ends by itself
    for one in loops:
        one.wait()
    return (after - before) * 60 / seconds


def _waiting(loops: list[subprocess.Popen[bytes]]) -> int:
    """How many lines the loops have written so far; they stay in the pipes."""
    return sum(_readable(one) for one in loops)


def _readable(one: subprocess.Popen[bytes]) -> int:
    size = array.array("i", [0])
    assert one.stdout is not None
    fcntl.ioctl(one.stdout, termios.FIONREAD, size)
    return size[0]
