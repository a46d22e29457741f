"""The frame that opens a gate: one header line, then a tar of what the agent needs for one job.

``MAYFLY/2 GENERATION BYTES SHA256`` and exactly BYTES of an uncompressed tar. What goes in here is secret;
it is written to one container's standard input and nowhere else.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping

from mayfly.core.model import GATE_PROTOCOL, Generation


def frame(generation: Generation, files: Mapping[str, bytes]) -> bytes:
    """The bytes to send to the gate of that generation; ``files`` maps plain names to contents."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o600
            archive.addfile(entry, io.BytesIO(content))
    tar = body.getvalue()
    digest = hashlib.sha256(tar).hexdigest()
    return f"MAYFLY/{GATE_PROTOCOL} {generation} {len(tar)} {digest}\n".encode() + tar
