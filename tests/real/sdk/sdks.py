"""The independent SDKs: the environment that they are in, and a process that makes one's calls."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
UNAVAILABLE = 75  # of scripts/sdks, where the registry does not give them


class Raised(Exception):
    """The SDK could not read the answer, or was refused; ``status`` is the answer's, ``None``: none came."""

    def __init__(self, kind: str, status: int | None, text: str) -> None:
        super().__init__(f"{kind} ({status}): {text}")
        self.kind, self.status, self.text = kind, status, text


def interpreter() -> str:
    """The Python that has the SDKs; the test is skipped where there is none to be had."""
    made = subprocess.run([ROOT / "scripts/sdks"], capture_output=True, text=True, check=False)
    if made.returncode == UNAVAILABLE:
        pytest.skip("the registry of Python packages did not give the SDKs")
    assert made.returncode == 0, made.stderr
    return f"{made.stdout.strip()}/bin/python"


class Sdk:
    """One SDK, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, call: str, **given: object) -> Any:
        """What the SDK reads of the service's answer to that call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"call": call, "with": given}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, "the SDK's process has ended; what it said is above"
        told = json.loads(line)
        if "raised" in told:
            raise Raised(told["raised"], told["status"], told["text"])
        return told["value"]


@contextmanager
def sdk(python: str, name: str, home: Path, *arguments: str) -> Iterator[Sdk]:
    """The SDK of that service, with a home that keeps nothing of another service."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "AZURE_DEVOPS_CACHE_DIR": str(home)}
    environment |= {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    with subprocess.Popen(
        [python, "-m", f"tests.real.sdk.{name}_client", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Sdk(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
