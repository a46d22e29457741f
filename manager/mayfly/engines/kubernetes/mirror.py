"""The witnesses of agents that have no directory of this host: what they said elsewhere is written here.

What a launcher records in its pod comes by three ways, none of which a job can write to: what it says on the
attachment that opens its gate, before there is a job; a look into the pod by root; and the pod's status once
it has ended, whose account the launcher alone could write. (Its log says no more than that it has come to its
gate, and that this was opened.) What was not heard yet of an agent of an earlier run of
the manager is unknown, and says so: a file beside its directory makes its witness unreadable until then.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from mayfly.core import naming
from mayfly.core.model import ContainerId, Generation, HostId
from mayfly.edge.faults import Passing
from mayfly.edge.witness import SIGN, SIGNS, unheard
from mayfly.engines.kubernetes.pods import DIED_OF_OOM, PodEnd

KEY, POD = "key", "pod"
NEWS = 5.0  # seconds within which an end is told as of now: a pod's status has whole seconds


class Mirror:
    """Writes witnesses; may be used from any thread."""

    def __init__(self) -> None:
        self._root: Path | None = None

    def begin(self, root: Path) -> None:
        """They are there; what an earlier manager has left and has not ended is not known now."""
        self._root = root
        with suppress(FileNotFoundError):
            for entry in sorted(root.iterdir()):
                known = naming.is_generation(entry.name) and entry.is_dir()
                if known and not (entry / "exit").exists() and not (entry / "died").exists():
                    unheard(root, Generation(entry.name)).touch()

    def made(self, generation: Generation, container: ContainerId, host: HostId) -> None:
        """Which pod it is, for a manager that finds it gone."""
        self._write(generation, POD, f"{container} {host}\n")

    def pod(self, generation: Generation) -> tuple[ContainerId, HostId] | None:
        """Which pod it was, and whose; ``None``: nobody wrote that down."""
        if self._root is None:
            return None
        with suppress(OSError):
            text = (self._root / generation / POD).read_text(encoding="utf-8")
            container, _, host = text.strip().partition(" ")
            return ContainerId(container), HostId(host)
        return None

    def is_ours(self, generation: Generation) -> bool:
        """Whether an agent of that generation was made here: its witness is there."""
        known = self._root is not None and naming.is_generation(generation)
        return known and self._root is not None and (self._root / generation).is_dir()

    def is_unheard(self, generation: Generation) -> bool:
        """Whether an earlier manager's agent has not been asked."""
        return self._root is not None and unheard(self._root, generation).exists()

    def heard(self, generation: Generation) -> None:
        """What there is to know of it has been written, or is nowhere any more."""
        if self._root is not None:
            unheard(self._root, generation).unlink(missing_ok=True)

    def unheard(self) -> tuple[Generation, ...]:
        """All that have not been asked."""
        if self._root is None:
            return ()
        return tuple(Generation(path.stem) for path in self._root.glob("*.unheard"))

    def ready(self, generation: Generation) -> None:
        """It stands at its gate."""
        self._write(generation, "ready", f"{generation}\n")

    def is_ready(self, generation: Generation) -> bool:
        """Whether it is known to have come to its gate."""
        return self._root is not None and (self._root / generation / "ready").exists()

    def opened(self, generation: Generation, user: str | None, key: str = "") -> None:
        """Its gate was opened; ``user``: as whom its job runs, ``UID:GID``, ``None``: it did not say;
        ``key``: what its launcher's account will come with, ``""``: it did not say.
        """
        if key:
            self._write(generation, KEY, f"{key}\n")
        if user is not None:
            self._write(generation, "user", f"{user}\n")
        self._write(generation, "opened", "yes\n", again=False)

    def key(self, generation: Generation) -> str:
        """What its launcher's account will come with; ``""``: it has not said."""
        if self._root is None:
            return ""
        with suppress(OSError):
            return (self._root / generation / KEY).read_text(encoding="utf-8").strip()
        return ""

    def ended(self, generation: Generation, end: PodEnd) -> None:
        """Nothing of it runs any more."""
        said = end.account
        if len(said.signs) > self._signs(generation):  # a pod's status has the last of many
            lines = (sign[:SIGN] for sign in said.signs[:SIGNS])
            self._write(generation, "signs", "".join(f"{line}\n" for line in lines))
        if said.signalled:
            self._write(generation, "signals", "TERM\n")
        if said.opened:
            self._write(generation, "opened", "yes\n", at=end.at, again=False)
        if said.died is not None and not said.opened:
            self._write(generation, "died", f"{said.died[0]} {said.died[1]}\n")
        if said.opened and said.exit is not None and said.exit[0] == end.code:
            # What the node says is true, and what the account adds to it counts where both agree.
            self._write(generation, "exit", f"{said.exit[0]} {said.exit[1]}\n", at=end.at)
        elif said.opened and end.out_of_memory:
            self._write(generation, "exit", f"{DIED_OF_OOM} 1\n", at=end.at)
        self.heard(generation)

    def _signs(self, generation: Generation) -> int:
        """How many are written already: what an agent printed has all of them."""
        if self._root is None:
            return 0
        with suppress(OSError):
            return (self._root / generation / "signs").read_bytes().count(b"\n")
        return 0

    def _write(
        self,
        generation: Generation,
        name: str,
        text: str,
        *,
        at: float | None = None,
        again: bool = True,
    ) -> None:
        """The record, where its witness is there; ``Passing`` where the disk does not take it."""
        if self._root is None or not naming.is_generation(generation):
            return
        place = self._root / generation / name
        try:
            if not again and place.exists():
                return
            new = place.with_name(f".{name}")
            new.write_text(text, encoding="utf-8", errors="replace")
            if at is not None and 0 < at < time.time() - NEWS:
                os.utime(new, (at, at))
            new.replace(place)
        except (FileNotFoundError, NotADirectoryError):
            return  # it was forgotten meanwhile
        except OSError as error:
            raise Passing(f"cannot write the witness {place}: {error.strerror}") from error
