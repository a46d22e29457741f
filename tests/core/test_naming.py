"""Names: unique, ordered by time where that helps, and short enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mayfly.core import naming
from mayfly.core.model import HostId, PoolName

TIMES = st.floats(1.6e9, 2.8e9)
NOISE = st.integers(0, 36**5 - 1)


@given(TIMES, NOISE)
def test_a_generation_has_13_lower_case_letters_and_digits(now: float, noise: int) -> None:
    generation = naming.generation(now, noise)
    assert len(generation) == 13
    assert set(generation) <= set(naming.ALPHABET)


@given(TIMES, TIMES, NOISE, NOISE)
def test_generations_sort_by_time(one: float, other: float, first: int, second: int) -> None:
    if int(one * 1000) < int(other * 1000):
        assert naming.generation(one, first) < naming.generation(other, second)


@given(TIMES, NOISE, NOISE)
def test_generations_of_one_moment_differ_by_their_noise(now: float, one: int, other: int) -> None:
    same = naming.generation(now, one) == naming.generation(now, other)
    assert same == (one == other)


def test_names_are_made_of_their_parts() -> None:
    slot = naming.slot(PoolName("azure"), 0)
    generation = naming.generation(1_800_000_000.0, 7)
    assert slot == "azure-0"
    assert naming.standby(slot, generation) == f"azure-0.{generation}"
    assert naming.network(HostId("h"), PoolName("azure")) == "mayfly-h-azure"
    assert naming.registered("box", slot) == "box-azure-0"
    assert naming.registered("box", slot, generation) == f"box-azure-0-{generation}"
    assert len(naming.host_id(35**12)) == naming.HOST_ID_LENGTH
