"""The daemon: puts the parts together, starts them in order, and takes them apart again.

Stopping it stops no agent. Starting it where another manager is at work is refused before anything is
touched.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Protocol

from mayfly import __version__
from mayfly.core import naming
from mayfly.core.desire import references
from mayfly.core.facts import AgentDetached
from mayfly.core.gpus import Gpus
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Config, ContainerId, Generation, HostId, HostSpec
from mayfly.core.recording import Recorder, Recording
from mayfly.core.state import NOISE, State, begin
from mayfly.core.stimuli import AgentStirred, ClientSign, OutputKept, Printed, ProcessesGone
from mayfly.edge import backup_state, clocks_let_go, history_backup, state_lock, systemd
from mayfly.edge.catalogue import architecture, catalogue
from mayfly.edge.cgroup_use import ControlGroups
from mayfly.edge.descriptors import raise_limit
from mayfly.edge.doors import Doors
from mayfly.edge.fetched_images import FetchedImages
from mayfly.edge.figures import Figures
from mayfly.edge.free_memory import few_arenas
from mayfly.edge.gateway_control import GatewayControl
from mayfly.edge.gpu_clocks import GpuClocks
from mayfly.edge.history import INSTALLATION_KEY, History
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.log import Log
from mayfly.edge.mounted import MountedPaths
from mayfly.edge.results import ResultStore
from mayfly.edge.unix_http import UnixServer
from mayfly.edge.witness import Witnesses
from mayfly.edge.workspaces import Bounds, Workspaces
from mayfly.engines import load as load_engine
from mayfly.engines.protocol import Engine, OutputKeeper, OutputListener
from mayfly.providers.installed import left_behind, load
from mayfly.service import engine_claim, page
from mayfly.service.activity_watch import ActivityWatch, Watched
from mayfly.service.attachments import Attachments
from mayfly.service.board import StatusBoard
from mayfly.service.bugs import bug, watch_threads
from mayfly.service.clock import Clock
from mayfly.service.command_handler import CommandHandler
from mayfly.service.configuration import Configuration
from mayfly.service.control import Control
from mayfly.service.end_watch import EndWatch
from mayfly.service.engine_observer import EngineObserver
from mayfly.service.fetched_images import OldImages
from mayfly.service.figures_writer import FiguresWriter
from mayfly.service.former_pools import FormerPools
from mayfly.service.gpu_check_metrics import GpuCheckCollector
from mayfly.service.gpu_document import with_users
from mayfly.service.gpu_monitor import GpuBoard, GpuMonitor, gpu_document
from mayfly.service.holds import Holds
from mayfly.service.idle_keeper import IdleKeeper
from mayfly.service.idle_metrics import IdleCollector
from mayfly.service.images_seen import ImagesSeen
from mayfly.service.isolation_prober import IsolationProber
from mayfly.service.last_words import words_of
from mayfly.service.ledger import Ledger, mark_from
from mayfly.service.loop import Loop, Parts
from mayfly.service.messages import Message, Reload, Stop
from mayfly.service.metrics import Metrics, Outside, serve
from mayfly.service.mount_observer import MountObserver
from mayfly.service.notifier import Notifier, deliver
from mayfly.service.old_content import OldContent
from mayfly.service.perform import Performer
from mayfly.service.probes import why_not_alive, why_not_ready
from mayfly.service.queue_view import LiveQueue
from mayfly.service.report import Report
from mayfly.service.request_handler import RequestHandler
from mayfly.service.reservation_teller import ReservationTeller
from mayfly.service.services import Services
from mayfly.service.slurm_keeper import SlurmKeeper
from mayfly.service.state_metrics import StateCollector
from mayfly.service.use_reader import UseReader
from mayfly.service.workers import Workers

IMAGES_SECONDS = 60.0  # between two looks whether jobs have fetched too much
WORKERS_GRACE = 10.0  # seconds for actions under way when the manager stops


def run(
    config: Config, *, take_over: bool = False, reload: Callable[[], Config] | None = None
) -> None:
    """Run the manager until SIGTERM or SIGINT; ``Refused`` where it must not start."""
    state_dir = Path(config.host.state_dir)
    raise_limit()
    few_arenas()
    with ExitStack() as stack:
        stack.enter_context(state_lock.managing(state_dir))
        log = Log()
        backup_state.refuse_unfinished(state_dir)
        history = History(state_dir)
        stack.callback(history.close)
        history_backup.refuse_moved(history.meta("moved"))
        host = _host_id(history)
        key = _installation_key(history)
        engine = load_engine(config.host)
        known = state_dir / engine_claim.KNOWN
        claim = partial(engine_claim.claim, engine, host, known, take_over=take_over, log=log)
        reread = reload or (lambda: config)
        _run(
            config.with_installation_key(key),
            lambda: reread().with_installation_key(key),
            host,
            key,
            history,
            engine,
            claim,
            log,
            stack,
        )


def _log_start(log: Log, host: HostId, config: Config) -> None:
    log.event("daemon.started", version=__version__, host=host, pid=os.getpid())
    for sentence in config.old_keys:
        log.event("config.old_key", reason=sentence)


def _services(
    config: Config, host: HostId, inbox: SimpleQueue[Message], memory: Callable[[], Memory]
) -> Services:
    state_dir = Path(config.host.state_dir)
    former = FormerPools(state_dir, memory)
    return Services(
        lambda pool: load(pool, config.host, host, state_dir),
        inbox.put,
        # Where a provider remembers more itself it knows better.
        lambda: (*former.left(), *left_behind(state_dir)),
        former.keep,
    )


def _run(
    config: Config,
    reload: Callable[[], Config],
    host: HostId,
    key: str,
    history: History,
    engine: Engine,
    claim: Callable[[Memory], None],
    log: Log,
    stack: ExitStack,
) -> None:
    state_dir = Path(config.host.state_dir)
    reader, doors, figures = HistoryReader(state_dir), Doors(state_dir), Figures(state_dir)
    witnesses = _witnesses(state_dir, engine)
    board, clock, metrics = StatusBoard(), Clock(), Metrics(config)
    inbox: SimpleQueue[Message] = SimpleQueue()
    ledger = Ledger(history, log)
    services = _services(config, host, inbox, lambda: loop.state.memory)

    def erred(where: str, error: BaseException) -> None:
        inbox.put(bug(where, error))

    def heard(generation: Generation, _: int, line: bytes) -> None:
        agent = loop.state.memory.agents.get(generation)
        sign = services.read(agent, line) if agent is not None else None
        if sign is not None:
            inbox.put(ClientSign(generation, sign.kind, sign.text, sign.quiet))

    ends = EndWatch(engine, lambda *gone: inbox.put(ProcessesGone(*gone)), erred)
    output: OutputKeeper = engine.output(
        state_dir / "output",
        OutputListener(
            rung=_bell(inbox, ends, lambda: loop.state.memory),
            ended=lambda generation: inbox.put(
                OutputKept(generation, words_of(output, loop.state.memory.agents, generation))
            ),
            line=heard,
            failed=erred,
            printed=lambda *printed: inbox.put(Printed(*printed)),
        ),
        per_agent=config.host.output_per_agent,
        total=config.host.output_total,
        log_size=config.host.log_max_size,
    )
    workspaces, results, old = _kept_for_jobs(
        config, state_dir, reader, _old_images(engine, doors, lambda: loop.state, log), erred
    )
    parts = (host, engine, witnesses, output, ends, config.host.log_max_size, workspaces, results)
    memory = ledger.load()
    workers = Workers(
        Performer(
            *parts,
            doors=doors,
            figures=figures,
            key=key,
            still_wanted=lambda one: _is_wanted(loop.state.memory.agents.get(one)),
            clocks=_watching_locked(memory),
            why_unheld=partial(clocks_let_go.why_unheld, state_dir),
        ),
        inbox.put,
    )
    observer, mounts = _observers(
        engine, host, claim, inbox, lambda: loop.state, ends, witnesses.overfull, key, doors
    )
    activity = ActivityWatch(engine, lambda: _awaited(ends, loop.state.memory), inbox.put)
    prober, gpus, slurm, writer = (
        IsolationProber(engine, host, inbox.put),
        GpuMonitor(inbox.put, engine, clock.now),
        SlurmKeeper(inbox.put),
        FiguresWriter(figures),
    )
    follower = engine.watch(inbox.put, inbox.put, cursor=mark_from(history.meta("engine_mark")))
    notifier, idle, report = _voices(
        config.host, board, log, metrics, engine, lambda: loop.state, inbox
    )
    recording = Recording(state := _beginning(host, config, memory, ledger, clock.now()))
    loop = Loop(
        state,
        Parts(
            inbox=inbox,
            ledger=ledger,
            requests=RequestHandler(
                *(observer, witnesses, services, gpus, log, mounts, prober, doors, slurm),
                ReservationTeller(engine, witnesses.user, witnesses.lasts),
            ),
            workers=workers,
            commands=CommandHandler(
                known_job=lambda job: ledger.promised(job) or bool(reader.members(job)),
                members=reader.members,
                reread=reload,
                preview=services.preview,
                judge=services.judge,
                unsent=workspaces.unsent,
            ),
            configuration=Configuration(reload, services, workers, report, log, clock),
            figures=writer,
            report=report,
            recorder=Recorder(services.judge, recording),
            clock=clock,
            cursor=lambda: follower.cursor,
        ),
    )
    output.start()
    stack.callback(output.close)
    _follow(output, loop.state.memory)
    metrics.watch(
        Outside(services.calls, services.remaining, lambda: _gpus(gpus.document())),
        GpuCheckCollector(lambda: gpus.document().found),
        IdleCollector(idle.seconds),
        StateCollector(lambda: loop.state, services.token_ends, clock.now),
    )
    if config.host.metrics is not None:
        stack.callback(_scraped(config.host.metrics, metrics, board, log, erred))

    attachments = Attachments(
        *(engine, witnesses, inbox.put),
        lambda generation: _throttled(loop.state.memory, generation),
        holds=Holds(lambda: loop.state.memory, reader.variables, clock.now),
    )
    control = Control(
        board=board,
        send=inbox.put,
        reader=reader,
        output=output,
        metrics=metrics.text,
        queue=LiveQueue(lambda: loop.state, clock.now, reader),
        workspaces=workspaces,
        results=results,
        gpus=lambda: with_users(gpu_document(gpus.document())),
        recording=recording.document,
        attach=attachments.enter,
        use=UseReader(engine, ControlGroups(), lambda: loop.state).document,
        images=ImagesSeen(engine, lambda: loop.state.config),
        idle=idle,
        version=__version__,
        on_failure=lambda path, error: erred(f"the answer to {path}", error),
    )
    servers = _opened(
        control,
        config.host.socket,
        stack,
        partial(page.serve, config.host, control, board, reader, log, erred),
    )
    with _signals(inbox):
        stack.callback(watch_threads(inbox.put))
        _begin(
            ends.start,
            observer.start,
            mounts.start,
            prober.start,
            activity.start,
            notifier.start,
            idle.start,
            *(one.start for one in old),
            *(s.start for s in servers),
            partial(attachments.end_left, loop.state.memory.agents.values()),
        )
        _log_start(log, host, config)
        loop.run()
        log.event("daemon.stopping")
        systemd.stopping()
    _detach(attachments, ledger, report, loop, clock.now)
    _stop(observer, mounts, prober, activity, notifier, idle, *old, gpus, writer, services)
    slurm.leave(loop.state.memory)
    workers.stop(WORKERS_GRACE)
    _stop(follower, ends)
    engine_claim.leave(engine, host, key, log, loop.state.memory)
    engine.close()


def _voices(
    host: HostSpec,
    board: StatusBoard,
    log: Log,
    metrics: Metrics,
    engine: Engine,
    state: Callable[[], State],
    inbox: SimpleQueue[Message],
) -> tuple[Notifier, IdleKeeper, Report]:
    """Who tells people elsewhere, who pauses an idle host, and who tells whoever asks here."""
    place = Path(host.state_dir) / "notices"
    notifier = Notifier(host.notify, host.name, place, board, log, deliver)
    idle = IdleKeeper(host, state, inbox.put)
    tellers = (notifier, idle)
    return notifier, idle, Report(board, log, metrics, _Announcer(), engine.lines, tellers)


def _witnesses(state_dir: Path, engine: Engine) -> Witnesses:
    """Those of all agents; the engine is told where they are."""
    witnesses = Witnesses(state_dir)
    engine.witnesses(witnesses.root)
    return witnesses


def _opened(
    control: Control, path: str, stack: ExitStack, shown: Callable[[], Callable[[], None]]
) -> list[UnixServer]:
    """The control sockets, bound, and the page; shut with the stack."""
    servers = control.open_all(path)
    for server in servers:
        stack.callback(server.close)
    stack.callback(shown())
    stack.callback(control.stop)
    return servers


def _begin(*starts: Callable[[], object]) -> None:
    for start in starts:
        start()


def _watching_locked(memory: Memory) -> GpuClocks:
    """Who locks clocks, and looks at the GPUs whose clocks an earlier manager has locked."""
    clocks = GpuClocks()
    for known in memory.slots.values():
        if known.clocks is not None:
            clocks.watch(known.clocks.gpus)
    return clocks


class _Stoppable(Protocol):
    def stop(self) -> None:
        """End it."""


def _stop(*those: _Stoppable) -> None:
    for one in those:
        one.stop()


def _detach(
    attachments: Attachments,
    ledger: Ledger,
    report: Report,
    loop: Loop,
    clock: Callable[[], float],
) -> None:
    """End whoever is attached, and record it in the loop's place, which has ended."""
    ended, memory, now = attachments.stop(), loop.state.memory, clock()
    facts = tuple(
        AgentDetached(now, one.generation, one.by.name, one.reason, one.mark)
        for one in ended
        if one.generation is not None
    )
    if facts and ledger.commit(facts, memory, now, None):
        report.recorded(facts, memory, memory)


