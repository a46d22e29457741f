"""The doors: a directory per agent that may have containers of its own, shared with the gateway of the host.

Below ``STATE/gateway``. The manager makes the directory, writes the grant once the agent's container is
started, and shuts the door when the agent has ended: ``live`` becomes ``over`` in one step, after which the
gateway can record nothing in it any more, and so makes nothing. What the gateway has recorded by then says
whether there is anything to clear away.

Nothing in a door but its socket can be reached from an agent; what its job asked for stands in ``refusals``
all the same, and is read as anybody's text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mayfly.core.model import Closing, Generation
from mayfly.edge import door_places
from mayfly.edge.agent_folder import agent_folder
from mayfly.edge.faults import Passing
from mayfly.edge.gateway_control import rung
from mayfly.edge.removal import remove_tree

MOST = 20  # refusals that are kept, each once
SENTENCE = 300  # characters of one


class Doors:
    """All doors of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.root = door_places.folder(state_dir)
        self.agents = door_places.agents(state_dir)

    def path(self, generation: Generation) -> Path:
        """The directory of that agent; ``Refused`` where that is no generation."""
        return agent_folder(self.agents, generation)

    def make(self, generation: Generation) -> Path:
        """Make a new agent's; what of it the agent gets. ``Passing`` where the disk does not take it."""
        place = self.path(generation)
        with _translated(f"cannot make the door {place}"):
            self.root.mkdir(mode=0o700, exist_ok=True)
            self.agents.mkdir(mode=0o700, exist_ok=True)
            place.mkdir(mode=0o700, exist_ok=True)
            door = place / door_places.DOOR
            door.mkdir(exist_ok=True)
            door.chmod(0o755)
        rung(self.root)
        return door

    def grant(self, generation: Generation, text: str) -> None:
        """Let the agent in: the gateway serves it from now on, by that grant. ``Passing`` where the disk does
        not take it; an agent whose door was shut is never let in again.
        """
        place = self.path(generation)
        with _translated(f"cannot write the grant of {generation}"):
            if (place / door_places.OVER).exists():
                raise Passing(f"the door of {generation} is shut")
            live = place / door_places.LIVE
            live.mkdir(mode=0o700, exist_ok=True)
            draft = place / "grant.new"
            with draft.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(live / door_places.GRANT)

    def close(self, generation: Generation) -> Closing:
        """Shut the door of an agent that has ended, and what is found there; shut already is a success.

        ``Passing`` where that is not known. Of one whose door is not there anything may be left.

        A hand-over waits for this: bare calls, and nothing is synced. Where the host falls over before the
        new name is on the disk, no process that had this door mounted is left to come in by it again.
        """
        place = str(self.path(generation))
        over = f"{place}/{door_places.OVER}"
        with _translated(f"cannot shut the door {place}"):
            try:
                Path(f"{place}/{door_places.LIVE}").rename(over)
            except FileNotFoundError:
                if not os.path.isdir(place):  # noqa: PTH112  bare calls
                    return Closing(made=True)
                if not os.path.isdir(over):  # noqa: PTH112  it was never let in
                    return Closing()
            except OSError:
                if not os.path.isdir(over):  # noqa: PTH112
                    raise
            found = os.listdir(over)  # noqa: PTH208
        made = door_places.MADE in found
        if door_places.REFUSALS not in found:
            return Closing(made)
        return Closing(made, *_refusals(Path(over, door_places.REFUSALS)))

    def has_made(self, generation: Generation) -> bool:
        """Whether an agent whose door is open has made something, or was about to."""
        return (self.path(generation) / door_places.LIVE / door_places.MADE).exists()

    def remove(self, generation: Generation) -> None:
        """Remove the directory; gone already is success."""
        remove_tree(self.path(generation))


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Passing(f"{doing}: {error.strerror}") from error


def _refusals(path: Path) -> tuple[tuple[str, ...], int]:
    """The sentences by which something was refused, each once, and how often anything was."""
    try:
        with path.open("rb") as file:
            lines = file.read(door_places.REFUSALS_MOST).split(b"\n")
    except OSError:  # a history without them is better than none
        return (), 0
    told: dict[str, None] = {}
    number = 0
    for line in lines:
        sentence = _sentence(line)
        if sentence:
            number += 1
            if len(told) < MOST:
                told[sentence] = None
    return tuple(told), number


def _sentence(line: bytes) -> str:
    """What a line tells, nothing in it that a screen would obey; ``""``: it is none."""
    with suppress(ValueError, RecursionError):
        document = json.loads(line)
        text = document.get("text") if isinstance(document, dict) else None
        if isinstance(text, str):
            return "".join(one if one.isprintable() else "?" for one in text[:SENTENCE])
    return ""
