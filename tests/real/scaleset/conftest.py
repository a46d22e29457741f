"""The emulator of a test, and a pool that is handed its jobs by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.fakes.forwarding import Forwarder
from tests.harness import Manager
from tests.images import stub_image
from tests.real.scaleset.emulated_pool import EmulatedPool
from tests.real.scaleset.emulator import Emulator, program


@pytest.fixture(scope="session")
def built() -> Path:
    """The emulator's program."""
    return program()


@pytest.fixture
def pool(built: Path, engine: PrivateEngine) -> Iterator[EmulatedPool]:
    """A manager that is not yet started, with an emulator of its own."""
    tag = stub_image("github")
    engine.fetch(tag)
    with Emulator(built) as emulator, Manager(engine.url) as manager:
        door = Forwarder(engine.listen(emulator.port, "0.0.0.0"), emulator.port)
        try:
            yield EmulatedPool(emulator, manager, tag)
        finally:
            door.close()
