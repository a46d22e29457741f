"""What a submission learns of the images that it asks for, before the loop hears of it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from mayfly.core.desire import ImageSeen
from mayfly.core.model import LABEL_GATE, Config, HostSpec, PoolName, PoolSpec
from mayfly.edge.faults import Passing
from mayfly.engines.protocol import Engine, ImageFacts
from mayfly.service.images_seen import SECONDS, ImagesSeen

POOL = PoolSpec(PoolName("a"), job_images=("lab/*",))


class Images:
    """An engine of which nothing but its images is asked; a look takes it so many seconds of its clock."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.now = 0.0
        self.asked: list[str] = []

    def image(self, reference: str, *, within: float | None = None) -> ImageFacts | None:
        self.asked.append(reference)
        assert within is not None
        self.now += min(self.takes, within)
        if self.takes >= within or reference == "lab/broken:1":
            raise Passing("it does not answer")
        if reference == "lab/none:1":
            return None
        return ImageFacts("id", {LABEL_GATE: "3"}, None, (), ())


def seen(engine: Images, *images: str) -> dict[str, ImageSeen | None]:
    pools = (POOL, replace(POOL, name=PoolName("b"), job_images=()))
    config = Config(HostSpec("box"), pools)
    return ImagesSeen(cast(Engine, engine), lambda: config, lambda: engine.now)(images)


def test_the_engine_is_asked_once_for_what_a_pool_allows() -> None:
    engine = Images()
    found = seen(engine, "lab/here:1", "lab/none:1", "lab/here:1", "elsewhere/x:1")
    assert found == {"lab/here:1": ImageSeen("id", "3"), "lab/none:1": None}
    assert engine.asked == ["lab/here:1", "lab/none:1"]


def test_an_engine_that_cannot_be_asked_tells_nothing_and_is_not_asked_again() -> None:
    engine = Images()
    assert seen(engine, "lab/here:1", "lab/broken:1", "lab/next:1") == {
        "lab/here:1": ImageSeen("id", "3")
    }
    assert engine.asked == ["lab/here:1", "lab/broken:1"]


@pytest.mark.parametrize(("takes", "asked"), [(600.0, 1), (1.5, 3), (SECONDS / 2, 2)])
def test_a_submission_is_refused_where_its_looks_together_take_too_long(
    takes: float, asked: int
) -> None:
    engine = Images(takes)
    with pytest.raises(Passing, match=r"the Engine is busy .* nothing was queued, try again"):
        seen(engine, *(f"lab/x:{tag}" for tag in range(64)))
    assert (engine.now, len(engine.asked)) == (SECONDS, asked)
