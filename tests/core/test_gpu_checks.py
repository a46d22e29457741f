"""The table of checks: what each finds, and what the configuration makes of that."""

from __future__ import annotations

import pytest

from mayfly.core import gpu_checks as checks
from mayfly.core.gpu_checks import CHECKS, CheckSetting, CheckSeverity, CheckTable, GpuFinding
from mayfly.core.gpu_conditions import all_found, conditions
from mayfly.core.gpu_findings import OF_KIND
from mayfly.core.gpu_gate import judge
from mayfly.core.gpu_gauges import PARTS, Gauges, Growing, grown, lasting
from mayfly.core.gpu_health import Ours, Process, Reading, Record, Tenant, Vitals, recorded
from mayfly.core.gpu_metering import Throttle
from mayfly.core.gpus import Gpus
from mayfly.core.leases import Gpu
from mayfly.core.model import Config, GpuVerdict, HostSpec, Severity, SlotName
from mayfly.core.xids import XIDS, Xid, XidKind

A = Gpu("GPU-a", 0)
MIB = 2**20


def table(**settings: object) -> CheckTable:
    return CheckTable(
        {
            f"gpu.{code}": CheckSetting(CheckSeverity(said))
            if isinstance(said, str)
            else CheckSetting(threshold=float(str(said)))
            for code, said in settings.items()
        }
    )


def test_what_harms_a_result_holds_and_what_only_slows_warns() -> None:
    by_severity = {
        severity: {code for code, check in CHECKS.items() if check.severity is severity}
        for severity in CheckSeverity
    }
    slow = {checks.PCIE_GENERATION, checks.PCIE_WIDTH, checks.THERMAL, checks.POWER_BRAKE}
    assert slow <= by_severity[CheckSeverity.WARN]
    wrong = {checks.XID, checks.ECC_UNCORRECTED, checks.REMAP_PENDING, checks.REMAP_FAILED}
    assert wrong <= by_severity[CheckSeverity.HOLD]
    assert by_severity[CheckSeverity.OFF] == {checks.POWER_CAP, checks.XID_APPLICATION}


def test_each_number_is_of_one_kind_and_each_kind_has_its_check() -> None:
    assert set(OF_KIND) == set(XidKind)
    assert set(OF_KIND.values()) <= set(CHECKS)
    resettable = {code for code, meaning in XIDS.items() if meaning.resettable}
    assert {48, 62, 64, 95, 119, 120} <= resettable
    assert not resettable & {74, 79}
    assert all(XIDS[code].kind is XidKind.HARDWARE for code in resettable)


def look(xids: tuple[int, ...], settings: CheckTable) -> GpuVerdict:
    record = Record(0, 0, {code: Xid("GPU-a", code, 90.0) for code in xids})
    seen = Reading(100.0, 100.0, gpus=(A,), vitals={"GPU-a": Vitals(used=0, ecc=0)})
    return judge(Tenant(("GPU-a",), 0.0), seen, {"GPU-a": record}, (A,), Ours(), settings)


@pytest.mark.parametrize(
    ("code", "severity", "holds", "warns"),
    [
        (79, "hold", True, False),
        (79, "warn", False, True),
        (79, "off", False, False),
        (63, "hold", True, False),
        (63, None, False, True),
        (13, None, False, False),
        (13, "hold", True, False),
    ],
)
def test_a_kind_and_one_number_of_it_are_tuned_apart(
    code: int, severity: str | None, holds: bool, warns: bool
) -> None:
    setting = CheckSetting(CheckSeverity(severity) if severity else None)
    for key in (f"gpu.xid.{code}", OF_KIND[XIDS[code].kind]):
        found = look((code,), CheckTable({key: setting}))
        assert (found.sick is not None, bool(found.warnings)) == (holds, warns)
        assert found.fit is not holds
        assert not (holds and found.returns), "nothing tells that it is over"
    other = look((code, 95), CheckTable({f"gpu.xid.{code}": CheckSetting(CheckSeverity.OFF)}))
    assert "XID 95" in (other.sick or "")


def test_a_report_that_only_warns_is_shown_for_an_hour() -> None:
    record = Record(0, 0, {63: Xid("GPU-a", 63, 1000.0)})
    for at, shown in ((1000.0, 1), (4599.0, 1), (4601.0, 0)):
        seen = Reading(at, at, gpus=(A,), vitals={"GPU-a": Vitals(used=0)})
        word = judge(Tenant(("GPU-a",), 0.0), seen, {"GPU-a": record}, (A,), Ours())
        assert len(word.warnings) == shown


@pytest.mark.parametrize("severity", list(CheckSeverity))
def test_what_a_job_left_is_as_bad_as_the_configuration_says(severity: CheckSeverity) -> None:
    gone = Process(7, 0, gone=True)
    seen = Reading(
        100.0, 100.0, gpus=(A,), vitals={"GPU-a": Vitals(used=900 * MIB, processes=(gone,))}
    )
    said = CheckSetting(severity)
    settings = CheckTable({checks.LEFTOVER_PROCESS: said, checks.MEMORY_KEPT: said})
    found = judge(Tenant(("GPU-a",), 0.0), seen, {"GPU-a": Record(quiet=0)}, (A,), Ours(), settings)
    shown = {one.code for one in found.warnings}
    match severity:
        case CheckSeverity.HOLD:
            assert (found.code, found.healable) == (checks.LEFTOVER_PROCESS, True)
        case CheckSeverity.WARN:
            assert found.fit
            assert shown == {checks.LEFTOVER_PROCESS, checks.MEMORY_KEPT}
        case CheckSeverity.OFF:
            assert (found.fit, shown) == (True, set())


