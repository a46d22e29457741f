"""What Mayfly asks of whatever runs its containers, and the values in which it is answered.

An engine is one package beside this file. It translates and decides nothing; every failure leaves it as
one of the three families of ``edge.faults`` (``Gone`` and ``NameTaken`` are finer words); each call has a
bound in time and is safe to repeat; it may be used from any thread. What an engine cannot do it says in its
``Capabilities``: nobody asks which engine it is.

Times are seconds since the epoch (UTC) unless a name says nanoseconds, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.capabilities import Capabilities
from mayfly.core.gpu_health import ForeignContainer
from mayfly.core.model import (
    Breach,
    Condition,
    Container,
    ContainerId,
    Continuity,
    EngineLines,
    Generation,
    HostId,
    PoolName,
    SlotName,
)
from mayfly.core.sandbox import SandboxPlan
from mayfly.core.tainted_devices import TaintedDevice
from mayfly.core.token_end import Credential
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.output_kept import Chunk
from mayfly.edge.results import Taken


class Gone(Passing):
    """The container is not there: look again."""


class Superseded(Refused):
    """Another manager has taken this engine over: this one has to end."""


class Unmeasured(Passing):
    """A container has more files than are counted in time."""


class NameTaken(Refused):
    """Another container has the name, or the engine has not let go of it."""

    def __init__(self, message: str, name: str | None, owner: ContainerId | None) -> None:
        super().__init__(message)
        self.name = name  # None: the engine did not say
        self.owner = owner  # None: the engine did not say


def always() -> bool:
    """Whatever happens."""
    return True


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """The engine's own account of itself."""

    name: str  # as people call it: Docker Engine
    id: str
    version: tuple[int, ...]
    api: tuple[int, int]
    capabilities: Capabilities
    runtimes: tuple[str, ...] = ()
    cdi_devices: tuple[str, ...] = ()  # empty also where the engine does not list them
    cgroup_version: str = ""
    cgroup_driver: str = ""
    kernel: tuple[int, ...] = ()
    storage_driver: str = ""
    places: tuple[str, ...] = ()  # where it writes: its own files, images, writable layers
    # a read-only mount is so also where something is mounted in it
    recursive_read_only: bool = False
    remaps_users: bool = False  # a number in a container is another one on the host
    # why containers must not remove themselves; None: they may
    self_removal: Condition | None = None
    restart: Condition | None = None  # what a restart of it costs; None: nothing
    # to how many networks it can give addresses; None: that has no bound, or nobody knows
    address_ranges: int | None = None
    tainted: tuple[TaintedDevice, ...] = ()  # what it gives to nobody until a person has looked
    credential: Credential | None = None  # None: it knows the manager by none that ends


@dataclass(frozen=True, slots=True)
class Finding:
    """Something of the engine that whoever sets it up has to know, beyond its facts."""

    well: bool
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image that is on this host."""

    id: str
    labels: Mapping[str, str]
    created: float | None  # None: the image does not say
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    volumes: tuple[str, ...] = ()  # places that no writable layer has, which the image declares
    # whether it was looked at; False: it is elsewhere, and what it is its agents show
    seen: bool = True


@dataclass(frozen=True, slots=True)
class ImageSize:
    """What an image of this host takes, whatever names it has."""

    id: str
    size: int


@dataclass(frozen=True, slots=True)
class EventCursor:
    """Which event was the last seen; kept on disk, it tells after a pause what was missed."""

    time_nano: int
    id: str
    action: str


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something happened to a container of a Mayfly, to an image, or to the engine."""

    kind: Literal["container", "image", "daemon"]
    action: str
    id: str
    time_nano: int
    name: str = ""
    host: HostId | None = None  # None: not a container of a Mayfly
    slot: SlotName | None = None  # None: not a container of a Mayfly
    generation: Generation | None = None  # None: not a container of a Mayfly
    exit_code: int | None = None  # None: not a death, or the engine did not say
    signal: str | None = None  # of a `kill`; None: another action
    why: str = ""  # of a death: what was done to the container, in the engine's words

    @property
    def at(self) -> float:
        """When, in seconds since the epoch."""
        return self.time_nano / 1e9


