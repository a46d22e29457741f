"""An Engine that mounts directories of volumes (26 and newer), and an agent on it whose door is served."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mayfly.core.admission.grant import VolumePlace
from mayfly.core.model import LABEL_GENERATION, LABEL_HOST
from tests.engine.gateway.agent import GENERATION, HOST, SEAL, agent_place, given, granted
from tests.engine.gateway.served import Gateway, door_of
from tests.engine.private_engine import PrivateEngine, sweep_up, version, why_not

if TYPE_CHECKING:
    from mayfly.core.admission.grant import Grant

IMAGE = "mayfly/local:cpu"
NEW_ENOUGH = (26, 0, 0)
ENGINES = Path(__file__).parents[3] / "scripts/engine-at"
WORK = "/home/job/work"
WORK_VOLUME = f"mayfly-work-{GENERATION}"


def programs() -> str | None:
    """The folders of an Engine that is new enough: this host's own (empty), or one that was fetched before;
    ``None``: there is none."""
    if version() >= NEW_ENOUGH:
        return os.environ.get("MAYFLY_TEST_ENGINE", "")
    home = os.environ.get("MAYFLY_ENGINES") or Path.home() / ".cache/mayfly/engines"
    ready = sorted(place.parent / "bin" for place in Path(home).glob("*/ready"))
    new = [place for place in ready if int(place.parent.name.partition(".")[0]) >= NEW_ENOUGH[0]]
    return str(new[-1]) if new else None


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    """One of the module's own."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    found = programs()
    if found is None:
        pytest.skip("directories of volumes want an Engine of 26 or newer: scripts/engine-at 28")
    sweep_up()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAYFLY_TEST_ENGINE", found)
        with PrivateEngine(images=(IMAGE,)) as made:
            yield made


class Served:
    """An agent: its container, its door, and Docker's own command at it."""

    def __init__(self, engine: PrivateEngine, gateway: Gateway, grant: Grant) -> None:
        self.engine = engine
        self.gateway = gateway
        self.place = agent_place(gateway.state)
        self.grant = grant
        given(self.place, grant)
        gateway.control("POST", "/v1/look")
        self.door = door_of(self.place)
        self.url = f"unix://{self.door}"

    def run(
        self, *words: str, typed: str | bytes = b"", seconds: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """What Docker's command comes to, asked by the agent."""
        data = typed.encode() if isinstance(typed, str) else typed
        return subprocess.run(
            ["docker", "-H", self.url, *words],
            input=data,
            capture_output=True,
            check=False,
            timeout=seconds,
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
        )

    def docker(self, *words: str, typed: str | bytes = b"") -> str:
        """What it prints; AssertionError where it fails."""
        done = self.run(*words, typed=typed)
        assert done.returncode == 0, (words, done.stdout, done.stderr, self.gateway.said())
        return done.stdout.decode().strip()

    def begun(self, *words: str) -> subprocess.Popen[bytes]:
        """The same, begun."""
        return subprocess.Popen(
            ["docker", "-H", self.url, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def inside(self, script: str, *words: str) -> str:
        """What a program of Python's prints in the agent."""
        return self.engine.docker("exec", self.grant.container, "python3", "-c", script, *words)

    def belongings(self) -> list[str]:
        """What is at the Engine that bears the agent's label, of every kind."""
        label = f"label=io.mayfly.belongs={GENERATION}"
        found = self.engine.docker("ps", "-aq", "--filter", label).split()
        for kind in ("network", "volume"):
            found += self.engine.docker(kind, "ls", "-q", "--filter", label).split()
        return found


@pytest.fixture(scope="module")
def home(engine: PrivateEngine) -> Iterator[Path]:
    """A state directory; the path of Docker's own socket has to be short."""
    made = Path(tempfile.mkdtemp(prefix="mfg-", dir="/var/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def served(engine: PrivateEngine, home: Path) -> Iterator[Served]:
    """The agent of the module."""
    labels = {"io.mayfly.belongs.host": HOST, "io.mayfly.belongs.seal": SEAL}
    said = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    engine.docker("volume", "create", *said, WORK_VOLUME)
    container = engine.docker(
        *("run", "-d", "--name", "lab-0", "--entrypoint", "/usr/bin/sleep"),
        *("--label", f"{LABEL_HOST}={HOST}", "--label", f"{LABEL_GENERATION}={GENERATION}"),
        *("-v", f"{WORK_VOLUME}:{WORK}", IMAGE, "infinity"),
    )
    mount = engine.docker("volume", "inspect", "-f", "{{.Mountpoint}}", WORK_VOLUME)
    os.chown(mount, 41017, 41017)
    grant = granted(
        container=container,
        work=VolumePlace(WORK, WORK_VOLUME),
        door=str(home / "gateway/agents" / GENERATION / "door/docker.sock"),
        capabilities=("CHOWN", "SETUID", "SETGID", "KILL", "DAC_OVERRIDE", "FOWNER"),
    )
    with Gateway(home, engine.url.removeprefix("unix://"), engine.entering()) as gateway:
        yield Served(engine, gateway, grant)