@pytest.mark.parametrize(("limit", "used", "fit"), [(100, 101, False), (100, 100, True)])
def test_how_much_memory_may_be_kept_is_said(limit: int, used: int, fit: bool) -> None:
    seen = Reading(100.0, 100.0, gpus=(A,), vitals={"GPU-a": Vitals(used=used * MIB)})
    settings = table(memory_kept=limit)
    word = judge(Tenant(("GPU-a",), 0.0), seen, {"GPU-a": Record(quiet=0)}, (A,), Ours(), settings)
    assert word.fit is fit


def test_a_counter_is_told_over_its_window_in_bounded_room() -> None:
    counter: Growing | None = None
    for second in range(3600):
        counter = grown(counter, second, float(second), 60.0)
        assert len(counter.points) <= PARTS + 1
        assert counter.grown <= 60
    assert counter is not None
    assert counter.grown >= 55
    assert grown(counter, 5, 3600.0, 60.0).grown == 0, "the driver was loaded anew"
    assert grown(counter, 3605, 10.0, 60.0).grown == 0, "the clock was set back"
    assert grown(counter, 3599, 9000.0, 60.0).grown == 0, "that was long ago"


def test_what_lasts_is_bridged_for_a_minute_and_ends_at_once_where_it_is_over() -> None:
    known = lasting({}, {"x": True}, 0.0)
    known = lasting(known, {"x": None}, 50.0)
    known = lasting(known, {"x": True}, 55.0)
    assert known["x"].seconds == 55.0
    assert lasting(known, {"x": None}, 116.0) == {}
    assert lasting(known, {"x": False}, 56.0) == {}
    assert lasting(known, {"x": True}, 10.0)["x"].seconds == 0.0, "the clock was set back"


def test_a_reading_of_a_gpu_that_tells_nothing_finds_nothing() -> None:
    gpus = Gpus()
    for at in range(0, 4000, 100):
        vitals = Vitals(used=0, utilisation=100, gauges=Gauges())
        gpus = gpus.read(Reading(float(at), float(at), gpus=(A,), vitals={"GPU-a": vitals}))
        assert gpus.findings == ()


def test_a_changed_configuration_counts_for_what_was_read_before() -> None:
    seen = Reading(1.0, 1.0, gpus=(A,), vitals={"GPU-a": Vitals(used=0, gauges=Gauges(recovery=1))})
    gpus = Gpus().read(seen)
    assert [one.code for one in gpus.findings] == [checks.RECOVERY]
    off = {checks.RECOVERY: CheckSetting(CheckSeverity.OFF)}
    assert gpus.use_config(Config(HostSpec("box", gpu_checks=off), ())).findings == ()


def test_a_line_of_status_stands_for_all_gpus_of_which_a_check_says_the_same() -> None:
    hot = [
        GpuFinding(checks.THERMAL, f"GPU-{n}", f"GPU-{n} slows down", CheckSeverity.WARN)
        for n in range(3)
    ]
    sick = GpuFinding(checks.XID, "GPU-0", "XID 79 on GPU-0")
    (line,) = conditions([*hot, sick], {"GPU-0"})
    assert (line.code, line.severity) == (checks.THERMAL, Severity.WARNING)
    assert line.text == "GPU-0 slows down (and so of 2 more)"
    # Of a GPU that no slot has nothing else is said.
    assert [one.code for one in conditions([sick], set())] == [checks.XID]


def test_what_is_found_on_a_device_and_by_a_slot_is_told_once() -> None:
    sick = GpuFinding(checks.XID, "GPU-a", "XID 79 on GPU-a", returns=False, xid=79)
    verdict = GpuVerdict(sick="XID 79 on GPU-a", code=checks.XID, device="GPU-a")
    kept = GpuFinding(checks.MEMORY_KEPT, "GPU-a", "900 MiB", CheckSeverity.WARN)
    told = all_found(
        [sick], {SlotName("a-0"): verdict, SlotName("a-1"): GpuVerdict(warnings=(kept,))}
    )
    assert told == (sick, kept)


def test_a_record_follows_a_counter_and_a_state_of_each_gpu_by_itself() -> None:
    records: dict[str, Record] = {}
    cool = Gauges(replays=0)
    for at in (0.0, 40.0):
        vitals = {
            "GPU-a": Vitals(gauges=Gauges(replays=int(at)), throttles=(Throttle.THERMAL,)),
            "GPU-b": Vitals(gauges=cool, throttles=()),
        }
        records = recorded(records, Reading(at, at, gpus=(), vitals=vitals))
    assert records["GPU-a"].growing[checks.PCIE_REPLAYS].grown == 40
    assert records["GPU-a"].lasting[checks.THERMAL].seconds == 40.0
    assert records["GPU-b"].growing[checks.PCIE_REPLAYS].grown == 0
    assert records["GPU-b"].lasting == {}
