"""The witnesses: a directory per agent on the host, where its launcher records what became of it.

The launcher writes, Mayfly reads; a job can do neither. A file that cannot be read counts as not there yet,
so that half a word is never taken for an end.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mayfly.core.model import Exit, Generation, Witness
from mayfly.edge.faults import Passing

# Bytes of the file ``spare``, set aside for an account that a full disk would not take: the launcher writes
# over them, all of them, and only where it cannot write ``exit``.
SPARE = b" " * 32


class Witnesses:
    """All witnesses of one state directory, ``STATE/agents/GENERATION``."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir / "agents"
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, generation: Generation) -> Path:
        """The directory of that agent."""
        return self.root / generation

    def make(self, generation: Generation) -> Path:
        """Make the directory for a new agent; ``Passing`` where the disk does not take it."""
        path = self.path(generation)
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            # Root in the container has no DAC_OVERRIDE; the parents keep everybody else out.
            path.chmod(0o777)
            spare = path / "spare"
            spare.write_bytes(SPARE)
            spare.chmod(0o666)
        except OSError as error:
            raise Passing(f"cannot make the witness {path}: {error.strerror}") from error
        return path

    def read(self, generation: Generation) -> Witness | None:
        """What the launcher has recorded; ``None`` where there is no such witness.

        ``Passing`` where it is there and cannot be read: what it says is then unknown, not nothing.
        """
        place = f"{self.root}/{generation}/"
        ready, opened, end = _note(place + "ready"), _note(place + "opened"), _note(place + "exit")
        exited = _exit(end)
        if exited is None and opened is not None:
            exited = _exit(_note(place + "spare"))
        if ready is opened is end is None and not self.path(generation).exists():
            return None
        signs = _note(place + "signs") if opened is not None else None
        return Witness(
            ready=ready.at if ready is not None else None,
            opened=_opened(opened),
            exit=exited,
            signalled=_note(place + "signals") is not None,
            signs=tuple(signs.text.splitlines()) if signs is not None else (),
        )

    def remove(self, generation: Generation) -> None:
        """Remove the directory; gone already is success."""
        shutil.rmtree(self.path(generation), ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Note:
    """What a file of a witness says, and when it was written last."""

    text: str
    at: float

    @property
    def whole(self) -> bool:
        """Whether its line is at its end; if not, it is still being written."""
        return self.text.endswith("\n")


def _note(file: str) -> _Note | None:
    """The file; ``None`` where there is none. Bare calls: a hand-over waits for this, many times."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Passing(f"cannot read the witness {file}: {error.strerror}") from error
    try:
        text = os.read(handle, 65536).decode(errors="replace")
        return _Note(text, os.fstat(handle).st_mtime)
    except OSError as error:
        raise Passing(f"cannot read the witness {file}: {error.strerror}") from error
    finally:
        os.close(handle)


def _opened(note: _Note | None) -> float | None:
    """The time in the file; the file's own where a launcher wrote something else."""
    if note is None or not note.text:
        return None
    try:
        return float(note.text) if note.whole else note.at
    except ValueError:
        return note.at


def _exit(note: _Note | None) -> Exit | None:
    """``CODE OOM_KILLS`` and a newline."""
    words = note.text.split() if note is not None and note.whole else []
    if note is None or len(words) != 2 or not words[0].isdigit():
        return None
    return Exit(int(words[0]), int(words[1]) if words[1].isdigit() else None, note.at)
