"""``mayfly health``: a prolog's exit code, on NVML's stub, with no manager and with what one has seen."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND
from tests.fakes.nvml import Hardware, uuid
from tests.terminal import environment


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2) as made:
        yield made


def health(hardware: Hardware, *options: str) -> tuple[int, str]:
    """The exit code and what stands on stdout, without a manager."""
    command = [*COMMAND, "--socket", "/nonexistent/control.sock", "health", *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(**hardware.environment()),
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def test_a_gpu_that_is_well_is_0_and_says_nothing(hardware: Hardware) -> None:
    hardware.process(0, 1)  # somebody computes on it: that is no illness
    for asked in ((), ("--gpu", uuid(0)), ("--gpu", "1", "--gpu", "0")):
        assert health(hardware, *asked) == (0, "")


def test_a_sick_one_is_1_with_the_reason_in_one_sentence_and_its_neighbour_is_well(
    hardware: Hardware,
) -> None:
    hardware.gpu(1, remap="0,0,1,0")
    code, said = health(hardware, "--gpu", uuid(1))
    assert code == 1
    assert said.count("\n") == 1
    assert uuid(1) in said
    assert health(hardware, "--gpu", uuid(0)) == (0, "")
    assert health(hardware) == (1, said), "without --gpu it is about all of them"


def test_what_the_configuration_turns_down_is_no_illness(
    hardware: Hardware, tmp_path: Path
) -> None:
    hardware.gpu(1, remap="0,0,1,0")
    file = tmp_path / "config.toml"
    file.write_text('[host.gpu_checks]\n"gpu.remap_pending" = "off"\n[[pool]]\nname = "a"\n')
    assert health(hardware, "--config", str(file)) == (0, "")
    file.write_text("[host.gpu_checks]\nnonsense = 1\n")
    assert health(hardware, "--config", str(file))[0] == 1, "then the defaults count"


@pytest.mark.parametrize("asked", ["GPU-00000009-1111-2222-3333-444444444444", "7"])
def test_one_that_is_not_there_any_more_is_sick(hardware: Hardware, asked: str) -> None:
    code, said = health(hardware, "--gpu", asked)
    assert code == 1
    assert asked in said


def test_what_is_no_gpu_s_name_is_2(hardware: Hardware) -> None:
    assert health(hardware, "--gpu", "gpu0")[0] == 2


@pytest.mark.parametrize("line", ["hang *", "error nvmlInitWithFlags 9"])
def test_where_nvml_does_not_tell_it_is_3(hardware: Hardware, line: str) -> None:
    hardware.say(line)
    code, said = health(hardware, "--gpu", uuid(0), "--wait", "0.3")
    assert code == 3
    assert said.strip()
