"""Containers of jobs' own from a pool's side: cleared before the next gate, within the pool's limits.

A manager and a gateway, each a process, on an Engine of its own that is new enough. The jobs ask their socket
by hand: what Docker's own clients make of it is tried elsewhere.
"""

from __future__ import annotations

import json
import signal
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mayfly.core.naming import work_volume
from tests.chaos.crashing import WITH_CONTAINERS
from tests.chaos.test_crashes import crash, died
from tests.engine.gateway.conftest import programs
from tests.engine.gateway.served import Gateway
from tests.engine.private_engine import PrivateEngine, why_not
from tests.harness import Manager, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long

IMAGE = "mayfly/local:cpu"
MEMORY = 192 * 1024**2
POOLS = """
[[pool]]
name = "local"
containers = true
allowed_images = ["mayfly/*"]
pull = "never"
limits = { memory = "192MiB", cpus = 1.5, pids = 200 }

[[pool]]
name = "plain"
network = "none"
"""
# What a job asks its socket for: METHOD PATH BODY, each printed with its status.
ASK = textwrap.dedent("""
    import http.client, json, socket, sys
    class Door(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect("/run/mayfly-docker/docker.sock")
    def ask(method, path, body=None):
        door = Door("docker")
        data = json.dumps(body) if body is not None else None
        door.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        reply = door.getresponse()
        said = reply.read()
        found = json.loads(said) if said else {}
        print(method, path.partition("?")[0], reply.status, json.dumps(found), flush=True)
        return found
    def begin(name, *command, **host):
        made = ask("POST", "/containers/create?name=" + name, {
            "Image": "mayfly/local:cpu", "Entrypoint": list(command), "HostConfig": host})
        ask("POST", "/containers/" + made["Id"] + "/start")
        return made["Id"]
""")


