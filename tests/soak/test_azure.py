"""Twenty jobs through the fake Azure DevOps while everything around them fails."""

import pytest

from tests.soak.azure import open_service
from tests.soak.run import soak


@pytest.mark.soak
@pytest.mark.engine
@pytest.mark.timeout(400)
def test_twenty_jobs_are_each_done_once_and_the_pool_holds_exactly_the_slots_names() -> None:
    with open_service() as service:
        report = soak(service, 20, seed=7, restarts=1)
        names = service.fake.names()
    print(report.text())
    assert report.faults == []
    assert report.jobs == 20
    assert names == [f"box-az-{number}" for number in range(4)]
    assert sum(report.calls.values()) < 20 * 12
