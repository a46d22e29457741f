"""What Docker Engine says of itself, as facts: what this version can do, and what it cannot be trusted with.

Pure. The bugs of its releases that Mayfly goes round are named here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

from mayfly.core.model import Condition, Severity
from mayfly.edge.faults import Refused
from mayfly.engines.docker.values import numbers
from mayfly.engines.protocol import Capabilities, EngineFacts

NAME = "Docker Engine"
OLDEST_API = (1, 41)
SELF_REMOVAL_MENDED = (24, 0, 8)  # moby#46308
# Runtimes whose containers have the kernel's network stack: by how they are called, or by their program.
ON_THE_KERNEL = frozenset(
    {
        "",
        "runc",
        "io.containerd.runc.v2",
        "crun",
        "nvidia",
        "nvidia-cdi",
        "nvidia-legacy",
        "nvidia-container-runtime",
        "nvidia-container-runtime.cdi",
        "nvidia-container-runtime.legacy",
    }
)
# What an Engine has of itself: 172.17 to 172.31, each a range, and sixteen of 192.168 (moby, ipamutils).
BUILT_IN_RANGES = 31
SUBPATHS = (26,)  # from which on a mount within a volume does not lead out of it
RECURSIVE_READ_ONLY = (25,)  # on Linux 5.12 or newer


def see_that_it_serves(version: Mapping[str, Any], address: str) -> None:
    """``Refused``, by the answer of ``/version``, where it is not Docker's, or too old."""
    components = version.get("Components") or [{}]
    if "podman" in str(components[0].get("Name", "")).lower():
        raise Refused(
            f"what answers at {address} is Podman, which takes isolation between agents and their GPUs away "
            "without a word; let host.docker_host name the socket of a Docker Engine, 20.10 or newer"
        )
    spoken = numbers(version["ApiVersion"])
    if spoken < OLDEST_API:
        raise Refused(
            f"the Engine {version.get('Version', '')} speaks API {version['ApiVersion']}"
            " and Mayfly needs 1.41; upgrade to Docker Engine 20.10 or newer"
        )


def engine_facts(
    version: Mapping[str, Any], info: Mapping[str, Any], places: tuple[str, ...]
) -> EngineFacts:
    """From the answers of ``/version`` and ``/info``, and where it writes."""
    number = numbers(version.get("Version", ""))
    spoken = numbers(version["ApiVersion"])
    kernel = numbers(info.get("KernelVersion", ""))
    lives_on = bool(info.get("LiveRestoreEnabled"))
    unkept = _unkept(info)
    ungated = _ungated(version.get("Version", ""), info)
    faulty = lives_on and number < SELF_REMOVAL_MENDED
    return EngineFacts(
        name=NAME,
        id=info.get("ID", ""),
        version=number,
        api=(spoken[0], spoken[1]),
        capabilities=Capabilities(
            removes_itself=not faulty,
            outlives_restart=lives_on,
            sandbox=not unkept,
            unkept=unkept,
            gateway=not ungated,
            no_gateway=ungated,
        ),
        remaps_users=any(
            str(option).startswith(("name=userns", "name=rootless"))
            for option in info.get("SecurityOptions") or ()
        ),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        cdi_devices=tuple(
            d["ID"] for d in info.get("DiscoveredDevices") or () if d.get("Source") == "cdi"
        ),
        cgroup_version=str(info.get("CgroupVersion", "")),
        cgroup_driver=info.get("CgroupDriver", ""),
        kernel=kernel,
        storage_driver=info.get("Driver", ""),
        places=places,
        recursive_read_only=number >= RECURSIVE_READ_ONLY and kernel >= (5, 12),
        address_ranges=_address_ranges(info.get("DefaultAddressPools")),
        self_removal=SELF_REMOVAL if faulty else None,
        restart=None if lives_on else RESTART,
    )


def _address_ranges(pools: Any) -> int:
    """How many networks get addresses: of `default-address-pools`, each Base is cut into ranges of Size."""
    found = 0
    for one in pools or ():
        with suppress(ValueError, KeyError, TypeError):
            base = ip_network(str(one["Base"]), strict=False)
            found += 2 ** max(0, int(one["Size"]) - base.prefixlen) if base.version == 4 else 0
    return found or BUILT_IN_RANGES


def _unkept(info: Mapping[str, Any]) -> str:
    """Why containers may not be in one network namespace that can be seen from here: below a daemon in a
    namespace of its own, or where another runtime has a network of its own in each; ``""``: they may.
    """
    if any(str(one).startswith("name=rootless") for one in info.get("SecurityOptions") or ()):
        return "it is rootless"
    name = str(info.get("DefaultRuntime", "runc"))
    known = (info.get("Runtimes") or {}).get(name) or {}
    program = str(known.get("path") or known.get("runtimeType") or name)
    if name in ON_THE_KERNEL or program.rpartition("/")[2] in ON_THE_KERNEL:
        return ""
    return f'its default runtime "{name}" may have a network stack of its own'


def _ungated(version: str, info: Mapping[str, Any]) -> str:
    """Why agents may have no containers of their own: an older Engine keeps no mount within a volume, and
    where it remaps users a volume is not the job user's; ``""``: they may.
    """
    number = numbers(version)
    if number < SUBPATHS:
        return f"this Engine is {'.'.join(map(str, number[:2]))}; containers need {SUBPATHS[0]} or newer"
    for option in info.get("SecurityOptions") or ():
        for name, said in (("rootless", "is rootless"), ("userns", "remaps users")):
            if str(option).startswith(f"name={name}"):
                return f"this Engine {said}, and containers of jobs have not been tried there"
    return ""


SELF_REMOVAL = Condition(
    "engine.removal",
    Severity.INFO,
    "a restart of this Engine kills running containers that remove themselves (moby#46308), so Mayfly "
    "removes them itself",
    "# upgrade Docker to 24.0.8 or newer",
)
RESTART = Condition(
    "engine.restart_ends_jobs",
    Severity.INFO,
    "live-restore is off: a restart of Docker ends the jobs that run",
    '# set "live-restore": true in /etc/docker/daemon.json, then: sudo systemctl reload docker',
)
