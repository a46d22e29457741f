"""The file of a backup that somebody has made by hand: what is in it is looked at, whatever it says."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import tarfile
from functools import partial
from pathlib import Path

import pytest

from mayfly.core.backup import is_written
from mayfly.edge.backup_archive import Reader, Writer
from mayfly.edge.faults import Refused
from tests.harness import disk


def entry(name: str, data: bytes = b"", **said: object) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for key, value in said.items():
        setattr(made, key, value)
    return made, data


def made_by_hand(entries: list[tuple[tarfile.TarInfo, bytes]], first: bytes = b"{}") -> bytes:
    """A backup with those entries and its checksum right, as who means harm writes it."""
    sums, out = hashlib.sha256(), io.BytesIO()
    every = [entry("manifest.json", first), *entries]
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for made, data in every:
            archive.addfile(made, io.BytesIO(data))
            digest = hashlib.sha256(data).hexdigest()
            sums.update(f"{made.name}\0{made.size}\0{digest}\n".encode())
        told = {"entries": len(every), "sha256": sums.hexdigest()}
        archive.addfile(*as_file(entry("end.json", json.dumps(told).encode())))
    return gzip.compress(out.getvalue())


def as_file(made: tuple[tarfile.TarInfo, bytes]) -> tuple[tarfile.TarInfo, io.BytesIO]:
    return made[0], io.BytesIO(made[1])


def unpacked(data: bytes, folder: Path) -> list[str]:
    folder.mkdir()
    reader = Reader(io.BytesIO(data), "it")
    return list(reader.unpack(folder, partial(is_written, providers={"forge"}, secrets=False)))


def test_what_is_as_mayfly_writes_it_is_unpacked(tmp_path: Path) -> None:
    data = made_by_hand([entry("state/output/a", b"text", mode=0o6644)])
    assert unpacked(data, tmp_path / "to") == ["state/output/a"]
    place = tmp_path / "to/state/output/a"
    assert place.read_bytes() == b"text"
    assert place.stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize(
    "bad",
    [
        entry("state/passwd"),
        entry("state/output/../../x"),
        entry("state/output/a", mtime=1e30),
        entry("state/output/a", mtime=-1e12),
        entry("state/output/\x1b[31ml", type=tarfile.SYMTYPE, linkname="/etc"),
        entry("state/output/l", type=tarfile.LNKTYPE, linkname="state/output/here"),
        entry("state/output/d", type=tarfile.CHRTYPE),
        entry("state/output/d", type=tarfile.DIRTYPE),
        entry(
            "state/output/a",
            pax_headers={"GNU.sparse.map": "9000000000,0", "GNU.sparse.size": "9000000000"},
        ),
        entry("state/output/here"),
        entry("state/output/here/x"),
    ],
    ids=lambda bad: bad[0].name,
)
def test_an_entry_that_mayfly_never_writes_is_refused(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes]
) -> None:
    data = made_by_hand([entry("state/output/here", b"first"), bad])
    with pytest.raises(Refused, match="an entry that Mayfly never writes") as refused:
        unpacked(data, tmp_path / "to")
    assert str(refused.value).isprintable()
    (only,) = (one for one in (tmp_path / "to").rglob("*") if not one.is_dir())
    assert only.read_bytes() == b"first"


def test_what_unpacks_to_more_than_the_disk_has_is_not_begun(tmp_path: Path) -> None:
    data = made_by_hand([entry("state/output/a", b"text"), entry("state/output/b", bytes(8 << 20))])
    with disk(tmp_path / "small", "8m"):
        with pytest.raises(OSError, match="No space left on device"):
            unpacked(data, tmp_path / "small/to")
        assert [one.name for one in (tmp_path / "small/to").rglob("?")] == ["a"]


def test_a_document_that_nests_without_end_is_damage() -> None:
    with pytest.raises(Refused, match="is damaged"):
        Reader(io.BytesIO(made_by_hand([], b"[" * 100_000)), "it")


def test_a_file_that_the_disk_does_not_give_is_named(tmp_path: Path) -> None:
    """What is in the way is not where the backup is written to."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(Refused, match=f"{loop} cannot be read: Too many levels"):
        Writer(io.BytesIO()).file("state/output/a", loop)
    writer = Writer(io.BytesIO())
    with pytest.raises(Refused, match="state/output/a cannot be read: Input/output error"):
        writer._add("state/output/a", _Ill(), 7, 0o600, 0)


class _Ill(io.BytesIO):
    """A file on a disk that fails."""

    def read(self, _size: int | None = -1, /) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_time_that_no_backup_can_say_is_the_nearest_that_one_can(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"text")
    os.utime(old, (-5, -5))
    out = io.BytesIO()
    writer = Writer(out)
    writer.text("manifest.json", {})
    writer.file("state/output/a", old)
    writer.end()
    assert unpacked(out.getvalue(), tmp_path / "to") == ["state/output/a"]
