"""The runner that the tests put into their images: the stub, or what MAYFLY_TEST_GITLAB_RUNNER names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

PLACE = Path(__file__).parent
NAMED = "MAYFLY_TEST_GITLAB_RUNNER"


def binary() -> bytes:
    """The program itself."""
    named = os.environ.get(NAMED)
    if named:
        return Path(named).read_bytes()
    job = b"# -- one job --"  # before which the executor stands that it has for containers
    program = (PLACE / "gitlab-runner").read_bytes()
    return program.replace(job, (PLACE / "docker-executor").read_bytes() + job, 1)


def version() -> str:
    """What tells its images apart."""
    return (
        f"named-{hashlib.sha256(binary()).hexdigest()[:8]}" if os.environ.get(NAMED) else "19.3.0"
    )
