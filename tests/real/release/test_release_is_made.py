"""A release, made of a throwaway clone with a throwaway tag: what it holds, and that uv installs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.pages import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
VERSION = "9.8.7"
WHO = ("-c", "user.name=Ann", "-c", "user.email=ann@lab.example")


def edited(path: Path, pattern: str, by: str) -> None:
    text = path.read_text()
    assert re.search(pattern, text, re.MULTILINE), path
    path.write_text(re.sub(pattern, by, text, count=1, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed here, as the release's own checklist makes a release of it."""
    folder = tmp_path_factory.mktemp("release") / "mayfly"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    subprocess.run(["git", "remote", "remove", "origin"], check=True, cwd=folder)
    heading = "## [Unreleased]"
    edited(
        folder / "CHANGELOG.md",
        re.escape(heading) + "\n",
        f"{heading}\n\n## [{VERSION}] - 2026-12-01\n\n### Added\n\n- Wings.\n\n## [9.8.6] - 2026-11-01\n",
    )
    edited(folder / "kubernetes/chart/Chart.yaml", r"^appVersion: .*$", f"appVersion: {VERSION}")
    edited(folder / "kubernetes/manager/kustomization.yaml", r"newTag: .*$", f"newTag: {VERSION}")
    for words in (("commit", "-qam", f"Mayfly {VERSION}"), ("tag", "-am", "Wings", f"v{VERSION}")):
        subprocess.run(["git", *WHO, *words], check=True, cwd=folder)
    # No Engine: the image of the manager has its own tests, and takes minutes.
    env = {**os.environ, "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    subprocess.run(["make", "release"], check=True, cwd=folder, env=env)
    return folder


@pytest.fixture(scope="module")
def made(clone: Path) -> Path:
    """What was made."""
    return clone / f"dist/release-{VERSION}"


def test_it_has_each_file_with_its_sum(made: Path) -> None:
    lines = [line.split("  ") for line in (made / "SHA256SUMS").read_text().splitlines()]
    sums = {name: told for told, name in lines}
    files = {path.name for path in made.iterdir()} - {"SHA256SUMS"}
    assert sums.keys() == files
    assert files >= {
        f"mayfly_ci-{VERSION}-py3-none-any.whl",
        f"mayfly_ci-{VERSION}.tar.gz",
        f"mayfly-{VERSION}.cdx.json",
        "NOTES.md",
    }
    for name, told in sums.items():
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == told


def test_its_notes_are_the_changelog_s(made: Path) -> None:
    assert (made / "NOTES.md").read_text() == "### Added\n\n- Wings.\n"


def test_its_list_has_exactly_what_is_locked(made: Path) -> None:
    text = (made / f"mayfly-{VERSION}.cdx.json").read_text()
    document = json.loads(text)
    assert document["bomFormat"] == "CycloneDX"
    root = document["metadata"]["component"]
    assert (root["name"], root["version"]) == ("mayfly-ci", VERSION)
    listed = {
        (canonicalize_name(one["name"]), one["version"])
        for one in document["components"]
        if one["name"] != "mayfly-ci"
    }
    lines = (ROOT / "release/locked.txt").read_text().splitlines()
    locked = {tuple(line.split("==")) for line in lines if not line.startswith("#")}
    assert listed == {(canonicalize_name(name), version) for name, version in locked}
    assert "file://" not in text
    assert str(made.parents[1]) not in text


def test_it_is_not_made_twice(clone: Path) -> None:
    ran = subprocess.run(
        ["make", "release"], cwd=clone, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert "was made before" in ran.stderr


def test_a_real_uv_installs_its_wheel_without_an_index(made: Path, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
    subprocess.run([*pip, "install", "--target", tmp_path / "own", "uv"], check=True)
    wheels = tmp_path / "wheels"
    locked = ROOT / "release/locked.txt"
    subprocess.run([*pip, "download", "--no-deps", "-d", wheels, "-r", locked], check=True)
    fresh = tmp_path / "fresh/dist"
    fresh.mkdir(parents=True)
    (wheel,) = made.glob("*.whl")
    (fresh / wheel.name).write_bytes(wheel.read_bytes())
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(wheels),
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
    }
    uv = tmp_path / "own/bin/uv"
    line = f"{uv} tool install ./dist/mayfly_ci-*.whl"  # as docs/where.md has it
    subprocess.run(["sh", "-c", line], check=True, cwd=fresh.parent, env=env)

    def typed(*words: str) -> str:
        ran = [str(tmp_path / ".local/bin/mayfly"), *words]
        return subprocess.run(ran, check=True, capture_output=True, text=True, env=env).stdout

    assert typed("--version") == f"mayfly {VERSION}\n"
    assert typed("images", "list").startswith("CUDA ")
