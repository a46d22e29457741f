"""An agent's directory as the manager makes it, for tests of the gateway."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

from mayfly.core.admission.grant import Grant, grant_text

GENERATION = "mb7x2k9qa0001"
HOST, SEAL = "host00000001", "5ea1" * 8
_GRANT = Grant(
    host=HOST,
    pool="lab",
    slot="lab-0",
    generation=GENERATION,
    container="c" * 64,
    seal=SEAL,
    door="/nowhere/docker.sock",
    allowed_images=("*",),
)


_NUMBERS = itertools.count(2)


def another_generation() -> str:
    """One that no test had yet."""
    return f"mb7x2k9qa{next(_NUMBERS):04}"


def granted(**changes: Any) -> Grant:
    """A grant that allows what most do."""
    return replace(_GRANT, **changes)


def agent_place(state: Path, generation: str = GENERATION) -> Path:
    """Make the directory of an agent that has a door and no grant yet."""
    place = state / "gateway/agents" / generation
    (place / "door").mkdir(parents=True)
    (place / "live").mkdir()
    return place


def given(place: Path, grant: Grant) -> None:
    """Write the grant as the manager does: whole."""
    new = place / "live/.grant.json.new"
    new.write_text(grant_text(grant))
    new.rename(place / "live/grant.json")
