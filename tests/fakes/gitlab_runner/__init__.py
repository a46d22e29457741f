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
    return (Path(named) if named else PLACE / "gitlab-runner").read_bytes()


def version() -> str:
    """What tells its images apart."""
    return (
        f"named-{hashlib.sha256(binary()).hexdigest()[:8]}" if os.environ.get(NAMED) else "19.3.0"
    )
