"""What all kept outputs may take of the disk, however small each of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mayfly.core.model import Generation
from mayfly.edge.output_kept import KeptFile
from mayfly.edge.output_store import BLOCK, OutputStore

if TYPE_CHECKING:
    from pathlib import Path

ROOM = 10


def printed_nothing(directory: Path, first: int, agents: int) -> None:
    """Agents came and went."""
    failures: list[BaseException] = []
    store = OutputStore(directory, ROOM * BLOCK, lambda _, error: failures.append(error))
    store.start()
    for number in range(first, first + agents):
        generation = Generation(f"g{number:03}")
        file = KeptFile(store.path(generation), 1_000_000)
        store.open(generation, file, lambda _: None, lambda: None)
        store.end(generation, file, lambda: None)
    store.close()
    assert failures == []


def test_many_small_outputs_take_no_more_of_the_disk_than_a_few_large_ones(tmp_path: Path) -> None:
    printed_nothing(tmp_path, 0, 3 * ROOM)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"g{number:03}.log" for number in range(2 * ROOM, 3 * ROOM)
    ]
    printed_nothing(tmp_path, 3 * ROOM, 1)  # what an earlier manager kept counts as much
    assert len(list(tmp_path.iterdir())) == ROOM
