"""What every test shares: which ones need a Docker Engine, the Engine of a worker, and how a test waits."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import docker
import pytest
from hypothesis import settings

from tests.engine.private_engine import PrivateEngine, sweep_up, why_not
from tests.waiting import pause

T = TypeVar("T")
IMAGE = "mayfly/local:cpu"
LONGEST = 100  # characters of an argument in the id of its test
# Whoever asks for one of these needs an Engine, whatever else its test says.
ENGINES = frozenset({"engine", "worker_engine", "private_engine", "small_engine"})

# Where nothing compiled is kept, each worker compiles all tests for itself, and each command all of Mayfly.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A slow machine is no bug; and a failure on CI has to come back on a developer's machine.
settings.register_profile("mayfly", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("mayfly")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests live as long as their worker: no look for what is garbage goes through them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark what needs an Engine, keep together what shares a module's fixture, and begin with the long."""
    modules: dict[str, int] = {}  # of which module's shared tests the first comes when
    for item in items:
        if not ENGINES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.engine)
        if _shares(item):
            item.add_marker(pytest.mark.xdist_group(_file(item)))
            modules[_file(item)] = min(_later(item), modules.get(_file(item), _later(item)))
    items.sort(key=lambda item: modules[_file(item)] if _shares(item) else _later(item))
    return (yield)


def pytest_make_parametrize_id(val: object) -> str | None:
    """What is long is named by how it begins: ids go from process to process, into paths and into reports."""
    if not isinstance(val, str | bytes) or len(val) <= LONGEST:
        return None
    begins = ascii(val[:LONGEST]).removeprefix("b")[1:-1]
    return f"{begins}... of {len(val)}"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep how the tests ended for whoever reads what failed of them: 1 says that all of them ran."""
    cache = getattr(session.config, "cache", None)  # pytest without its plugin of caches has none
    if not hasattr(session.config, "workerinput") and cache is not None:
        cache.set("ended", int(exitstatus))


def _later(item: pytest.Item) -> int:
    """What is long comes first: a worker that begins it last is waited for by all others."""
    if item.get_closest_marker("long") is not None:
        return 0
    return 1 if item.get_closest_marker("engine") is not None else 2


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _shares(item: pytest.Item) -> bool:
    """Whether the test uses a fixture that its module makes once."""
    info = getattr(item, "_fixtureinfo", None)
    found = info.name2fixturedefs.values() if info is not None else ()
    return any(fixtures[-1].scope == "module" for fixtures in found)


def missing_engine() -> str | None:
    """What stands in the way of tests marked `engine`, in a sentence; None: nothing."""
    try:
        client = docker.APIClient(version="auto", timeout=20)
        client.inspect_image(IMAGE)
    except docker.errors.ImageNotFound:
        return f"the image {IMAGE} is missing: run `make image`"
    except docker.errors.DockerException as error:
        return f"no Docker Engine answers ({error}): run `make test`, which sees to one"
    return None


@pytest.fixture(scope="session")
def _engine_answers() -> str | None:
    return missing_engine()


@pytest.fixture(autouse=True)
def _needs_engine(request: pytest.FixtureRequest) -> None:
    """A test that needs an Engine fails without one: what was not tried must not look green."""
    if request.node.get_closest_marker("engine") is None:
        return
    if why := request.getfixturevalue("_engine_answers"):
        pytest.fail(why, pytrace=False)


@pytest.fixture(scope="session")
def worker_engine() -> Iterator[PrivateEngine]:
    """The Engine of this worker, with live-restore on: one manager after the other runs on it."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    sweep_up()
    with PrivateEngine() as started:
        yield started


@pytest.fixture(scope="session")
def engine(worker_engine: PrivateEngine) -> PrivateEngine:
    """The same, where a folder or a module has no other by that name."""
    return worker_engine


@pytest.fixture(scope="session")
def until() -> Callable[..., object]:
    """`until(look, seconds=120)`: looks again and again; returns the first truth it sees."""

    def wait(look: Callable[[], T], seconds: float = 120) -> T:
        began = time.monotonic()
        while not (seen := look()):
            if time.monotonic() > began + seconds:
                pytest.fail(f"not seen within {seconds} s: {look.__doc__ or look.__name__}")
            pause(began)
        return seen

    return wait
