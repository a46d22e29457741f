"""The stub agent as the official archive lays it out: flat, gzipped, `bin/` beside the scripts."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

VERSION = "4.248.0"
PLACE = Path(__file__).parent


def archive(version: str = VERSION) -> bytes:
    """The release archive; the same bytes for the same files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        names = [
            "config.sh",
            "env.sh",
            "run.sh",
            *sorted(f"bin/{path.name}" for path in (PLACE / "bin").iterdir()),
        ]
        contents = {name: (PLACE / name).read_bytes() for name in names}
        contents["bin/version"] = f"{version}\n".encode()
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(out.getvalue(), mtime=0)


def checksum(version: str = VERSION) -> str:
    """The archive's SHA-256, as the release notes have it."""
    return hashlib.sha256(archive(version)).hexdigest()
