"""Who is looked at, and when: by a /proc that says what a row is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from mayfly.core.activity import BUSY, CROWDED
from mayfly.core.model import ContainerId, Generation
from mayfly.core.stimuli import ActivitySeen, Begun, Printed
from mayfly.core.throttle import MIB
from mayfly.edge.faults import Passing
from mayfly.service.activity_watch import ENGINE_KEPT, LASTING, ActivityWatch

BOX, G = ContainerId("b" * 64), Generation("g1")
DB, WEB = ContainerId("d" * 64), ContainerId("e" * 64)
AGENT = Generation("mywpiww03hg4s")
ENGINE, FIRST = 5, 7
QUIET = {"last": 100, "crowd": 9, "tracked": 9, "sent": 9, "opened": 9, "inner": 1}


class World:
    """A host with two processors and one agent."""

    def __init__(self, home: Path) -> None:
        self.home, self.now, self.engine = home, 1000.0, ENGINE
        self.agents = {G: (BOX, FIRST)}
        self.waiting: dict[Generation, tuple[ContainerId, int]] = {}
        self.sent: list[ActivitySeen] = []
        self.printed: list[Printed] = []
        self.prints: dict[ContainerId, tuple[int, int]] = {}
        self._tasks = home / f"sys/pids/docker/{BOX}/tasks"
        self._state = dict(QUIET)
        self.turns()
        self.watch = ActivityWatch(
            *(self, lambda: (self.agents, self.waiting), self._take),
            processors=2, proc=home / "proc", mounted=home / "sys", steady=lambda: self.now,
        )  # fmt: skip

    def own_process(self) -> int | None:
        """As an engine says it; one that hangs has no number."""
        if not self.engine:
            raise Passing("it hangs")
        return self.engine

    def printed_inside(self, container: ContainerId) -> tuple[int, int]:
        """As an engine counts what an agent's containers have printed."""
        if not self.engine:
            raise Passing("it hangs")
        return self.prints.pop(container, (0, 0))

    def _take(self, told: ActivitySeen | Printed) -> None:
        if isinstance(told, Printed):
            self.printed.append(told)
        else:
            self.sent.append(told)

    def has_made(self, container: ContainerId, process: int, begun: int, opened: int) -> None:
        """The agent has a container, in a group with its own; or that one has begun and opened more."""
        proc, place = self.home / "proc", self.home / f"sys/pids/mayfly/{AGENT}"
        newest = 5000 + process + begun
        columns = "0 " * 8 + str(opened) + " 0 0 0 0 0 0 0"
        files = {
            proc / f"{FIRST}/cgroup": f"3:pids:/mayfly/{AGENT}/{BOX}",
            proc / f"{process}/cgroup": f"3:pids:/mayfly/{AGENT}/{container}",
            proc / f"{process}/status": f"NSpid: {process} 1",
            proc / f"{newest}/status": f"NSpid: {newest} {1 + begun}",
            proc / f"{process}/net/stat/nf_conntrack": f"entries\n{opened:x}",
            proc / f"{process}/net/dev": f"Inter-|\n face |\n eth0: 0 {columns}",
            proc / f"{process}/net/snmp": f"Tcp: ActiveOpens\nTcp: {opened}",
            place / BOX / "cgroup.procs": f"{FIRST}",
            place / BOX / "tasks": f"{FIRST}",
            place / container / "cgroup.procs": f"{process}\n{newest}",
            place / container / "tasks": f"{process}\n{newest}",
        }
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")

    def turns(self, seconds: float = 0.5, **more: int) -> None:
        """So much later there is so much more of these."""
        self.now += seconds
        for name, number in more.items():
            self._state[name] += number
        of, proc = self._state, self.home / "proc"
        newest = 1000 + of["inner"]
        columns = "0 " * 8 + str(of["sent"]) + " 0 0 0 0 0 0 0"
        files = {
            "loadavg": f"1 1 1 1/9 {of['last']}",
            "sys/kernel/pid_max": "4194304",
            f"{ENGINE}/net/stat/nf_conntrack": f"entries\n{of['crowd']:x}",
            f"{FIRST}/net/stat/nf_conntrack": f"entries\n{of['tracked']:x}",
            f"{FIRST}/net/dev": f"Inter-|\n face |\n eth0: 0 {columns}",
            f"{FIRST}/net/snmp": f"Tcp: ActiveOpens\nTcp: {of['opened']}",
            f"{FIRST}/cgroup": f"3:pids:/docker/{BOX}",
            f"{FIRST}/status": f"NSpid: {FIRST} 1",
            f"{newest}/status": f"NSpid: {newest} {of['inner']}",
        }
        for name, text in files.items():
            (proc / name).parent.mkdir(parents=True, exist_ok=True)
            (proc / name).write_text(text + "\n")
        self._tasks.parent.mkdir(parents=True, exist_ok=True)
        self._tasks.write_text(f"{FIRST}\n{newest}\n")

    def begun(self) -> Begun | None:
        """What was told of the agent at last, and nothing before."""
        told = [*self.sent]
        self.sent.clear()
        assert len(told) < 2
        return told[0].begun[G] if told else None


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    assert not world.watch.look()
    return world


