"""What a busy while took is given back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


HEAPS = """
import ctypes, threading
from mayfly.edge.free_memory import few_arenas
if {few}:
    few_arenas()
here = threading.Barrier(12)
def work():
    here.wait()
    blocks = [bytearray(60_000) for _ in range(50)]
    here.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.parametrize("few", [True, False])
def test_many_threads_share_few_heaps(few: bool) -> None:
    told = subprocess.check_output([sys.executable, "-c", HEAPS.format(few=few)], text=True)
    assert (told.count("<heap nr=") <= 2) is few
