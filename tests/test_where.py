"""No page and no message names a place where Mayfly cannot be got: docs/where.md alone says where it can."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.cli.where import Obtainable, obtainable
from tests.pages import ROOT, consoles

FOUND = {one.what: one for one in obtainable()}
PUBLISHED = [one.published for one in FOUND.values() if one.published]
FOLDERS = ("docs", "fleet", "kubernetes", "manager/mayfly", "packages", "systemd", "scripts")
SUFFIXES = {".md", ".yml", ".yaml", ".toml", ".py", ".service", ".sh", ".js", ".html", ""}

# Each finds what would be fetched from elsewhere: the group is the address, or the name in an index.
INSTALLER = r"(?:pip3?|pipx|uv tool|uv pip|uv|uvx|conda|brew|apt|apt-get|dnf|snap)"
OPTIONS = r"(?:\s+(?:-{1,2}[\w-]+(?:=\S+)?|[A-Z_]+=\S+))*"
NAMES = {
    "package": re.compile(
        rf"{INSTALLER} (?:install|download|add|run){OPTIONS}\s+['\"]?(mayfly[\w-]*)(?![\w/.-]*[/_.*])"
    ),
    "uvx": re.compile(r"\b(?:uvx|pipx run) (mayfly[\w-]*)"),
    "clone": re.compile(r"\bgit clone\s+(?:-\S+\s+)*(\S*mayfly\S*)"),
    "git+": re.compile(r"(git\+\w+://\S*mayfly\S*)"),
    "page": re.compile(
        r"(https?://(?:github|gitlab|codeberg|bitbucket|pypi)\.(?:com|org)/\S*mayfly\S*)"
    ),
    "image": re.compile(r"((?:ghcr\.io|quay\.io|docker\.io)/\S*mayfly\S*)"),
    "chart": re.compile(r"(oci://\S*mayfly\S*)"),
}


def places(text: str) -> Iterator[str]:
    for pattern in NAMES.values():
        yield from pattern.findall(text)


def pages() -> list[Path]:
    """What people read, and where messages are made."""
    beside = [
        ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    ]
    below = [
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in SUFFIXES and "__pycache__" not in path.parts
    ]
    return beside + sorted(below)


def test_no_page_and_no_message_sends_anybody_where_mayfly_is_not() -> None:
    told = {
        f"{path.relative_to(ROOT)}: {place}"
        for path in pages()
        for place in places(path.read_text(errors="replace"))
        if place not in PUBLISHED
    }
    assert not told, "docs/where.md says that it is not there"


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("pip install mayfly-ci", "mayfly-ci"),
        ("sudo /opt/mayfly/bin/pip install -q 'mayfly-ci[kubernetes]'", "mayfly-ci"),
        ("uv tool install mayfly", "mayfly"),
        ("pipx install --force mayfly-ci", "mayfly-ci"),
        ("uvx mayfly-ci status", "mayfly-ci"),
        ("sudo apt install mayfly", "mayfly"),
        (
            "git clone --depth 1 https://github.com/mayfly/mayfly.git",
            "https://github.com/mayfly/mayfly.git",
        ),
        ("pip install git+https://example.org/mayfly", "git+https://example.org/mayfly"),
        ("docker pull ghcr.io/mayfly/manager:1", "ghcr.io/mayfly/manager:1"),
        ("helm install m oci://registry.example/mayfly", "oci://registry.example/mayfly"),
        ("https://codeberg.org/lab/mayfly", "https://codeberg.org/lab/mayfly"),
    ],
)
def test_such_a_line_is_found(line: str, place: str) -> None:
    assert place in set(places(line))


@pytest.mark.parametrize(
    "line",
    [
        "uv tool install ./dist/mayfly_ci-*.whl",
        "pip install dist/mayfly_ci-0.1.0-py3-none-any.whl",
        "uv tool install './mayfly[pipeline]'",
        "sudo apt install ./dist/mayfly_0.1.0_all.deb",
        "docker push registry.lab:5000/ci/mayfly/manager:0.1.0",
        "uv tool uninstall mayfly-ci",
        "git clone box:/srv/repository.git",
    ],
)
def test_what_is_of_a_folder_or_a_registry_of_ones_own_is_not(line: str) -> None:
    assert not set(places(line))


@pytest.mark.parametrize("one", obtainable(), ids=lambda one: one.what)
def test_what_makes_it_is_there(one: Obtainable) -> None:
    if one.made.startswith("make "):
        target = one.made.removeprefix("make ")
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif "/" in one.made:
        assert (ROOT / one.made.split()[0]).is_dir()


def test_the_wheel_is_installed_as_the_page_of_installing_types_it() -> None:
    typed = [
        command
        for console in consoles()
        if console.page == "docs/how-to/install.md"
        for command, _ in console.typed
    ]
    line = FOUND["wheel"].installed
    assert line == "uv tool install ./dist/mayfly_ci-*.whl"
    assert any(command.endswith(line) for command in typed)


def test_readme_sends_people_to_the_page_and_repeats_nothing_of_it() -> None:
    text = (ROOT / "README.md").read_text()
    assert "(docs/where.md)" in text
    assert not [one.installed for one in FOUND.values() if f"`{one.installed}`" in text]
