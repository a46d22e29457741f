"""Pieces of bytes, gathered and as a file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mayfly.edge.pieces import PIECE, Pieces, gathered


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_all_bytes_come_in_their_order(pieces: list[bytes], size: int) -> None:
    assert b"".join(gathered(pieces)) == b"".join(pieces)
    file, read = Pieces(iter(pieces)), []
    while part := file.read(size):
        read.append(part)
    assert b"".join(read) == b"".join(pieces)
    assert all(len(part) == size for part in read[:-1])


def test_small_ones_come_together() -> None:
    found = list(gathered([b"x" * 1000] * 1000))
    assert len(found) == 1_000_000 // PIECE + 1
