"""What every test shares: when a Docker Engine is needed, and how a test waits."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

import docker
import pytest
from hypothesis import settings

T = TypeVar("T")
IMAGE = "mayfly/local:cpu"

# A slow machine is no bug; and a failure on CI has to come back on a developer's machine.
settings.register_profile("mayfly", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("mayfly")


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
    if os.environ.get("MAYFLY_TEST_NO_ENGINE") == "1":
        pytest.skip("MAYFLY_TEST_NO_ENGINE=1")
    if why := request.getfixturevalue("_engine_answers"):
        pytest.fail(why, pytrace=False)


@pytest.fixture(scope="session")
def until() -> Callable[..., object]:
    """`until(look, seconds=10)`: looks again and again; returns the first truth it sees."""

    def wait(look: Callable[[], T], seconds: float = 10) -> T:
        end = time.monotonic() + seconds
        while not (seen := look()):
            if time.monotonic() > end:
                pytest.fail(f"not seen within {seconds} s: {look.__doc__ or look.__name__}")
            time.sleep(0.005)
        return seen

    return wait
