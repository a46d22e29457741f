"""What agents mount of the host: what was seen at each path, and what is wrong with that.

Pure. An agent that was made ahead keeps what stood at a path when it was made; whether that is still there is
told by device and inode, which are part of an agent's fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from shlex import quote

from mayfly.core.model import Cache, Dataset, PoolName, PoolSpec
from mayfly.core.reserved_paths import source_problem, within

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
    real: str = ""  # the path without links; empty: nothing is there, or it is not known


def paths(pool: PoolSpec) -> tuple[str, ...]:
    """The paths of the host that the pool's agents mount."""
    own = (pool.ca, profile(pool))
    return (*(mount.source for mount in pool.mounts), *(one for one in own if one is not None))


def profile(pool: PoolSpec) -> str | None:
    """The file of its seccomp profile, which agents do not see and are made by; ``None``: it has none."""
    named = pool.security.seccomp
    return named if named is not None and named.startswith("/") else None


def unknown(pool: PoolSpec, sources: Mapping[str, Source]) -> bool:
    """Whether one of them has not been looked at, or does not answer."""
    return any(path not in sources or sources[path].identity is None for path in paths(pool))


def identities(pool: PoolSpec, sources: Mapping[str, Source]) -> tuple[str | None, ...]:
    """What each of them is now."""
    return tuple(sources[path].identity if path in sources else None for path in paths(pool))


def cache_above(source: str, caches: Iterable[tuple[PoolName, str]]) -> tuple[PoolName, str] | None:
    """The cache, and its pool, that has that place somewhere in it; ``None``: none has.

    Whoever writes there can put a link to anywhere of the host in its stead.
    """
    return next(((name, at) for name, at in caches if source != at and within(source, at)), None)


def problems(
    pool: PoolSpec, sources: Mapping[str, Source], pools: Iterable[PoolSpec] = ()
) -> Iterator[tuple[str, str]]:
    """What is wrong with them: the path, and one sentence; one that was not looked at is not wrong.

    ``pools`` are all, its own too.
    """
    caches = [
        (one.name, real)
        for one in pools
        for cache in one.caches
        if cache.source in sources
        and (real := sources[cache.source].real)
        # One that is mounted by nobody holds no pool but its own.
        and source_problem(real, writable=True) is None
    ]
    for mount in pool.mounts:
        if mount.source in sources:
            kind = "dataset" if isinstance(mount, Dataset) else "cache"
            what = f'{kind} {mount.source} of pool "{pool.name}"'
            seen = sources[mount.source]
            text = _unfit(seen, what) or _misplaced(seen.real, mount, what, caches)
            if text is None and not seen.directory:
                text = f"{what} is not a directory on this host: " + (
                    "a directory has to be there, or another `source`"
                    if seen.identity
                    else f"mount it there, or make it with `sudo mkdir -p {quote(mount.source)}`"
                )
            if text is not None:
                yield mount.source, text
    if pool.ca is not None and pool.ca in sources:
        what, seen = f'ca {pool.ca} of pool "{pool.name}"', sources[pool.ca]
        text = ca_problem(seen, what) or _in_a_cache(seen.real, what, "ca", caches)
        if text is not None:
            yield pool.ca, text
    calls = profile(pool)
    if calls is not None and calls in sources:
        what, seen = f'seccomp {calls} of pool "{pool.name}"', sources[calls]
        text = _unfit(seen, what)
        if text is None and (not seen.identity or seen.directory):
            text = f"{what} is not a file on this host: put it there, or change `seccomp`"
        text = text or _in_a_cache(seen.real, what, "seccomp", caches)
        if text is not None:
            yield calls, text


def ca_problem(seen: Source, what: str) -> str | None:
    """Why what stands there is no file of authorities, of whatever it is called; ``None``: it is one."""
    unfit = _unfit(seen, what)
    if unfit is not None:
        return unfit
    if not seen.identity or seen.directory:
        return f"{what} is not a file on this host: put it there, or change `ca`"
    if not seen.certificates:
        return f"{what} holds no certificate: it has to be a PEM file"
    return None


def _unfit(seen: Source, what: str) -> str | None:
    if seen.identity is None:
        return f"{what} does not answer: see to the mount, its server may be away"
    if seen.error:
        return f"{what} cannot be read ({seen.error}): see to the mount"
    return None


def _misplaced(
    real: str, mount: Dataset | Cache, what: str, caches: Iterable[tuple[PoolName, str]]
) -> str | None:
    if not real:
        return None
    never = source_problem(real, writable=isinstance(mount, Cache))
    if never is not None:
        return f"{what}: {never}"
    return _in_a_cache(real, what, "source", caches)


def _in_a_cache(
    real: str, what: str, key: str, caches: Iterable[tuple[PoolName, str]]
) -> str | None:
    above = cache_above(real, caches)
    if above is None:
        return None
    return (
        f'{what} lies in the cache {above[1]} of pool "{above[0]}", whose jobs can put anything in its '
        f"place: change `{key}`"
    )
