"""What jobs at a service may ask for of the GPUs that a slot has: labels, tags or capabilities.

Made of the slot's lease, the driver and the image; a pool says which kinds of them it wants. Every label is
of lower-case letters, digits, dots and hyphens, which each service takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mayfly.core.images import Catalogue
from mayfly.core.leases import Gpu, Mig
from mayfly.core.model import GpuLabel

MOST = 24  # of one slot: a service that says how many takes a hundred, the pool's own among them
LONGEST = 63  # characters of one
# GB, as makers count them. NVML says somewhat less than the maker does, with ECC on and of MIG devices.
CLASSES = (
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    11,
    12,
    16,
    20,
    24,
    32,
    40,
    48,
    64,
    80,
    96,
    128,
    141,
    180,
    192,
    256,
    288,
)
NEARLY = 0.93  # of a class in GiB: what is taken for it
# Words of a model's name that tell nothing of which chip it is.
_MAKERS = frozenset({"nvidia", "corporation", "tesla", "geforce", "quadro", "generation"})
_FORMS = re.compile(r"pcie|sxm[0-9]*|nvl|hbm[0-9]+e?|[0-9]+gb")
_DRIVER = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}")

Part = tuple[Gpu, Mig | None]  # a device of a lease: a GPU, or that MIG device of it


def labels(
    wanted: Sequence[GpuLabel],
    lease: tuple[str, ...],
    gpus: Iterable[Gpu],
    *,
    image: str | None,
    driver: str,
    branches: Sequence[str],
) -> tuple[str, ...]:
    """What is said of a slot with that lease, each once; nothing of one without GPUs.

    ``branches`` are the drivers' branches that ``driver`` is compared with, such as ``("535", "580")``.
    """
    if not lease:
        return ()
    parts = [part for gpu in gpus for part in _parts(gpu) if _uuid(part) in lease]
    found: dict[str, None] = {}
    kinds: dict[GpuLabel, Iterable[str]] = {
        "name": (_slug(gpu.name) for gpu, _ in parts),
        "cuda": [_cuda(image or "")],
        "model": (name for part in parts for name in _models(part)),
        "memory": _memory(parts),
        "compute": (f"sm-{cc[0]}{cc[1]}" for gpu, _ in parts if (cc := gpu.capability)),
        "count": [f"gpus-{len(lease)}"],
        "driver": _drivers(driver, branches),
    }
    for kind in ("name", "cuda", "model", "memory", "compute", "count", "driver"):
        if kind in wanted:
            found |= dict.fromkeys(label[:LONGEST].rstrip(".-") for label in kinds[kind])
    return tuple(label for label in found if label)[:MOST]


def branches_of(catalogue: Catalogue) -> tuple[str, ...]:
    """The drivers' branches that the catalogue's images came with."""
    return tuple(dict.fromkeys(row.driver.partition(".")[0] for row in catalogue.rows))


def short_model(name: str) -> str:
    """``NVIDIA H100 80GB HBM3`` as ``h100``: without the maker, the form and the memory."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    telling = [word for word in words if word not in _MAKERS and not _FORMS.fullmatch(word)]
    return "-".join(telling or words)


def memory_class(size: int) -> int | None:
    """The maker's GB of what NVML says in bytes; ``None``: it says nothing, or less than any class."""
    of = [known for known in CLASSES if size >= NEARLY * known * 1024**3]
    return of[-1] if of else None


def _parts(gpu: Gpu) -> Iterable[Part]:
    if gpu.split or gpu.mig:
        return [(gpu, part) for part in gpu.mig]
    return [(gpu, None)]


def _uuid(part: Part) -> str:
    gpu, mig = part
    return gpu.uuid if mig is None else mig.uuid


def _models(part: Part) -> Iterable[str]:
    """Of a MIG device other ones than of a whole GPU: a job that asks for the GPU is not for a part of it."""
    gpu, mig = part
    name = short_model(gpu.name)
    if not name:
        return ()
    if mig is None:
        return (f"gpu-{name}",)
    return (f"gpu-{name}-mig", *([f"mig-{_slug(mig.name, dots=True)}"] if mig.name else ()))


def _memory(parts: Sequence[Part]) -> Iterable[str]:
    """What each of its devices has at least."""
    sizes = [gpu.memory if mig is None else mig.memory for gpu, mig in parts]
    least = memory_class(min(sizes)) if sizes else None
    return () if least is None else (f"gpu-memory-{least}gb",)


def _drivers(driver: str, branches: Sequence[str]) -> Iterable[str]:
    if _DRIVER.fullmatch(driver) is None:
        return
    branch = driver.partition(".")[0]
    yield f"driver-{branch}"
    if branch != driver:
        yield f"driver-{driver}"
    known = [int(one) for one in branches]
    if known and int(branch) >= max(known):
        yield "driver-latest"
    if known and int(branch) <= min(known):
        yield "driver-earliest"


def _cuda(image: str) -> str:
    found = re.search(r":cuda([0-9]+\.[0-9]+)$", image)
    return f"cuda-{found[1]}" if found is not None else ""


def _slug(name: str, *, dots: bool = False) -> str:
    return re.sub(r"[^a-z0-9.]+" if dots else r"[^a-z0-9]+", "-", name.lower()).strip("-")
