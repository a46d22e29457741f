"""A real sshd for each box, and a person's ssh that knows them: the distribution's, with keys of the tests'.

Each listens on a port of its own on the loopback, logs in whoever runs the tests by one key, and runs there
what the box has. Root's sshd wants a user and a directory of the package's, which is not installed: it gets
them in a mount namespace of its own, where nothing of this machine changes.
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.harness import until

ROOT = Path(__file__).parents[3]
CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {home}/host
AuthorizedKeysFile {home}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
SetEnv {environment}
"""
# Whoever may not have a user of its own for that has no root to give away either.
AS_ROOT = """
mount --bind "$1" /etc/passwd && mount -t tmpfs tmpfs /run && mkdir /run/sshd && shift && exec "$@"
"""
SEPARATED = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"


def program() -> Path | None:
    """The folder with the server; ``None`` where it was not fetched."""
    found = subprocess.run(
        [ROOT / "scripts/openssh", "--there"], capture_output=True, text=True, check=False
    )
    return Path(found.stdout.strip()) if found.returncode == 0 else None


@dataclass
class Sshd:
    """The server of one box; a context manager."""

    home: Path
    place: Path
    environment: Mapping[str, str]  # of whoever logs in
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self.home.mkdir()
        _key(self.home / "host")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        told = " ".join(f'"{name}={value}"' for name, value in self.environment.items())
        (self.home / "config").write_text(
            CONFIG.format(home=self.home, port=self.port, environment=told)
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        words = [str(self.place / "usr/sbin/sshd"), "-D", "-e", "-f", str(self.home / "config")]
        if os.geteuid() == 0:
            (self.home / "passwd").write_text(Path("/etc/passwd").read_text() + SEPARATED)
            # (Whoever is logged in goes with it.)
            apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", AS_ROOT)
            words = [*apart, "sh", str(self.home / "passwd"), *words]
        libraries = [str(one) for one in self.place.glob("usr/lib/*-linux-gnu")]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words],
                env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._listens, "sshd listens", 60)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.home / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """The box is gone: nobody listens, and whoever is logged in is cut off."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
        self.process = None


class Person:
    """Somebody at a desk: a key, a configuration of ssh, and a program `ssh` that reads it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.programs = home / "bin"
        self.programs.mkdir(parents=True)
        self._config = home / "config"
        self._config.write_text("")
        _key(home / "key")
        ssh = self.programs / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {self._config} "$@"\n')
        ssh.chmod(0o755)

    def knows(self, name: str, box: Sshd) -> None:
        """A box by that name, whose host key this person has seen."""
        (box.home / "authorized_keys").write_text((self.home / "key.pub").read_text())
        with (self.home / "known_hosts").open("a") as known:
            known.write(f"[127.0.0.1]:{box.port} {(box.home / 'host.pub').read_text()}")
        with self._config.open("a") as config:
            config.write(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {box.port}\n  User {getpass.getuser()}\n"
                f"  IdentityFile {self.home}/key\n  IdentitiesOnly yes\n"
                f"  UserKnownHostsFile {self.home}/known_hosts\n  StrictHostKeyChecking yes\n"
            )


def _key(file: Path) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(file)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
