"""GPU-hours, waits and energy by weeks and months: nothing is lost between two, and nothing counted twice."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.usage_report import By, Per, Sums, Usage, Work, default_since, periods, usage

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


MONDAY = at("2025-11-10T00:00:00Z")
SUNDAY = at("2025-11-23T00:00:00Z")
TWO_WEEKS = periods(Per.WEEK, UTC, MONDAY, SUNDAY)


def told(found: Usage) -> dict[tuple[str, str | None], tuple[int, float, float]]:
    """Jobs, hours and GPU-hours of each row."""
    return {
        (period.name, name): (sums.jobs, sums.seconds / HOUR, sums.gpu_seconds / HOUR)
        for period, name, sums in found.rows
    }


def test_a_job_over_the_end_of_a_week_is_divided_and_counted_where_it_ended() -> None:
    work = Work(
        pool="gpu",
        began=at("2025-11-16T23:00:00Z"),
        ended=at("2025-11-17T02:00:00Z"),
        person="ann",
        waited=60.0,
        devices=("GPU-1", "GPU-2"),
        energy={"GPU-1": 600.0, "GPU-2": 300.0},
    )
    found = usage([work], By.PERSON, TWO_WEEKS)
    assert told(found) == {("2025-W46", "ann"): (0, 1.0, 2.0), ("2025-W47", "ann"): (1, 2.0, 4.0)}
    assert [sums.joules for _, _, sums in found.rows] == pytest.approx([300.0, 600.0])
    assert [(sums.waits, sums.waited) for _, _, sums in found.rows] == [(0, 0.0), (1, 60.0)]
    by_gpu = usage([work], By.GPU, TWO_WEEKS)
    assert told(by_gpu)["2025-W47", "GPU-2"] == (1, 2.0, 2.0)
    assert [(sums.jobs, sums.gpu_seconds) for _, sums in by_gpu.totals] == [
        (0, 2 * HOUR),
        (1, 4 * HOUR),
    ]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (By.PERSON, {"ann", None}),
        (By.REPOSITORY, {"/srv/git/lab.git", None}),
        (By.POOL, {"gpu", "cpu"}),
        (By.GPU, {"GPU-1", None}),
    ],
)
def test_what_is_not_known_of_a_job_has_a_row_too(by: By, names: set[str | None]) -> None:
    works = [
        Work(
            "gpu",
            MONDAY,
            MONDAY + HOUR,
            person="ann",
            repository="/srv/git/lab.git",
            devices=("GPU-1",),
        ),
        Work("cpu", MONDAY, MONDAY + HOUR),
    ]
    found = usage(works, by, TWO_WEEKS)
    assert {name for _, name, _ in found.rows} == names
    assert sum(sums.jobs for _, _, sums in found.rows) == 2


def test_a_job_whose_energy_is_not_known_is_said_and_one_without_gpus_is_not_missing_any() -> None:
    works = [
        Work("gpu", MONDAY, MONDAY + HOUR, devices=("GPU-1",), energy={"GPU-1": 9.0}),
        Work("gpu", MONDAY, MONDAY + HOUR, devices=("MIG-1",), measured=False),
        Work("gpu", MONDAY, MONDAY + HOUR),
    ]
    ((_, total),) = usage(works, By.POOL, TWO_WEEKS).totals
    assert (total.jobs, total.joules, total.unmeasured) == (3, 9.0, 1)


@pytest.mark.parametrize(
    ("per", "since", "until", "begins"),
    [
        # The clocks go back in the night to the 26th: that week has an hour more.
        (Per.WEEK, "2025-10-20T00:00+02:00", "2025-11-03T00:00+01:00", ["10-20 00", "10-27 00"]),
        (Per.MONTH, "2025-01-31T12:00+01:00", "2025-04-01T00:00+02:00", ["01-31 12", "02-01 00", "03-01 00"]),
        (Per.WEEK, "2024-12-30T00:00+01:00", "2025-01-01T00:00+01:00", ["12-30 00"]),
    ],
)  # fmt: skip
def test_periods_begin_where_the_zone_s_days_do(
    per: Per, since: str, until: str, begins: list[str]
) -> None:
    found = periods(per, BERLIN, at(since), at(until))
    shown = [datetime.fromtimestamp(one.begin, BERLIN).strftime("%m-%d %H") for one in found]
    assert shown == begins
    assert (found[0].begin, found[-1].end) == (at(since), at(until))
    assert all(one.end == after.begin for one, after in pairwise(found))


def test_weeks_are_named_as_iso_8601_names_them() -> None:
    (week,) = periods(Per.WEEK, UTC, at("2024-12-31T00:00Z"), at("2025-01-02T00:00Z"))
    assert week.name == "2025-W01"
    assert datetime.fromtimestamp(default_since(Per.WEEK, UTC, SUNDAY), UTC).date().isoformat() == (
        "2025-10-20"
    )
    assert datetime.fromtimestamp(
        default_since(Per.MONTH, UTC, SUNDAY), UTC
    ).date().isoformat() == ("2025-06-01")


WORKS = st.builds(
    lambda began, lasted, devices, pool: Work(
        pool,
        began,
        began + lasted,
        devices=tuple(devices),
        energy=dict.fromkeys(devices, 7.0),
    ),
    st.floats(MONDAY - 9e5, SUNDAY + 9e5),
    st.floats(0, 2e6),
    st.lists(st.sampled_from(["GPU-1", "GPU-2", "GPU-3"]), unique=True),
    st.sampled_from(["a", "b"]),
)


@given(st.lists(WORKS, max_size=8), st.sampled_from(By), st.sampled_from(Per))
def test_all_time_within_the_report_is_in_it_once(works: list[Work], by: By, per: Per) -> None:
    found = usage(works, by, periods(per, UTC, MONDAY, SUNDAY))
    inside = [max(0.0, min(one.ended, SUNDAY) - max(one.began, MONDAY)) for one in works]
    total = Sums()
    for _, sums in found.totals:
        total.seconds += sums.seconds
        total.gpu_seconds += sums.gpu_seconds
        total.jobs += sums.jobs
    assert total.seconds == pytest.approx(sum(inside), abs=1e-3)
    assert total.jobs == sum(MONDAY <= one.ended < SUNDAY for one in works)
    gpu_seconds = sum(own * len(one.devices) for own, one in zip(inside, works, strict=True))
    rows = sum(sums.gpu_seconds for _, _, sums in found.rows)
    assert (total.gpu_seconds, rows) == pytest.approx((gpu_seconds, gpu_seconds), abs=1e-3)
    assert all(sums.joules <= 7.0 * 3 * len(works) for _, sums in found.totals)
