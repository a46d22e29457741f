"""A reset by ``nvidia-smi``, step by step, and what may go wrong; a stand-in speaks its words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.core.model import ContainerId
from mayfly.edge.gpu_reset import Reset, layout, said
from mayfly.edge.leftover_processes import age_of, command_of, end_leftover
from tests.fakes.nvidia_smi import NvidiaSmi
from tests.fakes.nvml import Hardware, uuid
from tests.harness import until


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2) as made:
        yield made


@pytest.fixture
def smi(hardware: Hardware, monkeypatch: pytest.MonkeyPatch) -> NvidiaSmi:
    made = NvidiaSmi(hardware)
    monkeypatch.setenv("PATH", f"{made.folder}:{os.environ['PATH']}")
    return made


def persistence(hardware: Hardware) -> list[str]:
    return [line for line in hardware.done_to_clocks() if line.startswith("persistence")]


def test_a_reset_lets_go_of_persistence_mode_and_takes_it_up_again(
    smi: NvidiaSmi, hardware: Hardware
) -> None:
    hardware.gpu(0, used=9000)
    outcome = Reset((uuid(0),)).make()
    assert (outcome.failure, outcome.detail) == (None, "")
    assert smi.resets == [f"--gpu-reset -i {uuid(0)}"]
    assert persistence(hardware) == [f"persistence {uuid(0)} 0", f"persistence {uuid(0)} 1"]
    assert "used=" not in hardware.file.read_text()


def test_linked_gpus_are_reset_by_one_call(smi: NvidiaSmi) -> None:
    assert Reset((uuid(0), uuid(1))).make().failure is None
    assert smi.resets == [f"--gpu-reset -i {uuid(0)},{uuid(1)}"]


def test_a_gpu_without_persistence_mode_is_left_without(smi: NvidiaSmi, hardware: Hardware) -> None:
    smi.faults("no-persistence")
    assert Reset((uuid(0),)).make().failure is None
    assert persistence(hardware) == []


@pytest.mark.parametrize(
    ("fault", "sentence", "untouched"),
    [
        ("in-use", "the driver says that another client uses it", True),
        ("persistence-stays", "the driver says that another client uses it", True),
        ("no-permission", "CAP_SYS_ADMIN", True),
        ("unsupported", "is not supported.: see dmesg, reboot", False),
        ("flood", "was not reset", False),
    ],
)
def test_a_reset_that_is_refused_is_one_sentence_with_what_to_do(
    smi: NvidiaSmi, hardware: Hardware, fault: str, sentence: str, untouched: bool
) -> None:
    smi.faults(fault)
    outcome = Reset((uuid(0),)).make()
    assert sentence in (outcome.failure or "")
    assert (outcome.failure or "").startswith(f"{uuid(0)} was not reset")
    assert outcome.untouched is untouched
    assert len(outcome.failure or "") < 700
    assert (outcome.failure or "").isprintable()
    assert [line[-1] for line in persistence(hardware)] in ([], ["0", "1"])


def test_a_host_without_the_program_says_what_to_install(
    hardware: Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = Reset((uuid(0),)).make()
    assert "nvidia-smi is not on Mayfly's PATH" in (outcome.failure or "")
    assert outcome.untouched


def test_a_reset_that_hangs_is_killed_and_nobody_says_that_it_was_not_made(
    smi: NvidiaSmi, hardware: Hardware
) -> None:
    smi.faults("hang")
    outcome = Reset((uuid(0),), within=0.5).make()
    assert "nobody knows whether it was made" in (outcome.failure or "")
    assert not outcome.untouched
    assert smi.hanging is not None
    assert not Path(f"/proc/{smi.hanging}").exists()
    assert persistence(hardware)[-1] == f"persistence {uuid(0)} 1"


def test_persistence_mode_that_does_not_come_back_is_told(smi: NvidiaSmi) -> None:
    smi.faults("persistence-lost")
    outcome = Reset((uuid(0),)).make()
    assert outcome.failure is None
    assert f"nvidia-smi -i {uuid(0)} -pm 1" in outcome.detail


@pytest.mark.parametrize("faults", [(), ("mig-off",)])
def test_a_split_gpu_is_split_again_as_it_was(
    smi: NvidiaSmi, hardware: Hardware, faults: tuple[str, ...]
) -> None:
    hardware.mig(0, 3)
    smi.faults(*faults)
    assert Reset((uuid(0),), split=True).make().failure is None
    made = [line for line in smi.asked if "-cgi" in line or "-cci" in line]
    assert made == [
        f"mig -i {uuid(0)} -cgi 19:0,19:1,19:2",
        *(f"mig -i {uuid(0)} -gi {number} -cci 0" for number in (3, 4, 5)),
    ]
    assert any(line.endswith("-mig 1") for line in smi.asked) is ("mig-off" in faults)
    assert hardware.file.read_text().count("uuid=MIG-again-0-") == 3


def test_a_driver_that_keeps_mig_devices_is_not_asked_to_make_them(
    smi: NvidiaSmi, hardware: Hardware
) -> None:
    hardware.mig(0, 2)
    smi.faults("keeps-mig")
    assert Reset((uuid(0),), split=True).make().failure is None
    assert not any("-cgi" in line for line in smi.asked)


@pytest.mark.parametrize(
    ("fault", "sentence", "untouched"),
    [
        ("unreadable", "was not reset: how it is split could not be read", True),
        ("unsplit", "was reset, and its MIG devices (1g.10gb, 1g.10gb) could not be made", False),
        (
            "uncomputed",
            "was reset, and its MIG devices (1g.10gb, 1g.10gb) could not be made",
            False,
        ),
    ],
)
def test_mig_devices_that_cannot_be_made_again_are_named(
    smi: NvidiaSmi, hardware: Hardware, fault: str, sentence: str, untouched: bool
) -> None:
    hardware.mig(0, 2)
    smi.faults(fault)
    outcome = Reset((uuid(0),), split=True).make()
    assert sentence in (outcome.failure or "")
    assert outcome.untouched is untouched
    assert bool(smi.resets) is not untouched


def test_a_table_of_instances_is_read_in_the_order_of_their_places() -> None:
    instances = """
