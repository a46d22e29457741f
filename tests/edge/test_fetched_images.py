"""Which images jobs have fetched, when each was used last, and which of them go."""

from __future__ import annotations

import io
import os
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from mayfly.core.model import Config, HostSpec, PoolName, PoolSpec
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.fetched_images import FetchedImages
from mayfly.edge.log import Log
from mayfly.engines.simulated.engine import SimulatedEngine
from mayfly.service.fetched_images import OldImages, longest

DAY = 24 * 3600.0
NOW = time.time()
POOL = PoolSpec(PoolName("a"), containers=True, images_keep=14 * DAY)
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


def old_images(
    images: FetchedImages, engine: SimulatedEngine, *pools: PoolSpec, needed: tuple[str, ...] = ()
) -> tuple[OldImages, io.StringIO]:
    told = io.StringIO()
    config = Config(HostSpec("box"), pools)
    return (
        OldImages(
            *(engine, images, lambda: config, lambda: frozenset(needed), Log(told)),
            clock=lambda: NOW,
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
