"""Step through a recording again: `python -m tests.replay FILE`, a file that `mayfly bugreport` has written.

Exit 0 where every step records what it recorded then; 1 and the differences where one does not; 2 and a
sentence where it cannot be told, because the file holds no recording that this version can read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mayfly.core.recording import SCHEMA, Difference, replayed

REPORT = "mayfly.bugreport/1"
SAME, DIFFERENT, UNREADABLE = 0, 1, 2


class Unreadable(Exception):
    """There is nothing to step through; a sentence says why."""


def main(arguments: list[str]) -> int:
    """Replay the file; the exit code."""
    try:
        return _told(_recording(*arguments))
    except Unreadable as why:
        print(f"replay: {why}", file=sys.stderr)
        return UNREADABLE


def _recording(path: str = "", *others: str) -> dict[str, Any]:
    if not path or others:
        raise Unreadable("one file is wanted: python -m tests.replay FILE")
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path} is not a whole JSON document: {error}") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if found == REPORT:
        document = document.get("recording")
        if isinstance(document, dict) and "unknown" in document:
            why = " ".join(str(document["unknown"]).split())
            raise Unreadable(f"{path} holds no recording, for it could not be had: {why}")
        found = document.get("schema") if isinstance(document, dict) else None
        if found is None:
            raise Unreadable(f"{path} is a report without a recording")
    if found != SCHEMA:
        said = "no schema" if found is None else f"the schema {found!r}"
        raise Unreadable(f"{path} has {said}; what can be read is {REPORT} and {SCHEMA}")
    return document  # type: ignore[no-any-return]


def _told(recording: dict[str, Any]) -> int:
    differences: list[Difference] = []
    try:
        steps, facts = replayed(recording, differences.append)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unreadable(
            f"the recording is of another version, or damaged ({type(error).__name__}: {error})"
        ) from error
    for difference in differences:
        print(f"step {difference.number} recorded something else:")
        for fact in difference.was:
            if fact not in difference.replayed:
                print(f"  - {fact}")
        for fact in difference.replayed:
            if fact not in difference.was:
                print(f"  + {fact}")
    print(f"{steps} steps, {facts} facts, {len(differences)} of the steps differ")
    return DIFFERENT if differences else SAME


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
