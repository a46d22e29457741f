"""A job that brings what cannot be put into any agent: its own fault, and nobody else's loss."""

from __future__ import annotations

from mayfly.core.actions import Open
from mayfly.core.facts import SlotCooled
from mayfly.core.model import Cause, JobState
from mayfly.core.notice import TRIES
from mayfly.core.slots import BACKOFF_MOST
from mayfly.core.stimuli import ActionDone
from mayfly.core.workspace import Unbrought
from tests.core.simulator import Host, Manager, desire, pool, specs

WHY = "putting files there: open /workspace/secret: file name too long; it is tried again"
FULL = "putting files there: write /workspace/secret: no space left on device"


def opening(manager: Manager) -> Open:
    """The gate of the next job is to be opened, and what comes of that is the caller's to say."""
    for _ in range(100):
        plan = manager.turn()
        for subject, action in list(manager.flight.items()):
            if isinstance(action, Open):
                del manager.flight[subject]
                return action
            manager.finish(subject)
        manager.host.progress()
        wake = manager.foreseen().wake
        if plan.empty and not manager.flight and wake is not None:
            manager.host.now = max(manager.host.now, wake)
    raise AssertionError("no gate is opened")


def test_what_can_be_put_into_no_agent_costs_its_job_alone() -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.run()
    bad, good = manager.submit("a"), manager.submit("a")
    before = manager.host.now
    for _ in range(3):
        gate = opening(manager)
        manager.inbox.append(ActionDone(gate, unbrought=WHY, at_fault=Unbrought.NAME_TOO_LONG))
    manager.run()
    end = manager.ended(bad)
    assert (end.state, end.cause) == (JobState.LOST, Cause.NEVER_STARTED)
    assert end.detail.endswith("what its job brings is not there: a path in it is too long")
    assert not any(isinstance(fact, SlotCooled) for fact in manager.journal)
    assert manager.host.runs[good] == [manager.own("a-0")]
    assert manager.host.now == before, "nobody waits"


def test_what_the_engine_cannot_do_for_anybody_costs_no_job_a_try() -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.run()
    job = manager.submit("a")
    for _ in range(TRIES + 1):
        gate = opening(manager)
        manager.inbox.append(ActionDone(gate, unbrought=FULL))
    manager.pass_time(BACKOFF_MOST)
    assert manager.host.runs[job] == [manager.own("a-0")]
    told = [fact.reason for fact in manager.journal if isinstance(fact, SlotCooled)]
    assert set(told) == {"what its job brings is not there: the Engine or a disk failed"}
    assert len(told) == TRIES + 1
