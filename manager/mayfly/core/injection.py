"""How the GPUs of a lease get into a container, chosen from what Engine and host offer.

Pure. The NVIDIA runtime first, since every Engine has named runtimes; then CDI, where the Engine lists the
very devices; a device request last, since no Engine says beforehand whether it can serve one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mayfly.core.leases import Gpu
from mayfly.core.model import Injection, PoolSpec

RUNTIME = "nvidia"
CDI_KIND = "nvidia.com/gpu"
NO_RUNTIME = (
    "the Engine has no runtime nvidia: install nvidia-container-toolkit, then "
    "`nvidia-ctk runtime configure --runtime=docker` and restart Docker"
)


def choose(
    pool: PoolSpec,
    lease: Sequence[str],
    *,
    runtimes: Collection[str],
    cdi: Collection[str],
    hook: bool,
    gpus: Sequence[Gpu],
) -> Injection | str:
    """The way in, or the sentence that says why there is none.

    ``cdi`` are the qualified names that the Engine lists, ``hook`` tells whether the host has the program
    that serves device requests.
    """
    names = [_qualified(uuid, cdi, gpus) for uuid in lease]
    known = [name for name in names if name is not None]
    ready = len(known) == len(names)
    match pool.injection:
        case "runtime":
            return Injection("runtime", tuple(lease)) if RUNTIME in runtimes else NO_RUNTIME
        case "cdi":
            return Injection("cdi", tuple(known)) if ready else _no_cdi(lease, names, cdi)
        case "request":
            return Injection("request", tuple(lease))
        case "auto":
            if RUNTIME in runtimes:
                return Injection("runtime", tuple(lease))
            if ready:
                return Injection("cdi", tuple(known))
            if hook:
                return Injection("request", tuple(lease))
            return _no_cdi(lease, names, cdi) if _lists_gpus(cdi) else NO_RUNTIME


def _lists_gpus(cdi: Collection[str]) -> bool:
    return any(name.startswith(f"{CDI_KIND}=") for name in cdi)


def _qualified(uuid: str, cdi: Collection[str], gpus: Sequence[Gpu]) -> str | None:
    """The device's name in the CDI specification: by UUID, or by number where that is all it has."""
    for name in (uuid, *_numbers(uuid, gpus)):
        qualified = f"{CDI_KIND}={name}"
        if qualified in cdi:
            return qualified
    return None


def _numbers(uuid: str, gpus: Sequence[Gpu]) -> list[str]:
    found: list[str] = []
    for gpu in gpus:
        if gpu.uuid == uuid:
            found += [str(gpu.index), f"gpu{gpu.index}"]
        found += [
            f"{gpu.index}:{number}" for number, part in enumerate(gpu.mig) if part.uuid == uuid
        ]
    return found


def _no_cdi(lease: Sequence[str], names: Sequence[str | None], cdi: Collection[str]) -> str:
    missing = [uuid for uuid, name in zip(lease, names, strict=True) if name is None]
    if not _lists_gpus(cdi):
        return (
            "the Engine lists no CDI device: it has to be Docker 28.2 or newer, and the host needs "
            "`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
        )
    return (
        f"the Engine's CDI devices do not have {', '.join(missing)}: the specification is stale, "
        "`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
    )
