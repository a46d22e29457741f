"""A dockerd of one's own: another data root, another socket, another network namespace.

For tests that stop, kill or restart the Engine, flood its events, exhaust its address pools, or need
a runtime named `nvidia` on a host without one. The Engine that the host uses is asked for images and
otherwise left alone.

    with PrivateEngine(live_restore=False) as engine:
        Engine(engine.url).facts()
        engine.restart(signal.SIGKILL)
        engine.recorded(cid).config["process"]["env"]     # what the runtime `nvidia` was asked for

Bridge networks work inside: the daemon has a namespace with iptables of its own, which outlives its
restarts, so that containers keep their network under live-restore. Nothing is routed to the outside.
(`--bridge=none` is never used: it deletes docker0 of the namespace it starts in.)

It is of this host's Docker, or of another release: ``programs``, or else MAYFLY_TEST_ENGINE, names the
folders of its programs, by colons, which are looked through first.

Needs root and `dockerd`; see `why_not`. What a killed test run left behind is swept up by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from tests.engine import command, data_root
from tests.images import STUBS, stub_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HOMES = Path(
    "/var/tmp"
)  # a disk on which overlay2 works; the path of a unix socket has to be short
PREFIX = "mayfly-dockerd-"  # of a home's name; the id of the process that owns it comes next
LOADING = 240.0  # seconds for all images to get in
IMAGES = ("mayfly/local:cpu", "debian:bookworm-slim", *map(stub_tag, STUBS))

_WRAPPER = """#!/bin/sh
# The runtime `nvidia`: notes what it was asked for, then does what runc does.
last= bundle= create=
for word; do
  [ "$last" = --bundle ] && bundle=$word
  [ "$word" = create ] && create=yes
  last=$word
done
if [ -n "$create" ]; then
  mkdir -p "{records}/$last"
  printf '%s\\n' "$@" >"{records}/$last/argv"
  cp "$bundle/config.json" "{records}/$last/config.json"
fi
exec runc "$@"
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the runtime `nvidia` was asked for, for one container."""

    argv: tuple[str, ...]
    config: dict[str, Any]  # the OCI specification

    @property
    def env(self) -> dict[str, str]:
        """The container's environment as the runtime sees it."""
        return dict(pair.split("=", 1) for pair in self.config["process"]["env"])


def _search_path(programs: str | None = None) -> str:
    """Where its programs are looked for: those of another release before this host's own, where that is
    asked for.
    """
    other = programs or os.environ.get("MAYFLY_TEST_ENGINE")
    return f"{other}:{os.environ['PATH']}" if other else os.environ["PATH"]


