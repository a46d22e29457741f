"""Hosts on which something is wrong: one sentence each, nothing lost, nothing that is not ours touched.

`docs/reference/known-failures.md` has a row for each.
"""

from __future__ import annotations

import json
import shutil
import socketserver
import sqlite3
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.command import build
from tests.fakes.clock import MovedClock
from tests.harness import TWO, Manager, stopped, until
from tests.hurried import hurried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engine.private_engine import PrivateEngine

    Make = Callable[..., Manager]

CACHE = """
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
"""
ONE = """
[[pool]]
name = "local"
slots = 1
network = "none"
"""
JOB = "echo up >/cache/up; while [ ! -e /cache/go ]; do sleep 0.1; done; exit 6"
ITS_IMAGE = "test/its-image:1"
SLEEP = ("debian:bookworm-slim", "sleep", "1000")


def with_cache(manager: Manager, pool: str = ONE) -> Manager:
    """The same with a cache for its one slot."""
    (manager.home / "cache").mkdir()
    (manager.home / "cache").chmod(0o777)
    manager.configure(pool + CACHE.format(home=manager.home))
    return manager


def at_work(manager: Manager) -> str:
    """A job that runs until it is let go; its id."""
    job = manager.queue("sh", "-c", JOB)
    until((manager.home / "cache/up").exists, "the job runs")
    return job


def let_go(manager: Manager) -> None:
    """End that job."""
    (manager.home / "cache/go").touch()


def refused(manager: Manager, *flags: str) -> str:
    """The one sentence with which `mayfly run` ends where it must not start."""
    done = manager.cli("run", *flags, timeout=60)
    assert done.returncode == 1, done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("mayfly: ")]
    assert len(sentences) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == sentences[0]
    return str(sentences[0])


# -- the Engine --------------------------------------------------------------------------------


def test_an_engine_that_is_absent_at_first_is_waited_for(engine: PrivateEngine, make: Make) -> None:
    manager = make()
    manager.docker_host = f"unix://{manager.home}/late.sock"
    manager.configure(ONE)
    manager.start(wait="answer")
    assert "there is no such socket" in manager.health()["engine.unknown"]
    told = manager.cli("status")
    assert told.returncode == 1
    assert "fix: systemctl status docker" in told.stdout  # for root, who runs this
    job = manager.queue("sh", "-c", "exit 3")
    assert manager.cli("wait", "--for", "idle", "--timeout", "1").returncode == 5
    (manager.home / "late.sock").symlink_to(engine.url.removeprefix("unix://"))
    assert manager.ended(job)["exit_code"] == 3
    assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0


