"""What the Engine has of the images that a submission asks for, looked at on the thread of whoever submits.

So an Engine that hangs delays them and not the loop, and them not for long: whoever gave up waiting would
submit a second time. An Engine that cannot be asked tells nothing, and what is unknown refuses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mayfly.core.desire import ImageSeen
from mayfly.core.job_images import allowed
from mayfly.core.model import Config
from mayfly.edge.faults import Fault, Passing
from mayfly.engines.protocol import Engine

SECONDS = 4.0  # for all that one submission asks for: the loop has to answer, too, before its client gives up


def image_seen(engine: Engine, reference: str, *, within: float | None = None) -> ImageSeen | None:
    """The image of that name; ``None``: it is not there. ``Fault`` where the Engine does not say, at the
    latest after so many seconds.
    """
    found = engine.image(reference, within=within)
    if found is None:
        return None
    if not found.seen:
        return ImageSeen.unseen(found.id)
    return ImageSeen.labelled(found.id, found.labels, found.volumes, found.created)


@dataclass(frozen=True, slots=True)
class ImagesSeen:
    """Asks the Engine, and for nothing that no pool allows."""

    engine: Engine
    config: Callable[[], Config]
    clock: Callable[[], float] = time.monotonic

    def __call__(self, images: Iterable[str]) -> dict[str, ImageSeen | None]:
        """Those of the images that the Engine tells of; ``None``: it has none of that name. ``Passing`` where
        it is too slow.
        """
        pools = self.config().pools
        deadline = self.clock() + SECONDS
        found: dict[str, ImageSeen | None] = {}
        for image in dict.fromkeys(images):
            if not allowed(pools, image):
                continue
            left = deadline - self.clock()
            if left <= 0:
                raise _too_slow(image)
            try:
                found[image] = image_seen(self.engine, image, within=left)
            except Fault as fault:
                if self.clock() >= deadline:
                    raise _too_slow(image) from fault
                break
        return found


def _too_slow(image: str) -> Passing:
    return Passing(
        f"the Engine is busy and did not tell within {SECONDS:g} s whether it has image {image}: nothing was "
        "queued, try again; if it lasts, look at `systemctl status docker`"
    )
