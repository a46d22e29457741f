"""A copy of what makes a wheel: two builds in one folder would write into each other's files.

It is as `git archive` of a release gives it: without git, and its version is that of the release's tag.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
RELEASED = "0.1.0"


@contextmanager
def source() -> Iterator[Path]:
    """The folder, which is gone afterwards."""
    copy = Path(tempfile.mkdtemp(prefix="mayfly-source-"))
    try:
        folders = ("manager", "agents", "dockerfiles", "systemd", "scripts", "release", "packages")
        for name in folders:
            ignored = shutil.ignore_patterns("__pycache__", "version.txt", "*.egg-info")
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
        for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile", "CHANGELOG.md"):
            shutil.copy(ROOT / name, copy / name)
        (copy / "docs/how-to").mkdir(parents=True)
        # The package's data.
        for page in ("docs/where.md", "docs/glossary.md", "docs/how-to/troubleshooting.md"):
            shutil.copy(ROOT / page, copy / page)
        be_archive_of(copy, RELEASED)
        yield copy
    finally:
        shutil.rmtree(copy)


def be_archive_of(copy: Path, version: str) -> None:
    """Write into the folder what `git archive v0.1.0` makes of its .git_archival.txt."""
    said = {
        "node": "0" * 40,
        "node-date": "2026-11-30T12:00:00+00:00",
        "describe-name": f"v{version}",
    }
    text = (ROOT / ".git_archival.txt").read_text()
    names = [line.partition(": ")[0] for line in text.splitlines()]
    (copy / ".git_archival.txt").write_text("".join(f"{name}: {said[name]}\n" for name in names))
