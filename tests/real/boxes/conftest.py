"""Two boxes: a manager each on an Engine of its own, an sshd each between them and a person's desk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import copies
from tests.engine.private_engine import PrivateEngine
from tests.harness import PATIENCE, TWO, Manager
from tests.real.boxes.ssh_server import Person, Sshd, program
from tests.relayed import Relayed
from tests.terminal import Terminal, environment


@dataclass
class Box:
    """One box as a person sees it."""

    name: str
    manager: Manager
    server: Sshd


class Desk:
    """A person's desk, from which the boxes are asked."""

    def __init__(self, person: Person) -> None:
        self.person = person

    def environment(self, **more: str) -> dict[str, str]:
        """Of their commands: the only ssh is theirs."""
        found = environment(**more)
        return {**found, "PATH": f"{self.person.programs}:{found['PATH']}"}

    def mayfly(self, *words: str, stdin: str = "", **more: str) -> tuple[int, str, str]:
        """``mayfly WORDS``: exit code, standard output, standard error."""
        done = copies.run(
            (*copies.MAYFLY, *words), self.environment(**more), stdin.encode(), timeout=PATIENCE
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def ssh(self, *words: str) -> str:
        """What a command of ssh's own prints, which may say nothing to it."""
        done = subprocess.run(
            ["ssh", *words],
            env=self.environment(),
            input=b"",
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.stdout.decode()

    def terminal(self, *words: str) -> Terminal:
        """The same where a person looks and types."""
        return Terminal([*copies.MAYFLY, *words], PATH=self.environment()["PATH"])


@pytest.fixture(scope="module")
def boxes(
    engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Box]]:
    """Boxes a and b, each with two idle slots; whoever stops one starts it again."""
    place = program()
    if place is None:
        pytest.skip("OpenSSH's server is not here: scripts/openssh fetches it")
    home = tmp_path_factory.mktemp("boxes")
    with ExitStack() as all_of_it:
        other = all_of_it.enter_context(PrivateEngine())
        (home / "bin").mkdir()
        mayfly = all_of_it.enter_context(Relayed(home / "bin"))
        found = {}
        for name, url in (("a", engine.url), ("b", other.url)):
            manager = all_of_it.enter_context(Manager(url, TWO))
            manager.start(wait="answer")
            there = {
                "PATH": f"{mayfly.path.parent}:/usr/bin:/bin",
                "MAYFLY_CONFIG": str(manager.config),
            }
            server = all_of_it.enter_context(Sshd(home / name, place, there))
            found[name] = Box(name, manager, server)
        for box in found.values():
            box.manager.rested()
        yield found


@pytest.fixture(scope="module")
def desk(boxes: dict[str, Box], tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Somebody's who may log in to both."""
    person = Person(tmp_path_factory.mktemp("desk") / "home")
    for name, box in boxes.items():
        person.knows(name, box.server)
    return Desk(person)


@pytest.fixture(autouse=True)
def _leave_no_master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command makes for ssh's masters is gone when it ends."""
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    yield
    assert list((tmp_path / "t").glob("mayfly-*")) == []
