"""The page of the architecture: the laws that are cited stand on it, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "manager/mayfly"
PAGE = (ROOT / "docs/architecture.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
LAWS = PAGE.partition("## The laws")[2].partition("## Words")[0]
CITING = sorted(
    path
    for root in ("manager", "docs", "tests", "agents")
    for path in (ROOT / root).rglob("*")
    if path.is_file() and path.suffix in ("", ".py", ".md", ".sh") and path != Path(__file__)
)
FILE = r"[\w./*-]*/[\w.*-]*|[A-Z]\w*\.md"


def named(text: str) -> list[str]:
    """The files and folders that the text names: in backticks, or as the target of a link."""
    marked = [name for name in re.findall(r"`([^`\s]+)`", text) if re.fullmatch(FILE, name)]
    return sorted({name for name in marked if not name.startswith("/")})


def found(name: str) -> list[Path]:
    """What a name with a folder in front leads to, in the checkout or below the package."""
    return [path for root in (ROOT, PACKAGE) for path in root.glob(name.rstrip("/"))]


def test_the_laws_are_numbered_without_a_gap_and_each_says_whether_it_holds() -> None:
    laws = re.findall(r"^(\d+)\. \*\*(.*?)(?=^\d+\. |\Z)", LAWS, re.MULTILINE | re.DOTALL)
    assert [int(number) for number, _ in laws] == list(range(1, 15))
    for number, text in laws:
        assert re.search(r"\*(Holds|Not yet)[^*]*\*", text), number


@pytest.mark.parametrize(
    "path",
    [path for path in CITING if re.search(r"\b[Ll]aws? \d", path.read_text(errors="replace"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_law_that_is_cited_stands_on_the_page_and_the_page_is_named(path: Path) -> None:
    for found in re.finditer(r"\b[Ll]aws? (\d+)([^\n]*)", path.read_text()):
        assert re.search(rf"^{found[1]}\. \*\*", LAWS, re.MULTILINE), found[0]
        assert "architecture.md" in found[2] or path.name == "architecture.md", found[0]


def test_some_laws_are_cited() -> None:
    cited = {
        number
        for path in CITING
        if path.name != "architecture.md"
        for number in re.findall(r"\b[Ll]aw (\d+)", path.read_text(errors="replace"))
    }
    assert cited >= {"3", "7"}


def test_the_picture_fits_a_terminal() -> None:
    picture = re.search(r"```\n(.*?)```", PAGE, re.DOTALL)
    assert picture is not None
    assert max(map(len, picture[1].splitlines())) <= 80


@pytest.mark.parametrize("text", [PAGE, CONTRIBUTING], ids=["architecture", "contributing"])
def test_every_file_that_is_named_is_there(text: str) -> None:
    names = named(text)
    assert len(names) > 10
    assert [name for name in names if not found(name)] == []


@pytest.mark.parametrize("text", [PAGE, CONTRIBUTING], ids=["architecture", "contributing"])
def test_every_name_is_in_the_file_that_is_said_to_have_it(text: str) -> None:
    pairs = [
        (word, file)
        for words, file in re.findall(r"((?:`\w+`(?:, | or | and )?)+) in `([^`]+\.py)`", text)
        for word in re.findall(r"`(\w+)`", words)
    ]
    pairs += [
        (word, file)
        for file, words in re.findall(r"`([^`]+\.py)`: ((?:[^`;|]*`\w+`)+)", text)
        for word in re.findall(r"`(\w+)`", words)
    ]
    pairs = [pair for pair in pairs if "Hush" not in pair[0]]  # the example
    assert len(pairs) > 5
    for word, file in pairs:
        (path,) = found(file)
        assert re.search(rf"\b{word}\b", path.read_text()), f"{word} in {file}"


def test_every_place_that_makes_a_condition_stands_in_its_row() -> None:
    (row,) = re.findall(r"^\| a condition .*$", PAGE, re.MULTILINE)
    made = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"(?<![.\w])Condition\(", path.read_text())
    }
    # Reading what the manager told is no making; the simulated engine is for tests.
    made -= {"cli/examination.py", *(one for one in made if one.startswith("engines/simulated/"))}
    assert {file for file in made if f"`{file}`" not in row} == set()
