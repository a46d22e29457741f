"""Which images jobs have fetched, when each was used last, and which of them go."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from mayfly.core.model import Config, HostSpec, PoolName, PoolSpec
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.fetched_images import FetchedImages
from mayfly.edge.log import Log
from mayfly.edge.room import Room
from mayfly.engines.protocol import EngineFacts
from mayfly.engines.simulated.engine import SimulatedEngine
from mayfly.service.fetched_images import OldImages, longest

DAY = 24 * 3600.0
NOW = time.time()
POOL = PoolSpec(PoolName("a"), containers=True, images_keep=14 * DAY)
GIB = 1024**3
NAMES = ("postgres:16", "registry.lab:5000/ci/cuda:12.8", "redis:7")


def aged(images: FetchedImages, name: str, days: float) -> None:
    images.fetched(name)
    place = images.folder / quote(name, safe="")
    os.utime(place, (NOW - days * DAY, NOW - days * DAY))


@pytest.fixture
def images(tmp_path: Path) -> FetchedImages:
    return FetchedImages(tmp_path)


def test_what_is_used_is_noted_where_a_job_has_fetched_it_alone(images: FetchedImages) -> None:
    assert images.all() == ()
    images.used("debian:12")
    assert images.all() == ()
    for days, name in enumerate(NAMES, 1):
        aged(images, name, days)
    assert [one.name for one in images.all()] == [*reversed(NAMES)]
    images.used(NAMES[2])
    assert images.all()[-1].name == NAMES[2]
    images.forget(NAMES[2])
    images.forget(NAMES[2])
    assert {one.name for one in images.all()} == set(NAMES[:2])


def test_a_name_is_never_a_path(images: FetchedImages) -> None:
    for name in ("../../etc/passwd", "", "x" * 400):
        images.fetched(name)
    assert {one.parent for one in images.folder.rglob("*")} == {images.folder}


def test_an_image_of_a_long_name_is_noted_as_any_other(images: FetchedImages) -> None:
    name = f"registry.lab/{'/'.join(['a' * 60] * 5)}:{'t' * 80}"
    assert images.fetched(name)
    assert not images.fetched(name)
    images.used(name)
    assert [one.name for one in images.all()] == [name]
    images.forget(name)
    assert images.all() == ()


ROOMY = Room("/d", 500 * GIB, 1000 * GIB)


def old_images(
    images: FetchedImages,
    engine: SimulatedEngine,
    *pools: PoolSpec,
    needed: tuple[str, ...] = (),
    total: int | None = None,
    room: Callable[[], Room] = lambda: ROOMY,
) -> tuple[OldImages, io.StringIO]:
    told = io.StringIO()
    config = Config(HostSpec("box", images_total=total), pools)
    return (
        OldImages(
            *(engine, images, lambda: config, lambda: frozenset(needed), Log(told)),
            clock=lambda: NOW,
            room=lambda _: room(),
        ),
        told,
    )


def test_the_old_go_and_what_is_young_needed_or_in_use_stays(images: FetchedImages) -> None:
    engine = SimulatedEngine(images=(*NAMES, "image"))
    aged(images, NAMES[0], 20)
    aged(images, NAMES[1], 30)
    aged(images, NAMES[2], 3)
    old, told = old_images(images, engine, POOL, needed=(NAMES[1],))
    old.throw_old_away()
    assert set(engine.images) == {NAMES[1], NAMES[2], "image"}
    assert {one.name for one in images.all()} == {NAMES[1], NAMES[2]}
    assert NAMES[0] in told.getvalue()


def test_what_cannot_be_removed_is_tried_again(images: FetchedImages) -> None:
    engine = SimulatedEngine(images=NAMES)
    aged(images, NAMES[0], 20)
    engine.fails("remove_image", Passing("a container is of it"), Refused("no"))
    old, told = old_images(images, engine, POOL)
    for _ in range(2):
        old.throw_old_away()
        assert [one.name for one in images.all()] == [NAMES[0]]
    assert "image.kept" in told.getvalue()
    old.throw_old_away()
    assert images.all() == ()


@pytest.mark.parametrize(
    ("pools", "seconds"),
    [
        ((), None),
        ((replace(POOL, containers=False),), None),
        ((POOL, replace(POOL, images_keep=20 * DAY)), 20 * DAY),
        ((POOL, replace(POOL, images_keep=None)), None),
    ],
)
def test_the_longest_of_all_pools_counts(
    pools: tuple[PoolSpec, ...], seconds: float | None
) -> None:
    assert longest(Config(HostSpec("box"), pools)) == seconds


def asked_for_sizes(engine: SimulatedEngine) -> int:
    return engine.calls.count("image_sizes")


def test_what_takes_too_much_goes_those_that_were_not_used_for_the_longest_first(
    images: FetchedImages,
) -> None:
    """Each takes a GiB; what agents are of, what a container is of, and what no job fetched stays."""
    engine = SimulatedEngine(images=(*NAMES, "image", "person/s"))
    for days, name in zip((4, 3, 2), NAMES, strict=True):
        aged(images, name, days)
    old, told = old_images(images, engine, POOL, total=2 * GIB)
    old.keep_within()
    assert set(engine.images) == {*NAMES[1:], "image", "person/s"}
    assert NAMES[0] in told.getvalue()
    old.keep_within()
    assert {one.name for one in images.all()} == set(NAMES[1:])
    engine.fails("remove_image", Passing("a container is of it"))
    old, _ = old_images(images, engine, POOL, total=GIB)
    old.keep_within()
    assert set(engine.images) == {NAMES[1], "image", "person/s"}
    old, _ = old_images(images, engine, POOL, total=0, needed=(NAMES[1],))
    old.keep_within()
    assert NAMES[1] in engine.images


def test_an_image_of_many_names_takes_its_bytes_once_and_is_as_old_as_its_last_use(
    images: FetchedImages,
) -> None:
    """Names cost nothing: a job that gives one image many of them drives no other's out."""
    many = tuple(f"lab/many:{number}" for number in range(6))
    engine = SimulatedEngine(images=(*NAMES, *many))
    engine.image_ids = dict.fromkeys(many, "sha256:1")
    for days, name in zip((9, 8, 7, 6, 5, 4), many, strict=True):
        aged(images, name, days)
    for days, name in zip((6, 5, 4), NAMES, strict=True):
        aged(images, name, days)
    old, _ = old_images(images, engine, POOL, total=4 * GIB)
    old.keep_within()
    assert set(engine.images) == {*NAMES, *many}
    aged(images, many[2], 1)
    old, _ = old_images(images, engine, POOL, total=3 * GIB)
    old.keep_within()
    assert set(engine.images) == {*NAMES[1:], *many}, "one of its names was used last of all"
    for name in NAMES[1:]:
        aged(images, name, 0.5)
    old, _ = old_images(images, engine, POOL, total=2 * GIB)
    old.keep_within()
    assert set(engine.images) == set(NAMES[1:]), "it goes whole"


