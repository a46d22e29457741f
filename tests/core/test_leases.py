"""Leases: what each slot gets, and the one sentence that a pool gets instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.gpu_selection import GpuSelection
from mayfly.core.leases import Gpu, Leases, Mig, assign
from mayfly.core.model import PoolName, PoolSpec

A, B = Gpu("GPU-aaaa", 0), Gpu("GPU-bbbb", 1)
SPLIT = Gpu("GPU-cccc", 2, mig=(Mig("MIG-1"), Mig("MIG-2")), split=True)
BARE = Gpu("GPU-dddd", 3, split=True)


def pool(name: str, gpus: object = 1, slots: int = 1, *, share: bool = False) -> PoolSpec:
    return PoolSpec(name=PoolName(name), gpus=gpus, slots=slots, share=share)  # type: ignore[arg-type]


def in_turn(name: str, gpus: object = 1, slots: int = 1) -> PoolSpec:
    return replace(pool(name, gpus, slots), exclusive="in turn")


def of(
    model: str | None, spec: PoolSpec, *, mig: str | None = None, compute: str | None = None
) -> PoolSpec:
    """The pool, where it asks for such GPUs."""
    return replace(spec, gpu=GpuSelection(model=model, mig=mig, compute=compute))


def box(*models: str) -> list[Gpu]:
    """A host with GPUs of those models, ``GPU-0`` first."""
    return [
        Gpu(f"GPU-{index}", index, f"NVIDIA {model}", 80 * 2**30, capability=(8, 0))
        for index, model in enumerate(models)
    ]


def given_to(leases: Leases) -> dict[str, tuple[str, ...]]:
    return {str(name): lease for name, lease in leases.slots.items()}


@pytest.mark.parametrize(
    ("pools", "gpus", "expected"),
    [
        ([pool("a", 0, 2)], [A], {"a-0": (), "a-1": ()}),
        ([pool("a", 1, 2)], [B, A], {"a-0": ("GPU-aaaa",), "a-1": ("GPU-bbbb",)}),
        ([pool("a", 2)], [A, B], {"a-0": ("GPU-aaaa", "GPU-bbbb")}),
        ([pool("a", "all")], [A, B], {"a-0": ("GPU-aaaa", "GPU-bbbb")}),
        ([pool("a", (1,))], [A, B], {"a-0": ("GPU-bbbb",)}),
        ([pool("a", ("MIG-2",))], [SPLIT], {"a-0": ("MIG-2",)}),
        (
            [pool("a", 1, 3)],
            [A, SPLIT],
            {"a-0": ("GPU-aaaa",), "a-1": ("MIG-1",), "a-2": ("MIG-2",)},
        ),
        # A pool that counts leaves what another pool names, where it can.
        ([pool("a", 1), pool("b", (0,))], [A, B], {"a-0": ("GPU-bbbb",), "b-0": ("GPU-aaaa",)}),
        # Slots that share are spread over what there is.
        (
            [pool("a", 1, 3, share=True)],
            [A, B],
            {"a-0": ("GPU-aaaa",), "a-1": ("GPU-bbbb",), "a-2": ("GPU-aaaa",)},
        ),
        (
            [pool("a", "all", 2, share=True)],
            [A, B],
            {"a-0": ("GPU-aaaa", "GPU-bbbb"), "a-1": ("GPU-aaaa", "GPU-bbbb")},
        ),
        # Two pools that both share may have the same GPU.
        (
            [pool("a", (0,), share=True), pool("b", (0,), share=True)],
            [A],
            {"a-0": ("GPU-aaaa",), "b-0": ("GPU-aaaa",)},
        ),
        # Pools in turn may, too, and have those first that the fewest of them have.
        (
            [in_turn("a"), in_turn("b"), in_turn("c", "all")],
            [A, B],
            {"a-0": ("GPU-aaaa",), "b-0": ("GPU-bbbb",), "c-0": ("GPU-aaaa", "GPU-bbbb")},
        ),
        (
            [in_turn("a", 1, 2), in_turn("b", (1,)), in_turn("c", 2)],
            [A, B],
            {
                "a-0": ("GPU-aaaa",),
                "a-1": ("GPU-bbbb",),
                "b-0": ("GPU-bbbb",),
                "c-0": ("GPU-aaaa", "GPU-bbbb"),
            },
        ),
        (
            [in_turn("a", ("MIG-1",)), in_turn("b", 1, 2)],
            [SPLIT],
            {"a-0": ("MIG-1",), "b-0": ("MIG-2",), "b-1": ("MIG-1",)},
        ),
        # They get what is left by the others, wherever those stand.
        (
            [in_turn("a", 1, 1), pool("b")],
            [A, B],
            {"a-0": ("GPU-bbbb",), "b-0": ("GPU-aaaa",)},
        ),
        # What is nobody's in turn stays its pool's alone.
        (
            [pool("a"), in_turn("b"), in_turn("c")],
            [A, B],
            {"a-0": ("GPU-aaaa",), "b-0": ("GPU-bbbb",), "c-0": ("GPU-bbbb",)},
        ),
    ],
)
def test_pools_that_fit_get_what_they_ask_for(
    pools: list[PoolSpec], gpus: list[Gpu], expected: dict[str, tuple[str, ...]]
) -> None:
    leases = assign(pools, gpus)
    assert given_to(leases) == expected
    assert not leases.obstacles


@pytest.mark.parametrize(
    ("pools", "gpus", "held", "sentence"),
    [
        (
            [pool("a"), pool("b", 1, 3)],
            [A, B],
            "b",
            'pool "b" asks for 3 GPUs (3 slots of 1) and 1 of 2 is left after pool "a"',
        ),
        ([pool("a", 3)], [A, B], "a", 'pool "a" asks for 3 GPUs and this host has 2'),
        ([pool("a", 1)], [], "a", 'pool "a" asks for 1 GPU and this host has none'),
        ([pool("a", "all")], [], "a", 'pool "a" asks for all GPUs and this host has none'),
        ([pool("a", (0,))], [], "a", 'pool "a" names GPU 0 and this host has none'),
        (
            [pool("a", 1)],
            [BARE],
            "a",
            'pool "a" asks for 1 GPU and every GPU here is split by MIG without a MIG device',
        ),
        (
            [pool("a", "all", 2)],
            [A, B],
            "a",
            'pool "a" asks for all 2 GPUs in each of its 2 slots: give it one slot, or set share = true',
        ),
        (
            [pool("a", 1), pool("b", "all")],
            [A, B],
            "b",
            'pool "b" asks for all 2 GPUs and 1 of 2 is left after pool "a"',
        ),
        (
            [pool("a", (0,)), pool("b", (0,))],
            [A, B],
            "b",
            'pool "b" names GPU-aaaa, already leased to pool "a"',
        ),
        (
            [pool("a", (0,)), pool("b", (0,), share=True)],
            [A],
            "b",
            'pool "b" names GPU-aaaa, already leased to pool "a"',
        ),
        (
            [pool("a", (0,), share=True), pool("b", 1)],
            [A],
            "b",
            'pool "b" asks for 1 GPU and 0 of 1 are left after pool "a"',
        ),
        (
            [pool("a", (0,), 2)],
            [A],
            "a",
            'pool "a" names GPU-aaaa for each of its 2 slots: give it one slot, or set share = true',
        ),
        (
            [pool("a", (0, "GPU-aaaa"))],
            [A],
            "a",
            'pool "a" names GPU-aaaa twice, once as GPU-aaaa',
        ),
        (
            [pool("a", (7,))],
            [A, B],
            "a",
            'pool "a" names GPU 7, which this host does not have: it has 0 (GPU-aaaa) and 1 (GPU-bbbb)',
        ),
        (
            [pool("a", (2,))],
            [A, SPLIT],
            "a",
            'pool "a" names GPU 2, which is split by MIG: name its MIG devices',
        ),
    ],
)
def test_a_pool_that_does_not_fit_gets_one_sentence(
    pools: list[PoolSpec], gpus: list[Gpu], held: str, sentence: str
) -> None:
    leases = assign(pools, gpus)
    assert leases.obstacles == {PoolName(held): sentence}


def test_a_held_pool_takes_nothing_from_those_after_it() -> None:
    leases = assign([pool("a", 3), pool("b", 1, 2)], [A, B])
    assert given_to(leases) == {"a-0": (), "b-0": ("GPU-aaaa",), "b-1": ("GPU-bbbb",)}
    assert set(leases.obstacles) == {"a"}


def test_unknown_gpus_hold_the_pools_that_need_some_and_no_others() -> None:
    leases = assign([pool("a", 1), pool("b", 0)], None, "the driver is not loaded yet")
    assert set(leases.obstacles) == {"a"}
    assert "not known: the driver is not loaded yet" in next(iter(leases.obstacles.values()))


DEVICES = st.lists(
    st.one_of(
        st.just("gpu"), st.integers(min_value=0, max_value=3)
    ),  # a whole GPU, or one that is split in so many
    max_size=5,
).map(
    lambda kinds: [
        Gpu(f"GPU-{index}", index)
        if kind == "gpu"
        else Gpu(
            f"GPU-{index}",
            index,
            mig=tuple(Mig(f"MIG-{index}-{part}") for part in range(int(kind))),
            split=True,
        )
        for index, kind in enumerate(kinds)
    ]
)
ENTRIES = st.one_of(
    st.integers(0, 5),
    st.integers(0, 5).map(lambda index: f"GPU-{index}"),
    st.tuples(st.integers(0, 5), st.integers(0, 3)).map(lambda at: f"MIG-{at[0]}-{at[1]}"),
)
ASKED = st.one_of(
    st.integers(0, 4),
    st.just("all"),
    st.lists(ENTRIES, min_size=1, max_size=3, unique=True).map(tuple),
)


@st.composite
def configurations(draw: st.DrawFn) -> tuple[list[PoolSpec], list[Gpu]]:
    kinds: tuple[Callable[[str, object, int], PoolSpec], ...]
    kinds = (pool, in_turn, partial(pool, share=True))
    pools = [
        draw(st.sampled_from(kinds))(f"p{index}", draw(ASKED), draw(st.integers(0, 3)))
        for index in range(draw(st.integers(0, 4)))
    ]
    return pools, draw(DEVICES)


@given(configurations())
def test_no_device_is_in_two_slots_unless_both_share_it_or_their_pools_have_it_in_turn(
    world: tuple[list[PoolSpec], list[Gpu]],
) -> None:
    pools, gpus = world
    leases = assign(pools, gpus)
    of = {f"{spec.name}-{index}": spec for spec in pools for index in range(spec.slots)}
    for one, other in combinations(leases.slots, 2):
        if set(leases.slots[one]) & set(leases.slots[other]):
            both = of[one], of[other]
            in_turn = all(spec.takes_turns for spec in both) and both[0].name != both[1].name
            assert in_turn or all(spec.share for spec in both)


@given(configurations())
def test_a_slot_has_what_it_asked_for_or_a_sentence_that_says_why_not(
    world: tuple[list[PoolSpec], list[Gpu]],
) -> None:
    pools, gpus = world
    leases = assign(pools, gpus)
    visible = {
        uuid
        for gpu in gpus
        for uuid in ([part.uuid for part in gpu.mig] if gpu.split else [gpu.uuid])
    }
    assert len(leases.slots) == sum(spec.slots for spec in pools)
    for spec in pools:
        for index in range(spec.slots):
            name = next(name for name in leases.slots if name == f"{spec.name}-{index}")
            lease = leases.slots[name]
            assert len(set(lease)) == len(lease)
            assert set(lease) <= visible
            if spec.name in leases.obstacles:
                assert lease == ()
                assert leases.obstacles[spec.name].startswith(f'pool "{spec.name}" ')
            elif isinstance(spec.gpus, int):
                assert len(lease) == spec.gpus
            elif spec.gpus == "all":
                assert set(lease) == visible
            else:
                assert len(lease) == len(spec.gpus)


@given(configurations())
def test_a_pool_is_never_held_because_of_one_that_comes_later(
    world: tuple[list[PoolSpec], list[Gpu]],
) -> None:
    pools, gpus = world
    pools = sorted(pools, key=lambda one: one.takes_turns)  # in the order in which they are served
    together = assign(pools, gpus).obstacles
    for count in range(len(pools)):
        alone = assign(pools[:count], gpus).obstacles
        assert {spec.name for spec in pools[:count]} & set(together) == set(alone)


CUT = Gpu(
    "GPU-9",
    9,
    "NVIDIA H100 80GB HBM3",
    80 * 2**30,
    mig=(Mig("MIG-1", "1g.10gb", 10 * 2**30), Mig("MIG-2", "3g.40gb", 40 * 2**30)),
    split=True,
    capability=(9, 0),
)


@pytest.mark.parametrize(
    ("pools", "gpus", "expected"),
    [
        # One that may have any gives way to one after it that may not.
        (
            [pool("any"), of("H100", pool("big"))],
            box("H100", "A100"),
            {"any-0": ("GPU-1",), "big-0": ("GPU-0",)},
        ),
        (
            [of("A100", pool("some")), pool("any", 1, 2), of("H100", pool("big", 2))],
            box("H100", "A100", "H100", "L4", "A100"),
            {
                "some-0": ("GPU-1",),
                "any-0": ("GPU-3",),
                "any-1": ("GPU-4",),
                "big-0": ("GPU-0", "GPU-2"),
            },
        ),
        # Nobody of three has the first that it would take.
        (
            [
                of(None, pool("a"), compute=">=8.0"),
                of("NVIDIA H100", pool("b"), mig="none"),
                pool("c", (0,)),
            ],
            box("H100", "H100", "A100"),
            {"a-0": ("GPU-2",), "b-0": ("GPU-1",), "c-0": ("GPU-0",)},
        ),
        # All of them: those that fit.
        ([of("H100", pool("a", "all"))], box("H100", "A100", "H100"), {"a-0": ("GPU-0", "GPU-2")}),
        # Who shares leaves what others can have alone, too.
        (
            [pool("unit", 1, 1, share=True), of("H100", pool("big"))],
            box("H100", "A100"),
            {"unit-0": ("GPU-1",), "big-0": ("GPU-0",)},
        ),
        (
            [pool("unit", 1, 1, share=True), of("H100", pool("big")), of("A100", pool("old"))],
            box("H100", "A100", "A100"),
            {"unit-0": ("GPU-1",), "big-0": ("GPU-0",), "old-0": ("GPU-2",)},
        ),
        (
            [of("A100", pool("unit", 1, 3, share=True)), pool("any")],
            box("H100", "A100", "A100"),
            {"unit-0": ("GPU-1",), "unit-1": ("GPU-2",), "unit-2": ("GPU-1",), "any-0": ("GPU-0",)},
        ),
        # Of pools in turn each has what it may have, and what it alone may first.
        (
            [in_turn("any"), of("H100", in_turn("big")), in_turn("wide", 2)],
            box("H100", "A100"),
            {"any-0": ("GPU-1",), "big-0": ("GPU-0",), "wide-0": ("GPU-1", "GPU-0")},
        ),
        (
            [of("H100", in_turn("big")), pool("any")],
            box("H100", "A100"),
            {"big-0": ("GPU-0",), "any-0": ("GPU-1",)},
        ),
        # A MIG device has the model of its GPU, and memory of its own.
        ([of("H100", pool("a"), mig="3g.40gb")], [CUT], {"a-0": ("MIG-2",)}),
        ([of("H100", pool("a", 1, 2))], [CUT], {"a-0": ("MIG-1",), "a-1": ("MIG-2",)}),
        (
            [of("H100", pool("part", 1, 2)), of("H100", pool("whole"), mig="none")],
            [*box("H100"), CUT],
            {"part-0": ("MIG-1",), "part-1": ("MIG-2",), "whole-0": ("GPU-0",)},
        ),
    ],
)
def test_pools_get_what_they_select(
    pools: list[PoolSpec], gpus: list[Gpu], expected: dict[str, tuple[str, ...]]
) -> None:
    leases = assign(pools, gpus)
    assert not leases.obstacles
    assert given_to(leases) == expected


@pytest.mark.parametrize(
    ("pools", "gpus", "held", "sentence"),
    [
        (
            [of("H100", pool("a"))],
            box("A100", "A100", "L4"),
            "a",
            (
                'pool "a" asks for 1 GPU of model "H100", and none here is such a one: this host has 2 '
                "NVIDIA A100 (80GiB, compute capability 8.0) and 1 NVIDIA L4 (80GiB, compute capability 8.0)"
            ),
        ),
        (
            [of("H100", pool("a", 2, 2))],
            box("H100", "H100", "H100"),
            "a",
            (
                'pool "a" asks for 4 GPUs (2 slots of 2) of model "H100" and this host has 3 such: '
                "3 NVIDIA H100 (80GiB, compute capability 8.0)"
            ),
        ),
        (
            [of("H100", pool("a")), of("H100", pool("b", 2))],
            box("H100", "H100", "A100"),
            "b",
            'pool "b" asks for 2 GPUs of model "H100" and 1 of 2 such is left after pool "a"',
        ),
        (
            [pool("a", 2), of("H100", pool("b", "all"))],
            box("H100", "H100", "A100"),
            "b",
            'pool "b" asks for all 2 GPUs of model "H100" and 1 of 2 such is left after pool "a"',
        ),
        (
            [of("H100", pool("a", "all", 2))],
            box("H100", "H100"),
            "a",
            (
                'pool "a" asks for all 2 GPUs of model "H100" in each of its 2 slots: give it one slot, '
                "or set share = true"
            ),
        ),
        (
            [of("H100", pool("a"), mig="1g.20gb")],
            [CUT],
            "a",
            (
                'pool "a" asks for 1 GPU of model "H100" of MIG profile 1g.20gb, and none here is such a '
                "one: this host has 1 MIG 1g.10gb of NVIDIA H100 80GB HBM3 (10GiB, compute capability 9.0) "
                "and 1 MIG 3g.40gb of NVIDIA H100 80GB HBM3 (40GiB, compute capability 9.0)"
            ),
        ),
        (
            [of("H100", pool("a")), of("H100", in_turn("b"))],
            box("H100", "A100"),
            "b",
            'pool "b" asks for 1 GPU of model "H100" and 0 of 1 such are left after pool "a"',
        ),
        (
            [of("H100", pool("a"))],
            [],
            "a",
            'pool "a" asks for 1 GPU of model "H100" and this host has none',
        ),
    ],
)
def test_what_cannot_be_selected_is_said_with_what_there_is(
    pools: list[PoolSpec], gpus: list[Gpu], held: str, sentence: str
) -> None:
    leases = assign(pools, gpus)
    assert leases.obstacles == {held: sentence}


MODELS = ("A100", "H100", "L4")


@st.composite
def boxes(draw: st.DrawFn) -> tuple[list[PoolSpec], list[Gpu]]:
    """Pools with GPUs of their own that select, and pools that share or take turns beside them."""
    kinds: tuple[Callable[[str, object, int], PoolSpec], ...]
    kinds, pools = (pool, pool, in_turn, partial(pool, share=True)), []
    for index in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(kinds))
        asked = draw(st.one_of(st.integers(1, 2), st.just("all")))
        spec = kind(f"p{index}", asked, 1 if asked == "all" else draw(st.integers(1, 2)))
        wanted = draw(st.sampled_from([None, "A100", "H100", "L4", "NVIDIA"]))
        pools.append(spec if wanted is None else of(wanted, spec))
    return pools, box(*draw(st.lists(st.sampled_from(MODELS), max_size=5)))


def places(spec: PoolSpec, gpus: list[Gpu]) -> list[list[str]]:
    """What each of the GPUs may be that the pool is to have for itself."""
    asked = (spec.gpu or GpuSelection()).model or "NVIDIA"
    fitting = [gpu.uuid for gpu in gpus if asked in gpu.name.split()]
    if spec.gpus == "all":
        return [[uuid] for uuid in fitting] or [[]]
    assert isinstance(spec.gpus, int)
    return [fitting] * (spec.gpus * spec.slots)


def can_be(wanted: list[list[str]], taken: frozenset[str] = frozenset()) -> bool:
    """Whether there is a GPU for each place, by trying all."""
    if not wanted:
        return True
    first, *rest = wanted
    return any(can_be(rest, taken | {uuid}) for uuid in first if uuid not in taken)


@given(boxes())
def test_each_pool_is_served_that_can_be_beside_those_before_it(
    world: tuple[list[PoolSpec], list[Gpu]],
) -> None:
    pools, gpus = world
    own = [spec for spec in pools if not spec.share and not spec.takes_turns]
    leases = assign(own, gpus)
    served: list[list[str]] = []
    for spec in own:
        both = [*served, *places(spec, gpus)]
        assert (spec.name not in leases.obstacles) is can_be(both), spec.name
        served = both if can_be(both) else served


@given(boxes())
def test_what_a_slot_has_is_what_its_pool_selects_and_is_the_same_each_time(
    world: tuple[list[PoolSpec], list[Gpu]],
) -> None:
    pools, gpus = world
    leases = assign(pools, gpus)
    assert leases == assign(pools, list(reversed(gpus)))
    exclusive: dict[str, str] = {}
    for spec in pools:
        for index in range(spec.slots):
            lease = given_to(leases)[f"{spec.name}-{index}"]
            assert set(lease) <= {uuid for one in places(spec, gpus) for uuid in one}
            assert (lease == ()) is (spec.name in leases.obstacles)
            for uuid in lease if not spec.share and not spec.takes_turns else ():
                assert exclusive.setdefault(uuid, f"{spec.name}-{index}") == f"{spec.name}-{index}"
    beside = [
        uuid
        for spec in pools
        if spec.share or spec.takes_turns
        for index in range(spec.slots)
        for uuid in given_to(leases)[f"{spec.name}-{index}"]
    ]
    assert not set(beside) & set(exclusive)


@given(boxes())
def test_a_pool_that_selects_is_never_held_because_of_one_that_comes_later(
    world: tuple[list[PoolSpec], list[Gpu]],
) -> None:
    pools, gpus = world
    pools = sorted(pools, key=lambda one: one.takes_turns)
    together = assign(pools, gpus).obstacles
    for count in range(len(pools)):
        if not any(spec.share or spec.takes_turns for spec in pools[:count]):
            alone = assign(pools[:count], gpus).obstacles
            assert {spec.name for spec in pools[:count]} & set(together) == set(alone)
