"""What a commit's note says of its runs: a line each, which nobody but this writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# of a line of a run that had not ended, as `git grep -E` reads it
GOES_ON = "^run [^ ]+ of .*: (queued|running), "
LINES_MOST = 50  # of one commit: the last
NAMES_MOST = 5  # of jobs that did not succeed


def line(
    run: str, ref: str, state: str, jobs: Mapping[str, int], not_well: Sequence[str] = ()
) -> str:
    """How a run ended: ``run ID of REF: STATE, N jobs: …``; ``not_well``: jobs that did not succeed."""
    every = sum(jobs.values())
    counted = ", ".join(f"{count} {word}" for word, count in sorted(jobs.items()) if count)
    told = f"run {run} of {ref}: {state}, {every} job{'' if every == 1 else 's'}: {counted}"
    if not not_well:
        return told
    more = len(not_well) - NAMES_MOST
    shown = ", ".join(not_well[:NAMES_MOST]) + (f" and {more} more" if more > 0 else "")
    return f"{told}; see {shown}"


def with_line(note: str, told: str) -> str:
    """The note with that line, instead of what it said of the same run."""
    run = told.split(" ", 2)[1]
    kept = [one for one in note.splitlines() if one.strip() and not _is_of(one, run)]
    return "\n".join([*kept, told][-LINES_MOST:]) + "\n"


def names(note: str, run: str) -> bool:
    """Whether the note has a line of that run."""
    return any(_is_of(one, run) for one in note.splitlines())


def run_in(told: str) -> str | None:
    """Which run a line is of that says that it goes on; ``None``: no such line."""
    return told.split(" ", 2)[1] if re.match(GOES_ON, told) else None


def _is_of(told: str, run: str) -> bool:
    return told.startswith(f"run {run} ")
