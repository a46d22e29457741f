"""What agents mount of the host: what was seen at each path, and what is wrong with that.

Pure. An agent that was made ahead keeps what stood at a path when it was made; whether that is still there is
told by device and inode, which are part of an agent's fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mayfly.core.model import Dataset, PoolSpec

FRESH = 0.1  # seconds for which a look is good enough to open a gate by


@dataclass(frozen=True, slots=True)
class Source:
    """What stands at a path of the host, links followed."""

    identity: (
        str | None
    )  # device and inode; empty: nothing is there; None: it did not answer in time
    directory: bool = False
    certificates: bool = False  # it is a file that holds some
    error: str = ""  # why it cannot be read


def paths(pool: PoolSpec) -> tuple[str, ...]:
    """The paths of the host that the pool's agents mount."""
    return (*(mount.source for mount in pool.mounts), *((pool.ca,) if pool.ca is not None else ()))


def unknown(pool: PoolSpec, sources: Mapping[str, Source]) -> bool:
    """Whether one of them has not been looked at, or does not answer."""
    return any(path not in sources or sources[path].identity is None for path in paths(pool))


def identities(pool: PoolSpec, sources: Mapping[str, Source]) -> tuple[str | None, ...]:
    """What each of them is now."""
    return tuple(sources[path].identity if path in sources else None for path in paths(pool))


def problems(pool: PoolSpec, sources: Mapping[str, Source]) -> Iterator[tuple[str, str]]:
    """What is wrong with them: the path, and one sentence; one that was not looked at is not wrong."""
    for mount in pool.mounts:
        if mount.source in sources:
            kind = "dataset" if isinstance(mount, Dataset) else "cache"
            what = f'{kind} {mount.source} of pool "{pool.name}"'
            text = _unfit(sources[mount.source], what)
            if text is None and not sources[mount.source].directory:
                text = (
                    f"{what} is not a directory on this host: mount or make it, or change `source`"
                )
            if text is not None:
                yield mount.source, text
    if pool.ca is not None and pool.ca in sources:
        what, seen = f'ca {pool.ca} of pool "{pool.name}"', sources[pool.ca]
        text = _unfit(seen, what)
        if text is None and (not seen.identity or seen.directory):
            text = f"{what} is not a file on this host: put it there, or change `ca`"
        elif text is None and not seen.certificates:
            text = f"{what} holds no certificate: it has to be a PEM file"
        if text is not None:
            yield pool.ca, text


def _unfit(seen: Source, what: str) -> str | None:
    if seen.identity is None:
        return f"{what} does not answer: see to the mount, its server may be away"
    if seen.error:
        return f"{what} cannot be read ({seen.error}): see to the mount"
    return None