def test_where_nothing_is_the_matter_nobody_is_looked_at(world: World) -> None:
    for _ in range(5):
        world.turns(1.0, last=int(BUSY), inner=int(BUSY), sent=9000, opened=9000)
        assert not world.watch.look()
    assert world.begun() is None


def test_processes_are_told_from_the_second_look_on_until_it_was_calm_for_long(
    world: World,
) -> None:
    world.turns(last=900, inner=800)
    assert world.watch.look()
    assert world.begun() is None
    world.turns(last=900, inner=800)
    assert world.watch.look()
    assert world.begun() == Begun(processes=800)
    world.turns(LASTING - 1)
    assert world.watch.look()
    assert world.begun() is None
    world.turns(2.0)
    assert not world.watch.look()


def test_who_waits_at_its_gate_is_looked_at_in_its_turn_and_of_many_a_few_at_a_time(
    world: World,
) -> None:
    nobody = ContainerId("c" * 64), 9
    world.agents = {}
    world.waiting = {Generation(f"g{number}"): nobody for number in range(9)} | {G: (BOX, FIRST)}
    told = []
    for _ in range(9):  # four of nine each time: everybody four times
        world.turns(last=900, inner=800)
        assert world.watch.look()
        told.append(world.begun())
    seen = [begun.processes for begun in told if begun is not None]
    assert len(seen) == 3  # the first look has nothing to compare with
    assert sum(seen) in range(4 * 800, 9 * 800)


def test_connections_are_told_while_the_engine_s_table_is_crowded(world: World) -> None:
    world.turns(crowd=CROWDED, tracked=CROWDED, sent=5000, opened=5000)
    assert world.watch.look()
    world.turns(sent=3000, opened=2000)
    assert world.watch.look()
    assert world.begun() == Begun(connections=2000)
    world.turns(crowd=-CROWDED, sent=3000, opened=2000)
    assert world.watch.look()
    assert world.begun() is None


def test_an_engine_that_cannot_be_asked_or_is_elsewhere_costs_no_look(world: World) -> None:
    world.engine = 0
    world.turns(ENGINE_KEPT + 1, crowd=CROWDED, tracked=CROWDED)
    assert not world.watch.look()
    world.engine = 99  # no such process here
    world.turns(ENGINE_KEPT + 1)
    assert not world.watch.look()


def test_an_agent_that_has_gone_is_forgotten(world: World) -> None:
    world.turns(last=900, inner=800)
    world.watch.look()
    gone, world.agents = world.agents, {}
    world.turns(last=900, inner=800)
    assert not world.watch.look()
    world.agents = gone
    world.turns(last=900, inner=800)
    world.watch.look()
    assert world.begun() is None


def test_what_a_host_begins_while_no_agent_has_a_job_is_nobodys(world: World) -> None:
    agents, world.agents = world.agents, {}
    world.turns(last=int(1000 * BUSY))
    assert not world.watch.look()
    world.agents = agents
    world.turns()
    assert not world.watch.look()


def test_what_an_agent_s_containers_begin_and_open_it_does(world: World) -> None:
    """Also where each has little: two that sit in the same network, and one by itself."""
    world.turns(last=900, crowd=2 * CROWDED)
    world.has_made(DB, 21, 0, 600)
    world.has_made(WEB, 31, 0, 600)
    assert world.watch.look()
    assert world.begun() is None
    world.turns(last=900)
    world.has_made(DB, 21, 300, 2600)
    world.has_made(WEB, 31, 400, 3600)
    assert world.watch.look()
    assert world.begun() == Begun(processes=700, connections=5000)
    for process in (21, 31):
        namespace = world.home / f"proc/{process}/ns/net"
        namespace.parent.mkdir()
        namespace.symlink_to("net:[4026532]")
    world.turns(last=900)
    world.has_made(DB, 21, 300, 3600)
    world.has_made(WEB, 31, 400, 4600)
    assert world.watch.look()
    assert world.begun() == Begun(connections=1000), "one network counts once"


def test_what_an_agent_s_containers_print_is_its_output_however_calm_the_host_is(
    world: World,
) -> None:
    world.prints[BOX] = (10, MIB // 2)
    world.turns()
    assert not world.watch.look()
    assert world.printed == [], "it is little"
    world.prints[BOX] = (5, MIB)
    world.turns()
    assert not world.watch.look()
    assert world.printed == [Printed(G, 15, MIB + MIB // 2)]
    world.engine = 0
    world.turns()
    assert not world.watch.look()
