"""``mayfly doctor --pools``: what it prints for a box is a configuration that the box serves."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.cli.proposal_text import proposal_text
from mayfly.core.leases import Gpu, Mig, assign
from mayfly.core.pool_proposal import proposals
from mayfly.providers.configuration import load
from mayfly.providers.installed import packages
from tests.cli.conftest import Mayfly
from tests.fakes.nvml import Hardware

GIB = 2**30
BOX = [
    *(
        Gpu(f"GPU-{index}", index, "NVIDIA H100 80GB HBM3", 80 * GIB, capability=(9, 0))
        for index in range(8)
    ),
    Gpu("GPU-8", 8, "NVIDIA L4", 24 * GIB, capability=(8, 9)),
    Gpu("GPU-9", 9, 'Odd "name" \\', GIB, mig=(Mig("MIG-1", "1g.5gb+me", GIB),), split=True),
]


@pytest.fixture
def mixed() -> Iterator[Hardware]:
    with Hardware(gpus=4) as made:
        for index in (0, 3):
            made.gpu(index, name="NVIDIA_A100-SXM4-40GB", cc="8.0", memory=40960)
        made.gpu(1, name="NVIDIA_L4", cc="8.9", memory=23034)
        made.gpu(2, name="NVIDIA_A100-SXM4-40GB", cc="8.0", memory=40960)
        made.mig(2, 2)
        yield made


def test_a_mixed_box_is_served_by_what_is_proposed_for_it(
    mayfly: Mayfly, mixed: Hardware, tmp_path: Path
) -> None:
    done = mayfly("doctor", "--pools", **mixed.environment())
    assert done.code == 0, done.err
    file = tmp_path / "config.toml"
    file.write_text(done.out)
    pools = load(file).config.pools
    assert [(pool.name, pool.slots) for pool in pools] == [
        *(("a100", 2), ("l4", 1), ("a100-1g-10gb", 2))
    ]
    assert [pool.gpu.model if pool.gpu else None for pool in pools] == [
        *("A100-SXM4-40GB", "L4", "A100-SXM4-40GB")
    ]
    checked = mayfly("config", "check", "--config", file, **mixed.environment())
    assert checked.code == 0, checked.out + checked.err
    mixed.gpu(1, name="NVIDIA_T4", cc="7.5", memory=15360)
    held = mayfly("config", "check", "--config", file, **mixed.environment())
    assert held.code == 1
    assert "1 NVIDIA T4 (15GiB, compute capability 7.5)" in held.out + held.err


def test_without_a_gpu_nothing_is_proposed_and_it_is_said_why(mayfly: Mayfly) -> None:
    with Hardware(gpus=0) as none:
        done = mayfly("doctor", "--pools", **none.environment())
    assert (done.code, done.out) == (1, "")
    assert "the driver answers and finds no GPU" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pools", "--strict"), "--pools goes with --provider alone"),
        (("--pools", "--provider", "nobody"), "there is no provider 'nobody'"),
        (("--provider", "local"), "--provider goes with --pools"),
    ],
)
def test_what_cannot_be_meant_is_said(mayfly: Mayfly, words: tuple[str, ...], said: str) -> None:
    done = mayfly("doctor", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize("name", list(packages()))
def test_of_every_provider_the_proposal_is_a_configuration_that_serves_the_box(
    name: str, tmp_path: Path
) -> None:
    package = packages()[name]
    text = proposal_text(proposals(BOX, turns=package.embedded), package)
    assert tomllib.loads(text)
    file = tmp_path / "config.toml"
    file.write_text(text)
    config = load(file).config
    assert {pool.provider for pool in config.pools} == {name}
    assert any(pool.takes_turns for pool in config.pools) is package.embedded
    leases = assign(config.pools, BOX)
    assert not leases.obstacles
    assert len({one for lease in leases.slots.values() for one in lease}) == len(BOX)
