"""A manager on a host without a host whose service is asked when the machine says so, by that host's clock.

A service is a subclass: its lists and calls give what the machine is told of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mayfly.core.actions import Action, Dismiss, Enrol, SetSchedulable
from mayfly.core.conditions import service_conditions
from mayfly.core.model import Condition, Config, Desired, HostSpec, PoolName, Traits
from mayfly.core.plan import Plan
from mayfly.core.requests import AskAnswer, AskRoster, Trial, TryEnrolment
from mayfly.core.state import State
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    EnrolmentTried,
    RosterSeen,
    ServiceAnswered,
    Stimulus,
)
from tests.core.simulator import Manager

ServiceAction = Enrol | Dismiss | SetSchedulable


@dataclass
class Served(Manager):
    """The manager; a subclass is its service."""

    def traits(self) -> Traits:
        """What its provider says of itself."""
        raise NotImplementedError

    def listed(self, of: PoolName) -> Stimulus | None:
        """What comes of asking who is there; None: no answer yet."""
        raise NotImplementedError

    def answered(self, of: PoolName) -> Stimulus | None:
        """What comes of asking whether it answers; None: no answer yet."""
        answer = self.listed(of)
        return ServiceAnswered(of) if isinstance(answer, RosterSeen) else answer

    def called(self, action: ServiceAction) -> ActionDone | ActionFailed | None:
        """What comes of a call; None: it is done as the simulator does it."""
        raise NotImplementedError

    def tried(self, of: PoolName, trial: Trial) -> EnrolmentTried:
        """What comes of an enrolment that nobody gets."""
        raise NotImplementedError

    def config(self) -> Config:
        pools = {spec.pool.name: spec.pool for spec in self.desired.slots}
        return Config(HostSpec("host"), tuple(pools.values()))

    def services(self) -> Mapping[PoolName, Traits]:
        return {spec.pool.name: self.traits() for spec in self.desired.slots}

    def _ready(self) -> State:
        """A pool that its service refuses is held."""
        refused = self.state.refusals.by_pool
        obstacles = {
            spec.name: refused[spec.pool.name]
            for spec in self.desired.slots
            if spec.pool.name in refused
        }
        return replace(super()._ready(), desired=Desired(self.desired.slots, obstacles))

    def ask_service(self) -> None:
        """Nobody asks unasked."""

    def turn(self, *, recorded: bool = True, sights: Sequence[Stimulus] | None = None) -> Plan:
        """One step; who is asked answers at once."""
        plan = super().turn(recorded=recorded, sights=sights)
        for request in self.asked:
            if isinstance(request, AskRoster):
                answer = self.listed(request.pool)
                self.inbox += [answer] if answer is not None else []
            elif isinstance(request, AskAnswer):
                answer = self.answered(request.pool)
                self.inbox += [answer] if answer is not None else []
            elif isinstance(request, TryEnrolment):
                self.inbox.append(self.tried(request.pool, request.trial))
        return plan

    def one_second(self, seconds: float = 1.0) -> None:
        """Steps until nothing follows, the calls that they make, and a second, or so many."""
        while True:
            plan = self.turn()
            for subject, action in list(self.flight.items()):
                self._act(subject, action)
            self.host.progress()
            if plan.empty and not self.inbox:
                break
        self.host.now += seconds

    def _act(self, subject: str, action: Action) -> None:
        result = self.called(action) if isinstance(action, ServiceAction) else None
        if result is None:
            self.finish(subject)
        else:
            del self.flight[subject]
            self.inbox.append(result)

    def conditions(self) -> list[Condition]:
        """What is told of the service."""
        return service_conditions(self.state.contacts, self.state.refusals.by_pool, self.now)
