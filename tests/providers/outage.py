"""A manager on a host without a host, whose service is a provider's fake: outages by the manager's own clock.

What the provider asks goes to the fake over real HTTP and takes no time by that clock, unless the service is
silent: then it fails when it would have. Clients come up and listen as soon as their gate is open. What one
has asked a silent service it waits for as long as the official one does, also when the service is back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mayfly.core.actions import Action, Dismiss, Enrol, SetSchedulable
from mayfly.core.conditions import client_conditions
from mayfly.core.memory import Agent
from mayfly.core.model import Condition, Generation, PoolName, PoolSpec, SlotSpec, Traits
from mayfly.core.outcomes import End, Outcome
from mayfly.core.plan import Plan
from mayfly.core.requests import Trial
from mayfly.core.slots import status_of
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    ClientSign,
    EnrolmentTried,
    RosterFailed,
    RosterSeen,
    ServiceAnswered,
    Stimulus,
)
from mayfly.edge.faults import Fault
from mayfly.providers import Answering, Counting, Enrolment, Provider
from mayfly.service.failures import failure_of
from tests.core.served import Served, ServiceAction
from tests.core.simulator import Host, desire, specs

if TYPE_CHECKING:
    from tests.providers.contract import Bench

SLOTS = 2
ANSWER = 30.0  # seconds that the manager waits for an answer
AGAIN = 15.0  # seconds after which a client that got none asks once more


@dataclass(frozen=True)
class Client:
    """How the official client of a service waits for an answer."""

    patience: float  # seconds
    cut_off: str | None = None  # the line with which it gives up; None: it says nothing
    back: str | None = None  # the line that it says once it is answered again


@dataclass
class AtService(Served):
    """The manager and its provider."""

    bench: Bench = field(kw_only=True)
    provider: Provider = field(kw_only=True)
    given: dict[Generation, Enrolment] = field(default_factory=dict)
    listening: set[Generation] = field(default_factory=set)
    silent: bool = False
    # when what the manager has asked fails, and what it is told then
    unanswered: dict[str, tuple[float, Stimulus]] = field(default_factory=dict)
    # of clients whose call hangs: until when, and whether they have told of it
    hanging: dict[Generation, tuple[float, bool]] = field(default_factory=dict)

    def traits(self) -> Traits:
        return self.provider.traits

    def judge(self, of: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        return self.provider.judge(end, signs)

    def listed(self, of: PoolName) -> Stimulus | None:
        return self._late(f"list {of}", self._listed(of))

    def _listed(self, of: PoolName) -> Stimulus:
        try:
            roster = self.provider.roster()
        except Fault as fault:
            return RosterFailed(of, failure_of(fault))
        now = replace(roster, at=self.now) if roster is not None else None
        return RosterSeen(of, now, self.provider.roster_interval)

    def answered(self, of: PoolName) -> Stimulus | None:
        if not isinstance(self.provider, Answering):
            return self.listed(of)
        try:
            self.provider.answer()
        except Fault as fault:
            return self._late(f"list {of}", RosterFailed(of, failure_of(fault)))
        return ServiceAnswered(of)

    def _late(self, subject: str, told: Stimulus) -> Stimulus | None:
        if not self.silent:
            return told
        self.unanswered[subject] = (self.now + ANSWER, told)
        return None

    def _act(self, subject: str, action: Action) -> None:
        if not self.silent or not isinstance(action, ServiceAction):
            if subject not in self.unanswered:
                super()._act(subject, action)
        elif subject not in self.unanswered:
            self._late(subject, self.called(action))

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

    def falls_silent(self) -> None:
        """Nothing is answered any more, and each client's call hangs."""
        self.silent = True
        for generation in self.listening:
            self.hanging[generation] = (self.now + self.bench.client.patience, False)

    def _clients_wait(self) -> None:
        """Each says what it has to say once its patience is over."""
        client = self.bench.client
        for generation, (until, told) in list(self.hanging.items()):
            box = self.host.boxes.get(generation)
            if box is None or not box.running:
                del self.hanging[generation]
            elif self.now >= until + AGAIN and not self.silent:
                del self.hanging[generation]
                self.hears(generation, client.back if told else None)
            elif self.now >= until and not told:
                self.hanging[generation] = (until, True)
                self.hears(generation, client.cut_off)
            elif self.now >= until + AGAIN:
                self.hanging[generation] = (self.now + client.patience, True)

    def hears(self, generation: Generation, line: str | None) -> None:
        """What follows from a line of that agent's client."""
        sign = self.provider.read(line) if line is not None else None
        if sign is not None:
            self.inbox.append(ClientSign(generation, sign.kind, sign.text, sign.quiet))

    def _fail_late(self) -> None:
        """What was asked of a silent service fails by the time that this takes."""
        for subject, (due, told) in list(self.unanswered.items()):
            if self.now >= due:
                del self.unanswered[subject]
                self.flight.pop(subject, None)
                self.inbox.append(told)

    def clients_come_up(self) -> None:
        """Each client whose gate is open listens."""
        for box in self.host.boxes.values():
            if self.silent:
                return
            if box.running and box.generation in self.given.keys() - self.listening:
                self.listening.add(box.generation)
                self.bench.online(self.given[box.generation])
                self.bench.fresh()
                self.inbox.append(ClientSign(box.generation, "listening"))

    def turn(self, *, recorded: bool = True, sights: object = None) -> Plan:
        self._fail_late()
        self._clients_wait()
        plan = super().turn(recorded=recorded)
        self.clients_come_up()
        return plan

    def conditions(self) -> list[Condition]:
        """What is told of the service, and of the agents' way there."""
        rows = [
            status_of(spec, self.desired, self.memory, self.tenancy(spec.name), self.now)
            for spec in self.desired.slots
        ]
        return [*super().conditions(), *client_conditions(rows, self.state.reported, self.now)]

    def calls(self) -> int:
        """How many calls were made."""
        assert isinstance(self.provider, Counting)
        made = self.provider.calls().items()
        return sum(number for (_, status), number in made if status != "unsent")

    @property
    def well(self) -> bool:
        """Whether every slot waits for a job and nothing is told."""
        phases = [self.phases(spec.name)[:1] for spec in self.desired.slots]
        owns = {self.own(spec.name) for spec in self.desired.slots if self.phases(spec.name)}
        if owns & self.hanging.keys():
            return False  # a slot that says idle gets no job
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
        entry_ends_with_job=traits.entry_ends_with_job,
        proof=traits.proof,
    )
