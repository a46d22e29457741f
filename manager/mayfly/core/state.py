"""All that decisions depend on, as one value: what is configured, remembered, seen, asked and under way.

It is never changed in place. What a stimulus makes of it is `taking_in`'s, what follows from it `machine`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mayfly.core import naming
from mayfly.core.actions import (
    Action,
    Subject,
)
from mayfly.core.allocations import Allocations
from mayfly.core.apply import apply
from mayfly.core.belongings import Clearings
from mayfly.core.contact import Contacts
from mayfly.core.desire import Survey
from mayfly.core.dispatch import NONE, Dispatches
from mayfly.core.facts import (
    Fact,
)
from mayfly.core.gpus import Gpus
from mayfly.core.healing import Scene
from mayfly.core.isolation import Isolation
from mayfly.core.left_behind import LeftBehind
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Config,
    Desired,
    Generation,
    HostId,
    PoolName,
    Traits,
)
from mayfly.core.notice import doubtful_until
from mayfly.core.observed import Observed
from mayfly.core.polls import PollSchedule
from mayfly.core.refusals import Refusals
from mayfly.core.signs import Reported
from mayfly.core.throttle import NO_DEBTS, Debts
from mayfly.core.turns import NO_TURN, Turns
from mayfly.core.waiting import Queues

NOISE = 36 ** (naming.GENERATION_LENGTH - naming.TIME_LENGTH)


@dataclass(frozen=True, slots=True)
class Opening:
    """Of a gate that was written and is not known to be open yet."""

    written: float  # when it was
    wait: float  # seconds until its witness is looked at again


@dataclass(frozen=True, slots=True)
class State:
    """All that decisions depend on; never changed in place."""

    host: HostId
    run_id: str
    config: Config
    memory: Memory
    observed: Observed
    # The noise in the next generation: at random for each run, from then on counted.
    noise: int
    traits: Mapping[PoolName, Traits] = field(default_factory=dict)
    survey: Survey = field(default_factory=Survey)
    desired: Desired = field(default_factory=lambda: Desired(()))
    gpus: Gpus = field(default_factory=Gpus)
    isolation: Isolation = field(default_factory=Isolation)
    left_behind: LeftBehind = field(default_factory=LeftBehind)
    clearings: Clearings = field(default_factory=Clearings)
    refusals: Refusals = field(default_factory=Refusals)
    contacts: Contacts = field(default_factory=Contacts)
    dispatches: Dispatches = field(default_factory=lambda: NONE)
    turns: Turns = NO_TURN  # as they were decided last
    allocations: Allocations = field(default_factory=Allocations)  # of Slurm's
    queues: Queues = field(default_factory=Queues)  # of jobs that wait at services
    reported: Reported = field(default_factory=Reported)
    lightened: frozenset[Generation] = frozenset()  # agents that yield to those that begin
    debts: Debts = NO_DEBTS  # of what slots did too much of
    polls: PollSchedule = field(default_factory=PollSchedule)
    in_flight: Mapping[Subject, Action] = field(default_factory=dict)
    resting: Mapping[Subject, float] = field(default_factory=dict)
    opening: Mapping[Generation, Opening] = field(default_factory=dict)
    # Whose witnesses are to be read; ``all_stirred``: everybody's.
    stirred: frozenset[Generation] = frozenset()
    all_stirred: bool = True
    witnesses_read: bool = False
    results: int = 0  # actions that came to an end, however they did
    engine_lost: float | None = None  # since when the Engine has not answered
    looks_owed: int = 0  # until what a turn of the Engine's events did has been seen
    # What has happened and is not on disk yet.
    pending: tuple[Fact, ...] = ()
    # What people want recorded in the step under way.
    commanded: tuple[Fact, ...] = ()
    stopping: bool = False

    @property
    def drafting(self) -> tuple[Fact, ...]:
        """What the next step is to record, whatever it decides."""
        return (*self.pending, *self.commanded)

    @property
    def drafted(self) -> Memory:
        """The memory as it will be when that is on disk."""
        return apply(self.memory, self.drafting)


def begin(
    host: HostId, run_id: str, config: Config, memory: Memory, gpus: Gpus, noise: int
) -> State:
    """The state of a run that has seen nothing yet; its first stimuli are ``Started`` and ``ConfigRead``."""
    return State(
        host=host,
        run_id=run_id,
        config=config,
        memory=memory,
        observed=Observed(host),
        noise=noise % NOISE,
        gpus=gpus,
    )


def scene_of(state: State, now: float) -> Scene:
    """What healing is decided by, with what is not on disk yet."""
    gpus = state.gpus
    return Scene(
        state.desired,
        replace(state.observed.world, gpu_verdicts=gpus.verdicts, probes=gpus.probes),
        state.drafted,
        gpus,
        state.survey.foreign_containers,
        now,
    )


def accounted(state: State) -> bool:
    """Whether what the Engine's events told so far is seen, and every end in it is on disk with the state's
    memory: the next run need not hear of those events again.
    """
    if state.looks_owed:
        return False
    world = state.observed.world
    return all(
        agent.settled
        or not (agent.generation in world.deaths or doubtful_until(agent, world) is not None)
        for agent in state.memory.agents.values()
    )