@dataclass(frozen=True, slots=True)
class StreamTurn:
    """The stream of events was lost, or is there (again)."""

    up: bool
    continuity: Continuity  # of the engine since the last event seen; UNKNOWN while it is down
    why: str


class Execution(Protocol):
    """A process that was started beside a container's own, and the way to it; nothing here waits.

    Where the way is closed the process goes on.
    """

    def fileno(self) -> int:
        """What becomes readable when something has come, and writable when something may be sent."""

    def receive(self) -> tuple[tuple[int, bytes], ...] | None:
        """What has come, each with its stream (1 stdout, 2 stderr; with a terminal all of it 1); ``None``: it
        has ended, or the way to it has.

        Some KiB a call, however much is there: whoever calls says when more is wanted.
        """

    def has_more(self) -> bool:
        """Whether something has come already that ``fileno`` does not show: it is received without a wait."""

    def send(self, data: bytes) -> int:
        """How many of the bytes were taken, of those that it no longer reads all."""

    def end_input(self) -> None:
        """No more will be sent."""

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size; one that has ended is a success. (This may wait, some seconds.)"""

    def begun(self) -> bool | None:
        """Whether there is a process, or has been: an engine may have to read files of the container's first;
        ``None`` where it is not known now. (This may wait, some seconds.)
        """

    def exit_code(self) -> int | None:
        """Of one that has ended; ``None`` where it runs, or is not known any more."""

    def close(self) -> None:
        """Let go of it."""


@dataclass(frozen=True, slots=True)
class Belonging:
    """Something that an agent has made, as its labels say; whether they are true its seal tells."""

    generation: Generation
    seal: str


class EventFollower(Protocol):
    """Who follows the engine's events."""

    @property
    def cursor(self) -> EventCursor | None:
        """The last event seen; ``None``: none yet."""

    def stop(self) -> None:
        """End it."""


class OutputKeeper(Protocol):
    """Follows, keeps and shows the output of all agents, on disk and bounded."""

    def start(self) -> None:
        """Look at what is kept from before, and begin."""

    def close(self) -> None:
        """Stop following and finish writing; containers are left as they are."""

    def follow(
        self, generation: Generation, container: ContainerId, *, lines: bool = False
    ) -> None:
        """Follow a started container from where its kept output ends; safe to repeat."""

    def read(
        self, generation: Generation, *, follow: bool, stop: Callable[[], bool] = ...
    ) -> Iterator[Chunk]:
        """What is kept of an agent, without the gate's and the launcher's own lines."""


@dataclass(frozen=True, slots=True)
class OutputListener:
    """Whom the keeper of output tells; none of them may block."""

    rung: Callable[[Generation], None]  # the gate or the launcher may have said something
    ended: Callable[[Generation], None]  # all output is on disk
    line: Callable[[Generation, int, bytes], None]  # of agents whose lines are wanted
    failed: Callable[[str, BaseException], None]  # what only a bug explains
    # how many lines and bytes came since the last time, as soon as that is much
    printed: Callable[[Generation, int, int], None]


