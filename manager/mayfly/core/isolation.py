"""Isolation that is looked at: what two throwaway containers of a pool could do and must not be able to.

Pure. A pool is probed once in each run of the engine, while nothing is being filled, and seldom after that;
one that is not isolated is probed again and again, so that what is told ends by itself. A pool with
``isolation = "required"`` is probed at once and gets no agent before that was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mayfly.core.desire import Survey, unfit
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Breach,
    Condition,
    Config,
    Desired,
    PoolName,
    PoolSpec,
    Severity,
    SlotSpec,
)
from mayfly.core.requests import ProbeIsolation
from mayfly.core.slots import within

CALM = 20.0  # seconds without an agent being made before a pool is probed that does not wait for it
AGAIN = 60.0  # seconds until a pool is probed again that was not isolated, or could not be probed
SELDOM = 3600.0
WITHIN = 120.0  # seconds after which a probe that nobody heard of again is asked for once more
OPEN_NETWORKS = ("none", "host")  # nobody is in the first, and the second is no network of its own


@dataclass(frozen=True, slots=True)
class IsolationSeen:
    """What was last seen of a pool."""

    at: float
    network: str | None  # the pool's at that time
    breaches: tuple[Breach, ...] | None  # None: it could not be tried
    why: str = ""  # why not
    stale: bool = False  # the engine has restarted since


@dataclass(frozen=True, slots=True)
class Isolation:
    """What is known of all pools; never changed in place."""

    seen: Mapping[PoolName, IsolationSeen] = field(default_factory=dict)
    asked: Mapping[PoolName, float] = field(default_factory=dict)  # probes under way, since
    busy: float | None = None  # when an agent was last being made; None: not yet

    def engine_restarted(self) -> Isolation:
        """What filters traffic may be gone: all pools are to be probed again."""
        return replace(
            self, seen={pool: replace(one, stale=True) for pool, one in self.seen.items()}
        )

    def probed(
        self, pool: PoolSpec, breaches: tuple[Breach, ...] | None, why: str, now: float
    ) -> Isolation:
        """A probe is over; ``None``: it could not be made."""
        asked = {name: since for name, since in self.asked.items() if name != pool.name}
        known = self.seen.get(pool.name)
        if breaches is None and known is not None and known.breaches is not None:
            after = replace(
                known, at=now, why=why
            )  # what was seen counts until it is seen otherwise
        else:
            after = IsolationSeen(now, pool.network, breaches, why)
        return replace(self, seen={**self.seen, pool.name: after}, asked=asked)

    def kept(self, config: Config) -> Isolation:
        """Without pools that are gone, or in another network now."""
        networks = {pool.name: pool.network for pool in config.pools}
        seen = {
            name: one
            for name, one in self.seen.items()
            if name in networks and networks[name] == one.network
        }
        return replace(self, seen=seen)

    # -- what it means ----------------------------------------------------------------------------

    def holds(self, config: Config) -> dict[PoolName, str]:
        """The pools that get no agent before they are isolated, with the sentence that says why."""
        found: dict[PoolName, str] = {}
        for pool in config.pools:
            if pool.isolation != "required" or pool.network in OPEN_NETWORKS:
                continue
            known = self.seen.get(pool.name)
            wants = f'pool "{pool.name}" wants isolation = "required"'
            if known is None:
                found[pool.name] = f"{wants}: it has not been seen yet"
            elif known.breaches is None:
                found[pool.name] = f"{wants}, and it could not be tried: {known.why}"
            elif known.breaches:
                breach = known.breaches[0]
                line = breach.fix.removeprefix("# ")
                found[pool.name] = f"{wants}, and its agents {breach.text}: {line}"
        return found

    def conditions(self, config: Config) -> list[Condition]:
        """A condition for each breach of each pool."""
        there = {pool.name for pool in config.pools}
        return [
            Condition(
                f"isolation.{breach.code}",
                Severity.WARNING if breach.code == "metadata" else Severity.ERROR,
                f"agents of pool {pool} {breach.text}",
                breach.fix,
                pool,
            )
            for pool, known in self.seen.items()
            if pool in there
            for breach in known.breaches or ()
        ]

    # -- what is to be asked ----------------------------------------------------------------------

    def scheduled(
        self, config: Config, desired: Desired, survey: Survey, memory: Memory, now: float
    ) -> tuple[Isolation, tuple[ProbeIsolation, ...], float | None]:
        """The probe to be made now, one at a time, and when to come again; ``None``: nothing is due."""
        if memory.pause is not None:
            return self, (), None
        making = any(
            agent.ready is None and agent.doom is None and not agent.settled
            for agent in memory.agents.values()
        )
        after = replace(self, busy=now) if making or self.busy is None else self
        asked = {pool: at for pool, at in after.asked.items() if within(now, at, WITHIN)}
        after = replace(after, asked=asked)
        dues: list[float] = []
        for pool in config.pools:
            spec = _tried_with(pool, desired, survey)
            if spec is None:
                continue
            due = _due(after, pool, now)
            if due > now or asked:
                dues.append(max(due, now + 1.0))
                continue
            after = replace(after, asked={pool.name: now})
            return after, (ProbeIsolation(spec),), None
        return after, (), min(dues, default=None)


def _due(state: Isolation, pool: PoolSpec, now: float) -> float:
    """When the pool is to be probed next."""
    known = state.seen.get(pool.name)
    calm = now if pool.isolation == "required" else (state.busy or now) + CALM
    if known is None or known.stale:
        return calm
    pause = SELDOM if known.breaches == () and not known.why else AGAIN
    return max(known.at + pause, calm) if within(now, known.at, pause) else calm


def _tried_with(pool: PoolSpec, desired: Desired, survey: Survey) -> SlotSpec | None:
    """The slot whose agents' container is tried; ``None`` where nothing is promised, or no image is there."""
    own = pool.network is None or (
        pool.isolation == "required" and pool.network not in OPEN_NETWORKS
    )
    spec = next((one for one in desired.slots if one.pool.name == pool.name), None)
    if not own or spec is None:
        return None
    image = survey.images.get(spec.reference)
    return spec if image is not None and unfit(spec.reference, image) is None else None
