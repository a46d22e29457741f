"""Memory that nobody uses any more, given back to the kernel: a busy while leaves some with the C library.

Both calls are glibc's own: another library is not asked.
"""

from __future__ import annotations

import ctypes

ARENA_MAX = -8  # malloc.h


def give_back() -> None:
    """Have the C library give back whole free pages (malloc_trim(3)); a millisecond or two."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def few_arenas() -> None:
    """Have all threads share two heaps from now on (M_ARENA_MAX of mallopt(3)): by itself the C library makes
    eight for each processor, and each keeps what its threads needed at the worst of times. One thread at a
    time runs Python anyhow.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(ARENA_MAX, 2)