class Engine(Protocol):
    """What runs containers."""

    @property
    def lines(self) -> EngineLines:
        """What a person types at it."""

    # -- itself
    def ping(self) -> None:
        """Whether it takes a new connection and answers; ``Passing`` where it does not."""

    def facts(self) -> EngineFacts:
        """What it says of itself; ``Refused`` where Mayfly cannot use it."""

    def examine(self) -> tuple[Finding, ...]:
        """What it finds by looking at what Mayfly may do with it, for `mayfly doctor`; nothing is changed."""

    def image(self, reference: str, *, within: float | None = None) -> ImageFacts | None:
        """The image of that name or id; ``None`` where this host has none.

        ``within``: the seconds after which its silence is a fault, where they are to be fewer than usual.
        """

    def image_names(self) -> tuple[str, ...]:
        """The images of this host by name and tag."""

    def image_sizes(self) -> Mapping[str, ImageSize]:
        """Of each image of this host by its names, what it shares with others counted in each."""

    def witnesses(self, root: Path) -> None:
        """Where the witnesses of all agents are, said once and before anything is asked of containers: an
        engine whose containers do not mount them writes there what it learns.
        """

    def watch(
        self,
        ring: Callable[[EngineEvent], None],
        turned: Callable[[StreamTurn], None],
        *,
        cursor: EventCursor | None = None,
    ) -> EventFollower:
        """Follow its events for ever, on a thread of its own."""

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

    # -- containers, seen
    def list(self) -> tuple[Container, ...]:
        """Every agent's container and every holder of any Mayfly, running or not, in one call."""

    def size(self, container: ContainerId, *, made: bool = False) -> int | None:
        """Bytes in its writable layer and where it works; and, where it has ``made`` something by its door,
        in the layers and logs of its containers and in its volumes. ``None`` where it does not run,
        ``Unmeasured`` where that cannot be counted, or is more files than are in twenty seconds or so.
        """

    def printed_inside(self, container: ContainerId) -> tuple[int, int]:
        """Lines and bytes, at least, that containers which it has made have printed since the last time."""

    def foreign_gpu_containers(self) -> tuple[ForeignContainer, ...]:
        """Running containers that are not Mayfly's and were given GPUs."""

    def at_gate(self, container: ContainerId) -> bool:
        """Whether it runs nothing but its gate, or does not run."""

    def first_process(self, container: ContainerId) -> int | None:
        """This host's number of its first process; ``None`` where it does not run, or has none here."""

    def own_process(self) -> int | None:
        """This host's number of the process that is asked here; ``None`` where it is none of this host."""

    # -- containers, changed
    def prepare(self, plan: AgentPlan, *, wanted: Callable[[], bool] = always) -> ContainerId:
        """Create and start a container that waits at its gate, and hold on to the way into it.

        Nothing is left of one that could not be started. Where that takes long, ``wanted`` is asked now and
        then whether it is still to be: ``Passing`` where it is not. Where another has its name it gets the
        spare one; an engine that does not rename gives that to all.
        """

    def make_sandbox(self, plan: SandboxPlan) -> ContainerId:
        """Create and start a holder; ``Passing`` where its namespace cannot be looked into, which its
        capabilities say from then on.

        Nothing is left of one that could not be started.
        """

    def sandbox_is_empty(self, holder: ContainerId) -> bool:
        """Whether no socket is in the namespace that it holds but the engine's own; ``False`` where that
        cannot be seen.
        """

    def watch_sandbox(self, holder: ContainerId) -> None:
        """From now on it can be told whether anything leaves the namespace that it holds."""

    def sandbox_was_used(self, holder: ContainerId) -> bool:
        """Whether anybody elsewhere may know of what was done in its namespace since ``watch_sandbox``: a
        packet has left it, or the kernel still knows a connection. ``True`` where that cannot be told.
        """

    def open(self, generation: Generation, container: ContainerId, data: bytes) -> None:
        """Write all the bytes into its gate; ``Passing`` where that fails, and then some may be through."""

    def put_tree(self, container: ContainerId, archive: Iterable[bytes]) -> None:
        """Unpack a tar at the root of a container at its gate, owners and modes as it says;
        ``Unbringable`` where no container could take it, ``Passing`` where that takes longer than two
        minutes.
        """

    def let_go(self, generation: Generation) -> None:
        """Give up the way into an agent's gate; the gate stays as it is."""

    def take_tree(self, container: ContainerId, path: str) -> AbstractContextManager[Taken]:
        """What is at an absolute path of an ended container, as a tar that is read while the context lasts.

        ``Refused`` where there is nothing, where the path leads through a link or a directory that the job
        may not enter, or to what is mounted, and while it is read where it takes longer than two minutes;
        ``Gone`` where the container is gone.
        """

    def rename(self, container: ContainerId, name: str) -> None:
        """Give it another name; having it already is a success, ``NameTaken`` where another has it."""

    def converse(self, plan: AgentPlan, words: tuple[str, ...], *, terminal: bool) -> int:
        """Run a person's command in such a container, on the terminal or piped; its exit code."""

    def signal(self, container: ContainerId, signal: str) -> None:
        """Send a signal such as ``TERM`` to its first process; one that does not run is a success."""

    def freeze(self, container: ContainerId) -> None:
        """Stop all that runs in it, and in what it has made, where it is; frozen already, or not running,
        is a success.
        """

    def thaw(self, container: ContainerId) -> None:
        """Let what runs there go on; not frozen, or not running, is a success."""

    def weigh(self, container: ContainerId, weight: float) -> None:
        """Say what it counts for where processors are short, 1 being any one's; not there is a success."""

    def start_again(self, container: ContainerId) -> None:
        """Start a container that has ended once more, as it was left; one that runs is a success.

        It is never attached to: what runs there reads nothing. ``Refused`` where the engine cannot, which its
        capabilities say.
        """

    def remove(self, container: ContainerId) -> None:
        """Remove it, killing what runs in it and in what it has made; gone or going is a success."""

    def exec_probe(
        self, container: ContainerId, argv: tuple[str, ...], timeout: float, *, user: str = "0:0"
    ) -> tuple[int, bytes]:
        """Run a short command inside, as ``UID:GID``; its exit code and its output, at most 64 KiB.

        The first word is a path. It has a search path of its own and none of the container's variables
        (``core.bare_command``): a job may be at work there, and this may be root.
        """

    def execute(
        self,
        container: ContainerId,
        argv: tuple[str, ...],
        *,
        user: str,
        variables: Mapping[str, str],
        terminal: bool,
    ) -> Execution:
        """Start a process inside as ``UID:GID``, within the container's limits and with no more rights than
        that user has there, with a terminal of its own or three pipes; ``Gone`` where it does not run.

        The first of the words is a path. It has the container's variables, which reach nothing of root's.
        """

    def isolation(self, plan: AgentPlan) -> tuple[Breach, ...]:
        """What throwaway containers of that plan can do and agents must not be able to; nothing is left."""

    # -- what it keeps for Mayfly beside containers
    def sweep(self, of: Callable[[HostId, PoolName], bool]) -> None:
        """Remove networks of those Mayflies and pools; ``Passing`` where a container still uses one, once all
        were tried.
        """

    # -- what agents may have of their own; of an engine whose capabilities have no gateway nothing is asked
    def grant(self, plan: AgentPlan, container: ContainerId) -> str:
        """What the gateway is to know of an agent that is started and has a door, as its grant has it."""

    def clear(self, state_dir: Path, host: HostId, generation: Generation, seal: str) -> None:
        """Remove all that an ended agent has made, which bears that seal, and its door; nothing there is a
        success. ``Passing`` where something is left, or its gateway is in the middle of something.
        """

    def give_up(self, generation: Generation) -> None:
        """Remove what an agent that is gone had beside its container: the volume that it worked in, and the
        limits that it had together with what it made; gone is a success.
        """

    def remove_image(self, name: str) -> None:
        """Remove the image of that name; gone is a success, ``Passing`` where a container is of it."""

    def belongings(self, host: HostId) -> tuple[Belonging, ...]:
        """What agents of that host have made and is there, one for each agent and seal."""

    def close(self) -> None:
        """Let go of every gate."""


__all__ = [
    "AgentPlan",
    "Belonging",
    "Capabilities",
    "Engine",
    "EngineEvent",
    "EngineFacts",
    "EventCursor",
    "EventFollower",
    "Execution",
    "Finding",
    "Gone",
    "ImageFacts",
    "NameTaken",
    "OutputKeeper",
    "OutputListener",
    "PoolName",
    "SandboxPlan",
    "StreamTurn",
    "Unmeasured",
]
