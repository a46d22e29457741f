"""The witnesses: a directory per agent on the host, where its launcher records what became of it.

The launcher writes, Mayfly reads; a job can do neither. A file that cannot be read counts as not there yet,
so that half a word is never taken for an end.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from manager.core.model import Exit, Generation, Witness
from manager.edge.faults import Passing

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
        path = self.path(generation)
        exit_text = _text(path / "exit")
        opened = _text(path / "opened")
        if opened is None and exit_text is None and not path.exists():
            return None
        end = _exit(exit_text, path / "exit")
        if end is None and opened is not None:
            end = _exit(_text(path / "spare"), path / "spare")
        return Witness(
            ready=_modified(path / "ready"),
            opened=_number(opened) or (_modified(path / "opened") if opened else None),
            exit=end,
            signalled=(path / "signals").exists(),
            signs=tuple((_text(path / "signs") or "").splitlines()),
        )

    def read_all(self, generations: Iterable[Generation]) -> dict[Generation, Witness]:
        """The witnesses of those agents, as far as they are there."""
        found = {}
        for generation in generations:
            witness = self.read(generation)
            if witness is not None:
                found[generation] = witness
        return found

    def remove(self, generation: Generation) -> None:
        """Remove the directory; gone already is success."""
        shutil.rmtree(self.path(generation), ignore_errors=True)


def _text(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(65536)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Passing(f"cannot read the witness {path}: {error.strerror}") from error


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Passing(f"cannot read the witness {path}: {error.strerror}") from error


def _number(text: str | None) -> float | None:
    if text is None or not text.endswith("\n"):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _exit(text: str | None, path: Path) -> Exit | None:
    """``CODE OOM_KILLS`` and a newline; anything less is still being written."""
    if text is None or not text.endswith("\n"):
        return None
    words = text.split()
    if len(words) != 2 or not words[0].isdigit():
        return None
    kills = int(words[1]) if words[1].isdigit() else None
    return Exit(int(words[0]), kills, _modified(path) or 0.0)