class _Old(BaseHTTPRequestHandler):
    """What an Engine of old says of itself."""

    api = "1.40"

    def do_GET(self) -> None:
        body = json.dumps({"Version": "19.03.15", "ApiVersion": self.api, "MinAPIVersion": "1.12"})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Api-Version", self.api)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def old_engine(path: Path, api: str) -> Iterator[str]:
    """An Engine that speaks this API, on a socket there; its address."""
    handler = type("Old", (_Old,), {"api": api})
    with socketserver.ThreadingUnixStreamServer(str(path), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{path}"
        server.shutdown()


@pytest.mark.parametrize("api", ["1.40", "1.19"])
def test_an_engine_that_is_too_old_is_refused(api: str) -> None:
    manager = Manager("unix:///nowhere")
    try:
        with old_engine(manager.home / "old", api) as url:
            manager.docker_host = url
            manager.configure(ONE)
            sentence = refused(manager)
    finally:
        shutil.rmtree(manager.home)
    assert "upgrade" in sentence
    assert "20.10" in sentence


def test_an_image_of_another_protocol_holds_its_slots_until_it_is_built_again(make: Make) -> None:
    manager = make(f'[[pool]]\nname = "odd"\nimage = "{ITS_IMAGE}"\n' + ONE)
    build(manager.docker_host, ITS_IMAGE, "FROM mayfly/local:cpu\nLABEL io.mayfly.gate=99\n")
    manager.start(wait="answer")
    assert "speaks gate protocol 99" in manager.in_phase("held", "odd-0")["note"]
    manager.in_phase("idle", "local-0")
    build(manager.docker_host, ITS_IMAGE, "FROM mayfly/local:cpu\n")
    manager.in_phase("idle", "odd-0")


def test_an_agent_that_dies_at_its_gate_says_why_wherever_a_person_looks(make: Make) -> None:
    pools = '[[pool]]\nname = "{0}"\n{1}\nremoval = "engine"\n'
    manager = make(
        pools.format("who", 'user = "nosuch"') + pools.format("kin", 'groups = ["nosuchgroup"]')
    )
    manager.start(wait="answer")
    for slot, why in (
        ("who-0", "exit code 70: the image has no user nosuch"),
        ("kin-0", "exit code 70: the image has not all of the groups nosuchgroup"),
    ):
        says_why(manager, slot, why)
    told = until(lambda: manager.health().get("slot.cooling"), "it is a condition")
    assert "exit code 70" in told
    assert manager.cli("status").returncode == 1


def says_why(manager: Manager, slot: str, why: str) -> None:
    """Its note, history, description and last output do, of the first try too: its witness has the reason
    where an Engine that removes what has ended is quicker than who reads its last line.
    """
    until(lambda: why in manager.slot(slot)["note"], "its note says why")
    rows = manager.json("history", "--slot", slot)["agents"]
    assert {row["outcome"] for row in rows} == {"died_young"}
    assert all(why in row["detail"] for row in rows)
    until(lambda: why in manager.cli("describe", slot).stdout, "describe says why")
    line = why.partition(": ")[2]
    until(lambda: line in manager.cli("logs", slot, "--previous").stderr, "logs has the line")


def test_a_foreign_container_with_a_slot_s_name_is_told_and_left_alone(make: Make) -> None:
    manager = make(TWO)
    foreign = manager.docker("run", "-d", "--name", "local-0", *SLEEP).strip()
    try:
        manager.start(*hurried("core.taking_in.NAME_REST=1", "core.conditions.NAMING=2"))
        jobs = [manager.queue("sleep", "0.2") for _ in range(4)]
        assert {manager.ended(job)["slot"] for job in jobs} == {"local-0", "local-1"}
        manager.in_phase("idle", "local-0")
        told = until(lambda: manager.health().get("slot.name_taken"), "the name is told")
        assert "the container of slot local-0 is called local-0." in told
        assert manager.docker("inspect", "-f", "{{.State.Running}}", foreign) == "true\n"
        assert " rename local-0 local-0-foreign" in manager.cli("status").stdout
        manager.docker("rename", "local-0", "somebody-s")
        until(lambda: "local-0" in manager.containers(), "the slot's name is the slot's")
        until(lambda: "slot.name_taken" not in manager.health(), "all is well again")
    finally:
        manager.docker("rm", "-f", foreign)


def test_a_name_that_is_taken_under_a_running_job_keeps_no_job_waiting(make: Make) -> None:
    manager, slot = with_cache(make()), "local-0"
    manager.start()
    job = at_work(manager)
    until(lambda: (manager.slot()["standby"] or {}).get("phase") == "armed", "a standby is armed")
    assert manager.process is not None
    with stopped(manager.process):  # who would give it its name back
        manager.docker("rename", slot, "renamed-by-hand")
        foreign = manager.docker("run", "-d", "--name", slot, *SLEEP)
    try:
        let_go(manager)
        assert manager.ended(job)["exit_code"] == 6
        for number in range(3):
            row = manager.ended(manager.queue("sh", "-c", f"exit {number}"))
            assert row["exit_code"] == number
        assert manager.docker("inspect", "-f", "{{.State.Running}}", foreign.strip()) == "true\n"
    finally:
        manager.docker("rm", "-f", foreign.strip())


# -- the state file and its disk -------------------------------------------------------------------


def stopped_with_a_job_in_its_queue(manager: Manager) -> str:
    """A manager that ran, has a job still queued, and is stopped; the job's id."""
    manager.start()
    manager.cli("pause")
    job = manager.queue("sh", "-c", "exit 5")
    manager.kill()
    return job


def test_a_damaged_state_file_is_told_and_not_touched(make: Make) -> None:
    manager = make(ONE)
    job = stopped_with_a_job_in_its_queue(manager)
    file = manager.state / "mayfly.sqlite"
    for aside in ("-wal", "-shm"):
        sqlite3.connect(file).execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        Path(f"{file}{aside}").unlink(missing_ok=True)
    good = file.read_bytes()
    file.write_bytes(b"not a database, " * 4096)
    before = file.read_bytes()
    sentence = refused(manager)
    assert f"the state file {file} is damaged" in sentence
    assert "move it away to start afresh, or restore it from a backup" in sentence
    assert file.read_bytes() == before
    file.write_bytes(good)
    manager.start(wait="answer")
    assert manager.cli("resume").returncode == 0
    assert manager.ended(job)["exit_code"] == 5


def test_a_state_file_of_a_newer_mayfly_is_told_and_not_touched(make: Make) -> None:
    manager = make(ONE)
    job = stopped_with_a_job_in_its_queue(manager)
    file = manager.state / "mayfly.sqlite"
    db = sqlite3.connect(file, isolation_level=None)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute("PRAGMA user_version = 99")
    sentence = refused(manager)
    assert f"the state file {file} was written by a newer Mayfly (schema 99" in sentence
    assert db.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone() == ("queued",)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()


def test_a_state_file_that_another_process_holds_is_told_and_waited_for(make: Make) -> None:
    manager = with_cache(make(ONE))
    manager.start()
    job = at_work(manager)
    other = sqlite3.connect(manager.state / "mayfly.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        refusal = manager.cli("cordon", "local-0")
        assert refusal.returncode == 1
        assert "nothing was changed" in refusal.stderr
        assert "is locked by another process" in refusal.stderr
        assert "is locked" in until(
            lambda: manager.health().get("disk.refused"), "the lock is told"
        )
        let_go(manager)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert manager.ended(job)["exit_code"] == 6
    until(lambda: "disk.refused" not in manager.health(), "all is well again")
    assert manager.slot()["cordoned"] is None
    assert manager.ended(manager.queue("true"))["state"] == "succeeded"


def test_a_state_file_that_is_locked_at_the_start_is_told(make: Make) -> None:
    manager = make(ONE)
    stopped_with_a_job_in_its_queue(manager)
    other = sqlite3.connect(manager.state / "mayfly.sqlite", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert "is locked by another process" in refused(manager)
    finally:
        other.close()


def test_no_state_directory_to_be_made_is_told(make: Make) -> None:
    manager = make()
    shutil.rmtree(manager.state, ignore_errors=True)
    manager.state.write_text("a file is in the way")
    assert "set host.state_dir" in refused(manager)
    manager.state.unlink()


# -- the clock -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [30, -30])
def test_a_clock_that_jumps_ends_no_job_and_replaces_no_agent(make: Make, hours: int) -> None:
    manager = with_cache(
        make(), '[[pool]]\nname = "local"\nslots = 2\nlimits = { job_timeout = "1h" }\n'
    )
    clock = MovedClock(manager.home)
    words = [f"{name}={value}" for name, value in clock.environment().items()]
    manager.start("env", *words, sys.executable, "-m", "mayfly.cli.app", "run")
    job = at_work(manager)
    until(
        lambda: (manager.slot("local-0")["standby"] or {}).get("phase") == "armed",
        "a standby is armed",
    )
    agents = {row["slot"]: row["agent"] for row in manager.get("/v1/status")["slots"]}
    clock.ahead(hours * 3600)

    def jumps() -> int:
        return sum(row["event"] == "clock.jumped" for row in manager.get("/v1/events")["events"])

    until(jumps, "the jump is noticed")
    assert manager.job(job)["state"] == "running"
    let_go(manager)
    assert manager.ended(job)["exit_code"] == 6
    rows = {row["agent"]: row for row in manager.get("/v1/history")["agents"]}
    assert [row["job"] for row in rows.values()] == [job]
    assert agents.keys() == {"local-0", "local-1"}
    assert 0 <= rows[manager.job(job)["agent"]]["seconds"]["busy"] < 600
    clock.ahead(0)  # the containers' clock was never another
    until(lambda: jumps() == 2, "the jump back is noticed")
    assert manager.ended(manager.queue("true"))["state"] == "succeeded"
