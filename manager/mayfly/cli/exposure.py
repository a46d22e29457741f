"""What this host gives away through the pools: whose number its jobs have, who may change what they mount.

It looks and judges nothing; the doctor has the judges. A look that fails finds nothing, since that is the
business of another check.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mayfly.core.model import Config
from mayfly.core.quantities import whole_number

FIRST_PERSON, LAST_PERSON = 1000, 59_999  # as login.defs and adduser have them
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
DEAD_CONNECTIONS = Path("/proc/sys/net/netfilter/nf_conntrack_udp_timeout")
EXPEDITED = Path("/sys/kernel/rcu_expedited")
# With 0 of the first or the second nobody makes a user namespace, or root of the host alone; with 1 of the
# third nobody without an AppArmor profile gets any right in one.
NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
UNPRIVILEGED = Path("/proc/sys/kernel/unprivileged_userns_clone")
PROFILED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
# Of root's, in all containers that are not of a user namespace together.
MOUNT_NAMESPACES = Path("/proc/sys/user/max_mnt_namespaces")
UTS_NAMESPACES = Path("/proc/sys/user/max_uts_namespaces")
# What all containers together count for beside the host's processes, on cgroup v1 with the driver cgroupfs.
CONTAINERS_WEIGHT = Path("/sys/fs/cgroup/cpu/docker/cpu.shares")


@dataclass(frozen=True, slots=True)
class Exposure:
    """What was found; a path or a number that is not in here gives nothing away."""

    # by number: whose account on this host it is
    people: Mapping[int, str] = field(default_factory=dict)
    # by path of a configuration file, or of a source: the file or directory that others than root may change
    changed_by: Mapping[str, str] = field(default_factory=dict)
    # caches whose set-user-id files others on this host can run
    raising: frozenset[str] = frozenset()
    inotify: int | None = None  # instances that one number may have; None: it is not known
    # seconds that the kernel remembers a packet which was not answered; None: it is not known
    unanswered: int | None = None
    # whether the kernel hurries what the making of a container waits for; None: it is not known
    hurries: bool | None = None
    # the settings that keep containers from user namespaces; None: this kernel has none such
    namespaces: int | None = None
    unprivileged: int | None = None
    profiled: int | None = None
    # how many of these root of the host may have, its containers' and those that jobs make in them together
    mount_namespaces: int | None = None
    uts_namespaces: int | None = None
    # whether cgroup v1 has a group for all containers, or can be given one
    weighs: bool = False
    # of all containers, in CPU shares (1,024 is any process's); None: they have no group of their own (yet)
    weight: int | None = None


def look(config: Config, files: Iterable[Path]) -> Exposure:
    """Look at the accounts, the configuration's files and what agents mount."""
    numbers = {number for pool in config.pools if (number := number_of(pool.user)) is not None}
    sources = {mount.source for pool in config.pools for mount in pool.mounts}
    changed = {str(file): _changeable(file, itself=True) for file in files}
    changed |= {source: _changeable(Path(source), itself=False) for source in sources}
    caches = {cache.source for pool in config.pools for cache in pool.caches}
    return Exposure(
        people={number: name for number in numbers if (name := _person(number)) is not None},
        changed_by={path: by for path, by in changed.items() if by is not None},
        raising=frozenset(cache for cache in caches if _raises(Path(cache))),
        inotify=_setting(INSTANCES),
        unanswered=_setting(DEAD_CONNECTIONS),
        hurries=None if (found := _setting(EXPEDITED)) is None else found > 0,
        namespaces=_setting(NAMESPACES),
        unprivileged=_setting(UNPRIVILEGED),
        profiled=_setting(PROFILED),
        mount_namespaces=_setting(MOUNT_NAMESPACES),
        uts_namespaces=_setting(UTS_NAMESPACES),
        weighs=CONTAINERS_WEIGHT.parents[1].joinpath("cpu.shares").exists(),
        weight=_setting(CONTAINERS_WEIGHT),
    )


def number_of(user: str) -> int | None:
    """The number of a job's user on the host; ``None``: the image alone knows it."""
    return whole_number(user.partition(":")[0])


def _person(number: int) -> str | None:
    if not FIRST_PERSON <= number <= LAST_PERSON:
        return None
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return None


def _changeable(path: Path, *, itself: bool) -> str | None:
    """The first of it and the directories that it is in that others than root and we may write to."""
    real = Path(os.path.realpath(path))
    trusted = {0, os.geteuid(), int(os.environ.get("SUDO_UID", "0"))}
    for place in (*((real,) if itself else ()), *real.parents):
        try:
            found = place.stat()
        except OSError:
            continue
        shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if shared or found.st_uid not in trusted:
            return str(place)
    return None


def _raises(cache: Path) -> bool:
    """Whether others on this host can reach files there, and run them as their owner."""
    real = Path(os.path.realpath(cache))
    try:
        reached = all(place.stat().st_mode & 0o001 for place in (real, *real.parents))
        return reached and not os.statvfs(real).f_flag & os.ST_NOSUID
    except OSError:
        return False


def _setting(of: Path) -> int | None:
    try:
        return int(of.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
