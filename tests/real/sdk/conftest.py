"""The environment of the SDKs, made once."""

from __future__ import annotations

import pytest

from tests.real.sdk.sdks import interpreter


@pytest.fixture(scope="session")
def python() -> str:
    """The Python that has the SDKs."""
    return interpreter()
