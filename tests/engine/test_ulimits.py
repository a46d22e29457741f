"""What an agent may take where nobody says otherwise: what a service of this host may, at most."""

from __future__ import annotations

import resource

import pytest

from mayfly.core.model import ULIMITS
from mayfly.engines.docker.ulimits import BY_NUMBER, own_ulimits


@pytest.mark.parametrize("name", ULIMITS)
def test_of_what_the_kernel_counts_by_user_half_is_left_to_the_host(name: str) -> None:
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    one = own_ulimits()[name]
    if name in BY_NUMBER and hard != resource.RLIM_INFINITY:
        assert 0 <= one.soft <= one.hard == hard // 2
    elif name != "nofile":
        assert one.hard == hard
