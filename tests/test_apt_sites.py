"""The set-up scripts take packages from where this machine's apt does, and choose no place themselves."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.terminal import ROOT

RELEASE = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
FAMILY, SUITE = RELEASE.get("ID", ""), RELEASE.get("VERSION_CODENAME", "")
OTHER = {"debian": "ubuntu"}.get(FAMILY, "debian")
ASK = '. scripts/step.sh; . scripts/apt.sh; apt_site "$@"'

pytestmark = pytest.mark.skipif(
    shutil.which("apt-get") is None or FAMILY not in {"debian", "ubuntu"},
    reason="this machine has no apt",
)


def site(home: Path, sources: str, family: str, suite: str, **environ: str) -> tuple[int, str]:
    """How the question ends and what it says where apt is set up with these sources."""
    (home / "sources.list").write_text(sources)
    (home / "lists/partial").mkdir(parents=True, exist_ok=True)
    (home / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{home}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::lists "{home}/lists";\n'
    )
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; {ASK}", "-", family, suite],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "APT_CONFIG": str(home / "apt.conf"), **environ},
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def test_a_suite_that_apt_is_set_up_with_comes_from_there(tmp_path: Path) -> None:
    sources = (
        f"deb http://updates.example {SUITE}-updates main\n"
        f"deb http://security.example {SUITE}-security main\n"
        f"deb http://somebody.example {SUITE} tools\n"
        f"deb http://the.example/archive {SUITE} main\n"
        f"deb http://second.example {SUITE} main\n"
    )
    assert site(tmp_path, sources, FAMILY, SUITE) == (0, "http://the.example/archive")


def test_another_suite_of_the_same_distribution_lies_where_this_one_does(tmp_path: Path) -> None:
    sources = f"deb http://the.example/archive/ {SUITE} main\n"
    assert site(tmp_path, sources, FAMILY, "newer") == (0, "http://the.example/archive")


def test_a_list_of_addresses_gives_its_first(tmp_path: Path) -> None:
    listed = tmp_path / "addresses"
    listed.write_text("# ours\nhttp://first.example/archive\nhttp://second.example/archive\n")
    sources = f"deb mirror+file:{listed} {SUITE} main\n"
    assert site(tmp_path, sources, FAMILY, SUITE) == (0, "http://first.example/archive")


@pytest.mark.parametrize(("family", "suite"), [(OTHER, "newer"), (FAMILY, SUITE)])
def test_where_apt_knows_no_place_one_sentence_asks_for_it(
    tmp_path: Path, family: str, suite: str
) -> None:
    sources = f"deb http://the.example/archive {SUITE}-backports main\n"
    code, said = site(tmp_path, sources, family, suite)
    assert code == 1
    assert said == (
        f"mayfly set-up: apt here is set up with no place that has {suite} of {family}: name one, as in "
        f"MAYFLY_APT_SITE=http://HOST/{family}."
    )


def test_the_operators_word_goes_before_all(tmp_path: Path) -> None:
    sources = f"deb http://the.example/archive {SUITE} main\n"
    own = {"MAYFLY_APT_SITE": "http://own.example/archive/"}
    for family, suite in ((FAMILY, SUITE), (OTHER, "newer")):
        assert site(tmp_path, sources, family, suite, **own) == (0, "http://own.example/archive")
