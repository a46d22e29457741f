"""How much one job may bring, counted while it is looked at: what is too much is refused before it is read,
and nothing of it is sent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from mayfly.cli.client import Client
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.plain_text import clean
from mayfly.core.quantities import spoken_size
from mayfly.core.tree_manifest import MOST_ENTRIES

IGNORED_BY = ".mayfly-ignore"
KEY = "host.workspace_max"
FIRST = 2.0  # seconds that something lasts before a word of it

Progress: TypeAlias = Callable[
    [Callable[[], str]], None
]  # hears a sentence, which it may never ask for


def quiet(_: Callable[[], str]) -> None:
    """A progress that nobody looks at."""


def lasting(say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> Progress:
    """A progress that is told after two seconds, and then each time after twice as long."""
    begun, due = clock(), FIRST

    def told(sentence: Callable[[], str]) -> None:
        nonlocal due
        if clock() - begun >= due:
            due *= 2
            say(sentence())

    return told


def at_terminal(say: Callable[[str], None]) -> Progress:
    """A progress that is told where somebody sees it."""
    return lasting(say) if sys.stderr.isatty() else quiet


def most_of(manager: Client) -> int | None:
    """Bytes that one job may bring; ``None`` where the manager, one of before, does not tell it."""
    try:
        return most_in(manager.post("/v1/content/lacking", {"digests": []}))
    except Usage:
        return None


def most_in(answer: dict[str, object]) -> int | None:
    """The same, of an answer on what is lacking."""
    most = answer.get("most")
    return most if isinstance(most, int) else None


@dataclass(slots=True)
class Allowance:
    """What was found so far of a folder or commit, and how much of it may go."""

    name: str
    most: int | None = None  # bytes; None: nobody knows
    progress: Progress = quiet
    doing: str = "looking at"
    instead: str = f"name what stays in {IGNORED_BY} at its top, or send a smaller folder"
    entries: int = 0
    size: int = 0
    _last: tuple[int, str] = (0, "")  # bytes and path of a file, so far
    _largest: tuple[int, str] = (0, "")

    def enter(self, path: str, size: int = 0) -> None:
        """One more entry, of so many bytes; ``Trouble`` where that is too much."""
        self.entries += 1
        if self.entries > MOST_ENTRIES:
            raise Trouble(f"{self.name} has more than {MOST_ENTRIES} files: {self.instead}")
        self.add(path, size)

    def add(self, path: str, size: int) -> None:
        """So many bytes more of that file; ``Trouble`` where that is too much."""
        self.size += size
        before, last = self._last
        self._last = (size + before if path == last else size, path)
        self._largest = max(self._largest, self._last)
        if self.most is not None and self.size > self.most:
            raise Trouble(self._too_much(self.most))
        self.progress(
            lambda: (
                f"{self.doing} {self.name}: {counted(self.entries)}, {spoken_size(self.size)} so far"
            )
        )

    def of(self, path: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces of a file, each counted; ``Trouble`` at the first that is too much."""
        self.enter(path)
        for piece in pieces:
            self.add(path, len(piece))
            yield piece

    def _too_much(self, most: int) -> str:
        size, path = self._largest
        file = clean(path.encode("utf-8", "surrogateescape").decode(errors="replace"))
        where = f"; the largest file so far is {file}, {spoken_size(size)}" if path else ""
        return (
            f"{self.name} is too large: {spoken_size(self.size)} in {counted(self.entries)} so far, and a "
            f"job brings at most {spoken_size(most)} ({KEY}){where}: {self.instead}"
        )


def counted(files: int) -> str:
    """So many files, for people."""
    return "1 file" if files == 1 else f"{files} files"
