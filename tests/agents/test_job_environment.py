"""What the job gets of the variables that bore other names until nothing was root's any more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "agents/job-environment"


@pytest.mark.parametrize(
    ("around", "job"),
    [
        # An image's, where it is seen: it is taken away under its own name.
        ({"MAYFLY_ENV": "ENV", "MAYFLY_ENV_ENV": "/its"}, {"ENV": "/its"}),
        ({"MAYFLY_ENV": "ENV", "MAYFLY_ENV_ENV": ""}, {"ENV": ""}),
        # Where nobody sees the image's, the engine says that it is empty.
        ({"ENV": "", "MAYFLY_ENV": "ENV", "MAYFLY_ENV_ENV": ""}, {}),
        ({"ENV": "", "MAYFLY_ENV": "ENV", "MAYFLY_ENV_ENV": "/pools"}, {"ENV": "/pools"}),
        # What the launcher has set stays.
        ({"HOME": "/job", "MAYFLY_ENV": "HOME", "MAYFLY_ENV_HOME": "/x"}, {"HOME": "/job"}),
        ({"A": "", "MAYFLY_ENV": ""}, {"A": ""}),
    ],
)
def test_each_gets_its_own_name(around: dict[str, str], job: dict[str, str]) -> None:
    words = ("/bin/sh", str(SCRIPT), "/usr/bin/env")
    said = subprocess.run(words, env=around, capture_output=True, check=True, text=True).stdout
    found = dict(line.split("=", 1) for line in said.splitlines())
    assert {name: value for name, value in found.items() if name not in ("PWD", "_")} == job
