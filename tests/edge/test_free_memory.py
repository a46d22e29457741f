"""What a busy while took is given back."""

from __future__ import annotations

from pathlib import Path

from mayfly.edge.free_memory import give_back

MIB = 1 << 20


def resident() -> int:
    """Bytes of this process (proc(5), ``statm``)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_pages_that_are_free_in_the_middle_go_back_to_the_kernel() -> None:
    blocks = [bytearray(60_000) for _ in range(1000)]  # too small for a mapping of their own each
    kept, blocks = blocks[-1], blocks[:-1]  # and the last keeps the heap from shrinking by itself
    blocks.clear()
    before = resident()
    give_back()
    assert before - resident() > 30 * MIB
    assert len(kept) == 60_000
