"""Metrics for Prometheus: counted from facts and results, gauged from what was last published.

Every value of a label that is known beforehand is there from the start, so that an alert can tell
"never" from "not yet scraped". Only the loop's thread counts; any thread may ask for the text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mayfly import __version__
from mayfly.core import naming
from mayfly.core.actions import Action, action_name
from mayfly.core.delivery import JobCounts
from mayfly.core.facts import (
    AgentConfirmed,
    AgentCreated,
    AgentExited,
    AgentOpened,
    AgentReady,
    Fact,
    JobEnded,
)
from mayfly.core.gpu_metering import Throttle
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Cause,
    Condition,
    Config,
    Generation,
    GpuUse,
    JobState,
    Phase,
    PoolName,
    PoolSpec,
    UseOf,
    World,
)
from mayfly.core.outcomes import Result
from mayfly.core.queue import waits_for_a_slot
from mayfly.core.slots import SlotStatus
from mayfly.edge.http_connection import HttpReply, OnFailure, Request, error_reply
from mayfly.edge.room import Room
from mayfly.edge.tcp_http import TcpServer
from mayfly.service.disk_metrics import DiskCollector
from mayfly.service.status_metrics import StatusCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TEXT = "text/plain; charset=utf-8"

FORMER_ACTIONS = {"set_schedulable": "tell", "forget": "bury"}  # both are shown for one release
ACTIONS = (
    *(
        "prepare",
        "enrol",
        "open",
        "rename",
        "signal",
        "freeze",
        "thaw",
        "weigh",
        "remove",
        "dismiss",
        "set_schedulable",
        "forget",
    ),
    *FORMER_ACTIONS.values(),
)
RESULTS = ("done", "failed")
UNREADY = frozenset(Phase) - {Phase.IDLE, Phase.BUSY}
START_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)
JOB_BUCKETS = (1, 10, 60, 300, 900, 1800, 3600, 7200, 21600, 86400)
QUEUE_BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 21600, 43200, 86400)
PASS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


Calls = Mapping[tuple[str, str], int]  # by operation and HTTP status


@dataclass(frozen=True, slots=True)
class Outside:
    """What others count and know; asked when the metrics are, from any thread."""

    calls: Callable[[], Mapping[PoolName, Calls]]
    remaining: Callable[[], Mapping[PoolName, float]]  # calls that each service still allows
    gpus: Callable[[], tuple[Sequence[Gpu], str]]  # and the driver


class _Beyond(Collector):
    """The calls of the services and the GPUs of the host."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def collect(self) -> Iterable[Metric]:
        calls = CounterMetricFamily(
            "mayfly_provider_requests",
            "Calls of the pool's service; code lost: no answer came, unsent: it was not made.",
            labels=["pool", "operation", "code"],
        )
        for pool, counts in self._outside.calls().items():
            for (operation, code), count in counts.items():
                calls.add_metric([pool, operation, code], count)
        left = GaugeMetricFamily(
            "mayfly_provider_rate_limit_remaining",
            "Calls that the pool's service still allows, where it says so.",
            labels=["pool"],
        )
        for pool, number in self._outside.remaining().items():
            left.add_metric([pool], number)
        info = GaugeMetricFamily(
            "mayfly_gpu_info",
            "1 for each GPU of this host.",
            labels=["gpu", "uuid", "model", "driver"],
        )
        gpus, driver = self._outside.gpus()
        for gpu in gpus:
            info.add_metric([str(gpu.index), gpu.uuid, gpu.name, driver], 1.0)
        return [calls, left, info]


