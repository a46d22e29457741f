"""What the loop's state holds beside its slots, as metrics: who waits, reservations, tokens, images, GPUs.

Asked when the metrics are, from any thread: the state is a value. No label of these is a word of a job's or
a person's; pools, slots, images and GPUs are as many as the configuration and the host have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mayfly.core.model import Config, PoolName, SlotSpec
from mayfly.core.queue import waits_for_a_slot
from mayfly.core.read_on import anchor
from mayfly.core.state import State


@dataclass(frozen=True, slots=True)
class StateCollector(Collector):
    """Reads the last published state; ``now`` in seconds since the epoch."""

    state: Callable[[], State]
    token_ends: Callable[[Config], Mapping[PoolName, float]]
    now: Callable[[], float]

    def collect(self) -> Iterable[Metric]:
        state, now = self.state(), self.now()
        yield _pages(state.config)
        yield _longest_wait(state, now)
        yield from _waiting_at_services(state, now)
        yield _reservations(state)
        yield _tokens(state, self.token_ends(state.config))
        yield _images(state)
        yield _leased(state.desired.slots)
        yield from _gpus(state)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"mayfly_{name}", text, labels=labels)


def _pages(config: Config) -> Metric:
    """For alerts and dashboards to lead there."""
    family = _gauge(
        "docs_info",
        "1, with the address of the troubleshooting page as label, if host.docs says where the pages are.",
        "url",
    )
    if config.host.docs is not None:
        family.add_metric([anchor("", config.host.docs).removesuffix("#")], 1.0)
    return family


def _longest_wait(state: State, now: float) -> Metric:
    family = _gauge(
        "jobs_longest_wait_seconds",
        "How many seconds the oldest waiting job of the pool's queue has waited; 0: none waits. Without jobs "
        "that waited for other jobs, are run again, or are a reservation.",
        "pool",
    )
    longest = {pool.name: 0.0 for pool in state.config.pools if pool.embedded}
    for job in state.memory.jobs.values():
        if job.pool in longest and job.agent is None and waits_for_a_slot(job, state.memory):
            longest[job.pool] = max(longest[job.pool], now - job.submitted)
    for pool, seconds in longest.items():
        family.add_metric([pool], seconds)
    return family


def _waiting_at_services(state: State, now: float) -> Iterable[Metric]:
    """Of the pools whose service has told, at the last look, what waits there."""
    number = _gauge(
        "service_jobs_waiting",
        "Jobs that waited for the pool at its service when that was last asked: every 5 to 30 minutes.",
        "pool",
    )
    longest = _gauge(
        "service_jobs_longest_wait_seconds",
        "How many seconds the oldest waiting job at the pool's service has waited, of those that waited when "
        "the service was last asked; 0: none did.",
        "pool",
    )
    for pool, queue in state.queues.pools.items():
        if queue.seen is None:
            continue
        number.add_metric([pool], len(queue.jobs))
        waits = (now - job.since for job in queue.jobs)
        longest.add_metric([pool], max(0.0, max(waits, default=0.0)))
    return number, longest


def _reservations(state: State) -> Metric:
    family = _gauge(
        "reservations",
        "Reservations of GPUs, by whether they have begun (running) or are to (ahead).",
        *("pool", "state"),
    )
    counts = {
        (pool.name, word): 0
        for pool in state.config.pools
        if pool.reserve is not None
        for word in ("running", "ahead")
    }
    for one in state.memory.reservations.values():
        key = (one.pool, "ahead" if one.began is None else "running")
        counts[key] = counts.get(key, 0) + 1
    for key, count in counts.items():
        family.add_metric(key, count)
    return family


def _tokens(state: State, ends: Mapping[PoolName, float]) -> Metric:
    family = _gauge(
        "token_end_timestamp_seconds",
        "When a pool's token at its service ends, in seconds since the epoch, if that is known. With an "
        "empty pool: the manager's token at its engine, unless somebody else renews it.",
        "pool",
    )
    for pool, end in ends.items():
        family.add_metric([pool], end)
    credential = state.survey.credential
    if credential is not None and not credential.renewed:
        family.add_metric([""], credential.end)
    return family


def _images(state: State) -> Metric:
    """Of the pools' own images: those that jobs ask for are as many as people name."""
    family = _gauge(
        "image_created_timestamp_seconds",
        "When the image of the pool's agents was built, in seconds since the epoch, as it says itself.",
        *("pool", "image"),
    )
    own = {
        (spec.pool.name, spec.reference)
        for spec in state.desired.slots
        if spec.asked_image is None and spec.reference
    }
    for pool, reference in sorted(own):
        seen = state.survey.images.get(reference)
        if seen is not None and seen.created is not None and seen.created > 0:
            family.add_metric([pool, reference], seen.created)
    return family


def _leased(slots: Iterable[SlotSpec]) -> Metric:
    family = _gauge(
        "gpu_leased",
        "1 for each GPU or MIG device that a slot has; says which slot and pool have which GPU.",
        *("pool", "slot", "uuid"),
    )
    for spec in slots:
        for uuid in spec.lease:
            family.add_metric([spec.pool.name, spec.name, uuid], 1.0)
    return family


def _gpus(state: State) -> Iterable[Metric]:
    labels = ("gpu", "uuid")
    utilisation = _gauge(
        "gpu_utilisation_ratio",
        "Share of the time, 0 to 1, for which the GPU was at work, by its last sample; unknown in MIG mode.",
        *labels,
    )
    used = _gauge("gpu_memory_used_bytes", "Memory of the GPU that is in use.", *labels)
    total = _gauge("gpu_memory_bytes", "Memory that the GPU has.", *labels)
    warm = _gauge("gpu_temperature_celsius", "Temperature of the GPU.", *labels)
    reading = state.gpus.reading
    for gpu in (reading.gpus or ()) if reading is not None else ():
        vitals = reading.vitals.get(gpu.uuid) if reading is not None else None
        if vitals is None:
            continue
        values = (
            (utilisation, None if vitals.utilisation is None else vitals.utilisation / 100),
            (used, vitals.used),
            (total, vitals.total or gpu.memory or None),
            (warm, vitals.temperature),
        )
        for family, value in values:
            if value is not None:
                family.add_metric([str(gpu.index), gpu.uuid], float(value))
    return utilisation, used, total, warm
