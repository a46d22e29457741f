"""Doing what was decided: each action becomes calls to the Engine or the provider, on a worker's thread.

A worker never changes state: it does one action and sends back what came of it. What it holds on to between
actions (the open way into a gate, an enrolment not yet sent) belongs to one agent, and an agent has one
action at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import assert_never

from mayfly.core import naming
from mayfly.core.actions import (
    Action,
    Dismiss,
    Enrol,
    Forget,
    Open,
    Prepare,
    Remove,
    Rename,
    SetSchedulable,
    Signal,
    action_name,
)
from mayfly.core.memory import Agent
from mayfly.core.model import (
    CA_TARGET,
    LABEL_FINGERPRINT,
    LABEL_GENERATION,
    LABEL_HOST,
    LABEL_LEASE,
    LABEL_POOL,
    LABEL_SLOT,
    ContainerId,
    Generation,
    HostId,
    Injection,
    PoolName,
    SlotSpec,
)
from mayfly.edge.engine import Engine, GateSocket
from mayfly.edge.engine_facts import Bind, ContainerPlan, DeviceRequest
from mayfly.edge.engine_faults import NameTaken
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.gate import frame
from mayfly.edge.output import OutputKeeper
from mayfly.edge.witness import Witnesses
from mayfly.providers import Enrolment, Provider
from mayfly.service.bugs import Bug, bug

ROOM = "/run/mayfly"
WITNESS_TARGET = f"{ROOM}/w"
CAPABILITIES = ("SETUID", "SETGID", "KILL", "CHOWN")
# Docker's own default set, which a pool with `sudo = true` gets.
DEFAULT_CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
BUG_REST = 10.0  # seconds before an action in which a bug struck is tried again
STOP_TIMEOUT = 30  # seconds that a person's `docker stop` leaves the job


@dataclass(frozen=True, slots=True)
class Done:
    """An action was done; ``container`` and ``enrolment`` say what came of those that give one."""

    action: Action
    container: ContainerId | None = None  # None: not a Prepare
    enrolment: Enrolment | None = None  # None: not an Enrol


@dataclass(frozen=True, slots=True)
class Failed:
    """An action was not done, or nobody knows whether it was."""

    action: Action
    fault: Fault


ActionResult = Done | Failed


class Performer:
    """Does actions; each method is safe to repeat."""

    def __init__(
        self,
        host: HostId,
        engine: Engine,
        witnesses: Witnesses,
        output: OutputKeeper,
        log_max_size: int,
    ) -> None:
        self._host = host
        self._engine = engine
        self._witnesses = witnesses
        self._output = output
        self._log_max_size = log_max_size
        self.providers: Mapping[
            PoolName, Provider
        ] = {}  # replaced as a whole when the configuration is read again
        self._gates: dict[Generation, GateSocket] = {}
        self._enrolments: dict[Generation, Enrolment] = {}
        self._networks: set[str] = set()
        # Two makers of one pool would each make its network, and the Engine takes two of one name.
        self._making_network = threading.Lock()

    def perform(self, action: Action, agent: Agent | None) -> ActionResult:
        """Do it; ``agent`` is what was remembered of its agent when it was decided."""
        try:
            match action:
                case Enrol() | Dismiss() | SetSchedulable():
                    return self._ask_service(action, agent)
                case _:
                    return self._ask_engine(action, agent)
        except Fault as fault:
            return Failed(action, fault)

    def _ask_service(self, action: Enrol | Dismiss | SetSchedulable, agent: Agent | None) -> Done:
        match action:
            case Enrol():
                return Done(action, enrolment=self._enrol(action, agent))
            case Dismiss(keep=True):
                self._provider(action.pool).retire(action.registration)
            case Dismiss():
                self._provider(action.pool).dismiss(action.registration)
            case SetSchedulable():
                self._provider(action.pool).cordon(action.registration, action.cordoned)
            case _:
                assert_never(action)
        return Done(action)

    def _ask_engine(
        self, action: Prepare | Open | Rename | Signal | Remove | Forget, agent: Agent | None
    ) -> Done:
        match action:
            case Prepare():
                return Done(action, container=self._prepare(action))
            case Open():
                self._open(action, agent)
            case Rename():
                self._engine.rename(action.container, action.to)
            case Signal():
                self._engine.signal(action.container, action.signal)
            case Remove():
                self._engine.remove(action.container, force=True)
            case Forget():
                self._bury(action.generation)
            case _:
                assert_never(action)
        return Done(action)

    def _prepare(self, action: Prepare) -> ContainerId:
        spec = action.spec
        self._witnesses.make(action.generation)
        network = self._network(spec)
        plan = container_plan(
            action,
            host=self._host,
            network=network,
            witness=str(self._witnesses.path(action.generation)),
            log_max_size=self._log_max_size,
        )
        try:
            container = self._started(action.generation, plan)
        except NameTaken:
            # Whatever has the slot's name is not ours: the agent is renamed when the name is free.
            plan = replace(plan, name=naming.standby(spec.name, action.generation))
            container = self._started(action.generation, plan)
        self._output.follow(action.generation, container, lines=not spec.embedded)
        return container

    def _started(self, generation: Generation, plan: ContainerPlan) -> ContainerId:
        """A container that waits at its gate; nothing is left of one that could not be started."""
        container = self._engine.create(plan)
        try:
            gate = self._engine.attach_stdin(container)
            self._gates[generation] = gate
            self._engine.start(container)
        except Fault:
            self._drop_gate(generation)
            with suppress(Fault):
                self._engine.remove(container, force=True)
            self._networks.discard(plan.network)
            raise
        return container

    def _network(self, spec: SlotSpec) -> str:
        if spec.pool.network is not None:
            return spec.pool.network
        name = naming.network(self._host, spec.pool.name)
        with self._making_network:
            if name not in self._networks:
                self._engine.ensure_network(name, self._host, spec.pool.name)
                self._networks.add(name)
        return name

    def _provider(self, pool: PoolName) -> Provider:
        provider = self.providers.get(pool)
        if provider is None:
            raise Passing(
                f'pool "{pool}" is not configured any more, so its service cannot be asked'
            )
        return provider

    def _enrol(self, action: Enrol, agent: Agent | None) -> Enrolment:
        if agent is None:
            raise Refused(f"agent {action.generation} is gone")
        enrolment = self._provider(action.pool).enrol(agent, action.labels)
        self._enrolments[action.generation] = enrolment
        return enrolment

    def _open(self, action: Open, agent: Agent | None) -> None:
        enrolment = self._enrolments.pop(action.generation, None)
        if enrolment is None:
            if agent is None or action.job is None:
                raise Refused(f"there is nothing to open the gate of {action.generation} with")
            enrolment = self._provider(action.pool).enrol(agent, ())
        gate = self._gates.pop(action.generation, None)
        if gate is None or not gate.alive():
            gate = self._engine.attach_stdin(action.container)
        with gate:
            gate.send(frame(action.generation, enrolment.files))

    def _bury(self, generation: Generation) -> None:
        self._drop_gate(generation)
        self._enrolments.pop(generation, None)
        self._witnesses.remove(generation)

    def _drop_gate(self, generation: Generation) -> None:
        gate = self._gates.pop(generation, None)
        if gate is not None:
            gate.close()


def container_plan(
    action: Prepare, *, host: HostId, network: str, witness: str, log_max_size: int
) -> ContainerPlan:
    """The container of an agent: nothing secret stands in it, since anybody on the host may inspect it."""
    spec, pool = action.spec, action.spec.pool
    binds = [Bind(witness, WITNESS_TARGET, read_only=False)]
    binds += [Bind(dataset.source, dataset.target) for dataset in pool.datasets]
    binds += [Bind(cache.source, cache.target, read_only=False) for cache in pool.caches]
    if pool.ca is not None:
        binds.append(Bind(pool.ca, CA_TARGET))
    return ContainerPlan(
        name=action.name,
        hostname=spec.name,
        image=spec.image,
        labels={
            LABEL_HOST: host,
            LABEL_POOL: pool.name,
            LABEL_SLOT: spec.name,
            LABEL_GENERATION: action.generation,
            LABEL_FINGERPRINT: spec.fingerprint,
            **({LABEL_LEASE: ",".join(spec.lease)} if spec.lease else {}),
        },
        env=environment(spec, action.generation),
        runtime=_runtime(spec),
        device_requests=_device_requests(spec),
        mounts=tuple(binds),
        tmpfs={ROOM: "mode=0700,size=64m"},
        memory=pool.limits.memory,
        cpus=pool.limits.cpus,
        pids=pool.limits.pids,
        shm=pool.limits.shm,
        cap_drop=("ALL",),
        cap_add=(DEFAULT_CAPABILITIES if pool.sudo else CAPABILITIES) + pool.cap_add,
        no_new_privileges=not pool.sudo,
        oom_score_adj=500,
        auto_remove=spec.removal == "engine",
        network=network,
        dns=pool.dns,
        log_max_size=log_max_size,
        stop_timeout=STOP_TIMEOUT,
    )


DRIVER_CAPABILITIES = ("compute", "utility")  # CUDA, and NVML with nvidia-smi


def _runtime(spec: SlotSpec) -> str | None:
    way = spec.injection
    return "nvidia" if way is not None and way.kind == "runtime" else None


def _device_requests(spec: SlotSpec) -> tuple[DeviceRequest, ...]:
    match spec.injection:
        case Injection(kind="cdi", devices=devices):
            return (DeviceRequest(devices, driver="cdi"),)
        case Injection(kind="request", devices=devices):
            return (DeviceRequest(devices, capabilities=("gpu", *DRIVER_CAPABILITIES)),)
        case _:
            return ()


CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


def environment(spec: SlotSpec, generation: Generation) -> dict[str, str]:
    """The container's variables: the pool's own, the datasets', the lease's and the launcher's."""
    pool = spec.pool
    variables = dict(pool.env)
    for mount in pool.mounts:
        if mount.env is not None:
            variables[mount.env] = mount.target
    if pool.proxy is not None:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            variables[name] = pool.proxy
    if pool.no_proxy is not None:
        variables |= {"no_proxy": pool.no_proxy, "NO_PROXY": pool.no_proxy}
    if pool.ca is not None:
        variables |= dict.fromkeys(CA_VARIABLES, CA_TARGET)
    variables["NVIDIA_VISIBLE_DEVICES"] = ",".join(spec.lease) or "void"
    if spec.lease:
        variables["NVIDIA_DRIVER_CAPABILITIES"] = ",".join(DRIVER_CAPABILITIES)
    variables |= {
        "MAYFLY_GENERATION": generation,
        "MAYFLY_SLOT": spec.name,
        "MAYFLY_USER": pool.user,
    }
    if pool.groups:
        variables["MAYFLY_GROUPS"] = ",".join(pool.groups)
    if pool.sudo:
        variables["MAYFLY_SUDO"] = "1"
    return variables


