"""Mayfly keeps named slots on a GPU host filled with single-job CI agents."""

from pathlib import Path as _Path

UNBUILT = "0.1.dev0"


def _version() -> str:
    """What the build wrote beside this file, from git's tags; `UNBUILT` where nothing was built."""
    try:
        return (_Path(__file__).parent / "version.txt").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return UNBUILT


__version__ = _version()
