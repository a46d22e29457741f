"""What the lines of a service's clients lead to: confirmed, or ended for being refused or in lasting trouble.

A line confirms only where no roster does; otherwise it makes us ask for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.core.facts import AgentConfirmed, AgentDoomed
from mayfly.core.memory import Agent
from mayfly.core.model import DoomReason, Generation, Phase
from mayfly.core.rosters import ABSENCE
from mayfly.core.stimuli import ClientSign

TROUBLE_GAP = 120.0  # seconds without a word of trouble after which it is over
PHASE_OF_SIGN = {"listening": Phase.IDLE, "job_started": Phase.BUSY}


@dataclass(frozen=True, slots=True)
class Troubles:
    """Whose client is in trouble: since when, and when it last said so. Never changed in place."""

    times: Mapping[Generation, tuple[float, float]] = field(default_factory=dict)

    def told(self, generation: Generation, now: float) -> Troubles:
        """One more word of trouble."""
        before = self.times.get(generation)
        since = before[0] if before is not None and now - before[1] < TROUBLE_GAP else now
        going_on = {name: told for name, told in self.times.items() if now - told[1] < TROUBLE_GAP}
        return Troubles({**going_on, generation: (since, now)})

    def over(self, generation: Generation) -> Troubles:
        """Its client is well again."""
        if generation not in self.times:
            return self
        return Troubles({name: told for name, told in self.times.items() if name != generation})

    def lasting(self, generation: Generation) -> bool:
        """Whether its client has told of trouble for ``ABSENCE``, again and again."""
        since, last = self.times.get(generation, (0.0, 0.0))
        return last - since > ABSENCE


def wants_roster(sign: ClientSign, proof: str) -> bool:
    """Whether the line is a reason to ask the service who is there."""
    return proof == "roster" or sign.kind == "refused"


def heard(
    agent: Agent, sign: ClientSign, proof: str, troubles: Troubles, now: float
) -> tuple[Troubles, AgentConfirmed | AgentDoomed | None]:
    """What follows from a line of the agent's client; ``proof`` is its pool's."""
    if agent.settled or proof == "roster" or agent.busy:
        return troubles, None
    phase = PHASE_OF_SIGN.get(sign.kind)
    if phase is not None:
        confirmed = AgentConfirmed(now, agent.generation, phase)
        return troubles.over(agent.generation), confirmed if agent.confirmed is not phase else None
    if sign.kind == "trouble":
        troubles = troubles.told(agent.generation, now)
    over = sign.kind == "refused" or (sign.kind == "trouble" and troubles.lasting(agent.generation))
    if over and agent.doom is None:
        doom = AgentDoomed(now, agent.generation, DoomReason.REFUSED, detail=sign.text)
        return troubles, doom
    return troubles, None
