"""Two boxes with systemd and sshd, an Engine each, and Ansible at a desk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine, why_not
from tests.real.fleet.ansible import ROOT, Desk, program
from tests.source import be_archive_of, source
from tests.systemd.box import Box, make_image

IMAGE = "mayfly-test/fleet"
HERE = Path(__file__).parent
NEWER = "99.0.0"


@dataclass
class Fleet:
    """What a test has before it."""

    desk: Desk
    boxes: dict[str, Box]
    newer: Path  # the wheel of a later version
    place: Path  # a folder of this machine that is where a line is typed in each box

    @property
    def prometheus(self) -> Path:
        """Debian's program, which is fetched where it is not there."""
        found = subprocess.run(
            [ROOT / "scripts/prometheus"], capture_output=True, text=True, check=True
        )
        return Path(found.stdout.strip().splitlines()[-1]) / "prometheus"


def _wheel(checkout: Path, folder: Path, *more: str) -> Path:
    """Mayfly's wheel, in a folder of its own beside ``folder``, which has those of what it needs."""
    own = folder.with_name(f"{folder.name}-own")
    own.mkdir()
    words = [sys.executable, "-m", "pip", "wheel", "-q", "-w", str(folder), str(checkout), *more]
    subprocess.run(words, check=True, cwd=folder)
    (made,) = folder.glob("mayfly_ci-*.whl")
    return made.rename(own / made.name)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Boxes on which nothing of Mayfly is; the first test of the module installs it."""
    programs = program()
    if programs is None:
        pytest.skip("Ansible is not here: scripts/ansible fetches it")
    if (why := why_not() or make_image()) is not None:
        pytest.skip(why)
    built = ["docker", "build", "-q", "-t", IMAGE, str(HERE)]
    subprocess.run(built, check=True, capture_output=True)
    home = tmp_path_factory.mktemp("fleet")
    wheels, later = home / "wheels", home / "later"
    wheels.mkdir()
    later.mkdir()
    with ExitStack() as all_of_it:
        checkout = all_of_it.enter_context(source())
        wheel = _wheel(checkout, wheels)
        be_archive_of(checkout, NEWER)
        newer = _wheel(checkout, later, "--no-deps")
        desk = Desk(home, programs)
        shutil.copy(wheel, desk.home)
        desk.has(mayfly_wheels=str(wheels))
        boxes = {}
        for name in ("gpu1", "gpu2"):
            engine = all_of_it.enter_context(PrivateEngine())
            box = all_of_it.enter_context(Box(engine, checkout, wheels, image=IMAGE, hostname=name))
            box.share_state()
            if name == "gpu2":  # is to build its image, on a base that has all packages already
                engine.docker("tag", "mayfly/local:cpu", "debian:bookworm-slim")
                engine.docker("rmi", "mayfly/local:cpu")
            desk.knows(name, box)
            boxes[name] = box
        yield Fleet(desk, boxes, newer, checkout)
