"""The docker command against one Engine, bounded in time.

An Engine that hangs fails the test that asked it: with the last of what it said and, where it is a private
one, with what all its threads were at. Nobody waits so long for it a second time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PATIENCE = 90.0  # seconds for one command, on a machine that has much else to do
AGAIN = 5.0  # the same once an Engine has been found to hang
STACKS = 5.0  # for a daemon to write down what its threads are at
LOG_TAIL = 4000  # characters

_hanging: set[str] = set()


class EngineHangs(AssertionError):
    """No answer came."""


def docker(
    url: str, *argv: str, check: bool = True, quiet: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run ``docker ARGV`` there; ``EngineHangs`` where it does not end in time.

    What it says on stderr is kept in the result, or passed on where not ``quiet``.
    """
    try:
        return subprocess.run(
            ["docker", "-H", url, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            check=check,
            timeout=AGAIN if url in _hanging else PATIENCE,
        )
    except subprocess.TimeoutExpired:
        told = f"docker {' '.join(argv)} did not end in time at {url}"
        if url in _hanging:
            raise EngineHangs(f"{told}, as before") from None
        _hanging.add(url)
        raise EngineHangs(f"{told}{_account(Path(url.removeprefix('unix://')).parent)}") from None


def _account(home: Path) -> str:
    """What is to be known of a private Engine that hangs; nothing of any other."""
    if not home.name.startswith("mayfly-dockerd-"):
        return ""
    log = (home / "log").read_text(errors="replace")[-LOG_TAIL:]
    return f"; {stacks(home, Path('build'))}; the last that the Engine said:\n{log}"


def stacks(home: Path, keep: Path) -> str:
    """Have a private Engine's daemon write down what its threads are at; the sentence that says where."""
    with suppress(OSError, ValueError):
        os.kill(int((home / "pid").read_text()), signal.SIGUSR1)
    deadline = time.monotonic() + STACKS
    while time.monotonic() < deadline:
        written = sorted((home / "exec").glob("goroutine-stacks-*.log"))
        if written and written[-1].stat().st_size:
            kept = keep / written[-1].name
            keep.mkdir(exist_ok=True)
            shutil.copy(written[-1], kept)
            return f"what its threads were at is in {kept}"
        time.sleep(0.1)
    return "it did not say what its threads were at"
