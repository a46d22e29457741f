"""Results on the user's disk: a tar of a stranger's names writes nowhere but where the user said."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.cli import unpacking
from mayfly.cli.unpacking import Unpacked, unpack


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: object) -> bytes:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.mode = kind, len(data), 0o644
    for key, value in more.items():
        setattr(made, key, value)
    head = made.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return head + data + b"\0" * (-len(data) % 512)


TOP = entry("0", kind=tarfile.DIRTYPE)


def link(name: str, target: str) -> bytes:
    return entry(name, kind=tarfile.SYMTYPE, linkname=target)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder, with something outside of what is to be written."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("mine")
    return tmp_path


def unpacked(home: Path, *parts: bytes, most: int = 1 << 20) -> Unpacked:
    return unpack(iter((*parts, b"\0" * 1024)), {"0": home / "results"}, most)


def seen(home: Path) -> dict[str, str]:
    """All that is there, by path: what is in a file, or where a link leads."""
    found = {}
    for place in sorted(home.rglob("*")):
        name = str(place.relative_to(home))
        if place.is_symlink():
            found[name] = f"-> {place.readlink()}"
        elif place.is_file():
            found[name] = place.read_text()
    return found


def test_files_directories_and_links_among_them_are_written(home: Path) -> None:
    found = unpacked(
        home,
        TOP,
        entry("0/r.xml", b"<r/>"),
        entry("0/bin/run", b"#!", mode=0o6755),
        link("0/bin/link", "../r.xml"),
        link("0/here", "bin/run"),
        entry("0/same", kind=tarfile.LNKTYPE, linkname="0/r.xml"),
        entry("0/a\nb\udcff", b"odd"),
    )
    assert found == Unpacked(6)
    there = seen(home / "results")
    assert there.pop(os.fsdecode(b"a\nb\xff")) == "odd"
    assert there == {
        "r.xml": "<r/>",
        "bin/run": "#!",
        "bin/link": "-> ../r.xml",
        "here": "-> bin/run",
        "same": "<r/>",
    }
    assert (home / "results/bin/run").stat().st_mode & 0o7111 == 0o111
    assert not (home / "results/r.xml").stat().st_mode & 0o111


def test_a_single_file_is_written_under_the_name_that_the_user_gave(home: Path) -> None:
    assert unpack(iter((entry("0", b"x"), b"\0" * 1024)), {"0": home / "a/b"}, 10).files == 1
    assert (home / "a/b").read_text() == "x"


HOSTILE = {
    "up": [entry("0/../x", b"x")],
    "far up": [entry("0/a/../../../x", b"x")],
    "absolute": [entry("/etc/x", b"x")],
    "absolute below": [entry("0//etc/x", b"x")],
    "another number": [entry("1/x", b"x"), entry("1", b"x")],
    "no number": [entry("x", b"x")],
    "nothing": [entry("0/", b"x"), entry("0/.", b"x")],
    "link out": [link("0/l", "../outside/file")],
    "link to root": [link("0/l", "/etc/passwd")],
    "link up and down": [link("0/l", "a/../../outside")],
    "the place a link": [link("0", "outside")],
    "link and through": [link("0/l", "../outside"), entry("0/l/file", b"x")],
    "inner link and through": [entry("0/d", kind=tarfile.DIRTYPE), link("0/l", "d"),
                               entry("0/l/file", b"x")],
    "link via a deeper link": [link("0/d/e/s", "../.."), link("0/t", "d/e/s/../outside")],
    "device": [entry("0/dev", kind=tarfile.CHRTYPE, devmajor=1, devminor=5)],
    "pipe": [entry("0/pipe", kind=tarfile.FIFOTYPE)],
    "hard link out": [entry("0/h", kind=tarfile.LNKTYPE, linkname="../outside/file")],
    "hard link to root": [entry("0/h", kind=tarfile.LNKTYPE, linkname="/etc/passwd")],
    "hard link elsewhere": [entry("0/h", kind=tarfile.LNKTYPE, linkname="1/x")],
    "hard link to a link": [link("0/l", "x"), entry("0/h", kind=tarfile.LNKTYPE, linkname="0/l")],
    "too large": [entry("0/x", b"x" * 2000)],
    "a hook of git's": [entry("0/.git/hooks/post-checkout", b"#!", mode=0o755)],
    "another's git": [entry("0/sub/.GIT", b"gitdir: x")],
    "file over directory": [entry("0/d", kind=tarfile.DIRTYPE), entry("0/d/x", b"x"),
                            entry("0/d", b"x")],
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_leads_elsewhere_is_told_and_writes_nothing_there(home: Path, what: str) -> None:
    found = unpacked(home, TOP, entry("0/good", b"good"), *HOSTILE[what], most=1000)
    assert found.left_out, what
    assert (home / "results/good").read_text() == "good"
    assert (home / "outside/file").read_text() == "mine"
    assert {one.name for one in home.iterdir()} == {"outside", "results"}
    for place in home.rglob("*"):
        assert place.is_symlink() or place.is_file() or place.is_dir(), place
        assert not place.is_symlink() or place.resolve().is_relative_to(home / "results")
    assert not [one for one in home.rglob("*") if one.name.endswith(unpacking.NEW)]


def test_a_file_with_many_names_is_on_disk_once(home: Path) -> None:
    names = [entry(f"0/d/{number}", kind=tarfile.LNKTYPE, linkname="0/x") for number in range(1000)]
    again = entry("0/d/7", kind=tarfile.LNKTYPE, linkname="0/d/7")
    found = unpacked(home, TOP, entry("0/x", b"x" * 1000), *names, again, most=1000)
    assert found == Unpacked(1002)
    assert len(list((home / "results/d").iterdir())) == 1000
    assert {one.stat().st_ino for one in (home / "results").rglob("*") if one.is_file()} == {
        (home / "results/x").stat().st_ino
    }


def test_a_file_is_the_same_as_none_but_one_that_came_with_it(home: Path) -> None:
    (home / "results/d").mkdir(parents=True)
    (home / "results/mine").write_text("mine")
    found = unpacked(
        home,
        TOP,
        entry("0/h", kind=tarfile.LNKTYPE, linkname="0/mine"),
        entry("0/d/e/x", b"x"),
        link("0/d/e/x", "../../y"),
        entry("0/h", kind=tarfile.LNKTYPE, linkname="0/d/e/x"),
    )
    assert (found.files, len(found.left_out)) == (2, 2)
    assert not os.path.lexists(home / "results/h")


def test_every_name_that_a_disk_takes_is_written_beside_every_other(home: Path) -> None:
    names = {"y.mayfly-new": "first", "y": "second", "ä" * 127: "long", "x" * 255: "long, too"}
    entries = [entry(f"0/{name}", data.encode()) for name, data in names.items()]
    assert unpacked(home, TOP, *entries, link(f"0/{'ö' * 127}", "y")) == Unpacked(5)
    assert seen(home / "results") == names | {"ö" * 127: "-> y"}


def test_what_is_there_is_replaced_and_nothing_is_written_through_a_link(home: Path) -> None:
    (home / "results").mkdir()
    (home / "results/r").symlink_to("../outside/file")
    (home / "results/old").write_text("old")
    (home / "results/sub").symlink_to("../outside")
    found = unpacked(
        home, TOP, entry("0/r", b"new"), entry("0/old", b"new"), entry("0/sub/file", b"new")
    )
    assert (found.files, len(found.left_out)) == (2, 1)
    assert seen(home) == {
        "outside/file": "mine",
        "results/old": "new",
        "results/r": "new",
        "results/sub": "-> ../outside",
    }


def test_a_place_that_the_user_made_a_link_is_the_user_s_to_choose(home: Path) -> None:
    (home / "results").symlink_to("outside")
    assert unpacked(home, TOP, entry("0/new", b"x")).files == 1
    assert (home / "outside/new").read_text() == "x"


def test_a_name_is_told_without_what_a_terminal_obeys(home: Path) -> None:
    (told,) = unpacked(home, TOP, link("0/\x1b[2J\udcffl", "/")).left_out
    assert told.isprintable()


def test_names_without_end_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "ENTRIES_MAX", 10)

    def endless() -> Iterator[bytes]:
        number = 0
        while True:
            yield entry(f"0/{number}", b"x")
            number += 1

    found = unpack(endless(), {"0": home / "results"}, 1 << 20)
    assert found == Unpacked(10, ["the rest: it is more than was told"])


def header(size: int, kind: bytes) -> bytes:
    """An entry's head that says so many bytes follow, which do not."""
    made = tarfile.TarInfo("././@LongLink")
    made.type, made.size = kind, size
    return made.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "bad",
    [
        header(8 << 30, tarfile.GNUTYPE_LONGNAME),
        header(8 << 30, tarfile.GNUTYPE_LONGLINK),
        header(8 << 30, tarfile.XHDTYPE),
        header(8 << 30, tarfile.XGLTYPE),
        header(1, tarfile.GNUTYPE_SPARSE),
        header(-(8 << 30), tarfile.REGTYPE),
    ],
)
def test_a_head_without_end_is_not_read_into_memory_and_what_came_before_stays(
    home: Path, bad: bytes
) -> None:
    read = 0

    def pieces() -> Iterator[bytes]:
        nonlocal read
        yield from (TOP, entry("0/first", b"kept"), bad)
        while read < 64 << 20:
            read += 1 << 20
            yield b"\0" * (1 << 20)

    with pytest.raises(tarfile.TarError):
        unpack(pieces(), {"0": home / "results"}, 1 << 40)
    assert read <= 2 << 20
    assert (home / "results/first").read_text() == "kept"


def test_what_is_no_tar_or_ends_early_is_an_error(home: Path) -> None:
    for data in (b"", b"no tar at all" * 100, entry("0/x", b"x" * 5000)[:2000]):
        with pytest.raises(tarfile.TarError):
            unpack(iter((data,)), {"0": home / "results"}, 1 << 20)
    assert not [one for one in home.rglob("*") if one.name.endswith(unpacking.NEW)]
    assert io.DEFAULT_BUFFER_SIZE
