"""What a submission learns of the images that it asks for, before the loop hears of it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from mayfly.core.desire import ImageSeen
from mayfly.core.model import LABEL_GATE, Config, HostSpec, PoolName, PoolSpec
from mayfly.edge.faults import Passing
from mayfly.engines.protocol import Engine, ImageFacts
from mayfly.service.images_seen import ImagesSeen

POOL = PoolSpec(PoolName("a"), job_images=("lab/*",))


class Images:
    """An engine of which nothing but its images is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def image(self, reference: str) -> ImageFacts | None:
        self.asked.append(reference)
        if reference == "lab/slow:1":
            raise Passing("it does not answer")
        if reference == "lab/none:1":
            return None
        return ImageFacts("id", {LABEL_GATE: "3"}, None, (), ())


def seen(engine: Images, *images: str) -> dict[str, ImageSeen | None]:
    pools = (POOL, replace(POOL, name=PoolName("b"), job_images=()))
    return ImagesSeen(cast(Engine, engine), lambda: Config(HostSpec("box"), pools))(images)


def test_the_engine_is_asked_for_what_a_pool_allows_and_its_silence_is_no_answer() -> None:
    engine = Images()
    found = seen(engine, "lab/here:1", "lab/none:1", "lab/slow:1", "elsewhere/x:1")
    assert found == {"lab/here:1": ImageSeen("id", "3"), "lab/none:1": None}
    assert engine.asked == ["lab/here:1", "lab/none:1", "lab/slow:1"]
