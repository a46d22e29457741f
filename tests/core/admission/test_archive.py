"""Tars that are copied into a container go out as they came; what no process of a job could make stays."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.admission.archive import BLOCK, EXTENDED_MOST, RECORDS_MOST, Archive
from mayfly.core.admission.outcome import Refused

USUAL = ("CHOWN", "SETFCAP")
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "link",
    tarfile.FIFOTYPE: "queue",
}


def entry(name: str = "x", kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, "/etc/passwd" if kind in b"12" else ""
    made.mode = 0o6755
    return made


def tar(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=form) as made:
        for info, content in entries:
            made.addfile(info, io.BytesIO(content))
    return whole.getvalue()


def passed(data: bytes, pieces: Iterable[int] = (), capabilities: tuple[str, ...] = USUAL) -> bytes:
    archive, out = Archive(capabilities), b""
    for size in (*pieces, len(data)):
        out += archive.passed(data[:size])
        data = data[size:]
    return out + archive.rest()


def refused(data: bytes, capabilities: tuple[str, ...] = USUAL) -> str:
    with pytest.raises(Refused) as found:
        passed(data, capabilities=capabilities)
    return found.value.refuse.sentence


names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200
)


@given(
    st.lists(
        st.tuples(names, st.sampled_from(sorted(KINDS)), st.binary(max_size=1500)), max_size=4
    ),
    st.sampled_from(FORMATS),
    st.lists(st.integers(0, 1500), max_size=12),
)
def test_what_a_job_could_make_itself_goes_out_byte_for_byte_however_it_comes(
    entries: list[tuple[str, bytes, bytes]], form: int, pieces: list[int]
) -> None:
    made = []
    for name, kind, content in entries:
        held = content if kind == tarfile.REGTYPE else b""
        made.append((entry(name, kind, len(held)), held))
    try:
        data = tar(*made, form=form)
    except (ValueError, UnicodeError):  # a name that this form has no room for
        return
    assert passed(data, pieces) == data


def test_a_name_of_any_length_and_an_attribute_of_one_s_own_go_out() -> None:
    long = entry("d/" * 300 + "x", size=3)
    long.pax_headers = {"SCHILY.xattr.user.note": "é", "comment": "so"}
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = tar((long, b"abc"), (entry("next"), b""), form=form)
        assert passed(data, [100] * 50) == data


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
@pytest.mark.parametrize("form", FORMATS)
def test_a_device_goes_along_where_a_process_could_make_one(kind: bytes, form: int) -> None:
    disk = entry("disk", kind)
    disk.devmajor, disk.devminor = 8, 0
    data = tar((entry("a", size=600), b"x" * 600), (disk, b""), form=form)
    assert refused(data) == ('the device "disk" is refused: no process of a job makes any')
    assert passed(data, capabilities=(*USUAL, "MKNOD")) == data


def attributed(name: str) -> bytes:
    info = entry("x", size=1)
    info.pax_headers = {f"SCHILY.xattr.{name}": "\x01"}
    return tar((info, b"x"))


def test_attributes_that_only_the_engine_could_set_are_refused() -> None:
    capability = attributed("security.capability")
    assert passed(capability) == capability
    assert "security.capability" in refused(capability, ("CHOWN",))
    for name in ("trusted.overlay.redirect", "security.selinux", "system.posix_acl_access"):
        assert name in refused(attributed(name))


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress,
        lzma.compress,
        lambda data: b"BZh91AY&SY" + data,
        lambda data: b"\x28\xb5\x2f\xfd" + data,
        lambda data: b"\x5a\x2a\x4d\x18" + data,
    ],
)
def test_what_has_to_be_unpacked_before_it_can_be_read_is_refused(
    packed: Callable[[bytes], bytes],
) -> None:
    assert "compressed" in refused(packed(tar((entry(), b""))))


def header(kind: bytes, size: int = 0, name: bytes = b"x", field: bytes | None = None) -> bytes:
    """A header by hand."""
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = field if field is not None else b"%011o\0" % size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def record(key: str, value: str) -> bytes:
    tail = f" {key}={value}\n"
    length = len(tail) + 1
    while len(f"{length}{tail}") != length:
        length += 1
    return f"{length}{tail}".encode()


HIDDEN = header(b"3", name=b"disk")  # in what one reader takes for content


@pytest.mark.parametrize(
    "data",
    [
        # Go takes an old file whose name ends so for a directory, which has no content.
        header(b"\0", BLOCK, b"dir/") + HIDDEN,
        header(b"5", BLOCK) + HIDDEN,
        header(b"1", BLOCK) + HIDDEN,
        header(b"2", BLOCK) + HIDDEN,
        header(b"6", BLOCK) + HIDDEN,
        header(b"x", 12) + padded(record("size", "512")) + header(b"5") + HIDDEN,
        # Two descriptions of one entry, or one of none.
        2 * (header(b"x", 12) + padded(record("size", "512"))) + header(b"0") + HIDDEN,
        header(b"x", 12) + padded(record("size", "512")) + header(b"g", 0) + header(b"0") + HIDDEN,
        # Sizes that are spelt in another way.
        header(b"0", field=b"\x80" + b"\0" * 10 + b"\x02") + HIDDEN,
        header(b"0", field=b"-0000001000\0") + HIDDEN,
        header(b"0", field=b"1000\x0077\0\0\0\0\0") + HIDDEN,
        header(b"x", len(record("size", "+512")))
        + padded(record("size", "+512"))
        + header(b"0")
        + HIDDEN,
        header(b"x", len(record("GNU.sparse.size", "512")))
        + padded(record("GNU.sparse.size", "512"))
        + header(b"0")
        + HIDDEN,
        header(b"x", 9) + padded(b"9999 a=b\n") + header(b"0") + HIDDEN,
        header(b"x", 2 * len(record("path", "a")))
        + padded(2 * record("path", "a"))
        + header(b"0")
        + HIDDEN,
        # Kinds that not everybody knows.
        header(b"S", BLOCK) + HIDDEN,
        header(b"7", BLOCK) + HIDDEN,
        header(b"X", BLOCK) + HIDDEN,
        header(b"D", BLOCK) + HIDDEN,
        header(b"V") + HIDDEN,
        # What goes on where an end was.
        bytes(BLOCK) + HIDDEN,
        # A checksum that is one of other bytes.
        header(b"0").replace(b"0000644", b"0000755") + HIDDEN,
        b"x" * BLOCK,
    ],
)
def test_what_two_readers_could_take_for_two_things_is_refused(data: bytes) -> None:
    assert "disk" not in refused(data + bytes(2 * BLOCK)), "it is refused before that is reached"


def test_behind_its_end_nobody_reads_and_a_broken_one_goes_out_as_it_is() -> None:
    whole = tar((entry(), b"")) + b"anything" * 100
    assert passed(whole) == whole
    for length in (0, 3, 100, BLOCK + 1):
        assert (
            passed(tar((entry("f", size=700), b"y" * 700))[:length])
            == (tar((entry("f", size=700), b"y" * 700))[:length])
        )


def test_the_size_that_is_said_beside_a_header_counts() -> None:
    record_of_size = record("size", "3")
    data = (
        header(b"x", len(record_of_size)) + padded(record_of_size) + header(b"0") + padded(b"abc")
    )
    data += HIDDEN
    assert "disk" in refused(data)


def described(*records: bytes) -> bytes:
    content = b"".join(records)
    return header(b"x", len(content)) + padded(content) + header(b"0") + bytes(2 * BLOCK)


def test_a_description_of_many_records_or_of_great_length_is_refused_before_it_is_read() -> None:
    """What reads it serves all agents."""
    records = [record(f"SCHILY.xattr.user.{number}", "x") for number in range(RECORDS_MOST + 1)]
    most = described(*records[:-1])
    assert passed(most) == most
    assert f"more than {RECORDS_MOST} things" in refused(described(*records))
    content = record("comment", "x" * (EXTENDED_MOST - 15))
    assert len(content) == EXTENDED_MOST
    assert passed(described(content)) == described(content)
    sized = header(b"x", EXTENDED_MOST + 1)
    assert f"{EXTENDED_MOST} are the most" in refused(sized), "before any of it has come"


def test_headers_are_counted_for_whoever_pays_for_them() -> None:
    archive = Archive(USUAL)
    archive.passed(described(record("comment", "x")))
    assert archive.headers == 4, "one of the description, one of the file, two of the end"