def _is_wanted(agent: Agent | None) -> bool:
    """Whether an agent that is being made is to come to its gate."""
    return agent is None or (agent.doom is None and not agent.settled)


def _throttled(memory: Memory, generation: Generation) -> bool:
    """Whether the agent is frozen now and then for what it does too much of."""
    agent = memory.agents.get(generation)
    return agent is not None and agent.throttled is not None and not agent.settled


def _awaited(ends: EndWatch, memory: Memory) -> tuple[Watched, Watched]:
    """The agents that may have a job, and those that may not yet, with their first processes."""
    working: dict[Generation, tuple[ContainerId, int]] = {}
    waiting: dict[Generation, tuple[ContainerId, int]] = {}
    for generation, where in ends.awaited().items():
        agent = memory.agents.get(generation)
        if agent is not None:
            (working if agent.committed is not None else waiting)[generation] = where
    return working, waiting


def _bell(
    inbox: SimpleQueue[Message], ends: EndWatch, memory: Callable[[], Memory]
) -> Callable[[Generation], None]:
    """What a line of a gate or launcher rings. Of an agent at work it could but say its end, which the kernel
    says more surely, and in the same moment: a job that prints such lines without end rings nothing.
    """

    def rung(generation: Generation) -> None:
        agent = memory().agents.get(generation)
        if agent is None or agent.opened is None or not ends.awaits(generation):
            inbox.put(AgentStirred(generation))

    return rung


