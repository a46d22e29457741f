"""What tests of several folders have before them."""

from __future__ import annotations

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import NvidiaRuntime


@pytest.fixture(scope="session")
def runtime(worker_engine: PrivateEngine) -> NvidiaRuntime:
    """The stand-in of NVIDIA's runtime, once for the worker's Engine."""
    return NvidiaRuntime(worker_engine)
