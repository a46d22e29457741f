"""Writing a file of the configuration whole or not at all, so that a manager never reads half of it."""

from __future__ import annotations

import stat
from pathlib import Path

from mayfly.cli.trouble import Trouble


def replace_file(path: Path, text: str) -> None:
    """Put the text in the file's place; it keeps the mode that it has."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
        new.write_text(text)
        new.chmod(mode)
        new.replace(path)
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}; try sudo") from error