class Metrics:
    """All that the manager counts."""

    def __init__(self, config: Config) -> None:
        # (The library has no types for this one.) When a counter was made is of no use to who asks often.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._disks = DiskCollector()
        self.registry.register(self._disks)
        self._status_collector = StatusCollector()
        self.registry.register(self._status_collector)
        self._last: float | None = None  # steady clock of the last pass
        self._make_pools()
        self._make_loop()
        self.use(config)

    def _make_pools(self) -> None:
        def counter(name: str, text: str, labels: Sequence[str]) -> Counter:
            return Counter(f"mayfly_{name}", text, labels, registry=self.registry)

        self._vacant = counter(
            "slot_vacant_seconds",
            "Seconds in which the slot should have an agent and had none.",
            ["pool", "slot"],
        )
        self._unready = counter(
            "slot_unready_seconds",
            "Seconds in which the slot was neither idle nor busy, nor kept for a person, nor "
            "waiting for GPUs from Slurm.",
            ["pool", "slot"],
        )
        self._started = counter("agents_started", "Agents made.", ["pool", "slot", "provider"])
        self._finished = counter(
            "agents_finished", "Agents that ended.", ["pool", "slot", "provider", "outcome"]
        )
        self._expired = counter(
            "agents_expired",
            "Idle agents that ended by themselves: their service took them back before they had a job.",
            ["pool", "slot", "provider"],
        )
        self._jobs = counter(
            "jobs", "Jobs of the embedded queue that ended.", ["pool", "state", "cause"]
        )
        self._energy = counter(
            "gpu_energy_joules",
            "Energy that GPUs used while jobs that had ended ran on them alone, by the GPUs' own counters.",
            ["pool"],
        )
        self._throttled = counter(
            "gpu_throttled_seconds",
            "Seconds for which GPUs of jobs that have ended were throttled.",
            ["pool", "reason"],
        )
        self._queued = Gauge(
            "mayfly_jobs_queued", "Jobs that wait in the queue.", ["pool"], registry=self.registry
        )
        self._start_seconds = Histogram(
            "mayfly_agent_start_duration_seconds",
            "From the making of an agent to its readiness.",
            ["pool", "provider"],
            buckets=START_BUCKETS,
            registry=self.registry,
        )
        self._job_seconds = Histogram(
            "mayfly_job_duration_seconds",
            "From an agent's start at a job to its end.",
            ["pool", "provider"],
            buckets=JOB_BUCKETS,
            registry=self.registry,
        )
        self._queue_seconds = Histogram(
            "mayfly_job_queue_duration_seconds",
            "From the submission of a job of the embedded queue to its start; without jobs that waited for "
            "other jobs, were run again, or are a reservation.",
            ["pool"],
            buckets=QUEUE_BUCKETS,
            registry=self.registry,
        )
        self._providers: dict[PoolName, str] = {}  # of every pool there ever was
        self._pools: dict[PoolName, PoolSpec] = {}  # that are configured

    def _make_loop(self) -> None:
        Gauge(
            "mayfly_build_info", "The manager's version.", ["version"], registry=self.registry
        ).labels(__version__).set(1)
        self._paused = Gauge("mayfly_paused", "1 while only observing.", registry=self.registry)
        self._engine_up = Gauge(
            "mayfly_engine_up", "1 while the Engine answers.", registry=self.registry
        )
        self._stream_restarts = Counter(
            "mayfly_engine_stream_restarts",
            "Times that the stream of Engine events was lost.",
            registry=self.registry,
        )
        self._provider_up = Gauge(
            "mayfly_provider_up",
            "1 while the pool's service answers.",
            ["pool"],
            registry=self.registry,
        )
        self._orphans = Gauge(
            "mayfly_provider_orphans",
            "Entries of ours at the service without an agent.",
            ["pool"],
            registry=self.registry,
        )
        self._roster_age = Gauge(
            "mayfly_provider_roster_age_seconds",
            "Seconds since the pool's service last said who is there.",
            ["pool"],
            registry=self.registry,
        )
        self._passes = Counter(
            "mayfly_reconcile", "Passes of the loop.", ["result"], registry=self.registry
        )
        for result in ("done", "not_recorded"):
            self._passes.labels(result)
        self._pass_seconds = Histogram(
            "mayfly_reconcile_duration_seconds",
            "Length of a pass.",
            buckets=PASS_BUCKETS,
            registry=self.registry,
        )
        self._last_pass = Gauge(
            "mayfly_last_reconcile_timestamp_seconds",
            "When the last pass ended.",
            registry=self.registry,
        )
        self._actions = Counter(
            "mayfly_actions", "Actions performed.", ["action", "result"], registry=self.registry
        )
        self._in_flight = Gauge(
            "mayfly_actions_in_flight", "Actions under way.", ["action"], registry=self.registry
        )
        self._action_seconds = Histogram(
            "mayfly_action_duration_seconds",
            "From the begin of an action to its result.",
            ["action"],
            buckets=START_BUCKETS,
            registry=self.registry,
        )
        for action in ACTIONS:
            self._in_flight.labels(action)
            self._action_seconds.labels(action)
            for result in RESULTS:
                self._actions.labels(action, result)
        self._reload_good = Gauge(
            "mayfly_config_last_reload_successful",
            "1 where the last reading of the configuration succeeded.",
            registry=self.registry,
        )
        self._reload_good.set(1)
        self._reload_at = Gauge(
            "mayfly_config_last_reload_success_timestamp_seconds",
            "When the configuration was last read with success.",
            registry=self.registry,
        )
        self._errors = Counter(
            "mayfly_loop_errors",
            "Errors that only a bug in Mayfly explains.",
            registry=self.registry,
        )

    def watch(self, outside: Outside, *further: Collector) -> None:
        """Where the rest is known."""
        for collector in (_Beyond(outside), *further):
            self.registry.register(collector)

    def handed_out(self, counts: Mapping[PoolName, JobCounts]) -> None:
        """What services that hand jobs out have counted."""
        self._status_collector.handed = counts

    def healthy(self, conditions: Iterable[Condition]) -> None:
        """The conditions that are shown now."""
        self._status_collector.conditions = tuple(conditions)

    def surveyed(self, rooms: Sequence[Room]) -> None:
        """How much room there is, was looked at."""
        self._disks.rooms = rooms

    def use(self, config: Config) -> None:
        """Make every series of the configured pools be there, and no state of those that are not."""
        pools = {pool.name: pool for pool in config.pools}
        for gone in self._pools.keys() - pools.keys():
            self._forget(self._pools[gone])
        self._pools = pools
        for pool in config.pools:
            self._providers[pool.name] = pool.provider
            self._start_seconds.labels(pool.name, pool.provider)
            self._job_seconds.labels(pool.name, pool.provider)
            if not pool.embedded:
                self._provider_up.labels(pool.name)
                self._orphans.labels(pool.name)
                self._roster_age.labels(pool.name)
            if pool.gpus != 0:
                self._energy.labels(pool.name)
                for reason in Throttle:
                    self._throttled.labels(pool.name, reason)
            if pool.embedded:
                self._queued.labels(pool.name)
                self._queue_seconds.labels(pool.name)
                for state, cause in JOB_ENDS:
                    self._jobs.labels(pool.name, state, cause)
            for index in range(pool.slots):
                slot = naming.slot(pool.name, index)
                self._vacant.labels(pool.name, slot)
                self._unready.labels(pool.name, slot)
                self._started.labels(pool.name, slot, pool.provider)
                for outcome in Result:
                    self._finished.labels(pool.name, slot, pool.provider, outcome)
                if not pool.embedded:
                    self._expired.labels(pool.name, slot, pool.provider)

    def _forget(self, pool: PoolSpec) -> None:
        """Nothing is known of the pool any more: an alert would go on for ever by what was known last."""
        if pool.embedded:
            self._queued.remove(pool.name)
        else:
            for gauge in (self._provider_up, self._orphans, self._roster_age):
                gauge.remove(pool.name)

    # -- what the loop tells ----------------------------------------------------------------------

    def facts(self, facts: Iterable[Fact], before: Memory, after: Memory) -> None:
        """Facts were recorded, which led from one memory to the other."""
        for fact in facts:
            self._fact(fact, before, after)

    def _fact(self, fact: Fact, before: Memory, after: Memory) -> None:
        match fact:
            case AgentCreated(agent=agent):
                self._started.labels(agent.pool, agent.slot, self._provider(agent.pool)).inc()
            case (
                AgentReady(at=at, generation=generation)
                | AgentConfirmed(at=at, generation=generation, phase=Phase.IDLE)
            ):
                self._ready(_agent(generation, before, after), at, fact)
            case AgentOpened(at=at, generation=generation):
                self._opened(_agent(generation, before, after), at, before)
            case AgentExited(generation=generation):
                self._exited(_agent(generation, before, after), fact)
            case JobEnded(job=job, state=state, cause=cause):
                known = before.jobs.get(job) or after.jobs.get(job)
                if known is not None:
                    self._jobs.labels(known.pool, state, cause or "").inc()
            case _:
                pass

    def _opened(self, agent: Agent | None, at: float, before: Memory) -> None:
        """A job of the queue has begun, for the first time."""
        if agent is None or agent.job is None:
            return
        job = before.jobs.get(agent.job)
        if job is not None and waits_for_a_slot(job, before):
            self._queue_seconds.labels(job.pool).observe(max(0.0, at - job.submitted))

    def _exited(self, agent: Agent | None, end: AgentExited) -> None:
        if agent is None:
            return
        provider = self._provider(agent.pool)
        self._finished.labels(agent.pool, agent.slot, provider, end.outcome).inc()
        self._measured(agent.pool, end.gpus)
        if agent.opened is None:
            return
        began = agent.opened if agent.embedded else agent.confirmed_at or agent.opened
        self._job_seconds.labels(agent.pool, provider).observe(max(0.0, end.at - began))
        if end.outcome == Result.NO_JOB and end.clean and end.exit_code == 0:
            self._expired.labels(agent.pool, agent.slot, provider).inc()

    def _measured(self, pool: PoolName, uses: Iterable[GpuUse]) -> None:
        """Add it up, but for a GPU that agents share, whose figures each of them has."""
        for use in uses:
            if use.use_of is UseOf.GPU:
                self._energy.labels(pool).inc(use.energy or 0.0)
                for reason, seconds in (use.throttled or {}).items():
                    self._throttled.labels(pool, reason).inc(seconds)

    def _ready(self, agent: Agent | None, at: float, fact: Fact) -> None:
        """A queue's agent is ready at its gate, a service's once it is confirmed."""
        if agent is None or agent.embedded is not isinstance(fact, AgentReady):
            return
        began = agent.born if agent.embedded else agent.committed or agent.born
        provider = self._provider(agent.pool)
        self._start_seconds.labels(agent.pool, provider).observe(max(0.0, at - began))

    def _provider(self, pool: PoolName) -> str:
        return self._providers.get(pool, "unknown")

    def begun(self, action: Action) -> None:
        """An action was begun."""
        for name in _names(action):
            self._in_flight.labels(name).inc()

    def ended(self, action: Action, seconds: float, *, done: bool) -> None:
        """The action's result is here."""
        for name in _names(action):
            self._in_flight.labels(name).dec()
            self._action_seconds.labels(name).observe(max(0.0, seconds))
            self._actions.labels(name, "done" if done else "failed").inc()

    def passed(
        self,
        rows: Sequence[SlotStatus],
        memory: Memory,
        world: World,
        now: float,
        steady: float,
        seconds: float,
        *,
        recorded: bool,
        down: Collection[PoolName] = (),
    ) -> None:
        """A pass has ended at ``now``, on the ``steady`` clock too, and took so many seconds.

        The services of pools that are ``down`` do not say who is there.
        """
        self._passes.labels("done" if recorded else "not_recorded").inc()
        self._pass_seconds.observe(seconds)
        self._last_pass.set(now)
        self._paused.set(float(memory.pause is not None))
        self._engine_up.set(float(world.containers is not None))
        self._age(self._status_collector.rows, steady)
        self._status_collector.rows = rows
        queued: dict[PoolName, int] = {}
        for job in memory.jobs.values():
            if job.agent is None:
                queued[job.pool] = queued.get(job.pool, 0) + 1
        for pool, spec in self._pools.items():
            if spec.embedded:
                self._queued.labels(pool).set(queued.get(pool, 0))
            else:
                self._service(pool, world, now)
                # A service that has answered may tell nothing of its agents.
                answers = pool in world.rosters and pool not in down
                self._provider_up.labels(pool).set(float(answers))

    def _service(self, pool: PoolName, world: World, now: float) -> None:
        roster = world.rosters.get(pool)
        self._orphans.labels(pool).set(sum(1 for key in world.orphans if key[0] == pool))
        if roster is not None:
            self._roster_age.labels(pool).set(max(0.0, now - roster.at))

    def _age(self, rows: Sequence[SlotStatus], steady: float) -> None:
        """Count the time since the last pass to the phases that it left the slots in."""
        if self._last is not None:
            gone = steady - self._last
            for row in rows:
                if row.held is not None or _awaits(row):
                    continue
                if row.phase in UNREADY:
                    self._unready.labels(row.spec.pool.name, row.spec.name).inc(gone)
                if row.agent is None and row.memory.cordon is None:
                    self._vacant.labels(row.spec.pool.name, row.spec.name).inc(gone)
        self._last = steady

    def stream_lost(self) -> None:
        """The stream of Engine events ended."""
        self._stream_restarts.inc()

    def reloaded(self, now: float, *, good: bool) -> None:
        """The configuration was read again."""
        self._reload_good.set(float(good))
        if good:
            self._reload_at.set(now)

    def failed(self) -> None:
        """Something happened that only a bug explains."""
        self._errors.inc()

    def text(self) -> bytes:
        """The exposition in Prometheus' text format; what is no text in a label is shown as ``?``."""
        try:
            return generate_latest(self.registry)
        except UnicodeEncodeError:  # the Engine names a path, NVML a GPU, by bytes that are no text
            return generate_latest(_Legible(self.registry))


