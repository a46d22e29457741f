"""The machine that a cluster's one node is: namespaces of its own on this host, and what runs in them.

    with NodeMachine() as machine:
        machine.start("etcd", "kubelab", "etcd", ...)
        machine.kill("etcd")

It has processes, mounts and a network of its own. This host reaches it at ``machine.address``, and its pods
too; they reach this host at ``machine.host``. Nothing is routed further. Its first process reads a pipe of
ours: when we have ended, however that was, the kernel ends everything in it. What then is left are a folder
and empty cgroups, which `sweep_up` removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.harness import until

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOMES = Path("/var/tmp")  # a disk on which overlayfs works; a unix socket's path has to be short
PREFIX = "mayfly-kube-"  # of a home's name; the id of the process that owns it comes next
_CGROUPS = Path("/sys/fs/cgroup")
SERVICES = "10.97.0.0/24"
SERVICE = "10.97.0.1"  # the API server's, as pods know it
NETWORKS = 250  # how many clusters one host may have at once
# kubelet writes these keys of the kernel: they are the whole host's, so it gets files to write into.
_KEYS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
_FIRST = """set -e
ip link set lo up
ip address add {service}/32 dev lo
for place in /var/lib/kubelet /var/log/pods /var/log/containers /run/containerd; do
  mkdir -p "$place"
  mount -t tmpfs kubelab "$place"
done
mount --make-rshared /var/lib/kubelet
cd {home}/keys
find . -type f | while read -r key; do
  [ ! -e "/proc/sys/$key" ] || mount --bind "$key" "/proc/sys/$key"
done
echo ready
while read -r _; do :; done
"""


class NodeMachine:
    """One such machine; a context manager that leaves nothing behind."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=_HOMES))
        self.cgroup = f"/{self.home.name}"
        self._number = 0
        self._holder: subprocess.Popen[str] | None = None
        self._first = 0  # this host's number of the machine's first process
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        """Its address, as this host reaches it."""
        return f"198.18.{self._number}.2"

    @property
    def host(self) -> str:
        """This host's address, as its pods reach it."""
        return f"198.18.{self._number}.1"

    @property
    def pods(self) -> str:
        """The network of its pods."""
        return f"10.98.{self._number}.0/24"

    # -- its life --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def _make(self) -> None:
        for key, value in _KEYS.items():
            file = self.home / "keys" / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{value}\n")
        for controller in _controllers():
            (controller / self.home.name).mkdir(exist_ok=True)
            _inherited(controller / self.home.name)
        words = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
        words += ["--kill-child=KILL", "--propagation", "private", "bash", "-c"]
        self._holder = subprocess.Popen(
            [*words, _FIRST.format(service=SERVICE, home=self.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "the machine's first process ended"
        self._first = _child(self._holder.pid)
        self._plug()

    def _plug(self) -> None:
        """A cable between this host and it: it goes with the machine's network."""
        for number in range(NETWORKS):
            name = f"mayfly-k{number}"
            words = ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0"]
            made = subprocess.run(
                [*words, "netns", str(self._first)], capture_output=True, text=True, check=False
            )
            if made.returncode == 0:
                break
            assert "File exists" in made.stderr, made.stderr
        else:
            raise AssertionError(f"{NETWORKS} clusters are on this host already")
        self._number = number
        for words in (
            ["ip", "address", "add", f"{self.host}/30", "dev", name],
            ["ip", "link", "set", name, "up"],
            [*self.inside(), "ip", "address", "add", f"{self.address}/30", "dev", "eth0"],
            [*self.inside(), "ip", "link", "set", "eth0", "up"],
            [*self.inside(), "ip", "route", "add", "default", "via", self.host],
            ["ip", "route", "add", self.pods, "via", self.address],
        ):
            subprocess.run(words, check=True)

    def destroy(self) -> None:
        """End everything in it, and remove its files."""
        if self._holder is not None:
            self._holder.kill()  # its child is killed with it, and with that the namespace
            self._holder.wait()
        for process in self._running.values():
            process.kill()
            process.wait()
        _sweep(self.home)

    # -- programs in it --------------------------------------------------------------------

    def inside(self) -> list[str]:
        """What a command begins with that is to run in it."""
        return ["nsenter", f"--target={self._first}", "--net", "--mount", "--pid"]

    def path(self, place: str) -> Path:
        """A place of the machine's, as this host has it."""
        return Path(f"/proc/{self._first}/root{place}")

    def start(
        self, name: str, *argv: str | Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a program there under that name; what it says is in ``log(name)``."""
        with self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*self.inside(), *argv],
                cwd="/",
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def runs(self, name: str) -> bool:
        """Whether that program runs."""
        return name in self._running and self._running[name].poll() is None

    def send_signal(self, name: str, sig: signal.Signals) -> None:
        """Send that program a signal."""
        os.kill(_child(self._running[name].pid), sig)

    def kill(self, name: str, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send that program a signal and wait for its end."""
        if self.runs(name):
            self.send_signal(name, sig)
            self._running[name].wait(60)
        del self._running[name]

    def log(self, name: str) -> str:
        """All that the program of that name has said."""
        return self._log(name).read_text(errors="replace")

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"


def _child(parent: int) -> int:
    """The one process that this one has begun."""

    def found() -> list[int]:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(child) for child in children]

    (child,) = until(found, f"process {parent} has begun another one")
    return child


def _controllers() -> list[Path]:
    """The hierarchies of cgroups that this host has: of version 2 there is one."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [place for place in _CGROUPS.iterdir() if place.is_dir() and not place.is_symlink()]


def _inherited(group: Path) -> None:
    """A new cpuset has no processors, and takes no process, before it is told which."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (own := group / name).exists() and not own.read_text().strip():
            own.write_text((group.parent / name).read_text())


def sweep_up() -> None:
    """Remove what killed test runs have left behind: folders and cgroups."""
    for home in _HOMES.glob(f"{PREFIX}*"):
        owner = home.name.removeprefix(PREFIX).partition("-")[0]
        if not Path(f"/proc/{owner}").exists():
            _sweep(home)


def _sweep(home: Path) -> None:
    """Remove the cgroups of that machine, whose processes the kernel is still ending, and its folder."""
    for controller in _controllers():
        group = controller / home.name
        end = time.monotonic() + 10
        while group.exists() and time.monotonic() < end:
            for below in sorted(group.rglob("*"), reverse=True):
                if below.is_dir():
                    with contextlib.suppress(OSError):
                        below.rmdir()
            with contextlib.suppress(OSError):
                group.rmdir()
            time.sleep(0.02)
    shutil.rmtree(home, ignore_errors=True)
