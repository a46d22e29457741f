"""The health gate's checks as data: what each is called, what it does to a slot, and from what value on.

Pure, a table and the words for what a check has found; how a check looks is in ``gpu_findings``. What harms
what a job computes holds the slot, what makes it slow only warns: docs/adr/0045-checks-as-data.md. The page
docs/reference/gpu-checks.md is written from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class CheckSeverity(StrEnum):
    """What a check does where it finds something."""

    HOLD = "hold"  # the slot gets no next job
    WARN = "warn"  # it is shown, and the slot goes on
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: a row of the table."""

    code: str
    seen: str  # what it finds, as the page says it
    severity: CheckSeverity = CheckSeverity.HOLD
    threshold: float | None = None  # it finds nothing up to here; None: it has none
    unit: str = ""  # of the threshold
    until_retried: bool = False  # whether it stands until a person has said `mayfly retry`
    # Whether a reset of the GPU may end it; of an XID and of a recovery that depends on what is said.
    healable: bool = False
    fixed: bool = False  # whether it always holds: there is nothing to open a gate to
    source: str = ""  # the page that the fact came from; "": a choice of Mayfly's own


@dataclass(frozen=True, slots=True)
class CheckSetting:
    """What the configuration says of one check; what it does not say is as in the table."""

    severity: CheckSeverity | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class GpuFinding:
    """What a check has found on a GPU or MIG device."""

    code: str
    uuid: str
    text: str  # a whole sentence
    severity: CheckSeverity = CheckSeverity.HOLD
    healable: bool = False  # whether a reset of the GPU may end it
    returns: bool = True  # whether each reading shows afresh if it is still so
    xid: int | None = None  # the number; None: it is no XID


XID, XID_NOTICE, XID_APPLICATION = "gpu.xid", "gpu.xid_notice", "gpu.xid_application"
GONE, LOST, RESET_REQUIRED = "gpu.gone", "gpu.lost", "gpu.reset_required"
REMAP_FAILED, REMAP_PENDING = "gpu.remap_failed", "gpu.remap_pending"
ECC_UNCORRECTED = "gpu.ecc_uncorrected"
ECC_CORRECTED = "gpu.ecc_corrected"
RECOVERY, FABRIC, FABRIC_WAITING = "gpu.recovery", "gpu.fabric", "gpu.fabric_waiting"
PCIE_GENERATION, PCIE_WIDTH, PCIE_REPLAYS = (
    "gpu.pcie_generation",
    "gpu.pcie_width",
    "gpu.pcie_replays",
)
THERMAL, POWER_BRAKE, POWER_CAP = "gpu.thermal_slowdown", "gpu.power_brake", "gpu.power_cap"
CLOCKS_STUCK = "gpu.clocks_stuck"
UNREADABLE, LEFTOVER_PROCESS, MEMORY_KEPT = (
    "gpu.unreadable",
    "gpu.leftover_process",
    "gpu.memory_kept",
)

_CATALOGUE = "https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html"
_MEMORY_ERRORS = "https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/"
_DCGM = "https://docs.nvidia.com/datacenter/dcgm/latest/reference/error-thresholds.html"
_FABRIC = "https://docs.nvidia.com/deploy/nvml-api/api/group__nvmlFabricDefs.html"
_REASONS = "https://docs.nvidia.com/deploy/nvml-api/api/group__nvmlClocksEventReasons.html"
_QUERIES = "https://docs.nvidia.com/deploy/nvml-api/api/group__nvmlDeviceQueries.html"

