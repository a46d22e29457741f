"""The page of the architecture: the laws that are cited stand on it, and what it names is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.edge import tcp_http, unix_http
from mayfly.service import gpu_monitor, workers

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


DRAWINGS = PAGE.partition("## The picture")[2].partition("\n| room |")[0].split("```")[1:4:2]
ROOMS = re.findall(r"^\| `(\w+/)` \|", PAGE, re.MULTILINE)


def in_drawing(text: str) -> set[str]:
    """The folders and files in a drawing; of a box the lines below each other are one."""
    return set(re.findall(r"\b[a-z_]+/(?:[a-z_]+(?:\.(?:py|sh))?)?", text))


def test_both_drawings_have_every_room_of_the_package_and_none_that_is_not_there() -> None:
    rooms = {f"{path.name}/" for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert rooms == {room for room in ROOMS if room != "agents/"}
    assert [drawing.splitlines()[0] for drawing in DRAWINGS] == ["", "mermaid"]
    for drawing in DRAWINGS:
        names = in_drawing(drawing)
        assert {f"{name.partition('/')[0]}/" for name in names} >= set(ROOMS)
        places = (
            [root / f"{name}{end}" for root in (PACKAGE, ROOT) for end in ("", ".py")]
            for name in names
        )
        assert all(any(place.exists() for place in those) for those in places), names


def test_both_drawings_have_the_same_files_of_the_loop() -> None:
    ascii_names, browser_names = map(in_drawing, DRAWINGS)
    loop = {"service/loop.py", "core/machine.py"}
    assert loop <= ascii_names & browser_names


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


THREADS = PAGE.partition("## Threads")[2].partition("## Where things go")[0]
MAKERS = {"LastingThread", "Asked", "Thread"}


def names_of_threads() -> Iterator[str]:
    """What the manager calls its threads, as far as that stands where they are made."""
    for path in set(PACKAGE.rglob("*.py")) - set((PACKAGE / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "attr", getattr(called, "id", None))
            if not isinstance(node, ast.Call) or name not in MAKERS:
                continue
            for given in (*node.args, *(one.value for one in node.keywords)):
                first = given.values[0] if isinstance(given, ast.JoinedStr) else given
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value


def test_every_thread_stands_in_the_table() -> None:
    names = {
        *names_of_threads(),
        *re.findall(r'return f"(\w+-)', Path(workers.__file__).read_text()),
    }
    assert {"old-content", "client", "bring-", "roster-", "mounted-paths"} <= names
    assert [name for name in names if f"`{name.rstrip('-')}" not in THREADS] == []


def test_the_numbers_of_threads_are_those_of_the_code_and_fit_the_unit() -> None:
    lanes = ("MAKE", "REMOVE", "SIGNAL", "OPEN", "BRING", "TAKE", "CLEAR")
    queue = sum(getattr(workers, lane) for lane in lanes)
    timers = workers.SERVICE + 1
    service = queue - workers.BRING - workers.TAKE + workers.SERVICE + 1
    alone = 13  # those of the table that are there once, without GPUs
    gpus = 1 + gpu_monitor.PROBERS
    clients = unix_http.CONNECTIONS.all + unix_http.USERS.bounds.all + tcp_http.PLACES.all
    doors = 2  # beside the one that is among those alone
    unit = (ROOT / "systemd/mayfly.service").read_text()
    tasks = int(re.findall(r"^TasksMax=(\d+)$", unit, re.MULTILINE)[0])
    left = tasks - alone - gpus - clients - doors
    page = " ".join(THREADS.split())
    for sentence in (
        f"at most {alone + queue} threads beside its clients', {alone + queue + gpus} with GPUs",
        f"each further pool up to {queue} more; a service's pool up to {service}",
        f"each of the {timers} that speak",
        f"at most {clients}, by three doors that need {doors} threads more",
        f"`TasksMax` in the unit ({tasks}) is room for {left // queue} pools of the embedded queue",
        f"or {left // (service + timers)} of services",
    ):
        assert sentence in page
