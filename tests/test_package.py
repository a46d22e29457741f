"""What is installed carries its images, launchers and unit, from a wheel as from a checkout."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

from tests.source import source

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


def test_a_wheel_carries_every_file_of_its_data_and_the_gate_is_executable(tmp_path: Path) -> None:
    with source() as copy:
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, copy],
            check=True,
            cwd=tmp_path,
        )
    (wheel,) = tmp_path.glob("mayfly_ci-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        members = {info.filename: info for info in archive.infolist()}
        for folder in ("agents", "dockerfiles", "systemd"):
            for path in (ROOT / folder).rglob("*"):
                if path.is_file():
                    name = f"mayfly/data/{path.relative_to(ROOT)}"
                    assert archive.read(name) == path.read_bytes()
        for path in (ROOT / "manager/mayfly/service/page").iterdir():
            if path.is_file():
                name = f"mayfly/service/page/{path.name}"
                assert archive.read(name) == path.read_bytes()
    assert members["mayfly/data/agents/gate"].external_attr >> 16 & 0o111
    assert not [name for name in members if name.startswith(("tests/", "docs/", "build/"))]


def test_the_command_is_called_mayfly_and_the_distribution_mayfly_ci() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "mayfly-ci"
    assert project["scripts"] == {"mayfly": "mayfly.cli.app:main"}
