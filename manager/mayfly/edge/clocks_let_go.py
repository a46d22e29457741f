"""That a person gave back the clocks of jobs that ran, while no manager did: for whoever records those jobs.

The command line writes it before it unlocks them, and the next manager reads it. It never holds more than the
slots whose clocks are locked: an agent's name is used once, so nothing has to be taken out.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from mayfly.core.model import Generation
from mayfly.edge import state_file
from mayfly.edge.faults import Fault, Refused

NAME = "clocks-let-go"
BY_HAND = "a person unlocked them by `mayfly gpus unlock --force`, while no manager ran"


def note(state_dir: Path, agent: Generation, locked: Collection[Generation]) -> None:
    """Keep that the clocks of this agent are about to be given back; ``locked``: of whom there are any.
    ``Fault`` where it cannot be written.
    """
    place = state_dir / NAME
    with state_file.alone(place):
        known = {one for one in _read(place) if one in locked}
        state_file.write(place, json.dumps(sorted({*known, agent})) + "\n")


def why_unheld(state_dir: Path, agent: Generation) -> str:
    """Why the clocks of the agent's job were not locked to its end; ``""``: nobody has given them back."""
    place = state_dir / NAME
    try:
        return BY_HAND if agent in _read(place) else ""
    except Fault as fault:
        return f"{fault}, so whether a person unlocked them is not known"


def _read(place: Path) -> set[str]:
    text = state_file.content(place)
    if text is None:
        return set()
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Refused(f"{place} is damaged")
    return set(found)
