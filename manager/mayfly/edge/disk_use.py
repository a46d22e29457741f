"""How much room the files of directories take, counted by du(1), which counts a file with several names once.

A job may have made what is counted: du follows no link, needs few descriptors however deep a tree is, and is
ended where it takes too long. It must never be asked for a tree without a bound in time.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from mayfly.core.quantities import whole_number
from mayfly.edge.faults import Passing

# Whoever waits for a processor comes before it.
COMMAND = ("/usr/bin/env", "-i", "nice", "-n", "19", "du", "-s", "-x", "--block-size=1", "--")


def disk_use(places: Sequence[Path], within: float) -> int | None:
    """Bytes on the disk of all that lies in these directories, what lies in several counted once; one that is
    not there is empty. ``None`` where that takes more than so many seconds.

    ``Passing`` where it cannot be told.
    """
    there = [str(place) for place in places if _is_there(place)]
    if not there:
        return 0
    doing = f"counting what {there[0]} holds"
    try:
        done = subprocess.run(
            (*COMMAND, *there),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within,
            check=False,  # it says 1 where something went meanwhile, and counts the rest
        )
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        raise Passing(f"{doing}: {error.strerror}") from error
    sizes = [whole_number(line.partition(b"\t")[0].decode()) for line in done.stdout.splitlines()]
    told = [size for size in sizes if size is not None]
    if len(told) != len(there):
        raise Passing(f"{doing}: du ended with {done.returncode}")
    return sum(told)


def _is_there(place: Path) -> bool:
    """``Passing`` where it is not for us to see."""
    try:
        place.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Passing(f"counting what {place} holds: {error.strerror}") from error
    return True
