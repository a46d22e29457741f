"""What was last seen of the world, kept up with looks, events and the results of our own actions.

A look shows a past moment. What an action has changed since the look began is believed over the look, so
that an agent just made does not seem to be gone. Counts of results, not times, order the two, since a clock
may jump.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mayfly.core.memory import Memory
from mayfly.core.model import (
    Closing,
    Condition,
    Container,
    ContainerId,
    ContainerState,
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
from mayfly.core.seal import is_ours

STARTS = 5  # of a held container that are remembered

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Observed:
    """The world as last seen; never changed in place."""

    host: HostId
    world: World = field(default_factory=lambda: World(None))
    # Agents that our own actions have changed, and after which result.
    touched: Mapping[Generation, int] = field(default_factory=dict)
    # Of whom something was there that they had made, as the last survey showed; None: there was none yet.
    makers: frozenset[Generation] | None = None

    @property
    def known(self) -> bool:
        """Whether the last look succeeded."""
        return self.world.containers is not None

    def _with(self, **changes: object) -> Observed:
        return replace(self, world=replace(self.world, **changes))  # type: ignore[arg-type]

    # -- looks and events -------------------------------------------------------------------------

    def seen(
        self, began: int, containers: Iterable[Container], memory: Memory, now: float
    ) -> tuple[Observed, bool]:
        """After a look, and whether a part of it was overtaken, so that another look is due."""
        before = self.world.containers or {}
        said = [container for container in containers if container.host == self.host]
        ours = [container for container in said if is_ours(container, memory)]
        fresh = {one.generation: one for one in ours if not one.holds}
        holders = {one.generation: one for one in ours if one.holds}
        overtaken = {generation for generation, after in self.touched.items() if after > began}
        for generation in overtaken:
            fresh.pop(generation, None)
            holders.pop(generation, None)
            if generation in before:
                fresh[generation] = before[generation]
            if generation in self.world.holders:
                holders[generation] = self.world.holders[generation]
        last_seen, first_missed = dict(self.world.last_seen), dict(self.world.first_missed)
        for generation, agent in memory.agents.items():
            container = fresh.get(generation)
            if container is not None and container.live:
                last_seen[generation] = now
                first_missed.pop(generation, None)
            elif not agent.settled:
                first_missed.setdefault(generation, now)
        over = {
            generation: self.world.over.get(generation, now)
            for generation, container in fresh.items()
            if not container.live
        }
        world = replace(
            self.world,
            containers=fresh,
            holders=holders,
            clean=self.world.clean & {one.id for one in holders.values()},
            spoilt=self.world.spoilt & {one.id for one in holders.values()},
            strangers=tuple(
                sorted(container.name for container in said if not is_ours(container, memory))
            ),
            over=over,
            # Of holders, of strangers, and of what was forgotten before its end was told, nobody asks.
            deaths={
                generation: death
                for generation, death in self.world.deaths.items()
                if generation in memory.agents or generation in fresh
            },
            engine_error=None,
            last_seen=last_seen,
            first_missed=first_missed,
            unsure=self.world.unsure & overtaken,
        )
        touched = {generation: self.touched[generation] for generation in overtaken}
        return replace(self, world=world, touched=touched), bool(overtaken)

    def overfilled(self, agents: frozenset[Generation]) -> Observed:
        """Into whose witnesses more was written than any launcher writes."""
        return self if agents == self.world.overfull else self._with(overfull=agents)

    def unseen(self, error: str) -> Observed:
        """A look failed: what is there is unknown."""
        return self._with(containers=None, engine_error=error, over={})

    def engine_stopped(self, at: float) -> Observed:
        """The Engine stopped, or has restarted, at about that time."""
        return self._with(engine_stop=at)

    def died(self, generation: Generation, death: Death) -> Observed:
        """The Engine said that a container died."""
        return self._with(deaths={**self.world.deaths, generation: death})

    def processes_gone(self, generation: Generation) -> Observed:
        """The kernel said that nothing of an agent runs any more."""
        return self._with(ended=self.world.ended | {generation})

    def kept(self, generation: Generation, words: str = "") -> Observed:
        """All that an agent printed is on disk, or will never come."""
        said = {generation: words} if words else {}
        return self._with(
            outputs_kept=self.world.outputs_kept | {generation},
            last_words={**self.world.last_words, **said},
        )

    def grown(
        self, sizes: Mapping[ContainerId, int], unmeasured: frozenset[ContainerId] = frozenset()
    ) -> Observed:
        """How large the writable layers are, and which cannot be measured."""
        containers = self.world.containers or {}
        return self._with(
            sizes={
                generation: sizes[container.id]
                for generation, container in containers.items()
                if container.id in sizes
            },
            unmeasured=frozenset(
                generation
                for generation, container in containers.items()
                if container.id in unmeasured
            ),
        )

    def mounts_looked_at(self, now: float) -> Observed:
        """What agents mount is known as of now."""
        return self._with(mounts_seen=now)

    def witnessed(
        self,
        found: Mapping[Generation, Witness | None],
        unreadable: frozenset[Generation],
        now: float,
    ) -> Observed:
        """What agents' witnesses say; one once read is not forgotten for being unreadable."""
        if not found and not unreadable:
            return self
        missing = dict(self.world.unwitnessed)
        for generation, witness in found.items():
            if witness is None:
                missing.setdefault(generation, now)
            else:
                missing.pop(generation, None)
        said = {name: witness for name, witness in found.items() if witness is not None}
        return self._with(
            witnesses={**self.world.witnesses, **said},
            unwitnessed=missing,
            unreadable=(self.world.unreadable - found.keys()) | unreadable,
        )

    def shut(self, closed: Mapping[Generation, Closing]) -> Observed:
        """The doors of agents that have ended are shut."""
        return self._with(closed={**self.world.closed, **closed}) if closed else self

    def gateway_seen(self, missing: str, conditions: tuple[Condition, ...] = ()) -> Observed:
        """Whether agents can have containers of their own, and what else their gateway says."""
        known = (self.world.gateway, self.world.gateway_sees)
        if (missing, conditions) == known:
            return self
        return self._with(gateway=missing, gateway_sees=conditions)

    def unowned_seen(self, found: Mapping[Generation, SlotName], memory: Memory) -> Observed:
        """What agents have made of which some may be remembered by nobody.

        A survey shows a past moment: of whoever was forgotten since, the next one shows nothing any more.
        """
        left = {
            name: slot
            for name, slot in found.items()
            if name not in memory.agents and (self.makers is None or name in self.makers)
        }
        world = self.world if left == self.world.unowned else replace(self.world, unowned=left)
        return replace(self, world=world, makers=frozenset(found))

    def cleared(self, generation: Generation) -> Observed:
        """Nothing is left of what an agent has made."""
        return self._with(unowned=_without(self.world.unowned, generation))

    def news(self, found: Mapping[Generation, Witness | None]) -> dict[Generation, Witness | None]:
        """Those of the witnesses that tell anything new."""
        world = self.world
        return {
            generation: witness
            for generation, witness in found.items()
            if generation in world.unreadable
            or (generation not in world.unwitnessed if witness is None else False)
            or (
                witness is not None
                and (witness != world.witnesses.get(generation) or generation in world.unwitnessed)
            )
        }

    def shifted(self, by: float) -> Observed:
        """The wall clock has jumped: what was seen moves with it."""
        world, stop = self.world, self.world.engine_stop
        return self._with(
            last_seen=_moved(world.last_seen, by),
            first_missed=_moved(world.first_missed, by),
            over=_moved(world.over, by),
            unwitnessed=_moved(world.unwitnessed, by),
            absent=_moved(world.absent, by),
            orphans=_moved(world.orphans, by),
            started_again={
                key: tuple(at + by for at in times) for key, times in world.started_again.items()
            },
            engine_stop=stop + by if stop is not None else None,
        )

    # -- services ---------------------------------------------------------------------------------

    def listed(
        self,
        pool: PoolName,
        roster: Roster | None,
        memory: Memory,
        kept: frozenset[SlotName],
        now: float,
    ) -> Observed:
        """What a service said of our agents; ``kept`` are the slots whose entries stay without an agent.

        ``None``: it did not say, and whoever was missing is no longer known to be.
        """
        missing = absent(memory, pool, roster) if roster is not None else frozenset()
        lone = orphans(memory, roster, pool, kept) if roster is not None else frozenset()
        gone = dict(self.world.absent)
        for generation, agent in memory.agents.items():
            if agent.pool == pool and generation not in missing:
                gone.pop(generation, None)
        for generation in missing:
            gone.setdefault(generation, now)
        alone = {
            key: since
            for key, since in self.world.orphans.items()
            if key[0] != pool or key[1] in lone
        }
        # A set's order is not the same in every run of Python.
        for registration in sorted(lone):
            alone.setdefault((pool, registration), now)
        rosters = {**self.world.rosters, pool: roster}
        return self._with(rosters=rosters, absent=gone, orphans=alone)

    def dismissed(self, pool: PoolName, registration: str) -> Observed:
        """The service has let go of an entry; the next roster will say so too."""
        return self._with(orphans=_without(self.world.orphans, (pool, registration)))

    # -- what our own actions have changed --------------------------------------------------------

    def made(self, result: int, container: Container) -> Observed:
        """We have started a container."""
        return self._changed(result, container.generation, container)

    def doubted(self, result: int, generation: Generation) -> Observed:
        """Nobody knows whether we have made a container: looks that began before then do not tell."""
        touched = {**self.touched, generation: result}
        return replace(self._with(unsure=self.world.unsure | {generation}), touched=touched)

    def renamed(self, result: int, generation: Generation, name: str) -> Observed:
        """We have renamed a container."""
        known = (self.world.containers or {}).get(generation)
        return self._changed(
            result, generation, replace(known, name=name) if known is not None else None
        )

    def started_again(self, result: int, generation: Generation, now: float) -> Observed:
        """We have started a container that had ended."""
        known = (self.world.containers or {}).get(generation)
        runs = replace(known, state=ContainerState.RUNNING) if known is not None else None
        times = (*self.world.started_again.get(generation, ()), now)[-STARTS:]
        changed = self._changed(result, generation, runs)
        starts = {**self.world.started_again, generation: times}
        return replace(changed, world=replace(changed.world, started_again=starts))

    def frozen(self, result: int, generation: Generation, *, frozen: bool) -> Observed:
        """We have frozen a container, or let it go on."""
        known = (self.world.containers or {}).get(generation)
        state = ContainerState.PAUSED if frozen else ContainerState.RUNNING
        return self._changed(
            result, generation, replace(known, state=state) if known is not None else None
        )

    def sandbox_made(self, result: int, holder: Container) -> Observed:
        """We have started a holder."""
        known = {**self.world.holders, holder.generation: holder}
        return self._holders(result, holder.generation, known).sandbox_clean(holder.id)

    def sandbox_removed(self, result: int, generation: Generation) -> Observed:
        """We have removed a holder."""
        return self._holders(result, generation, _without(self.world.holders, generation))

    def sandbox_clean(self, holder: ContainerId) -> Observed:
        """Nothing is left in the sandbox that it holds."""
        return self._with(clean=self.world.clean | {holder})

    def sandboxes_used(self, holders: frozenset[ContainerId]) -> Observed:
        """Whoever is in the sandboxes that they hold gets a job."""
        return self if not holders else self._with(clean=self.world.clean - holders)

    def sandbox_spoilt(self, holder: ContainerId) -> Observed:
        """Something was left in the sandbox that it holds."""
        return self._with(spoilt=self.world.spoilt | {holder}, clean=self.world.clean - {holder})

    def _holders(
        self, result: int, changed: Generation, holders: Mapping[Generation, Container]
    ) -> Observed:
        return replace(self._with(holders=holders), touched={**self.touched, changed: result})

    def removed(self, result: int, generation: Generation) -> Observed:
        """We have removed a container."""
        return self._changed(result, generation, None)

    def _changed(
        self, result: int, generation: Generation, container: Container | None
    ) -> Observed:
        touched = {**self.touched, generation: result}
        before = self.world.containers
        if before is None:
            return replace(self, touched=touched)
        after = (
            {**before, generation: container}
            if container is not None
            else _without(before, generation)
        )
        return replace(self, world=replace(self.world, containers=after), touched=touched)

    def forgotten(self, generation: Generation) -> Observed:
        """Nothing of the agent is left, here either."""
        world = self.world
        return self._with(
            unreadable=world.unreadable - {generation},
            witnesses=_without(world.witnesses, generation),
            deaths=_without(world.deaths, generation),
            ended=world.ended - {generation},
            last_seen=_without(world.last_seen, generation),
            first_missed=_without(world.first_missed, generation),
            over=_without(world.over, generation),
            outputs_kept=world.outputs_kept - {generation},
            unsure=world.unsure - {generation},
            last_words=_without(world.last_words, generation),
            sizes=_without(world.sizes, generation),
            unmeasured=world.unmeasured - {generation},
            unwitnessed=_without(world.unwitnessed, generation),
            absent=_without(world.absent, generation),
            closed=_without(world.closed, generation),
            started_again=_without(world.started_again, generation),
        )


def _without(table: Mapping[Key, Value], gone: Key) -> Mapping[Key, Value]:
    if gone not in table:
        return table
    return {key: value for key, value in table.items() if key != gone}


def _moved(table: Mapping[Key, float], by: float) -> dict[Key, float]:
    return {key: since + by for key, since in table.items()}
