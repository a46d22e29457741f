"""A manager on a host without a host, whose service is a provider's fake: outages by the manager's own clock.

What the provider asks goes to the fake over real HTTP and takes no time by that clock; clients come up and
listen as soon as their gate is open.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mayfly.core.actions import Dismiss, Enrol, SetSchedulable
from mayfly.core.memory import Agent
from mayfly.core.model import Generation, PoolName, PoolSpec, SlotSpec, Traits
from mayfly.core.outcomes import End, Outcome
from mayfly.core.plan import Plan
from mayfly.core.requests import Trial
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    ClientSign,
    EnrolmentTried,
    RosterFailed,
    RosterSeen,
    Stimulus,
)
from mayfly.edge.faults import Fault
from mayfly.providers import Counting, Enrolment, Provider
from mayfly.service.failures import failure_of
from tests.core.served import Served, ServiceAction
from tests.core.simulator import Host, desire, specs

if TYPE_CHECKING:
    from tests.providers.contract import Bench

SLOTS = 2


@dataclass
class AtService(Served):
    """The manager and its provider."""

    bench: Bench = field(kw_only=True)
    provider: Provider = field(kw_only=True)
    given: dict[Generation, Enrolment] = field(default_factory=dict)
    listening: set[Generation] = field(default_factory=set)

    def traits(self) -> Traits:
        return self.provider.traits

    def judge(self, of: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        return self.provider.judge(end, signs)

    def listed(self, of: PoolName) -> Stimulus:
        try:
            roster = self.provider.roster()
        except Fault as fault:
            return RosterFailed(of, failure_of(fault))
        now = replace(roster, at=self.now) if roster is not None else None
        return RosterSeen(of, now, self.provider.roster_interval)

    def _enrolled(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        self.given[agent.generation] = given = self.provider.enrol(agent, labels)
        return given

    def called(self, action: ServiceAction) -> ActionDone | ActionFailed:
        try:
            match action:
                case Enrol(generation=generation, labels=labels):
                    given = self._enrolled(self.memory.agents[generation], labels)
                    names = (given.registration, given.registered)
                    return ActionDone(action, None, *names)
                case Dismiss(registration=registration, keep=True):
                    self.provider.retire(registration)
                    return ActionDone(action)
                case Dismiss(registration=registration):
                    return ActionDone(action, busy=self.provider.dismiss(registration).busy)
                case SetSchedulable(registration=registration, cordoned=cordoned):
                    return ActionDone(
                        action, busy=self.provider.cordon(registration, cordoned).busy
                    )
        except Fault as fault:
            return ActionFailed(action, failure_of(fault))

    def tried(self, of: PoolName, trial: Trial) -> EnrolmentTried:
        try:
            given = self.provider.enrol(trial.agent, trial.labels)
            if given.registration is not None and not self.provider.traits.keeps_entries:
                self.provider.dismiss(given.registration)
        except Fault as fault:
            return EnrolmentTried(of, failure_of(fault))
        return EnrolmentTried(of, None)

    def clients_come_up(self) -> None:
        """Each client whose gate is open listens."""
        for box in self.host.boxes.values():
            if box.running and box.generation in self.given.keys() - self.listening:
                self.listening.add(box.generation)
                self.bench.online(self.given[box.generation])
                self.bench.fresh()
                self.inbox.append(ClientSign(box.generation, "listening"))

    def turn(self, *, recorded: bool = True, sights: object = None) -> Plan:
        plan = super().turn(recorded=recorded)
        self.clients_come_up()
        return plan

    def calls(self) -> int:
        """How many calls were made."""
        assert isinstance(self.provider, Counting)
        made = self.provider.calls().items()
        return sum(number for (_, status), number in made if status != "unsent")

    @property
    def well(self) -> bool:
        """Whether every slot waits for a job and nothing is told."""
        phases = [self.phases(spec.name)[:1] for spec in self.desired.slots]
        return phases == [["idle"]] * len(phases) and self.conditions() == []


def at_service(bench: Bench, provider: Provider, of: PoolSpec) -> AtService:
    """A manager of two slots, with nothing done yet."""
    traits = provider.traits
    slots = tuple(_slot(spec, traits) for spec in specs(replace(of, slots=SLOTS)))
    return AtService(Host(), desire(slots), bench=bench, provider=provider)


def _slot(spec: SlotSpec, traits: Traits) -> SlotSpec:
    return replace(
        spec,
        embedded=False,
        ladder=traits.stop_ladder,
        enrol_deadline=traits.enrol_deadline,
        can_cordon=traits.can_cordon,
        keeps_entries=traits.keeps_entries,
        proof=traits.proof,
    )
