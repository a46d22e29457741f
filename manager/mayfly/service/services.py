"""The pools' providers: which there are, what their services and clients say, and who is asked when."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from mayfly.core import naming
from mayfly.core.facts import AgentConfirmed, AgentDoomed
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Config,
    DoomReason,
    Generation,
    Phase,
    PoolName,
    PoolSpec,
    SlotName,
    Traits,
)
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.rosters import ABSENCE
from mayfly.edge.log import Log
from mayfly.providers import Counting, Limited, Provider, Sign
from mayfly.service.bugs import Bug
from mayfly.service.refusals import Refusals
from mayfly.service.roster_watch import RosterSight, RosterWatch

TROUBLE_GAP = 120.0  # seconds without a word of trouble after which it is over
PHASE_OF_SIGN = {"listening": Phase.IDLE, "job_started": Phase.BUSY}


class Services:
    """All providers; used by the loop's thread, but for ``read``, ``calls`` and ``remaining``."""

    def __init__(
        self,
        provide: Callable[[PoolSpec], Provider],
        send: Callable[[RosterSight | Bug], None],
        log: Log,
        left_behind: Callable[[], Iterable[PoolSpec]] = tuple,
    ) -> None:
        """``left_behind`` gives the pools for which something is to be cleared up once they are gone."""
        self._provide = provide
        self._left_behind = left_behind
        self._send = send
        self._pools: dict[PoolName, PoolSpec] = {}
        self._providers: Mapping[PoolName, Provider] = {}
        self._watches: dict[PoolName, RosterWatch] = {}
        self.refused = Refusals(log)
        self._troubled: dict[Generation, tuple[float, float]] = {}  # since when, and the last time

    @property
    def providers(self) -> Mapping[PoolName, Provider]:
        """The provider of each pool; replaced as a whole, never changed."""
        return self._providers

    def calls(self) -> dict[PoolName, Mapping[tuple[str, str], int]]:
        """The calls of each pool's service so far; may be asked from any thread."""
        return {
            name: provider.calls()
            for name, provider in self._providers.items()
            if isinstance(provider, Counting)
        }

    def remaining(self) -> dict[PoolName, float]:
        """How many calls each service still allows, where it says so; may be asked from any thread."""
        found = {
            name: provider.remaining()
            for name, provider in self._providers.items()
            if isinstance(provider, Limited)
        }
        return {name: left for name, left in found.items() if left is not None}

    @property
    def traits(self) -> dict[PoolName, Traits]:
        """What the providers say of themselves."""
        return {name: provider.traits for name, provider in self._providers.items()}

    def preview(self, config: Config) -> dict[PoolName, Traits]:
        """What the providers of another configuration would say; ``Refused`` where one cannot be had."""
        known = self.traits
        for pool in config.pools:
            if self._pools.get(pool.name) != pool:
                known[pool.name] = self._provide(pool).traits
        return known

    def use(self, config: Config) -> Mapping[PoolName, Provider]:
        """The providers of the pools; one of a pool that is gone stays: its agents may still be there."""
        providers = dict(self._providers)
        changed = [pool for pool in config.pools if self._pools.get(pool.name) != pool]
        known = {pool.name for pool in config.pools} | providers.keys()
        changed += [pool for pool in self._left_behind() if pool.name not in known]
        for pool in changed:
            providers[pool.name] = self._provide(pool)
        self._pools |= {pool.name: pool for pool in (*changed, *config.pools)}
        self._providers = providers
        for pool in changed:
            self.refused.forget(pool.name)
            self._watch(pool.name)
        for name in providers.keys() - {pool.name for pool in config.pools}:
            self.refused.forget(name)
        return providers

    def _watch(self, pool: PoolName) -> None:
        before = self._watches.pop(pool, None)
        if before is not None:
            before.stop()
        provider = self._providers[pool]
        if not provider.traits.embedded:
            self._watches[pool] = RosterWatch(pool, provider, self._send)

    def judge(self, pool: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent, in its provider's words."""
        provider = self._providers.get(pool)
        if provider is None:
            return Outcome(Result.UNKNOWN, detail="its pool is not configured any more")
        return provider.judge(end, signs)

    def read(self, agent: Agent, line: bytes) -> Sign | None:
        """What a line of the agent's client means; may be called from any thread."""
        provider = self._providers.get(agent.pool)
        return provider.read(line.decode(errors="replace")) if provider is not None else None

    def signed(self, agent: Agent, sign: Sign, now: float) -> AgentConfirmed | AgentDoomed | None:
        """A client's line confirms only where no roster does; otherwise it makes us ask for one.

        There, too, a client that its service does not let in is ended, and one that is in trouble for long.
        """
        provider = self._providers.get(agent.pool)
        if provider is None or agent.settled:
            return None
        phase = PHASE_OF_SIGN.get(sign.kind)
        if provider.traits.proof == "roster" or sign.kind == "refused":
            self._soon(agent.pool)
        if provider.traits.proof == "roster" or agent.busy:
            return None
        if phase is not None:
            self._troubled.pop(agent.generation, None)
            return (
                AgentConfirmed(now, agent.generation, phase)
                if agent.confirmed is not phase
                else None
            )
        over = sign.kind == "refused" or (sign.kind == "trouble" and self._lasting(agent, now))
        if over and agent.doom is None:
            return AgentDoomed(now, agent.generation, DoomReason.REFUSED, detail=sign.text)
        return None

    def _lasting(self, agent: Agent, now: float) -> bool:
        """Whether its client has told of trouble for ``ABSENCE``, again and again."""
        before = self._troubled.get(agent.generation)
        since = before[0] if before is not None and now - before[1] < TROUBLE_GAP else now
        self._troubled = {
            generation: times
            for generation, times in self._troubled.items()
            if now - times[1] < TROUBLE_GAP
        }
        self._troubled[agent.generation] = (since, now)
        return now - since > ABSENCE

    def try_enrolments(self, memory: Memory, now: float) -> None:
        """Try one for each pool that was refused one and waits for it to be given again.

        Not while only observing, nor for a pool that is to take no job anyway.
        """
        if memory.pause is not None:
            return

        def wanted(pool: PoolName) -> bool:
            return any(memory.slot(name).cordon is None for name in _slots(self._pools[pool]))

        for pool, trial in self.refused.trials(now, wanted):
            # Its own name may have been what was refused.
            fresh = naming.generation(now, secrets.randbelow(36**5))
            agent = replace(trial.agent, generation=fresh)
            self._watches[pool].try_enrolment(replace(trial, agent=agent))

    def retry(self, slots: Iterable[SlotName]) -> None:
        """A person wants these slots to be tried again at once."""
        asked = set(slots)
        for pool in self._pools.values() if asked else ():
            if asked.intersection(_slots(pool)):
                self.refused.retry_now(pool.name)

    def await_confirmation(self, memory: Memory) -> None:
        """Agents that their service has not confirmed yet are asked for sooner."""
        for agent in memory.agents.values():
            waits = agent.opened is not None and agent.confirmed is None and not agent.settled
            if waits and not agent.embedded:
                self._soon(agent.pool)

    def _soon(self, pool: PoolName) -> None:
        watch = self._watches.get(pool)
        if watch is not None:
            watch.soon()


def _slots(pool: PoolSpec) -> list[SlotName]:
    return [naming.slot(pool.name, index) for index in range(pool.slots)]
