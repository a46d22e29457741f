"""The gap between two jobs of one slot, beside the gap between two rounds of a ``docker run`` loop.

Both by the clock of the containers: from the old job's last instruction to the next launcher's first (of
the loop: the next container's first instruction). A hand-over and a round of the loop take turns, on one
Engine and one image.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mayfly.edge.history_reader import HistoryReader
from tests.bench.figures import Figure, Goal, median, p95
from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import NvidiaRuntime
from tests.fakes.nvml import Hardware
from tests.harness import Manager, until

IMAGE = "mayfly/local:cpu"
ROUNDS = 14
COARSE = 5  # CLOCK_REALTIME_COARSE of clock_gettime(2), by which files are stamped
LONG_ENOUGH = (
    2.0  # seconds in which the old job's slot gets its standby, however slow the Engine is
)
GPU = 'gpus = 1\nimage = "mayfly/local:cpu"\n'
POOL = '[[pool]]\nname = "local"\nprovider = "local"\nslots = 1\nstandby = {standby}\n'
OTHERS = '[[pool]]\nname = "others"\nprovider = "local"\nslots = {slots}\nstandby = false\n'
AMONG = (16, 64)  # slots of the host, one of which is measured
NOW = "date +%s.%N"
# The launcher of the loop is the container's first process, as it is for those who use one.
ROUND = f"docker -H {{engine}} run --rm --init --entrypoint sh {IMAGE} -c '{NOW}; {NOW}'"


@dataclass(slots=True)
class Gaps:
    """Seconds between one job and the next, as many times as there were rounds."""

    launcher: list[float] = field(default_factory=list)  # to the next launcher's first instruction
    job: list[float] = field(default_factory=list)  # to the next job's own first instruction
    loop: list[float] = field(default_factory=list)
    restarted: list[float] = field(
        default_factory=list
    )  # a loop that a service manager restarts after 1 s


def measure(engine: PrivateEngine, rounds: int = ROUNDS) -> list[Figure]:
    """The gaps with a standby and without, each against the loop's."""
    figures = []
    for standby in (True, False):
        with Manager(engine.url, POOL.format(standby=str(standby).lower())) as manager:
            gaps = gather(engine, manager, rounds=rounds, restarts=standby)
        figures += _told(gaps, standby=standby)
    return figures


def measure_with_gpu(engine: PrivateEngine, rounds: int = ROUNDS) -> list[Figure]:
    """The gap where the health gate comes first: a stub NVML, so the gate's overhead and no hardware's."""
    nvidia(engine)
    with Hardware(gpus=8) as hardware, WithGpu(engine.url, hardware) as manager:
        gaps = gather(engine, manager, rounds=rounds, restarts=False)
    return [
        Figure(
            name="slot_gap_gpu_gate",
            what="slot gap, health gate, standby on",
            value=median(gaps.launcher) * 1000,
            unit="ms",
            goal=Goal(0.06, of_ratio=True),
            beside="docker run loop",
            beside_value=median(gaps.loop) * 1000,
            p95=p95(gaps.launcher) * 1000,
            n=len(gaps.launcher),
            more={"beside_p95": p95(gaps.loop) * 1000},
        )
    ]


def measure_among(engine: PrivateEngine, rounds: int = ROUNDS) -> list[Figure]:
    """The gap of one slot while others of the host stand idle."""
    figures = []
    for slots in AMONG:
        pools = POOL.format(standby="true") + OTHERS.format(slots=slots - 1)
        with Manager(engine.url, pools) as manager:
            gaps = gather(engine, manager, rounds=rounds, restarts=False)
        figures.append(
            Figure(
                name=f"slot_gap_of_{slots}",
                what=f"slot gap, standby on, one of {slots} slots",
                value=median(gaps.launcher) * 1000,
                unit="ms",
                goal=Goal(0.03, of_ratio=True),
                beside="docker run loop",
                beside_value=median(gaps.loop) * 1000,
                p95=p95(gaps.launcher) * 1000,
                n=len(gaps.launcher),
            )
        )
    return figures


@cache
def nvidia(engine: PrivateEngine) -> NvidiaRuntime:
    """The Engine's runtime for GPUs, made once."""
    return NvidiaRuntime(engine)


class WithGpu(Manager):
    """A manager whose one slot has a GPU."""

    def __init__(self, docker_host: str, hardware: Hardware, more: str = "") -> None:
        self.hardware = hardware
        super().__init__(docker_host, POOL.format(standby="true") + GPU + more)

    def environment(self) -> dict[str, str]:
        return super().environment() | self.hardware.environment()


def gather(engine: PrivateEngine, manager: Manager, *, rounds: int, restarts: bool) -> Gaps:
    """Hand-overs and rounds of the loop in turns."""
    gaps = Gaps()
    manager.start()
    manager.in_phase("idle")
    reader = HistoryReader(manager.state)
    loop_round(engine, 0)  # the first of each kind finds cold caches
    hand_over(manager, reader)
    for _ in range(rounds):
        launcher, job = hand_over(manager, reader)
        gaps.launcher.append(launcher)
        gaps.job.append(job)
        gaps.loop.append(loop_round(engine, 0))
        if restarts:
            gaps.restarted.append(loop_round(engine, 1))
    return gaps


def hand_over(manager: Manager, reader: HistoryReader, pool: str = "local") -> tuple[float, float]:
    """One job after another in the pool's one slot: the gap to the next launcher, and to the next job."""
    old, new = _one_after_the_other(manager, reader, pool)
    last = float(_output(manager, old).split()[-1])
    return _opened(reader, new) - last, float(_output(manager, new).split()[0]) - last


