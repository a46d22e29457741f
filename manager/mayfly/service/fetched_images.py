"""Takes away the images that jobs have fetched and that no container was made of for long: never by a prune.

What a pool needs, and what any container is of, stays. Nothing waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mayfly.core.model import Config
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.fetched_images import FetchedImages
from mayfly.edge.log import Log
from mayfly.engines.protocol import Engine


def longest(config: Config) -> float | None:
    """Seconds after which an image goes that nobody used: the longest of all pools whose jobs may have
    containers; ``None``: there is no such pool, or one keeps them for ever.
    """
    kept = [pool.images_keep for pool in config.pools if pool.containers]
    if not kept or any(one is None for one in kept):
        return None
    return max(one for one in kept if one is not None)


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
    ) -> None:
        """``needed``: the images of agents, by name."""
        self._engine = engine
        self._images = images
        self._config = config
        self._needed = needed
        self._log = log
        self._clock = clock

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
            try:
                self._engine.remove_image(one.name)
            except Passing:
                continue  # a container is of it, or the Engine is away
            except Fault as fault:
                self._log.event("image.kept", image=one.name, reason=str(fault))
                continue
            self._images.forget(one.name)
            self._log.event("image.removed", image=one.name)
