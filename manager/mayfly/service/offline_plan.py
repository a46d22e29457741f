"""What a manager that is started now would do first: for ``mayfly plan`` while none runs.

It looks at the state file, the witnesses, the Engine and the host, changes none of them, and asks no
service: rosters are unknown, and so is the health of GPUs, which only a running manager watches.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from mayfly.core import naming
from mayfly.core.actions import Action
from mayfly.core.apply import apply
from mayfly.core.command_effects import plan_document
from mayfly.core.decide import decide
from mayfly.core.desire import Hardware, desired, references
from mayfly.core.memory import Memory
from mayfly.core.model import Config, Container, Desired, HostId, PoolName, World
from mayfly.core.notice import notice
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.plan import Plan
from mayfly.edge.history_file import FILE_NAME
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.log import Log
from mayfly.edge.witness import Witnesses
from mayfly.engines import load as load_engine
from mayfly.providers import Provider
from mayfly.providers.installed import load
from mayfly.service.clock import Clock
from mayfly.service.engine_observer import survey_of
from mayfly.service.loop import ROUNDS
from mayfly.service.observed import ObservedState
from mayfly.service.services import Services

ANY_HOST = HostId("")  # where no manager has run yet, nothing on the Engine is ours


def offline_plan(config: Config, hardware: Hardware) -> dict[str, object]:
    """The document of ``mayfly plan --json``, schema ``mayfly.plan/1``.

    ``Passing`` or ``Refused`` where the Engine or the state file cannot be read.
    """
    state_dir = Path(config.host.state_dir)
    host, memory = _remembered(state_dir)
    engine = load_engine(config.host)
    info, containers = engine.facts(), engine.list()
    survey = survey_of(engine, config, info, references(config, hardware))
    now = Clock().now()
    providers = {pool.name: load(pool, config.host, host, state_dir) for pool in config.pools}
    traits = Services(lambda pool: providers[pool.name], lambda _: None, Log()).preview(config)
    wanted = desired(config, survey, traits, hardware=hardware)
    world = _seen(host, containers, memory, state_dir, now)
    actions = _actions(wanted, world, memory, providers, now)
    headline = "no manager runs: this is what one would do first; what services say is unknown"
    others = sorted({container.host for container in containers} - {host})
    if others:
        headline += (
            f"; it would refuse to start, since another Mayfly ({', '.join(others)}) is here"
        )
    if memory.pause is not None:
        headline += f"; paused by {memory.pause.by}, nothing is touched"
    return {**plan_document(Plan(actions=tuple(actions)), headline), "offline": True}


def _remembered(state_dir: Path) -> tuple[HostId, Memory]:
    """This Mayfly's id and memory; none and nothing where no manager has run yet."""
    if not (state_dir / FILE_NAME).exists():
        return ANY_HOST, Memory()
    reader = HistoryReader(state_dir)
    try:
        memory = reader.memory()
        return HostId(reader.meta("host") or ANY_HOST), memory
    finally:
        reader.close()


def _seen(
    host: HostId,
    containers: tuple[Container, ...],
    memory: Memory,
    state_dir: Path,
    now: float,
) -> World:
    observed = ObservedState(host)
    observed.seen(0, containers, memory, now)
    ours = {container.generation for container in containers if container.host == host}
    ours |= memory.agents.keys()
    if ours:
        witnesses = Witnesses(state_dir)  # it makes its directory, so not where nothing is known
        for generation in ours:
            observed.testify(generation, witnesses.read(generation), now)
    return observed.world()


def _actions(
    wanted: Desired,
    world: World,
    memory: Memory,
    providers: Mapping[PoolName, Provider],
    now: float,
) -> list[Action]:
    """The actions of a first pass, as the loop comes to them: noticing and deciding by turns."""

    def judge(pool: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        provider = providers.get(pool)
        return provider.judge(end, signs) if provider is not None else Outcome(Result.UNKNOWN)

    actions: list[Action] = []
    run_id = naming.generation(now, secrets.randbelow(36**5))
    for _ in range(ROUNDS):
        blocked = frozenset(action.subject for action in actions)
        noticed = notice(memory, world, now, judge, blocked)
        memory = apply(memory, noticed)
        plan = decide(
            wanted,
            world,
            memory,
            now,
            run_id=run_id,
            mint=lambda: naming.generation(now, secrets.randbelow(36**5)),
            in_flight=blocked,
        )
        memory = apply(memory, plan.facts)
        actions += plan.actions
        if not noticed and not plan.facts:
            break
    return actions
