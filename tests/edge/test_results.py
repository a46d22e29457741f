"""What is kept of ended containers: whatever a job made, it is bounded, plain, and what was asked for."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import Generation, Results
from mayfly.edge import results as module
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.results import ResultStore, Taken

AGENT = Generation("0123456789abc")
NOW = 1_800_000_000.0


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: Any) -> bytes:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.uid, made.gid = kind, len(data), 1000, 1000
    made.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(made, key, value)
    head = made.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return head + data + b"\0" * (-len(data) % 512)


ROOT = entry("results", kind=tarfile.DIRTYPE)
WORKSPACE = entry("workspace", kind=tarfile.DIRTYPE)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results", 1 << 20, 4 << 20, lambda: NOW)


def taking(*parts: bytes, mounted: tuple[str, ...] = ()) -> module.Take:
    @contextmanager
    def take(path: str) -> Iterator[Taken]:
        yield Taken(path, iter((*parts, b"\0" * 1024)), mounted)

    return take


def _refused() -> Iterator[Taken]:
    raise Refused("there is no such file or directory")


def kept(store: ResultStore) -> dict[str, tarfile.TarInfo]:
    file = store.open(AGENT)
    assert file is not None
    with (
        file,
        tarfile.open(fileobj=file, encoding="utf-8", errors="surrogateescape") as archive,
    ):
        return {one.name: one for one in archive}


def test_nothing_comes_but_what_the_job_may_read_itself(store: ResultStore) -> None:
    directory = tarfile.DIRTYPE
    theirs: dict[str, Any] = {"uid": 33, "gid": 33}
    grouped: dict[str, Any] = {"uid": 33, "gid": 1000}
    ways = {
        "/workspace": [WORKSPACE],
        "/root": [
            entry("root", kind=directory, uid=0, gid=0, mode=0o700),
            entry("root/pip.conf", b"token", uid=0, gid=0),
        ],
        "/srv": [
            entry("srv", kind=directory, uid=0, gid=0),
            entry("srv/a", kind=directory, mode=0o711, **theirs),
            entry("srv/a/inner", kind=directory, **theirs),
            entry("srv/a/inner/x", b"x", **theirs),
            entry("srv/a.txt", b"for all", **theirs),
            entry("srv/b", b"secret", mode=0o600, **theirs),
            entry("srv/c", b"for the group", mode=0o640, **grouped),
            entry("srv/d", b"not for the group", mode=0o604, **grouped),
            entry("srv/e", b"own", mode=0o600),
            entry("srv/f", b"of a group", mode=0o640, **theirs),
            entry("srv/g", kind=directory, mode=0o700),
            entry("srv/g/own", b"own", mode=0o400),
        ],
    }
    found = store.keep(AGENT, ("/root", "/srv"), lambda path: taking(*ways[path])(path))
    assert set(kept(store)) == {"1", "1/a.txt", "1/c", "1/e", "1/g", "1/g/own"}
    assert found.left_out == ("root, srv/a, srv/b and 2 more: it is not for the job to read",)


@pytest.mark.parametrize(("uid", "mode", "comes"), [(1000, 0o700, True), (33, 0o700, False),
                                                   (33, 0o711, True), (0, 0o700, False)])  # fmt: skip
def test_a_home_that_is_not_the_job_s_to_enter_is_not_entered_for_it(
    store: ResultStore, uid: int, mode: int, comes: bool
) -> None:
    ways = {
        "/workspace": [WORKSPACE],
        "/home/ann": [entry("ann", kind=tarfile.DIRTYPE, uid=uid, gid=uid, mode=mode)],
        "/home/ann/x": [entry("x", b"x", uid=uid, gid=uid)],
    }
    found = store.keep(AGENT, ("/home/ann/x",), lambda path: taking(*ways[path])(path))
    assert (set(kept(store)) == {"0"}) is comes
    told = "/home/ann/x: /home/ann is not for the job to enter"
    assert found.left_out == (() if comes else (told,))


def test_of_a_job_that_nobody_knows_comes_what_is_for_everybody(store: ResultStore) -> None:
    @contextmanager
    def nothing(_: str) -> Iterator[Taken]:
        yield from _refused()

    ways = {
        "/workspace": nothing,
        "/a": taking(entry("a", b"a")),
        "/b": taking(entry("b", b"b", mode=0o600)),
    }
    store.keep(AGENT, ("/a", "/b"), lambda path: ways[path](path))
    assert set(kept(store)) == {"0"}


def test_what_was_asked_for_is_kept_by_the_number_of_its_path(store: ResultStore) -> None:
    found = store.keep(
        AGENT,
        ("results/", "/tmp/log"),
        lambda path: {
            "/workspace": taking(WORKSPACE),
            "/workspace/results": taking(ROOT, entry("results/r.xml", b"<r/>")),
            "/tmp/log": taking(entry("log", b"line")),
        }[path](path),
    )
    assert found == Results(files=2, size=8)
    assert set(kept(store)) == {"0", "0/r.xml", "1"}


HOSTILE = {
    "../up": entry("../up", b"x"),
    "up": entry("results/../../up", b"x"),
    "absolute": entry("/etc/cron.d/x", b"x"),
    "beside": entry("results2/x", b"x"),
    "device": entry("results/dev", kind=tarfile.CHRTYPE, devmajor=1, devminor=1),
    "block": entry("results/blk", kind=tarfile.BLKTYPE, devmajor=8),
    "pipe": entry("results/fifo", kind=tarfile.FIFOTYPE),
    "hard link": entry("results/hard", kind=tarfile.LNKTYPE, linkname="/etc/shadow"),
    "root's": entry("results/secret", b"x", uid=0, mode=0o600),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_odd_is_left_out_and_told_and_the_rest_comes(store: ResultStore, what: str) -> None:
    take = taking(ROOT, HOSTILE[what], entry("results/good", b"good"))
    found = store.keep(AGENT, ("results",), take)
    assert "0/good" in kept(store)
    assert (found.files, len(found.left_out)) == ((1, 1) if what != "up" else (2, 0))
    for name, one in kept(store).items():
        assert name.split("/")[0] == "0"
        assert one.isreg() or one.isdir()


@pytest.mark.parametrize(
    ("one", "mounted"),
    [
        (entry("results/fifo", kind=tarfile.FIFOTYPE), ()),
        (entry("results/data/x"), ("/workspace/results/data",)),
    ],
    ids=["left out", "mounted"],
)
def test_what_is_passed_over_is_not_looked_at_without_end(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch, one: bytes, mounted: tuple[str, ...]
) -> None:
    monkeypatch.setattr(module, "SEEN_MAX", 1000)
    given: list[bytes] = []

    def endless() -> Iterator[bytes]:
        yield from (ROOT, entry("results/good", b"good"))
        while len(given) < 100_000:
            given.append(one)
            yield one

    @contextmanager
    def take(_: str) -> Iterator[Taken]:
        yield Taken("/workspace/results", endless(), mounted)

    found = store.keep(AGENT, ("results",), take)
    assert "results: it is more than is brought back, what came first is there" in found.left_out
    assert "0/good" in kept(store)
    assert len(given) < 10_000


def test_permissions_are_all_that_is_kept_of_a_mode_and_owners_are_not(store: ResultStore) -> None:
    odd = "results/a\nb\x1b[2J\udcff"
    store.keep(
        AGENT,
        ("results",),
        taking(
            entry("results", kind=tarfile.DIRTYPE, mode=0o2777),
            entry(odd, b"#!", mode=0o6755),
            entry("results/same", kind=tarfile.LNKTYPE, linkname=odd),
            entry("results/link", kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
        ),
    )
    found = kept(store)
    assert found["0"].mode == 0o777
    program = found["0/a\nb\x1b[2J\udcff"]
    assert (program.mode, program.uid, program.uname) == (0o755, 0, "")
    assert found["0/same"].linkname == program.name
    assert found["0/link"].linkname == "/etc/passwd"  # which the client does not write


def test_more_than_may_be_kept_ends_it_and_what_came_first_is_there(store: ResultStore) -> None:
    giant = tarfile.TarInfo("results/sparse")
    giant.size, giant.uid = 1 << 40, 1000
    read = 0

    @contextmanager
    def take(path: str) -> Iterator[Taken]:
        def endless() -> Iterator[bytes]:
            nonlocal read
            yield ROOT + entry("results/first", b"first") + giant.tobuf(tarfile.GNU_FORMAT)
            while True:
                read += 1 << 16
                yield b"\0" * (1 << 16)

        yield Taken(path, endless())

    found = store.keep(AGENT, ("results",), take)
    assert found.files == 1
    assert found.left_out == ("results: it is more than is brought back, what came first is there",)
    assert set(kept(store)) == {"0", "0/first"}
    assert read < 1 << 21


def test_a_million_names_end_it_too(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILES_MAX", 1000)

    @contextmanager
    def take(path: str) -> Iterator[Taken]:
        names = (entry(f"results/{number}", kind=tarfile.DIRTYPE) for number in range(10**6))
        yield Taken(path, iter((ROOT, *[next(names) for _ in range(2000)])))

    found = store.keep(AGENT, ("results",), take)
    assert len(found.left_out) == 1
    assert len(kept(store)) == 1000


def test_many_odd_names_are_told_in_few_words(store: ResultStore) -> None:
    pipes = [entry(f"results/p{number}", kind=tarfile.FIFOTYPE) for number in range(5000)]
    (told,) = store.keep(AGENT, ("results",), taking(ROOT, *pipes)).left_out
    assert told == "results/p0, results/p1, results/p2 and 4997 more: no file, link or directory"


def test_what_is_mounted_there_is_no_part_of_it(store: ResultStore) -> None:
    take = taking(
        ROOT,
        entry("results/data", kind=tarfile.DIRTYPE),
        entry("results/data/private", b"the host's"),
        entry("results/own", b"own"),
        mounted=("/workspace/results/data",),
    )
    found = store.keep(AGENT, ("results",), take)
    assert set(kept(store)) == {"0", "0/own"}
    assert found.left_out == (
        "results: /workspace/results/data is mounted there, and is no part of it",
    )


def test_what_is_not_there_or_no_tar_is_told_and_the_others_come(store: ResultStore) -> None:
    @contextmanager
    def missing(_: str) -> Iterator[Taken]:
        yield from _refused()

    @contextmanager
    def broken(path: str) -> Iterator[Taken]:
        yield Taken(path, iter((b"no tar" * 1000,)))

    ways: dict[str, Callable[[str], AbstractContextManager[Taken]]] = {
        "/workspace": taking(WORKSPACE),
        "/a": missing,
        "/b": broken,
        "/c": taking(entry("c", b"c")),
    }
    found = store.keep(AGENT, ("/a", "/b", "/c"), lambda path: ways[path](path))
    assert set(kept(store)) == {"2"}
    assert found.left_out[0] == "/a: there is no such file or directory"
    assert found.left_out[1].startswith("/b: ")


def test_an_engine_that_fails_midway_leaves_nothing_and_it_is_tried_again(
    store: ResultStore, tmp_path: Path
) -> None:
    @contextmanager
    def take(path: str) -> Iterator[Taken]:
        def pieces() -> Iterator[bytes]:
            yield ROOT
            raise Passing("the Engine went away")

        yield Taken(path, pieces())

    with pytest.raises(Passing, match="went away"):
        store.keep(AGENT, ("results",), take)
    assert store.open(AGENT) is None
    assert list((tmp_path / "results").iterdir()) == []
    store.keep(AGENT, ("results",), taking(ROOT))
    store.keep(AGENT, ("results",), taking(ROOT, entry("results/again", b"x")))
    assert "0/again" in kept(store)


def large(store: ResultStore, number: int) -> Generation:
    """400 kB of an agent; which."""
    agent = Generation(f"{number:013}")
    store.keep(agent, ("results",), taking(ROOT, entry("results/x", b"x" * 400_000)))
    return agent


def names(place: Path) -> list[str]:
    return sorted(one.name.removesuffix(".tar") for one in (place / "results").iterdir())


def test_the_oldest_of_whoever_has_most_goes_where_there_are_too_many(tmp_path: Path) -> None:
    moments = count(NOW)
    store = ResultStore(
        *(tmp_path / "results", 1 << 20, 2_100_000, lambda: next(moments)),
        whose=lambda agent: 1000 if int(agent) < 2 else 1001,
    )
    kept = [large(store, number) for number in range(10)]
    assert names(tmp_path) == [*kept[:2], *kept[-3:]]


def test_a_manager_that_begins_counts_what_is_there(tmp_path: Path) -> None:
    moments = count(NOW)
    before = ResultStore(tmp_path / "results", 1 << 20, 1 << 30, lambda: next(moments))
    for number in range(3):
        large(before, number)
    store = ResultStore(tmp_path / "results", 1 << 20, 1_300_000, lambda: NOW + 9)
    latest = large(store, 3)
    assert names(tmp_path) == [f"{1:013}", f"{2:013}", latest]


def test_what_is_two_weeks_old_goes_though_nothing_is_taken(tmp_path: Path) -> None:
    now = [NOW]
    store = ResultStore(tmp_path / "results", 1 << 20, 1_000_000, lambda: now[0])
    ages = {f"{1:013}.tar": 15 * 86400, f"{2:013}.tar": 13 * 86400, "new-a": 7200, "new-b": 60}
    (tmp_path / "results").mkdir()
    for name, age in ages.items():
        place = tmp_path / "results" / name
        place.write_bytes(b"x" * 400_000)
        os.utime(place, (NOW - age, NOW - age))
    store.throw_old_away()
    assert names(tmp_path) == [f"{2:013}", "new-b"]
    kept = [large(store, 3), large(store, 4)]
    assert names(tmp_path) == [*kept, "new-b"]  # which somebody is writing
    now[0] += 15 * 86400
    store.throw_old_away()
    assert not set(names(tmp_path)) & {f"{2:013}", "new-b"}


def test_only_root_may_read_it(store: ResultStore, tmp_path: Path) -> None:
    store.keep(AGENT, ("results",), taking(ROOT))
    assert (tmp_path / "results").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / f"results/{AGENT}.tar").stat().st_mode & 0o777 == 0o600
    assert isinstance(store.open(AGENT), io.BufferedReader)
