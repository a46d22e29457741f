"""What somebody hostile leaves behind is removed, and nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mayfly.edge.faults import Passing
from mayfly.edge.removal import IN_PLACE, remove_tree

THEIRS = 4242  # nobody's number here
LIST = "system.posix_acl_access"
# Everybody may do all there, but for root (acl(5)).
NOT_ROOT = struct.pack(
    "<I" + "HHI" * 5,
    *(
        2,
        0x01,
        7,
        2**32 - 1,
        0x02,
        0,
        0,
        0x04,
        7,
        2**32 - 1,
        0x10,
        7,
        2**32 - 1,
        0x20,
        7,
        2**32 - 1,
    ),
)
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


def with_powers(tree: Path, *powers: str) -> str:
    """Remove it with those of root's powers alone, as the unit does; what was refused."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("takes root and setpriv")
    bounds = ",".join(["-all", *(f"+{power}" for power in powers)])
    words = f"""
from pathlib import Path
from mayfly.edge.faults import Refused
from mayfly.edge.removal import remove_tree
try:
    remove_tree(Path({str(tree)!r}))
except Refused as refused:
    print(refused)
"""
    line = ["setpriv", f"--bounding-set={bounds}", "--inh-caps=-all", sys.executable, "-c", words]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def as_the_unit(tree: Path) -> None:
    assert with_powers(tree, "dac_read_search", "fowner") == ""


def shut_by_modes(place: Path, mode: int) -> None:
    if os.geteuid() == 0:
        os.chown(place, THEIRS, THEIRS)
    place.chmod(mode)


def shut_by_a_list(place: Path, mode: int) -> None:
    shut_by_modes(place, mode)
    if place.is_dir():
        try:
            os.setxattr(place, LIST, NOT_ROOT)
        except OSError as error:
            pytest.skip(f"no access lists here: {error.strerror}")


@pytest.mark.parametrize("remove", [remove_tree, as_the_unit])
@pytest.mark.parametrize("mode", [0, 0o700, 0o1777])
@pytest.mark.parametrize("shut", [shut_by_modes, shut_by_a_list])
def test_modes_owners_and_lists_keep_nothing(
    tree: Path, shut: Callable[[Path, int], None], mode: int, remove: Callable[[Path], None]
) -> None:
    below = tree / "one" / "two"
    below.mkdir(parents=True)
    for place in (below / "file", tree / "one" / "file", tree / "file"):
        place.touch()
        shut(place, mode)
    for place in (below, tree / "one", tree):
        shut(place, mode)
    remove(tree)
    assert not tree.exists()


def test_what_cannot_be_removed_keeps_nothing_else(tree: Path) -> None:
    stuck, deep = tree / "stuck", tree / "a" / "b" / "c"
    for place in (stuck, deep):
        place.mkdir(parents=True)
        (place / "file").touch()
    shut_by_modes(stuck, 0o755)
    refused = with_powers(tree, "dac_read_search")
    assert refused.startswith(f"cannot remove what is in {tree}: ")
    assert [one.name for one in tree.iterdir()] == ["stuck"]


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


@contextmanager
def mounted(place: Path, *words: str | Path) -> Iterator[None]:
    """What mount(8) puts there; skipped where it may not or cannot."""
    done = subprocess.run(["mount", *words, place], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"not to be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_what_cannot_be_moved_is_emptied_where_it_is(tmp_path: Path) -> None:
    """A disk on which a directory from below an overlay is not renamed."""
    below, place = tmp_path / "below", tmp_path / "place"
    with mounted(tmp_path, "-t", "tmpfs", "tmpfs"):
        for name in ("below", "place", "over", "work"):
            (tmp_path / name).mkdir()
        for deep in ("a/b/c", "a/d", "e/f/g/h"):
            (below / "tree" / deep).mkdir(parents=True)
            (below / "tree" / deep / "file").touch()
        layers = (
            f"lowerdir={below},upperdir={tmp_path}/over,workdir={tmp_path}/work,redirect_dir=off"
        )
        with mounted(place, "-t", "overlay", "overlay", "-o", layers):
            with pytest.raises(OSError, match="cross-device"):
                (place / "tree/a/b").rename(place / "tree/b")
            remove_tree(place / "tree")
            assert not (place / "tree").exists()


def test_a_quota_of_its_own_keeps_no_directory(tmp_path: Path) -> None:
    """Its owner may say of a directory that it takes no other that was made under another quota."""
    if shutil.which("mkfs.xfs") is None:
        pytest.skip("takes mkfs.xfs")
    disk, place = tmp_path / "disk", tmp_path / "place"
    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(400 << 20)
    subprocess.run(["mkfs.xfs", "-q", disk], check=True)
    with mounted(place, "-o", "loop", disk):
        tree = place / "tree"
        at = tree
        for _ in range(3 * IN_PLACE):  # deeper than what is emptied where it is
            at /= "d"
        at.mkdir(parents=True)
        subprocess.run(["xfs_io", "-c", "chproj 7", "-c", "chattr +P", tree], check=True)
        with pytest.raises(OSError, match="cross-device"):
            (tree / "d/d").rename(tree / "e")
        remove_tree(tree)
        assert not tree.exists()


def test_one_call_does_a_bounded_part_and_the_next_goes_on(tree: Path) -> None:
    for number in range(25):
        (tree / str(number)).touch()
    for left in (15, 5):
        with pytest.raises(Passing, match="more than is removed at once"):
            remove_tree(tree, 10)
        assert len(list(tree.iterdir())) == left
    remove_tree(tree, 10)
    assert not tree.exists()
