"""What a scale set's messages say where they say what no service should."""

from __future__ import annotations

import json

import pytest

from mayfly.core.delivery import Delivery, JobCounts
from mayfly.providers.github.set_messages import counts_of, delivery_of

HUGE = 10**400  # no float is so large, and metrics are floats


@pytest.mark.parametrize("count", [HUGE, -HUGE, True, 1.5, "3", None, -1])
def test_a_count_that_is_none_is_nothing(count: object) -> None:
    assert counts_of({"totalAssignedJobs": count, "totalBusyRunners": 2}) == JobCounts(busy=2)


def test_an_offer_with_a_number_that_is_none_is_left_out() -> None:
    offers = [
        {"messageType": "JobAvailable", "runnerRequestId": number, "jobId": "a"}
        for number in (HUGE, 0, 7)
    ]
    told = delivery_of({"messageId": 4, "body": json.dumps(offers)})
    assert [offer.id for offer in told.offers] == [7]
    assert delivery_of({"messageId": HUGE, "body": "[]"}) == Delivery()
