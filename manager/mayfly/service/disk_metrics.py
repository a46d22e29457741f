"""The room on the file systems that Mayfly and the Engine write to, as metrics; as the loop last looked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mayfly.edge.room import Room


class DiskCollector(Collector):
    """``rooms`` is replaced as a whole by the loop's thread, and read by any."""

    def __init__(self) -> None:
        self.rooms: Sequence[Room] = ()

    def collect(self) -> Iterable[Metric]:
        def gauge(name: str, text: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"mayfly_disk_{name}", text, labels=["path"])

        free = gauge("free_bytes", "Room left where Mayfly or the Engine writes.")
        size = gauge("size_bytes", "Size of that file system.")
        files = gauge("free_files", "Files that can still be made there, where that is bounded.")
        for path, room in {room.path: room for room in self.rooms}.items():
            free.add_metric([path], room.free)
            size.add_metric([path], room.total)
            if room.files:
                files.add_metric([path], room.files_free)
        return free, size, files
