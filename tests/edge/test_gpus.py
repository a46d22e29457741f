"""NVML through NVIDIA's own binding, on a stub of the library: facts, errors and their fix, XIDs, hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.fakes.nvml import Hardware, mig_uuid, uuid

ROOT = Path(__file__).parents[2]
Until = Callable[..., object]


class Reader:
    """A process that reads that hardware, and tells."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.nvml.reader"],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def __call__(self, word: str = "read") -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2) as made:
        yield made


@pytest.fixture
def read(hardware: Hardware) -> Iterator[Reader]:
    with Reader(hardware.environment()) as made:
        yield made


def test_driver_cuda_and_every_gpu_are_told(hardware: Hardware, read: Reader) -> None:
    hardware.gpu(1, name="\x1b[31mNVIDIA_H100", cc="9.0", memory=81920, used=1024, util=37, ecc=2)
    hardware.say("clocks gpu=1 temperature=63")
    found = read()
    assert found["driver"] == "570.86.15"
    assert found["cuda"] == [12, 8]
    assert [gpu["uuid"] for gpu in found["gpus"]] == [uuid(0), uuid(1)]
    gpu = found["gpus"][1]
    assert (gpu["index"], gpu["minor"], gpu["capability"]) == (1, 1, [9, 0])
    assert (gpu["name"], gpu["memory"]) == ("NVIDIA H100", 81920 * 2**20)
    vitals = found["vitals"][uuid(1)]
    assert (vitals["used"], vitals["utilisation"], vitals["ecc"]) == (1024 * 2**20, 37, 2)
    assert vitals["temperature"] == 63


def test_mig_devices_are_told_with_gaps_between_their_numbers(
    hardware: Hardware, read: Reader
) -> None:
    hardware.mig(1, 3)
    hardware.unsay(*[line for line in hardware.lines if " slot=1 " in line])
    split = read()["gpus"][1]
    assert split["split"] is True
    assert [part["uuid"] for part in split["mig"]] == [mig_uuid(1, 0), mig_uuid(1, 2)]
    assert split["mig"][0]["name"] == "1g.10gb"
    hardware.mig(1, 0)
    assert read()["gpus"][1]["split"] is False


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (4, "may not talk to the driver"),
        (9, "`modprobe nvidia`"),
        (11, "interrupts"),
        (17, "blocked the driver"),
        (18, "of different versions"),
        (20, "no memory left"),
        (27, "not ready yet"),
        (999, "fails without saying why"),
        (30, "NVML fails with"),
    ],
)
def test_each_error_of_the_driver_is_one_sentence_with_its_fix(
    hardware: Hardware, read: Reader, code: int, says: str
) -> None:
    hardware.say(f"error nvmlInitWithFlags {code}")
    found = read()
    assert found["gpus"] is None
    assert says in found["problem"]
    hardware.unsay(f"error nvmlInitWithFlags {code}")
    assert read()["problem"] is None


def test_a_host_without_a_driver_says_so() -> None:
    with Reader({}) as read:
        assert "there is no NVIDIA driver on this host" in read()["problem"]


def test_a_driver_that_is_replaced_under_the_session_is_found_again(
    hardware: Hardware, read: Reader
) -> None:
    assert read()["problem"] is None
    hardware.say("error * 18")
    assert "of different versions" in read()["problem"]
    hardware.unsay("error * 18")
    hardware.driver = "580.65.06"
    hardware.write()
    found = read()
    assert (found["problem"], found["driver"]) == (None, "580.65.06")


def test_one_gpu_that_fell_off_the_bus_does_not_hide_the_other(
    hardware: Hardware, read: Reader
) -> None:
    read()
    hardware.say("error * 15 0")
    found = read()
    assert [gpu["uuid"] for gpu in found["gpus"]] == [uuid(0), uuid(1)]
    lost, well = found["vitals"][uuid(0)], found["vitals"][uuid(1)]
    assert lost["lost"] is True
    assert "fallen off the bus" in lost["problem"]
    assert well["problem"] is None
    hardware.unsay("error * 15 0")
    assert read()["vitals"][uuid(0)]["problem"] is None


def test_an_xid_is_told_once_and_belongs_to_its_gpu_even_when_that_is_lost(
    hardware: Hardware, read: Reader
) -> None:
    read()
    hardware.xid(1, 31)
    assert [(xid["uuid"], xid["code"]) for xid in read()["xids"]] == [(uuid(1), 31)]
    assert read()["xids"] == []
    hardware.say("error * 15 1", "xid gpu=1 code=79")
    found = read()
    assert [(xid["uuid"], xid["code"]) for xid in found["xids"]] == [(uuid(1), 79)]


