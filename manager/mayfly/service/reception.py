"""The reception: what people ask of the loop, verb by verb, as an order that it can carry out."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mayfly.core import naming
from mayfly.core.memory import Memory
from mayfly.core.model import Config, Desired, JobId
from mayfly.edge.faults import Fault
from mayfly.edge.history_rows import Payload
from mayfly.service import orders
from mayfly.service.commands import Command
from mayfly.service.orders import Order


@dataclass(frozen=True, slots=True)
class Situation:
    """What an order is judged by."""

    config: Config
    desired: Desired
    memory: Memory
    now: float
    disk_error: str | None  # None: the disk takes what it is given


@dataclass(frozen=True, slots=True)
class Reception:
    """Turns commands into orders; what needs the loop itself is asked of it."""

    known_job: Callable[[JobId], bool]  # whether a job of that id was ever there, or is promised
    reload: Callable[[bool], Order]  # True: only say what would change
    plan: Callable[[], Order]

    def order(self, command: Command, now: Situation) -> tuple[Order, Payload | None]:
        """The order for a command, and for a job what it runs; a fault becomes a refusal."""
        try:
            if command.verb == "submit":
                return self._submit(command.arguments, now)
            return self._order(command, now), None
        except Fault as fault:
            return orders.refusal(409, "refused", str(fault)), None

    def _order(self, command: Command, at: Situation) -> Order:
        given, by = command.arguments, command.caller.name
        match command.verb:
            case "cancel":
                job = JobId(str(given["job"]))
                return orders.cancel(at.memory, job, self.known_job(job), by, at.now)
            case "pause":
                return orders.pause(by, str(given.get("note") or ""), at.now)
            case "resume":
                return orders.resume(at.memory, by, at.now)
            case "reload":
                return self.reload(bool(given.get("dry_run")))
            case "plan":
                return self.plan()
            case _:
                return self._order_for_slots(command, at)

    def _order_for_slots(self, command: Command, at: Situation) -> Order:
        given, by = command.arguments, command.caller.name
        slots = _names(given.get("slots"))
        match command.verb:
            case "cordon":
                return orders.cordon(
                    at.desired,
                    at.memory,
                    slots or (),
                    by,
                    at.now,
                    note=str(given.get("note") or ""),
                    until=_number(given.get("until")),
                )
            case "uncordon":
                return orders.uncordon(at.desired, at.memory, slots or (), by, at.now)
            case "drain":
                force = bool(given.get("force"))
                return orders.drain(at.desired, at.memory, slots, by, at.now, force=force)
            case "recycle":
                return orders.recycle(at.desired, at.memory, slots or (), by, at.now)
            case "retry":
                return orders.retry(at.desired, at.memory, slots or (), by, at.now)
            case _:
                return orders.refusal(400, "no_such_verb", f"there is no verb {command.verb!r}")

    def _submit(self, given: Mapping[str, object], at: Situation) -> tuple[Order, Payload | None]:
        if at.disk_error is not None:
            sentence = f"the job was not accepted: {at.disk_error}"
            return orders.refusal(503, "no_disk", sentence), None
        job = naming.job(at.now, secrets.randbelow(36**3))
        while self.known_job(job):
            job = naming.job(at.now, secrets.randbelow(36**3))
        pool = given.get("pool")
        order = orders.submit(
            at.config,
            at.memory,
            job,
            str(pool) if pool is not None else None,
            _number(given.get("timeout")),
            at.now,
        )
        argv, env = given.get("argv"), given.get("env")
        assert isinstance(argv, (list, tuple))
        assert isinstance(env, Mapping)
        words = tuple(str(word) for word in argv)
        return order, Payload(words, {str(key): str(value) for key, value in env.items()})


def _names(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    assert isinstance(value, (list, tuple))
    return tuple(str(name) for name in value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
