"""Step through a recording again: `python -m tests.replay FILE`, a file that `mayfly bugreport` has written.

Exit 0 where every step records what it recorded then; 1 and the differences where one does not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mayfly.core.recording import Difference, replayed


def main(path: str) -> int:
    """Replay the file; the exit code."""
    document: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    differences: list[Difference] = []
    steps, facts = replayed(document.get("recording", document), differences.append)
    for difference in differences:
        print(f"step {difference.number} recorded something else:")
        for fact in difference.was:
            if fact not in difference.replayed:
                print(f"  - {fact}")
        for fact in difference.replayed:
            if fact not in difference.was:
                print(f"  + {fact}")
    print(f"{steps} steps, {facts} facts, {len(differences)} of the steps differ")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
