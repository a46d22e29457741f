"""A tar on its way into a container of a job's: what no process of the job could make is not let along.

The Engine unpacks it as root of the host, whatever its containers may do: with device nodes, capabilities of
files and all. In a cache these would lie on the host's own disk. So each header is read before it goes out,
by a grammar that leaves no second reading: what two readers could take for different things is refused. (How
Go's archive/tar reads, which the Engine uses, is what the refusals are for.)
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from mayfly.core.admission.outcome import Refused
from mayfly.core.admission.request import shown

BLOCK = 512
EXTENDED_MOST = 64 * 1024  # bytes of an extended header; Go reads up to 1 MiB
RECORDS_MOST = 256  # in one extended header
# By these first bytes the Engine knows what is compressed, and unpacks that before.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_FIRST = 6
_OCTAL = re.compile(rb"[ \0]*([0-7]{0,12})[ \0]*")
_SIZE = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_RECORD = re.compile(rb"([1-9][0-9]{0,7}) ")
_XATTR = "SCHILY.xattr."
_KNOWN = re.compile(
    rf"{re.escape(_XATTR)}.*|path|linkpath|size|uid|gid|uname|gname|mtime|atime|ctime|comment|charset|"
    r"hdrcharset|SCHILY\.(?:dev|ino|nlink|fflags)|LIBARCHIVE\..*|MSWINDOWS\..*|GOLANG\..*|DOCKER\..*",
    re.DOTALL,
)
_WITH_CONTENT = b"0"
_WITHOUT = b"\x00" + b"1256"  # an old form of a file, and links, directories, queues
_DEVICES = b"34"
_ABOUT_THE_NEXT = b"xLK"  # what more is said of the entry that follows
_ABOUT_ALL = b"g"  # which the Engine does not heed
_TWICE = "the archive can be read in two ways"


class Archive:
    """One that streams; ``capabilities`` are what root in the job's containers has at most."""

    def __init__(self, capabilities: Collection[str]) -> None:
        self._capabilities = capabilities
        self._held = bytearray()  # not decided on yet
        self._begun = False
        self._passes = 0  # bytes that go out unread: what is in a file
        self._extended: tuple[bytes, int] | None = None  # kind and size of what is being collected
        self._about_next: dict[bytes, dict[str, str]] = {}
        self._zeros = 0  # blocks; two are the end, behind which nobody reads
        self.headers = 0  # read so far: what it costs whoever reads them

    def passed(self, piece: bytes) -> bytes:
        """What may go out by now; `Refused` where something must not."""
        self._held += piece
        going = bytearray()
        if not self._begun:
            if len(self._held) < _FIRST:
                return b""
            self._begun = True
            first = bytes(self._held[:_FIRST])
            if first.startswith(_COMPRESSED) or _SKIPPABLE.match(first):
                raise Refused("a compressed archive is refused: send the tar as it is", 400)
        while part := self._next():
            going += part
        return bytes(going)

    def rest(self) -> bytes:
        """What is left at the end: less than a header, of which the Engine says that it is none."""
        return bytes(self._held)

    def _next(self) -> bytes:
        if self._zeros == 2:
            return self._taken(len(self._held))
        if self._passes:
            part = self._taken(min(self._passes, len(self._held)))
            self._passes -= len(part)
            return part
        if self._extended is not None:
            return self._collected(*self._extended)
        if len(self._held) < BLOCK:
            return b""
        self._header(bytes(self._held[:BLOCK]))
        return self._taken(BLOCK)

    def _taken(self, count: int) -> bytes:
        part = bytes(self._held[:count])
        del self._held[:count]
        return part

    # -- one header ------------------------------------------------------------------------

    def _header(self, block: bytes) -> None:
        self.headers += 1
        if not any(block):
            self._zeros += 1
            return
        if self._zeros:
            raise Refused(f"{_TWICE}: it goes on behind an empty block", 400)
        summed = _number(block[148:156])
        if summed != sum(block) - sum(block[148:156]) + 8 * ord(" "):
            raise Refused("the archive is no tar: a header's checksum is wrong", 400)
        size, kind = _number(block[124:136]), block[156:157]
        if size is None:
            raise Refused("a file in the archive is larger than one may be", 400)
        if kind in _ABOUT_THE_NEXT:
            if kind in self._about_next:
                raise Refused(f"{_TWICE}: an entry is described twice", 400)
            if size > EXTENDED_MOST:
                raise Refused(
                    f"an entry of the archive is described by {size} bytes: {EXTENDED_MOST} are the most",
                    400,
                )
            self._extended = (kind, size)
            return
        about, self._about_next = self._about_next, {}
        if kind in _ABOUT_ALL:
            if about:
                raise Refused(f"{_TWICE}: a description is of no entry", 400)
            self._passes = _whole(size)
            return
        self._entry(block, kind, size, about)

    def _entry(
        self, block: bytes, kind: bytes, size: int, about: dict[bytes, dict[str, str]]
    ) -> None:
        said = {key: value for one in about.values() for key, value in one.items()}
        name = said.get("path") or block[:100].split(b"\0")[0].decode(errors="replace")
        size = int(said.get("size", size))
        if kind in _DEVICES:
            if "MKNOD" not in self._capabilities:
                raise Refused(f"the device {shown(name)} is refused: no process of a job makes any")
        elif kind not in _WITH_CONTENT + _WITHOUT:
            raise Refused(f"{shown(name)} in the archive is no file, directory or link", 400)
        for key in said:
            self._attribute(name, key)
        if kind in _WITH_CONTENT:
            self._passes = _whole(size)
        elif size:
            raise Refused(f"{_TWICE}: {shown(name)} has content, which only a file has", 400)

    def _attribute(self, name: str, key: str) -> None:
        if not key.startswith(_XATTR):
            return
        attribute = key.removeprefix(_XATTR)
        own = attribute.startswith("user.")
        if not own and not (attribute == "security.capability" and "SETFCAP" in self._capabilities):
            raise Refused(f"the attribute {shown(attribute)} of {shown(name)} is refused")

    # -- what is said of the next one --------------------------------------------------------

    def _collected(self, kind: bytes, size: int) -> bytes:
        if len(self._held) < _whole(size):
            return b""
        content = bytes(self._held[:size])
        if kind == b"x":
            self._about_next[kind] = dict(_records(content))
        else:
            called = content.partition(b"\0")[0].decode(errors="replace")
            self._about_next[kind] = {"path": called} if kind == b"L" else {}
        self._extended = None
        return self._taken(_whole(size)) or self._next()


def _whole(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _number(field: bytes) -> int | None:
    """``None``: it is none, or of a size that no upload has."""
    read = _OCTAL.fullmatch(field)
    return int(read[1] or b"0", 8) if read else None


def _records(content: bytes) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    at, end = 0, len(content)
    while at < end:
        read = _RECORD.match(content, at)
        behind = at + int(read[1]) if read else 0
        record = content[read.end() : behind] if read else b""
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        name = key.decode(errors="replace")
        if not record.endswith(b"\n") or behind > end or not equals or name in seen:
            raise Refused(f"{_TWICE}: a description of an entry is none", 400)
        if len(seen) == RECORDS_MOST:
            raise Refused(
                f"more than {RECORDS_MOST} things are said of one entry of the archive: have it without "
                "extended attributes",
                400,
            )
        text = value.decode(errors="replace")
        if not _KNOWN.fullmatch(name) or (name == "size" and not _SIZE.fullmatch(text)):
            raise Refused(f"{_TWICE}: {shown(name)} is said of an entry", 400)
        if b"\0" in key or (b"\0" in value and not name.startswith(_XATTR)):
            raise Refused(f"{_TWICE}: {shown(name)} of an entry has a NUL", 400)
        seen.add(name)
        yield name, text
        at = behind
