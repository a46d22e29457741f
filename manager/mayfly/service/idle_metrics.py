"""How long the host was up, had nothing to do, and was away, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mayfly.core.host_hours import Hours


class IdleCollector(Collector):
    """Asked when the metrics are, from any thread."""

    def __init__(self, seconds: Callable[[], Hours | None]) -> None:
        self._seconds = seconds

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "mayfly_host_seconds",
            "Seconds that the host was up, idle (of these, with nothing to do), or away (suspended or "
            "stopped), with `[host.idle]`.",
            labels=["state"],
        )
        found = self._seconds()
        if found is not None:
            for state in ("up", "idle", "away"):
                family.add_metric([state], getattr(found, state))
        return [family]
