"""Clocks by NVIDIA's own binding, on a stub of the library: locked, unlocked, refused, and hanging."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.nvml import Hardware, uuid
from tests.harness import until

ROOT = Path(__file__).parents[2]
FIRST, SECOND = uuid(0), uuid(1)


class Clocks:
    """A process that locks and unlocks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, *words: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(words)}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def process(hardware: Hardware, module: Path, patience: float = 20.0) -> Iterator[Clocks]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.nvml.clocks", str(module), str(patience)],
        env={**os.environ, **hardware.environment()},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as made:
        try:
            yield Clocks(made)
        finally:
            made.kill()


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2) as made:
        yield made


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """What stands for the driver's module."""
    made = tmp_path / "nvidia"
    made.mkdir()
    return made


@pytest.fixture
def clocks(hardware: Hardware, module: Path) -> Iterator[Clocks]:
    with process(hardware, module) as made:
        yield made


def test_clocks_are_locked_and_unlocked_and_how_the_gpus_fared_is_told(
    clocks: Clocks, hardware: Hardware
) -> None:
    hardware.say("clocks gpu=0 sm=1395 temperature=41")
    locked = clocks("lock", [FIRST, SECOND], 1410, 2619)
    assert hardware.done_to_clocks() == [
        f"{word} {gpu}{number}"
        for gpu in (FIRST, SECOND)
        for word, number in (
            ("persistence", " 1"),
            ("lock", " 1410 1410"),
            ("memory-lock", " 2619 2619"),
        )
    ]
    assert [(one["uuid"], one["began"]) for one in locked["seen"]] == [(FIRST, 41), (SECOND, 40)]
    hardware.gpu(0, reasons=0x84)
    hardware.say("clocks gpu=0 sm=1395 temperature=66")
    done = len(hardware.done_to_clocks())
    told = clocks("unlock", [FIRST, SECOND], locked["driver"], True)
    assert hardware.done_to_clocks()[done:] == [
        f"{word} {gpu}" for gpu in (FIRST, SECOND) for word in ("unlock", "memory-unlock")
    ]
    assert told["unheld"] == ""
    first, second = told["seen"]
    assert (first["began"], first["ended"], second["ended"]) == (41, 66, 40)
    assert first["throttled"] == ["power_brake", "power_cap"]
    # It is safe to repeat, and by somebody who knows nothing of the locking.
    assert clocks("unlock", [FIRST], "", False)["seen"][0]["low"] is None


def test_a_gpu_is_looked_at_while_its_clocks_are_locked(clocks: Clocks, hardware: Hardware) -> None:
    hardware.say("slow nvmlDeviceGetClockInfo 1")
    driver = clocks("lock", [FIRST], 1410, None)["driver"]

    def low() -> Any:
        (seen,) = clocks("unlock", [FIRST], driver, False)["seen"]
        if seen["low"] is None:  # not looked at yet
            clocks("lock", [FIRST], 1410, None)
        return seen["low"]

    assert until(low, "it is looked at") == 1410


REFUSED: list[tuple[list[str], tuple[int, int | None], str, str]] = [
    (
        [],
        (1411, None),
        "Refused",
        f"{FIRST} has no 1411 MHz for `clock`: the nearest are 1410 and 1425",
    ),
    ([], (1410, 2600), "Refused", f"{FIRST} has no 2600 MHz for `memory_clock`"),
    (["error nvmlDeviceSetGpuLockedClocks 4"], (1410, None), "Refused", "wants CAP_SYS_ADMIN"),
    (
        ["error nvmlDeviceSetGpuLockedClocks 3"],
        (1410, None),
        "Refused",
        "cannot have its clocks locked",
    ),
    (["error nvmlDeviceSetPersistenceMode 4"], (1410, None), "Refused", "wants CAP_SYS_ADMIN"),
    (
        ["missing nvmlDeviceSetGpuLockedClocks"],
        (1410, None),
        "Passing",
        "too old for this call",
    ),
    (["error nvmlDeviceSetGpuLockedClocks 15"], (1410, None), "Passing", "fallen off the bus"),
    (["error * 9"], (1410, None), "_NoDriver", "kernel module is not loaded"),
]


