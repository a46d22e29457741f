"""Which GPUs a container gets: exactly those of its slot's lease where it asks for any, else none.

How it asks says nothing about which: `--gpus all`, a UUID, a number, the name of a device of CDI and the
runtime `nvidia` come to the same. An image asks for nothing: what its environment says is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.core.admission.grant import Grant
from mayfly.core.admission.outcome import Refused
from mayfly.core.admission.request import shown
from mayfly.core.gate_environment import harmless_of_an_image

VISIBLE = "NVIDIA_VISIBLE_DEVICES"
NOTHING = ("", "void", "none")
CDI = "nvidia.com/gpu="
DRIVERS = ("", "nvidia", "cdi")
# What the NVIDIA runtime gives beside GPUs to who says so, be it an image: rights over MIG, over the fabric,
# and devices of the host. Always taken back.
TAKEN_BACK = (
    "NVIDIA_MIG_CONFIG_DEVICES",
    "NVIDIA_MIG_MONITOR_DEVICES",
    "NVIDIA_IMEX_CHANNELS",
    "NVIDIA_GDS",
    "NVIDIA_GDRCOPY",
    "NVIDIA_MOFED",
    "NVIDIA_NVSWITCH",
)


def strange(names: Iterable[str]) -> list[str]:
    """Those of an environment that the NVIDIA runtime might go by, and that ask for no more than a driver."""
    return [one for one in names if one.startswith("NVIDIA_") and not harmless_of_an_image(one)]


def asks(host: Mapping[str, Any], env: Mapping[str, str | None]) -> bool:
    """Whether a creation asks for GPUs; `Refused` where it asks for another device."""
    for request in host.get("DeviceRequests") or ():
        driver, ids = request.get("Driver") or "", request.get("DeviceIDs") or ()
        asked = {name for some in request.get("Capabilities") or () for name in some}
        gpus = (
            "gpu" in asked or driver in ("nvidia", "cdi") or any(one.startswith(CDI) for one in ids)
        )
        strange = [one for one in ids if "=" in one and not one.startswith(CDI)]
        if driver not in DRIVERS or not gpus or strange or (driver == "cdi" and not _cdi(ids)):
            told = strange[0] if strange else driver or ",".join(sorted(asked))
            raise Refused(
                f"HostConfig.DeviceRequests {shown(told)} is refused: only GPUs can be asked for"
            )
    for device in host.get("Devices") or ():
        path = device.get("PathOnHost") or ""
        if not path.startswith(CDI):
            raise Refused(
                f"HostConfig.Devices {shown(path)} is refused: a job's containers have no devices but the "
                "slot's GPUs (--gpus all)"
            )
    visible = (env.get(VISIBLE) or "").strip()
    return bool(
        host.get("DeviceRequests")
        or host.get("Devices")
        or host.get("Runtime") == "nvidia"
        or visible not in NOTHING
    )


def _cdi(ids: Iterable[str]) -> bool:
    return all(one.startswith(CDI) for one in ids)


def runtime_and_env(
    host: Mapping[str, Any], env: Mapping[str, str | None], grant: Grant
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """What of the host's configuration and of the environment lets the GPUs in, or keeps them out.

    ``None`` as a value takes away what the image says.
    """
    asked = host.get("Runtime") or ""
    if asked not in ("", "nvidia", grant.security.runtime):
        raise Refused(f"HostConfig.Runtime {shown(asked)} is refused: the runtime is the pool's")
    forced: dict[str, str | None] = dict.fromkeys(TAKEN_BACK)
    if asks(host, env):
        if grant.gpu is not None:
            way = {
                key: value
                for key, value in grant.gpu.host_config.items()
                if key in ("Runtime", "DeviceRequests")
            }
            visible = {VISIBLE: ",".join(grant.lease) or "void"}
            return way, {**forced, **visible, **grant.gpu.env}
        if host.get("DeviceRequests") or host.get("Devices") or asked == "nvidia":
            raise Refused(
                f"this slot has no GPU: slot {shown(grant.slot)} belongs to a pool without GPUs, or they "
                "are not leased to it"
            )
    own = {"Runtime": grant.security.runtime} if grant.security.runtime else {}
    return own, {**forced, VISIBLE: "void"}