def _opened(reader: HistoryReader, job: str) -> float:
    """When the launcher began: by the time of a file, which the kernel takes from its last tick."""
    started: float = reader.job(job)["started"]  # type: ignore[index] # until() has seen it
    return started + time.clock_getres(COARSE) / 2


def _one_after_the_other(
    manager: Manager, reader: HistoryReader, pool: str = "local"
) -> tuple[str, str]:
    """Two jobs that have ended: the first long enough for a standby, and the one that waited for its slot."""
    manager.in_phase("idle", f"{pool}-0")
    to = ("--pool", pool)
    old = manager.submit("sh", "-c", f"sleep {LONG_ENOUGH}; exec {NOW}", options=to)
    new = manager.submit("sh", "-c", f"exec {NOW}", options=to)
    until(lambda: (reader.job(new) or {}).get("finished"), f"job {new} ends")
    return old, new


def _output(manager: Manager, job: str) -> str:
    return until(lambda: str(manager.cli("logs", job).stdout), f"the output of job {job}")


def loop_round(engine: PrivateEngine, rest: int) -> float:
    """The gap between two containers of a shell loop that rests so many seconds in between."""
    one = ROUND.format(engine=engine.url)
    loop = f"n=0; while {one}; do n=$((n+1)); [ $n -lt 2 ] || break; sleep {rest}; done"
    done = subprocess.run(["sh", "-c", loop], capture_output=True, text=True, check=True)
    times = [float(line) for line in done.stdout.split()]
    return times[2] - times[1]


def _told(gaps: Gaps, *, standby: bool) -> list[Figure]:
    on = "on" if standby else "off"
    loop = median(gaps.loop)
    figures = [
        Figure(
            name=f"slot_gap_standby_{on}",
            what=f"slot gap, standby {on}",
            value=median(gaps.launcher) * 1000,
            unit="ms",
            goal=Goal(0.03 if standby else 0.6, of_ratio=True),
            beside="docker run loop",
            beside_value=loop * 1000,
            p95=p95(gaps.launcher) * 1000,
            n=len(gaps.launcher),
            more={"beside_p95": p95(gaps.loop) * 1000},
        ),
        Figure(
            name=f"job_gap_standby_{on}",
            what=f"  to the job's own first instruction, standby {on}",
            value=median(gaps.job) * 1000,
            unit="ms",
            beside="docker run loop",
            beside_value=loop * 1000,
            p95=p95(gaps.job) * 1000,
            n=len(gaps.job),
        ),
    ]
    if gaps.restarted:
        figures.append(
            Figure(
                name="slot_gap_against_restarts",
                what="slot gap, standby on",
                value=median(gaps.launcher) * 1000,
                unit="ms",
                beside="docker run, restarted after 1 s",
                beside_value=median(gaps.restarted) * 1000,
                p95=p95(gaps.launcher) * 1000,
                n=len(gaps.restarted),
            )
        )
    return figures


# -- where the time goes ---------------------------------------------------------------------------


STEPS = (
    ("last", "gone", "the launcher clears up, writes and ends; the kernel says that it has"),
    ("gone", "read", "the witness is read"),
    ("read", "decided", "notice and decide; with a GPU the look, NVML and the health gate"),
    ("decided", "committed", "the commit"),
    ("committed", "open", "the worker takes the action"),
    ("open", "framed", "the job is read and framed"),
    ("framed", "sent", "the bytes are written"),
    ("sent", "opened", "the gate unpacks, the launcher begins"),
    ("opened", "job", "the launcher starts the job"),
)


def breakdown(engine: PrivateEngine, rounds: int = ROUNDS) -> list[Figure]:
    """Where the time of a hand-over goes, by a manager whose seams are watched."""
    with Manager(engine.url, POOL.format(standby="true")) as manager:
        figures = _broken_down(manager, "hand_over", rounds)
    nvidia(engine)
    with Hardware(gpus=8) as hardware, WithGpu(engine.url, hardware) as manager:
        return figures + _broken_down(manager, "hand_over_gpu", rounds)


def _broken_down(manager: Manager, title: str, rounds: int) -> list[Figure]:
    steps: dict[str, list[float]] = {name: [] for _, name, _ in STEPS}
    trace = manager.home / "trace"
    manager.start(sys.executable, "-m", "tests.bench.watched", str(trace))
    reader = HistoryReader(manager.state)
    for number in range(rounds + 1):
        old, new = _one_after_the_other(manager, reader)
        marks = _marks(trace, reader, manager, old, new)
        if number:
            for before, name, _ in STEPS:
                steps[name].append(marks[name] - marks[before])
    return [
        Figure(
            name=f"{title}_{before}_to_{name}",
            what=f"  {what}",
            value=median(steps[name]) * 1000,
            unit="ms",
            p95=p95(steps[name]) * 1000,
            n=rounds,
        )
        for before, name, what in STEPS
    ]


def _marks(
    trace: Path, reader: HistoryReader, manager: Manager, old: str, new: str
) -> dict[str, float]:
    """The moments of one hand-over, by name."""
    before, after = reader.generation_of_job(old), reader.generation_of_job(new)
    marks = {
        "last": float(_output(manager, old).split()[-1]),
        "opened": _opened(reader, new),
        "job": float(_output(manager, new).split()[0]),
    }
    for line in trace.read_text().splitlines():
        name, generation, at = json.loads(line)
        if generation == (before if name in ("gone", "read") else after):
            marks.setdefault(name, at)
    return marks
