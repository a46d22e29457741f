"""What `make release` refuses, before it makes anything; tests/real/release has it make something."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.pages import ROOT

VERSION = "9.8.7"
CHANGES = (
    f"# Changelog\n\n## [Unreleased]\n\n## [{VERSION}] - 2026-12-01\n\n### Added\n\n- Wings.\n"
)
FILES = ("scripts/release", "scripts/step.sh", "scripts/python.sh", ".gitignore")
NAMED = ("kubernetes/chart/Chart.yaml", "kubernetes/manager/kustomization.yaml")


class Checkout:
    """A small one, with what a release reads first, and a tag."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (*FILES, *NAMED):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for name in NAMED:
            self.write(name, re.sub(r"(appVersion|newTag): .*", rf"\1: {VERSION}", self.read(name)))
        self.write("CHANGELOG.md", CHANGES)
        self.git("init", "-q", "-b", "main")
        self.commit()
        self.git("tag", f"v{VERSION}")

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@lab.example")
        subprocess.run(["git", *who, *words], check=True, cwd=self.folder)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "-q", "--message", "A change")

    def tagged(self, tag: str = f"v{VERSION}") -> None:
        self.commit()
        self.git("tag", "--force", tag)

    def refused(self) -> str:
        """Why no release is made."""
        ran = subprocess.run(
            ["scripts/release"], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 1, ran
        assert not (self.folder / "dist").exists() or not list((self.folder / "dist").glob("*.whl"))
        (line,) = ran.stderr.splitlines()
        return line


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_tree_with_changes_is_refused(checkout: Checkout) -> None:
    checkout.write("notes.txt", "")
    assert "the tree has changes" in checkout.refused()
    assert "notes.txt" in checkout.refused()


def test_a_commit_without_a_tag_is_refused(checkout: Checkout) -> None:
    checkout.write("notes.txt", "")
    checkout.commit()
    assert "no tag is checked out" in checkout.refused()


@pytest.mark.parametrize("tag", ["v9.8", "v9.8.7rc1", "v09.8.7"])
def test_a_tag_that_is_no_version_is_refused(checkout: Checkout, tag: str) -> None:
    checkout.git("tag", "--delete", f"v{VERSION}")
    checkout.git("tag", tag)
    assert f"the tag {tag} is no version" in checkout.refused()


def test_two_tags_on_one_commit_are_refused(checkout: Checkout) -> None:
    checkout.git("tag", "v9.8.6")
    assert "several tags" in checkout.refused()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (CHANGES.replace(VERSION, "9.8.6"), "has nothing under ## [9.8.7]"),
        (CHANGES.replace("### Added\n\n- Wings.\n", ""), "has nothing under ## [9.8.7]"),
        (CHANGES.replace(" - 2026-12-01", ""), "of which day"),
    ],
)
def test_a_tag_that_the_changelog_lacks_is_refused(
    checkout: Checkout, changes: str, why: str
) -> None:
    checkout.write("CHANGELOG.md", changes)
    checkout.tagged()
    assert why in checkout.refused()


@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_names_another_version_is_refused(checkout: Checkout, name: str) -> None:
    checkout.write(name, checkout.read(name).replace(VERSION, "9.8.70"))
    checkout.tagged()
    assert f"{name} names another version" in checkout.refused()


def test_a_version_that_is_there_is_not_made_again(checkout: Checkout) -> None:
    (checkout.folder / f"dist/release-{VERSION}").mkdir(parents=True)
    assert "was made before" in checkout.refused()


def test_a_version_that_an_earlier_tag_has_is_refused(checkout: Checkout) -> None:
    checkout.git("tag", "v9.8.5")
    # Longer than a pipe holds.
    checkout.write("CHANGELOG.md", CHANGES + "\n## [9.0.0] - 2026-01-01\n" + "- More.\n" * 20_000)
    checkout.tagged("v9.8.4")
    checkout.write("notes.txt", "")
    checkout.tagged()
    assert "was released before: v9.8.4" in checkout.refused()


def test_a_tag_that_is_elsewhere_of_another_commit_is_refused(
    checkout: Checkout, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = tmp_path_factory.mktemp("there")
    checkout.git("clone", "-q", "--bare", ".", str(there))
    checkout.git("remote", "add", "origin", str(there))
    checkout.write("notes.txt", "")
    checkout.tagged()
    assert "origin has another commit as v9.8.7" in checkout.refused()


def test_what_a_release_brings_is_locked_and_is_what_mayfly_asks_for() -> None:
    lines = (ROOT / "release/locked.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    locked = {canonicalize_name(name): version for name, version in pairs}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in (
        *project["dependencies"],
        *(one for key in extras if key != "dev" for one in extras[key]),
    ):
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), line


@pytest.mark.parametrize("name", ["build.txt", "locked.txt", "tools.txt"])
def test_what_a_release_is_made_with_is_named_to_the_last_version(name: str) -> None:
    lines = (ROOT / "release" / name).read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line) for line in lines)
