"""A real manager on a real Engine, run and asked as a user would: by its command line.

    with PrivateEngine() as engine, Manager(engine.url) as manager:
        manager.start()
        job = manager.submit("sh", "-c", "exit 3")
        assert manager.ended(job)["exit_code"] == 3

The manager has a state directory, a socket and a configuration of its own under a temporary directory.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import docker.errors
import pytest

from mayfly.core.model import LABEL_SANDBOX
from mayfly.service.control import STILL_COMING
from tests import copies
from tests.engine import command
from tests.waiting import pause

PATIENCE = 120.0  # on a machine that has much else to do
ENDED = frozenset({"succeeded", "failed", "cancelled", "lost"})
POOL = """
[[pool]]
name = "local"
provider = "local"
slots = 1
network = "none"
"""
TWO = POOL.replace("slots = 1", "slots = 2")
NETWORKED = POOL.replace('network = "none"\n', "")


T = TypeVar("T")


def until(look: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """What ``look`` gives once it is true; AssertionError naming ``what`` when patience ends."""
    began = time.monotonic()
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < began + patience, f"not within {patience:.0f} s: {what}"
        pause(began)


@contextmanager
def disk(place: Path, size: str) -> Iterator[None]:
    """A disk of that size on the directory: a tmpfs. A test is skipped where none may be mounted."""
    place.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("takes a mount of its own")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def full(place: Path) -> Iterator[None]:
    """The disk that the directory is on takes not one byte more."""
    fill = place / "filler"
    try:
        with fill.open("wb", buffering=0) as file:
            for size in (1 << 24, 1 << 12):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
        yield
    finally:
        fill.unlink()


class _Connection(http.client.HTTPConnection):
    """HTTP to a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=40)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(place: Path, method: str, path: str, document: str | None = None) -> tuple[int, bytes]:
    """One request to a manager's control socket: status and body."""
    connection = _Connection(place)
    try:
        connection.request(method, path, document, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Manager:
    """One manager process after another over the same state."""

    def __init__(self, docker_host: str, pools: str = POOL, host: str = "") -> None:
        """``pools`` and ``host`` are TOML: the pool tables, and further keys of ``[host]``."""
        self.home = Path(tempfile.mkdtemp(prefix="mayfly-test-"))
        self.docker_host = docker_host
        self.state = self.home / "state"
        self.config = self.home / "config.toml"
        self.socket = self.home / "s"
        self.log = self.home / "log"
        self.process: copies.Copy | subprocess.Popen[bytes] | None = None
        self.configure(pools, host)

    def configure(self, pools: str, host: str = "") -> None:
        """Write the configuration."""
        self.config.write_text(
            f'[host]\nname = "box"\nstate_dir = "{self.state}"\nsocket = "{self.home}/s"\n'
            f'docker_host = "{self.docker_host}"\n{host}\n{pools}'
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, patience: float = PATIENCE) -> None:
        """End the manager and whatever it left on the Engine; remove its files."""
        clean = False
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)  # what it has begun at the Engine, it ends
            with suppress(subprocess.TimeoutExpired):
                clean = self.process.wait(20) == 0
        self.kill()
        if self.host_id() is not None:
            until(self._swept, "nothing of the manager is left on its Engine", patience)
            if not clean:
                time.sleep(0.2)  # what a killed manager had asked for may come late
                until(self._swept, "nothing of the manager is left on its Engine", patience)
        shutil.rmtree(self.home, ignore_errors=True)

    def _swept(self) -> bool:
        """Remove what is there; whether no container was. (A network may be kept by an endpoint that an ended
        Engine has forgotten; the next manager there removes it.)
        """
        mine = {"label": f"io.mayfly.host={self.host_id()}"}
        with command.api(self.docker_host) as api:
            containers = [row["Id"] for row in api.containers(all=True, filters=mine)]
            with ThreadPoolExecutor(max_workers=4) as several:
                list(several.map(partial(_removed, api.remove_container, force=True), containers))
            for network in api.networks(filters=mine):
                _removed(api.remove_network, network["Id"])
        return not containers

    def start(self, *command: str, wait: str | None = "idle") -> None:
        """Start a manager; ``command`` stands in for ``mayfly run``, ``wait`` is what to wait for then:
        ``idle``, ``answer`` (the first status), or nothing.
        """
        words = command or (*copies.MAYFLY, "run")
        with self.log.open("ab") as log, Path(os.devnull).open() as nothing:
            files = (nothing.fileno(), log.fileno(), log.fileno())
            self.process = copies.start(words, self.environment(), files, session=True)
        if wait == "answer":
            until(self.answers, "the manager answers")
        elif wait is not None:
            assert wait == "idle"
            until(self.rests, "every slot is idle")

    def answers(self) -> bool:
        """Whether a manager answers on the socket and has made its first pass."""
        try:
            self.get("/v1/status")
        except (OSError, http.client.HTTPException, AssertionError):
            return False
        return True

    def rests(self) -> bool:
        """Whether a manager answers and every slot is idle; AssertionError where it ended or holds one."""
        assert self.process is None or self.process.poll() is None, self.log.read_text()
        if not self.answers():
            return False
        phases = {row["slot"]: row["phase"] for row in self.get("/v1/status")["slots"]}
        assert "held" not in phases.values(), f"{phases}\n{self.log.read_text()}"
        return set(phases.values()) <= {"idle"}

    def rested(self, *command: str) -> None:
        """Have a manager with every slot idle and none cordoned, for the next of several tests on it;
        ``command`` starts one where none runs.
        """
        if self.process is None or self.process.poll() is not None:
            self.start(*command, wait="answer")
        self.cli("uncordon", "--all")
        until(self.rests, "every slot is idle")
        slots = {row["slot"] for row in self.get("/v1/status")["slots"]}
        until(lambda: slots <= {*self.containers()}, "each agent bears its slot's name")

    def kill(self, sig: int = signal.SIGKILL) -> int | None:
        """Send the manager a signal and wait for its end; its exit code, None where none ran."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(PATIENCE)
        self.process = None
        return code

    def environment(self) -> dict[str, str]:
        """The environment of the manager and of the command line."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MAYFLY_")}
        return {**kept, "MAYFLY_CONFIG": str(self.config), "PYTHONUNBUFFERED": "1"}

    def cli(
        self, *words: str, timeout: float = 120, text: bool = True
    ) -> subprocess.CompletedProcess[Any]:
        """``mayfly WORDS``."""
        done = copies.run((*copies.MAYFLY, *words), self.environment(), timeout=timeout)
        if not text:
            return done
        said = [str(stream, "utf-8") for stream in (done.stdout, done.stderr)]
        return subprocess.CompletedProcess(done.args, done.returncode, *said)

    def json(self, *words: str) -> Any:
        """What a reading verb prints with ``--json``."""
        done = self.cli(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def get(self, path: str) -> Any:
        """What the control socket answers to one GET; quicker than the command line."""
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        """The same, as it came."""
        status, body = self.ask("GET", path)
        assert status == 200, f"{path}: {status} {body.decode()}"
        return body.decode()

    def read(self, path: str) -> bytes:
        """What the control socket answers to one GET, as it is."""
        status, body = self.ask("GET", path)
        assert status == 200, f"{path}: {status} {body.decode()}"
        return body

    def queue(self, *command: str, env: Mapping[str, str] | None = None, **more: Any) -> str:
        """Submit a job over the control socket; its id."""
        document = {"argv": command, "env": dict(env or {}), **more}
        status, body = self.ask("POST", "/v1/jobs", json.dumps(document))
        assert status == 201, f"{status} {body.decode()}"
        return str(json.loads(body)["job"])

    def ask(self, method: str, path: str, document: str | None = None) -> tuple[int, bytes]:
        """One request to the control socket: status and body."""
        return ask(self.socket, method, path, document)

    def submit(self, *command: str, options: Sequence[str] = ()) -> str:
        """Submit a job; its id."""
        done = self.cli("submit", *options, "--", *command)
        assert done.returncode == 0, done.stderr
        return str(done.stdout.strip())

    def job(self, job: str) -> dict[str, Any]:
        """The job's account."""
        row: dict[str, Any] = self.get(f"/v1/jobs/{job}")
        return row

    def ended(self, job: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The job's account once it is closed."""

        def look() -> dict[str, Any] | None:
            row = self.job(job)
            return row if row["state"] in ENDED else None

        return until(look, f"job {job} ends", patience)

    def started(self, job: str, patience: float = PATIENCE) -> dict[str, Any]:
        """The job's account once its agent's gate is open."""

        def look() -> dict[str, Any] | None:
            row = self.job(job)
            return row if row["started"] is not None else None

        return until(look, f"job {job} starts", patience)

    def let_go(self, job: str) -> None:
        """Let a job find /tmp/go. Its container bears its slot's name only a moment after it began."""
        self.let_go_in(self.slot(self.job(job)["slot"])["container"])

    def let_go_in(self, container: str) -> None:
        """Let whatever waits for /tmp/go in that container find it."""
        command.let_go(self.docker_host, container)

    def output(self, job: str) -> str:
        """What the job has printed, as ``logs`` prints it."""
        done = self.logs(job)
        return str(done.stdout + done.stderr)

    def logs(self, job: str) -> subprocess.CompletedProcess[Any]:
        """``mayfly logs JOB``; of a job that has ended, once all that it printed has come."""

        def look() -> subprocess.CompletedProcess[Any] | None:
            done = self.cli("logs", job)
            assert done.returncode == 0, done.stderr
            return None if STILL_COMING.decode() in done.stderr else done

        return until(look, f"the output of job {job} is there")

    def health(self) -> dict[str, str]:
        """The health lines: code -> text."""
        return {line["code"]: line["text"] for line in self.get("/v1/status")["health"]}

    def slot(self, name: str = "local-0") -> dict[str, Any]:
        """The slot's row of ``status --json``."""
        for row in self.get("/v1/status")["slots"]:
            if row["slot"] == name:
                found: dict[str, Any] = row
                return found
        raise KeyError(name)

    def in_phase(
        self, phase: str, name: str = "local-0", patience: float = PATIENCE
    ) -> dict[str, Any]:
        """The slot's row once it is in that phase."""

        def look() -> dict[str, Any] | None:
            row = self.slot(name)
            return row if row["phase"] == phase else None

        return until(look, f"slot {name} is {phase}", patience)

    def host_id(self) -> str | None:
        """The id on everything of this manager's on the Engine."""
        import sqlite3

        file = self.state / "mayfly.sqlite"
        if not file.exists():
            return None
        db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        row = db.execute("SELECT value FROM meta WHERE key = 'host'").fetchone()
        db.close()
        return row[0] if row is not None else None

    def passed(self, times: int = 2) -> None:
        """Wait until the loop has published so often again: what it makes of what is there, it has begun.

        A manager that nobody rings for does so every five seconds, and every thirty where nothing is going
        on; with ``BRISK`` in a tenth of that.
        """
        wanted = int(self.get("/v1/status")["rev"]) + times

        def passed() -> bool:
            seen = int(self.get("/v1/status")["rev"])
            later = self.get(f"/v1/status?after={seen}&wait=30") if seen < wanted else {"rev": seen}
            return int(later["rev"]) >= wanted

        until(passed, f"{times} passes")

    def docker(self, *words: str, check: bool = True) -> str:
        """The Engine's own command line."""
        return command.docker(self.docker_host, *words, check=check).stdout

    def containers(self) -> list[str]:
        """The names of all agents' containers of this manager's."""
        mine = {"label": [f"io.mayfly.host={self.host_id()}", f"{LABEL_SANDBOX}="]}
        with command.api(self.docker_host) as api:
            rows = api.containers(all=True, filters=mine)
            return [row["Names"][0].removeprefix("/") for row in rows]


def _removed(remove: Callable[..., object], name: str, **how: bool) -> None:
    """Have it removed; one that is gone, or cannot go yet, is no error."""
    with suppress(docker.errors.APIError):
        remove(name, **how)


@contextmanager
def stopped(process: copies.Copy | subprocess.Popen[bytes]) -> Iterator[None]:
    """The process held by SIGSTOP meanwhile."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
