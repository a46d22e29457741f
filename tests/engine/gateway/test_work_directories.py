"""Directories are made beneath a volume, for its owner, and never over a link."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from mayfly.engines.docker.gateway.work_directories import made

JOB = 41017


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    place = tmp_path / "volume"
    place.mkdir()
    if os.geteuid() == 0:
        os.chown(place, JOB, JOB)
    return place


def test_what_is_missing_is_made_for_the_owner_of_the_volume(volume: Path) -> None:
    old = os.umask(0o077)
    try:
        made(volume, ["a/b/c", "a/d"])
    finally:
        os.umask(old)
    for name in ("a", "a/b", "a/b/c", "a/d"):
        shown = (volume / name).stat()
        assert (shown.st_uid, shown.st_gid) == (volume.stat().st_uid, volume.stat().st_gid)
        assert shown.st_mode & 0o777 == 0o755


def test_what_is_there_is_left_as_it_is(volume: Path) -> None:
    (volume / "file").write_text("kept")
    (volume / "own").mkdir(mode=0o700)
    made(volume, ["file", "file/below", "own/new"])
    assert (volume / "file").read_text() == "kept"
    assert (volume / "own").stat().st_mode & 0o777 == 0o700
    assert (volume / "own/new").is_dir()


@pytest.mark.parametrize("link", ["/", "..", "../outside", "gone"])
def test_no_link_is_followed(volume: Path, link: str) -> None:
    outside = volume.parent / "outside"
    outside.mkdir()
    (volume / "link").symlink_to(link if link != "/" else str(outside))
    made(volume, ["link/made", "link"])
    assert list(outside.iterdir()) == []
    assert sorted(one.name for one in volume.parent.iterdir()) == ["outside", "volume"]


@pytest.mark.parametrize("path", ["", "/etc/made", "../made", "a/../../made"])
def test_what_is_not_beneath_is_not_made(volume: Path, path: str) -> None:
    made(volume, [path])
    assert list(volume.iterdir()) == []
    assert [one.name for one in volume.parent.iterdir()] == ["volume"]


def test_a_directory_exchanged_for_a_link_leads_nowhere(volume: Path) -> None:
    """As a container does that writes in the volume meanwhile."""
    outside, ends = volume.parent / "outside", threading.Event()
    outside.mkdir()
    (volume / "spare").symlink_to(outside)

    def exchange() -> None:
        turns = (("way", "aside"), ("spare", "way"), ("way", "spare"), ("aside", "way"))
        while not ends.is_set():
            for one, other in turns:
                with suppress(OSError):
                    (volume / one).rename(volume / other)

    (volume / "way").mkdir()
    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for number in range(300):
            made(volume, [f"way/n{number}/deep"])
    finally:
        ends.set()
        thread.join()
    assert list(outside.iterdir()) == []