def test_a_call_that_an_old_driver_does_not_have_takes_nothing_else_away(
    hardware: Hardware, read: Reader
) -> None:
    hardware.gpu(0, used=100)
    hardware.say(
        "missing nvmlDeviceGetMemoryInfo_v2",
        "missing nvmlDeviceGetRemappedRows",
        "missing nvmlDeviceGetMigMode",
        "missing nvmlSystemGetCudaDriverVersion_v2",
        "missing nvmlDeviceGetSupportedEventTypes",
        "missing nvmlEventSetCreate",
    )
    found = read()
    assert found["problem"] is None
    assert found["cuda"] == [12, 8]
    assert (
        found["vitals"][uuid(0)]["used"] == 700 * 2**20
    )  # with the driver's own, which it cannot tell


def test_processes_are_told_with_their_container(hardware: Hardware, read: Reader) -> None:
    hardware.process(0, os.getpid(), 512)
    hardware.process(0, 4_194_304, 256)
    ours, gone = read()["vitals"][uuid(0)]["processes"]
    assert (ours["pid"], ours["memory"], ours["gone"]) == (os.getpid(), 512 * 2**20, False)
    assert gone["gone"] is True


def test_a_process_that_draws_is_told_too_and_one_that_does_both_once(
    hardware: Hardware, read: Reader
) -> None:
    hardware.say("process gpu=0 pid=1 memory=300 draws=1")
    hardware.say(f"process gpu=0 pid={os.getpid()} memory=200 draws=2")
    found = read()["vitals"][uuid(0)]["processes"]
    assert {one["pid"]: one["memory"] >> 20 for one in found} == {1: 300, os.getpid(): 200}
    assert len(found) == 2


def test_a_hang_is_told_and_ends_with_it(hardware: Hardware, read: Reader, until: Until) -> None:
    read("watch")
    until(lambda: read("latest"))
    hardware.say("hang nvmlDeviceGetMemoryInfo_v2")
    began = time.time()
    read("ask")
    since = until(lambda: read("since"))
    assert isinstance(since, float)
    assert since >= began - 1
    assert read("latest")["began"] < began
    hardware.unsay("hang nvmlDeviceGetMemoryInfo_v2")
    until(lambda: read("latest")["began"] >= began)
    assert read("since") is None


def test_a_module_of_that_name_that_is_not_nvidia_s_is_refused(
    hardware: Hardware, tmp_path: Path
) -> None:
    (tmp_path / "pynvml.py").write_text("def nvmlInit(): pass\n")
    with Reader({**hardware.environment(), "PYTHONPATH": str(tmp_path)}) as read:
        told = read()["problem"]
    assert "is not NVIDIA's" in told
    assert "pip uninstall pynvml" in told


def test_a_session_that_is_closed_holds_no_device(hardware: Hardware, read: Reader) -> None:
    read()
    read("close")
    hardware.driver = "580.65.06"
    hardware.write()
    assert read()["driver"] == "580.65.06"


def test_energy_and_why_clocks_are_lowered_are_told_where_the_gpu_has_them(
    hardware: Hardware, read: Reader
) -> None:
    hardware.gpu(0, energy=123_456, reasons="0x44")
    hardware.mig(1, 1)
    found = read()["vitals"]
    assert (found[uuid(0)]["energy"], sorted(found[uuid(0)]["throttles"])) == (
        123_456,
        ["power_cap", "thermal"],
    )
    part = found[mig_uuid(1, 0)]
    assert (part["energy"], part["throttles"]) == (None, None)
    assert (found[uuid(1)]["energy"], found[uuid(1)]["throttles"]) == (None, [])


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (0x0, []),
        (0x1 | 0x4, []),  # idle at its cap
        (0x2 | 0x10 | 0x100, []),  # as a person has set it
        (0x4, ["power_cap"]),
        (0x20, ["thermal"]),
        (0x8 | 0x40, ["thermal"]),
        (0x8 | 0x80, ["power_brake"]),
        (0x8, ["slowdown"]),
    ],
)
def test_what_nvml_s_reasons_for_clocks_mean(
    hardware: Hardware, read: Reader, reasons: int, told: list[str]
) -> None:
    hardware.gpu(0, reasons=hex(reasons))
    assert read()["vitals"][uuid(0)]["throttles"] == told


def test_an_older_driver_tells_throttling_by_the_former_name(
    hardware: Hardware, read: Reader
) -> None:
    hardware.say("missing nvmlDeviceGetCurrentClocksEventReasons")
    hardware.gpu(0, reasons="0x20")
    assert read()["vitals"][uuid(0)]["throttles"] == ["thermal"]
    hardware.say("missing nvmlDeviceGetCurrentClocksThrottleReasons")
    found = read()["vitals"][uuid(0)]
    assert (found["throttles"], found["problem"]) == (None, None)
