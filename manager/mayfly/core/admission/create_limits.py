"""What a container may take and do: never more than its pool says, and all of it said.

Each option that a key of daemon.json could change is written out (law 14, docs/architecture.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mayfly.core.admission.builder_image import calls
from mayfly.core.admission.create_host import NOFILE_MOST, SYSCTLS, ULIMITS
from mayfly.core.admission.grant import Grant
from mayfly.core.admission.outcome import Refused
from mayfly.core.admission.request import shown

SHM = 64 * 1024 * 1024  # bytes of /dev/shm where nobody says otherwise
PERIOD = 100_000  # microseconds: the kernel's, where a quota has none
SHARES = 1024  # of a container of which nothing is said
LOG_FILE = 10 * 1024 * 1024
RESTARTS = 10
FOR_EVER = ("always", "unless-stopped")
ALL = "ALL"
# What the Engine hides and guards in every container that is not privileged, by its own defaults.
MASKED = frozenset(
    {
        *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
        *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi"),
        *("/sys/firmware", "/sys/devices/virtual/powercap"),
    }
)
GUARDED = frozenset({"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"})


def limited(host: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    """Memory, processors, processes and files."""
    most = grant.limits
    memory = _least(host.get("Memory"), most.memory)
    processors = _least(_nano_cpus(host), round(most.cpus * 1e9) if most.cpus else None)
    shm = host.get("ShmSize") or 0
    bound = most.shm if most.shm is not None else most.memory
    shares = min(host.get("CpuShares") or SHARES, SHARES)
    return {
        "Memory": memory or 0,
        "MemorySwap": memory or 0,
        "MemoryReservation": _least(host.get("MemoryReservation"), memory, given=False) or 0,
        "NanoCpus": processors or 0,
        "CpuShares": max(2, min(shares, round((processors or 1e9) / 1e9 * SHARES))),
        "CpusetCpus": grant.security.cpuset or "",
        "PidsLimit": _least(host.get("PidsLimit"), most.pids) or -1,
        "ShmSize": min(shm, bound or shm) if shm else (most.shm or SHM),
        "Ulimits": _ulimits(host.get("Ulimits") or [], grant),
        "OomScoreAdj": max(host.get("OomScoreAdj") or 0, grant.oom_score),
        "OomKillDisable": False,
        "CgroupParent": grant.cgroup_parent or "",
        **({} if most.disk is None else {"StorageOpt": {"size": str(most.disk)}}),
    }


def _least(asked: int | None, most: int | None, *, given: bool = True) -> int | None:
    """What is asked for, within a bound; ``given``: the bound also where nothing is asked for."""
    if asked is None or asked <= 0:
        return most if given else None
    return asked if most is None else min(asked, most)


def _nano_cpus(host: Mapping[str, Any]) -> int | None:
    quota = host.get("CpuQuota") or 0
    if host.get("NanoCpus"):
        return int(host["NanoCpus"])
    return int(quota * 10**9 // (host.get("CpuPeriod") or PERIOD)) if quota > 0 else None


def _ulimits(asked: list[dict[str, Any]], grant: Grant) -> list[dict[str, Any]]:
    limits = {
        name: {"Name": name, "Soft": one.soft, "Hard": one.hard}
        for name, one in grant.security.ulimits.items()
    }
    for one in asked:
        name = one.get("Name", "")
        if name not in ULIMITS:
            raise Refused(
                f"HostConfig.Ulimits: {shown(name)} is refused: {', '.join(ULIMITS)} can be set"
            )
        own = grant.security.ulimits.get(name)
        hard = _ulimit(one.get("Hard", 0), own.hard if own else _most(name))
        soft = _ulimit(one.get("Soft", 0), hard)
        limits[name] = {"Name": name, "Soft": soft, "Hard": hard}
    return list(limits.values())


def _most(name: str) -> int:
    return NOFILE_MOST if name == "nofile" else -1


def _ulimit(asked: int, most: int) -> int:
    """Within the bound; -1 is none."""
    if most == -1:
        return asked
    return most if asked == -1 else min(asked, most)


def secured(host: Mapping[str, Any], grant: Grant, *, builds: bool = False) -> dict[str, Any]:
    """What its processes may do; ``builds``: also what an image is built with."""
    _guarded(host)
    for name in host.get("Sysctls") or {}:
        if name not in SYSCTLS:
            raise Refused(
                f"HostConfig.Sysctls: {shown(name)} is refused: {', '.join(SYSCTLS)} can be set"
            )
    return {
        "Privileged": False,
        "CapDrop": [ALL],
        "CapAdd": _capabilities(host, grant),
        "SecurityOpt": _options(host.get("SecurityOpt") or [], grant, builds=builds),
        "ReadonlyRootfs": host.get("ReadonlyRootfs", False),
        "GroupAdd": host.get("GroupAdd") or [],
        "Sysctls": host.get("Sysctls") or {},
        "UsernsMode": _userns(host.get("UsernsMode") or "", grant),
        "CgroupnsMode": _only(host, "CgroupnsMode", ("", "private"), "private"),
        "UTSMode": _only(host, "UTSMode", ("",), ""),
        "Init": host.get("Init", False),
    }


def _only(host: Mapping[str, Any], key: str, may: tuple[str, ...], out: str) -> str:
    if (host.get(key) or "") not in may:
        raise Refused(f"HostConfig.{key} {shown(host[key])} is refused: a container has its own")
    return out


def _userns(asked: str, grant: Grant) -> str:
    own = grant.security.userns or ""
    if asked not in ("", own):
        raise Refused(f"HostConfig.UsernsMode {shown(asked)} is refused: it is as the pool says")
    return own


def _guarded(host: Mapping[str, Any]) -> None:
    for key, least in (("MaskedPaths", MASKED), ("ReadonlyPaths", GUARDED)):
        if key in host and not least <= set(host[key]):
            raise Refused(f"HostConfig.{key} is refused: what the Engine guards stays guarded")


def _capabilities(host: Mapping[str, Any], grant: Grant) -> list[str]:
    """Docker's rule: what is dropped is taken from the set, then what is added is added."""
    dropped = {_capability(name) for name in host.get("CapDrop") or ()}
    added = {_capability(name) for name in host.get("CapAdd") or ()}
    if beyond := sorted(added - {ALL} - set(grant.capabilities)):
        raise Refused(
            f"HostConfig.CapAdd {shown(beyond[0])} is refused: pool {shown(grant.pool)} does not let its "
            "containers have it (security.cap_add)"
        )
    if ALL in added:
        return [name for name in grant.capabilities if name not in dropped]
    kept = () if ALL in dropped else grant.capabilities
    return [
        name
        for name in grant.capabilities
        if (name in kept and name not in dropped) or name in added
    ]


