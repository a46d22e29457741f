"""Memory that nobody uses any more, given back to the kernel: a busy while leaves some with the C library."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Have the C library give back whole free pages, wherever they lie; a millisecond or two.

    malloc_trim(3) is glibc's own: another library is not asked.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
