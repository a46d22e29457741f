"""A real Slurm of one node: the distribution's slurmctld, slurmd and munge, with GPUs that are none.

All of it lies in a folder of the test's own, listens on ports of its own on the loopback, and ends with the
test, even a killed one: each daemon stays in the foreground and dies with whoever started it.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.engine.gpu_manager import GpuManager
from tests.fakes.nvml import Hardware

ROOT = Path(__file__).parents[3]
NODE = socket.gethostname().partition(".")[0]
MAJOR = 195  # of NVIDIA's device files; nothing here opens one


def programs() -> Path | None:
    """The folder with Slurm's programs; ``None`` where they were not fetched."""
    found = subprocess.run(
        [ROOT / "scripts/slurm", "--there"], capture_output=True, text=True, check=False
    )
    return Path(found.stdout.strip()) if found.returncode == 0 else None


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RealSlurm:
    """Its daemons, and a person who types its commands."""

    home: Path
    place: Path
    gpus: int = 2
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        for name in ("state", "spool", "munge", "dev"):
            (self.home / name).mkdir()
        (self.home / "munge").chmod(0o700)
        (self.home / "munge/key").write_bytes(os.urandom(128))
        (self.home / "munge/key").chmod(0o400)
        for minor in range(self.gpus):
            device = self.home / f"dev/nvidia{minor}"
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(MAJOR, minor))
        files = f"{self.home}/dev/nvidia[0-{self.gpus - 1}]"
        (self.home / "gres.conf").write_text(f"NodeName={NODE} Name=gpu File={files}\n")
        (self.home / "slurm.conf").write_text(self._configuration())
        munge = self.home / "munge"
        self._start(
            "munged",
            *("--foreground", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket"),
            *(f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"),
        )
        self.until((munge / "socket").exists, "munged has no socket")
        self.start_controller()
        self._start("slurmd", "-D", "-d", str(self.place / "usr/sbin/slurmstepd"))
        self.until(lambda: "idle" in self.state(), "the node is not idle")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.daemons.values():
            process.kill()
            process.wait()

    def _configuration(self) -> str:
        home, plugins = self.home, next(self.place.glob("usr/lib/*/slurm-wlm"))
        cores, memory = max(os.cpu_count() or 1, 1), 1000
        return f"""ClusterName=test
SlurmctldHost={NODE}(127.0.0.1)
SlurmctldPort={_port()}
SlurmdPort={_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
CredType=cred/munge
PluginDir={plugins}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
GresTypes=gpu
MpiDefault=none
ReturnToService=2
SlurmdTimeout=60
KillWait=1
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
NodeName={NODE} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:{self.gpus}
PartitionName=main Nodes={NODE} Default=YES State=UP
"""

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs around it to speak with it."""
        libraries = next(self.place.glob("usr/lib/*/slurm-wlm"))
        ours = (str(self.place / "usr/bin"), str(self.place / "usr/sbin"), os.environ["PATH"])
        known = os.environ.get("LD_LIBRARY_PATH")
        paths = [str(libraries), str(libraries.parent), *([known] if known else [])]
        return {
            "PATH": ":".join(ours),
            "LD_LIBRARY_PATH": ":".join(paths),
            "SLURM_CONF": str(self.home / "slurm.conf"),
        }

    def _start(self, name: str, *arguments: str) -> None:
        log = (self.home / f"{name}.out").open("ab")
        self.daemons[name] = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(self.place / "usr/sbin" / name), *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()

    def start_controller(self) -> None:
        """Start slurmctld; it goes on with what it knew."""
        self._start("slurmctld", "-D")
        self.until(lambda: "UP" in self.command("scontrol", "ping"), "the controller is not up")

    def stop_controller(self) -> None:
        """slurmctld is gone, and what it knew is on disk. One that is killed comes back with what it knew
        some seconds before: what another test has cancelled meanwhile has the GPUs again.
        """
        self.daemons["slurmctld"].terminate()
        self.daemons["slurmctld"].wait(60)

    def command(self, *command: str) -> str:
        """What one of its commands prints, whatever it comes to."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout + done.stderr

    def state(self) -> str:
        """The node's state, in Slurm's words."""
        return self.command("sinfo", "-h", "-N", "-o", "%T")

    def queue(self) -> list[tuple[str, str, str]]:
        """Id, state and name of whatever is in the queue."""
        text = self.command("squeue", "-h", "-o", "%A|%T|%j")
        rows = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
        return [(row[0], row[1], row[2]) for row in rows]

    def until(self, holds: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        """Wait until that holds."""
        give_up = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > give_up:
                log = (self.home / "slurmctld.log").read_text()[-2000:]
                raise AssertionError(f"{what}\n{self.command('squeue')}\n{log}")
            time.sleep(0.05)


POOL = """
[[pool]]
name = "gpu"
image = "mayfly/local:cpu"
network = "none"
slots = {slots}
gpus = 1
lease = "slurm"
limits = {{ job_timeout = "10m" }}

[pool.slurm]
partition = "main"
look = "1s"
idle = "{idle}"
retry = "1s"
wait = "{wait}"
options = ["--mem=1"]
"""


class SlurmManager(GpuManager):
    """A manager on that node; the GPUs are those of NVML's stub."""

    def __init__(self, docker_host: str, slurm: RealSlurm) -> None:
        self.slurm = slurm
        self.made = Hardware(gpus=2)
        super().__init__(docker_host, self.made, "")
        self.pools()

    def pools(self, slots: int = 1, idle: str = "1s", wait: str = "10m") -> None:
        """Write the configuration."""
        self.configure(POOL.format(slots=slots, idle=idle, wait=wait))

    def environment(self) -> dict[str, str]:
        found, ours = super().environment(), self.slurm.environment
        both = (ours["LD_LIBRARY_PATH"], found.get("LD_LIBRARY_PATH", ""))
        return {**found, **ours, "LD_LIBRARY_PATH": ":".join(one for one in both if one)}

    def close(self, patience: float = 60.0) -> None:
        super().close(patience)
        self.made.__exit__()
