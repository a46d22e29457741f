"""The pools' providers: which there are, what their services and clients say, and who is asked when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from mayfly.core.memory import Agent
from mayfly.core.model import Config, PoolName, PoolSpec, Traits
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.requests import Leave, Listen, Trial
from mayfly.core.token_end import end_of
from mayfly.providers import Counting, Dispatching, Expiring, Limited, Provider, Sign
from mayfly.providers.installed import package
from mayfly.service.bugs import Bug
from mayfly.service.job_watch import JobWatch, Told
from mayfly.service.roster_watch import Heard, RosterWatch

LEAVING = 5.0  # seconds for all services to be left in when the manager stops


def _traits(pool: PoolSpec, provider: Provider) -> Traits:
    """What the pool's provider says of itself, and its package of its images."""
    found = package(pool.provider)
    return replace(provider.traits, client=found.client if found is not None else None)


class Services:
    """All providers; used by the loop's thread, but for ``read`` and what any thread may ask."""

    def __init__(
        self,
        provide: Callable[[PoolSpec], Provider],
        send: Callable[[Heard | Told | Bug], None],
        left_behind: Callable[[], Iterable[PoolSpec]] = tuple,
        keep: Callable[[Config], None] = lambda _: None,
    ) -> None:
        """``left_behind`` gives the pools for which something is to be cleared up once they are gone; what it
        is to know of them later is told ``keep``.
        """
        self._provide = provide
        self._left_behind = left_behind
        self._send = send
        self._keep = keep
        self._pools: dict[PoolName, PoolSpec] = {}
        self._providers: Mapping[PoolName, Provider] = {}
        self._watches: dict[PoolName, RosterWatch] = {}
        self._job_watches: dict[PoolName, JobWatch] = {}

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

    def token_ends(self, config: Config) -> dict[PoolName, float]:
        """When the token of each pool ends, as its service says, or its configuration; of those alone of
        which that is known. May be asked from any thread.
        """
        ends: dict[PoolName, float] = {}
        for pool in config.pools:
            provider = self._providers.get(pool.name)
            told = provider.token_end() if isinstance(provider, Expiring) else None
            if told is None and pool.token_expires is not None:
                told = end_of(pool.token_expires)
            if told is not None:
                ends[pool.name] = told
        return ends

    @property
    def traits(self) -> dict[PoolName, Traits]:
        """What the providers say of themselves."""
        return {
            name: _traits(self._pools[name], provider) for name, provider in self._providers.items()
        }

    def preview(self, config: Config) -> dict[PoolName, Traits]:
        """What the providers of another configuration would say; ``Refused`` where one cannot be had."""
        known = self.traits
        for pool in config.pools:
            if self._pools.get(pool.name) != pool:
                known[pool.name] = _traits(pool, self._provide(pool))
        return known

    def use(self, config: Config) -> Mapping[PoolName, Provider]:
        """The providers of the pools; one of a pool that is gone stays: its agents may still be there."""
        providers = dict(self._providers)
        changed = [pool for pool in config.pools if self._pools.get(pool.name) != pool]
        known = {pool.name for pool in config.pools} | providers.keys()
        gone = {pool.name: pool for pool in self._left_behind() if pool.name not in known}
        changed += gone.values()
        self._keep(config)
        for pool in changed:
            providers[pool.name] = self._provide(pool)
        self._pools |= {pool.name: pool for pool in (*changed, *config.pools)}
        self._providers = providers
        for pool in changed:
            self._watch(pool.name)
        return providers

    def _watch(self, pool: PoolName) -> None:
        before = self._watches.pop(pool, None)
        if before is not None:
            before.stop()
        provider = self._providers[pool]
        if not provider.traits.embedded:
            self._watches[pool] = RosterWatch(pool, provider, self._send)
        listened = self._job_watches.pop(pool, None)
        if listened is not None:
            listened.stop()
        if isinstance(provider, Dispatching) and provider.traits.dispatches:
            self._job_watches[pool] = JobWatch(pool, provider, self._send, listened)

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

    def try_enrolment(self, pool: PoolName, trial: Trial) -> None:
        """Have one tried for a pool that was refused one."""
        self._watches[pool].try_enrolment(trial)

    def ask(self, pool: PoolName) -> None:
        """Ask the pool's service who is there."""
        watch = self._watches.get(pool)
        if watch is not None:
            watch.ask()

    def listen(self, word: Listen) -> None:
        """Have the pool's service say what jobs it has."""
        watch = self._job_watches.get(word.pool)
        if watch is not None:
            watch.listen(word)

    def leave(self, request: Leave) -> None:
        """Have the pool's service hand out no more jobs."""
        watch = self._job_watches.get(request.pool)
        if watch is not None:
            watch.leave(request.turn)

    def stop(self) -> None:
        """Leave all services that hand out jobs, so that the next manager is let in at once."""
        ends = time.monotonic() + LEAVING
        for thread in [watch.stop() for watch in self._job_watches.values()]:
            if thread.ident is not None:
                thread.join(max(0.0, ends - time.monotonic()))

    def ask_answer(self, pool: PoolName) -> None:
        """Ask the pool's service for something small."""
        watch = self._watches.get(pool)
        if watch is not None:
            watch.knock()

    def ask_waiting(self, pool: PoolName, labels: tuple[tuple[str, ...], ...]) -> None:
        """Ask the pool's service which jobs wait."""
        watch = self._watches.get(pool)
        if watch is not None:
            watch.ask_waiting(labels)

    def cancel_waiting(self, pool: PoolName, waiting: str) -> None:
        """Have the pool's service cancel one of them."""
        watch = self._watches.get(pool)
        if watch is not None:
            watch.cancel_waiting(waiting)
