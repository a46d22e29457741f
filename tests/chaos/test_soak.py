"""A short soak, for one who has changed the soak itself; `make soak` runs longer ones."""

from __future__ import annotations

import pytest

from tests.chaos.soak import Soak
from tests.engine.private_engine import why_not

pytestmark = [pytest.mark.long, pytest.mark.engine, pytest.mark.soak, pytest.mark.timeout(400)]


def test_every_job_of_a_soak_is_accounted_for_exactly_once() -> None:
    if (why := why_not()) is not None:
        pytest.skip(why)
    accounts = Soak(jobs=20, seed=11).run()
    print("\n".join(f"{name}: {figure}" for name, figure in accounts.figures))
    assert accounts.faults == []
