"""Takes away the images that jobs have fetched and that no container was made of for long, or that are too
many: never by a prune.

What a pool needs, and what any container is of, stays. Nothing waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mayfly.core.admission.image_names import familiar
from mayfly.core.model import Config
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.fetched_images import FetchedImages
from mayfly.edge.log import Log
from mayfly.edge.room import Room, lacks_room, room
from mayfly.engines.protocol import Engine

SETTLING = 600.0  # seconds that an image is left alone after a job has fetched it


def longest(config: Config) -> float | None:
    """Seconds after which an image goes that nobody used: the longest of all pools whose jobs may have
    containers; ``None``: there is no such pool, or one keeps them for ever.
    """
    kept = [pool.images_keep for pool in config.pools if pool.containers]
    if not kept or any(one is None for one in kept):
        return None
    return max(one for one in kept if one is not None)


@dataclass(slots=True)
class _Image:
    """One that jobs have fetched, by all of the names that they fetched it by."""

    size: int
    names: list[str] = field(default_factory=list)
    used: float = 0.0  # last, by whichever name


class OldImages:
    """Takes those of one host away."""

    def __init__(
        self,
        engine: Engine,
        images: FetchedImages,
        config: Callable[[], Config],
        needed: Callable[[], frozenset[str]],
        log: Log,
        clock: Callable[[], float] = time.time,
        room: Callable[[Path], Room | None] = room,
    ) -> None:
        """``needed``: the images of agents, by name; ``room``: what is left on a disk."""
        self._engine = engine
        self._images = images
        self._config = config
        self._needed = needed
        self._log = log
        self._clock = clock
        self._room = room
        self._looked: float | None = None  # as of when all was within its bounds
        self._stored: tuple[str, ...] | None = (
            None  # where the Engine has its images; None: not asked
        )

    def keep_within(self) -> None:
        """Take away, of those that take more room than there is for them, those that were not used for the
        longest. Where nothing was fetched since it was looked last, and there is room, nobody is asked.
        """
        config = self._config()
        if not any(pool.containers for pool in config.pools):
            return
        changed, crowded = self._images.changed(), self._is_crowded()
        if changed == self._looked and not crowded:
            return
        images = self._fetched()
        most = config.host.images_total
        total = sum(one.size for one in images)
        for one in images:
            if (most is None or total <= most) and not self._is_crowded():
                break
            if self._clock() - one.used < SETTLING:
                return  # so are all that follow: a job may be about to use them; it is looked again
            needed = not self._needed().isdisjoint(one.names)
            if not needed and all(map(self._thrown_away, one.names)):
                total -= one.size
        if most is None or total <= most:
            self._looked = self._images.changed()

    def _fetched(self) -> list[_Image]:
        """Those that are there, whoever was not used for the longest first; one of many names is one."""
        sizes = {
            plain: one
            for name, one in self._engine.image_sizes().items()
            if (plain := familiar(name)) is not None
        }
        known: dict[str, _Image] = {}
        for one in self._images.all():
            if (there := sizes.get(one.name)) is not None:
                image = known.setdefault(there.id, _Image(there.size))
                image.names.append(one.name)
                image.used = one.used  # they come in the order of their use
        return sorted(known.values(), key=lambda one: one.used)

    def _is_crowded(self) -> bool:
        """Whether less is left on the Engine's disk than pulls leave free there."""
        found = (self._room(Path(place)) for place in self._places())
        return any(one is not None and lacks_room(one) for one in found)

    def _places(self) -> tuple[str, ...]:
        if self._stored is None:
            self._stored = self._engine.facts().places
        return self._stored

    def _thrown_away(self, name: str) -> bool:
        """Whether it went; what is in use stays."""
        try:
            self._engine.remove_image(name)
        except Passing:
            return False  # a container is of it, or the Engine is away
        except Fault as fault:
            self._log.event("image.kept", image=name, reason=str(fault))
            return False
        self._images.forget(name)
        self._log.event("image.removed", image=name)
        return True

    def throw_old_away(self) -> None:
        """Take away each that is old; one that is in use is tried again the next day."""
        keep = longest(self._config())
        if keep is None:
            return
        needed = self._needed()
        for one in self._images.all():
            if self._clock() - one.used < keep:
                return  # so are all that follow
            if one.name in needed:
                continue
            self._thrown_away(one.name)