def _observers(
    engine: Engine,
    host: HostId,
    claim: Callable[[Memory], None],
    inbox: SimpleQueue[Message],
    state: Callable[[], State],
    ends: EndWatch,
    overfull: Callable[[Generation], bool],
    key: str,
    doors: Doors,
) -> tuple[EngineObserver, MountObserver]:
    """Who looks at the Engine and the host, and who at what agents mount."""
    mounted = MountedPaths()
    observer = EngineObserver(
        engine,
        host,
        lambda: state().config,
        lambda: _images(state()),
        lambda: state().results,
        lambda: claim(state().memory),
        inbox.put,
        mounted,
        ends.keep,
        overfull,
        key,
        GatewayControl(doors.root).health,
        doors.has_made,
    )
    mounts = MountObserver(
        lambda: state().config, lambda: state().survey.engine, mounted, inbox.put
    )
    return observer, mounts


def _images(state: State) -> frozenset[str]:
    """Those that agents are made of, or are to be."""
    return references(state.config, state.gpus.hardware, state.memory.jobs.values())


def _beginning(host: HostId, config: Config, memory: Memory, ledger: Ledger, now: float) -> State:
    """The state of a run that has seen nothing yet; its generations begin at random."""
    run_id = naming.generation(now, secrets.randbelow(NOISE))
    tally = ledger.take_gpu_use().resumed(memory)
    gpus = Gpus(catalogue(), architecture(), tally=tally, earlier=ledger.gpu_quiet())
    return begin(host, run_id, config, memory, gpus, secrets.randbelow(NOISE))


