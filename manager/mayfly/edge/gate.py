"""The frame that opens a gate: one header line, then what the agent needs for one job, as plain files.

``MAYFLY/3 GENERATION BYTES SHA256`` and exactly BYTES of an uncompressed tar, or ``MAYFLY/3 GENERATION BYTES
lines`` and exactly BYTES of lines: docs/reference/gate.md. What goes in here is secret; it is written to one
container's standard input and nowhere else.
"""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import tarfile
from collections.abc import Iterable, Mapping

from mayfly.core.model import GATE_PROTOCOL, Generation

# Bytes that a shell, which reads one at a time, has as soon as a program would have been started.
SHORT = 4096
_ESCAPED = re.compile(rb"[^ -\[\]-~]")


def frame(generation: Generation, files: Mapping[str, bytes]) -> bytes:
    """The bytes to send to the gate of that generation; ``files`` maps plain names to contents."""
    body, kind = _lines(files), "lines"
    if len(body) > SHORT:
        body = _tar(files)
        kind = hashlib.sha256(body).hexdigest()
    return f"MAYFLY/{GATE_PROTOCOL} {generation} {len(body)} {kind}\n".encode() + body


def _lines(files: Mapping[str, bytes]) -> bytes:
    """A line ``NAME CONTENT`` each; what is no printable ASCII of the content is written ``\\0OOO``."""
    return b"".join(
        name.encode() + b" " + _ESCAPED.sub(_octal, content[: SHORT + 1]) + b"\n"
        for name, content in files.items()
    )


def _octal(found: re.Match[bytes]) -> bytes:
    return b"\\0%03o" % found[0][0]


def _tar(files: Mapping[str, bytes]) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o600
            archive.addfile(entry, io.BytesIO(content))
    return body.getvalue()


def words(values: Iterable[str]) -> bytes:
    """The words as agents/local-job reads them: a line of them, or ``&`` and then all that they are."""
    text = shlex.join(values).encode(errors="surrogateescape")
    short = len(text) <= SHORT and text.isascii() and b"\n" not in text
    return (text if short else b"&\n" + text) + b"\n"
