"""The stub agent as the official archive lays it out: flat, gzipped, `bin/` beside the scripts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.fakes.archive import archive as of_files

VERSION = "4.248.0"
PLACE = Path(__file__).parent


def archive(version: str = VERSION) -> bytes:
    """The release archive; the same bytes for the same files."""
    return of_files(PLACE, ("config.sh", "env.sh", "run.sh"), version)


def checksum(version: str = VERSION) -> str:
    """The archive's SHA-256, as the release notes have it."""
    return hashlib.sha256(archive(version)).hexdigest()
