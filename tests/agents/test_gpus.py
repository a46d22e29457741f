"""An agent whose GPUs do not answer never stands at its gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from docker.types import Mount

from tests.agents.container import Agent
from tests.waiting import Until

pytestmark = pytest.mark.engine

Start = Callable[..., Agent]
SEEN = "echo 'GPU 0: NVIDIA H100 (UUID: GPU-aaaaaaaa-0000-4000-8000-000000000000)'"


@pytest.fixture
def given(start: Start, tmp_path: Path) -> Callable[[str], Agent]:
    """An agent of a cluster with one GPU, whose nvidia-smi is this script."""

    def made(script: str) -> Agent:
        smi = tmp_path / "nvidia-smi"
        smi.write_text(f"#!/bin/sh\n{script}\n")
        smi.chmod(0o755)
        account = tmp_path / "account"
        account.touch()
        return start(
            init=False,
            at_gate=False,
            environment={"MAYFLY_GPUS": "1"},
            tmpfs={"/run/mayfly": "size=16m,mode=0777"},
            mounts=[
                Mount("/usr/local/nvidia/bin/nvidia-smi", str(smi), type="bind"),
                Mount("/dev/termination-log", str(account), type="bind"),
            ],
        )

    return made


def test_one_whose_gpu_answers_stands_at_its_gate(
    given: Callable[[str], Agent], until: Until
) -> None:
    agent = given(SEEN)
    until(lambda: agent.raw().decode() == f"mayfly: at gate {agent.generation}\n")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo 'Unable to determine the device handle for GPU0'; exit 15",
            "device handle for GPU0",
        ),
        ("echo 'No devices found.'", "sees none"),
    ],
    ids=["failed", "none"],
)
def test_one_whose_gpu_does_not_ends_and_says_why(
    given: Callable[[str], Agent], script: str, said: str
) -> None:
    agent = given(script)
    assert agent.wait() == 69
    assert said in agent.errors()
    assert "at gate" not in agent.raw().decode()