def _follow(output: OutputKeeper, memory: Memory) -> None:
    """What agents print that were there before."""
    for agent in memory.agents.values():
        if agent.container is not None:
            output.follow(agent.generation, agent.container, lines=not agent.embedded)


def _old_images(engine: Engine, doors: Doors, state: Callable[[], State], log: Log) -> OldImages:
    """What takes images away that jobs have fetched."""
    images = FetchedImages(doors.root)
    return OldImages(engine, images, lambda: state().config, lambda: _images(state()), log)


def _kept_for_jobs(
    config: Config,
    state_dir: Path,
    reader: HistoryReader,
    images: OldImages,
    erred: Callable[[str, BaseException], None],
) -> tuple[Workspaces, ResultStore, tuple[OldContent, OldContent]]:
    """What people send for their jobs, what is brought back of them, and what throws away the old of it."""
    host = config.host
    bounds = Bounds(host.workspace_max, host.workspaces_per_user, host.workspaces_total)
    workspaces = Workspaces(state_dir / "workspaces", bounds, reader.needed)
    results = ResultStore(
        *(state_dir / "results", host.results_max, host.results_total), whose=reader.owner_of_agent
    )
    stores = (workspaces, results, images)
    old = OldContent([one.throw_old_away for one in stores], erred)
    return workspaces, results, (old, OldContent([images.keep_within], erred, IMAGES_SECONDS))


