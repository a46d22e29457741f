"""What a manager that is started now would do first: for ``mayfly plan`` while none runs.

It looks at the state file, the witnesses, the Engine and the host, changes none of them, and asks no
service: rosters are unknown, and so is the health of GPUs, which only a running manager watches.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mayfly.core import machine
from mayfly.core.command_effects import plan_document
from mayfly.core.desire import Hardware, references
from mayfly.core.gpus import Gpus
from mayfly.core.memory import Memory
from mayfly.core.model import Config, Generation, HostId, PoolName, Witness
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.plan import Plan
from mayfly.core.seal import bears_its_name, looked_at
from mayfly.core.state import begin
from mayfly.core.stimuli import ConfigRead, EngineSeen, HostSurveyed, WitnessesRead
from mayfly.edge.history import INSTALLATION_KEY
from mayfly.edge.history_file import is_there
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.mounted import MountedPaths
from mayfly.edge.witness import Witnesses
from mayfly.engines import load as load_engine
from mayfly.providers.installed import load
from mayfly.service.clock import Clock
from mayfly.service.engine_observer import survey_of
from mayfly.service.services import Services

ANY_HOST = HostId("")  # where no manager has run yet, nothing on the Engine is ours


def offline_plan(config: Config, hardware: Hardware) -> dict[str, object]:
    """The document of ``mayfly plan --json``, schema ``mayfly.plan/1``.

    ``Passing`` or ``Refused`` where the Engine or the state file cannot be read.
    """
    state_dir = Path(config.host.state_dir)
    host, key, memory = _remembered(state_dir)
    config = config.with_installation_key(key)
    engine = load_engine(config.host)
    info, containers = engine.facts(), looked_at(key, engine.list())
    wanted = references(config, hardware, memory.jobs.values())
    survey = survey_of(engine, config, info, wanted, MountedPaths())
    providers = {pool.name: load(pool, config.host, host, state_dir) for pool in config.pools}
    traits = Services(lambda pool: providers[pool.name], lambda _: None).preview(config)

    def judge(pool: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        provider = providers.get(pool)
        return provider.judge(end, signs) if provider is not None else Outcome(Result.UNKNOWN)

    now = Clock().now()
    state = begin(host, "plan", config, memory, Gpus.unwatched(hardware), 0)
    seen = (ConfigRead(config, traits), HostSurveyed(survey), EngineSeen(0, containers))
    step = machine.step(state, seen, now, judge)
    if step.witnesses:
        read = WitnessesRead(_witnesses(state_dir, step.witnesses))
        step = machine.step(step.state, (read,), now, judge)
    headline = "no manager runs: this is what one would do first; what services say is unknown"
    named = {container.host for container in containers if bears_its_name(container)}
    others = sorted(named - {host})
    if others:
        headline += (
            f"; it would refuse to start, since another Mayfly ({', '.join(others)}) is here"
        )
    if memory.pause is not None:
        headline += f"; paused by {memory.pause.by}, nothing is touched"
    return {**plan_document(Plan(actions=step.actions), headline), "offline": True}


def _remembered(state_dir: Path) -> tuple[HostId, str, Memory]:
    """This Mayfly's id, what it masks values with, and its memory; nothing where no manager has run yet."""
    if not is_there(state_dir):
        return ANY_HOST, "", Memory()
    reader = HistoryReader(state_dir)
    try:
        memory = reader.memory()
        return HostId(reader.meta("host") or ANY_HOST), reader.meta(INSTALLATION_KEY) or "", memory
    finally:
        reader.close()


def _witnesses(
    state_dir: Path, wanted: tuple[Generation, ...]
) -> Mapping[Generation, Witness | None]:
    witnesses = Witnesses(state_dir)  # it makes its directory, so only where somebody is known
    return {generation: witnesses.read(generation) for generation in wanted}
