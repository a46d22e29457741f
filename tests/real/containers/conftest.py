"""A host where jobs have containers, for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.containers.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The module's own: what one test leaves behind, the next one's job must not see."""
    with Lab({"gpu": 1, "cpu": 2}) as made:
        yield made