def test_what_cannot_be_locked_is_refused_and_says_why(clocks: Clocks, hardware: Hardware) -> None:
    for lines, lock, family, told in REFUSED:
        hardware.say(*lines)
        answer = clocks("lock", [FIRST], *lock)
        hardware.unsay(*lines)
        assert (answer["family"], told in answer["fault"]) == (family, True), answer
    assert not [line for line in hardware.done_to_clocks() if line.startswith("lock")]


def test_a_gpu_that_lists_no_frequencies_is_locked_as_it_is_told(
    clocks: Clocks, hardware: Hardware
) -> None:
    hardware.say("missing nvmlDeviceGetSupportedMemoryClocks")
    assert "fault" not in clocks("lock", [FIRST], 1411, None)


def test_locks_of_a_driver_that_is_loaded_anew_are_gone_and_nobody_else_s_are_touched(
    clocks: Clocks, hardware: Hardware, module: Path
) -> None:
    driver = clocks("lock", [FIRST], 1410, None)["driver"]
    (module.parent / "kept").mkdir()  # so that the next one has another number
    module.rmdir()
    (module.parent / "more").mkdir()
    module.mkdir()
    hardware.note_among_clocks("reload")
    hardware.note_among_clocks(f"lock {FIRST} 1200 1200")  # by a person
    told = clocks("unlock", [FIRST], driver, False)
    assert told["unheld"].startswith("the driver was loaded again meanwhile")
    assert hardware.done_to_clocks()[-1] == f"lock {FIRST} 1200 1200"
    told = clocks("unlock", [FIRST], driver.replace("-", "0"), False)
    assert told["unheld"].startswith("the host was started again meanwhile")


def test_a_driver_that_lost_its_settings_is_told_and_unlocked_all_the_same(
    clocks: Clocks, hardware: Hardware
) -> None:
    driver = clocks("lock", [FIRST], 1410, None)["driver"]
    hardware.note_among_clocks(f"persistence {FIRST} 0")
    told = clocks("unlock", [FIRST], driver, False)
    assert "persistence mode of" in told["unheld"]
    assert hardware.done_to_clocks()[-1] == f"unlock {FIRST}"


def test_a_gpu_or_a_driver_that_is_gone_has_nothing_locked(
    clocks: Clocks, hardware: Hardware
) -> None:
    driver = clocks("lock", [FIRST, SECOND], 1410, None)["driver"]
    hardware.gpus = 1
    hardware.write()
    told = clocks("unlock", [FIRST, SECOND], driver, False)
    assert f"{SECOND} is not there any more" in told["unheld"]
    assert hardware.done_to_clocks()[-1] == f"unlock {FIRST}"
    hardware.say("error * 9")
    assert "the driver is gone" in clocks("unlock", [FIRST], driver, False)["unheld"]


def test_nobody_waits_for_a_driver_that_hangs_and_what_was_given_up_is_not_done_later(
    hardware: Hardware, module: Path
) -> None:
    with process(hardware, module, patience=0.2) as clocks:
        hardware.say("hang nvmlDeviceSetPersistenceMode")
        assert "did not answer within 0.2 s" in clocks("lock", [FIRST], 1410, None)["fault"]
        assert clocks("lock", [SECOND], 1410, None)["family"] == "Passing"
        hardware.unsay("hang nvmlDeviceSetPersistenceMode")
        until(
            lambda: "fault" not in clocks("unlock", [FIRST, SECOND], "", False),
            "it answers again",
        )
    done = hardware.done_to_clocks()
    assert f"lock {SECOND} 1410 1410" not in done
    assert done[-1] == f"unlock {SECOND}"
    assert done.index(f"lock {FIRST} 1410 1410") < done.index(f"unlock {FIRST}")
