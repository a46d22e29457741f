"""Where a directory of one agent is: below others, by its generation and by nothing that is none."""

from __future__ import annotations

from pathlib import Path

from mayfly.core.model import Generation
from mayfly.core.naming import is_generation
from mayfly.edge.faults import Refused


def agent_folder(root: Path, generation: Generation) -> Path:
    """The directory of that agent; ``Refused`` where that is no generation."""
    if not is_generation(generation):
        raise Refused(f"{generation!r} is no generation of an agent")
    return root / generation