# In the order in which they are told where a slot's GPUs have several.
_TABLE = (
    Check(GONE, "a GPU that is leased and is not listed any more", fixed=True),
    Check(LOST, "a GPU that has fallen off the bus", fixed=True),
    Check(
        RESET_REQUIRED, "a GPU that answers nothing before it is reset", healable=True, fixed=True
    ),
    Check(
        XID,
        "an XID that speaks against the GPU, such as 48, 74, 79, 94, 95, 119",
        until_retried=True,
        source=_CATALOGUE,
    ),
    Check(REMAP_FAILED, "a broken row of memory that could not be remapped", source=_MEMORY_ERRORS),
    Check(
        REMAP_PENDING,
        "broken rows of memory that a reset would remap, or a page that waits to be retired",
        healable=True,
        source=_MEMORY_ERRORS,
    ),
    Check(
        ECC_UNCORRECTED,
        "more uncorrected ECC errors than when the GPU was first looked at, or last retried",
        threshold=0,
        unit="errors",
        until_retried=True,
        healable=True,
        source=_MEMORY_ERRORS,
    ),
    Check(
        RECOVERY,
        "the driver asks that the GPU be reset, or the host rebooted",
        source="https://docs.nvidia.com/deploy/nvml-api/api/group__nvmlFieldValueEnums.html",
    ),
    Check(
        FABRIC,
        "the GPU could not join its NVSwitch fabric, or the fabric is not well",
        source=_FABRIC,
    ),
    Check(UNREADABLE, "NVML fails for this GPU alone; looked at again for 10 s", fixed=True),
    Check(
        LEFTOVER_PROCESS,
        "a process of an agent that has ended, or one that is gone and still counted; looked at again "
        "for 10 s",
        healable=True,
    ),
    Check(
        MEMORY_KEPT,
        "memory in use beyond the least ever seen, by no process; looked at again for 10 s",
        threshold=512,
        unit="MiB",
        healable=True,
    ),
    Check(
        XID_NOTICE,
        "an XID of what the driver has dealt with, such as 63, 92, in the last hour",
        CheckSeverity.WARN,
        source=_CATALOGUE,
    ),
    Check(
        XID_APPLICATION,
        "an XID of a program's mistake, such as 13, 31, 43, 45, 68, 109, in the last hour",
        CheckSeverity.OFF,
        source=_CATALOGUE,
    ),
    Check(
        ECC_CORRECTED,
        "corrected ECC errors in an hour",
        CheckSeverity.WARN,
        threshold=100,
        unit="an hour",
        source=_MEMORY_ERRORS,
    ),
    Check(
        FABRIC_WAITING,
        "the GPU has not joined its NVSwitch fabric yet, for so long",
        CheckSeverity.WARN,
        threshold=120,
        unit="s",
        source=_FABRIC,
    ),
    Check(
        PCIE_REPLAYS,
        "what its PCIe link had to send again, in a minute",
        CheckSeverity.WARN,
        threshold=8,
        unit="a minute",
        source=_DCGM,
    ),
    Check(
        PCIE_GENERATION,
        "its PCIe link is slower than the GPU and its slot could be, while the GPU works, for so long",
        CheckSeverity.WARN,
        threshold=60,
        unit="s",
        source=_QUERIES,
    ),
    Check(
        PCIE_WIDTH,
        "its PCIe link has fewer lanes than the GPU and its slot have, while the GPU works, for so long",
        CheckSeverity.WARN,
        threshold=60,
        unit="s",
        source=_QUERIES,
    ),
    Check(
        THERMAL,
        "its clocks are down since it is too hot, for so long",
        CheckSeverity.WARN,
        threshold=30,
        unit="s",
        source=_REASONS,
    ),
    Check(
        POWER_BRAKE,
        "its clocks are down since the power supply asks for it, for so long",
        CheckSeverity.WARN,
        threshold=30,
        unit="s",
        source=_REASONS,
    ),
    Check(
        POWER_CAP,
        "its clocks are down since it takes all the power that it may, for so long",
        CheckSeverity.OFF,
        threshold=60,
        unit="s",
        source=_REASONS,
    ),
    Check(
        CLOCKS_STUCK,
        "it works, and for a minute its clock was at most this part of what it could be, for no reason told",
        CheckSeverity.WARN,
        threshold=30,
        unit="%",
    ),
)
CHECKS: Mapping[str, Check] = MappingProxyType({check.code: check for check in _TABLE})


@dataclass(frozen=True, slots=True)
class CheckTable:
    """The checks as this installation has them."""

    settings: Mapping[str, CheckSetting] = field(
        default_factory=dict
    )  # what its configuration says

    def severity(self, code: str, xid: int | None = None) -> CheckSeverity:
        """What the check does; of one XID what is said of that number, where something is."""
        named = self.settings.get(f"{XID}.{xid}") if xid is not None else None
        for setting in (named, self.settings.get(code)):
            if setting is not None and setting.severity is not None:
                return setting.severity
        return CHECKS[code].severity

    def threshold(self, code: str) -> float:
        """From what on it finds something; 0 of a check that has no threshold."""
        setting = self.settings.get(code)
        said = setting.threshold if setting is not None else None
        return said if said is not None else CHECKS[code].threshold or 0.0
