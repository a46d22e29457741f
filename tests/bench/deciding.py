"""``step``, on plain values: how long it takes for many slots, idle and busy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count

from mayfly.core import machine, naming
from mayfly.core.gpus import Gpus
from mayfly.core.memory import Agent, Job, Memory
from mayfly.core.model import (
    Config,
    Container,
    ContainerId,
    ContainerState,
    Desired,
    Generation,
    HostId,
    HostSpec,
    JobId,
    PoolName,
    PoolSpec,
    SlotName,
    SlotSpec,
    Witness,
    World,
)
from mayfly.core.observed import Observed
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.state import begin
from tests.bench.figures import Figure, Goal, median, p95

SIZES = (250, 500, 1000, 2000)
TIMES = 15
NOW = 1_800_000_000.0
HOST = HostId("ours00000000")
POOL = PoolSpec(name=PoolName("local"), slots=max(SIZES))


def measure() -> list[Figure]:
    """The worst of the worlds at each size; what it grows by is the last over the first, a slot."""
    taken: dict[tuple[str, int], list[float]] = {}
    for size in SIZES:
        for name, (desired, world, memory) in worlds(size).items():
            taken[name, size] = [_time(desired, world, memory) for _ in range(TIMES)]
    figures = []
    for name in ("idle", "busy", "queued"):
        per_slot = {size: median(taken[name, size]) / size for size in SIZES}
        times = taken[name, 1000]
        figures.append(
            Figure(
                name="decide_1000_slots" if name == "busy" else f"decide_1000_slots_{name}",
                what=f"step, 1,000 slots, {WORLDS[name]}",
                value=median(times) * 1000,
                unit="ms",
                goal=Goal(12),
                beside=f"a slot's share at {SIZES[0]} slots, x 1,000",
                beside_value=per_slot[SIZES[0]] * 1e6,
                p95=p95(times) * 1000,
                n=TIMES,
                more={
                    "ms_by_slots": {size: round(per_slot[size] * size * 1000, 2) for size in SIZES}
                },
            )
        )
    return figures


WORLDS = {
    "idle": "all idle",
    "busy": "all busy, each with a standby",
    "queued": "all idle, a job queued for each",
}


def worlds(size: int) -> dict[str, tuple[Desired, World, Memory]]:
    """The worlds by name."""
    specs = tuple(
        SlotSpec(naming.slot(POOL.name, index), index, POOL, "sha256:0", "0" * 16)
        for index in range(size)
    )
    desired = Desired(specs)
    serials = count()
    names = _generations()
    idle = {spec.name: _agent(next(names), spec, next(serials)) for spec in specs}
    busy = {
        spec.name: _agent(next(names), spec, next(serials), JobId(f"job{spec.index}"))
        for spec in specs
    }
    jobs = {
        agent.job: Job(
            agent.job, POOL.name, agent.serial, NOW - 60, None, 0, agent.generation, agent.slot
        )
        for agent in busy.values()
        if agent.job is not None
    }
    waiting = {
        JobId(f"next{number}"): Job(JobId(f"next{number}"), POOL.name, next(serials), NOW - 1)
        for number in range(size)
    }
    standbys = {spec.name: _agent(next(names), spec, next(serials)) for spec in specs}
    both = [*busy.values(), *standbys.values()]
    return {
        "idle": (desired, _world(idle.values()), _memory(idle.values(), {})),
        "busy": (desired, _world(both), _memory(both, jobs)),
        "queued": (desired, _world(idle.values()), _memory(idle.values(), waiting)),
    }


def _generations() -> Iterator[Generation]:
    return (naming.generation(NOW, number) for number in count())


def _agent(generation: Generation, spec: SlotSpec, serial: int, job: JobId | None = None) -> Agent:
    return Agent(
        generation=generation,
        slot=spec.name,
        pool=POOL.name,
        serial=serial,
        fingerprint=spec.fingerprint,
        image=spec.image,
        lease=(),
        born=NOW - 90,
        embedded=True,
        container=ContainerId(generation),
        armed=NOW - 89,
        ready=NOW - 88,
        committed=NOW - 60 if job is not None else None,
        opened=NOW - 60 if job is not None else None,
        run_id="boot",
        job=job,
    )


def _memory(agents: Iterable[Agent], jobs: Mapping[JobId, Job]) -> Memory:
    known = {agent.generation: agent for agent in agents}
    return Memory(known, {}, jobs, None, 10**6)


def _world(agents: Iterable[Agent]) -> World:
    kept = tuple(agents)
    own: dict[SlotName, Agent] = {}
    for agent in kept:
        own.setdefault(agent.slot, agent)
    return World(
        containers={
            agent.generation: _container(agent, own[agent.slot] is agent) for agent in kept
        },
        witnesses={agent.generation: Witness(agent.ready, agent.opened) for agent in kept},
        last_seen=dict.fromkeys((agent.generation for agent in kept), NOW - 1),
    )


def _container(agent: Agent, own: bool) -> Container:
    name = agent.slot if own else naming.standby(SlotName(agent.slot), agent.generation)
    return Container(
        id=ContainerId(agent.generation),
        name=name,
        state=ContainerState.RUNNING,
        host=HOST,
        pool=agent.pool,
        slot=agent.slot,
        generation=agent.generation,
        fingerprint=agent.fingerprint,
        image=agent.image,
        created=agent.born,
    )


def _time(desired: Desired, world: World, memory: Memory) -> float:
    state = replace(
        begin(HOST, "boot", Config(HostSpec("box"), (POOL,)), memory, Gpus(), 0),
        desired=desired,
        observed=Observed(HOST, world),
        all_stirred=False,
        # As it is from the second pass on: whoever has worked for a while yields already.
        lightened=frozenset(name for name, agent in memory.agents.items() if agent.busy),
    )
    began = time.perf_counter()
    machine.step(state, (), NOW, _judge)
    return time.perf_counter() - began


def _judge(_: PoolName, __: End, ___: tuple[str, ...]) -> Outcome:
    return Outcome(Result.UNKNOWN)
