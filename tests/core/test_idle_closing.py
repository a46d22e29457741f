"""A host is closed at a service: no agent is left there that could be given a job; one that has one stays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from mayfly.core.commands import Caller, CloseGates, OpenGates
from mayfly.core.host_closing import effects
from mayfly.core.idleness import CLOSER, Kind, reasons, still_open
from mayfly.core.model import Phase, PoolName, Roster, Traits
from mayfly.core.requests import Trial
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    Commanded,
    EnrolmentTried,
    Failure,
    Family,
    RosterFailed,
    RosterSeen,
    Stimulus,
)
from tests.core.served import Served, ServiceAction
from tests.core.simulator import Host, desire, pool, specs

BY = Caller(1, 0, 0, CLOSER)
AWAY = Failure(Family.PASSING, "no route to host")
GITHUB = Traits()
GITEA = Traits(can_cordon=True, entry_ends_with_job=True)
AZURE = Traits(can_cordon=True, keeps_entries=True)


@dataclass
class Service(Served):
    """It lists its agents and does what it is told, unless it is down."""

    trait: Traits = field(default_factory=Traits)
    down: bool = False

    def traits(self) -> Traits:
        return self.trait

    def listed(self, of: PoolName) -> Stimulus | None:
        if self.down:
            return RosterFailed(of, AWAY)
        return RosterSeen(of, Roster(tuple(self.host.entries.values()), self.now), 30.0)

    def called(self, action: ServiceAction) -> ActionDone | ActionFailed | None:
        return ActionFailed(action, AWAY) if self.down else None

    def tried(self, of: PoolName, trial: Trial) -> EnrolmentTried:
        del trial
        return EnrolmentTried(of, None)

    def does(self, command: CloseGates | OpenGates) -> None:
        facts = effects(command, self.desired, self.memory, self.now)
        assert not isinstance(facts, str), facts
        self.inbox.append(Commanded(facts))

    def online(self) -> list[str]:
        return [key for key, entry in self.host.entries.items() if entry.online]


def idle(traits: Traits) -> Service:
    """Two slots whose agents wait at the service."""
    spec = pool("gpu", 2, provider="github")
    slots = tuple(
        replace(one, can_cordon=traits.can_cordon, keeps_entries=traits.keeps_entries)
        for one in specs(spec)
    )
    manager = Service(Host(), desire(slots), trait=traits)
    seconds(manager, 120)
    assert manager.phases("gpu-0")[0] == manager.phases("gpu-1")[0] == Phase.IDLE
    assert reasons(manager.state, manager.now) == ()
    return manager


def seconds(manager: Service, many: int) -> None:
    for _ in range(many // 5):
        manager.one_second(5.0)


@pytest.mark.parametrize("traits", [GITHUB, GITEA, AZURE], ids=["github", "gitea", "azure"])
def test_a_closed_host_has_no_agent_online_and_fills_again(traits: Traits) -> None:
    manager = idle(traits)
    before = set(manager.memory.agents)
    assert len(manager.online()) == 2
    manager.does(CloseGates(BY, manager.now))
    said = []
    while why := still_open(manager.state):
        manager.turn()
        said.append(why)
        for subject, action in list(manager.flight.items()):
            manager._act(subject, action)
        manager.host.progress()
        manager.host.now += 1.0
    assert "slot gpu-0: its agent has not ended yet" in said
    assert still_open(manager.state) == ""
    assert manager.online() == []
    assert not any(agent.at_work for agent in manager.memory.agents.values())
    manager.does(OpenGates(BY, "a veto"))
    seconds(manager, 180)
    assert manager.phases("gpu-0")[0] == manager.phases("gpu-1")[0] == Phase.IDLE
    assert before.isdisjoint(
        generation for generation, agent in manager.memory.agents.items() if not agent.settled
    ), "nobody who was idle before is idle after it"


@pytest.mark.parametrize("traits", [GITHUB, AZURE], ids=["github", "azure"])
def test_a_service_that_is_down_keeps_the_host_open(traits: Traits) -> None:
    manager = idle(traits)
    manager.down = True
    seconds(manager, 60)
    assert [reason.kind for reason in reasons(manager.state, manager.now)] == [Kind.UNKNOWN]
    manager.does(CloseGates(BY, manager.now))
    seconds(manager, 280)
    assert still_open(manager.state) != "", "it may give what it still knows a job"
    manager.down = False
    seconds(manager, 240)
    assert still_open(manager.state) == ""


@pytest.mark.parametrize("traits", [GITHUB, GITEA, AZURE], ids=["github", "gitea", "azure"])
def test_a_job_that_is_given_in_that_moment_is_not_ended_and_stops_the_closing(
    traits: Traits,
) -> None:
    manager = idle(traits)
    manager.does(CloseGates(BY, manager.now))
    agent = next(one for one in manager.memory.agents.values() if one.opened is not None)
    manager.host.gives_job(agent.generation)
    seconds(manager, 120)
    found = [reason for reason in reasons(manager.state, manager.now) if reason.kind is Kind.WORK]
    assert [reason.text for reason in found] == [f"slot {agent.slot} runs a job"]
    assert manager.memory.agents[agent.generation].busy
    assert still_open(manager.state) == f"slot {agent.slot}: its agent has not ended yet"
