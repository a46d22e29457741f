"""``mayfly images``: the catalogue as text and JSON, and what fits another host."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from mayfly.edge.catalogue import catalogue
from tests import copies
from tests.fakes.nvml import Hardware


def run(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command with nothing around it but what is given."""
    around = {"PATH": "/usr/bin:/bin", "MAYFLY_CONFIG": "/nonexistent", **(environment or {})}
    return copies.command("images", *words, environment=around)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_another_host_needs_no_manager_config_engine_or_nvml() -> None:
    done = run("select", "--cuda-driver", "12.8", "--compute", "9.0", "--arch", "amd64", "--json")
    assert done.returncode == 0
    told = document(done)
    assert set(told) == {"schema", "cuda", "image", "reason", "refused"}
    assert (told["schema"], told["cuda"]) == ("mayfly.images-select/1", "12.8")
    assert told["image"] == "mayfly/local:cuda12.8"
    assert all(set(row) == {"cuda", "reason"} for row in told["refused"])


def test_where_none_fits_the_exit_code_is_1_and_each_row_says_why() -> None:
    done = run("select", "--cuda-driver", "11.4", "--compute", "3.7", "--arch", "amd64", "--json")
    assert done.returncode == 1
    told = document(done)
    assert (told["cuda"], told["image"]) == (None, None)
    assert len(told["refused"]) == len(catalogue().rows)
    plain = run("select", "--cuda-driver", "11.4", "--compute", "3.7", "--arch", "amd64")
    assert (plain.returncode, plain.stdout) == (1, "")
    assert "no CUDA of the catalogue fits" in plain.stderr


def test_the_image_is_data_and_the_reason_is_talk() -> None:
    done = run("select", "--cuda-driver", "13.0", "--compute", "7.0,9.0", "--provider", "azure")
    assert done.stdout == "mayfly/azure:cuda12.9\n"
    assert "newest" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("select", "--cuda-driver", "12"), "--cuda-driver: '12' is not a version"),
        (("select", "--compute", "9.0"), "say its --cuda-driver too"),
        (("build", "12.7"), "CUDA 12.7 is not in the catalogue"),
        (("build", "12.8", "--distribution", "slackware"), "CUDA 12.8 has no slackware"),
        (("build", "12.8", "--flavour", "vanilla"), "--flavour must be"),
        (("build", "cpu", "--build-arg", "nothing"), "is not NAME=VALUE"),
    ],
)
def test_a_wrong_use_is_exit_2_and_says_what_is_right(words: tuple[str, ...], says: str) -> None:
    done = run(*words)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr


def test_this_host_is_asked_where_no_other_is_named() -> None:
    with Hardware(gpus=1, cuda=12040) as hardware:
        hardware.gpu(0, cc="8.6")
        assert run("select", environment=hardware.environment()).stdout == "mayfly/local:cuda12.4\n"
        hardware.say("error nvmlInitWithFlags 9")
        broken = run("select", environment=hardware.environment())
    assert broken.returncode == 1
    assert "`modprobe nvidia`" in broken.stderr


def test_the_list_has_a_row_a_cuda() -> None:
    lines = run("list").stdout.splitlines()
    assert len(lines) == len(catalogue().rows) + 1
    rows = document(run("list", "--json"))["images"]
    assert rows[0]["bases"]["arm64"]
    assert {"cuda", "toolkit", "driver", "compute", "bases", "end_of_life", "sources"} == set(
        rows[0]
    )
