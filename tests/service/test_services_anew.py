"""A pool that is configured anew goes on listening to its service, which lets in one listener at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import Config
from mayfly.core.requests import Listen
from mayfly.core.stimuli import JobsTold, JobsUntold
from mayfly.providers.github.scale_provider import ScaleSetGitHub
from mayfly.service.services import Services
from tests.fakes.github_scale_sets import SETS, FakeScaleSets
from tests.fakes.http import Fault
from tests.harness import until
from tests.providers.contract import HOST, HOST_ID, changed, pool, secret_file


@pytest.fixture
def fake() -> Iterator[FakeScaleSets]:
    with FakeScaleSets() as service:
        service.poll_hold = 60.0  # a question is under way when the pool is configured anew
        yield service


def test_a_pool_that_is_configured_anew_listens_as_soon_as_it_has_left_and_is_never_refused(
    fake: FakeScaleSets, tmp_path: Path
) -> None:
    before = pool(
        provider="github",
        url=f"{fake.url}/acme",
        runner_group="gpu",
        token=secret_file(tmp_path, "token", "ghp_good"),
        enrolment="scaleset",
    )
    heard: list[Any] = []
    services = Services(lambda spec: ScaleSetGitHub(spec, HOST, HOST_ID), heard.append)

    def told() -> list[JobsTold | JobsUntold]:
        return [one for one in heard if isinstance(one, JobsTold | JobsUntold)]

    try:
        services.use(Config(HOST, (before,)))
        services.listen(Listen(before.name, 2, (), (), 1))
        until(lambda: len(told()) == 1, "a session is open")
        services.listen(Listen(before.name, 2, (), (), 1))
        until(lambda: fake.count("GET", "/scalesets/message"), "a question is under way")
        # Leaving takes its time, as on a slow way: whoever does not wait for it is refused (409).
        fake.fail("DELETE", SETS, Fault(slow=1.0))
        services.use(Config(HOST, (changed(before, labels=("big",)),)))
        services.listen(Listen(before.name, 2, (), (), 2))
        until(lambda: len(told()) > 1, "it listens again")
        again = told()[1]
        assert isinstance(again, JobsTold)
        assert again.delivery.begins
        opened = [
            call.status for call in fake.calls if call.method == "POST" and "/sessions" in call.path
        ]
        assert opened == [200, 200]
    finally:
        services.stop()
