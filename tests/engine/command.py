"""The docker command against one Engine, and its API from this process, bounded in time.

An Engine that hangs fails the test that asked it: with the last of what it said and, where it is a private
one, with what all its threads were at. Nobody waits so long for it a second time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import DockerException
from requests.exceptions import ReadTimeout

PATIENCE = 90.0  # seconds for one command, on a machine that has much else to do
AGAIN = 5.0  # the same once an Engine has been found to hang
STACKS = 5.0  # for a daemon to write down what its threads are at
LOG_TAIL = 4000  # characters

_hanging: set[str] = set()


class EngineHangs(AssertionError):
    """No answer came."""


def docker(
    url: str, *argv: str, check: bool = True, quiet: bool = True, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``docker ARGV`` there; ``EngineHangs`` where it does not end in time.

    What it says on stderr is kept in the result, or passed on where not ``quiet``.
    """
    try:
        return subprocess.run(
            ["docker", "-H", url, *argv],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            check=check,
            timeout=_patience(url),
        )
    except subprocess.TimeoutExpired:
        raise _hangs(url, f"docker {' '.join(argv)}") from None


def build(url: str, tag: str, dockerfile: str) -> None:
    """Make an image of that text, with no files beside it, there."""
    docker(url, "build", "-q", "-t", tag, "-", quiet=False, stdin=dockerfile)


def let_go(url: str, container: str) -> None:
    """Let whatever waits for /tmp/go in a container find it.

    It ends then, and may take the command along that told it: how that one has ended says nothing.
    """
    docker(url, "exec", container, "touch", "/tmp/go", check=False)


@contextmanager
def api(url: str) -> Iterator[Any]:
    """A client of its API, which costs no process; ``EngineHangs`` where an answer does not come in time."""
    try:
        with closing(APIClient(url, version="auto", timeout=_patience(url))) as client:
            yield client
    except (ReadTimeout, DockerException) as error:
        if isinstance(error, ReadTimeout) or isinstance(error.__cause__, ReadTimeout):
            raise _hangs(url, "a request to its API") from None
        raise


def _patience(url: str) -> float:
    return AGAIN if url in _hanging else PATIENCE


def _hangs(url: str, asked: str) -> EngineHangs:
    """What is to be raised, and to be known from now on, of one that did not answer."""
    told = f"{asked} did not end in time at {url}"
    if url in _hanging:
        return EngineHangs(f"{told}, as before")
    _hanging.add(url)
    return EngineHangs(f"{told}{_account(Path(url.removeprefix('unix://')).parent)}")


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
