"""Engines for tests: the worker's, and others that may be stopped (see `private_engine.py`).

`private_engine` is one Engine for a test module, with live-restore on unless the module says
otherwise:

    @pytest.mark.parametrize("private_engine", [{"live_restore": False}], indirect=True)

Tests elsewhere import `PrivateEngine` and make their own. `agents` creates containers as Mayfly
would, on whatever Engine the test uses, and removes them afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.agents import Agents
from tests.engine.private_engine import PrivateEngine, sweep_up, why_not
from tests.fakes.nvidia_runtime import NvidiaRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def private_engine(request: pytest.FixtureRequest) -> Iterator[PrivateEngine]:
    """A dockerd of the module's own; the parameter, where there is one, is its keyword arguments."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    sweep_up()
    with PrivateEngine(**getattr(request, "param", {})) as engine:
        yield engine


@pytest.fixture
def agents(worker_engine: PrivateEngine) -> Iterator[Agents]:
    """Stand-ins for agents on the worker's Engine."""
    with Agents(worker_engine.url) as made:
        yield made


@pytest.fixture
def private_agents(private_engine: PrivateEngine) -> Iterator[Agents]:
    """Stand-ins for agents on the private Engine."""
    with Agents(private_engine.url) as made:
        yield made


@pytest.fixture(scope="session")
def installed(worker_engine: PrivateEngine) -> NvidiaRuntime:
    """The stand-in of NVIDIA's runtime on the worker's Engine."""
    return NvidiaRuntime(worker_engine)


@pytest.fixture
def runtime(installed: NvidiaRuntime) -> NvidiaRuntime:
    """The same, as where all is well."""
    installed.blind(False)
    installed.hang(False)
    installed.empty(False)
    installed.void(False)
    installed.hide()
    return installed
