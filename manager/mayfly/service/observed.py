"""What the loop has last seen of the world, kept up with looks, events and the results of its own actions.

A look shows a past moment. What an action has changed since the look began is believed over the look, so
that an agent just made does not seem to be gone. Steps, not times, order the two: a clock may jump.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mayfly.core.memory import Memory
from mayfly.core.model import (
    Container,
    ContainerId,
    Death,
    Generation,
    HostId,
    PoolName,
    Roster,
    SlotName,
    Witness,
    World,
)
from mayfly.core.rosters import absent, orphans


class ObservedState:
    """The world as last seen; used by the loop's thread alone."""

    def __init__(self, host: HostId) -> None:
        self._host = host
        self._containers: dict[Generation, Container] | None = None
        self._error: str | None = None
        self._touched: dict[Generation, int] = {}
        self._witnesses: dict[Generation, Witness] = {}
        self._deaths: dict[Generation, Death] = {}
        self._last_seen: dict[Generation, float] = {}
        self._first_missed: dict[Generation, float] = {}
        self._sizes: dict[Generation, int] = {}
        self._unwitnessed: dict[Generation, float] = {}
        self._unreadable: set[Generation] = set()
        self._rosters: dict[PoolName, Roster | None] = {}
        self._absent: dict[Generation, float] = {}
        self._orphans: dict[tuple[PoolName, str], float] = {}
        self._engine_stop: float | None = None

    def world(self) -> World:
        """The world as a value of its own."""
        return World(
            containers=dict(self._containers) if self._containers is not None else None,
            witnesses=dict(self._witnesses),
            sizes=dict(self._sizes),
            deaths=dict(self._deaths),
            last_seen=dict(self._last_seen),
            first_missed=dict(self._first_missed),
            unwitnessed=dict(self._unwitnessed),
            unreadable=frozenset(self._unreadable),
            rosters=dict(self._rosters),
            absent=dict(self._absent),
            orphans=dict(self._orphans),
            engine_error=self._error,
            engine_stop=self._engine_stop,
        )

    @property
    def known(self) -> bool:
        """Whether the last look succeeded."""
        return self._containers is not None

    def seen(self, began: int, containers: Iterable[Container], memory: Memory, now: float) -> bool:
        """Take a look in; False where a part of it was overtaken, so that another look is due."""
        before = self._containers or {}
        fresh = {
            container.generation: container
            for container in containers
            if container.host == self._host
        }
        overtaken = {generation for generation, step in self._touched.items() if step > began}
        for generation in overtaken:
            fresh.pop(generation, None)
            if generation in before:
                fresh[generation] = before[generation]
        self._touched = {generation: self._touched[generation] for generation in overtaken}
        self._containers = fresh
        self._error = None
        self._note_presence(fresh, memory, now)
        return not overtaken

    def _note_presence(
        self, fresh: Mapping[Generation, Container], memory: Memory, now: float
    ) -> None:
        for generation, agent in memory.agents.items():
            container = fresh.get(generation)
            if container is not None and container.live:
                self._last_seen[generation] = now
                self._first_missed.pop(generation, None)
            elif not agent.settled:
                self._first_missed.setdefault(generation, now)

    def unseen(self, error: str) -> None:
        """A look failed: what is there is unknown."""
        self._containers = None
        self._error = error

    def on_roster(
        self,
        pool: PoolName,
        roster: Roster | None,
        memory: Memory,
        kept: frozenset[SlotName],
        now: float,
    ) -> None:
        """What a service said of our agents; ``kept`` are the slots whose entries stay without an agent.

        ``None``: it did not say, and whoever was missing is no longer known to be.
        """
        self._rosters[pool] = roster
        missing = absent(memory, pool, roster) if roster is not None else frozenset()
        lone = orphans(memory, roster, pool, kept) if roster is not None else frozenset()
        for generation, agent in memory.agents.items():
            if agent.pool == pool and generation not in missing:
                self._absent.pop(generation, None)
        for generation in missing:
            self._absent.setdefault(generation, now)
        self._orphans = {
            key: since for key, since in self._orphans.items() if key[0] != pool or key[1] in lone
        }
        for registration in lone:
            self._orphans.setdefault((pool, registration), now)

    def dismissed(self, pool: PoolName, registration: str) -> None:
        """The service has let go of an entry; the next roster will say so too."""
        self._orphans.pop((pool, registration), None)

    @property
    def rosters(self) -> Mapping[PoolName, Roster | None]:
        """The last roster of each service pool; ``None``: unknown."""
        return self._rosters

    def engine_stopped(self, at: float) -> None:
        """The Engine stopped, or has restarted, at about that time."""
        self._engine_stop = at

    def died(self, generation: Generation, death: Death) -> None:
        """The Engine said that a container died."""
        self._deaths[generation] = death

    def grown(self, sizes: Mapping[ContainerId, int]) -> None:
        """How large the writable layers are."""
        containers = self._containers or {}
        self._sizes = {
            generation: sizes[container.id]
            for generation, container in containers.items()
            if container.id in sizes
        }

    def testify(self, generation: Generation, witness: Witness | None, now: float) -> None:
        """What an agent's witness says; a witness once read is not forgotten for being unreadable."""
        self._unreadable.discard(generation)
        if witness is None:
            self._unwitnessed.setdefault(generation, now)
        else:
            self._unwitnessed.pop(generation, None)
            self._witnesses[generation] = witness

    def unreadable(self, generation: Generation) -> None:
        """Its witness is there and cannot be read; the next reading may succeed."""
        self._unreadable.add(generation)

    def shift(self, by: float) -> None:
        """The wall clock has jumped: what was seen moves with it."""
        for table in (self._last_seen, self._first_missed, self._unwitnessed, self._absent):
            for generation in table:
                table[generation] += by
        self._orphans = {key: since + by for key, since in self._orphans.items()}
        if self._engine_stop is not None:
            self._engine_stop += by

    # -- what our own actions have changed --------------------------------------------------------

    def made(self, step: int, container: Container) -> None:
        """We have started a container."""
        if self._containers is not None:
            self._containers[container.generation] = container
        self._touched[container.generation] = step

    def renamed(self, step: int, generation: Generation, name: str) -> None:
        """We have renamed a container."""
        if self._containers is not None and generation in self._containers:
            self._containers[generation] = replace(self._containers[generation], name=name)
        self._touched[generation] = step

    def removed(self, step: int, generation: Generation) -> None:
        """We have removed a container."""
        if self._containers is not None:
            self._containers.pop(generation, None)
        self._touched[generation] = step

    def forgotten(self, generation: Generation) -> None:
        """Nothing of the agent is left, here either."""
        self._unreadable.discard(generation)
        for table in (
            self._witnesses,
            self._deaths,
            self._last_seen,
            self._first_missed,
            self._sizes,
            self._unwitnessed,
            self._absent,
        ):
            table.pop(generation, None)
