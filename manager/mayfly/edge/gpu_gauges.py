"""What NVML tells of a GPU's memory, link, clocks, firmware and fabric, as ``core.gpu_gauges`` has it.

Nothing here makes a reading fail that would not fail without it: what a GPU, a driver or a virtual machine
answers instead is ``None``, but for the errors by which the session is known to be of no use any more.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from mayfly.core.gpu_gauges import Fabric, Gauges

_SESSION = frozenset({1, 15, 16, 18})  # uninitialised, lost, to be reset, of two versions
_CORRECTED, _VOLATILE = 0, 0  # of NVML's ECC counters
_SM_CLOCK = 1


def read(nvml: Any, handle: Any) -> Gauges:
    """All of it, of a whole GPU; ``NVMLError`` where the GPU is lost or the session is over."""

    def ask(name: str, *arguments: object) -> Any:
        return maybe(nvml, getattr(nvml, name), handle, *arguments)

    return Gauges(
        corrected=ask("nvmlDeviceGetTotalEccErrors", _CORRECTED, _VOLATILE),
        generation=ask("nvmlDeviceGetCurrPcieLinkGeneration"),
        generation_most=ask("nvmlDeviceGetMaxPcieLinkGeneration"),
        width=ask("nvmlDeviceGetCurrPcieLinkWidth"),
        width_most=ask("nvmlDeviceGetMaxPcieLinkWidth"),
        replays=ask("nvmlDeviceGetPcieReplayCounter"),
        clock=ask("nvmlDeviceGetClockInfo", _SM_CLOCK),
        clock_most=ask("nvmlDeviceGetMaxClockInfo", _SM_CLOCK),
        recovery=_field(nvml, handle, nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION),
        fabric=_fabric(nvml, handle),
    )


def maybe(nvml: Any, ask: Callable[..., Any], *arguments: object) -> Any:
    """What NVML answers, or ``None``; ``NVMLError`` where the GPU is lost or the session is over."""
    try:
        return ask(*arguments)
    except nvml.NVMLError as error:
        if error.value in _SESSION:
            raise
        return None


def _field(nvml: Any, handle: Any, number: int) -> int | None:
    """One of NVML's fields that is an unsigned number."""
    found = maybe(nvml, nvml.nvmlDeviceGetFieldValues, handle, [number])
    if not found or found[0].nvmlReturn != nvml.NVML_SUCCESS:
        return None
    return int(found[0].value.uiVal)


def _fabric(nvml: Any, handle: Any) -> Fabric | None:
    """Of the newest form that the driver knows; ``None`` where the GPU has nothing to do with a fabric."""
    for form in (nvml.c_nvmlGpuFabricInfo_v3_t, nvml.c_nvmlGpuFabricInfo_v2_t):
        told = form()
        ask = nvml.nvmlDeviceGetGpuFabricInfoV
        if maybe(nvml, ask, handle, ctypes.byref(told)) is not None:
            if told.state == nvml.NVML_GPU_FABRIC_STATE_NOT_SUPPORTED:
                return None
            return Fabric(int(told.state), int(told.status), int(getattr(told, "healthSummary", 0)))
    return None
