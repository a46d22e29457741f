"""The soak on a cluster: JOBS (200), SEED. Where not everything is run it is left out: it takes minutes."""

from __future__ import annotations

import os
import time

import pytest

from tests.real.kubernetes.cluster_soak import ClusterSoak
from tests.real.kubernetes.namespace import Namespace

pytestmark = [
    pytest.mark.real,
    pytest.mark.kubernetes,
    pytest.mark.soak,
    pytest.mark.long,
    pytest.mark.timeout(7200),
]


def test_every_job_of_a_soak_is_accounted_for_exactly_once(
    space: Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = int(os.environ.get("JOBS") or 200)
    seed = int(os.environ.get("SEED") or time.time() % 100_000)
    accounts = ClusterSoak(space, jobs, seed).run()
    with capsys.disabled():
        print("", *(f"{name}: {figure}" for name, figure in accounts.figures), sep="\n")
    assert accounts.faults == [], accounts.log[-4000:]
