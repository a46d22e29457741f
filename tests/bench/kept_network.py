"""A pool that keeps its slots' networks (`sandbox = "slot"`) beside one that does not, in one run.

Hand-overs without a standby and with the health gate, no-op jobs a minute, and jobs a minute that send one
packet, so that no network is used twice: each beside the same of a pool that makes a network namespace for
every agent. What the loop of `docker run` took meanwhile is told as well.
"""

from __future__ import annotations

from tests.bench import slot_gap, throughput
from tests.bench.figures import Figure, median, p95
from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvml import Hardware
from tests.harness import Manager

ROUNDS = 10
TURNS = 2
KINDS = {"job": "", "slot": 'sandbox = "slot"\n'}
SENDS = ("bash", "-c", "echo sent >/dev/udp/192.0.2.1/9")


def measure(engine: PrivateEngine, rounds: int = ROUNDS, turns: int = TURNS) -> list[Figure]:
    """The four figures, each kind in its turn."""
    off = {}
    for kind, more in KINDS.items():
        pool = slot_gap.POOL.format(standby="false") + more
        with Manager(engine.url, pool) as manager:
            off[kind] = slot_gap.gather(engine, manager, rounds=rounds, restarts=False)
    slot_gap.nvidia(engine)
    gpu = {}
    for kind, more in KINDS.items():
        with Hardware(gpus=8) as hardware, slot_gap.WithGpu(engine.url, hardware, more) as manager:
            gpu[kind] = slot_gap.gather(engine, manager, rounds=rounds, restarts=False)
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    sending: dict[str, list[float]] = {kind: [] for kind in KINDS}
    loops: list[float] = []
    for _ in range(turns):
        for kind, more in KINDS.items():
            with Manager(engine.url, throughput.POOL + more) as manager:
                manager.start()
                rates[kind].append(throughput.jobs(manager))
                sending[kind].append(throughput.jobs(manager, SENDS))
        loops.append(throughput.rounds(engine))
    return [
        _gap("kept_network_standby_off", "slot gap, standby off, network kept", off),
        _gap("kept_network_gpu_gate", "slot gap, health gate, network kept", gpu),
        _rate("", "no-op jobs a minute, 8 slots, network kept", rates, loops),
        _rate("_sending", "  that send a packet, so that it is not", sending, loops),
    ]


def _rate(name: str, what: str, rates: dict[str, list[float]], loops: list[float]) -> Figure:
    return Figure(
        name=f"kept_network_jobs_per_minute_8{name}",
        what=what,
        value=median(rates["slot"]),
        unit="/min",
        beside="a network for each agent",
        beside_value=median(rates["job"]),
        n=len(loops),
        more={"loops": median(loops), "windows": rates["slot"], "beside_windows": rates["job"]},
    )


def _gap(name: str, what: str, gaps: dict[str, slot_gap.Gaps]) -> Figure:
    kept, other = gaps["slot"], gaps["job"]
    return Figure(
        name=name,
        what=what,
        value=median(kept.launcher) * 1000,
        unit="ms",
        beside="a network for each agent",
        beside_value=median(other.launcher) * 1000,
        p95=p95(kept.launcher) * 1000,
        n=len(kept.launcher),
        more={
            "loop": median(kept.loop) * 1000,
            "beside_loop": median(other.loop) * 1000,
            "beside_p95": p95(other.launcher) * 1000,
        },
    )
