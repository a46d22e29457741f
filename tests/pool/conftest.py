"""Managers on the worker's private Engine, one after the other.

`make` gives a manager of the test's own. What a test does to the Engine itself it does to an Engine of its
own (`tests/pool/test_engine_restarts.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import POOL, Manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engine.private_engine import PrivateEngine


@pytest.fixture
def make(engine: PrivateEngine) -> Iterator[Callable[..., Manager]]:
    """Makes managers that are gone, with all that they had on the Engine, when the test ends."""
    made: list[Manager] = []

    def one(pools: str = POOL, host: str = "") -> Manager:
        made.append(Manager(engine.url, pools, host))
        return made[-1]

    yield one
    for manager in made:
        manager.close()
