"""What an agent said last that died at its gate: its launcher says there why it could not wait for a job."""

from __future__ import annotations

from collections.abc import Mapping

from mayfly.core.memory import Agent
from mayfly.core.model import Generation
from mayfly.edge.faults import Fault
from mayfly.edge.web import clean
from mayfly.engines.protocol import OutputKeeper

SPEAKER = "mayfly: "  # how the gate begins its own sentences
READ = 64 * 1024  # bytes of the end of its output that are looked at


def words_of(
    output: OutputKeeper, agents: Mapping[Generation, Agent], generation: Generation
) -> str:
    """The last line of an agent that never opened, fit for a message; "" where it has none, or opened."""
    agent = agents.get(generation)
    if agent is None or agent.opened is not None:
        return ""
    text = b""
    try:
        for chunk in output.read(generation, follow=False):
            if chunk.stream:  # 0 is a note of our own
                text = (text + chunk.data)[-READ:]
    except Fault:
        return ""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    return clean(last.removeprefix(SPEAKER))
