"""What the lines of a service's clients lead to: confirmed, or ended for being refused or in lasting trouble.

A line confirms only where no roster does, or where none can be had; otherwise it makes us ask for one. A job
that is handed out may be taken back before it begins, and the client then asks for another: its agent is idle
again, and each job that it is handed has the whole of its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from mayfly.core.facts import AgentConfirmed, AgentDoomed
from mayfly.core.memory import Agent
from mayfly.core.model import DoomReason, Generation, Phase, SlotName
from mayfly.core.rosters import ABSENCE
from mayfly.core.stimuli import ClientSign

TROUBLE_GAP = 120.0  # seconds without a word of trouble after which it is over
SHOWN = 45.0  # seconds without one after which it is not shown any more: clients repeat themselves
LINGER = 360.0  # seconds for which a service may show a client online that is cut off from it
PHASE_OF_SIGN = {"listening": Phase.IDLE, "job_started": Phase.BUSY}
IN_CONTACT = frozenset({*PHASE_OF_SIGN, "reconnected", "job_begun", "job_dropped"})


@dataclass(frozen=True, slots=True)
class Trouble:
    """A client's trouble: since when, when it last said so, and in which words."""

    generation: Generation
    since: float
    last: float
    text: str
    until: float | None = 0.0  # before that its client says no more of it; None: before it is over
    again: bool = False  # its slot's agent before it was in trouble as well

    def goes_on(self, now: float, gap: float) -> bool:
        """Whether its client cannot have been silent for ``gap`` seconds because it is well."""
        return self.until is None or now - max(self.last, self.until) < gap


@dataclass(frozen=True, slots=True)
class Reported:
    """What clients have reported so far. Never changed in place."""

    # of each slot's last agent that told of any
    troubles: Mapping[SlotName, Trouble] = field(default_factory=dict)
    # whose job has begun as its service knows, so that it is not taken back any more
    begun: frozenset[Generation] = frozenset()
    # when each agent's client was last heard to be in contact with its service
    reached: Mapping[Generation, float] = field(default_factory=dict)

    def trouble(
        self, agent: Agent, sign: ClientSign, now: float, *, unlisted: bool = False
    ) -> Reported:
        """One more word of trouble; ``unlisted``: its service is in trouble itself, which explains it."""
        before = self.troubles.get(agent.slot)
        goes_on = before is not None and before.goes_on(now, TROUBLE_GAP)
        own = before is not None and before.generation == agent.generation
        said = Trouble(
            generation=agent.generation,
            since=before.since if before is not None and own and goes_on and not unlisted else now,
            last=now,
            text=sign.text,
            until=now + sign.quiet if sign.quiet is not None else None,
            again=before.again if before is not None and own else goes_on,
        )
        return replace(self, troubles={**self.troubles, agent.slot: said})

    def well(self, agent: Agent, *, reached: bool) -> Reported:
        """It is well, and no job of its has begun; ``reached``: it has, by that, reached its service.

        One that has not may yet meet with what the slot's last agent was in trouble with.
        """
        one = self.troubles.get(agent.slot)
        over = one is not None and (reached or one.generation == agent.generation)
        troubles = {
            slot: known for slot, known in self.troubles.items() if slot != agent.slot or not over
        }
        return replace(self, troubles=troubles, begun=self.begun - {agent.generation})

    def listed(self, online: AbstractSet[Generation], at: float) -> Reported:
        """A service shows those agents online: their trouble is over, though not every client says so."""
        over = {
            slot
            for slot, one in self.troubles.items()
            if one.until is None and one.generation in online and at - one.last >= LINGER
        }
        if not over:
            return self
        kept = {slot: one for slot, one in self.troubles.items() if slot not in over}
        return replace(self, troubles=kept)

    def in_contact(self, agent: Agent, known: AbstractSet[Generation], now: float) -> Reported:
        """Its client is in contact with its service; those that are not ``known`` any more are forgotten."""
        kept = {name: at for name, at in self.reached.items() if name in known}
        return replace(self, reached={**kept, agent.generation: now})

    def job_begun(self, generation: Generation, known: AbstractSet[Generation]) -> Reported:
        """Its job has begun; those that are not ``known`` any more are forgotten."""
        return replace(self, begun=(self.begun & known) | {generation})

    def lasting(self, agent: Agent) -> bool:
        """Whether its client has told of trouble for ``ABSENCE``, again and again."""
        known = self.troubles.get(agent.slot)
        own = known is not None and known.generation == agent.generation
        return known is not None and own and known.last - known.since > ABSENCE


def wants_roster(sign: ClientSign, proof: str) -> bool:
    """Whether the line is a reason to ask the service who is there."""
    return proof == "roster" or sign.kind == "refused"


def heard(
    agent: Agent,
    sign: ClientSign,
    proof: str,
    reported: Reported,
    known: AbstractSet[Generation],
    now: float,
    *,
    unlisted: bool = False,
) -> tuple[Reported, AgentConfirmed | AgentDoomed | None]:
    """What follows from a line of the agent's client; ``proof`` is its pool's, ``known`` are all agents.

    ``unlisted``: its service does not say who is there, so that a job shows in the line alone.
    """
    if agent.settled:
        return reported, None
    if sign.kind in IN_CONTACT:
        reported = reported.in_contact(agent, known, now)
    if agent.busy:
        if proof == "roster":
            return reported, None
        return _heard_of_job(agent, sign, reported, known, now)
    phase = PHASE_OF_SIGN.get(sign.kind)
    if phase is not None:
        believed = (proof != "roster" or unlisted) and agent.confirmed is not phase
        confirmed = AgentConfirmed(now, agent.generation, phase) if believed else None
        reached = phase is Phase.BUSY or proof == "roster"
        return reported.well(agent, reached=reached), confirmed
    if sign.kind == "reconnected":
        return reported.well(agent, reached=True), None
    if sign.kind == "trouble":
        reported = reported.trouble(agent, sign, now, unlisted=unlisted)
    if proof == "roster":
        return reported, None
    over = sign.kind == "refused" or (sign.kind == "trouble" and reported.lasting(agent))
    if over and agent.doom is None:
        doom = AgentDoomed(now, agent.generation, DoomReason.REFUSED, detail=sign.text)
        return reported, doom
    return reported, None


def _heard_of_job(
    agent: Agent, sign: ClientSign, reported: Reported, known: AbstractSet[Generation], now: float
) -> tuple[Reported, AgentConfirmed | None]:
    """What a busy agent's client says of its job: another one begins its time anew."""
    match sign.kind:
        case "job_started":
            confirmed = AgentConfirmed(now, agent.generation, Phase.BUSY)
            return reported.well(agent, reached=True), confirmed
        case "job_begun":
            return reported.job_begun(agent.generation, known), None
        case "job_dropped" if agent.generation not in reported.begun:
            return reported, AgentConfirmed(now, agent.generation, Phase.IDLE)
        case _:
            return reported, None
