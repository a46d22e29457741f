"""One private Engine for all tests here; the soak, which restarts its Engine, makes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.private_engine import PrivateEngine, sweep_up, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def engine() -> Iterator[PrivateEngine]:
    """A dockerd with live-restore on."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    sweep_up()
    with PrivateEngine() as started:
        yield started
