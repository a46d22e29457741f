"""The figures: a directory per agent on the host, ``STATE/figures/GENERATION``, which the agent sees and
cannot write. There the manager says what its job runs on and what it has used; agents/job-lines prints it.

Nothing in it is secret, and nothing of it is read back. A file is replaced whole, so that who reads it has
the old or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mayfly.core import naming
from mayfly.core.model import Generation
from mayfly.edge.agent_folder import agent_folder
from mayfly.edge.faults import Passing
from mayfly.edge.removal import remove_tree


class Figures:
    """All figures of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir / naming.FIGURES

    def path(self, generation: Generation) -> Path:
        """The directory of that agent; ``Refused`` where that is no generation."""
        return agent_folder(self.root, generation)

    def make(self, generation: Generation) -> Path:
        """Make the directory for a new agent; ``Passing`` where the disk does not take it."""
        path = self.path(generation)
        try:
            self.root.mkdir(mode=0o700, exist_ok=True)
            path.mkdir(mode=0o755, exist_ok=True)
            path.chmod(0o755)  # whatever the umask: the job user reads it
        except OSError as error:
            raise Passing(f"cannot make the figures {path}: {error.strerror}") from error
        return path

    def write(self, generation: Generation, files: Mapping[str, str]) -> bool:
        """Replace these files; False where the agent has no such directory, as one of an earlier Mayfly.

        ``Passing`` where the disk does not take them.
        """
        path = self.path(generation)
        if not path.is_dir():
            return False
        try:
            for name, text in files.items():
                draft = path / f".{name}"
                draft.write_text(text, encoding="utf-8")
                draft.chmod(0o644)
                draft.rename(path / name)
        except FileNotFoundError:  # its agent has gone meanwhile
            return False
        except OSError as error:
            raise Passing(f"cannot write the figures {path}: {error.strerror}") from error
        return True

    def has(self, generation: Generation, name: str) -> bool:
        """Whether that file is there."""
        return (self.path(generation) / name).exists()

    def remove(self, generation: Generation) -> None:
        """Remove the directory; gone already is success."""
        remove_tree(self.path(generation))
