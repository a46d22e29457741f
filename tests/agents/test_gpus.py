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
UUID = "aaaaaaaa-0000-4000-8000-000000000000"
SEEN = f"echo 'GPU 0: NVIDIA H100 (UUID: GPU-{UUID})'"
TWO = f"{SEEN}; {SEEN}"
PARTS = f"{SEEN}; for n in 0 1; do echo '  MIG 1g.10gb     Device  0: (UUID: MIG-{UUID})'; done"
# Its child goes on for good, and is in nobody's way: it stands for what the kernel does not let go of.
STUCK = "trap '' TERM INT; (trap '' TERM INT; exec sleep 600) & wait; wait; sleep 600"


@pytest.fixture
def given(start: Start, tmp_path: Path) -> Callable[..., Agent]:
    """An agent of a cluster with one GPU, or so many, whose nvidia-smi is this script."""

    def made(script: str, gpus: int = 1, *mounts: Mount) -> Agent:
        smi = tmp_path / "nvidia-smi"
        smi.write_text(f"#!/bin/sh\n{script}\n")
        smi.chmod(0o755)
        account = tmp_path / "account"
        account.touch()
        return start(
            init=False,
            at_gate=False,
            environment={"MAYFLY_GPUS": str(gpus)},
            tmpfs={"/run/mayfly": "size=16m,mode=0777"},
            mounts=[
                Mount("/usr/local/nvidia/bin/nvidia-smi", str(smi), type="bind"),
                Mount("/dev/termination-log", str(account), type="bind"),
                *mounts,
            ],
        )

    return made


@pytest.mark.parametrize(
    ("script", "gpus"), [(SEEN, 1), (TWO, 2), (PARTS, 2)], ids=["one", "two", "two of one"]
)
def test_one_whose_gpus_answer_stands_at_its_gate(
    given: Callable[..., Agent], until: Until, script: str, gpus: int
) -> None:
    agent = given(script, gpus)
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
    given: Callable[..., Agent], script: str, said: str
) -> None:
    agent = given(script)
    assert agent.wait() == 69
    assert said in agent.errors()
    assert "at gate" not in agent.raw().decode()


@pytest.mark.parametrize(
    ("script", "gpus", "code", "said"),
    [
        (SEEN, 2, 69, "given 2 GPUs and sees 1"),
        (TWO, 1, 70, "given 1 GPUs and sees 2: others' are open to it"),
        (PARTS, 1, 70, "sees 2"),
    ],
    ids=["fewer", "more", "more parts"],
)
def test_one_that_sees_another_number_than_it_was_given_ends_and_says_so(
    given: Callable[..., Agent], script: str, gpus: int, code: int, said: str
) -> None:
    agent = given(script, gpus)
    assert agent.wait() == code
    assert said in agent.errors()
    assert "at gate" not in agent.raw().decode()


def test_one_whose_driver_lets_nobody_go_ends_without_waiting_for_it(
    given: Callable[..., Agent], tmp_path: Path
) -> None:
    sooner = tmp_path / "gpus"
    text = (Path(__file__).parents[2] / "agents/gpus").read_text()
    assert "_gpus_answer=30 " in text
    sooner.write_text(text.replace("_gpus_answer=30 ", "_gpus_answer=1 "))
    sooner.chmod(0o755)
    agent = given(STUCK, 1, Mount("/opt/mayfly/gpus", str(sooner), type="bind", read_only=True))
    assert agent.wait() == 69
    assert "do not answer" in agent.errors()
