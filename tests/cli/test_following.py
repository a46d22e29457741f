"""An output that is read again and again comes once: what an agent printed, and what Mayfly says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import pytest

from mayfly.cli.client import Client, Piece
from mayfly.cli.following import Follower
from mayfly.edge.output_kept import NOTE, OUT, Chunk
from mayfly.service.output_stream import Cursor, after, timestamp_of

FIRST, SECOND = Chunk(OUT, 1.0, b"first\n"), Chunk(OUT, 2.0, b"second\n")
TWIN = Chunk(OUT, 2.0, b"of the same moment\n")
GONE, CUT = Chunk(NOTE, 3.0, b"the beginning is gone"), Chunk(NOTE, 4.0, b"the end is missing")


class Kept:
    """What is kept of one agent, given out as the manager does."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.agent = "g1"

    def output(self, _: str, query: Mapping[str, int]) -> Iterator[Piece]:
        cursor = Cursor(query.get("mark", 0), query.get("count", 0))
        for chunk in after(iter(self.chunks), cursor):
            at = timestamp_of(chunk) if chunk.stream != NOTE else 0
            yield Piece(self.agent, chunk.stream, at, chunk.data)


@pytest.mark.parametrize(
    "chunks",
    [
        [CUT],
        [GONE, FIRST, SECOND],
        [FIRST, CUT],
        [FIRST, SECOND, TWIN, CUT],
        [FIRST, GONE, GONE, SECOND, CUT],
        [GONE, CUT],
    ],
)
def test_each_piece_comes_once_however_often_it_is_read(chunks: list[Chunk]) -> None:
    kept, had = Kept(), list[bytes]()
    follower = Follower(cast("Client", kept), "/output", lambda piece: had.append(piece.data))
    for end in range(len(chunks)):
        kept.chunks = chunks[: end + 1]
        assert follower.read(follow=True)
        assert not follower.read(follow=True)
        assert not follower.read(follow=False)
    assert had == [chunk.data for chunk in chunks]


def test_the_next_agent_of_a_job_has_its_own_account() -> None:
    kept, had = Kept(), list[bytes]()
    follower = Follower(cast("Client", kept), "/output", lambda piece: had.append(piece.data))
    for agent in ("g1", "g2"):
        kept.agent, kept.chunks = agent, [CUT]
        follower.read(follow=True)
        follower.read(follow=True)
    assert had == [CUT.data, CUT.data]
