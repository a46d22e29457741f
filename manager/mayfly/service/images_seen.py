"""What the Engine has of the images that a submission asks for, looked at on the thread of whoever submits.

So an Engine that hangs delays them and not the loop. What it does not say is unknown, and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from mayfly.core.desire import ImageSeen
from mayfly.core.job_images import allows
from mayfly.core.model import Config
from mayfly.edge.faults import Fault
from mayfly.engines.protocol import Engine


def image_seen(engine: Engine, reference: str) -> ImageSeen | None:
    """The image of that name; ``None``: it is not there. ``Fault`` where the Engine does not say."""
    found = engine.image(reference)
    if found is None:
        return None
    return ImageSeen.labelled(found.id, found.labels, found.volumes)


@dataclass(frozen=True, slots=True)
class ImagesSeen:
    """Asks the Engine, and for nothing that no pool allows."""

    engine: Engine
    config: Callable[[], Config]

    def __call__(self, images: Iterable[str]) -> dict[str, ImageSeen | None]:
        """Those of the images that the Engine tells of; ``None``: it has none of that name."""
        pools = self.config().pools
        found: dict[str, ImageSeen | None] = {}
        for image in images:
            if any(allows(pool, image) for pool in pools):
                with suppress(Fault):
                    found[image] = image_seen(self.engine, image)
        return found
