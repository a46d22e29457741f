"""What somebody hostile leaves behind is removed, and nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mayfly.edge.faults import Passing
from mayfly.edge.removal import remove_tree

DEPTH = 3_000  # more than a path, a stack or a process's descriptors reach


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    place = tmp_path / "tree"
    place.mkdir()
    return place


def test_what_is_gone_is_removed(tree: Path) -> None:
    remove_tree(tree)
    assert not tree.exists()
    remove_tree(tree)


def test_what_links_and_mounts_of_names_point_to_stays(tree: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    (tree / "to-directory").symlink_to(kept)
    (tree / "to-file").symlink_to(kept / "file")
    (tree / "below").mkdir()
    (tree / "below" / "up").symlink_to("../..")
    os.link(kept / "file", tree / "same-file")
    remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").read_text() == "mine"


def test_a_link_in_the_trees_place_goes_and_not_what_it_points_to(tree: Path) -> None:
    (tree / "file").touch()
    link = tree.with_name("link")
    link.symlink_to(tree)
    remove_tree(link)
    assert not link.is_symlink()
    assert (tree / "file").exists()


def test_pipes_sockets_and_odd_names_go(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tree / "sock"))
    for name in ("new\nline", "-rf", "* ?", "\udcff\udcfe", "n" * 255):
        (tree / name).touch()
    remove_tree(tree)
    assert not tree.exists()


def test_modes_and_owners_keep_nothing(tree: Path) -> None:
    shut = tree / "shut" / "shut too"
    shut.mkdir(parents=True)
    (shut / "file").touch()
    for place, mode in ((shut / "file", 0), (shut, 0), (tree / "shut", 0o1000), (tree, 0)):
        if os.geteuid() == 0:
            os.chown(place, 4242, 4242)
        place.chmod(mode)
    remove_tree(tree)
    assert not tree.exists()


def test_a_tree_of_any_depth_goes_with_few_descriptors(tree: Path) -> None:
    at = os.open(tree, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("file", os.O_CREAT, dir_fd=at))
    os.close(at)
    open_before = descriptors()
    remove_tree(tree, 3 * DEPTH)
    assert not tree.exists()
    assert descriptors() == open_before


def test_one_call_does_a_bounded_part_and_the_next_goes_on(tree: Path) -> None:
    for number in range(25):
        (tree / str(number)).touch()
    for left in (15, 5):
        with pytest.raises(Passing, match="more than is removed at once"):
            remove_tree(tree, 10)
        assert len(list(tree.iterdir())) == left
    remove_tree(tree, 10)
    assert not tree.exists()
