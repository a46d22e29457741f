"""What an agent at its gate sees of its GPUs, read from the output of ``agents/probe``.

Pure. The probe says what is there; whether that is the lease is decided here. An Engine that serves GPUs
through CDI sets ``NVIDIA_VISIBLE_DEVICES=void`` inside, so the variable proves nothing: the devices do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mayfly.core.quantities import whole_number

_UUID = re.compile(r"\(UUID: ((?:GPU|MIG)-[0-9A-Za-z/-]+)\)")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the probe reported."""

    variable: str = ""  # NVIDIA_VISIBLE_DEVICES inside
    devices: tuple[str, ...] | None = None  # UUIDs, split GPUs as their parts; None: no nvidia-smi
    nodes: tuple[int, ...] = ()  # numbers of /dev/nvidiaN
    failed: str | None = None  # what nvidia-smi said instead; None: it did not fail


def read(output: bytes) -> Seen:
    """The probe's words as a value; lines that it does not speak are passed over."""
    variable, failed = "", None
    nodes: list[int] = []
    listed: list[str] = []
    smi = False
    for line in output.decode(errors="replace").splitlines():
        word, _, rest = line.partition(" ")
        match word:
            case "variable":
                variable = rest.strip()
            case "node" if (number := whole_number(rest.strip())) is not None:
                nodes.append(number)
            case "smi":
                smi = True
                listed.append(rest)
            case "smi-failed":
                smi = True
                failed = failed or rest.strip() or "nvidia-smi failed"
            case _:
                pass
    return Seen(variable, _devices(listed) if smi else None, tuple(nodes), failed)


def _devices(lines: Sequence[str]) -> tuple[str, ...]:
    """The UUIDs of ``nvidia-smi -L``: of a GPU that is split, its parts alone."""
    found: list[str] = []
    for line in lines:
        match = _UUID.search(line)
        if match is None:
            continue
        uuid = match.group(1)
        if uuid.startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()
        found.append(uuid)
    return tuple(found)


def mismatch(lease: Sequence[str], seen: Seen, minors: Mapping[str, int]) -> str | None:
    """What is wrong with what an agent sees; ``None`` where it is exactly its lease.

    ``minors`` has the number of the device node of each leased GPU, where that is known.
    """
    if seen.failed is not None:
        return f"it cannot use its GPUs: nvidia-smi says {seen.failed!r}"
    if seen.devices is None:
        return _nodes_amiss(lease, seen, minors)
    missing = [uuid for uuid in lease if uuid not in seen.devices]
    surplus = [uuid for uuid in seen.devices if uuid not in lease]
    if surplus:
        return f"it sees {', '.join(surplus)}, which its lease does not have"
    if missing and not seen.devices:
        return _nothing(seen)
    if missing:
        return f"it does not see {', '.join(missing)}"
    return None


def _nodes_amiss(lease: Sequence[str], seen: Seen, minors: Mapping[str, int]) -> str | None:
    if not seen.nodes:
        return _nothing(seen)
    if any(uuid.startswith("MIG-") for uuid in lease):
        return None  # its parent's node is all that shows
    wanted = {minors[uuid] for uuid in lease if uuid in minors}
    if len(wanted) < len(set(lease)):
        return None if len(seen.nodes) == len(set(lease)) else f"it sees {len(seen.nodes)} GPUs"
    if wanted == set(seen.nodes):
        return None
    names = ", ".join(f"/dev/nvidia{number}" for number in seen.nodes)
    return f"it sees {names}, which is not its lease"


def _nothing(seen: Seen) -> str:
    if seen.variable == "void":
        return (
            "it sees no GPU, and NVIDIA_VISIBLE_DEVICES is void inside: the Engine asked CDI for it and "
            "got nothing; refresh the CDI specification (`nvidia-ctk cdi generate`), or set "
            'injection = "runtime"'
        )
    return (
        "it sees no GPU: the runtime put none in; see `nvidia-ctk runtime configure --runtime=docker` and "
        "/etc/nvidia-container-runtime/config.toml"
    )
