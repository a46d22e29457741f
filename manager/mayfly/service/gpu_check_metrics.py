"""The findings of the health gate's checks as metrics, by code."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mayfly.core.gpu_checks import GpuFinding


class GpuCheckCollector(Collector):
    """Asked when the metrics are, from any thread."""

    def __init__(self, found: Callable[[], Iterable[GpuFinding]]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "mayfly_gpu_check",
            "1 for each check that has found something on a GPU or MIG device, and what it does: hold, warn.",
            labels=["uuid", "code", "severity"],
        )
        seen = {(one.uuid, one.code, str(one.severity)) for one in self._found()}
        for labels in sorted(seen):
            family.add_metric(labels, 1.0)
        return [family]
