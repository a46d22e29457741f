"""A job that brings what cannot be put into any agent: its own fault, and nobody else's loss."""

from __future__ import annotations

from mayfly.core.actions import Open
from mayfly.core.facts import SlotCooled
from mayfly.core.model import Cause, JobState
from mayfly.core.stimuli import ActionDone
from tests.core.simulator import Host, Manager, desire, pool, specs

WHY = "putting files there: open /workspace/secret: file name too long"


def refuse(manager: Manager) -> None:
    """Nothing of what the next job brings can be put into the agent whose gate is to be opened."""
    while not any(isinstance(action, Open) for action in manager.flight.values()):
        manager.turn()
        for subject, action in list(manager.flight.items()):
            if not isinstance(action, Open):
                manager.finish(subject)
    (gate,) = (name for name, action in manager.flight.items() if isinstance(action, Open))
    manager.inbox.append(ActionDone(manager.flight.pop(gate), unbrought=WHY))


def test_what_can_be_put_into_no_agent_costs_its_job_alone() -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.run()
    bad, good = manager.submit("a"), manager.submit("a")
    before = manager.host.now
    for _ in range(3):
        refuse(manager)
    manager.run()
    end = manager.ended(bad)
    assert (end.state, end.cause) == (JobState.LOST, Cause.NEVER_STARTED)
    assert end.detail.endswith("what its job brings is not there: file name too long")
    assert not any(isinstance(fact, SlotCooled) for fact in manager.journal)
    assert manager.host.runs[good] == [manager.own("a-0")]
    assert manager.host.now == before, "nobody waits"
