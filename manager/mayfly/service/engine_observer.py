"""Looks at the Engine and the host when asked, on a thread of its own, and reports what it saw.

Asking again while it looks makes it look once more, never twice at once. A failed look is reported as
failed; it is never turned into "there is nothing".
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mayfly.core.capabilities import Capabilities
from mayfly.core.client_release import ClientRecords
from mayfly.core.desire import Survey
from mayfly.core.model import (
    Config,
    Container,
    Dataset,
    GatewayHealth,
    Generation,
    HostId,
    PoolName,
    PoolSpec,
    SlotName,
)
from mayfly.core.mounts import Source, paths
from mayfly.core.naming import slot
from mayfly.core.seal import bears_belongings_seal, belongs_seal, looked_at
from mayfly.core.stimuli import GatewaySeen, LayersMeasured
from mayfly.edge import client_records
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.mounted import MountedPaths
from mayfly.edge.mountinfo import mounts_here
from mayfly.edge.room import Room, room
from mayfly.engines.protocol import Engine, EngineFacts, Superseded
from mayfly.service.asked import Asked
from mayfly.service.bugs import Bug, bug
from mayfly.service.images_seen import image_seen
from mayfly.service.layer_sizes import LayerSizes


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """All containers of all Mayflies on the Engine, as of step ``began`` of the loop."""

    began: int
    containers: tuple[Container, ...]
    overfull: frozenset[Generation] = frozenset()  # into whose witnesses too much was written


@dataclass(frozen=True, slots=True)
class PollFailed:
    """A look failed: what is there is unknown."""

    began: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class HostSurvey:
    """What the host offers."""

    began: int
    survey: Survey
    info: EngineFacts
    room: tuple[Room, ...] = ()  # where Mayfly and the Engine write


@dataclass(frozen=True, slots=True)
class EngineDenied:
    """This Engine must not be used: a person has to see to it before the manager can run."""

    fault: Refused


Observation = EngineSnapshot | PollFailed | HostSurvey | EngineDenied | LayersMeasured | GatewaySeen


class EngineObserver:
    """Looks when asked; ``send`` receives what was seen."""

    def __init__(
        self,
        engine: Engine,
        host: HostId,
        config: Callable[[], Config],
        images: Callable[[], frozenset[str]],
        step: Callable[[], int],
        claim: Callable[[], None],
        send: Callable[[Observation | Bug], None],
        mounted: MountedPaths,
        running: Callable[[Iterable[Container]], None],
        overfull: Callable[[Generation], bool],
        key: str,
        gateway: Callable[[], GatewayHealth] = GatewayHealth,
        made: Callable[[Generation], bool] = lambda _: False,
    ) -> None:
        """``images`` names those to be looked for; ``claim`` makes sure, once and before the first look, that
        the Engine is ours to use; ``running`` is told whose containers of ours run, ``overfull`` says whose
        witness holds too much; ``key`` is the installation's, for the seals; ``gateway`` says how it fares by
        which agents have containers of their own; ``made`` whether one has made something.
        """
        self._engine = engine
        self._key = key
        self._host = host
        self._step = step
        self._claim = claim
        self._claimed = False
        self._config = config
        self._wanted = images
        self._send = send
        self._mounted = mounted
        self._running = running
        self._overfull = overfull
        self._gateway = gateway
        self._made = made
        self._gateway_told = GatewayHealth()
        self._asked = Asked("engine-observer", self._once)
        self._layers = LayerSizes(engine, send)
        self._seen: tuple[Container, ...] = ()  # ours that run
        self._survey_asked = threading.Event()

    def start(self) -> None:
        """Begin."""
        self._asked.start()
        self._layers.start()

    def stop(self) -> None:
        """End after what is looked at now."""
        self._asked.stop()
        self._layers.stop()

    def look(self) -> None:
        """Look at the containers soon."""
        self._asked.ask()

    def survey(self) -> None:
        """Look at images, mounts and sizes soon, too."""
        self._survey_asked.set()
        self._asked.ask()

    def _once(self) -> None:
        began = self._step()
        try:
            self._look(began)
            if self._survey_asked.is_set():
                self._survey_asked.clear()
                self._look_around()
        except Exception as error:  # noqa: BLE001  a bug in here must not leave the manager blind
            self._send(bug("a look at the Engine", error))
            self._send(PollFailed(began, Passing(f"{type(error).__name__}: {error}")))

    def _look(self, began: int) -> None:
        try:
            self._engine.ping()
            if not self._claimed:
                self._claim()
                self._claimed = True
            containers = looked_at(self._key, self._engine.list())
            # Strangers too: whose it is the loop says.
            running = [
                one for one in containers if one.host == self._host and one.live and not one.holds
            ]
            overfull = frozenset(
                one.generation for one in running if self._overfull(one.generation)
            )
            self._look_at_gateway()  # before any gate is opened for what is seen now
            self._send(EngineSnapshot(began, containers, overfull))
            self._seen = tuple(running)
            self._running(running)
        except Refused as fault:
            over = not self._claimed or isinstance(fault, Superseded)
            self._send(EngineDenied(fault) if over else PollFailed(began, fault))
        except Fault as fault:
            self._send(PollFailed(began, fault))

    def _look_at_gateway(self) -> None:
        wanted = any(pool.containers for pool in self._config().pools)
        health = self._gateway() if wanted else GatewayHealth()
        if health != self._gateway_told:
            self._gateway_told = health
            self._send(GatewaySeen(health.missing, health.conditions))

    def _look_around(self) -> None:
        if not self._claimed:
            return
        began = self._step()
        try:
            info = self._engine.facts()
            config = self._config()
            survey = replace(
                survey_of(self._engine, config, info, self._wanted(), self._mounted),
                belongings=self._belongings(config, info),
            )
            watched = {pool.name for pool in config.pools if pool.limits.disk is not None}
            self._layers.measure(
                {
                    one.id: one.door and self._made(one.generation)
                    for one in self._seen
                    if one.pool in watched
                }
            )
            places = (room(Path(place)) for place in (config.host.state_dir, *info.places))
            left = tuple(place for place in places if place is not None)
            self._send(HostSurvey(began, survey, info, left))
        except Fault as fault:
            self._send(PollFailed(began, fault))
        else:
            with suppress(Fault):  # what is still in use goes later
                self._engine.sweep(self._is_gone)

    def _belongings(self, config: Config, info: EngineFacts) -> dict[Generation, SlotName]:
        """Of which agents of ours something is there that they have made, and whose slots those were: the
        seals tell, of every slot that could be.
        """
        pools = [pool for pool in config.pools if pool.containers]
        if not pools or not info.capabilities.gateway:
            return {}
        slots = [
            (pool.name, slot(pool.name, i)) for pool in config.pools for i in range(pool.slots)
        ]
        found: dict[Generation, SlotName] = {}
        for one in self._engine.belongings(self._host):
            for pool, name in slots:
                own = belongs_seal(self._key, self._host, pool, name, one.generation)
                if bears_belongings_seal(one.seal, own):
                    found[one.generation] = name
        return found

    def _is_gone(self, host: HostId, pool: PoolName) -> bool:
        """Whether it is a pool of ours that the configuration has no more."""
        return host == self._host and pool not in {one.name for one in self._config().pools}


def survey_of(
    engine: Engine,
    config: Config,
    info: EngineFacts,
    wanted: Iterable[str],
    mounted: MountedPaths,
) -> Survey:
    """What the host offers to these pools; ``wanted`` are the images to look for."""
    return Survey(
        images={reference: image_seen(engine, reference) for reference in wanted},
        mounts=nested_mounts(config, info),
        sources=looked_at_mounts(config, info.capabilities, mounted),
        runtimes=frozenset(info.runtimes),
        removal_unsafe=not info.capabilities.removes_itself,
        engine=info.capabilities,
        cdi=frozenset(info.cdi_devices),
        foreign_containers=engine.foreign_gpu_containers()
        if any(pool.gpus for pool in config.pools)
        else (),
        hook=shutil.which("nvidia-container-runtime-hook") is not None,
        clients=_clients(Path(config.host.state_dir)),
        tainted=info.tainted,
        credential=info.credential,
    )


def _clients(state_dir: Path) -> ClientRecords:
    """What services hand out; nothing where that cannot be read, which `images refresh` tells."""
    with suppress(Fault):
        return replace(client_records.read(state_dir), pins={})
    return ClientRecords()


def looked_at_mounts(
    config: Config, engine: Capabilities, mounted: MountedPaths
) -> dict[str, Source]:
    """What stands where the pools' agents mount something; on another host that is for its engine to say, but
    for the file of authorities, which is this host's and goes to the agents from here.
    """
    wanted = [path for pool in config.pools for path in paths(pool)]
    if engine.on_this_host:
        return mounted.look(wanted)
    here = {pool.ca for pool in config.pools if pool.ca is not None}
    there = {path: Source("elsewhere", directory=True, real=path) for path in wanted}
    return there | (mounted.look([*here]) if here else {})


def nested_mounts(config: Config, info: EngineFacts) -> dict[tuple[PoolName, str], str]:
    """What is mounted beneath datasets and would be writable: pool, directory -> one sentence."""
    problems: dict[tuple[PoolName, str], str] = {}
    inner = _mount_points()
    for pool in config.pools:
        for dataset in pool.datasets:
            problem = _nested(pool, dataset, inner, info) if dataset.nested == "refuse" else None
            if problem is not None:
                problems[pool.name, dataset.source] = problem
    return problems


def _nested(
    pool: PoolSpec, mount: Dataset, inner: tuple[str, ...], info: EngineFacts
) -> str | None:
    if info.recursive_read_only:
        return None
    source = os.path.realpath(mount.source).rstrip("/") + "/"
    below = sorted(point for point in inner if point.startswith(source))
    if not below:
        return None
    version = ".".join(str(number) for number in info.version)
    return (
        f'dataset {mount.source} of pool "{pool.name}" has mounts beneath it that would stay writable '
        f"on {info.name} {version}: {', '.join(below)}; unmount them, upgrade it, or set "
        'nested = "allow"'
    )


def _mount_points() -> tuple[str, ...]:
    """Every mount point of this host."""
    try:
        return tuple(one.place for one in mounts_here())
    except OSError:
        return ()
