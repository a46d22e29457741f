"""Docker Engine as one of Mayfly's engines: agents prepared, their gates held and opened, networks kept.

What it holds between calls (the way into each gate, the networks that are known to be there) belongs to this
process and is made again after a restart.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mayfly.core import naming
from mayfly.core.admission.grant import LABEL_BELONGS, LABEL_BELONGS_HOST, LABEL_BELONGS_SEAL
from mayfly.core.agent_plan import AgentPlan, Network
from mayfly.core.container_labels import NOBODYS
from mayfly.core.gate_environment import at_gate
from mayfly.core.model import (
    Breach,
    Container,
    ContainerId,
    ContainerState,
    Generation,
    HostId,
    PoolName,
)
from mayfly.core.sandbox import SandboxPlan
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.inner_containers import InnerContainers
from mayfly.edge.network_namespace import Counts, counted, sockets, traces
from mayfly.edge.parent_groups import ParentGroups, Together
from mayfly.edge.patience import comes_true
from mayfly.engines.docker import builder, isolation
from mayfly.engines.docker.agents_containers import AgentsContainers
from mayfly.engines.docker.client import MEASURED, DockerClient
from mayfly.engines.docker.container import container_plan, joining
from mayfly.engines.docker.events import EventFollower
from mayfly.engines.docker.faults import NoImage, no_such_network
from mayfly.engines.docker.gate_socket import GateSocket
from mayfly.engines.docker.gateway import clearing
from mayfly.engines.docker.granting import grant_of
from mayfly.engines.docker.lines import lines_at
from mayfly.engines.docker.output import OutputKeeper
from mayfly.engines.docker.quotas import wall
from mayfly.engines.docker.sandbox import holder_plan, only_the_engines
from mayfly.engines.docker.seccomp import calls_allowed
from mayfly.engines.docker.ulimits import own_ulimits
from mayfly.engines.docker.values import ContainerPlan
from mayfly.engines.docker.volumes import Volumes
from mayfly.engines.protocol import (
    Belonging,
    EngineEvent,
    EngineFacts,
    EventCursor,
    Finding,
    Gone,
    NameTaken,
    OutputListener,
    StreamTurn,
    always,
)

AT_GATE = 2  # processes of an agent that waits: the init and the gate
SETTLING = 3.0  # seconds in which the Engine has its own sockets in a namespace that it made
SETTLING_AGAIN = 0.02
BLIND_SECONDS = 60.0  # until it is tried again whether a namespace can be looked into
UNSEEN = "network namespaces of its containers cannot be looked into from here"
TERMINAL_GRACE = 1  # seconds that a person's command has to end


@dataclass(frozen=True, slots=True)
class _Held:
    """What is known of a holder."""

    process: int  # its first
    # as long as these are the same, it is; None: it was not yet seen to be
    empty: Counts | None = None
    sent: int | None = None  # packets that had left it when it was last watched; None: it was not


class DockerEngine(DockerClient):
    """One Docker Engine behind a unix socket, as ``engines.protocol.Engine``."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 30,
        clock: Callable[[], float] = time.monotonic,
        parents: ParentGroups | None = None,
    ) -> None:
        """``parents``: the control groups of its agents; ``None``: this host's."""
        super().__init__(base_url, timeout=timeout)
        self.lines = lines_at(base_url)
        self._gates: dict[Generation, GateSocket] = {}
        self._networks: set[str] = set()
        self._holders: dict[ContainerId, _Held] = {}
        # Until then no namespace of its containers can be looked into from here, as far as is known.
        self._blind_until = 0.0
        self._clock = clock
        self._frozen: dict[ContainerId, bool] = {}  # those that were: whether they still are
        # Of agents that may have containers: the volumes and the limits beside them, and as what those were
        # made whose grant is to be written yet.
        self._volumes = Volumes(base_url, timeout)
        self._parents = parents or ParentGroups()
        inner = InnerContainers(self._parents.proc, self._parents.mounted)
        self._inner = AgentsContainers(base_url, timeout, self._parents, inner)
        self._granted: dict[Generation, ContainerPlan] = {}
        self._together: dict[ContainerId, Generation] = {}  # replaced whole
        self._swept = False  # control groups that nobody will need again were looked for
        # Two makers of one pool would each make its network, and Docker takes two of one name.
        self._making_network = threading.Lock()

    def prepare(
        self,
        plan: AgentPlan,
        *,
        wanted: Callable[[], bool] = always,  # noqa: ARG002  it does not take long
    ) -> ContainerId:
        """Create and start a container that waits at its gate; see ``engines.protocol``."""
        if plan.door is None:
            return self._prepared(plan, self._made(plan))
        try:
            made = self._equipped(plan)
            container = self._prepared(plan, made)
            try:
                self._see_that_it_is_held(plan, container)
            except Fault:
                self.let_go(plan.generation)
                self.remove(container)
                raise
        except Fault:
            with suppress(Fault):
                self.give_up(plan.generation)
            raise
        self._granted[plan.generation] = made
        self._together = {**self._together, container: plan.generation}
        return container

    def _equipped(self, plan: AgentPlan) -> ContainerPlan:
        """With what stands beside an agent that may have containers."""
        spoken = self._spoken()
        parent = self._parents.make(plan.generation, _together(plan), spoken.driver, spoken.cgroup)
        made = self._made(plan)
        return replace(made, volumes=self._volumes.ready(plan, made.size), cgroup_parent=parent)

    def _see_that_it_is_held(self, plan: AgentPlan, container: ContainerId) -> None:
        """Whether the limits are in force that the agent has together with its containers."""
        process = self.first_process(container)
        if process is not None and self._parents.hold(process, plan.generation, _together(plan)):
            return
        raise Passing(
            f"container {container[:12]} is not in the control group that Mayfly has made for it, so that "
            "its own containers would have no limits together with it"
        )

    def grant(self, plan: AgentPlan, container: ContainerId) -> str:
        """What its gateway is to know; see ``engines.protocol``."""
        made = self._granted.pop(plan.generation, None) or self._made(plan)
        return grant_of(plan, made, container, own_ulimits())

    def clear(self, state_dir: Path, host: HostId, generation: Generation, seal: str) -> None:
        """Remove all that an ended agent has made; see ``engines.protocol``."""
        own = next((cid for cid, of in self._together.items() if of == generation), None)
        self._inner.kill(generation, own)
        clearing.clear(self.base_url, str(state_dir), host, generation, seal)

    def give_up(self, generation: Generation) -> None:
        """Remove what an agent that is gone had beside its container."""
        self._granted.pop(generation, None)
        self._volumes.remove_work(generation)
        self._inner.forget(generation)
        self._parents.remove(generation)

    def remove_image(self, name: str) -> None:
        """Remove the image of that name, which no container is of."""
        with suppress(NoImage, Gone):
            self._do("DELETE", f"/images/{quote(name, safe='/:@')}", f"removing the image {name}")

    def belongings(self, host: HostId) -> tuple[Belonging, ...]:
        """What agents of that host have made and is there."""
        wanted = quote(json.dumps({"label": [LABEL_BELONGS, f"{LABEL_BELONGS_HOST}={host}"]}))
        doing = "looking for what agents have made"
        found: list[Belonging] = [*self._volumes.works(host)]
        for target in (f"/containers/json?all=1&filters={wanted}", f"/networks?filters={wanted}"):
            found += map(_belonging, self._get(target, doing))
        listed = self._get(f"/volumes?filters={wanted}", doing)
        found += map(_belonging, listed.get("Volumes") or ())
        return tuple(dict.fromkeys(found))

    def _prepared(self, plan: AgentPlan, made: ContainerPlan) -> ContainerId:
        try:
            try:
                return self._started(plan.generation, made)
            except NameTaken:
                return self._started(plan.generation, replace(made, name=plan.spare_name))
        except Fault as fault:
            raise _lacking_its_network(fault, plan.network) from fault

    def make_sandbox(self, plan: SandboxPlan) -> ContainerId:
        """Create and start a holder; see ``engines.protocol``."""
        network = self._network(plan)
        holder = self.create(holder_plan(plan, network))
        try:
            self.start(holder)
            settled = comes_true(
                lambda: self.sandbox_is_empty(holder), within=SETTLING, first=SETTLING_AGAIN
            )
            if not settled:
                raise self._unsettled(plan.name, holder)
        except Fault as fault:
            with suppress(Fault):
                self.remove(holder)
            self._networks.discard(network)
            raise _lacking_its_network(fault, plan.network) from fault
        return holder

    def facts(self) -> EngineFacts:
        """What the Engine says of itself, and what was found out of it, which holds for a minute."""
        found = super().facts()
        if self._clock() >= self._blind_until:
            return found
        return replace(found, capabilities=found.capabilities.without_sandbox(UNSEEN))

    def _unsettled(self, name: str, holder: ContainerId) -> Passing:
        """Why a holder is of no use: it cannot be seen, or the Engine takes too long."""
        known = self._holders.get(holder)
        unseen = known is not None and counted(known.process, holder) is None
        if unseen and self.first_process(holder) is not None:
            self._blind_until = self._clock() + BLIND_SECONDS
            return Passing(
                f"the network namespace of container {name} cannot be looked into from here: leave out "
                "`sandbox`, or run Mayfly beside an Engine of this host that is not rootless"
            )
        return Passing(f"the network namespace of container {name} is not as the Engine makes it")

    def examine(self) -> tuple[Finding, ...]:
        """Its facts say all."""
        return ()

    def witnesses(self, root: Path) -> None:
        """Its containers mount them."""

    def list(self) -> tuple[Container, ...]:
        """Every agent's container and every holder of any Mayfly; one that is gone is forgotten."""
        found = tuple(map(self._as_it_stands, super().list()))
        there = {one.id for one in found}
        for holder in tuple(self._holders):
            if holder not in there:
                self._holders.pop(holder, None)
        self._together = {one.id: one.generation for one in found if one.door}
        for container in self._frozen.keys() - there:
            self._frozen.pop(container, None)
        return found

    def _as_it_stands(self, found: Container) -> Container:
        """Who stands still with its containers is paused, whatever a person has told the Engine of it."""
        runs = found.state is ContainerState.RUNNING
        if found.door and runs and self._inner.are_frozen(found.generation):
            return replace(found, state=ContainerState.PAUSED)
        return found

    def size(self, cid: ContainerId, *, made: bool = False) -> int | None:
        """Bytes that it has written, and what it has made holds; see ``engines.protocol``."""
        own, generation = super().size(cid), self._together.get(cid)
        if own is None or generation is None:
            return own
        return own + self._inner.size(generation, Path(self._spoken().root), MEASURED, made=made)

    def printed_inside(self, cid: ContainerId) -> tuple[int, int]:
        """Lines and bytes that containers which it has made have printed since the last time."""
        generation = self._together.get(cid)
        if generation is None:
            return 0, 0
        return self._inner.printed(generation, Path(self._spoken().root))

    def sandbox_is_empty(self, holder: ContainerId) -> bool:
        """Whether no socket is in the namespace that it holds but the Engine's own."""
        known = self._holders.get(holder)
        counts = counted(known.process, holder) if known is not None else None
        if known is None or counts is None:
            process = self.first_process(holder)
            if process is None:
                return False
            known = self._holders[holder] = _Held(process)
        elif counts == known.empty:
            return True
        found = sockets(known.process, holder)
        if found is None or not only_the_engines(found):
            return False
        self._holders[holder] = replace(known, empty=found.counts)
        return True

    def watch_sandbox(self, holder: ContainerId) -> None:
        """See how many packets have left it so far."""
        known = self._holders.get(holder)
        if known is not None:
            found = traces(known.process, holder)
            self._holders[holder] = replace(known, sent=found.sent if found is not None else None)

    def sandbox_was_used(self, holder: ContainerId) -> bool:
        """Whether more have left it since, or its kernel still tracks a connection."""
        known = self._holders.get(holder)
        if known is None or known.sent is None:
            return True
        found = traces(known.process, holder)
        return found is None or found.sent != known.sent or found.tracked > 0

    def watch(
        self,
        ring: Callable[[EngineEvent], None],
        turned: Callable[[StreamTurn], None],
        *,
        cursor: EventCursor | None = None,
    ) -> EventFollower:
        """Follow its events for ever; an Engine that has restarted has other sockets of its own."""

        def turn(told: StreamTurn) -> None:
            self._holders.clear()
            self._blind_until = 0.0
            self._volumes.forget()
            turned(told)

        return super().watch(ring, turn, cursor=cursor)

    def _made(self, plan: AgentPlan) -> ContainerPlan:
        calls = calls_allowed(plan.security.seccomp)
        made = container_plan(plan, self._network(plan), self._environment(plan), calls)
        limit = plan.limits.disk
        bounded = limit is not None and self._spoken().sizes
        return replace(made, size=wall(limit)) if limit is not None and bounded else made

    def _started(self, generation: Generation, plan: ContainerPlan) -> ContainerId:
        """A container that waits at its gate; nothing is left of one that could not be started."""
        container = self.create(plan)
        try:
            self._gates[generation] = self.attach_stdin(container)
            self.start(container)
        except Fault:
            self.let_go(generation)
            with suppress(Fault):
                self.remove(container)
            self._networks.discard(plan.network)
            raise
        return container

    def _environment(self, plan: AgentPlan) -> dict[str, str | None]:
        return at_gate(plan.environment, plan.variables, self.image_environment(plan.image))

    def _network(self, plan: AgentPlan | SandboxPlan) -> str:
        if plan.network.sandbox is not None:
            return joining(plan.network.sandbox)
        if plan.network.name is not None:
            return plan.network.name
        name = naming.network(plan.host, plan.pool)
        with self._making_network:
            if name not in self._networks:
                self.ensure_network(name, plan.host, plan.pool)
                self._networks.add(name)
        return name

    def open(self, generation: Generation, container: ContainerId, data: bytes) -> None:
        """Write all the bytes into its gate."""
        gate = self._gates.pop(generation, None)
        if gate is not None and not gate.alive():
            gate.close()
            gate = None
        if gate is None:
            gate = self.attach_stdin(container)
        with gate:
            gate.send(data)

    def freeze(self, cid: ContainerId) -> None:
        """Stop all that runs in it, and in what it has made; see ``engines.protocol``."""
        generation = self._together.get(cid)
        if generation is not None and self._parents.freeze(generation):
            self._frozen[cid] = True  # whatever the Engine says
        try:
            super().freeze(cid)
            self._frozen[cid] = True
        finally:
            if generation is not None:
                self._inner.freeze(generation)

    def thaw(self, cid: ContainerId) -> None:
        """Let what runs in it go on; see ``engines.protocol``."""
        try:
            if (generation := self._together.get(cid)) is not None:
                self._inner.thaw(generation)
        finally:
            super().thaw(cid)
        if cid in self._frozen:
            self._frozen[cid] = False

    def weigh(self, cid: ContainerId, weight: float) -> None:
        """Say what it counts for; one that has a group with its containers counts by that."""
        generation = self._together.get(cid)
        if generation is None:
            super().weigh(cid, weight)
            return
        try:
            self._parents.weigh(generation, weight)
        except OSError as error:
            raise Passing(f"changing the weight of {generation}: {error.strerror}") from error

    def remove(self, cid: ContainerId) -> None:
        """Remove it, and end what it has made and left; see ``engines.protocol``."""
        generation = self._together.get(cid)
        try:
            if generation is not None:
                self._parents.thaw(generation)
            super().remove(cid)
        finally:
            if generation is not None:
                self._inner.kill(generation, but=cid)
        self._frozen.pop(cid, None)

    def let_go(self, generation: Generation) -> None:
        """Give up the way into an agent's gate."""
        gate = self._gates.pop(generation, None)
        if gate is not None:
            gate.close()

    def at_gate(self, container: ContainerId) -> bool:
        """Whether it runs nothing but its gate, or does not run."""
        return self.process_count(container) <= AT_GATE

    def converse(self, plan: AgentPlan, words: tuple[str, ...], *, terminal: bool) -> int:
        """Run a person's command in such a container, on the terminal or piped; its exit code."""
        made = replace(
            self._made(plan),
            entrypoint=words,
            command=(),
            terminal=terminal,
            stop_timeout=TERMINAL_GRACE,
        )
        container = self.create(made)
        try:
            return builder.converse(self.base_url, container)
        finally:
            with suppress(Fault):
                self.remove(container)

    def isolation(self, plan: AgentPlan) -> tuple[Breach, ...]:
        """What a container of that plan reaches of another one; see ``isolation.py`` beside this file."""
        network = self._network(plan)
        made = replace(
            container_plan(plan, network, {"NVIDIA_VISIBLE_DEVICES": "void"}),
            labels={**NOBODYS, isolation.LABEL: plan.host},
            entrypoint=isolation.SLEEP,
            command=(),
            mounts=(),
            tmpfs={},
            runtime=None,
            device_requests=(),
            auto_remove=True,
        )
        containers: list[ContainerId] = []
        try:
            for name in (f"{network}-probe", f"{network}-peer"):
                containers.append(self.create(replace(made, name=f"{name}-{secrets.token_hex(3)}")))
                self.start(containers[-1])
            here, peer = containers
            words = (
                "/usr/bin/env",
                "bash",
                "-c",
                isolation.LOOK,
                "look",
                *self.addresses_in(peer, network),
            )
            _, said = self.exec_probe(here, words, isolation.SECONDS)
        except Fault:
            self._networks.discard(network)
            raise
        finally:
            for container in containers:
                with suppress(Fault):
                    self.remove(container)
        return isolation.breaches(said, network, filtered=self.filters_bridges())

    def output(
        self,
        directory: Path,
        listener: OutputListener,
        *,
        per_agent: int,
        total: int,
        log_size: int,
    ) -> OutputKeeper:
        """Who keeps the agents' output in that directory."""
        return OutputKeeper(
            self.base_url,
            directory,
            ring=lambda generation, _: listener.rung(generation),
            ended=listener.ended,
            on_line=listener.line,
            on_failure=listener.failed,
            on_much=listener.printed,
            frozen=self._frozen.get,
            per_agent=per_agent,
            total=total,
            log_size=log_size,
        )

    def sweep(self, of: Callable[[HostId, PoolName], bool]) -> None:
        """Remove the networks of those pools, and what images shared that are gone; the last fault, once all
        were tried.
        """
        last: Fault | None = None
        self._volumes.sweep()
        if not self._swept:
            self._swept = True
            self._parents.sweep(time.time())
        for network in self.networks():
            if of(network.host, network.pool):
                try:
                    with self._making_network:
                        self._networks.discard(network.name)
                        self.remove_network(network.name)
                except Fault as fault:
                    last = fault
        if last is not None:
            raise last

    def close(self) -> None:
        """Let go of every gate."""
        for generation in tuple(self._gates):
            self.let_go(generation)


def _together(plan: AgentPlan) -> Together:
    return Together(plan.limits.memory, plan.limits.cpus, plan.limits.pids)


def _belonging(entry: Mapping[str, Any]) -> Belonging:
    labels = entry.get("Labels") or {}
    return Belonging(Generation(labels.get(LABEL_BELONGS, "")), labels.get(LABEL_BELONGS_SEAL, ""))


def _lacking_its_network(fault: Fault, network: Network) -> Fault:
    """The fault, or what to do where a network that the pool names is not there."""
    named = network.name
    if named is None or network.sandbox is not None or not no_such_network(fault):
        return fault
    return Refused(
        f"the network {named} is not on this Engine: `docker network create {named}`, or change `network`"
    )
