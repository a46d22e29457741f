"""What is installed carries its images, launchers and unit, from a wheel as from a checkout."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

import mayfly
from tests.source import RELEASED, source
from tests.terminal import environment

ROOT = Path(__file__).parents[1]
CARRIED = (
    "agents/gate",
    "agents/launch.sh",
    "agents/local",
    "dockerfiles/Dockerfile",
    "dockerfiles/uv.txt",
)


@pytest.mark.parametrize("name", CARRIED)
def test_the_installed_package_reads_its_data(name: str) -> None:
    assert (files("mayfly") / "data" / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """The folder with the sdist of a release and the wheel that is made from it."""
    with source() as copy:
        for name in (
            "manager/mayfly/core/__pycache__",
            "build/lib",
        ):  # what an earlier build may leave
            (copy / name).mkdir(parents=True)
            (copy / name / "left.pyc").touch()
        subprocess.run([copy / "scripts/wheel"], check=True, cwd=copy)
        yield copy / "dist"


def _of_the_package() -> set[str]:
    """What of the checkout the package is: its modules, its page, and what is carried in data/."""
    package = ROOT / "manager/mayfly"
    modules = {
        path for path in package.rglob("*.py") if "data" not in path.relative_to(package).parts
    }
    page = {path for path in (package / "service/page").iterdir() if path.is_file()}
    names = {str(path.relative_to(package.parent)) for path in modules | page}
    for folder in ("agents", "dockerfiles", "systemd"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file():
                names.add(f"mayfly/data/{path.relative_to(ROOT)}")
    pages = {f"mayfly/data/{page}.md" for page in ("where", "glossary", "troubleshooting")}
    return names | pages | {"mayfly/py.typed", "mayfly/version.txt"}


def test_the_wheel_of_an_sdist_has_the_package_its_data_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"mayfly_ci-{RELEASED}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        members = {info.filename: info for info in archive.infolist()}
        of_pip = {name for name in members if name.startswith(f"mayfly_ci-{RELEASED}.dist-info/")}
        assert members.keys() - of_pip == _of_the_package()
        for folder in ("agents", "dockerfiles", "systemd"):
            for path in (ROOT / folder).rglob("*"):
                if path.is_file():
                    name = f"mayfly/data/{path.relative_to(ROOT)}"
                    assert archive.read(name) == path.read_bytes()
                    mode = members[name].external_attr >> 16 & 0o111
                    assert bool(mode) == os.access(path, os.X_OK), name
        assert archive.read("mayfly/version.txt").decode() == RELEASED
        _names_no_place(archive.read(name) for name in members)


def test_an_sdist_has_what_the_wheel_is_made_of_and_nothing_else(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    assert sdist.name == f"mayfly_ci-{RELEASED}.tar.gz"
    top, beside = f"mayfly_ci-{RELEASED}/", {"PKG-INFO", "setup.cfg"}
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
        assert all(member.isfile() for member in members), "no link leads out of it"
        names = {member.name.removeprefix(top) for member in members}
        of_pip = {name for name in names if name.startswith("manager/mayfly_ci.egg-info/")}
        package = {f"manager/{name}" for name in _of_the_package()}
        assert names - of_pip - beside == package | {"pyproject.toml", "README.md", "LICENSE"}
        _names_no_place(archive.extractfile(member).read() for member in members)  # type: ignore[union-attr]


def _names_no_place(contents: Iterable[bytes]) -> None:
    """No folder of the machine that built it, nor of the one it was copied to."""
    places = [str(ROOT).encode() + b"/", b"/mayfly-source-", b"/mayfly-wheel-"]
    assert not [place for content in contents for place in places if place in content]


def test_what_is_installed_of_the_wheel_says_its_version_and_lists_its_images(
    built: Path, tmp_path: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", tmp_path, wheel], check=True)

    def typed(*words: str) -> str:
        env = environment(PYTHONPATH=str(tmp_path))
        ran = [sys.executable, str(tmp_path / "bin/mayfly"), *words]
        done = subprocess.run(ran, check=True, capture_output=True, text=True, env=env)
        return done.stdout

    assert typed("--version") == f"mayfly {RELEASED}\n"
    assert typed("images", "list").startswith("CUDA ")
    assert typed("help", "--man", "submit").startswith(".TH")
    assert "complete" in typed("completion", "bash")


def test_one_library_says_the_version_wherever_something_is_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    dev = project["project"]["optional-dependencies"]["dev"]
    (pinned,) = [line for line in dev if line.startswith("setuptools-scm==")]
    assert pinned in (ROOT / "release/build.txt").read_text().splitlines()
    assert project["tool"]["setuptools_scm"]["fallback_version"] == mayfly.UNBUILT


def test_the_command_is_called_mayfly_and_the_distribution_mayfly_ci() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "mayfly-ci"
    assert project["scripts"] == {"mayfly": "mayfly.cli.app:main"}
