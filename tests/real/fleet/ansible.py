"""Ansible at a desk: its programs, and a copy of `fleet/ansible` with the boxes of a test in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.systemd.box import Box

ROOT = Path(__file__).parents[3]
RECAP = re.compile(r"^(\S+)\s+: (ok=.*)$", re.MULTILINE)


def program() -> Path | None:
    """The folder of Ansible's programs; ``None`` where they were not fetched."""
    found = subprocess.run(
        [ROOT / "scripts/ansible", "--there"], capture_output=True, text=True, check=False
    )
    return Path(found.stdout.strip()) if found.returncode == 0 else None


@dataclass(frozen=True)
class Run:
    """What came of a playbook."""

    code: int
    said: str

    def of(self, box: str) -> dict[str, int]:
        """The counts that the recap has of a box; none where it was not reached."""
        rows = dict(RECAP.findall(self.said))
        pairs = (word.split("=") for word in rows.get(box, "").split())
        return {name: int(number) for name, number in pairs}


class Desk:
    """Where somebody types `ansible-playbook fleet.yml`."""

    def __init__(self, home: Path, programs: Path) -> None:
        self.home = home / "fleet"
        self.programs = programs
        shutil.copytree(ROOT / "fleet/ansible", self.home)
        self.key = home / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.known = home / "known_hosts"
        (self.home / "host_vars").mkdir(exist_ok=True)

    def knows(self, name: str, box: Box) -> None:
        """Put a box into the inventory, as one that ann may log in to."""
        box.must("mkdir -p -m 700 ~ann/.ssh")
        public = self.key.with_suffix(".pub").read_text()
        done = box.sh("cat >~ann/.ssh/authorized_keys && chown -R ann: ~ann/.ssh", public)
        assert done.returncode == 0, done.stderr
        host_key = box.must("cat /etc/ssh/ssh_host_ed25519_key.pub")
        address = box.address()
        with self.known.open("a") as file:
            file.write(f"{address} {host_key}\n")
        with (self.home / f"host_vars/{name}.yml").open("a") as file:
            file.write(f"ansible_host: {address}\nansible_user: ann\n")

    def has(self, **values: str) -> None:
        """Add to what is said of every box: YAML, by name."""
        with (self.home / "group_vars/mayfly/test.yml").open("a") as file:
            file.writelines(f"{name}: {value}\n" for name, value in values.items())

    def _environment(self) -> Mapping[str, str]:
        options = (
            f"-o UserKnownHostsFile={self.known} -o IdentitiesOnly=yes -o ControlMaster=auto "
            f"-o ControlPersist=20s"
        )
        return {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "ANSIBLE_PRIVATE_KEY_FILE": str(self.key),
            "ANSIBLE_SSH_ARGS": options,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(self.home.parent / "ansible"),
        }

    def _words(self, more: tuple[str, ...]) -> list[str]:
        return ["ansible-playbook", "fleet.yml", *more]

    def play(self, *more: str) -> Run:
        """``ansible-playbook fleet.yml MORE``."""
        with self.playing(*more) as process:
            said, _ = process.communicate(timeout=600)
        return Run(process.returncode, said)

    @contextmanager
    def playing(self, *more: str) -> Iterator[subprocess.Popen[str]]:
        """The same, while it is at work."""
        process = subprocess.Popen(
            self._words(more),
            cwd=self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def run(self, *words: str) -> Run:
        """Another program of Ansible's, or one that looks at the playbook."""
        done = subprocess.run(
            words,
            cwd=self.home,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr)
