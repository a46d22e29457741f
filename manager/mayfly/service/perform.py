"""Doing what was decided: each action becomes calls to the Engine or the provider, on a worker's thread.

A worker never changes state: it does one action and sends back what came of it. What it holds on to between
actions (the open way into a gate, an enrolment not yet sent) belongs to one agent, and an agent has one
action at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import assert_never

from mayfly.core import naming
from mayfly.core.actions import (
    AcquireJobs,
    Action,
    CheckSandbox,
    Clear,
    Dismiss,
    Enrol,
    Forget,
    Freeze,
    LockClocks,
    MakeSandbox,
    Open,
    Prepare,
    Remove,
    RemoveSandbox,
    Rename,
    SetSchedulable,
    Signal,
    StartAgain,
    TakeResults,
    Thaw,
    UnlockClocks,
    Weigh,
)
from mayfly.core.agent_plan import ROOM, agent_plan
from mayfly.core.contact import ServiceAction
from mayfly.core.memory import Agent
from mayfly.core.model import NOTHING_TAKEN, ContainerId, Generation, HostId, PoolName, Results
from mayfly.core.sandbox import sandbox_plan
from mayfly.core.seal import belongs_seal
from mayfly.core.stimuli import ClocksHandled
from mayfly.core.workspace import Brought, Unbrought, owner
from mayfly.edge.doors import Doors
from mayfly.edge.faults import Fault, Passing, Refused, Unbringable
from mayfly.edge.figures import Figures
from mayfly.edge.gate import frame
from mayfly.edge.gpu_clocks import GpuClocks
from mayfly.edge.patience import comes_true
from mayfly.edge.results import ResultStore
from mayfly.edge.tree_archive import END, TreeArchive
from mayfly.edge.witness import Witnesses
from mayfly.edge.workspaces import Workspaces
from mayfly.engines.protocol import Engine, OutputKeeper
from mayfly.providers import Dispatching, Enrolment, Provider
from mayfly.service.end_watch import EndWatch

LEAVING = 1.0  # seconds in which what a job has closed has to be gone from its sandbox
LEAVING_AGAIN = 0.005  # after the first look
PROBED = 20.0  # seconds to find out who the job's user is


@dataclass(frozen=True, slots=True)
class Done:
    """An action was done; ``container`` and ``enrolment`` say what came of those that give one."""

    action: Action
    container: ContainerId | None = None  # None: makes none
    enrolment: Enrolment | None = None  # None: not an Enrol
    busy: bool = False  # its service says that the agent runs a job
    unclean: bool = False  # something was left in the sandbox; of an Open: nothing was written
    unbrought: Fault | None = None  # why what its job brings is not there, and its gate is shut
    results: Results = NOTHING_TAKEN  # of a TakeResults
    acquired: tuple[int, ...] = ()  # of an AcquireJobs: those that are ours
    clocks: ClocksHandled | None = None  # of a LockClocks or an UnlockClocks


@dataclass(frozen=True, slots=True)
class Failed:
    """An action was not done, or nobody knows whether it was."""

    action: Action
    fault: Fault


ActionResult = Done | Failed
EngineAction = (
    Prepare
    | Open
    | Rename
    | Signal
    | Freeze
    | Thaw
    | Weigh
    | Remove
    | StartAgain
    | TakeResults
    | Clear
    | Forget
    | MakeSandbox
    | CheckSandbox
    | RemoveSandbox
)


class Performer:
    """Does actions; each method is safe to repeat."""

    def __init__(
        self,
        host: HostId,
        engine: Engine,
        witnesses: Witnesses,
        output: OutputKeeper,
        ends: EndWatch,
        log_max_size: int,
        workspaces: Workspaces | None = None,
        results: ResultStore | None = None,
        *,
        doors: Doors,
        figures: Figures,
        key: str = "",
        still_wanted: Callable[[Generation], bool] = lambda _: True,
        clocks: GpuClocks | None = None,
        why_unheld: Callable[[Generation], str] = lambda _: "",
    ) -> None:
        """``key`` is the installation's, for the seals; ``still_wanted``: whether an agent that is being made
        is still to be; ``why_unheld``: why an agent's clocks were not locked to its end, as far as is noted.
        """
        self._host = host
        self._engine = engine
        self._witnesses = witnesses
        self._output = output
        self._ends = ends
        self._log_max_size = log_max_size
        self._workspaces = workspaces
        self._results = results
        self._doors = doors
        self._figures = figures
        self._key = key
        self.providers: Mapping[
            PoolName, Provider
        ] = {}  # replaced as a whole when the configuration is read again
        self.images_of_agents: tuple[str, ...] = ()  # so are these: patterns
        self._still_wanted = still_wanted
        self._clocks = clocks or GpuClocks()
        self._why_unheld = why_unheld
        self._enrolments: dict[Generation, Enrolment] = {}

    def perform(self, action: Action, agent: Agent | None) -> ActionResult:
        """Do it; ``agent`` is what was remembered of its agent when it was decided."""
        try:
            match action:
                case Enrol() | Dismiss() | SetSchedulable() | AcquireJobs():
                    return self._ask_service(action, agent)
                case LockClocks() | UnlockClocks():
                    return Done(action, clocks=self._set_clocks(action))
                case _:
                    return self._ask_engine(action, agent)
        except Fault as fault:
            return Failed(action, fault)

    def _ask_service(self, action: ServiceAction, agent: Agent | None) -> Done:
        match action:
            case Enrol():
                return Done(action, enrolment=self._enrol(action, agent))
            case Dismiss(keep=True):
                self._provider(action.pool).retire(action.registration)
            case Dismiss():
                dismissed = self._provider(action.pool).dismiss(action.registration)
                return Done(action, busy=dismissed.busy)
            case SetSchedulable():
                provider = self._provider(action.pool)
                cordoned = provider.cordon(action.registration, action.cordoned)
                return Done(action, busy=cordoned.busy)
            case AcquireJobs():
                dispatcher = self._provider(action.pool)
                if not isinstance(dispatcher, Dispatching):
                    raise Refused(f'pool "{action.pool}" is configured otherwise by now')
                return Done(action, acquired=dispatcher.acquire(action.jobs))
            case _:
                assert_never(action)
        return Done(action)

    def _ask_engine(self, action: EngineAction, agent: Agent | None) -> Done:
        match action:
            case Prepare():
                return Done(action, container=self._prepare(action))
            case MakeSandbox() | CheckSandbox():
                return self._sandbox(action)
            case Open(sandbox=sandbox) if sandbox is not None and not self._is_clean(sandbox):
                self._enrolments.pop(action.generation, None)
                return Done(action, unclean=True)
            case Open():
                return self._open(action, agent)
            case Rename():
                self._engine.rename(action.container, action.to)
            case Signal():
                self._engine.signal(action.container, action.signal)
            case Freeze() | Thaw() | Weigh():
                self._slow(action)
            case StartAgain() | Remove() | RemoveSandbox():
                self._start_or_remove(action)
            case TakeResults():
                return Done(action, results=self._take(action))
            case Clear():
                self._clear(action)
            case Forget():
                self._forget(action)
            case _:
                assert_never(action)
        return Done(action)

    def _start_or_remove(self, action: StartAgain | Remove | RemoveSandbox) -> None:
        if isinstance(action, StartAgain):
            self._witnesses.hold(action.generation, action.seconds)
            self._engine.start_again(action.container)
            # A gate of before does not see to it.
            self._engine.exec_probe(action.container, ("/bin/chmod", "0700", ROOM), PROBED)
        else:
            self._engine.remove(action.container)

    def _set_clocks(self, action: LockClocks | UnlockClocks) -> ClocksHandled:
        match action:
            case LockClocks():
                return self._clocks.lock(action.gpus, action.clock, action.memory_clock)
            case UnlockClocks():
                found = self._clocks.unlock(action.gpus, action.driver, memory=action.memory)
                why = "; ".join(
                    one for one in (self._why_unheld(action.generation), found.unheld) if one
                )
                return replace(found, unheld=why)
            case _:
                assert_never(action)

    def _slow(self, action: Freeze | Thaw | Weigh) -> None:
        match action:
            case Freeze():
                self._engine.freeze(action.container)
            case Thaw():
                self._engine.thaw(action.container)
            case Weigh():
                self._engine.weigh(action.container, action.weight)
            case _:
                assert_never(action)

    def _prepare(self, action: Prepare) -> ContainerId:
        plan = agent_plan(
            action,
            host=self._host,
            witness=str(self._witnesses.make(action.generation)),
            log_max_size=self._log_max_size,
            door=str(self._doors.make(action.generation)) if action.spec.pool.containers else None,
            figures=str(self._figures.make(action.generation)) if action.spec.has_figures else None,
            agents=self.images_of_agents,
        )
        container = self._engine.prepare(plan, wanted=lambda: self._still_wanted(action.generation))
        if plan.door is not None:
            self._doors.grant(action.generation, self._engine.grant(plan, container))
        self._output.follow(action.generation, container, lines=not action.spec.embedded)
        self._ends.watch(action.generation, container)
        return container

    def _provider(self, pool: PoolName) -> Provider:
        provider = self.providers.get(pool)
        if provider is None:
            raise Passing(
                f'pool "{pool}" is not configured any more, so its service cannot be asked'
            )
        return provider

    def _enrol(self, action: Enrol, agent: Agent | None) -> Enrolment:
        if agent is None:
            raise Refused(f"agent {action.generation} is gone")
        enrolment = self._provider(action.pool).enrol(agent, action.labels)
        self._enrolments[action.generation] = enrolment
        return enrolment

    def _open(self, action: Open, agent: Agent | None) -> Done:
        enrolment = self._enrolments.pop(action.generation, None)
        if enrolment is None:
            if agent is None or action.job is None:
                raise Refused(f"there is nothing to open the gate of {action.generation} with")
            enrolment = self._provider(action.pool).enrol(agent, ())
        if action.sandbox is not None:
            self._engine.watch_sandbox(action.sandbox)
        if enrolment.brought is not None:
            try:
                self._bring(action.container, enrolment.brought)
            except Fault as fault:
                return Done(action, unbrought=fault)
        data = frame(action.generation, enrolment.files)
        self._engine.open(action.generation, action.container, data)
        return Done(action)

    def _bring(self, container: ContainerId, brought: Brought) -> None:
        """Put what the job brings into its container, as the job user's."""
        kept, user = self._workspaces, brought.user
        if kept is None:
            raise Unbringable("this manager keeps nothing for jobs", Unbrought.NOTHING_KEPT)
        words = ("/usr/bin/env", "getent", "passwd", user.partition(":")[0])
        _, entry = self._engine.exec_probe(container, words, PROBED)
        whose = owner(user, entry)
        if whose is None:
            raise Unbringable(f"the image has no user {user}", Unbrought.NO_USER)
        uid, tree, stdin = brought.uid, brought.workspace, brought.stdin
        archive = TreeArchive(whose, time.time())
        pieces = archive.workspace(
            kept.entries(uid, tree) if tree is not None else (),
            lambda entry: kept.content(uid, entry.digest, entry.size),
        )
        if stdin is not None:
            data = archive.stdin(kept.content(uid, stdin), kept.size(uid, stdin))
            pieces = chain(pieces, data)
        self._engine.put_tree(container, chain(pieces, (END,)))

    def _take(self, action: TakeResults) -> Results:
        if self._results is None:
            raise Refused("this manager keeps no results")
        take = partial(self._engine.take_tree, action.container)
        return self._results.keep(action.generation, action.out, take)

    def _is_clean(self, sandbox: ContainerId) -> bool:
        """Whether nothing is left in it. What a process leaves in closing is gone a moment after it."""
        return comes_true(
            lambda: self._engine.sandbox_is_empty(sandbox), within=LEAVING, first=LEAVING_AGAIN
        )

    def _sandbox(self, action: MakeSandbox | CheckSandbox) -> Done:
        if isinstance(action, CheckSandbox):
            return Done(action, unclean=not self._is_reusable(action.container))
        plan = sandbox_plan(action, host=self._host)
        return Done(action, container=self._engine.make_sandbox(plan))

    def _is_reusable(self, sandbox: ContainerId) -> bool:
        """Whether nothing is left of the job that was in it, and nobody elsewhere can know of it."""
        if self._engine.sandbox_was_used(sandbox):
            return False
        # What is left in closing may send something yet.
        return self._is_clean(sandbox) and not self._engine.sandbox_was_used(sandbox)

    def _clear(self, action: Clear) -> None:
        pool = naming.pool_of(action.slot)
        seal = belongs_seal(self._key, self._host, pool, action.slot, action.generation)
        self._engine.clear(self._doors.state_dir, self._host, action.generation, seal)
        if action.unowned:
            self._engine.give_up(action.generation)

    def _forget(self, action: Forget) -> None:
        generation = action.generation
        self._engine.let_go(generation)
        if action.door:
            self._engine.give_up(generation)
            self._doors.remove(generation)
        self._enrolments.pop(generation, None)
        self._figures.remove(generation)
        self._witnesses.remove(generation)
