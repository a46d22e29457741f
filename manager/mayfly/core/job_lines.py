"""The first and the last lines of a job's log at its service: what it runs on, and what it used.

Pure, text. The manager writes them into the agent's figures, a directory that the agent sees and cannot
write; what a service's client runs there at a job's begin and end prints them (agents/job-lines). So a job
can neither make another's nor change its own, and what it prints itself is its own word as ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mayfly.core.gpu_health import Reading, physical
from mayfly.core.gpu_use import MIG
from mayfly.core.gpu_use_words import figures, is_known
from mayfly.core.gpus import Gpus
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent
from mayfly.core.model import Generation, GpuUse, SlotSpec
from mayfly.core.plain_text import one_line, shortened
from mayfly.core.quantities import rfc3339, rounded_size, spoken_size
from mayfly.core.state import State

MARK = "mayfly: "  # what each begins with
# Runners take `##[set-env …]` and `##vso[task…]` for commands wherever in a line they stand, and some names
# here are of devices and images. (`::set-env` has to begin a line.)
COMMAND = re.compile("#{2,}")
MOST = 300  # characters of one
MOST_GPUS = 16  # that are told one by one


@dataclass(frozen=True, slots=True)
class JobLines:
    """What an agent's figures are to say now."""

    first: str  # lines; said once, and not changed while the agent lives
    last: str = ""  # lines as of the last reading; "": there is no reading to tell of


def of_all(
    state: State, before: Mapping[Generation, JobLines], *, looked: bool = True
) -> dict[Generation, JobLines]:
    """What is to be said of every agent of this moment; ``before`` is what was to be said until now.

    ``looked``: the GPUs were looked at since; if not, what was said of an agent's use is as it was. It is
    asked after each step, and to tell it anew of 64 agents takes some 15 ms.
    """
    specs = {spec.name: spec for spec in state.desired.slots if spec.has_figures}
    if not specs:
        return {}
    found: dict[Generation, JobLines] = {}
    for agent in state.memory.agents.values():
        spec = specs.get(agent.slot)
        if agent.settled or spec is None:
            continue
        known = before.get(agent.generation)
        begun = known.first if known else first(agent, spec, state.config.host.name, state.gpus)
        if looked or known is None or not known.last:
            known = JobLines(begun, last(agent, state.gpus))
        found[agent.generation] = known
    return found


def first(agent: Agent, spec: SlotSpec, host: str, gpus: Gpus) -> str:
    """What the agent's job runs on."""
    limits = spec.pool.limits
    cores = f"{limits.cpus:g} processors" if limits.cpus is not None else "all processors"
    held = agent.memory if agent.memory is not None else limits.memory
    memory = f"{spoken_size(held)} memory" if held is not None else "no limit of memory"
    name = agent.asked_image or spec.reference
    image = f"{name} ({agent.image})" if name and name != agent.image else agent.image
    told = [f"slot {agent.slot} of {host}: {cores}, {memory}", f"image {image}"]
    if agent.lease:
        told += _devices(agent.lease, gpus)
    return _lines(told)


def _devices(lease: Sequence[str], gpus: Gpus) -> list[str]:
    known = gpus.known or ()
    told = [f"{_name(uuid, known)}" for uuid in lease[:MOST_GPUS]]
    if len(lease) > MOST_GPUS:
        told.append(f"and {len(lease) - MOST_GPUS} more GPUs")
    reading = gpus.reading
    if reading is not None and reading.driver:
        most = reading.cuda
        cuda = f", which runs CUDA {most[0]}.{most[1]} at most" if most is not None else ""
        told.append(f"driver {reading.driver}{cuda}")
    return told


def _name(uuid: str, known: Sequence[Gpu]) -> str:
    """A device as a person knows it: its model, memory and UUID."""
    whole = physical(uuid, known)
    gpu = next((one for one in known if one.uuid == whole), None)
    if gpu is None:
        return f"GPU {uuid}"
    if uuid != whole:
        part = next(one for one in gpu.mig if one.uuid == uuid)
        return f"GPU {uuid}: {part.name} of {gpu.name}, {rounded_size(part.memory)}"
    return f"GPU {uuid}: {gpu.name}, {rounded_size(gpu.memory)}"


def last(agent: Agent, gpus: Gpus) -> str:
    """What the agent's job has used of its GPUs until the last reading; "": it has none, or is not known to
    run.
    """
    reading = gpus.reading
    if not agent.lease or not agent.busy or reading is None or reading.problem is not None:
        return ""
    uses = gpus.tally.use_of(agent, reading.began)
    if uses is None:
        return ""
    told = [_used(use, reading) for use in uses[:MOST_GPUS]]
    return _lines([*told, f"measured until {rfc3339(reading.began)}, from outside of the job"])


def _used(use: GpuUse, reading: Reading) -> str:
    row: Mapping[str, object] = asdict(use)
    if not is_known(row):
        return f"GPU {use.uuid}: was not looked at yet"
    vitals = reading.vitals.get(use.uuid)
    total = vitals.total if vitals is not None else None
    said = figures(row, f" of {rounded_size(total)}" if total else "")
    clean = use.xids is not None and not use.xids and not use.uuid.startswith(MIG)
    return f"GPU {use.uuid}: {said}{', no XID' if clean else ''}"


def _lines(told: Sequence[str]) -> str:
    return "".join(f"{MARK}{shortened(COMMAND.sub('#', one_line(line)), MOST)}\n" for line in told)
