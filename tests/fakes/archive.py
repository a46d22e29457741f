"""The release archive of a stub of a service's client, as that service lays it out."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path


def archive(place: Path, scripts: tuple[str, ...], version: str) -> bytes:
    """``scripts``, all of ``bin/`` and ``bin/version``; the same bytes for the same files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        names = [*scripts, *sorted(f"bin/{path.name}" for path in (place / "bin").iterdir())]
        contents = {name: (place / name).read_bytes() for name in names}
        contents["bin/version"] = f"{version}\n".encode()
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(out.getvalue(), mtime=0)
