"""What the last pass of the loop came to, as metrics: slots by phase, conditions, what services counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mayfly.core.conditions import OF_SLOTS
from mayfly.core.delivery import JobCounts
from mayfly.core.model import Condition, Phase, PoolName, Severity
from mayfly.core.slots import SlotStatus


class StatusCollector(Collector):
    """``rows``, ``conditions`` and ``handed`` are replaced whole by the loop's thread, and read by any."""

    def __init__(self) -> None:
        self.rows: Sequence[SlotStatus] = ()
        self.conditions: tuple[Condition, ...] = ()
        self.handed: Mapping[PoolName, JobCounts] = {}

    def collect(self) -> Iterable[Metric]:
        rows = self.rows
        slots = GaugeMetricFamily(
            "mayfly_slots",
            "Slots by phase of their agent.",
            labels=["pool", "provider", "phase"],
        )
        desired = GaugeMetricFamily(
            "mayfly_slots_desired",
            "Slots that the configuration asks for.",
            labels=["pool", "provider"],
        )
        pools: dict[tuple[str, str], list[SlotStatus]] = {}
        for row in rows:
            pools.setdefault((row.spec.pool.name, row.spec.pool.provider), []).append(row)
        for pool, own in pools.items():
            desired.add_metric(pool, sum(1 for row in own if row.configured))
            for phase in Phase:
                slots.add_metric([*pool, phase], sum(1 for row in own if row.phase is phase))
        phases = GaugeMetricFamily(
            "mayfly_slot_phase",
            "1 for the phase that the slot is in.",
            labels=["pool", "slot", "phase"],
        )
        cordoned = GaugeMetricFamily(
            "mayfly_cordoned", "1 where the slot takes no new job.", labels=["pool", "slot"]
        )
        held = GaugeMetricFamily(
            "mayfly_held_for_people",
            "1 where the container of an ended job is held for a person, and its slot takes none.",
            labels=["pool", "slot"],
        )
        for row in rows:
            slot = [row.spec.pool.name, row.spec.name]
            held.add_metric(slot, float(row.held is not None))
            cordoned.add_metric(slot, float(row.memory.cordon is not None))
            for phase in Phase:
                phases.add_metric([*slot, phase], float(row.phase is phase))
        health = GaugeMetricFamily(
            "mayfly_health_lines", "Condition lines under `mayfly status`.", labels=["severity"]
        )
        for severity in Severity:
            lines = sum(1 for one in self.conditions if one.severity is severity)
            health.add_metric([severity], lines)
        counted = self._counted()
        return [slots, desired, phases, cordoned, held, health, self._condition_family(), *counted]

    def _counted(self) -> tuple[Metric, Metric]:
        """What services that hand jobs out have counted."""
        jobs = GaugeMetricFamily(
            "mayfly_service_jobs",
            "Jobs of a pool as its service last counted them, where it hands them out; those assigned "
            "include those that run.",
            labels=["pool", "state"],
        )
        agents = GaugeMetricFamily(
            "mayfly_service_agents",
            "Agents of a pool as its service last counted them, where it hands jobs out.",
            labels=["pool", "state"],
        )
        for pool, counts in self.handed.items():
            for state in ("available", "assigned", "running"):
                jobs.add_metric([pool, state], getattr(counts, state))
            for state in ("registered", "busy", "idle"):
                agents.add_metric([pool, state], getattr(counts, state))
        return jobs, agents

    def _condition_family(self) -> Metric:
        """Conditions by code, pool and severity: how many slots each concerns, 1 where all or the host."""
        family = GaugeMetricFamily(
            "mayfly_condition",
            "Slots that a condition concerns, or 1: what mayfly status shows as a warning or an error.",
            labels=["code", "pool", "severity"],
        )
        pools = {str(row.spec.pool.name) for row in self.rows}
        told = (Severity.WARNING, Severity.ERROR)
        counts = {("engine.unknown", "", Severity.ERROR): 0} | {
            (code, pool, severity): 0 for code in OF_SLOTS for pool in pools for severity in told
        }
        for one in self.conditions:
            if one.severity in told:
                key = (one.code, one.pool or "", one.severity)
                counts[key] = counts.get(key, 0) + (len(one.slots) or 1)
        for key, count in counts.items():
            family.add_metric(key, count)
        return family
