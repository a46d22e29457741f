"""``mayfly top``: a table that is redrawn on a terminal, one pass in a pipe, and what a job did with GPUs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mayfly.cli import render_top
from mayfly.cli.render_gpu_use import clocks, gpu_use
from tests.cli.conftest import Mayfly
from tests.service.standin import StandIn
from tests.terminal import Terminal

GIB = 1 << 30
GPU = {"uuid": "GPU-11112222", "index": 0, "utilisation": 71, "used": 12 * GIB, "memory": 80 * GIB}
ROW: dict[str, Any] = {
    "slot": "local-0",
    "pool": "local",
    "agent": "g1",
    "job": "j1",
    "name": "train",
    "owner": "ann",
    "since": "2026-11-21T08:30:00.000Z",
    "cpu_seconds": 10.0,
    "memory": 3 * GIB // 2,
    "memory_limit": 8 * GIB,
    "processes": 12,
    "gpus": [GPU],
}


def use(second: int, **changes: Any) -> dict[str, Any]:
    at = f"2026-11-21T09:00:{second:02}.000Z"
    return {"schema": "mayfly.top/1", "at": at, "rows": [{**ROW, **changes}]}


@pytest.fixture
def busy(manager: StandIn) -> StandIn:
    manager.use = [use(0), use(2, cpu_seconds=15.0)]
    return manager


def test_in_a_pipe_it_looks_twice_and_says_what_each_job_used_between(
    busy: StandIn, mayfly: Mayfly
) -> None:
    ran = mayfly("top")
    assert ran.code == 0
    heading, line = ran.out.splitlines()
    assert heading.split() == [
        *("SLOT", "JOB", "OWNER", "FOR", "CPUS", "MEMORY", "PROCS", "GPU", "LOAD", "GPU", "MEMORY")
    ]
    assert line.split()[:3] == ["local-0", "j1", "ann"]
    assert line.split()[4:] == ["2.50", "1.5GiB/8GiB", "12", "0", "71", "%", "12GiB/80GiB"]


def test_as_json_the_rate_stands_beside_what_was_read(busy: StandIn, mayfly: Mayfly) -> None:
    document = json.loads(mayfly("top", "--json").out)
    assert document["schema"] == "mayfly.top/1"
    assert document == {**use(2), "rows": [{**ROW, "cpu_seconds": 15.0, "cpus": 2.5}]}


def test_so_often_as_it_is_asked_a_line_each(busy: StandIn, mayfly: Mayfly) -> None:
    out = mayfly("top", "--json", "-n", "2").out
    assert [json.loads(line)["rows"][0]["job"] for line in out.splitlines()] == ["j1", "j1"]


def test_on_a_terminal_it_goes_on_until_it_is_interrupted(
    busy: StandIn, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal("top")
    screen.until("local-0")
    busy.use = [use(4, cpu_seconds=17.0), use(6, cpu_seconds=17.5)]
    screen.until("0.25")
    screen.type("\x03")
    assert screen.end()[0] == 130


def test_where_no_job_runs_that_is_said(manager: StandIn, mayfly: Mayfly) -> None:
    assert mayfly("top").out == "no job runs\n"


def test_what_is_not_known_is_not_made_up_and_hostile_words_are_clean() -> None:
    bare = {**ROW, "cpu_seconds": None, "memory": None, "processes": None, "gpus": []}
    bare |= {"owner": "\x1b]0;x\x07ann", "job": None, "since": None}
    document = render_top.with_rates(use(0), {**use(2), "rows": [bare]})
    heading, line = render_top.top(document, 0.0, None)
    assert heading.split() == ["SLOT", "JOB", "OWNER", "CPUS", "MEMORY"]
    assert "\x1b" not in line
    assert "\x07" not in line
    for before in (use(2), use(3), {}, {"at": "x", "rows": [{}]}):
        assert render_top.with_rates(before, use(2))["rows"][0]["cpus"] is None


@pytest.mark.parametrize(
    ("use", "told"),
    [
        ([], ""),
        ([{"uuid": "GPU-1", "peak_memory": None, "utilisation": None}], ""),
        (
            [{"uuid": "GPU-1", "peak_memory": 12 * GIB, "utilisation": 71.4}],
            "GPU use: GPU-1 12GiB at most, 71 % busy on average",
        ),
        (
            [
                {"uuid": "MIG-1", "peak_memory": 300 << 20, "utilisation": None},
                {"uuid": "GPU-2", "peak_memory": 0, "utilisation": 0},
            ],
            "GPU use: MIG-1 300MiB at most; GPU-2 0B at most, 0 % busy on average",
        ),
        (
            [
                {
                    "uuid": "GPU-1",
                    "peak_memory": GIB,
                    "utilisation": 90.0,
                    "use_of": "gpu",
                    "energy": 45_000.0,
                    "metered": 300.0,
                    "partial": True,
                    "throttled": {"power_cap": 90.0, "thermal": 100.4},
                    "watched": 290.0,
                    "xids": {"31": 1, "43": 7},
                }
            ],
            (
                "GPU use: GPU-1 1GiB at most, 90 % busy on average, 12.5 Wh, throttled for 1m by "
                "thermal, 1m by power cap, XID 31, 43 (7 times) (measured for 4m only)"
            ),
        ),
        (
            [
                {"uuid": "MIG-1", "peak_memory": 0, "use_of": "mig", "energy": None},
                {"uuid": "GPU-2", "peak_memory": 0, "use_of": "shared", "energy": 3600.0},
                {"uuid": "GPU-3", "peak_memory": None, "use_of": "bench"},
            ],
            (
                "GPU use: MIG-1 0B at most (load, energy and throttling of a MIG device cannot be told); "
                "GPU-2 0B at most, 1.00 Wh (all but the memory is of the whole GPU, which other agents "
                "share); GPU-3 was not looked at, so as not to disturb the job"
            ),
        ),
    ],
)
def test_what_a_job_did_with_its_gpus_is_one_line(use: list[dict[str, Any]], told: str) -> None:
    assert gpu_use({"gpu_use": use}) == told


@pytest.mark.parametrize(
    ("bench", "told"),
    [
        (None, ""),
        (
            {"clock": 1410, "memory_clock": None, "held": True, "unheld": "", "gpus": []},
            "locked at 1410 MHz",
        ),
        (
            {
                "clock": 1410,
                "memory_clock": 2619,
                "held": False,
                "unheld": "the driver was loaded again meanwhile",
                "gpus": [
                    {
                        "uuid": "GPU-1",
                        "low": 1200,
                        "high": 1410,
                        "throttled": ["power_cap"],
                        "began": 34,
                        "ended": 71,
                    },
                    {"uuid": "GPU-2", "low": None, "high": None, "began": 30, "ended": None},
                ],
            },
            (
                "locked at 1410 MHz, memory at 2619 MHz, and not known to be held: the driver was loaded "
                "again meanwhile; GPU-1 ran at 1200 to 1410 MHz, 34 °C at first, 71 °C at last, slowed down "
                "by power cap; GPU-2 was not looked at"
            ),
        ),
    ],
)
def test_at_which_clocks_a_job_was_measured_is_one_line(
    bench: dict[str, Any] | None, told: str
) -> None:
    assert clocks({"bench": bench}) == told