def _capability(name: str) -> str:
    return name.strip().upper().removeprefix("CAP_")


def _options(asked: list[str], grant: Grant, *, builds: bool) -> list[str]:
    no_new = False
    for one in asked:
        name, _, value = one.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges" and value in ("", "true", "false"):
            no_new = value != "false"
        elif name != "label":
            raise Refused(
                f"HostConfig.SecurityOpt {shown(one)} is refused: seccomp and AppArmor are the pool's"
            )
    said = [f"no-new-privileges:{str(no_new).lower()}"]
    # Docker's own AppArmor profile forbids each mount, also one that nobody else sees.
    apparmor = grant.security.apparmor or ("unconfined" if builds else None)
    if apparmor is not None:
        said.append(f"apparmor={apparmor}")
    return [*said, f"seccomp={calls() if builds else grant.security.seccomp or 'builtin'}"]


def living(host: Mapping[str, Any]) -> dict[str, Any]:
    """How it is started anew, and what is kept of what it prints."""
    policy = host.get("RestartPolicy") or {}
    name, count = policy.get("Name") or "no", policy.get("MaximumRetryCount") or RESTARTS
    if name not in ("no", "on-failure", *FOR_EVER):
        raise Refused(f"HostConfig.RestartPolicy {shown(name)} is none of Docker's", 400)
    driver = (host.get("LogConfig") or {}).get("Type") or "local"
    if driver not in ("local", "json-file", "none"):
        raise Refused(
            f"HostConfig.LogConfig {shown(driver)} is refused: a job's containers have the Engine's own log"
        )
    restart = {"Name": "no", "MaximumRetryCount": 0}
    if name != "no":
        restart = {"Name": "on-failure", "MaximumRetryCount": min(count, RESTARTS)}
    return {
        "RestartPolicy": restart,
        "AutoRemove": host.get("AutoRemove", False),
        "ConsoleSize": (host.get("ConsoleSize") or [0, 0])[:2],
        "LogConfig": {
            "Type": "json-file",  # Docker's library for Python reads the output of no other
            "Config": {
                "max-size": str(LOG_FILE),
                "max-file": "2",
                "compress": "false",
                "mode": "blocking",
            },
        },
    }