def version(programs: str | None = None) -> tuple[int, ...]:
    """The release of the dockerd that a private Engine is of, such as (20, 10, 24)."""
    program = shutil.which("dockerd", path=_search_path(programs))
    said = subprocess.run(
        [program or "dockerd", "--version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", said.stdout)
    assert found is not None, said.stdout
    return tuple(int(number) for number in found.groups())


def why_not() -> str | None:
    """Why no private Engine can be started here, in a sentence; None: it can."""
    if os.geteuid() != 0:
        return "a private Engine needs root"
    for program in ("dockerd", "containerd", "docker", "runc", "unshare", "nsenter", "ip"):
        if shutil.which(program, path=_search_path()) is None:
            return f"a private Engine needs {program}"
    return None


def _is_stopped(process: int) -> bool:
    """Whether a signal has stopped each of its threads (proc(5), ``stat``)."""
    rows = [(task / "stat").read_text() for task in Path(f"/proc/{process}/task").iterdir()]
    return all(row.rpartition(")")[2].split()[0] == "T" for row in rows)


class PrivateEngine:
    """One private Engine; a context manager that starts it and leaves nothing behind."""

    def __init__(
        self,
        *,
        live_restore: bool = True,
        images: Sequence[str] = IMAGES,
        address_pool: str
        | None = None,  # such as "10.231.0.0/22", cut into /24; None: the defaults
        nvidia: bool = True,  # whether it has the runtime of that name
        settings: Mapping[str, Any] | None = None,  # further keys of daemon.json
        programs: str
        | None = None,  # folders of another release's; None: as MAYFLY_TEST_ENGINE says
    ) -> None:
        self._search_path = _search_path(programs)
        self._others = programs
        self.home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=_HOMES))
        self.url = f"unix://{self.home}/docker.sock"
        self.programs = self.home / "programs"  # what is here, its daemon finds first
        self.programs.mkdir()
        self._images = images
        self._fetched: set[str] = set()
        self._daemon: subprocess.Popen[bytes] | None = None
        self._holder: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        wrapper = self.home / "nvidia"
        wrapper.write_text(_WRAPPER.format(records=self.home / "records"))
        wrapper.chmod(0o755)
        config: dict[str, Any] = {
            "live-restore": live_restore,
            "runtimes": {"nvidia": {"path": str(wrapper)}} if nvidia else {},
            **(settings or {}),
        }
        if address_pool is not None:
            config["default-address-pools"] = [{"base": address_pool, "size": 24}]
        (self.home / "daemon.json").write_text(json.dumps(config))

    # -- its life --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            if images := self._present():
                fill = partial(_fill, images=images, programs=self._others)
                data_root.take(self._key(images), self.home, fill)
            self._holder = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep infinity"],
                start_new_session=True,
                stdout=subprocess.PIPE,
            )
            assert self._holder.stdout is not None
            self._holder.stdout.readline()
            self._start_containerd()
            self.start()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        for _ in range(3):
            if self._start_once():
                return
        raise RuntimeError(f"dockerd did not start:\n{self.log()[-3000:]}")

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """Send the daemon a signal and wait for its end; containers fare as live-restore has it."""
        if self._daemon is not None:
            self._daemon.send_signal(sig)
            self._daemon.wait(60)
            self._daemon = None

    def restart(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """Stop the daemon by a signal, and start it again."""
        self.stop(sig)
        self.start()

    def rest(self) -> None:
        """Stop both daemons for good, with all their files written."""
        self.stop()
        if self._containerd is not None:
            self._containerd.terminate()
            self._containerd.wait(60)

    def freeze(self) -> None:
        """Stop the daemon in its tracks: it accepts connections and never answers."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)
        while not _is_stopped(self._daemon.pid):  # one of its threads may still be on a processor
            time.sleep(0.01)

    def thaw(self) -> None:
        """Let a frozen daemon go on."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGCONT)

    def destroy(self) -> None:
        """End everything of it and remove its files."""
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGCONT)
            try:
                ids = self.docker("ps", "-aq", check=False).split()
                if ids:
                    self.docker("rm", "-f", *ids, check=False)
                self.stop()
            except (command.EngineHangs, subprocess.TimeoutExpired):
                self.stop(signal.SIGKILL)  # whoever asked it before has told
        for process in (self._containerd, self._holder):
            if process is not None:
                process.kill()
                process.wait()
        _sweep(self.home)

    # -- what tests ask of it --------------------------------------------------------------

    def docker(self, *argv: str, check: bool = True) -> str:
        """What the docker command prints when it talks to this Engine."""
        return command.docker(self.url, *argv, check=check, quiet=not check).stdout.strip()

    def fetch(self, image: str) -> None:
        """Have it load this image of the host's Engine where that one was built since; looks once."""
        if image in self._fetched:
            return
        words = ("image", "inspect", "-f", "{{.Id}}", image)
        there = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
        if self.docker(*words, check=False) != there.stdout.strip():
            _load(self.url, [image])
        self._fetched.add(image)

    def sh(self, command: str) -> str:
        """What a command line prints that is typed in its network namespace."""
        done = subprocess.run(
            [*self._inside(), "sh", "-c", command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    @property
    def namespace(self) -> str:
        """The path of its network namespace."""
        assert self._holder is not None
        return f"/proc/{self._holder.pid}/ns/net"

    def recorded(self, cid: str) -> Recorded:
        """What the runtime `nvidia` was asked for; KeyError where it was not used."""
        place = self.home / "records" / cid
        if not place.is_dir():
            raise KeyError(cid)
        argv = tuple((place / "argv").read_text().splitlines())
        return Recorded(argv, json.loads((place / "config.json").read_text()))

    def log(self) -> str:
        """All that the daemon has said."""
        return (self.home / "log").read_text(errors="replace")

    def beside(self, *argv: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """A program in its network namespace, begun; what it says goes to that file."""
        return subprocess.Popen(
            [*self._inside(), *argv],
            env=self._environment(),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def entering(self) -> list[str]:
        """What a command begins with that is to run in its network namespace."""
        return self._inside()

    def listen(self, port: int, address: str = "127.0.0.1") -> socket.socket:
        """A listening socket in its network namespace: what answers there is reached by its containers.

        A container with the network `host` finds it on 127.0.0.1, as programs outside find what listens on
        the same port of this host.
        """
        made: list[socket.socket] = []
        namespace = os.open(self.namespace, os.O_RDONLY)

        def enter() -> None:
            ctypes.CDLL(None, use_errno=True).setns(namespace, 0)  # this thread alone
            made.append(socket.create_server((address, port), backlog=128))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        os.close(namespace)
        return made[0]

    # -- inside ----------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.programs}:{self._search_path}"}

    def _inside(self) -> list[str]:
        """What a command begins with that is to run in the network namespace."""
        return ["nsenter", f"--net={self.namespace}"]

    def _start_containerd(self) -> None:
        """As under systemd, containerd is not the daemon's child, and outlives its SIGKILL.

        It is in the daemon's namespace: since 26, a container with the network `host` gets containerd's.
        """
        config = self.home / "containerd.toml"
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        with (self.home / "log").open("ab") as log:
            self._containerd = subprocess.Popen(
                [
                    *self._inside(),
                    "containerd",
                    f"--config={config}",
                    f"--address={self.home}/containerd.sock",
                    f"--root={self.home}/containerd",
                    f"--state={self.home}/exec/containerd",
                ],
                env=self._environment(),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _start_once(self) -> bool:
        home = self.home
        for stale in (home / "pid", home / "docker.sock"):
            stale.unlink(missing_ok=True)
        with (home / "log").open("ab") as log:
            self._daemon = self.beside(
                "dockerd",
                f"--config-file={home}/daemon.json",
                f"--data-root={home}/data",
                f"--exec-root={home}/exec",
                f"--pidfile={home}/pid",
                f"--host={self.url}",
                f"--containerd={home}/containerd.sock",
                "--ip6tables=false",
                output=log,
            )
        end = time.monotonic() + 30
        while self._daemon.poll() is None and time.monotonic() < end:
            if self._answers():
                return True
            time.sleep(0.02)
        self._daemon.kill()
        self._daemon.wait()
        self._daemon = None
        return False

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as conn:
            conn.settimeout(2)
            try:
                conn.connect(f"{self.home}/docker.sock")
                conn.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in conn.recv(4096)
            except OSError:
                return False

    def _present(self) -> dict[str, str]:
        """Those of its images that this host's Engine has: name -> id."""
        if not self._images:
            return {}
        words = ["docker", "image", "inspect", "-f", "{{.Id}}"]
        found = {}
        for name in self._images:
            said = subprocess.run([*words, name], capture_output=True, text=True, check=False)
            if said.returncode == 0:
                found[name] = said.stdout.strip()
        return found

    def _key(self, images: Mapping[str, str]) -> str:
        """What the data root depends on."""
        program = shutil.which("dockerd", path=self._search_path)
        parts = (program, version(self._others), sorted(images.items()))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _fill(place: Path, *, images: Mapping[str, str], programs: str | None) -> None:
    """Have an Engine load the images of this host's, and move its data root to that folder."""
    with PrivateEngine(images=(), programs=programs) as engine:
        _load(engine.url, list(images))
        engine.rest()
        (engine.home / "data/engine-id").unlink(missing_ok=True)  # each one has its own
        for part in data_root.PARTS:
            (engine.home / part).rename(place / part)


def _load(url: str, images: Sequence[str]) -> None:
    """Have the Engine there load images of this host's Engine."""
    saved = subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE)
    try:
        subprocess.run(
            ["docker", "-H", url, "load", "-q"],
            stdin=saved.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=LOADING,
        )
        assert saved.wait(LOADING) == 0
    finally:
        saved.kill()
        saved.wait()


def sweep_up() -> None:
    """Remove what killed test runs have left behind."""
    for home in _HOMES.glob(f"{PREFIX}*"):
        owner = home.name.removeprefix(PREFIX).partition("-")[0]
        if not Path(f"/proc/{owner}").exists():
            _sweep(home)


def _sweep(home: Path) -> None:
    """End the processes that were started from this directory, unmount what is below, remove it."""
    for _ in range(50):
        ours = [pid for pid in _processes() if _named(pid, home)]
        if not ours:
            break
        for pid in ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in sorted(mounted, reverse=True):
        if place.startswith(f"{home}/"):
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)
    shutil.rmtree(home, ignore_errors=True)


def _processes() -> list[int]:
    names = [place.name for place in Path("/proc").iterdir() if place.name.isdigit()]
    return [int(name) for name in names if int(name) != os.getpid()]


def _named(pid: int, home: Path) -> bool:
    """Whether it is a daemon, containerd, shim or anything below a shim of this home."""
    for _ in range(8):
        try:
            if f"{home}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return False
        if pid <= 1:
            return False
    return False
