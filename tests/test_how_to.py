"""The pages: screens of the quick start fit a terminal of 80 columns, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_quick_start_s_screens_do_not_wrap() -> None:
    text = (ROOT / "docs/how-to/quick-start.md").read_text()
    screens = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    assert len(screens) >= 8
    for screen in screens:
        assert max(map(len, screen.splitlines())) <= 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_index() -> None:
    docs = ROOT / "docs"
    linked = {
        (index.parent / target).resolve()
        for index in (docs / "README.md", docs / "adr/README.md")
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", index.read_text())
        if "://" not in target
    }
    missing = {page for page in docs.rglob("*.md") if page.resolve() not in linked}
    assert missing == {docs / "README.md"}


NAMED = r"`{1,2}((?:agents|cli|core|dockerfiles|edge|engines|providers|scripts|service|tests)/[\w./-]+\.\w+)"
# Decisions about files that went with them.
GONE = {"docs/adr/0008-rs256.md", "docs/adr/0016-cryptography.md"}


@pytest.mark.parametrize("root", ["docs", "manager", "agents", "README.md"])
def test_no_page_or_docstring_names_a_file_that_is_gone(root: str) -> None:
    found = (ROOT / root).rglob("*") if (ROOT / root).is_dir() else [ROOT / root]
    lost = {
        (str(page.relative_to(ROOT)), name)
        for page in found
        if page.is_file() and page.suffix in ("", ".md", ".py", ".sh")
        for name in re.findall(NAMED, page.read_text())
        if not any((base / name).exists() for base in (ROOT, ROOT / "manager/mayfly"))
    }
    assert {(page, name) for page, name in lost if page not in GONE} == set()


def test_every_test_and_file_that_a_page_names_is_there() -> None:
    for page in (ROOT / "docs/reference/security.md", ROOT / "docs/reference/known-failures.md"):
        for name in re.findall(r"`((?:tests|manager|agents|docs)/[\w./-]+)`", page.read_text()):
            assert (ROOT / name).exists(), (page.name, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_a_page_says_runs_its_lines_is_there(page: Path) -> None:
    for name in re.findall(r"(?<![\w/.-])tests/[\w/-]+\.py", page.read_text()):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_checkout_is_named_by_its_path(page: Path) -> None:
    """A bare machine has no `python`, and its `python3` none of what the tests need."""
    assert not re.search(r"(?<![/\w])python3? -m tests", page.read_text())
