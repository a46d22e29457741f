"""An engine in memory, for tests of everything above it and for trying Mayfly out without a container.

It keeps the protocol to the letter: launchers write real witnesses, names are unique, a gate opens once and
for its own generation alone, events come while the engine is up and late where it was down. What a job does
is said by whoever makes the engine (``work``); what goes wrong by ``away``, ``fails``, ``restart``, ``ends``.
It must never start a process or touch anything but the witnesses that its plans name.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mayfly.core import naming
from mayfly.core.admission.grant import Grant, VolumePlace, grant_text
from mayfly.core.agent_plan import WITNESS_TARGET, AgentPlan
from mayfly.core.container_labels import labelled
from mayfly.core.gpu_health import ForeignContainer
from mayfly.core.model import (
    GATE_PROTOCOL,
    LABEL_GATE,
    Breach,
    Condition,
    Container,
    ContainerId,
    ContainerState,
    Continuity,
    EngineLines,
    Generation,
    HostId,
    PoolName,
    Severity,
)
from mayfly.core.sandbox import SandboxPlan
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.results import Taken
from mayfly.engines.protocol import (
    Belonging,
    Capabilities,
    EngineEvent,
    EngineFacts,
    EventCursor,
    Finding,
    Gone,
    ImageFacts,
    ImageSize,
    NameTaken,
    OutputListener,
    StreamTurn,
    always,
)
from mayfly.engines.simulated.execution import SimulatedExecution
from mayfly.engines.simulated.follower import SimulatedFollower
from mayfly.engines.simulated.gate import archive_of, files_of, unpacked
from mayfly.engines.simulated.output import SimulatedOutput

KILLED, TERMINATED = 137, 143
AT_GATE_LINE = b"mayfly: at gate 1\n"
RESTART = Condition(
    "engine.restart_ends_jobs",
    Severity.INFO,
    "a restart of this engine ends the jobs that run",
    "# nothing: it is simulated",
)

Work = Callable[
    [Mapping[str, bytes]], int | None
]  # the gate's files -> exit code; None: until ended


def endless(_: Mapping[str, bytes]) -> None:
    """A job that goes on until it is ended."""


@dataclass(slots=True)
class _Box:
    """A container, and how far its agent has come."""

    container: Container
    plan: AgentPlan
    witness: Path | None
    opened: bool = False
    exit_code: int | None = None  # None: it runs
    over: bool = False  # it has ended once: its job is over


class SimulatedEngine:
    """Containers as values; may be used from any thread."""

    lines = EngineLines()

    def __init__(
        self,
        address: str = "simulated://",
        *,
        timeout: float = 30,
        work: Work = endless,
        capabilities: Capabilities = Capabilities(),  # noqa: B008  frozen
        images: tuple[str, ...] = ("image",),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.capabilities = capabilities
        self.images = list(images)
        self.image_ids: dict[
            str, str
        ] = {}  # of names that are of one image; else each is of its own
        self.image_labels: dict[str, Mapping[str, str]] = {}  # beside the gate's, by image
        self._work = work
        self._clock = clock
        self._lock = threading.RLock()
        self._boxes: dict[ContainerId, _Box] = {}
        self._gates: dict[Generation, ContainerId] = {}
        self._holders: dict[ContainerId, Container] = {}
        self.littered: set[ContainerId] = (
            set()
        )  # holders in whose namespace somebody left something
        self.used: set[ContainerId] = set()  # holders whose namespaces something has left
        self._watched: set[ContainerId] = set()
        self._output: dict[Generation, bytearray] = {}
        self._keepers: list[SimulatedOutput] = []
        self._numbers = itertools.count(1)
        self._down = ""  # why it does not answer; empty: it does
        self._faults: dict[str, list[Fault]] = {}
        self._events: list[EngineEvent] = []
        self._followers: list[SimulatedFollower] = []
        self.networks: set[tuple[HostId, PoolName]] = set()  # of pools that have none of their own
        self.executions: dict[ContainerId, list[SimulatedExecution]] = {}
        # whether what it starts beside an agent's own begins; None: it does not say
        self.ahead = b""  # what a process beside a job has said before anybody can listen
        self.begins: bool | None = True
        self.belongs: dict[Generation, str] = {}  # whose belongings are there, with their seals
        self.work_volumes: dict[Generation, str] = {}  # likewise
        self.breaches: tuple[Breach, ...] = ()  # of isolation
        self.weights: dict[ContainerId, float] = {}  # of those whose weight was changed
        self.calls: list[str] = []  # what was asked, in order
        self.probes: list[tuple[str, ...]] = []  # what was to be run inside
        # of each container, by path: what was put into it
        self.files: dict[ContainerId, dict[str, bytes]] = {}

    # -- what a test says --------------------------------------------------------------------------

    def away(self, why: str = "nobody listens") -> None:
        """From now on nobody answers, and the stream of events is lost."""
        with self._lock:
            self._down = why
        self._turn(StreamTurn(False, Continuity.UNKNOWN, why))

    def back(self) -> None:
        """It answers again, as if nothing had been: what happened meanwhile is told late."""
        with self._lock:
            self._down = ""
        self._turn(StreamTurn(True, Continuity.SAME, ""))

    def restart(self) -> None:
        """It stops and starts; what it cannot carry over ends."""
        self.away("it restarts")
        if not self.capabilities.outlives_restart:
            for box in [box for box in self._boxes.values() if box.exit_code is None]:
                self._end(box, KILLED, witnessed=False)
            for holder in tuple(self._holders):
                self.ends_holder(holder)
        with self._lock:
            self._down = ""
        self._turn(StreamTurn(True, Continuity.RESTARTED, ""))

    def ends_holder(self, holder: ContainerId) -> None:
        """Somebody kills a holder, which removes itself."""
        with self._lock:
            gone = self._holders.pop(holder, None)
        if gone is not None:
            self._told(gone, "die", KILLED)

    def fails(self, call: str, *faults: Fault) -> None:
        """The next calls of that name end so, one fault each."""
        self._faults.setdefault(call, []).extend(faults)

    def ends(self, generation: Generation, code: int = 0, *, witnessed: bool = True) -> None:
        """The agent ends by itself; without ``witnessed`` its launcher could record nothing."""
        self._end(self._box_of(generation), code, witnessed=witnessed)

    def prints(self, generation: Generation, data: bytes) -> None:
        """The agent prints on its standard output."""
        with self._lock:
            self._output.setdefault(generation, bytearray()).extend(data)
        for keeper in self._keepers:
            keeper.printed(generation, data)

    # -- itself ------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Whether it answers."""
        self._asked("ping")

    def facts(self) -> EngineFacts:
        """What it says of itself."""
        self._asked("facts")
        lives_on = self.capabilities.outlives_restart
        return EngineFacts(
            name="simulated engine",
            id="simulated",
            version=(1,),
            api=(1, 0),
            capabilities=self.capabilities,
            runtimes=("nvidia",),
            recursive_read_only=True,
            restart=None if lives_on else RESTART,
        )

    def examine(self) -> tuple[Finding, ...]:
        """There is nothing to find."""
        return ()

    def image(self, reference: str, *, within: float | None = None) -> ImageFacts | None:  # noqa: ARG002
        """The image; there are those that were named at the start."""
        self._asked("image")
        if reference not in self.images:
            return None
        labels = {LABEL_GATE: GATE_PROTOCOL, **self.image_labels.get(reference, {})}
        return ImageFacts(reference, labels, None, (reference,), ())

    def image_names(self) -> tuple[str, ...]:
        """Those that were named at the start."""
        self._asked("image_names")
        return tuple(self.images)

    def image_sizes(self) -> Mapping[str, ImageSize]:
        """A GiB each."""
        self._asked("image_sizes")
        return {name: ImageSize(self.image_ids.get(name, name), 1024**3) for name in self.images}

    def witnesses(self, root: Path) -> None:
        """Its plans name them."""

    def watch(
        self,
        ring: Callable[[EngineEvent], None],
        turned: Callable[[StreamTurn], None],
        *,
        cursor: EventCursor | None = None,
    ) -> SimulatedFollower:
        """Follow its events; those after ``cursor`` come first."""
        follower = SimulatedFollower(ring, turned, cursor)
        self._followers.append(follower)
        after = cursor.time_nano if cursor is not None else None
        missed = [] if after is None else [e for e in self._events if e.time_nano > after]
        for event in missed:
            follower.take(event)
        turned(StreamTurn(True, Continuity.SAME if cursor else Continuity.UNKNOWN, ""))
        return follower

    def output(
        self,
        directory: Path,
        listener: OutputListener,
        *,
        per_agent: int,
        total: int,
        log_size: int,
    ) -> SimulatedOutput:
        """Who keeps the agents' output; in memory, bounded by ``per_agent``."""
        del directory, total, log_size
        keeper = SimulatedOutput(listener, per_agent, self._printed_so_far, self._has_ended)
        self._keepers.append(keeper)
        return keeper

    def _has_ended(self, generation: Generation) -> bool:
        with self._lock:
            boxes = [box for box in self._boxes.values() if box.plan.generation == generation]
        return all(box.exit_code is not None for box in boxes)

    def _printed_so_far(self, generation: Generation) -> bytes:
        with self._lock:
            return bytes(self._output.get(generation, b""))

    # -- containers, seen --------------------------------------------------------------------------

    def list(self) -> tuple[Container, ...]:
        """Every agent's container and every holder, running or not."""
        self._asked("list")
        with self._lock:
            agents = tuple(box.container for box in self._boxes.values())
            return tuple(one for one in (*agents, *self._holders.values()) if one.host)

    def size(self, container: ContainerId, *, made: bool = False) -> int | None:  # noqa: ARG002
        """No container has written anything."""
        self._asked("size")
        with self._lock:
            box = self._boxes.get(container)
            return 0 if box is not None and box.container.live else None

    def printed_inside(self, container: ContainerId) -> tuple[int, int]:  # noqa: ARG002
        """None has made any container."""
        return 0, 0

    def foreign_gpu_containers(self) -> tuple[ForeignContainer, ...]:
        """There is nobody else."""
        self._asked("foreign_gpu_containers")
        return ()

    def at_gate(self, container: ContainerId) -> bool:
        """Whether its gate has not been opened, or it has ended."""
        self._asked("at_gate")
        box = self._boxes.get(container)
        return box is None or not box.opened or box.exit_code is not None

    def first_process(self, container: ContainerId) -> int | None:
        """There are no processes."""
        del container
        return None

    def own_process(self) -> int | None:
        """There are no processes."""
        return None

    # -- containers, changed -----------------------------------------------------------------------

    def prepare(
        self,
        plan: AgentPlan,
        *,
        wanted: Callable[[], bool] = always,  # noqa: ARG002  it does not take long
    ) -> ContainerId:
        """A container that waits at its gate, under the spare name where the other is taken."""
        self._asked("prepare")
        with self._lock:
            taken = {box.container.name for box in self._boxes.values()}
            name = plan.name if plan.name not in taken else plan.spare_name
            if name in taken:
                raise NameTaken(f"creating container {name}: the name is taken", name, None)
            joined = plan.network.sandbox
            if joined is not None and joined not in self._holders:
                raise Gone(
                    f"starting container {name}: there is no container {joined[:12]} to join"
                )
            container = self._made(plan, name, joined)
            cid = container.id
            witness = next(
                (Path(m.source) for m in plan.mounts if m.target == WITNESS_TARGET), None
            )
            self._boxes[cid] = _Box(container, plan, witness)
            if plan.door is not None:
                self.work_volumes[plan.generation] = plan.door.seal
            if plan.network.name is None and joined is None:
                self.networks.add((plan.host, plan.pool))
            self._gates[plan.generation] = cid
        self._record(self._boxes[cid], "user", "1000:1000\n")
        self._record(self._boxes[cid], "ready", f"{plan.generation}\n")
        self.prints(plan.generation, AT_GATE_LINE)
        for keeper in self._keepers:
            keeper.listener.rung(plan.generation)
        self._happened(self._boxes[cid], "start")
        return cid

    def make_sandbox(self, plan: SandboxPlan) -> ContainerId:
        """A container that only sleeps."""
        self._asked("make_sandbox")
        with self._lock:
            holder = self._made(plan, plan.name)
            self._holders[holder.id] = holder
            if plan.network.name is None:
                self.networks.add((plan.host, plan.pool))
        self._told(holder, "start")
        return holder.id

    def sandbox_is_empty(self, holder: ContainerId) -> bool:
        """Whether it is there, and no test says that somebody left something."""
        self._asked("sandbox_is_empty")
        return holder in self._holders and holder not in self.littered

    def watch_sandbox(self, holder: ContainerId) -> None:
        """From now on it is known."""
        self._watched.add(holder)

    def sandbox_was_used(self, holder: ContainerId) -> bool:
        """Whether a test says so, or it was not watched."""
        self._asked("sandbox_was_used")
        return holder not in self._watched or holder in self.used

    def open(self, generation: Generation, container: ContainerId, data: bytes) -> None:
        """The gate takes one whole frame of its own generation, once; anything else ends the agent."""
        self._asked("open")
        box = self._running(container, "writing to the gate of")
        files = unpacked(data, generation)
        if box.opened or box.plan.generation != generation or files is None:
            self._end(box, 64, witnessed=False)
            return
        box.opened = True
        self._record(box, "opened", "yes\n")
        code = self._work(files)
        if code is not None:
            self._end(box, code)

    def put_tree(self, container: ContainerId, archive: Iterable[bytes]) -> None:
        """Its files by their paths from the root."""
        self._asked("put_tree")
        self._running(container, "putting files into")
        self.files.setdefault(container, {}).update(files_of(archive))

    @contextmanager
    def take_tree(self, container: ContainerId, path: str) -> Iterator[Taken]:
        """Of the files that were put there, or that a test put there."""
        self._asked("take_tree")
        box = self._boxes.get(container)
        if box is None:
            raise Gone(f"taking {path} from container {container[:12]}: there is none; look again")
        if box.exit_code is None:
            raise Passing(f"taking {path} from container {container[:12]}: it runs")
        archive = archive_of(self.files.get(container, {}), path)
        if archive is None:
            raise Refused("there is no such file or directory")
        yield Taken(path, iter((archive,)))

    def let_go(self, generation: Generation) -> None:
        """Nothing is held but the way into the gate."""
        with self._lock:
            self._gates.pop(generation, None)

    def rename(self, container: ContainerId, name: str) -> None:
        """Give it another name."""
        self._asked("rename")
        with self._lock:
            box = self._boxes.get(container)
            if box is None:
                raise Gone(f"renaming container {container[:12]}: there is none; look again")
            if any(
                other.container.name == name
                for cid, other in self._boxes.items()
                if cid != container
            ):
                raise NameTaken(f"renaming {container[:12]}: {name} is taken", name, None)
            box.container = replace(box.container, name=name)

    def signal(self, container: ContainerId, signal: str) -> None:
        """Every signal ends an agent at once; ``KILL`` before its launcher could say so."""
        self._asked("signal")
        box = self._boxes.get(container)
        if box is not None and box.exit_code is None:
            killed = signal == "KILL"
            self._end(box, KILLED if killed else TERMINATED, witnessed=not killed)

    def freeze(self, container: ContainerId) -> None:
        """Its agent does nothing; what a test has it print is printed all the same."""
        self._asked("freeze")
        self._set_state(container, ContainerState.RUNNING, ContainerState.PAUSED, "pause")

    def thaw(self, container: ContainerId) -> None:
        """Its agent goes on."""
        self._asked("thaw")
        self._set_state(container, ContainerState.PAUSED, ContainerState.RUNNING, "unpause")

    def weigh(self, container: ContainerId, weight: float) -> None:
        """It is noted."""
        self._asked("weigh")
        with self._lock:
            if container in self._boxes:
                self.weights[container] = weight

    def _set_state(
        self, container: ContainerId, before: ContainerState, after: ContainerState, action: str
    ) -> None:
        with self._lock:
            box = self._boxes.get(container)
            if box is None or box.container.state is not before:
                return
            box.container = replace(box.container, state=after)
        self._happened(box, action)

    def start_again(self, container: ContainerId) -> None:
        """It runs once more, and nothing in it."""
        self._asked("start_again")
        with self._lock:
            box = self._boxes.get(container)
            if box is None:
                raise Gone(f"starting container {container[:12]}: there is none")
            if box.exit_code is None:
                return
            box.exit_code = None
            box.container = replace(box.container, state=ContainerState.RUNNING)
        self._happened(box, "start")

    def remove(self, container: ContainerId) -> None:
        """Remove it, killing what runs in it."""
        self._asked("remove")
        self.ends_holder(container)
        box = self._boxes.get(container)
        if box is not None and box.exit_code is None:
            self._end(box, KILLED, witnessed=False)
        with self._lock:
            self._boxes.pop(container, None)

    def exec_probe(
        self, container: ContainerId, argv: tuple[str, ...], timeout: float, *, user: str = "0:0"
    ) -> tuple[int, bytes]:
        """Nothing can be run inside: it says nothing and succeeds."""
        del timeout, user
        _named_in_full(argv)
        self.probes.append(argv)
        self._asked("exec_probe")
        self._enterable(container, "running a command in")
        for execution in self.executions.get(container, []):
            if argv[-1] in execution.marks:  # agents/detach
                execution.killed()
        return 0, b""

    def execute(
        self,
        container: ContainerId,
        argv: tuple[str, ...],
        *,
        user: str,
        variables: Mapping[str, str],
        terminal: bool,
    ) -> SimulatedExecution:
        """A process that says back what it is told."""
        del terminal
        _named_in_full(argv)
        self._asked("execute")
        self._enterable(container, f"running {argv[0]} in")
        execution = SimulatedExecution(argv, user, frozenset(variables.values()), self.ahead)
        execution.has_begun = self.begins
        self.executions.setdefault(container, []).append(execution)
        return execution

    def isolation(self, plan: AgentPlan) -> tuple[Breach, ...]:
        """What a test says that agents can do."""
        del plan
        self._asked("isolation")
        return self.breaches

    def converse(self, plan: AgentPlan, words: tuple[str, ...], *, terminal: bool) -> int:
        """There is nobody to talk to."""
        del plan, words, terminal
        self._asked("converse")
        return 0

    def sweep(self, of: Callable[[HostId, PoolName], bool]) -> None:
        """Forget the networks of those pools; one that a container is in stays."""
        self._asked("sweep")
        with self._lock:
            used = {(box.plan.host, box.plan.pool) for box in self._boxes.values()}
            used |= {(holder.host, holder.pool) for holder in self._holders.values()}
            wanted = {one for one in self.networks if of(*one)}
            self.networks -= wanted - used
        if wanted & used:
            raise Passing("removing a network: a container still uses it; it is tried again")

    # -- what agents may have of their own ---------------------------------------------------------

    def makes(self, generation: Generation) -> None:
        """An agent makes something by its door; what records that is its gateway's."""
        door = self._box_of(generation).plan.door
        assert door is not None
        with self._lock:
            self.belongs[generation] = door.seal

    def grant(self, plan: AgentPlan, container: ContainerId) -> str:
        """What its gateway is to know."""
        self._asked("grant")
        assert plan.door is not None
        work, generation = plan.door.work, plan.generation
        return grant_text(
            Grant(
                *(plan.host, plan.pool, plan.slot, generation, container, plan.door.seal),
                door=f"{plan.door.place}/docker.sock",
                holder=plan.network.sandbox,
                work=VolumePlace(work, naming.work_volume(generation)) if work else None,
                allowed_images=plan.door.images,
                builder=plan.door.builder,
                pull=plan.door.pull,
            )
        )

    def clear(self, state_dir: Path, host: HostId, generation: Generation, seal: str) -> None:
        """Remove what it has made, if that is its seal."""
        del state_dir, host
        self._asked("clear")
        with self._lock:
            if self.belongs.get(generation) == seal:
                del self.belongs[generation]

    def give_up(self, generation: Generation) -> None:
        """There is nothing beside its container but the volume, which is none."""
        self._asked("give_up")
        with self._lock:
            self.work_volumes.pop(generation, None)

    def remove_image(self, name: str) -> None:
        """It is not there any more; ``Passing`` where a container is of it."""
        self._asked("remove_image")
        with self._lock:
            if any(box.plan.image == name for box in self._boxes.values()):
                raise Passing(f"removing the image {name}: a container is of it")
            if name in self.images:
                self.images.remove(name)

    def belongings(self, host: HostId) -> tuple[Belonging, ...]:
        """What agents have made, and where those work that may."""
        del host
        self._asked("belongings")
        with self._lock:
            found = self.work_volumes | self.belongs
            return tuple(Belonging(name, seal) for name, seal in found.items())

    def close(self) -> None:
        """Let go of every gate."""
        self._gates.clear()

    # -- inside ------------------------------------------------------------------------------------

    def _made(
        self, plan: AgentPlan | SandboxPlan, name: str, joined: ContainerId | None = None
    ) -> Container:
        return labelled(
            {**self.image_labels.get(plan.image, {}), **plan.labels},
            container=ContainerId(f"{next(self._numbers):064x}"),
            name=name,
            state=ContainerState.RUNNING,
            image=plan.image,
            created=self._clock(),
            sandbox=joined,
        )

    def _asked(self, call: str) -> None:
        with self._lock:
            self.calls.append(call)
            if self._down:
                raise Passing(
                    f"asking the engine at {self.address}: {self._down}; it is tried again"
                )
            faults = self._faults.get(call)
            if faults:
                raise faults.pop(0)

    def _box_of(self, generation: Generation) -> _Box:
        for box in self._boxes.values():
            if box.plan.generation == generation:
                return box
        raise KeyError(generation)

    def _running(self, container: ContainerId, doing: str) -> _Box:
        box = self._boxes.get(container)
        if box is None or box.exit_code is not None:
            raise Gone(
                f"{doing} container {container[:12]}: it does not run; the agent is replaced"
            )
        return box

    def _enterable(self, container: ContainerId, doing: str) -> None:
        if self._running(container, doing).container.state is ContainerState.PAUSED:
            raise Passing(f"{doing} container {container[:12]}: it is paused; it is tried again")

    def _end(self, box: _Box, code: int, *, witnessed: bool = True) -> None:
        with self._lock:
            if box.exit_code is not None:
                return
            box.exit_code = code
            again, box.over = box.over, True
            for execution in self.executions.get(box.container.id, []):
                execution.killed()
            box.container = replace(box.container, state=ContainerState.EXITED)
        if box.opened and witnessed and not again:
            self._record(box, "exit", f"{code} 0\n")
            self.prints(box.plan.generation, f"mayfly: ended {code}\n".encode())
        for keeper in self._keepers:
            keeper.over(box.plan.generation)
        if box.plan.removes_itself and self.capabilities.removes_itself:
            with self._lock:
                self._boxes.pop(box.container.id, None)
        self._happened(box, "die", code)

    def _record(self, box: _Box, name: str, text: str) -> None:
        if box.witness is not None and box.witness.is_dir():
            (box.witness / name).write_text(text, encoding="utf-8")

    def _happened(self, box: _Box, action: str, code: int | None = None) -> None:
        self._told(box.container, action, code)

    def _told(self, container: Container, action: str, code: int | None = None) -> None:
        event = EngineEvent(
            kind="container",
            action=action,
            id=container.id,
            time_nano=max(time.time_ns(), self._events[-1].time_nano + 1 if self._events else 0),
            name=container.name,
            host=container.host,
            slot=container.slot,
            generation=container.generation,
            exit_code=code,
        )
        self._events.append(event)
        for follower in self._followers:
            if not self._down:
                follower.take(event)

    def _turn(self, turn: StreamTurn) -> None:
        for follower in self._followers:
            if turn.up and turn.continuity is not Continuity.UNKNOWN:
                last = follower.cursor.time_nano if follower.cursor is not None else 0
                for event in [event for event in self._events if event.time_nano > last]:
                    follower.take(event)
            follower.turned(turn)


def _named_in_full(argv: tuple[str, ...]) -> None:
    """Whoever has something run inside says where its program is: a search path there is a job's to use."""
    if not argv[0].startswith("/"):
        raise ValueError(f"{argv[0]} is no path of a program")
