"""What all kept outputs may take of the disk, however small each of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mayfly.core.model import Generation
from mayfly.edge.output_kept import OUT, KeptFile, own_frame
from mayfly.edge.output_store import BLOCK, OutputStore

if TYPE_CHECKING:
    from pathlib import Path

ROOM = 10


def printed(directory: Path, first: int, agents: int, size: int = 0) -> None:
    """Agents came and went, each of which printed so much."""
    failures: list[BaseException] = []
    store = OutputStore(directory, ROOM * BLOCK, lambda _, error: failures.append(error))
    store.start()
    for number in range(first, first + agents):
        generation = Generation(f"g{number:03}")
        file = KeptFile(store.path(generation), 1_000_000)
        store.open(generation, file, lambda _: None, lambda: None)
        if size:
            store.write(generation, file, own_frame(OUT, "x" * size), lambda _: None)
        store.end(generation, file, lambda: None)
    store.close()
    assert failures == []


def test_many_small_outputs_take_no_more_of_the_disk_than_a_few_large_ones(tmp_path: Path) -> None:
    printed(tmp_path, 0, 3 * ROOM)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"g{number:03}.log" for number in range(2 * ROOM, 3 * ROOM)
    ]
    printed(tmp_path, 3 * ROOM, 1)  # what an earlier manager kept counts as much
    assert len(list(tmp_path.iterdir())) == ROOM


def test_large_outputs_push_out_their_own_kind_and_no_older_small_one(tmp_path: Path) -> None:
    printed(tmp_path, 0, 2)
    printed(tmp_path, 2, 5 * ROOM, size=2 * BLOCK)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept[:2] == ["g000.log", "g001.log"]
    newest = 2 + 5 * ROOM
    assert kept[2:] == [f"g{number:03}.log" for number in range(newest - len(kept[2:]), newest)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= ROOM * BLOCK
    # Also what an earlier manager kept; and small ones push out each other once they take most.
    printed(tmp_path, newest, 1, size=2 * BLOCK)
    assert (tmp_path / "g000.log").exists()
    printed(tmp_path, newest + 1, 3 * ROOM)
    assert not (tmp_path / "g000.log").exists()
    assert list(tmp_path.glob(f"g{newest:03}.log"))
