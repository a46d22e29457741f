"""The page on backups, typed line by line: a box is lost, the next is made of its backup, and is moved on."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import TWO, Manager
from tests.pages import Console, consoles
from tests.relayed import Relayed

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

PAGE = "docs/how-to/backup.md"
BACKED_UP, BY_SSH, RESTORED, HANDED_OVER, TAKEN_OVER = range(5)  # its blocks
FILE = "lab1.backup"
WAITS = ("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done")


class Machine(Manager):
    """A box whose configuration does not say where its Engine is: another has the same one."""

    def configure(self, pools: str, host: str = "") -> None:
        super().configure(pools, host)
        told = self.config.read_text().splitlines(keepends=True)
        self.config.write_text("".join(line for line in told if "docker_host" not in line))

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "MAYFLY_HOST__DOCKER_HOST": self.docker_host}

    def loses_everything(self) -> None:
        """Its disk is gone."""
        shutil.rmtree(self.state)
        self.config.unlink()


class Desk:
    """Where the page's lines are typed."""

    def __init__(self, folder: Path, mayfly: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        (self.programs / "mayfly").symlink_to(mayfly)
        (self.programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (self.programs / "sudo").chmod(0o755)

    def types(self, line: str, manager: Manager) -> str:
        """One line on that box; what appears."""
        words = shlex.split(line)
        if words[:2] == ["sudo", "systemctl"]:
            if words[2] == "start":
                manager.start(wait="answer")
            else:
                assert manager.kill(signal.SIGTERM) == 0
            return ""
        environment = {**manager.environment(), "PATH": f"{self.programs}:/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stdout}"
        return done.stdout

    def follows(self, block: Console, manager: Manager) -> None:
        """All lines of a block; what the page shows appears."""
        for line, shown in block.typed:
            appears = self.types(line, manager)
            pattern = "\n".join(re.escape(one).replace("…", ".*") for one in shown)
            if shown:
                assert re.fullmatch(pattern, appears.rstrip("\n"), re.DOTALL), (line, appears)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "relay").mkdir()
    with Relayed(tmp_path / "relay") as mayfly:
        yield Desk(tmp_path, mayfly.path)


def test_each_line_of_the_page_leads_from_a_box_to_the_next(
    engine: PrivateEngine, desk: Desk
) -> None:
    blocks = [console for console in consoles() if console.page == PAGE]
    assert blocks[BY_SSH].mark is not None
    with PrivateEngine() as elsewhere, Machine(engine.url, TWO) as first:
        first.start()
        running = [first.submit(*WAITS) for _ in range(2)]
        for job in running:
            first.started(job)
        queued = [first.submit("echo", "queued") for _ in range(2)]
        desk.follows(blocks[BACKED_UP], first)
        first.kill()
        first.close()
        second = Machine(elsewhere.url, TWO)
        second.home, second.state, second.config = first.home, first.state, first.config
        second.socket, second.log = first.socket, first.log
        second.home.mkdir()
        with second:
            desk.follows(blocks[RESTORED], second)
            for job in queued:
                assert second.ended(job)["state"] == "succeeded"
            assert [second.job(job)["state"] for job in running] == ["lost", "lost"]

            assert second.cli("cordon", "--all").returncode == 0
            last = second.submit("echo", "moved")
            (desk.folder / FILE).unlink()
            desk.follows(blocks[HANDED_OVER], second)
            refused = second.cli("run")
            assert refused.returncode == 1
            assert "was handed over at" in refused.stderr
            second.loses_everything()
            desk.follows(blocks[TAKEN_OVER], second)
            assert second.ended(last)["state"] == "succeeded"
            assert second.output(last) == "moved\n"
