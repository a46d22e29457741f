"""A host with a real systemd, in a container: Mayfly is installed in it from a checkout, as a new user would.

Its Engine is a private one outside, which sees the same state directory at the same path. `show` keeps what
was typed and what appeared; docs/how-to/install.md is held to it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

from tests.engine import command
from tests.engine.private_engine import PrivateEngine
from tests.harness import ask, until

ROOT = Path(__file__).parents[2]
IMAGE = "mayfly-test/systemd"
# What systemd needs in a container, short of --privileged.
RIGHTS = (
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),
    *("-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro"),
)
CHECKOUT = "/home/alice/mayfly"  # where a line is typed
WAITS = "until [ -e /tmp/go ]; do sleep 0.1; done"  # the beginning of a job that ends once it may
# The folder of wheels stands for PyPI, so that what is typed is what a user types.
INDEX = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
UV_INDEX = 'no-index = true\\nfind-links = ["/wheels"]\\n'


def image_of(suite: str) -> str:
    """The name of the box's image of a release of Debian's; of none, of the base that is usual here."""
    return f"{IMAGE}:{suite}" if suite else IMAGE


def make_image(suite: str = "") -> str | None:
    """Build the box's image where it is not there; why it cannot be, in a sentence, or None."""
    program = [str(ROOT / "scripts/base-image"), *([suite] if suite else [])]
    base = subprocess.run(program, capture_output=True, text=True, check=False)
    if base.returncode != 0:
        return f"no base image for a box with systemd: {base.stderr.strip()[-200:]}"
    words = ["build", "-q", "-t", image_of(suite), "--build-arg", f"BASE={base.stdout.strip()}"]
    built = subprocess.run(
        ["docker", *words, str(ROOT / "tests/systemd")], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        return f"the image of a box with systemd could not be built: {built.stderr.strip()[-300:]}"
    return None


def make_wheels(checkout: Path, folder: Path) -> None:
    """The wheels that Mayfly needs, uv's, and those that pipx wants: what the box has for an index."""
    wanted = ("uv", "pip", "setuptools", "wheel", "-r", str(ROOT / "release/build.txt"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "-w", folder, checkout, *wanted],
        check=True,
        cwd=folder,
    )
    for own in folder.glob("mayfly_ci-*.whl"):
        own.unlink()


class Box:
    """The container; a context manager that leaves nothing behind."""

    def __init__(
        self,
        engine: PrivateEngine,
        checkout: Path,
        wheels: Path,
        *,
        image: str = IMAGE,
        hostname: str = "gpu-box",
        network: str = "bridge",
    ) -> None:
        self.engine = engine
        self._image, self._hostname, self._network = image, hostname, network
        self.home = Path(tempfile.mkdtemp(prefix="mayfly-box-", dir="/srv"))
        self.typed: list[tuple[str, str]] = []
        self.checkout = checkout
        self.wheels = wheels
        self._cid = ""
        self._root = Path()

    def __enter__(self) -> Self:
        mounts = [
            f"{self.home}:{self.home}",
            f"{self.engine.home}:/engine",
            f"{self.wheels}:/wheels:ro",
            f"{self.checkout}:{CHECKOUT}",
        ]
        if (client := shutil.which("docker")) is not None:
            mounts.append(f"{client}:/usr/bin/docker:ro")
        words = [word for mount in mounts for word in ("-v", mount)]
        words += [word for name, value in INDEX.items() for word in ("-e", f"{name}={value}")]
        words += ["--network", self._network, "--hostname", self._hostname]
        self._cid = _run(["docker", "run", "-d", *RIGHTS, *words, self._image])
        pid = _run(["docker", "inspect", "--format", "{{.State.Pid}}", self._cid])
        self._root = Path(f"/proc/{pid}/root")  # what is in the box, as seen from here
        until(
            lambda: self.sh("systemctl is-system-running").stdout.strip() == "running",
            "systemd runs",
        )
        self.must("ln -s /engine/docker.sock /run/docker.sock")
        # As systemd makes it on a host, not in a container: else what it mounts for a unit is seen by none.
        self.must("mount --make-rshared /")
        self.must(f"mkdir /etc/uv && printf '{UV_INDEX}' >/etc/uv/uv.toml")
        return self

    def __exit__(self, *_: object) -> None:
        if self._cid:
            _run(["docker", "rm", "-f", "-v", self._cid])
        for cid in self.engine.docker("ps", "-aq").split():
            self.engine.docker("rm", "-f", cid, check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    def sh(self, command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command line in the box; ``typed`` is what it then reads."""
        return subprocess.run(
            ["docker", "exec", "-i", "-w", CHECKOUT, self._cid, "sh", "-c", command],
            input=typed,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def share_state(self) -> None:
        """Have the state, and what its units may write, where the Engine, which is outside, sees it too."""
        self.must("mkdir -p /etc/mayfly/conf.d")
        state = f'[host]\nstate_dir = "{self.home}/state"\n'
        assert self.sh("cat >/etc/mayfly/conf.d/10-box.toml", state).returncode == 0
        for unit in ("mayfly", "mayfly-gateway"):
            drop_ins = f"/etc/systemd/system/{unit}.service.d"
            self.must(f"mkdir -p {drop_ins}")
            self.must(f"printf '[Service]\\nReadWritePaths={self.home}\\n' >{drop_ins}/box.conf")

    def on_a_terminal(self, command: str, *answers: tuple[str, str]) -> str:
        """Type a line on a terminal of the box, and each answer once its question is there; what appears."""
        words = ["docker", "exec", "-it", "-w", CHECKOUT, "-e", "TERM=dumb", self._cid]
        ours, theirs = os.openpty()
        done = subprocess.Popen(
            [*words, "sh", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        said, left = "", list(answers)
        with contextlib.suppress(OSError):  # the other side is closed
            while more := os.read(ours, 4096).decode(errors="replace"):
                said += more
                if left and left[0][0] in said:
                    os.write(ours, f"{left.pop(0)[1]}\n".encode())
        os.close(ours)
        assert (done.wait(60), left) == (0, []), f"{command}: {said}"
        return said

    def must(self, command: str) -> str:
        """Run a command line in the box; what it prints, AssertionError where it fails."""
        done = self.sh(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.journal()}"
        return done.stdout.strip()

    def show(self, command: str, code: int = 0, typed: str = "") -> str:
        """Type something as the how-to has it; kept with what appeared."""
        done = self.sh(f"{command} 2>&1", typed)
        assert done.returncode == code, (
            f"{command}: {done.returncode} {done.stdout}\n{self.journal()}"
        )
        self.typed.append((command, done.stdout.rstrip()))
        return done.stdout

    def json(self, path: str) -> Any:
        """What the manager answers to one GET, with no command in the box; one that starts is waited for."""

        def look() -> bytes | None:
            try:
                status, body = ask(self._root / "run/mayfly/control.sock", "GET", path)
            except (OSError, http.client.HTTPException):
                return None
            return body if status == 200 else None

        return json.loads(until(look, f"the manager answers to {path}"))

    def address(self) -> str:
        """Where it is on the network that this host's Engine gives its containers."""
        words = ["docker", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", self._cid]
        return _run(words)

    def journal(self) -> str:
        """The last lines of the manager's."""
        return self.sh("journalctl -u mayfly --no-pager -n 30").stdout

    def pid(self) -> int:
        """The manager's, as systemd knows it; 0 where none runs."""
        return int(self.must("systemctl show mayfly --property=MainPID --value") or 0)

    def runs(self, pid: int) -> bool:
        """Whether the box has a process of that number."""
        return (self._root / "proc" / str(pid)).exists()

    def slot(self, name: str) -> dict[str, Any]:
        """The slot's row."""
        rows: list[dict[str, Any]] = self.json("/v1/status")["slots"]
        return next(row for row in rows if row["slot"] == name)

    def job(self, job: str) -> dict[str, Any]:
        """The job's account."""
        row: dict[str, Any] = self.json(f"/v1/jobs/{job}")
        return row

    def ended(self, job: str) -> dict[str, Any]:
        """The job's account once it has ended."""

        def look() -> dict[str, Any] | None:
            row = self.job(job)
            return row if row["finished"] is not None else None

        return until(look, f"job {job} ends")

    def running(self, script: str) -> str:
        """Submit a job that runs already when this returns, until it is let go; its id."""
        self.json("/v1/status")
        job = self.must(f"mayfly submit -- sh -c '{WAITS}; {script}'")
        until(lambda: self.job(job)["started"] is not None, f"job {job} starts")
        return job

    def let_go(self, job: str) -> dict[str, Any]:
        """Have such a job do what is left of it; its account once it has ended."""
        row = self.job(job)
        assert row["state"] == "running", row
        command.let_go(self.engine.url, self.slot(row["slot"])["container"])
        return self.ended(job)


def plain(line: str) -> str:
    """A line without what differs from one time to the next: numbers, and how wide columns are.

    In the box root types, who is told no sudo; on the page somebody by sudo, who is.
    """
    return " ".join(re.sub(r"[0-9]+", "0", line.replace("sudo ", "")).split())


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