def _gpus(board: GpuBoard) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs of the host and their driver, as far as NVML has said."""
    return board.gpus or (), board.reading.driver if board.reading is not None else ""


def _scraped(
    address: str,
    metrics: Metrics,
    board: StatusBoard,
    log: Log,
    erred: Callable[[str, BaseException], None],
) -> Callable[[], None]:
    """Serve the metrics at an address too; a port that somebody else has must not stop the pool."""
    probes = {
        "/livez": partial(why_not_alive, board),
        "/readyz": partial(why_not_ready, board),
    }
    try:
        return serve(
            address, metrics.text, lambda path, error: erred(f"the answer to {path}", error), probes
        )
    except OSError as error:
        log.event("metrics.refused", address=address, reason=error.strerror or str(error))
        return lambda: None


class _Announcer:
    """Tells systemd after each pass; the first one, and the first after a reload, says that we are ready."""

    def __init__(self) -> None:
        self._ready = False

    def passed(self, sentence: str) -> None:
        """A pass has ended."""
        if self._ready:
            systemd.alive(sentence)
        else:
            self._ready = True
            systemd.ready(sentence)

    def reloading(self) -> None:
        """The configuration is about to be read again."""
        self._ready = False
        systemd.reloading()


@contextmanager
def _signals(inbox: SimpleQueue[Message]) -> Iterator[None]:
    """TERM and INT stop the manager, HUP reads the configuration again."""

    def stop(_: int, __: FrameType | None) -> None:
        inbox.put(Stop())

    def again(_: int, __: FrameType | None) -> None:
        inbox.put(Reload())

    before = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGTERM, stop),
            (signal.SIGINT, stop),
            (signal.SIGHUP, again),
        )
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _host_id(history: History) -> HostId:
    """The random id of this installation, made at the first start."""
    known = history.meta("host")
    if known is not None:
        return HostId(known)
    host = naming.host_id(secrets.randbelow(36**naming.HOST_ID_LENGTH))
    history.set_meta("host", host)
    return host


def _installation_key(history: History) -> str:
    """What this installation masks values and seals labels with, made at the first start; told to nobody."""
    key = history.meta(INSTALLATION_KEY)
    if key is None:
        key = secrets.token_hex(32)
        history.set_meta(INSTALLATION_KEY, key)
    return key
