"""Which image a pool's agents are made from: the newest CUDA that driver, GPUs and architecture all take.

Pure: the catalogue is data (``dockerfiles/images.toml``), the host's facts are given. The container runtime
no longer checks that a driver runs an image's CUDA, so this does; where nothing fits it says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One CUDA of the catalogue."""

    cuda: Version
    release: str  # of the toolkit in the image, such as "12.8.1"
    driver: str  # the Linux driver that came with the toolkit's first release: the least that runs all of it
    compute: tuple[Version, ...]  # compute capabilities that its compiler knows
    bases: Mapping[
        str, Mapping[str, str]
    ]  # architecture -> distribution -> reference, the default first
    end_of_life: str  # when NVIDIA may delete its images, or what is known of that
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All CUDA versions that there are images for, the newest first."""

    rows: tuple[Row, ...] = ()

    def row(self, cuda: Version) -> Row | None:
        """The row of that CUDA; ``None`` where the catalogue does not have it."""
        return next((row for row in self.rows if row.cuda == cuda), None)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, or why nothing was."""

    cuda: str | None  # None: none fits
    image: str | None
    reason: str
    refused: tuple[tuple[str, str], ...] = field(
        default=()
    )  # each newer CUDA, and what is in its way


def parse(version: str) -> Version:
    """``12.8`` as ``(12, 8)``; ``ValueError`` where it is no such version."""
    parts = version.split(".")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"{version!r} is not a version such as 12.8")
    return int(parts[0]), int(parts[1])


def text(version: Version) -> str:
    """``(12, 8)`` as ``12.8``."""
    return f"{version[0]}.{version[1]}"


def reference(provider: str, cuda: str | None) -> str:
    """The name of an image; without CUDA, that of the plain one.

    ``provider`` is a provider of Mayfly's, or the repository of another's images.
    """
    repository = provider if "/" in provider else f"mayfly/{provider}"
    return f"{repository}:{f'cuda{cuda}' if cuda is not None else 'cpu'}"


def select(
    catalogue: Catalogue,
    driver: Version,
    compute: Sequence[Version],
    architecture: str,
    *,
    provider: str = "local",
    pinned: Version | None = None,
    compat: bool = False,
) -> Choice:
    """The newest CUDA that fits, or the pinned one where that fits.

    ``driver`` is the highest CUDA that the driver runs, ``compute`` the capabilities of the GPUs (the toolkit
    has to know them all), ``compat`` allows a newer minor version than the driver's.
    """
    rows = catalogue.rows
    if pinned is not None:
        row = catalogue.row(pinned)
        if row is None:
            known = ", ".join(text(entry.cuda) for entry in rows)
            return Choice(
                None, None, f"CUDA {text(pinned)} is not in the catalogue, which has {known}"
            )
        rows = (row,)
    refused: list[tuple[str, str]] = []
    for row in rows:
        reason = _amiss(row, driver, compute, architecture, compat=compat)
        if reason is None:
            return Choice(
                cuda=text(row.cuda),
                image=reference(provider, text(row.cuda)),
                reason=_why(row, driver, pinned is not None),
                refused=tuple(refused),
            )
        refused.append((text(row.cuda), reason))
    return Choice(None, None, _none(refused, driver, compute, architecture, pinned), tuple(refused))


def _amiss(
    row: Row, driver: Version, compute: Sequence[Version], architecture: str, *, compat: bool
) -> str | None:
    """What is in the way of this CUDA; ``None`` where nothing is."""
    if row.cuda > driver and not (compat and row.cuda[0] == driver[0]):
        wanted = f"CUDA {text(row.cuda)} wants driver {row.driver} or newer"
        return f"the driver runs CUDA up to {text(driver)}; {wanted}"
    for capability in compute:
        if capability in row.compute:
            continue
        if capability < min(row.compute):
            dropped = f"CUDA {text(row.cuda)} has dropped compute capability {text(capability)}"
            return f"{dropped}: it begins at {text(min(row.compute))}"
        return f"CUDA {text(row.cuda)} does not know compute capability {text(capability)} yet"
    if not row.bases.get(architecture):
        return f"there is no image of CUDA {text(row.cuda)} for {architecture}"
    return None


def _why(row: Row, driver: Version, pinned: bool) -> str:
    if pinned:
        return f"CUDA {text(row.cuda)} was asked for, and the driver runs up to {text(driver)}"
    if row.cuda > driver:
        newest = f"the newest of CUDA {driver[0]}, by minor-version compatibility"
        return f"{newest}: the driver runs up to {text(driver)}"
    return f"the newest that a driver for CUDA {text(driver)} and these GPUs take"


def _none(
    refused: Sequence[tuple[str, str]],
    driver: Version,
    compute: Sequence[Version],
    architecture: str,
    pinned: Version | None,
) -> str:
    if pinned is not None and refused:
        return refused[0][1]
    gpus = ", ".join(dict.fromkeys(text(capability) for capability in compute)) or "any"
    return (
        f"no CUDA of the catalogue fits: the driver runs up to {text(driver)}, compute capability {gpus}, "
        f"architecture {architecture}"
    )
