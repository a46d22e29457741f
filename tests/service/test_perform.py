"""What a worker makes of an opening: nothing is written into a gate whose job's own files are not there."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from mayfly.core.actions import Open
from mayfly.core.memory import Agent
from mayfly.core.model import Generation, JobId, PoolName
from mayfly.core.stimuli import ActionDone
from mayfly.core.workspace import Brought, Unbrought
from mayfly.edge.doors import Doors
from mayfly.edge.faults import Fault, Passing, Refused, Unbringable
from mayfly.edge.figures import Figures
from mayfly.edge.workspaces import Bounds, Workspaces
from mayfly.engines.protocol import OutputListener
from mayfly.engines.simulated.engine import SimulatedEngine
from mayfly.providers import Enrolment, Provider
from mayfly.service.end_watch import EndWatch
from mayfly.service.messages import stimuli_of
from mayfly.service.perform import Done, Performer
from tests.engine.contract import FOREVER, IMAGE, World

LONG = Unbrought.NAME_TOO_LONG
POOL = PoolName("contract")


class Giving:
    """A provider that gives a job which brings something."""

    def __init__(self, brought: Brought) -> None:
        self.brought = brought

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        del agent, labels
        return Enrolment(FOREVER, brought=self.brought)


@pytest.mark.parametrize(
    ("fault", "at_fault"),
    [
        (Unbringable("open /workspace/x: file name too long", LONG), LONG),
        (Passing("write /workspace/x: no space left on device"), None),
        (Refused("no permission to use the Engine"), None),
        (None, Unbrought.NOT_KEPT),
    ],
)
def test_a_gate_stays_shut_where_what_its_job_brings_is_not_there(
    tmp_path: Path, fault: Fault | None, at_fault: Unbrought | None
) -> None:
    engine = SimulatedEngine(images=(IMAGE,))
    world = World(engine, tmp_path)
    slot = world.sandboxed()
    holder = world.holder(slot)
    plan = world.joining(slot, holder)
    container = engine.prepare(plan)
    kept = Workspaces(tmp_path / "kept", Bounds(1 << 20, 1 << 24, 1 << 25), list)
    digest = kept.keep(1000, [b"input"], 5)
    brought = Brought(1000, None, digest if fault is not None else "0" * 64, "1000:1000")
    output = engine.output(
        tmp_path, cast("OutputListener", object()), per_agent=1, total=1, log_size=1
    )
    ends = EndWatch(engine, lambda *_: None, lambda *_: None)
    parts = (world.host, engine, world.witnesses, output, ends, 1 << 20, kept)
    performer = Performer(*parts, doors=Doors(tmp_path), figures=Figures(tmp_path))
    performer.providers = {POOL: cast("Provider", Giving(brought))}
    if fault is not None:
        engine.fails("put_tree", fault)
    agent = cast("Agent", object())
    open_ = Open(
        Generation(plan.generation), plan.slot, POOL, container, JobId("j"), "it is next",
        sandbox=holder, brings=True, uid=1000,
    )  # fmt: skip
    found = performer.perform(open_, agent)
    assert isinstance(found, Done)
    assert found.unbrought is not None
    assert fault is None or found.unbrought is fault
    (told,) = stimuli_of(found, world.host)
    assert isinstance(told, ActionDone)
    assert told.unbrought == str(found.unbrought)
    assert told.at_fault is at_fault
    assert engine.at_gate(container)
    assert "open" not in engine.calls
    assert not engine.sandbox_was_used(holder), (
        "its network is watched before anything is put there"
    )
