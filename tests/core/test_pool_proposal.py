"""Which pools are proposed for a host's GPUs: one a kind, which these serve whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.gpu_selection import GpuSelection
from mayfly.core.leases import Gpu, Mig, assign, devices_of
from mayfly.core.model import PoolName, PoolSpec
from mayfly.core.pool_proposal import Proposal, proposals

GIB = 2**30


def box(*models: str) -> list[Gpu]:
    return [
        Gpu(f"GPU-{index}", index, name, 80 * GIB, capability=(9, 0))
        for index, name in enumerate(models)
    ]


CUT = Gpu(
    "GPU-9",
    9,
    "NVIDIA A100-SXM4-40GB",
    40 * GIB,
    mig=(
        Mig("MIG-1", "1g.5gb", 5 * GIB),
        Mig("MIG-2", "3g.20gb", 20 * GIB),
        Mig("MIG-3", "1g.5gb", 5 * GIB),
    ),
    split=True,
    capability=(8, 0),
)
H100 = "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("gpus", "turns", "expected"),
    [
        ([], True, []),
        ([Gpu("GPU-0", 0, split=True)], True, []),
        (box(H100), True, [("gpu", 1, 1, None, False)]),
        (box(H100, H100), True, [("gpu", 2, 1, None, False)]),
        (
            box(*[H100] * 8),
            True,
            [("gpu", 8, 1, None, True), ("gpu-x4", 2, 4, None, True), ("gpu-x8", 1, 8, None, True)],
        ),
        (box(*[H100] * 8), False, [("gpu", 8, 1, None, False)]),
        (
            box(H100, "NVIDIA L4", H100),
            True,
            [
                ("h100", 2, 1, GpuSelection("H100 80GB HBM3"), False),
                ("l4", 1, 1, GpuSelection("L4"), False),
            ],
        ),
        # A part is told from a whole GPU of the same model by its profile, and that by having none.
        (
            [*box("NVIDIA A100-SXM4-40GB"), CUT],
            True,
            [
                ("a100", 1, 1, GpuSelection("A100-SXM4-40GB", mig="none"), False),
                ("a100-1g-5gb", 2, 1, GpuSelection("A100-SXM4-40GB", mig="1g.5gb"), False),
                ("a100-3g-20gb", 1, 1, GpuSelection("A100-SXM4-40GB", mig="3g.20gb"), False),
            ],
        ),
        # Words of one are those of the other, too: the compute capability tells them apart.
        (
            [
                Gpu("GPU-0", 0, "NVIDIA RTX 6000", 24 * GIB, capability=(7, 5)),
                Gpu("GPU-1", 1, "NVIDIA RTX 6000 Ada Generation", 48 * GIB, capability=(8, 9)),
            ],
            True,
            [
                ("rtx-6000", 1, 1, GpuSelection("RTX 6000", compute="==7.5"), False),
                ("rtx-6000-ada", 1, 1, GpuSelection("RTX 6000 Ada Generation"), False),
            ],
        ),
        # One that has lost a few pages is of the same kind.
        (
            [Gpu("GPU-0", 0, H100, 80 * GIB), Gpu("GPU-1", 1, H100, 80 * GIB - 2**20)],
            True,
            [("gpu", 2, 1, None, False)],
        ),
    ],
)
def test_there_is_a_pool_for_each_kind(
    gpus: list[Gpu], turns: bool, expected: list[tuple[object, ...]]
) -> None:
    told = [
        (one.name, one.slots, one.gpus, one.gpu, one.in_turn)
        for one in proposals(gpus, turns=turns)
    ]
    assert told == expected


def spec_of(proposed: Proposal) -> PoolSpec:
    return PoolSpec(
        PoolName(proposed.name),
        slots=proposed.slots,
        gpus=proposed.gpus,
        gpu=proposed.gpu,
        exclusive="in turn" if proposed.in_turn else "always",
    )


NAMES = st.sampled_from(
    [
        "NVIDIA A100",
        "NVIDIA A100 80GB PCIe",
        H100,
        "NVIDIA RTX 6000",
        "NVIDIA RTX 6000 Ada",
        "",
        "-",
        "NVIDIA",
    ]
)
MEMORY = st.sampled_from([0, 24 * GIB, 40 * GIB, 80 * GIB])
COMPUTE = st.sampled_from([None, (7, 5), (8, 0), (9, 0)])
PARTS = st.lists(st.sampled_from(["1g.5gb", "3g.20gb"]), min_size=1, max_size=3)
KINDS = st.tuples(NAMES, MEMORY, COMPUTE, st.none() | PARTS)


@st.composite
def boxes(draw: st.DrawFn) -> list[Gpu]:
    kinds = draw(st.lists(KINDS, min_size=1, max_size=3))
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=9))
    return [
        Gpu(
            f"GPU-{index}",
            index,
            name,
            memory,
            mig=tuple(
                Mig(f"MIG-{index}-{number}", profile, 5 * GIB)
                for number, profile in enumerate(parts or ())
            ),
            split=parts is not None,
            capability=compute,
        )
        for index, (name, memory, compute, parts) in enumerate(chosen)
    ]


@given(boxes(), st.booleans())
def test_the_gpus_serve_what_is_proposed_for_them_and_each_is_in_a_slot(
    gpus: list[Gpu], turns: bool
) -> None:
    proposed = proposals(gpus, turns=turns)
    names = [one.name for one in proposed]
    assert len(set(names)) == len(names)
    leases = assign([spec_of(one) for one in proposed], gpus)
    assert not leases.obstacles
    leased = {uuid for lease in leases.slots.values() for uuid in lease}
    assert leased == {uuid for gpu in gpus for uuid in devices_of(gpu)}
