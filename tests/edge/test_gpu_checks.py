"""Each check of GPUs on what NVML says, through NVIDIA's own binding and the stub: there and not, below and
above its threshold, switched off and turned into a warning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mayfly.core.gpu_checks import CHECKS
from mayfly.core.xids import APPLICATION_XIDS
from tests.edge.test_gpus import Reader
from tests.fakes.nvml import Hardware, mig_uuid, uuid

HALF_AN_HOUR = 1800.0


@dataclass(frozen=True)
class Case:
    """What is done to the hardware, and how it was before."""

    code: str
    ill: dict[str, object] = field(default_factory=dict)  # of the `health` line
    well: dict[str, object] = field(default_factory=dict)
    gpu: dict[str, object] = field(default_factory=dict)  # of the `gpu` line, ill
    before: dict[str, object] = field(default_factory=dict)  # of the `gpu` line, well
    line: str = ""  # a statement of its own
    after: float = 0.0  # seconds that it has to be so
    healable: bool = False


CASES = [
    Case("gpu.lost", line="error * 15 0"),
    Case("gpu.reset_required", line="error * 16 0", healable=True),
    Case("gpu.xid", line="xid gpu=0 code=79"),
    Case("gpu.xid", line="xid gpu=0 code=48", healable=True),
    Case("gpu.xid_notice", line="xid gpu=0 code=63"),
    Case("gpu.xid_application", line="xid gpu=0 code=31"),
    Case("gpu.remap_failed", gpu={"remap": "0,0,0,1"}),
    Case("gpu.remap_pending", gpu={"remap": "0,0,1,0"}, healable=True),
    Case("gpu.ecc_uncorrected", gpu={"ecc": 3}, before={"ecc": 2}, healable=True),
    Case("gpu.recovery", {"recovery": 1}, {"recovery": 0}, healable=True),
    Case("gpu.recovery", {"recovery": 2}, {"recovery": 0}),
    Case("gpu.recovery", {"recovery": 6}, {"recovery": 0}),
    Case("gpu.fabric", {"fabric": "3,999,0"}, {"fabric": "3,0,1"}),
    Case("gpu.fabric", {"fabric": "3,0,2"}, {"fabric": "3,0,1"}),
    Case("gpu.fabric_waiting", {"fabric": "2,0,0"}, {"fabric": "3,0,1"}, after=120.0),
    Case("gpu.fabric_waiting", {"fabric": "1,0,0"}, {"fabric": "3,0,1"}, after=120.0),
    Case("gpu.ecc_corrected", {"corrected": 101}, {"corrected": 0}),
    Case("gpu.pcie_replays", {"replays": 9}, {"replays": 0}),
    Case(
        "gpu.pcie_generation",
        {"generation": "1,4"},
        {"generation": "4,4"},
        {"util": 90},
        {"util": 90},
        after=60.0,
    ),
    Case(
        "gpu.pcie_width",
        {"width": "8,16"},
        {"width": "16,16"},
        {"util": 90},
        {"util": 90},
        after=60.0,
    ),
    Case("gpu.thermal_slowdown", gpu={"reasons": "0x40"}, before={"reasons": "0"}, after=30.0),
    Case("gpu.thermal_slowdown", gpu={"reasons": "0x20"}, before={"reasons": "0"}, after=30.0),
    Case("gpu.power_brake", gpu={"reasons": "0x80"}, before={"reasons": "0"}, after=30.0),
    Case("gpu.power_cap", gpu={"reasons": "0x4"}, before={"reasons": "0"}, after=60.0),
    Case(
        "gpu.clocks_stuck",
        gpu={"util": 90},
        before={"util": 0},
        line="clocks gpu=0 sm=345",
        after=60.0,
    ),
]
IDS = [f"{case.code}-{number}" for number, case in enumerate(CASES)]
LASTS = [case for case in CASES if case.after]
# Those that look at more than the device itself, in tests/core.
OF_SLOTS = {"gpu.gone", "gpu.unreadable", "gpu.leftover_process", "gpu.memory_kept"}


class Bench:
    """One process for all tests, each with hardware that is as new."""

    def __init__(self, hardware: Hardware, ask: Reader) -> None:
        self.hardware = hardware
        self.ask = ask

    def anew(self, **settings: object) -> Hardware:
        self.hardware.changes, self.hardware.lines = {}, ["clocks gpu=0 sm=1800"]
        self.hardware.write()
        said = {f"gpu.{code}": setting for code, setting in settings.items()}
        self.ask("close")
        self.ask(f"checks {json.dumps(said)}")
        return self.hardware

    def found(self, at: float, gpu: int = 0) -> list[Any]:
        return [one for one in self.ask(f"found {at}") if one["uuid"] == uuid(gpu)]

    def codes(self, at: float, gpu: int = 0) -> list[str]:
        return [one["code"] for one in self.found(at, gpu)]

    def healthy(self, case: Case) -> None:
        self.hardware.health(0, **case.well)
        self.hardware.gpu(0, **case.before)

    def spoil(self, case: Case) -> None:
        self.hardware.health(0, **case.ill)
        self.hardware.gpu(0, **case.gpu)
        if case.line:
            self.hardware.say(case.line)


@pytest.fixture(scope="module")
def running() -> Iterator[Bench]:
    with Hardware(gpus=2) as hardware, Reader(hardware.environment()) as ask:
        yield Bench(hardware, ask)


def key(case: Case) -> str:
    return case.code.removeprefix("gpu.")


def test_every_check_of_a_device_has_a_case() -> None:
    assert {case.code for case in CASES} | OF_SLOTS == set(CHECKS)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_it_is_found_where_it_is_so_and_nowhere_else(running: Bench, case: Case) -> None:
    """On the GPU that has it, not before it has it for long enough, and not on its neighbour."""
    setting = {} if CHECKS[case.code].fixed else {key(case): "hold"}
    running.anew(**setting)
    running.healthy(case)
    assert running.codes(0.0) == []
    running.spoil(case)
    assert running.codes(10.0) == ([] if case.after else [case.code])
    if case.after:
        assert running.codes(10.0 + case.after - 1) == []
    (found,) = running.found(10.0 + case.after)
    assert (found["code"], found["severity"]) == (case.code, "hold")
    assert found["healable"] is case.healable
    assert uuid(0) in found["text"]
    assert running.codes(10.0 + case.after, gpu=1) == []


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_it_warns_or_is_off_as_the_configuration_says(running: Bench, case: Case) -> None:
    if CHECKS[case.code].fixed:
        return  # tests/edge/test_gpu_check_values.py
    for severity in ("warn", "off"):
        running.anew(**{key(case): severity})
        running.healthy(case)
        running.found(0.0)
        running.spoil(case)
        running.found(10.0)
        seen = [(one["code"], one["severity"]) for one in running.found(10.0 + case.after)]
        assert seen == ([(case.code, severity)] if severity == "warn" else [])


@pytest.mark.parametrize(
    ("code", "below", "above"),
    [
        ("ecc_uncorrected", {"gpu": {"ecc": 7}}, {"gpu": {"ecc": 8}}),
        ("ecc_corrected", {"health": {"corrected": 7}}, {"health": {"corrected": 8}}),
        ("pcie_replays", {"health": {"replays": 7}}, {"health": {"replays": 8}}),
    ],
)
def test_a_count_is_found_above_its_threshold(
    running: Bench, code: str, below: dict[str, Any], above: dict[str, Any]
) -> None:
    hardware = running.anew(**{code: {"threshold": 7}})
    hardware.health(0, corrected=0, replays=0)
    running.found(0.0)
    for state, expected in ((below, []), (above, [f"gpu.{code}"])):
        hardware.health(0, **state.get("health", {}))
        hardware.gpu(0, **state.get("gpu", {}))
        assert running.codes(10.0) == expected


@pytest.mark.parametrize("case", LASTS, ids=[case.code for case in LASTS])
def test_how_long_it_has_to_be_so_is_said_and_it_ends_when_it_is_over(
    running: Bench, case: Case
) -> None:
    if case.code == "gpu.clocks_stuck":
        return  # its threshold is a part of the clock
    running.anew(**{key(case): {"severity": "warn", "threshold": 20}})
    running.spoil(case)
    assert [running.codes(at) for at in (0.0, 19.0, 20.0)] == [[], [], [case.code]]
    running.healthy(case)
    assert running.codes(21.0) == []


def test_counts_of_long_ago_are_not_of_now(running: Bench) -> None:
    hardware = running.anew()
    for at, replays in ((0.0, 0), (10.0, 9), (40.0, 9), (75.0, 9)):
        hardware.health(0, replays=replays)
        assert running.codes(at) == (["gpu.pcie_replays"] if 0 < at < 70 else [])
    for at, corrected in ((100.0, 0), (200.0, 90), (HALF_AN_HOUR, 180), (3 * HALF_AN_HOUR, 200)):
        hardware.health(0, corrected=corrected)
        assert ("gpu.ecc_corrected" in running.codes(at)) is (at == HALF_AN_HOUR)


@pytest.mark.parametrize("part", ["generation", "width"])
def test_a_link_that_rests_with_its_gpu_is_fine(running: Bench, part: str) -> None:
    hardware = running.anew()
    hardware.health(0, **{part: "1,4"})
    hardware.gpu(0, util=49)
    assert [running.codes(at) for at in (0.0, 60.0, 600.0)] == [[], [], []]


@pytest.mark.parametrize(
    ("clocks", "reasons", "stuck"),
    [("sm=590", 0, True), ("sm=600", 0, False), ("sm=345", 0x40, False), ("sm=345", 0x80, False)],
)
def test_a_clock_that_stays_down_while_the_gpu_works_is_told_where_nothing_says_why(
    running: Bench, clocks: str, reasons: int, stuck: bool
) -> None:
    hardware = running.anew(thermal_slowdown="off", power_brake="off")
    hardware.say(f"clocks gpu=0 max=1980 {clocks}")
    hardware.gpu(0, util=90, reasons=reasons)
    assert running.codes(0.0) == []
    assert running.codes(60.0) == (["gpu.clocks_stuck"] if stuck else [])
    running.anew(clocks_stuck={"threshold": 10})
    hardware.say("clocks gpu=0 sm=345")
    hardware.gpu(0, util=90)
    assert [running.codes(at) for at in (0.0, 60.0)] == [[], []], "345 is more than that"


ASKED = (
    "nvmlDeviceGetCurrPcieLinkGeneration",
    "nvmlDeviceGetMaxPcieLinkGeneration",
    "nvmlDeviceGetCurrPcieLinkWidth",
    "nvmlDeviceGetMaxPcieLinkWidth",
    "nvmlDeviceGetPcieReplayCounter",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetGpuFabricInfoV",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetRemappedRows",
)


@pytest.mark.parametrize("answer", ["missing {}", "error {} 3", "error {} 4", "error {} 25"])
def test_a_gpu_and_a_driver_that_have_none_of_it_are_judged_by_none_of_it(
    running: Bench, answer: str
) -> None:
    hardware = running.anew(**{key(case): "hold" for case in CASES if not CHECKS[case.code].fixed})
    hardware.health(0, recovery=1, fabric="3,999,2", generation="1,4", width="1,16", replays=0)
    hardware.gpu(0, util=90, reasons="0xff", ecc=0, remap="0,0,1,1")
    hardware.say(*(answer.format(call) for call in ASKED))
    for at in (0.0, 60.0, 300.0):
        hardware.health(0, replays=int(at) * 100, corrected=int(at) * 100)
        hardware.gpu(0, ecc=int(at))
        assert running.codes(at) == []
    told = running.ask("read")
    assert told["problem"] is None
    gauges = told["vitals"][uuid(0)]["gauges"]
    assert set(gauges.values()) == {None}


def test_a_call_that_a_check_alone_needs_fails_no_reading(running: Bench) -> None:
    """Also with an error after which the session is opened anew where it is one of the others."""
    hardware = running.anew()
    hardware.say(*(f"error {call} 999" for call in ASKED[:-2]))
    assert running.codes(0.0) == []
    assert running.ask("read")["vitals"][uuid(0)]["used"] == 0
    hardware.say("error nvmlDeviceGetPcieReplayCounter 15 0")
    assert running.codes(1.0) == ["gpu.lost"]


def test_a_driver_that_knows_an_older_form_of_the_fabric_is_asked_in_that(running: Bench) -> None:
    hardware = running.anew()
    hardware.health(0, fabric="3,15,0", fabric_version=2)
    assert running.codes(0.0) == ["gpu.fabric"]
    hardware.health(0, fabric="3,0,2")  # a summary that this form does not have
    assert running.codes(1.0) == []
    hardware.health(0, fabric="0,0,0")
    assert running.codes(2.0) == []


def test_a_mig_device_is_judged_by_its_gpu_and_by_itself(running: Bench) -> None:
    hardware = running.anew(pcie_generation="hold")
    hardware.mig(0, 2)
    hardware.health(0, recovery=0, replays=0, corrected=0, generation="1,4")
    hardware.gpu(0, util=100)
    parts = {mig_uuid(0, 0), mig_uuid(0, 1)}
    assert running.ask("found 0.0") == []
    assert running.ask("found 100.0") == [], "NVML does not say how much a split GPU works"
    hardware.health(0, recovery=1, replays=50)
    found = running.ask("found 110.0")
    assert {(one["code"], one["uuid"]) for one in found} == {
        ("gpu.recovery", uuid(0)),
        ("gpu.pcie_replays", uuid(0)),
    }
    hardware.lines = [
        line for line in hardware.lines if f"slot=1 uuid={mig_uuid(0, 1)}" not in line
    ]
    hardware.health(0, recovery=0)
    told = running.ask("read")
    assert parts - told["vitals"].keys() == {mig_uuid(0, 1)}


@pytest.mark.parametrize("hardware_xid", [48, 79, 999])
def test_a_storm_of_an_application_s_xids_hides_no_hardware_xid(
    running: Bench, hardware_xid: int
) -> None:
    hardware = running.anew()
    assert running.codes(0.0) == []
    storm = [f"xid gpu=0 code={code}" for code in sorted(APPLICATION_XIDS) * 16]
    hardware.say(*storm[:50], f"xid gpu=0 code={hardware_xid}", *storm[50:])
    (found,) = running.found(1.0)
    assert (found["code"], found["xid"]) == ("gpu.xid", hardware_xid)
    hardware.say(*storm)
    assert [one["xid"] for one in running.found(100_000.0)] == [hardware_xid]
    running.ask(f"retried {uuid(0)}")
    assert running.codes(100_001.0) == []


def test_a_retry_forgives_a_counter(running: Bench) -> None:
    hardware = running.anew(pcie_replays="hold")
    hardware.health(0, replays=0)
    running.found(0.0)
    hardware.health(0, replays=20)
    assert running.codes(1.0) == ["gpu.pcie_replays"]
    running.ask(f"retried {uuid(0)}")
    assert running.codes(2.0) == []
