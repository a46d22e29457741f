"""What the pages hold that a test can look at: rows that each name the test that shows them, and consoles."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of every row of the page's tables but those that begin with the heading."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in lines
        if line.startswith("| ") and not line.startswith(f"| {heading} ")
    ]


def assert_is_there(shown: str) -> None:
    """The cell names a test, and there is one of that name in that file."""
    found = re.fullmatch(r"`(tests/\S+\.py)::(test_\w+)`", shown)
    assert found, shown
    source = (ROOT / found[1]).read_text()
    assert re.search(rf"^def {found[2]}\(", source, re.MULTILINE), shown


@dataclass(frozen=True, slots=True)
class Console:
    """A ```console block of a page: what is typed, and what appears under each of it."""

    page: str
    number: int  # in its page, from 0
    # why no test runs it, as the comment above it says; None: one does
    mark: str | None
    typed: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def shortened(self) -> bool:
        """Whether the page leaves out some of what appears."""
        return any("…" in line for _, lines in self.typed for line in lines)


_BLOCK = re.compile(
    r"(?:<!-- not run by a test: ([^\n]+?) -->\n\s*)?^[ ]*```console\n(.*?)^[ ]*```",
    re.MULTILINE | re.DOTALL,
)


def consoles() -> list[Console]:
    """Every console block of README, CONTRIBUTING and docs."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return [
        Console(str(page.relative_to(ROOT)), number, mark or None, tuple(_typed(block)))
        for page in pages
        for number, (mark, block) in enumerate(_BLOCK.findall(page.read_text()))
    ]


def _typed(block: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each command, its lines joined, with what the block shows under it."""
    command, lines = "", list[str]()
    for line in textwrap.dedent(block.replace("\\\n", " ")).splitlines():
        if line.startswith("$ "):
            if command:
                yield command, tuple(lines)
            command, lines = line.removeprefix("$ "), []
        else:
            lines.append(line)
    if command:
        yield command, tuple(lines)
