"""``mayfly gpus`` as text, and whether one GPU fails more jobs than the others."""

from __future__ import annotations

from typing import Any

import pytest

from mayfly.cli.render_gpus import beside, by_gpu, gpus
from mayfly.core.gpu_checks import CheckSeverity, GpuFinding
from mayfly.core.gpu_health import Process, Reading, Vitals
from mayfly.core.leases import Gpu, Mig
from mayfly.core.model import GpuVerdict, Pending, SlotName
from mayfly.service.gpu_document import document

GIB = 2**30
A = Gpu("GPU-aaaa", 0, "NVIDIA H100", 80 * GIB, capability=(9, 0))
B = Gpu("GPU-bbbb", 1, "NVIDIA A100", 40 * GIB, mig=(Mig("MIG-1", "1g.5gb", 5 * GIB),), split=True)
SLOT = SlotName("gpu-0")
VITALS = {
    "GPU-aaaa": Vitals(20 * GIB, 80 * GIB, 93, (Process(7, GIB),)),
    "GPU-bbbb": Vitals(0, 40 * GIB),
    "MIG-1": Vitals(0, 5 * GIB),
}
READING = Reading(1000.0, 1000.1, "570.86.15", (12, 8), (A, B), VITALS)


def told(reading: Reading | None = READING, **keys: Any) -> dict[str, Any]:
    given = {"verdicts": {}, "leases": {SLOT: ("GPU-aaaa",)}, **keys}
    return document((A, B), reading, **given)


def test_each_gpu_and_mig_device_has_a_row_with_the_slots_that_hold_it() -> None:
    lines = gpus(told(), None)
    assert lines[0] == "2 GPUs; driver 570.86.15, CUDA up to 12.8"
    rows = [line.split() for line in lines[2:]]
    assert rows[0] == ["GPU", "NAME", "CC", "MEMORY", "USED", "LOAD", "SLOT", "UUID", "NOTE"]
    assert "93 %" in lines[3]
    assert "gpu-0" in lines[3]
    assert rows[2][0] == "1"
    assert rows[2][-1] == "split"
    assert rows[3][:2] == ["1:0", "1g.5gb"]


def test_of_slots_that_have_a_gpu_in_turn_the_row_says_whose_it_is_now() -> None:
    other = SlotName("wide-0")
    leases = {SLOT: ("GPU-aaaa",), other: ("GPU-aaaa", "MIG-1")}
    working = told(leases=leases, at_work={other})
    assert (working["gpus"][0]["slots"], working["gpus"][0]["at_work"]) == ([SLOT, other], [other])
    rows = gpus(working, None)
    assert rows[3].endswith("wide-0 has it")
    assert "has it" not in "".join(rows[4:]), "it is the only one that may have that"
    assert "has it" not in "".join(gpus(told(leases=leases), None))


def test_the_table_fits_eighty_columns() -> None:
    assert all(len(line) <= 80 for line in gpus(told(), 80))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"verdicts": {SLOT: GpuVerdict(sick="XID 79")}}, "slot gpu-0 has a sick GPU: XID 79"),
        (
            {"verdicts": {SLOT: GpuVerdict(pending=Pending.UNCLEAN, text="memory")}},
            "slot gpu-0 waits for its GPUs: memory",
        ),
        ({"late": 1005.0}, "NVML has not answered since 1970-01-01T00:16:45.000Z"),
        ({"reading": None}, "NVML has not answered yet"),
        ({"reading": Reading(1.0, 1.0, problem="no driver")}, "no driver"),
    ],
)
def test_what_is_wrong_is_said_in_words(keys: dict[str, Any], says: str) -> None:
    assert any(says in line for line in gpus(told(**keys), None))


def test_the_document_has_what_nvml_said() -> None:
    gpu = told()["gpus"][0]
    assert (gpu["uuid"], gpu["compute"], gpu["used"]) == ("GPU-aaaa", "9.0", 20 * GIB)
    assert gpu["slots"] == ["gpu-0"]
    assert gpu["processes"] == [{"pid": 7, "memory": GIB, "container": None, "agent": None}]
    gone = document((A,), Reading(1.0, 1.0, gpus=()), {}, {})
    assert gone["gpus"][0]["problem"] == "it is gone"  # type: ignore[index]


def life(gpu: str, exit_code: int | None = 0, cause: str | None = None) -> dict[str, Any]:
    return {
        "gpus": [gpu],
        "opened": "2026-01-01T00:00:00Z",
        "outcome": "job_done",
        "exit_code": exit_code,
        "cause": cause,
    }


def test_a_gpu_that_fails_more_jobs_than_the_others_shows() -> None:
    agents = [life("GPU-aaaa"), life("GPU-aaaa", 1), life("GPU-bbbb"), life("GPU-bbbb")]
    agents += [life("GPU-aaaa", None, "timeout")]
    agents += [{**life("GPU-aaaa"), "outcome": "no_job"}, {**life("GPU-aaaa"), "opened": None}]
    rows = by_gpu(agents)
    assert rows == [
        {"uuid": "GPU-aaaa", "jobs": 3, "failed": 2},
        {"uuid": "GPU-bbbb", "jobs": 2, "failed": 0},
    ]
    assert beside("GPU-aaaa", rows) == (
        "GPU-aaaa: 2 of 3 jobs failed (67 %); the other GPUs: 0 of 2 jobs failed (0 %)"
    )
    assert beside("GPU-cccc", []) == "GPU-cccc: no job; the other GPUs: no job"


def test_what_checks_have_found_stands_below_with_its_code() -> None:
    hot = GpuFinding("gpu.thermal_slowdown", "GPU-aaaa", "GPU-aaaa slows", CheckSeverity.WARN)
    sick = GpuFinding("gpu.xid", "MIG-1", "XID 79")
    verdicts = {SLOT: GpuVerdict(sick="XID 79", code="gpu.xid", device="MIG-1")}
    document = told(found=(hot, sick), verdicts=verdicts)
    row = {"code": "gpu.thermal_slowdown", "severity": "warn", "text": "GPU-aaaa slows"}
    assert document["gpus"][0]["checks"] == [row]
    assert document["slots"][0]["code"] == "gpu.xid"
    lines = gpus(document, None)
    assert lines[-1] == "gpu.thermal_slowdown: GPU-aaaa slows"
    assert sum("XID 79" in line for line in lines) == 1, "it is said of the slot"