class _Legible(CollectorRegistry):
    """What a registry has, with labels that can be written as UTF-8."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._whole = registry

    def collect(self) -> Iterable[Metric]:
        for family in self._whole.collect():
            family.samples = [
                sample._replace(labels={name: _text(one) for name, one in sample.labels.items()})
                for sample in family.samples
            ]
            yield family


def _text(label: str) -> str:
    return label.encode(errors="replace").decode()


def serve(
    address: str,
    exposition: Callable[[], bytes],
    on_failure: OnFailure,
    probes: Mapping[str, Callable[[], str | None]] = MappingProxyType({}),
) -> Callable[[], None]:
    """Serve the metrics at ``HOST:PORT``, and beside them paths that say whether all is well, or why not;
    returns how to stop that. ``OSError`` where the port is taken.
    """
    host, _, port = address.rpartition(":")

    def respond(request: Request) -> HttpReply:
        probe = probes.get(request.path)
        if probe is not None:
            why = probe()
            return HttpReply(503 if why else 200, TEXT, f"{why or 'ok'}\n".encode())
        if request.path not in ("/", "/metrics"):
            there = ", ".join(("/metrics", *probes))
            return error_reply(404, f"there are only {there}", "no_such_path")
        return HttpReply(200, CONTENT_TYPE, exposition())

    return TcpServer(host.strip("[]"), int(port), respond, on_failure).close


JOB_ENDS: tuple[tuple[JobState, str], ...] = (
    (JobState.SUCCEEDED, ""),
    *((JobState.FAILED, cause) for cause in (Cause.EXIT, Cause.OOM, Cause.TIMEOUT, Cause.DISK)),
    (JobState.CANCELLED, Cause.CANCELLED),
    *(
        (JobState.LOST, cause)
        for cause in (Cause.ENGINE_STOPPED, Cause.KILLED, Cause.NEVER_STARTED, Cause.UNKNOWN)
    ),
)


def _awaits(row: SlotStatus) -> bool:
    """Whether the slot is empty because it has no GPUs yet, which another than Mayfly gives."""
    return row.phase is Phase.VACANT and row.since is None


def _agent(generation: Generation, before: Memory, after: Memory) -> Agent | None:
    return after.agents.get(generation) or before.agents.get(generation)


def _names(action: Action) -> tuple[str, ...]:
    name = action_name(action)
    return (name, FORMER_ACTIONS[name]) if name in FORMER_ACTIONS else (name,)
