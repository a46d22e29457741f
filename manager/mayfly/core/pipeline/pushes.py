"""What a push changes, as git tells a hook, and which of it is run.

Whoever pushes chooses the names of refs: they are read as hostile bytes, and shown by nobody as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BRANCHES = "refs/heads/"
BRANCHES_MOST = 20  # of one push that are run; of more the default branch alone
REFS_MOST = 100_000
_UPDATE = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64}) ([^\0\n]{1,4096})")


class PushError(ValueError):
    """The text is nothing that git tells a hook; a sentence says why."""


@dataclass(frozen=True, slots=True)
class Update:
    """One ref that a push moved."""

    ref: str
    old: str | None  # None: there was none
    new: str | None  # None: it was deleted

    @property
    def branch(self) -> bool:
        """Whether it is a branch; nothing else is run."""
        return self.ref.startswith(BRANCHES)


def updates(text: bytes) -> tuple[Update, ...]:
    """The lines that a receive hook reads: old and new commit, and the ref, with spaces between."""
    found: list[Update] = []
    for line in text.splitlines():
        read = _UPDATE.fullmatch(line)
        if read is None or len(found) == REFS_MOST:
            raise PushError(
                "standard input has no lines of a push: git calls this as its hook post-receive"
            )
        old, new, ref = read.groups()
        found.append(Update(ref.decode("utf-8", "surrogateescape"), _commit(old), _commit(new)))
    return tuple(found)


def _commit(text: bytes) -> str | None:
    return text.decode("ascii") if text.strip(b"0") else None


def run_of(pushed: Sequence[Update], default: str | None) -> tuple[Update, ...]:
    """Those branches whose jobs are run: all that are there now, of very many only the default one."""
    there = tuple(update for update in pushed if update.branch and update.new is not None)
    if len(there) <= BRANCHES_MOST:
        return there
    return tuple(update for update in there if update.ref == default)
