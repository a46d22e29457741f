"""The GPUs of this host for verbs that work without the manager."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mayfly.core.desire import Hardware
from mayfly.core.gpu_checks import CheckTable
from mayfly.core.gpu_gate import DEFAULTS
from mayfly.core.gpus import Gpus
from mayfly.edge.catalogue import architecture, catalogue
from mayfly.edge.faults import Fault
from mayfly.edge.gpus import read_once

if TYPE_CHECKING:
    from mayfly.core.model import Config

PATIENCE = 10.0  # seconds for NVML to answer


def hardware(table: CheckTable = DEFAULTS) -> Hardware:
    """What NVML says now; where it says nothing, why."""
    told = Hardware(None, architecture=architecture(), catalogue=catalogue())
    try:
        reading = read_once(PATIENCE)
    except Fault as fault:
        return _with(told, unknown=str(fault))
    if reading.problem is not None:
        return _with(told, unknown=reading.problem)
    return Hardware(
        reading.gpus,
        reading.cuda,
        driver=reading.driver,
        findings=Gpus(table=table).read(reading).findings,
        architecture=told.architecture,
        catalogue=told.catalogue,
    )


def hardware_for(config: Config) -> Hardware:
    """The same, asked only where the configuration has to do with GPUs."""
    if config.host.gpu == "off":
        return Hardware(
            None,
            unknown='host.gpu is "off"',
            architecture=architecture(),
            catalogue=catalogue(),
        )
    if all(pool.gpus == 0 for pool in config.pools):
        return Hardware((), architecture=architecture(), catalogue=catalogue())
    return hardware(CheckTable(config.host.gpu_checks))


def _with(told: Hardware, *, unknown: str) -> Hardware:
    return Hardware(None, unknown=unknown, architecture=told.architecture, catalogue=told.catalogue)