class Workers:
    """A few threads that perform actions; gates have threads of their own, so that none waits for a start."""

    def __init__(
        self,
        performer: Performer,
        send: Callable[[ActionResult | Bug], None],
        *,
        makers: int = 8,
        others: int = 4,
        openers: int = 2,
    ) -> None:
        self._performer = performer
        self._send = send
        self._queues: dict[str, SimpleQueue[tuple[Action, Agent | None] | None]] = {
            "make": SimpleQueue(),
            "other": SimpleQueue(),
            "open": SimpleQueue(),
        }
        self._threads = [
            threading.Thread(target=self._work, args=(kind,), name=f"{kind}-{number}", daemon=True)
            for kind, count in (("make", makers), ("other", others), ("open", openers))
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def begin(self, action: Action, agent: Agent | None) -> None:
        """Have the action performed; its outcome is sent."""
        self._queues[_kind(action)].put((action, agent))

    def use_providers(self, providers: Mapping[PoolName, Provider]) -> None:
        """The providers of the pools, from the next action on."""
        self._performer.providers = providers

    def stop(self, timeout: float) -> None:
        """Let each thread end after what it does now; at most ``timeout`` seconds are waited for all."""
        kinds = [thread.name.split("-")[0] for thread in self._threads]
        for kind in kinds:
            self._queues[kind].put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, kind: str) -> None:
        queue = self._queues[kind]
        while (task := queue.get()) is not None:
            action, agent = task
            try:
                outcome = self._performer.perform(action, agent)
            except Exception as error:  # noqa: BLE001  a bug must not leave the action in flight for ever
                name = action_name(action)
                self._send(bug(f"{name} of {action.slot or action.subject}", error))
                outcome = Failed(action, Passing(f"{type(error).__name__}: {error}", BUG_REST))
            self._send(outcome)


def _kind(action: Action) -> str:
    match action:
        case Open():
            return "open"
        case Prepare() | Enrol():
            return "make"
        case _:
            return "other"
