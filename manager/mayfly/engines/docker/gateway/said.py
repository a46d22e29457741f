"""What the gateway says to whoever reads the journal: a line of its own for each thing."""

from __future__ import annotations

import sys
from contextlib import suppress


def say(sentence: str) -> None:
    """A line; a log that takes none stops nobody."""
    with suppress(OSError):
        sys.stderr.write(f"mayfly gateway: {sentence.rstrip()}\n")
        sys.stderr.flush()