class Box:
    """The manager, the gateway and the Engine."""

    def __init__(self, engine: PrivateEngine, manager: Manager, gateway: Gateway) -> None:
        self.engine = engine
        self.manager = manager
        self.gateway = gateway

    def queue(self, script: str, pool: str = "local") -> str:
        """A job of Python's that asks its socket."""
        return self.manager.queue("python3", "-c", ASK + textwrap.dedent(script), pool=pool)

    def said(self, job: str) -> list[tuple[str, str, int, Any]]:
        """What its socket answered."""
        rows = [line.split(" ", 3) for line in str(self.manager.logs(job).stdout).splitlines()]
        return [(row[0], row[1], int(row[2]), json.loads(row[3])) for row in rows if len(row) == 4]

    def belongings(self) -> list[str]:
        """All that bears an agent's label."""
        found = self.engine.docker("ps", "-aq", "--filter", "label=io.mayfly.belongs").split()
        for kind in ("network", "volume"):
            words = (kind, "ls", "-q", "--filter", "label=io.mayfly.belongs")
            found += self.engine.docker(*words).split()
        return found

    def events(self, *names: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.manager.json("events", "--limit", "1000")["events"]
        return [row for row in rows if row["event"] in names]


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    found = programs()
    if found is None:
        pytest.skip("directories of volumes want an Engine of 26 or newer: scripts/engine-at 28")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAYFLY_TEST_ENGINE", found)
        with (
            PrivateEngine(images=(IMAGE,)) as engine,
            Manager(engine.url, POOLS) as manager,
        ):
            manager.state.mkdir(mode=0o700)
            socket = engine.url.removeprefix("unix://")
            with Gateway(manager.state, socket, ()) as gateway:
                manager.start()
                yield Box(engine, manager, gateway)
                manager.kill()


def test_what_a_job_made_is_gone_before_the_next_gate_opens(box: Box) -> None:
    first = box.queue("""
        begin("busy", "/bin/sleep", "600")
        ask("POST", "/networks/create", {"Name": "lan"})
        ask("POST", "/volumes/create", {"Name": "kept"})
    """)
    second = box.queue("print('here')")
    assert box.manager.ended(first)["state"] == "succeeded", box.manager.logs(first).stdout
    assert [status for _, _, status, _ in box.said(first)] == [201, 204, 201, 201]
    assert box.manager.ended(second)["state"] == "succeeded"
    assert box.belongings() == []
    told = box.events("agent.exited", "agent.cleared", "gate.opening")
    agent = box.manager.job(first)["agent"]
    order = [(row["event"], row.get("agent")) for row in told]
    exited, cleared = order.index(("agent.exited", agent)), order.index(("agent.cleared", agent))
    opened = order.index(("gate.opening", box.manager.job(second)["agent"]))
    assert exited < cleared < opened
    assert told[exited]["made"] is True


def test_a_job_that_made_nothing_leaves_no_volume_and_no_door(box: Box) -> None:
    job = box.queue("print('here')")
    box.manager.ended(job)
    agent = box.manager.job(job)["agent"]
    doors = Path(box.manager.state, "gateway/agents")

    def gone() -> bool:
        volumes = box.engine.docker("volume", "ls", "-q").split()
        return work_volume(agent) not in volumes and not (doors / agent).exists()

    until(gone, "nothing of it is left")
    assert not [row for row in box.events("agent.cleared") if row["agent"] == agent]
    groups = list(Path("/sys/fs/cgroup").glob(f"*/mayfly/{agent}"))
    assert groups == []


def test_a_job_that_made_nothing_costs_the_hand_over_a_rename_and_a_look(box: Box) -> None:
    """Until the next gate: no question to gateway or Engine, no file that is written, no commit more."""
    trace = box.manager.home / "trace"
    box.manager.kill()
    box.manager.start(sys.executable, "-m", "tests.pool.calls_between", str(trace))
    told = {pool: between(box, pool, trace) for pool in ("local", "plain")}
    assert told["plain"].doors == []
    assert told["local"].doors == [
        ("os.rename", "OLD/live OLD/over"),
        ("os.listdir", "OLD/over"),
    ]
    for one in told.values():
        assert one.asked == []
        (both,) = one.commits
        assert {"AgentExited", "JobEnded", "GateOpening"} <= {*both}, "in one"
    assert told["local"].commits == told["plain"].commits


@dataclass(frozen=True)
class Between:
    """What was done between the end of one job and the gate of the next."""

    doors: list[tuple[str, str]]  # calls below the directory of all doors
    asked: list[tuple[str, str]]  # connections that were made, and programs begun
    commits: list[list[str]]  # the facts of each


def between(box: Box, pool: str, trace: Path) -> Between:
    """Of two jobs of that pool's slot, whose standby is ready."""
    first = box.manager.queue("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done", pool=pool)
    old = box.manager.started(first)["agent"]

    def standby_waits() -> bool:
        told: dict[str, set[str]] = {}
        for row in box.events("agent.armed", "agent.ready"):
            if (
                row["slot"] == f"{pool}-0" and row["agent"] > old
            ):  # a generation begins with its time
                told.setdefault(row["agent"], set()).add(row["event"])
        return any(len(events) == 2 for events in told.values())

    until(standby_waits, f"a standby of {pool} waits at its gate")
    second = box.manager.queue("true", pool=pool)
    box.manager.let_go(first)
    new = box.manager.ended(second)["agent"]
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    (found,) = (one for one in lines if (one["ended"], one["opened"]) == (old, new))
    root = f"{box.manager.state}/gateway/agents/"
    calls = [(event, words) for _, event, words in found["calls"]]
    return Between(
        [
            (event, words.replace(root, "").replace(old, "OLD"))
            for event, words in calls
            if root in words
        ],
        [call for call in calls if call[0] in ("socket.connect", "subprocess.Popen")],
        [sorted(facts) for facts in found["commits"] if facts],
    )


def test_an_agent_and_its_containers_have_the_pools_limits_together(box: Box) -> None:
    job = box.queue("""
        begin("one", "/bin/sleep", "600")
        import time; time.sleep(600)
    """)
    try:
        agent = box.manager.started(job)["agent"]
        until(lambda: len(box.said(job)) == 2 or None, "its container runs")
        label = f"label=io.mayfly.belongs={agent}"
        (cid,) = box.engine.docker("ps", "-q", "--filter", label).split()
        (inner,) = json.loads(box.engine.docker("inspect", cid))
        groups = Path(f"/proc/{inner['State']['Pid']}/cgroup").read_text()
        assert f"/mayfly/{agent}/{inner['Id']}" in groups
        limit = next(
            path
            for path in (
                Path(f"/sys/fs/cgroup/memory/mayfly/{agent}/memory.limit_in_bytes"),
                Path(f"/sys/fs/cgroup/mayfly/{agent}/memory.max"),
            )
            if path.exists()
        )
        assert int(limit.read_text()) == MEMORY
        assert inner["HostConfig"]["Memory"] <= MEMORY
        rows = box.manager.json("top")["rows"]
        (row,) = [one for one in rows if one.get("job") == job]
        assert row["processes"] >= 4  # the container's own is among them
    finally:
        box.manager.cli("cancel", job)
        box.manager.ended(job)
    until(lambda: not box.belongings() or None, "it is cleared after a cancelled job, too")


def test_a_refusal_is_told_with_the_job(box: Box) -> None:
    job = box.queue("""
        ask("POST", "/containers/create", {"Image": "mayfly/local:cpu", "HostConfig": {"Privileged": True}})
    """)
    box.manager.ended(job)
    (_, _, status, body) = box.said(job)[0]
    assert status in (400, 403)

    def told() -> dict[str, Any] | None:
        row: dict[str, Any] = box.manager.job(job)
        return row if row.get("refused") else None

    row = until(told, "its account is on disk")
    assert row["refused"] == 1
    assert row["refusals"] == [body["message"]]
    assert body["message"] in " ".join(box.manager.cli("describe", job).stdout.split())


def test_a_manager_that_was_killed_clears_what_a_job_has_left(box: Box) -> None:
    job = box.queue("""
        begin("left", "/bin/sleep", "600")
        import time; time.sleep(3)
    """)
    until(lambda: len(box.said(job)) == 2 or None, "its container runs")
    box.manager.kill(signal.SIGKILL)
    agent_containers = box.engine.docker("ps", "-q", "--filter", "label=io.mayfly.belongs").split()
    assert agent_containers
    second = None
    try:
        until(
            lambda: "exited" in box.engine.docker("ps", "-a", "--format", "{{.State}} {{.Names}}"),
            "the agent ends while no manager runs",
        )
    finally:
        box.manager.start()
    second = box.queue("print('here')")
    assert box.manager.ended(job)["state"] == "succeeded"
    assert box.manager.ended(second)["state"] == "succeeded"
    assert box.belongings() == []


def test_a_gateway_that_is_away_keeps_the_gates_of_its_pools_shut_alone(box: Box) -> None:
    assert box.gateway.stop(signal.SIGKILL) != 0
    try:
        until(lambda: "gateway.away" in box.manager.health() or None, "it is told")
        waits, goes = box.queue("print('here')"), box.manager.queue("true", pool="plain")
        assert box.manager.ended(goes)["state"] == "succeeded"
        assert box.manager.job(waits)["state"] == "queued"
    finally:
        box.gateway.start()
    assert box.manager.ended(waits)["state"] == "succeeded"
    until(lambda: "gateway.away" not in box.manager.health() or None, "it is well again")


def test_a_gateway_that_was_killed_under_a_job_costs_the_next_one_nothing(box: Box) -> None:
    job = box.queue("""
        begin("orphan", "/bin/sleep", "600")
        import time; time.sleep(3)
    """)
    until(lambda: len(box.said(job)) == 2 or None, "its container runs")
    box.gateway.stop(signal.SIGKILL)
    try:
        box.manager.ended(job)
        until(lambda: not box.belongings() or None, "cleared without a gateway")
    finally:
        box.gateway.start()
    second = box.queue("print('here')")
    assert box.manager.ended(second)["state"] == "succeeded"


def test_an_engine_that_restarts_under_a_job_leaves_nothing(box: Box) -> None:
    job = box.queue("""
        begin("left", "/bin/sleep", "600")
        import time; time.sleep(3)
    """)
    until(lambda: len(box.said(job)) == 2 or None, "its container runs")
    box.engine.restart(signal.SIGKILL)
    box.manager.ended(job)
    second = box.queue("print('here')")
    assert box.manager.ended(second)["state"] == "succeeded"
    assert box.belongings() == []


# Those beside another that comes to the same.
SOAKED = frozenset(("before agent.exited", "before agent.cleared", "after agent.cleared"))


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=[pytest.mark.soak] if point in SOAKED else [])
        for point in WITH_CONTAINERS
    ],
)
def test_a_manager_that_dies_anywhere_leaves_nothing_and_shuts_nothing_for_good(
    box: Box, point: str
) -> None:
    # Or it would die of what the test before has left to do, ahead of this job.
    doors = Path(box.manager.state, "gateway/agents")
    until(
        lambda: box.manager.rests() and len([*doors.iterdir()]) == 1, "nothing is left to be done"
    )
    box.manager.kill(signal.SIGTERM)
    crash(box.manager, point)
    until(box.manager.answers, "it answers")
    job = box.queue('begin("left", "/bin/sleep", "600")')
    until(lambda: died(box.manager), f"the manager is killed {point}")
    box.manager.kill()
    box.manager.start(wait="answer")
    assert box.manager.ended(job)["state"] == "succeeded"
    second = box.queue("print('here')")
    assert box.manager.ended(second)["state"] == "succeeded"
    assert box.belongings() == []
    until(box.manager.rests, "every slot is idle")
    until(lambda: len([*doors.iterdir()]) == 1 or None, "one door is left, of who waits")
