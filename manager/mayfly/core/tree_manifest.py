"""What a job brings with it, as a list: a line for each file, link and directory, in one order.

Pure. The list is read a line at a time, whoever wrote it, and never held as a whole: a name that leads out,
that is there twice, or that lies beneath something that is no directory is refused. Names are texts as
``os.fsdecode`` gives them, so each byte of a name stands for itself; another text of the same bytes is none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

MOST_ENTRIES = 200_000
LINE_MAX = 32 * 1024  # bytes of a line: a name and a target, escaped
# What Linux takes, in bytes. The tree is put somewhere, by a path of its own.
PATH_MAX = 4095  # of a path, and of a link's target
PART_MAX = 255  # of one name in a path
PLACE_MAX = 64
DIGEST = re.compile(r"[0-9a-f]{64}")
FILE_MODES = (0o644, 0o755)


class BadManifest(Exception):
    """It is no such list; in a few words."""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A file, a link or a directory of a tree, by its name in it."""

    path: str
    kind: Literal["file", "link", "dir"]
    mode: int = 0o644  # permissions; of a link they mean nothing
    size: int = 0  # bytes of a file
    digest: str = ""  # of a file: SHA-256 of what is in it, in hexadecimal
    target: str = ""  # of a link

    @property
    def order(self) -> list[bytes]:
        """By what entries are sorted: what is in a directory follows it at once."""
        return self.path.encode("utf-8", "surrogateescape").split(b"/")


def digest_of(data: bytes) -> str:
    """What content is addressed by."""
    return hashlib.sha256(data).hexdigest()


class Digesting:
    """The digest of content that comes in pieces, and its size in bytes."""

    def __init__(self) -> None:
        self._found = hashlib.sha256()
        self.size = 0

    def update(self, piece: bytes) -> None:
        """One more piece."""
        self._found.update(piece)
        self.size += len(piece)

    @property
    def digest(self) -> str:
        """Of what came so far."""
        return self._found.hexdigest()


def manifest(entries: Iterable[TreeEntry]) -> Iterator[bytes]:
    """The lines of a tree, in their order."""
    for entry in sorted(entries, key=lambda one: one.order):
        fields: tuple[object, ...]
        match entry.kind:
            case "file":
                fields = (entry.path, "file", entry.mode, entry.size, entry.digest)
            case "dir":
                fields = (entry.path, "dir", entry.mode)
            case "link":
                fields = (entry.path, "link", entry.target)
        yield json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def read_manifest(lines: Iterable[bytes]) -> Iterator[TreeEntry]:
    """The entries of a list; ``BadManifest`` at the first line that cannot stand there."""
    before: TreeEntry | None = None
    for number, line in enumerate(lines, start=1):
        if number > MOST_ENTRIES:
            raise BadManifest(f"a tree has at most {MOST_ENTRIES} entries")
        entry = _entry(line, number)
        if before is not None:
            if entry.order <= before.order:
                raise BadManifest(f"line {number} is out of order")
            if before.kind != "dir" and entry.path.startswith(f"{before.path}/"):
                raise BadManifest(f"line {number} lies beneath what is no directory")
        yield entry
        before = entry


def _entry(line: bytes, number: int) -> TreeEntry:
    try:
        fields = json.loads(line) if len(line) <= LINE_MAX else None
    except (ValueError, RecursionError):
        fields = None
    match fields:
        case [str(path), "file", int(mode), int(size), str(digest)]:
            entry = TreeEntry(path, "file", mode, size, digest)
            fit = mode in FILE_MODES and size >= 0 and DIGEST.fullmatch(digest) is not None
        case [str(path), "dir", int(mode)]:
            entry = TreeEntry(path, "dir", mode)
            fit = 0 <= mode <= 0o777
        case [str(path), "link", str(target)]:
            entry = TreeEntry(path, "link", target=target)
            fit = _written(target)
        case _:
            raise BadManifest(f"line {number} is no entry of a tree")
    if not fit or not is_name_in_tree(entry.path):
        raise BadManifest(f"line {number} has a value that no entry has")
    return entry


def is_name_in_tree(path: str) -> bool:
    """Whether it names something in a tree, and nothing outside."""
    parts = path.split("/")
    return _written(path, PATH_MAX - PLACE_MAX, PART_MAX) and not {"", ".", ".."} & set(parts)


def _written(text: str, most: int = PATH_MAX, part: int = PATH_MAX) -> bool:
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a character that is no byte of a name
        return False
    if encoded.decode("utf-8", "surrogateescape") != text:  # bytes one by one that are a character
        return False
    longest = max(map(len, encoded.split(b"/")))
    return 0 < len(encoded) <= most and longest <= part and b"\0" not in encoded
