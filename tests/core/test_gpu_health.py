"""The health gate: what holds a slot, what is waited for, and what is let pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.gpu_checks import MEMORY_KEPT, CheckTable
from mayfly.core.gpu_gate import judge
from mayfly.core.gpu_health import (
    RECHECK,
    ForeignContainer,
    Ours,
    Process,
    Reading,
    Record,
    Tenant,
    Vitals,
    foreign,
    foreign_containers_on_lease,
    forgiven,
    merged,
    physical,
    recorded,
)
from mayfly.core.leases import Gpu, Mig
from mayfly.core.model import ContainerId, Generation, GpuVerdict, Pending, SlotName
from mayfly.core.xids import APPLICATION_XIDS, REMEMBERED, Xid

A, B = Gpu("GPU-a", 0), Gpu("GPU-b", 1)
SPLIT = Gpu("GPU-c", 2, mig=(Mig("MIG-1"), Mig("MIG-2")), split=True)
GIB = 2**30
ENDED = 1000.0
SLACK = int(CheckTable().threshold(MEMORY_KEPT)) * 2**20
QUIET = Vitals(used=0, total=80 * GIB, utilisation=0, ecc=0)
LOST = replace(QUIET, lost=True, problem="it fell off")
OURS, WAITING, ALIEN = ContainerId("ours"), ContainerId("waiting"), ContainerId("alien")
FIT = GpuVerdict(fit=True)
MAKER, GONE = Generation("mywpiww03hg4s"), Generation("mywpiww01hg4s")  # who could have containers
OF = Ours({OURS, WAITING}, {WAITING}, {one: SlotName("g-0") for one in (MAKER, GONE)}, {MAKER})


def reading(
    vitals: Vitals = QUIET, after: float = 0.01, problem: str | None = None, **others: Vitals
) -> Reading:
    if problem is not None:
        return Reading(ENDED + after, ENDED + after, problem=problem)
    found = {
        "GPU-a": vitals,
        "GPU-b": QUIET,
        **{key.replace("_", "-"): v for key, v in others.items()},
    }
    return Reading(ENDED + after, ENDED + after, gpus=(A, B), vitals=found)


def with_xids(*codes: int) -> Record:
    return Record(0, 0, {code: Xid("GPU-a", code, 1.0) for code in codes})


def word(
    seen: Reading | None,
    records: dict[str, Record] | None = None,
    tenant: Tenant | None = None,
) -> GpuVerdict:
    known = {"GPU-a": Record(quiet=0, ecc=0)} if records is None else records
    asked = tenant or Tenant(("GPU-a",), ENDED)
    return judge(asked, seen, known, (A, B, SPLIT), OF)


def test_a_quiet_gpu_is_fit() -> None:
    assert word(reading()) == FIT


@pytest.mark.parametrize(
    ("seen", "pending", "text"),
    [
        (None, Pending.NO_ANSWER, "NVML has not answered yet"),
        (reading(problem="no driver"), Pending.NO_ANSWER, "no driver"),
        (
            reading(after=-0.01),
            Pending.NOT_ASKED,
            "NVML has not been asked since the last job ended",
        ),
    ],
)
def test_what_is_not_known_opens_nothing_and_holds_nothing(
    seen: Reading | None, pending: Pending, text: str
) -> None:
    assert word(seen) == GpuVerdict(pending=pending, text=text)


@pytest.mark.parametrize(
    ("vitals", "says"),
    [
        (replace(QUIET, processes=(Process(7, GIB, OURS),)), "process 7 of an agent"),
        (replace(QUIET, processes=(Process(7, GIB, gone=True),)), "process 7 of an agent"),
        (replace(QUIET, used=3 * GIB), "3072 MiB of GPU-a were not returned"),
        (replace(QUIET, problem="GPU 0 is not ready yet"), "not ready"),
    ],
)
def test_what_a_job_left_is_waited_for_and_then_holds(vitals: Vitals, says: str) -> None:
    for after in (0.01, 3.0, RECHECK - 0.1):
        found = word(reading(vitals, after))
        assert not found.fit
        assert found.sick is None
        assert found.pending is Pending.UNCLEAN
        assert says in found.text
    assert word(reading(QUIET, 3.0)) == FIT
    held = word(reading(vitals, RECHECK + 0.1)).sick
    assert held is not None
    assert says in held


@pytest.mark.parametrize(
    "vitals",
    [
        replace(QUIET, used=SLACK),
        replace(QUIET, used=GIB, processes=(Process(7, GIB, WAITING),)),
        replace(QUIET, used=9 * GIB, processes=(Process(7, 9 * GIB, ALIEN),)),
        replace(QUIET, used=9 * GIB, processes=(Process(7, 9 * GIB),)),
        replace(QUIET, used=9 * GIB, processes=(Process(7, None, ALIEN),)),
        replace(QUIET, used=None, ecc=None),
    ],
    ids=["little", "our standby's", "another container's", "the host's", "unmeasured", "untold"],
)
def test_memory_that_somebody_accounts_for_holds_nothing(vitals: Vitals) -> None:
    assert word(reading(vitals, RECHECK + 1)) == FIT


def test_memory_that_was_always_in_use_is_the_host_s() -> None:
    vitals = replace(QUIET, used=2 * GIB)
    assert word(reading(vitals, 60), {"GPU-a": Record(quiet=2 * GIB)}) == FIT


@pytest.mark.parametrize(
    ("vitals", "record", "says", "code", "healable"),
    [
        (LOST, Record(0, 0), "it fell off", "gpu.lost", False),
        (replace(LOST, needs_reset=True), Record(0, 0), "it fell", "gpu.reset_required", True),
        (
            replace(QUIET, remap_failed=True),
            Record(0, 0),
            "could not remap",
            "gpu.remap_failed",
            False,
        ),
        (
            replace(QUIET, remap_pending=True),
            Record(0, 0),
            "--gpu-reset",
            "gpu.remap_pending",
            True,
        ),
        (
            replace(QUIET, ecc=3),
            Record(0, 2),
            "1 uncorrected ECC error on GPU-a",
            "gpu.ecc_uncorrected",
            True,
        ),
        (QUIET, with_xids(79), "XID 79 on GPU-a (the GPU has fallen", "gpu.xid", False),
        (QUIET, with_xids(48), "XID 48", "gpu.xid", True),
        (QUIET, with_xids(999), "see NVIDIA's Xid catalogue", "gpu.xid", False),
        # Both have to be healable, or nothing is.
        (QUIET, with_xids(48, 79), "XID 48", "gpu.xid", False),
    ],
)
def test_a_sick_gpu_holds_at_once_also_while_a_job_runs(
    vitals: Vitals, record: Record, says: str, code: str, healable: bool
) -> None:
    for at_work in (False, True):
        found = word(reading(vitals), {"GPU-a": record}, Tenant(("GPU-a",), ENDED, at_work=at_work))
        assert found.sick is not None
        assert says in found.sick
        assert (found.code, found.device, found.healable) == (code, "GPU-a", healable)
        assert ("mayfly retry" in found.sick) is not found.returns or vitals.lost
    assert word(reading(vitals), {"GPU-a": record}, Tenant(("GPU-b",), ENDED)) == FIT


@pytest.mark.parametrize("code", sorted(APPLICATION_XIDS))
def test_an_application_s_xid_holds_nothing(code: int) -> None:
    assert word(reading(), {"GPU-a": Record(0, 0, {code: Xid("GPU-a", code, 1.0)})}) == FIT


def test_a_gpu_that_is_not_listed_any_more_is_sick() -> None:
    seen = Reading(ENDED + 1, ENDED + 1, gpus=(B,), vitals={"GPU-b": QUIET})
    found = word(seen)
    assert found.sick is not None
    assert "GPU-a is not there any more" in found.sick


def test_while_a_job_runs_what_it_uses_is_its_own() -> None:
    busy = replace(QUIET, used=70 * GIB, processes=(Process(7, 70 * GIB, OURS),))
    assert word(reading(busy, 60), tenant=Tenant(("GPU-a",), ENDED, at_work=True)) == FIT


def test_where_slots_share_what_others_use_holds_nothing() -> None:
    busy = replace(QUIET, used=70 * GIB, processes=(Process(7, 70 * GIB, OURS),))
    assert word(reading(busy, 60), tenant=Tenant(("GPU-a",), ENDED, share=True)) == FIT


def test_a_mig_device_is_as_sick_as_its_gpu_and_as_clean_as_itself() -> None:
    part = replace(QUIET, ecc=None)
    tenant = Tenant(("MIG-1",), ENDED)
    seen = reading(GPU_c=QUIET, MIG_1=part, MIG_2=replace(part, used=9 * GIB))
    records = {"MIG-1": Record(0), "MIG-2": Record(0), "GPU-c": Record(0, 0)}
    assert word(seen, records, tenant) == FIT
    ill = {**records, "GPU-c": Record(0, 0, {95: Xid("GPU-c", 95, 1.0)})}
    sick = word(seen, ill, tenant).sick
    assert sick is not None
    assert "XID 95 on GPU-c" in sick
    dirty = reading(GPU_c=QUIET, MIG_1=replace(part, used=9 * GIB))
    assert "MIG-1" in word(dirty, records, tenant).text
    assert physical("MIG-2", (A, SPLIT)) == "GPU-c"
    assert physical("GPU-a", (A, SPLIT)) == "GPU-a"


def test_records_keep_the_least_use_the_first_errors_and_every_xid() -> None:
    records: dict[str, Record] = {}
    for used, ecc, xids in ((5 * GIB, 2, ()), (GIB, 2, (Xid("GPU-a", 31, 1.0),)), (4 * GIB, 7, ())):
        seen = replace(reading(replace(QUIET, used=used, ecc=ecc)), xids=xids)
        records = recorded(records, seen)
    assert records["GPU-a"] == Record(GIB, 2, {31: Xid("GPU-a", 31, 1.0)})
    after = forgiven(records, ("GPU-a",), (A,), reading(replace(QUIET, ecc=7)))
    assert after["GPU-a"] == Record(GIB, 7)
    assert after["GPU-b"] == records["GPU-b"]


@pytest.mark.parametrize("hardware", [48, 74, 79])
def test_no_storm_of_an_application_s_xids_makes_a_hardware_xid_forgotten(hardware: int) -> None:
    storm = [Xid("GPU-a", code, 2.0) for code in sorted(APPLICATION_XIDS) * 200]
    xids = (Xid("GPU-a", hardware, 1.0), *storm)
    records = recorded({"GPU-a": Record(0, 0)}, replace(reading(), xids=xids))
    for _ in range(3):
        records = recorded(records, replace(reading(), xids=tuple(storm)))
    sick = word(reading(), records).sick
    assert sick is not None
    assert f"XID {hardware} on GPU-a" in sick


def test_however_many_numbers_are_reported_what_is_remembered_has_a_bound() -> None:
    kinds = (*sorted(APPLICATION_XIDS), 63, 92, *range(1000, 1000 + 3 * REMEMBERED))
    records = recorded({}, replace(reading(), xids=(Xid("GPU-a", 79, 1.0),)))
    for at, code in enumerate(kinds):
        one = replace(reading(), xids=(Xid("GPU-a", code, 2.0 + at),))
        records = recorded(records, one)
        assert len(records["GPU-a"].xids) <= REMEMBERED
    assert not records["GPU-a"].xids.keys() & APPLICATION_XIDS
    assert word(reading(), records).code == "gpu.xid"


def test_a_counter_that_begins_anew_after_a_reset_hides_no_later_error() -> None:
    records: dict[str, Record] = {}
    for ecc in (5, 0, 2):
        records = recorded(records, reading(replace(QUIET, ecc=ecc)))
    assert "2 uncorrected ECC errors" in (word(reading(replace(QUIET, ecc=2)), records).sick or "")


def test_a_gpu_that_vanishes_keeps_its_place_and_new_ones_are_added() -> None:
    assert merged((A, B), (B,)) == (A, B)
    assert merged((A,), (A, B)) == (A, B)
    again = replace(A, mig=(Mig("MIG-9"),), split=True)
    assert merged((A, B), (again, B)) == (again, B)


@pytest.mark.parametrize(
    ("devices", "hit"),
    [
        (("GPU-a",), ["GPU-a"]),
        (("0",), ["GPU-a"]),
        (("all",), ["GPU-a", "MIG-1"]),
        (("nvidia.com/gpu=0",), ["GPU-a"]),
        (("nvidia.com/gpu=all",), ["GPU-a", "MIG-1"]),
        (("GPU-c",), ["MIG-1"]),
        (("MIG-2",), []),
        (("1",), []),
        ((), []),
    ],
)
def test_a_container_of_others_with_a_leased_gpu_is_found_by_whatever_name(
    devices: tuple[str, ...], hit: list[str]
) -> None:
    foreign = ForeignContainer("id", "name", devices)
    found = foreign_containers_on_lease(("GPU-a", "MIG-1"), (A, B, SPLIT), [foreign])
    assert found == [(uuid, foreign) for uuid in hit]


def test_a_stranger_is_shown_and_our_own_are_not() -> None:
    """Nor those in a container that an agent has made; one that another Mayfly's has is a stranger's."""
    made = Process(5, 0, ALIEN, agent=MAKER)
    elsewhere = Process(6, 0, ALIEN, agent=Generation("mywpiww09hg4s"))
    others = (Process(3, 0), Process(4, 0, gone=True), made, elsewhere)
    processes = (Process(1, 0, OURS), Process(2, 0, ALIEN), *others)
    seen = reading(replace(QUIET, processes=processes))
    shown = foreign(("GPU-a", "GPU-gone"), seen, OF)
    assert [(uuid, process.pid) for uuid, process in shown] == [
        ("GPU-a", 2),
        ("GPU-a", 3),
        ("GPU-a", 6),
    ]


def test_what_a_container_of_an_ended_agent_s_left_is_told_by_name_and_holds_the_slot() -> None:
    """Whose agent lives, or is still being cleared up after, works; a stranger's holds nobody."""
    box = ContainerId("c0ffee" * 8)
    working = reading(replace(QUIET, processes=(Process(7, GIB, box, agent=MAKER),)))
    assert word(working) == FIT
    alien = Process(7, GIB, box, agent=Generation("mywpiww09hg4s"))
    assert word(reading(replace(QUIET, processes=(alien,)))) == FIT
    left = replace(QUIET, processes=(Process(7, GIB, box, agent=GONE),))
    says = (
        f"process 7 of container {box[:12]} of g-0's agent {GONE} that has ended still holds GPU-a: "
        "end it or reset the GPU"
    )
    waits = GpuVerdict(code="gpu.leftover_process", device="GPU-a")
    assert word(reading(left)) == replace(waits, pending=Pending.UNCLEAN, text=says)
    # What lives uses the GPU: it is ended, not reset.
    held = replace(waits, sick=says, returns=True)
    assert word(reading(left, after=RECHECK)) == held
