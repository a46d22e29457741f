"""What the probe's words mean: whether an agent sees exactly its lease."""

from __future__ import annotations

import pytest

from mayfly.core.gpu_probe import Seen, mismatch, read

A, B = "GPU-aaaa-1111", "GPU-bbbb-2222"
MIG = "MIG-cccc-3333"
ONE = f"variable {A}\nnode 0\nsmi GPU 0: NVIDIA A100 (UUID: {A})\n".encode()
SPLIT = (
    f"variable {MIG}\nnode 0\nsmi GPU 0: NVIDIA A100 (UUID: {A})\n"
    f"smi   MIG 1g.5gb     Device  0: (UUID: {MIG})\n"
).encode()


@pytest.mark.parametrize(
    ("output", "lease", "minors", "says"),
    [
        (ONE, (A,), {}, None),
        (ONE, (B,), {}, f"it sees {A}, which its lease does not have"),
        (ONE, (A, B), {}, f"it does not see {B}"),
        (SPLIT, (MIG,), {}, None),
        (SPLIT, (A,), {}, f"it sees {MIG}, which its lease does not have"),
        (
            b"variable void\nsmi-failed Failed to initialize NVML: Unknown Error\n",
            (A,),
            {},
            "it cannot use its GPUs: nvidia-smi says 'Failed to initialize NVML: Unknown Error'",
        ),
        (b"variable void\nnode 3\n", (A,), {A: 3}, None),
        (b"variable x\nnode 3\n", (A,), {A: 1}, "it sees /dev/nvidia3, which is not its lease"),
        (b"variable x\nnode 3\nnode 4\n", (A,), {}, "it sees 2 GPUs"),
        (b"variable x\nnode 3\n", (A,), {}, None),
        (b"variable x\nnode 3\n", (MIG,), {}, None),
        ("variable x\nnode ²\n".encode() + b"node " + b"9" * 5000 + b"\nnode 3\n", (A,), {}, None),
    ],
)
def test_an_agent_sees_its_lease_and_nothing_else(
    output: bytes, lease: tuple[str, ...], minors: dict[str, int], says: str | None
) -> None:
    assert mismatch(lease, read(output), minors) == says


def test_a_request_that_ended_in_void_is_told_from_a_runtime_that_did_nothing() -> None:
    void = mismatch((A,), read(b"variable void\n"), {})
    nothing = mismatch((A,), read(f"variable {A}\n".encode()), {})
    assert void is not None
    assert nothing is not None
    assert "CDI" in void
    assert "the runtime put none in" in nothing


def test_void_with_the_devices_there_is_fine() -> None:
    output = f"variable void\nnode 0\nsmi GPU 0: NVIDIA A100 (UUID: {A})\n".encode()
    assert read(output).variable == "void"
    assert mismatch((A,), read(output), {}) is None


def test_lines_that_are_no_words_of_the_probe_are_passed_over() -> None:
    assert read(b"\xff\nhello\nnode x\n\nsmi nothing here\n") == Seen(devices=())
