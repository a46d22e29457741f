"""Every row of the known failures names a test that is there."""

from __future__ import annotations

import pytest

from tests.pages import assert_is_there, rows

ROWS = rows("reference/known-failures.md", "what happens")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_what_shows_it_is_there(row: list[str]) -> None:
    happens, does, shown = row
    assert happens
    assert does
    assert_is_there(shown)


# What users of other runners report and a fixed pool has to answer for.
REPORTED = (
    "actions/runner/issues/4617",
    "unraid/ci-runner-farm/pull/22",
    "actions/actions-runner-controller/pull/4399",
    "microsoft/azure-pipelines-agent/issues/2220",
    "myoung34/docker-github-actions-runner/issues/459",
    "hostinger/fireactions/issues/260",
    "cloudbase/garm/issues/117",
    "cloudbase/garm/issues/401",
    "actions/actions-runner-controller/issues/4073",
    "cloudbase/garm/issues/455",
    "kedacore/keda/issues/8185",
    "actions/runner/issues/2190",
    "go-gitea/gitea/issues/36767",
    "actions/runner/issues/4392",
    "actions/actions-runner-controller/issues/4242",
    "pytorch/ci-infra/issues/669",
    "NVIDIA/nvidia-container-toolkit/issues/48",
    "NVIDIA/nvidia-container-toolkit/issues/1227",
    "JuliaGPU/buildkite/pull/16",
    "mirage-project/mirage/pull/706",
    "NVIDIA/aicr/issues/696",
    "actions/actions-runner-controller/issues/2871",
    "pytorch/ci-infra/issues/271",
    "github-aws-runners/terraform-aws-github-runner/issues/3130",
    "myoung34/docker-github-actions-runner/issues/322",
    "actions/actions-runner-controller/issues/1551",
    "actions/runner/issues/1116",
    "microsoft/azure-pipelines-agent/issues/4338",
)


@pytest.mark.parametrize("report", REPORTED)
def test_what_users_of_other_runners_report_has_a_row(report: str) -> None:
    assert [row for row in ROWS if f"(https://github.com/{report})" in row[0]]


def test_none_is_told_twice() -> None:
    assert len({row[0] for row in ROWS}) == len(ROWS) > 40
