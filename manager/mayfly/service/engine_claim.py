"""Whose Engine it is: claimed by a manager that starts, left as it was by one that stops without agents.

What is another Mayfly's is touched only where a person has said that it is gone for good.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from mayfly.core.memory import Memory
from mayfly.core.model import Container, ContainerId, HostId
from mayfly.core.seal import bears_its_name, looked_at
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.log import Log
from mayfly.edge.state_file import content, write
from mayfly.engines.protocol import Engine, EngineFacts

KNOWN = "engine-id"  # a file of the state directory
SPELT_OUT = 6  # slots that are named
LEAVE_GRACE = 5.0  # seconds in which a container that has ended lets go of its network
LEAVE_AGAIN = 0.1  # seconds between two tries to remove the networks


def claim(
    engine: Engine, host: HostId, known: Path, memory: Memory, *, take_over: bool, log: Log
) -> None:
    """See that the Engine is new enough, that it is the one on which our agents are, and that no other Mayfly
    uses it, unless that one is taken over. ``known`` is the file that says which one it was.

    A container with another's labels that is not called as its agents are (a copy, say) is no use of it.

    ``Refused`` where it must not be used, ``Passing`` where it cannot be asked now.
    """
    _the_same(engine.facts(), known, memory, take_over=take_over)
    others: dict[HostId, list[Container]] = {}
    for container in engine.list():
        if container.host != host and bears_its_name(container):
            others.setdefault(container.host, []).append(container)
    if others and not take_over:
        told = "; ".join(
            f"{other} with {', '.join(sorted(container.name for container in theirs))}"
            for other, theirs in others.items()
        )
        raise Refused(
            f"this Engine already serves another Mayfly (this one is {host}): {told}. Drain and stop that "
            "one, or start with --take-over where it is gone for good"
        )
    for other, theirs in others.items():
        log.event("host.taken_over", other=other, containers=[entry.name for entry in theirs])
        _end_gates(engine, theirs, log)
    with suppress(Fault):
        engine.sweep(lambda of, _: of != host and of not in others)


def _the_same(info: EngineFacts, known: Path, memory: Memory, *, take_over: bool) -> None:
    """``Refused`` where agents are remembered that are not on this engine but on another: that they are not
    here does not say that they have ended (law 1, docs/architecture.md). An engine of this host that is made
    anew has ended what it ran.
    """
    if info.capabilities.on_this_host:
        return
    before = (content(known) or b"").decode(errors="replace").strip()
    if before == info.id:
        return
    there = sorted(
        {
            agent.slot
            for agent in memory.agents.values()
            if agent.container is not None and not agent.settled
        }
    )
    if before and there and not take_over:
        told = ", ".join(there[:SPELT_OUT]) + (", …" if len(there) > SPELT_OUT else "")
        if not info.id:
            raise Passing(
                f"this {info.name} does not say which it is, and this Mayfly has agents ({told}) on the one "
                f"that is {before}: let it look (mayfly doctor), or start with --take-over where those are "
                "gone for good"
            )
        raise Refused(
            f"this {info.name} is another one ({info.id}) than the one ({before}) on which this Mayfly has "
            f"agents ({told}): point the configuration back at that one, or start with "
            "--take-over where it is gone for good"
        )
    if not info.id:
        return
    with suppress(OSError):  # then the next start sees it
        write(known, f"{info.id}\n")


def _end_gates(engine: Engine, containers: list[Container], log: Log) -> None:
    """Remove another Mayfly's containers that only wait at their gates; one with a job ends by itself, and
    keeps its network.
    """
    inhabited: set[ContainerId | None] = set()
    for container in sorted(containers, key=lambda one: one.holds):
        if container.id in inhabited:
            continue
        if not container.live or engine.at_gate(container.id):
            engine.remove(container.id)
        else:
            inhabited.add(container.sandbox)
            log.event("host.left_running", container=container.name, other=container.host)


def leave(engine: Engine, host: HostId, key: str, log: Log, memory: Memory) -> None:
    """Thaw whom Mayfly has frozen; remove our holders and networks where none of our agents is alive.

    One that has just ended may hold its network for a moment.
    """
    _thaw(engine, memory)
    last = time.monotonic() + LEAVE_GRACE
    while True:
        try:
            ours = [container for container in engine.list() if container.host == host]
            if not any(one.live and not one.holds for one in ours):
                for holder in looked_at(key, ours):
                    if holder.holds and holder.sealed and bears_its_name(holder):
                        engine.remove(holder.id)
                engine.sweep(lambda of, _: of == host)
            return
        except Fault as fault:
            if time.monotonic() > last or not isinstance(fault, Passing):
                log.event("network.kept", reason=str(fault))
                return
        time.sleep(LEAVE_AGAIN)


def _thaw(engine: Engine, memory: Memory) -> None:
    """Let all go on that were frozen for what they print: nobody watches them until the next manager does."""
    for agent in memory.agents.values():
        if agent.throttled is not None and agent.container is not None:
            with suppress(Fault):
                engine.thaw(agent.container)
