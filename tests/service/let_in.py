"""A stand-in manager with an agent at work on a simulated engine, so that somebody can be let in to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mayfly.core.commands import AttachAgent, Command, DetachAgent
from mayfly.core.model import ContainerId
from mayfly.edge.gate import frame
from mayfly.engines.simulated.engine import SimulatedEngine
from mayfly.engines.simulated.execution import SimulatedExecution
from mayfly.service.attachments import Attachments
from mayfly.service.pending_command import Answer
from tests.engine.contract import FOREVER, IMAGE, World
from tests.service.standin import StandIn, slot, status


class LetIn:
    """The agent, and what becomes of those who are let in beside its job."""

    def __init__(self, home: Path, idle: float = 3600.0, beginning: float = 15.0) -> None:
        self.engine = SimulatedEngine(images=(IMAGE,))
        world = World(self.engine, home)
        self.plan = world.plan()
        self.container: ContainerId = self.engine.prepare(self.plan)
        self.engine.open(self.plan.generation, self.container, frame(self.plan.generation, FOREVER))
        self.witness = world.witnesses.path(self.plan.generation)
        self.manager = StandIn(home / "control.sock", self._answered)
        self.throttled = False
        self.answer: Callable[[Command], Answer] = self._answer
        users, send = world.witnesses, self.manager.send
        self.attachments = Attachments(
            self.engine, users, send, lambda _: self.throttled, idle=idle, beginning=beginning
        )
        self.manager.attach = self.attachments.enter
        self.manager.publish(status(slot("local-0")))

    def _answer(self, command: Command) -> Answer:
        if isinstance(command, AttachAgent) and command.to in ("j1", "local-0"):
            told = {"generation": self.plan.generation, "container": self.container}
            return Answer(200, {**told, "slot": "local-0"})
        if isinstance(command, AttachAgent):
            kind = "no_such_slot" if command.is_slot else "no_such_job"
            return Answer(404, {"error": f"there is no {command.to}", "kind": kind})
        return Answer(200, {})

    def _answered(self, command: Command) -> Answer:
        return self.answer(command)

    @property
    def executions(self) -> list[SimulatedExecution]:
        """What was started inside."""
        return self.engine.executions.get(self.container, [])

    @property
    def left(self) -> list[str]:
        """Why those are out again who are, in order."""
        return [one.reason for one in self.manager.commands if isinstance(one, DetachAgent)]
