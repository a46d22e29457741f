"""The store of what people send: by digest, for each user apart, bounded, never thrown away while needed."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.core.tree_manifest import TreeEntry, digest_of, manifest
from mayfly.edge import workspaces as store
from mayfly.edge.faults import Passing, Refused, Unbringable
from mayfly.edge.workspaces import BLOCK, GRACE, WEEK, Bounds, Busy, Lacking, TooMuch, Workspaces

ANN, BOB = 1000, 1001
NOW = 1_800_000_000.0


class World:
    """A store, and what jobs need of it."""

    def __init__(self, home: Path, **bounds: int) -> None:
        self.now = NOW
        self.needed: list[tuple[int, str]] = []
        self.looks = 0  # how often it was looked at what jobs need
        given = {"tree": 1 << 20, "user": 1 << 24, "total": 1 << 25} | bounds
        self.home = home
        self.bounds = Bounds(**given)
        self.store = self.open()

    def open(self) -> Workspaces:
        """What another run of the manager has."""
        return Workspaces(self.home, self.bounds, self.held, lambda: self.now)

    def held(self) -> list[tuple[int, str]]:
        self.looks += 1
        return list(self.needed)

    def keep(self, data: bytes, uid: int = ANN) -> str:
        return self.store.keep(uid, iter((data,)), len(data))

    def tree(self, files: dict[str, bytes], uid: int = ANN) -> str:
        entries = [
            TreeEntry(name, "file", 0o644, len(data), self.keep(data, uid))
            for name, data in files.items()
        ]
        listed = self.keep(b"".join(manifest(entries)), uid)
        return self.store.register(uid, listed).digest


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., World]:
    return lambda **bounds: World(tmp_path / "kept", **bounds)


def test_a_tree_is_whole_once_its_content_is_there(make: Callable[..., World]) -> None:
    world = make()
    entry = TreeEntry("a", "file", 0o644, 1, digest_of(b"x"))
    listed = world.keep(b"".join(manifest([entry])))
    assert world.store.lacking(ANN, [entry.digest, listed, entry.digest]) == [entry.digest]
    with pytest.raises(Lacking):
        world.store.register(ANN, listed)
    assert not world.store.has_tree(ANN, listed)
    world.keep(b"x")
    assert world.store.register(ANN, listed) == store.TreeFacts(listed, 1, 1)
    assert world.store.has_tree(ANN, listed)
    assert list(world.store.entries(ANN, listed)) == [entry]
    assert b"".join(world.store.content(ANN, entry.digest, 1)) == b"x"


def test_nobody_learns_or_gets_what_another_has_sent(make: Callable[..., World]) -> None:
    world = make()
    tree = world.tree({"secret": b"hers"})
    assert world.store.lacking(BOB, [digest_of(b"hers"), tree]) == [digest_of(b"hers"), tree]
    assert world.store.unsent(BOB, tree, digest_of(b"hers")) == (tree, digest_of(b"hers"))
    with pytest.raises(Lacking):
        world.store.register(BOB, tree)
    with pytest.raises(Refused):
        list(world.store.content(BOB, digest_of(b"hers")))
    for place in (world.home, *world.home.rglob("*")):
        assert not stat.S_IMODE(place.stat().st_mode) & 0o077, place


def test_what_no_digest_is_names_no_file(make: Callable[..., World]) -> None:
    world = make()
    for odd in ("../../etc/passwd", "", "/etc/passwd", "0" * 63, f"{'0' * 62}/."):
        assert world.store.unsent(ANN, odd, odd) == (odd, odd)


def test_one_tree_has_a_bound_by_what_it_says_and_by_what_comes(make: Callable[..., World]) -> None:
    world = make(tree=1000)
    with pytest.raises(TooMuch, match=r"host\.workspace_max"):
        world.store.keep(ANN, iter(()), 1001)
    digest = world.keep(b"x" * 400)
    entries = [TreeEntry(name, "file", 0o644, 400, digest) for name in "abc"]
    with pytest.raises(TooMuch, match=r"host\.workspace_max"):
        world.store.register(ANN, world.keep(b"".join(manifest(entries))))


def test_what_ends_early_or_claims_another_size_is_not_kept(make: Callable[..., World]) -> None:
    world = make()
    with pytest.raises(Refused, match="before it was whole"):
        world.store.keep(ANN, iter((b"x",)), 2)
    assert [one for one in world.home.rglob("*") if one.is_file()] == []
    entry = TreeEntry("a", "file", 0o644, 7, world.keep(b"x"))
    with pytest.raises(Lacking):
        world.store.register(ANN, world.keep(b"".join(manifest([entry]))))


def test_damage_on_the_disk_is_seen_and_sent_again(make: Callable[..., World]) -> None:
    world = make()
    digest = world.keep(b"good")
    place = next(one for one in world.home.rglob(digest))
    place.write_bytes(b"evil")
    with pytest.raises(Refused, match="send it again"):
        list(world.store.content(ANN, digest, 4))
    assert world.store.lacking(ANN, [digest]) == [digest]


def test_the_oldest_goes_where_room_is_needed_and_what_jobs_need_stays(
    make: Callable[..., World],
) -> None:
    world = make(user=6 * BLOCK)
    old = world.tree({"a": b"old"})
    world.now += 10
    needed = world.tree({"a": b"needed"})
    world.now += GRACE + 100
    world.needed = [(ANN, needed)]
    new = world.tree({"a": b"new"})
    world.now += 1
    newer = world.tree({"a": b"newer"})
    assert not world.store.has_tree(ANN, old)
    assert [world.store.has_tree(ANN, one) for one in (needed, new, newer)] == [True] * 3
    assert [entry.path for entry in world.store.entries(ANN, needed)] == ["a"]
    with pytest.raises(TooMuch, match=r"host\.workspaces_per_user"):
        world.tree({"a": b"one more"})


def test_one_user_s_flood_leaves_what_another_needs(make: Callable[..., World]) -> None:
    world = make(user=8 * BLOCK, total=10 * BLOCK)
    hers = world.tree({"a": b"hers"}, ANN)
    world.needed = [(ANN, hers)]
    world.now += GRACE + 100
    for number in range(40):
        world.keep(b"%d" % number, BOB)
        world.now += GRACE
    assert world.store.has_tree(ANN, hers)
    kept = [one for one in (world.home / str(BOB)).rglob("*") if one.is_file()]
    assert len(kept) <= 8


def test_a_later_manager_counts_what_is_there_and_removes_what_was_not_finished(
    make: Callable[..., World],
) -> None:
    world = make(user=2 * BLOCK)
    world.keep(b"a")
    (world.home / str(ANN) / "new-half").write_bytes(b"x" * 100)
    world.store = world.open()
    world.keep(b"b")
    assert not (world.home / str(ANN) / "new-half").exists()
    with pytest.raises(TooMuch):
        world.keep(b"c")


def test_what_nobody_used_for_a_week_goes(make: Callable[..., World]) -> None:
    world = make()
    kept, gone = world.tree({"a": b"kept"}), world.tree({"a": b"gone"})
    world.needed = [(ANN, kept)]
    world.now += WEEK + 1
    world.store.throw_old_away()
    assert world.store.has_tree(ANN, kept)
    assert not world.store.has_tree(ANN, gone)
    assert world.store.lacking(ANN, [digest_of(b"gone")]) == [digest_of(b"gone")]


def test_a_tree_whose_content_has_gone_is_none_however_late_it_was_asked_for(
    make: Callable[..., World],
) -> None:
    world = make(user=3 * BLOCK)
    old = world.tree({"a": b"old"})
    world.now += GRACE + 100
    assert world.store.has_tree(ANN, old)
    for number in range(3):  # they take the room of the old one
        world.keep(b"%d" % number)
    assert world.store.lacking(ANN, [digest_of(b"old")]) == [digest_of(b"old")]
    assert not world.store.has_tree(ANN, old)


def test_while_room_is_made_of_one_s_own_others_are_served(make: Callable[..., World]) -> None:
    world = make(user=2 * BLOCK)
    world.keep(b"1")
    world.keep(b"2")
    world.now += GRACE + 100
    served: list[str] = []

    def slow() -> list[tuple[int, str]]:
        """What jobs need, which takes long to be known."""
        if not served:
            served.append("")
            other = threading.Thread(target=lambda: served.append(world.keep(b"his", BOB)))
            other.start()
            other.join(20)
        return []

    world.store = Workspaces(world.home, world.bounds, slow, lambda: world.now)
    world.store.keep(ANN, iter((b"3",)), 1)
    assert served == ["", digest_of(b"his")]


def test_of_whose_jobs_need_more_than_is_read_nothing_is_thrown_away(
    make: Callable[..., World],
) -> None:
    world = make(user=3 * BLOCK, total=5 * BLOCK, entries=3)
    digest = world.keep(b"x")
    many = manifest([TreeEntry(name, "file", 0o644, 1, digest) for name in "abcd"])
    listed = world.keep(b"".join(many))
    world.needed = [(ANN, world.store.register(ANN, listed).digest)]
    world.keep(b"unused")
    world.keep(b"his", BOB)
    world.keep(b"his other", BOB)
    world.now += WEEK + 1
    with pytest.raises(TooMuch, match=r"host\.workspaces_per_user"):
        world.keep(b"y")
    assert world.store.lacking(ANN, [digest, digest_of(b"unused")]) == []
    # All together have no more room either: his goes, since all that his jobs need is known.
    world.keep(b"new", BOB)
    assert world.store.lacking(BOB, [digest_of(b"his")]) == [digest_of(b"his")]


def test_room_is_made_by_a_tenth_at_once_however_little_is_sent(make: Callable[..., World]) -> None:
    world = make(user=100 * BLOCK)
    for number in range(100):
        world.keep(b"%d" % number)
        world.now += 1
    world.now += GRACE + 100
    oldest = [digest_of(b"%d" % number) for number in range(11)]
    for number in range(10):
        world.keep(b"new %d" % number)
    assert world.looks == 1
    assert world.store.lacking(ANN, oldest) == oldest[:10]


def test_a_full_store_of_what_is_needed_is_looked_at_now_and_then_only(
    make: Callable[..., World],
) -> None:
    world = make(user=2 * BLOCK)
    world.keep(b"1")
    world.keep(b"2")
    for _ in range(5):
        with pytest.raises(TooMuch, match=r"host\.workspaces_per_user"):
            world.keep(b"3")
    assert world.looks == 1
    world.now += GRACE + 1
    world.keep(b"3")
    assert world.looks == 2


def test_for_a_body_whose_bytes_have_no_room_nothing_of_it_is_read(
    make: Callable[..., World],
) -> None:
    world = make(user=4 * BLOCK)
    body = iter([(1, (b"x",))])
    with pytest.raises(TooMuch, match=r"host\.workspaces_per_user"):
        world.store.keep_all(ANN, body, 5 * BLOCK)
    assert list(body) == [(1, (b"x",))]
    contents = [(1, (b"%d" % number,)) for number in range(4)]
    world.store.keep_all(ANN, iter(contents), 4)
    with pytest.raises(TooMuch):
        world.keep(b"one more")


def test_what_is_damaged_gives_its_room_back(make: Callable[..., World]) -> None:
    world = make(user=2 * BLOCK)
    world.keep(b"other")
    for _ in range(3):
        digest = world.keep(b"good")
        next(one for one in world.home.rglob(digest)).write_bytes(b"evil")
        with pytest.raises(Refused, match="send it again"):
            list(world.store.content(ANN, digest, 4))
    world.keep(b"good")
    with pytest.raises(TooMuch):
        world.keep(b"third")


def test_what_several_send_at_once_counts_once(make: Callable[..., World]) -> None:
    rounds = 50
    world = make(user=(rounds + 8) * BLOCK)
    together = threading.Barrier(8, timeout=20)

    def pieces(number: int) -> Iterator[bytes]:
        yield b"%d" % number
        together.wait()  # it is here of nobody before all have come

    def sends() -> None:
        for number in range(10, 10 + rounds):
            world.store.keep(ANN, pieces(number), 2)

    those = [threading.Thread(target=sends) for _ in range(8)]
    for one in those:
        one.start()
    for one in those:
        one.join()
    for number in range(100, 108):
        world.keep(b"%d" % number)
    with pytest.raises(TooMuch):
        world.keep(b"one more")


def test_who_waits_long_while_room_is_made_is_told_so(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    world = make(user=2 * BLOCK)
    world.keep(b"1")
    world.keep(b"2")
    world.now += GRACE + 100
    told: list[str] = []

    def slow() -> list[tuple[int, str]]:
        """What jobs need, while somebody else sends too."""

        def other() -> None:
            try:
                world.keep(b"4")
            except Busy as busy:
                told.append(str(busy))

        if not told:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join(20)
        return []

    world.store = Workspaces(world.home, world.bounds, slow, lambda: world.now)
    world.keep(b"3")
    assert told == ["room is being made for what others send: send it again"]


def test_what_cannot_be_read_is_the_disks_failure_and_what_is_not_here_is_its_jobs(
    make: Callable[..., World],
) -> None:
    world = make()
    digest = world.keep(b"input")
    place = next(one for one in world.home.rglob(digest))
    place.unlink()
    with pytest.raises(Unbringable, match="not here any more"):
        list(world.store.content(ANN, digest))
    place.mkdir()  # as little a file as one of a disk that is broken
    with pytest.raises(Passing, match="cannot be read on this disk"):
        list(world.store.content(ANN, digest))
