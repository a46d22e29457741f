"""The canary: an agent that is taken all the way through one slot, and what came of it.

The embedded queue's runs `true`, from its gate to its exit code. A service's has no job to end with: it is
enrolled, waited for until its service shows it, and then let go of again, so that it has come and gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mayfly.cli.client import Client, Document
from mayfly.cli.throwaway import beside, canary, emptied, spec_of
from mayfly.cli.trouble import Trouble
from mayfly.cli.verbs_status import await_drained, await_status
from mayfly.core.model import Config

ONLINE_SECONDS = 600.0  # for a service to show a fresh agent online
WELL = frozenset({"no_job", "job_done"})  # how an agent ends that was let in


def fly(config: Config, manager: Client, slot: str, seconds: float | None) -> str:
    """Take an agent through the slot; returns what it did. ``Trouble`` or ``Fault`` where it fails.

    ``seconds``: how long to wait for a job that runs in the slot; ``None``: until it ends.
    """
    spec = spec_of(config, slot)
    with emptied(manager, slot, seconds, beside(manager, spec)) as cordoned:
        if spec.pool.embedded:
            problem = canary(config, spec)
            if problem is not None:
                raise Trouble(problem)
            told = "a fresh agent went from its gate to its end"
        else:
            told = _through_service(manager, slot, seconds)
    if not cordoned:
        await_status(manager, _filled(slot, frozenset({"idle", "busy"})), ONLINE_SECONDS)
    return told


def _through_service(manager: Client, slot: str, seconds: float | None) -> str:
    """Let the manager fill the slot, wait for the service to show the agent, and empty the slot again."""
    manager.post("/v1/uncordon", {"slots": [slot]})
    shown = await_status(manager, _filled(slot, frozenset({"idle", "busy"})), ONLINE_SECONDS)
    row = _row(shown, slot)
    manager.post("/v1/drain", {"slots": [slot], "force": False})
    await_drained(manager, [slot], seconds)
    ended = manager.get("/v1/history", {"slot": slot, "limit": 10})["agents"]
    account = next((agent for agent in ended if agent["agent"] == row["agent"]), None)
    if account is None:
        raise Trouble(f"agent {row['agent']} was let in and left no account of its end")
    if account["outcome"] not in WELL:
        detail = account.get("detail") or "see mayfly history"
        raise Trouble(f"its agent was let in and ended as {account['outcome']}: {detail}")
    return f"a fresh agent was let in, shown by the {row['confirmed_by']}, and let go again"


def _filled(slot: str, phases: frozenset[str]) -> Callable[[Document], str | None]:
    """What is left until the slot is in one of the phases; ``Trouble`` where it waits for a person."""

    def left(document: Document) -> str | None:
        row = _row(document, slot)
        phase = row.get("phase")
        told = f"{slot} is {phase}" + (f": {row['note']}" if row.get("note") else "")
        if phase == "held":
            raise Trouble(told)
        return None if phase in phases else told

    return left


def _row(document: Document, slot: str) -> dict[str, Any]:
    return next((row for row in document["slots"] if row["slot"] == slot), {})
