"""The gate as the simulated engine's agents have it: it takes a whole frame of its own generation alone."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Mapping

from mayfly.core.model import GATE_PROTOCOL, Generation
from mayfly.core.reserved_paths import within
from mayfly.edge.faults import Passing

_OCTAL = re.compile(rb"\\0([0-7]{3})")


def unpacked(data: bytes, generation: Generation) -> Mapping[str, bytes] | None:
    """The files of a frame (docs/reference/gate.md); ``None`` where it is not one for that generation."""
    head, _, body = data.partition(b"\n")
    words = head.decode(errors="replace").split(" ")
    if words[:2] != [f"MAYFLY/{GATE_PROTOCOL}", generation] or len(words) != 4:
        return None
    if str(len(body)) != words[2]:
        return None
    if words[3] == "lines":
        lines = (line.partition(b" ") for line in body.splitlines())
        return {name.decode(): _OCTAL.sub(_byte, content) for name, _, content in lines}
    if hashlib.sha256(body).hexdigest() != words[3]:
        return None
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return {
            entry.name: (archive.extractfile(entry) or io.BytesIO()).read()
            for entry in archive
            if entry.isfile()
        }


def files_of(archive: Iterable[bytes]) -> Mapping[str, bytes]:
    """The files of a tar that is unpacked at the root, by their paths; ``Passing`` where it is none."""
    try:
        with tarfile.open(fileobj=io.BytesIO(b"".join(archive)), mode="r:") as opened:
            return {
                f"/{entry.name}": (opened.extractfile(entry) or io.BytesIO()).read()
                for entry in opened
                if entry.isfile()
            }
    except tarfile.TarError as error:
        raise Passing(f"putting files into a container: {error}; it is tried again") from error


def archive_of(files: Mapping[str, bytes], path: str) -> bytes | None:
    """A tar of what is at a path; ``None`` where nothing is."""
    found = {name: data for name, data in files.items() if within(name, path)}
    if not found:
        return None
    above = path.rstrip("/").rpartition("/")[0]
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in sorted(found.items()):
            entry = tarfile.TarInfo(name.removeprefix(above).strip("/"))
            entry.size, entry.uid, entry.gid = len(data), 1000, 1000
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _byte(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])
