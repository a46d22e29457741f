"""Twenty jobs through the scale sets of GitHub's fake while everything around them fails."""

import pytest

from tests.soak.github_scaleset import open_service
from tests.soak.run import soak


@pytest.mark.soak
@pytest.mark.engine
@pytest.mark.timeout(300)
def test_twenty_jobs_are_each_done_once_and_nothing_is_left() -> None:
    with open_service() as service:
        report = soak(service, 20, seed=7, restarts=1)
    print(report.text())
    assert report.faults == []
    assert report.jobs == 20
