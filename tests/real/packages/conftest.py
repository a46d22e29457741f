"""The Debian package, built as the page says, and a box with systemd and no network on which it is tried."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine, why_not
from tests.pages import consoles
from tests.source import ROOT, be_archive_of, source
from tests.systemd.box import Box, image_of, make_image, plain

PAGE = "docs/how-to/debian.md"
NEWER = "99.0.0"
SUITES = os.environ.get("DEBIANS", "bookworm").split(",")
# What is packed tightly is packed for minutes, and no other for it.
QUICK = {**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "none"}


@dataclass(frozen=True, slots=True)
class Packages:
    """Two of them; ``again`` is the first once more, from another copy of the source."""

    first: Path
    again: Path
    newer: Path


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Built as the page's first block has it; what that prints is what the page shows."""
    if not (ROOT / "build/deb-wheels").is_dir():
        pytest.skip("what the package carries is not here: scripts/deb --fetch")
    kept = tmp_path_factory.mktemp("packages")
    found = []
    [(built, shown)] = typed_of(0)
    for name, version in (("first", ""), ("again", ""), ("newer", NEWER)):
        with source() as checkout:
            if version:
                be_archive_of(checkout, version)
            environment = {
                **QUICK,
                "MAYFLY_WHEELS": str(ROOT / "build/deb-wheels"),
                "SOURCE_DATE_EPOCH": "1800000000",
            }
            done = subprocess.run(
                built.split(),
                capture_output=True,
                text=True,
                check=False,
                cwd=checkout,
                env=environment,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert version or {plain(line) for line in shown} <= {
                plain(line) for line in done.stdout.splitlines()
            }
            (package,) = (checkout / "dist").glob("mayfly_*.deb")
            (kept / name).mkdir()
            found.append(Path(shutil.copy(package, kept / name)))
    return Packages(*found)


def typed_of(number: int) -> list[tuple[str, list[str]]]:
    """The lines of the page's block of that number, without sudo, each with what it shows."""
    [console] = [one for one in consoles() if (one.page, one.number) == (PAGE, number)]
    return [
        (command.replace("sudo ", ""), [line for line in shown if line != "…"])
        for command, shown in console.typed
    ]


class DebianBox(Box):
    """A box that has nothing of Mayfly's, and a folder where packages are put; an administrator has begun a
    configuration in it.
    """

    def put(self, package: Path) -> None:
        """Have this package in the folder where lines are typed, and no other."""
        for old in self.checkout.glob("*.deb"):
            old.unlink()
        shutil.copy(package, self.checkout)

    def type(self, number: int, typed: str = "") -> str:
        """Type the page's block, and hold it to what appears; all that did."""
        appeared = ""
        for command, shown in typed_of(number):
            said = self.show(command, typed=typed)
            missed = {plain(line) for line in shown} - {plain(line) for line in said.splitlines()}
            assert not missed, f"{command}: {missed} of {said}"
            appeared += said
        return appeared

    def named(self) -> list[str]:
        """Every file and folder of the box that has Mayfly's name, but for what the package manager and the
        journal keep.
        """
        kept = [f"/var/{name}" for name in ("lib/dpkg", "lib/apt", "cache", "log")]
        others = ["/proc", "/sys", "/run/systemd", "/home/alice", "/wheels", str(self.home)]
        pruned = " -o ".join(f"-path {place}" for place in (*kept, *others))
        return self.must(
            f"find / \\( {pruned} \\) -prune -o -iname '*mayfly*' -print | sort"
        ).splitlines()


@pytest.fixture(scope="module", params=SUITES)
def box(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DebianBox]:
    """One on which the Engine's state directory is where that Engine, which is outside, sees it too."""
    if (why := why_not() or make_image(request.param)) is not None:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("typed")
    with (
        PrivateEngine() as engine,
        DebianBox(engine, folder, folder, image=image_of(request.param), network="none") as made,
    ):
        made.must(
            "rm -f /usr/sbin/policy-rc.d"
        )  # a container's, by which no package starts anything
        made.share_state()
        yield made