+-------------------------------------------------------+
| GPU instances:                                        |
| GPU   Name             Profile  Instance   Placement  |
|                          ID       ID       Start:Size |
|=======================================================|
|   0  MIG 3g.20gb          9        2          4:4     |
+-------------------------------------------------------+
|   0  MIG 2g.10gb         14        3          0:2     |
+-------------------------------------------------------+
"""
    compute = """
|   0      2       MIG 1c.3g.20gb       0         0          0:1     |
|   0      2       MIG 2c.3g.20gb       1         1          1:2     |
|   0      3       MIG 2g.10gb          1         0          0:2     |
"""
    told = [(one.profile, one.start, one.compute) for one in layout(instances, compute)]
    assert told == [(14, 0, (1,)), (9, 4, (0, 1))]


def test_what_a_program_says_is_one_short_printable_line() -> None:
    assert said("\x1b[31ma\n\n b\x00") == "[31ma b"
    assert len(said("x" * 10_000)) == 300


def test_nvml_names_the_other_ends_of_nvlinks(hardware: Hardware) -> None:
    hardware.linked(0, 1)
    code = (
        "from mayfly.edge.gpus import Session\n"
        "for gpu in Session().read().gpus or (): print(gpu.bus, *gpu.links)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **hardware.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == [
        "00000000:01:00.0 00000000:02:00.0",
        "00000000:02:00.0 00000000:01:00.0",
    ]


# -- leftovers -----------------------------------------------------------------------------------


def test_what_a_process_is_called_is_cut_and_printable_and_its_age_counts() -> None:
    words = ["sleep", "60", "\x1b[31m`reboot`\n" + "x" * 5000]
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *words]) as process:
        try:
            until(lambda: "sleep 60" in command_of(process.pid), "the process")
            told = command_of(process.pid)
            assert told.isprintable()
            assert "`" not in told
            assert len(told) == 80
            age = age_of(process.pid)
            assert age is not None
            assert 0 <= age < 60
        finally:
            process.kill()
    assert (command_of(process.pid), age_of(process.pid)) == ("", None)


def test_a_process_of_no_container_of_that_name_is_not_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert not end_leftover(process.pid, ContainerId("c" * 64), None)
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