def test_what_a_job_has_just_fetched_is_left_to_it(images: FetchedImages) -> None:
    engine = SimulatedEngine(images=NAMES)
    aged(images, NAMES[0], 1)
    images.fetched(NAMES[1])
    old, _ = old_images(images, engine, POOL, total=0)
    old.keep_within()
    assert set(engine.images) == set(NAMES[1:])


class Stored(SimulatedEngine):
    """One whose images lie on a disk of this host."""

    def facts(self) -> EngineFacts:
        return replace(super().facts(), places=("/d",))


def test_a_disk_with_little_room_gets_more_as_long_as_there_is_something_old(
    images: FetchedImages,
) -> None:
    engine = Stored(images=(*NAMES, "image"))
    for days, name in zip((4, 3, 2), NAMES, strict=True):
        aged(images, name, days)

    def room() -> Room:
        return Room("/d", (22 - len(engine.images)) * GIB, 1000 * GIB)

    old, _ = old_images(images, engine, POOL, room=room)
    old.keep_within()
    assert set(engine.images) == {*NAMES[2:], "image"}


def test_where_nothing_was_fetched_since_the_engine_is_not_asked(images: FetchedImages) -> None:
    engine = SimulatedEngine(images=NAMES)
    old, _ = old_images(images, engine, POOL, total=GIB)
    aged(images, NAMES[0], 1)
    for _ in range(3):
        old.keep_within()
    assert asked_for_sizes(engine) == 1
    os.utime(images.folder, (NOW + 5, NOW + 5))
    old.keep_within()
    assert asked_for_sizes(engine) == 2
    without, _ = old_images(images, engine, replace(POOL, containers=False), total=0)
    without.keep_within()
    assert asked_for_sizes(engine) == 2
