"""The hostile job: makes every try, one after another, and leaves a report of each for the host.

    python3 -m tests.real.containers.jobs.hostile FOLDER

FOLDER/world.json tells it what it may know. Of each try N it writes FOLDER/N.json; where containers came of
it, they stay until FOLDER/N.seen is there: the host has looked at them by then.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from tests.real.containers.jobs import creating, reaching, wire
from tests.real.containers.jobs.asking import Seen, Try, World, ask, removed

TRIES: tuple[Try, ...] = (*creating.tries(), *reaching.tries(), *wire.tries())
PATIENCE = 60.0  # seconds for the host to look


def make(number: int, one: Try, world: World, folder: Path) -> None:
    """One try, told when it is over."""
    try:
        seen = one.run(world)
    except Exception:  # noqa: BLE001  the report says what went wrong, and the next try is made
        seen = Seen(more={"broke": traceback.format_exc()})
    written = folder / f"{number}.new"
    written.write_text(json.dumps(asdict(seen)))
    written.rename(folder / f"{number}.json")
    end = time.monotonic() + PATIENCE
    while seen.made and not (folder / f"{number}.seen").exists() and time.monotonic() < end:
        time.sleep(0.02)
    for container in seen.made:
        removed(container)
    if seen.made:  # one may have made a volume of its own by a stranger's name
        for volume in (ask("GET", "/volumes").document or {}).get("Volumes") or ():
            ask("DELETE", f"/volumes/{volume['Name']}")


def main() -> None:
    """All tries, or those whose names have one of the words that are given."""
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    told = json.loads((folder / "world.json").read_text())
    world = World(**{**told, "work": str(Path.cwd())})
    for number, one in enumerate(TRIES):
        if not words or any(word in one.name for word in words):
            make(number, one, world, folder)
    (folder / "over").touch()


if __name__ == "__main__":
    main()
