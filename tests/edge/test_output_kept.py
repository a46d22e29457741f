"""One agent's output on disk: what is shown, what is kept, and what a torn file does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.edge.output_kept import (
    BEGIN,
    BEGINNING_GONE,
    END,
    ERR,
    NOTE,
    OUT,
    PIECE,
    Chunk,
    KeptFile,
    KeptReader,
    LongLines,
    Shears,
    own_frame,
    stamp,
)

if TYPE_CHECKING:
    from pathlib import Path


def shown(*pieces: bytes) -> bytes:
    """What is shown of stdout that came in these pieces."""
    shears = Shears()
    out = list(shears.cut(BEGIN, 0, b""))
    for piece in pieces:
        out += shears.cut(OUT, 0, piece)
    out += shears.rest()
    return b"".join(chunk.data for chunk in out)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], b""),
        ([b"mayfly: at gate g\n", b"a\n", b"mayfly: ended 0\n"], b"a\n"),
        ([b"mayfly: at gate g\n", b"mayfly: ended 137\n"], b""),
        ([b"foomayfly: ended 0\n"], b"foo"),
        ([b"foomayfly: ended 0"], b"foo"),
        ([b"a\n", b"mayfly: ended 0\n", b"b\n", b"mayfly: ended 1\n"], b"a\nmayfly: ended 0\nb\n"),
        ([b"a\n", b"mayfly: at gate g\n"], b"a\nmayfly: at gate g\n"),
        ([b"xxmayf", b"ly: ended 3\n"], b"xx"),
        ([b"mayfly: ended 3\n", b"mayfly: ended 3\n"], b"mayfly: ended 3\n"),
        ([b"mayfly: ended 1000\n"], b"mayfly: ended 1000\n"),
        ([b"mayfly: ended\n"], b"mayfly: ended\n"),
        ([b"no newline"], b"no newline"),
    ],
)
def test_only_the_first_and_the_last_words_of_mayfly_are_cut_off(
    pieces: list[bytes], expected: bytes
) -> None:
    assert shown(*pieces) == expected


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(0, 255))
def test_whatever_a_job_prints_is_shown_whole(pieces: list[bytes], code: int) -> None:
    printed = b"".join(pieces)
    assert shown(*pieces, b"mayfly: ended %d\n" % code) == printed or printed.startswith(
        b"mayfly: at gate "
    )


def line(text: str, stream: int = OUT) -> bytes:
    return own_frame(stream, text + "\n")


def read(path: Path) -> tuple[list[Chunk], bool]:
    reader = KeptReader(path)
    out: list[Chunk] = []
    while (more := reader.more()) is not None:
        out += more
    out += reader.rest()
    reader.close()
    return out, reader.ended


@pytest.mark.parametrize("cut", [0, 1, 16383])
@pytest.mark.parametrize(
    "end", [b"\n", b""]
)  # json-file says that the last piece ends its line, local does not
def test_a_long_lines_last_piece_ends_it_whether_the_engine_says_so_or_not(
    cut: int, end: bytes
) -> None:
    lines = LongLines()
    pieces = (b"x" * PIECE, b"y" * PIECE, b"z" * cut + end)
    printed = b"".join(lines.whole(OUT, piece) for piece in pieces)
    assert printed == b"x" * PIECE + b"y" * PIECE + b"z" * cut + b"\n"
    assert lines.whole(ERR, b"no newline") == b"no newline"
    assert lines.whole(OUT, b"no newline") == b"no newline"


def test_what_is_kept_twice_is_known_and_what_is_new_is_not(tmp_path: Path) -> None:
    file = KeptFile(tmp_path / "g.log", 1 << 20)
    assert file.open().since == 0
    same, err, new = line("same"), line("err", ERR), line("new")
    file.append(same + same + err)
    resume = KeptFile(tmp_path / "g.log", 1 << 20).open()
    assert resume.since <= stamp(same[8:])[0]
    assert resume.fresh(same + err + same + same + new) == same + new


def test_a_note_at_the_end_makes_nothing_come_twice(tmp_path: Path) -> None:
    file = KeptFile(tmp_path / "g.log", 1 << 20)
    file.open()
    same, new = line("same"), line("new")
    file.append(same)
    file.append(own_frame(NOTE, "3 bytes of output are missing here"))
    resume = KeptFile(tmp_path / "g.log", 1 << 20).open()
    assert resume.fresh(same + new) == new


def test_what_was_printed_later_but_is_kept_before_a_note_does_not_come_twice(
    tmp_path: Path,
) -> None:
    """The streams are kept as they come: one may be ahead of the other by hundreds of lines."""
    file = KeptFile(tmp_path / "g.log", 1 << 20)
    file.open()
    out = line("out")
    ahead = [line(f"err {number}", ERR) for number in range(300)]
    file.append(b"".join(ahead))
    file.append(own_frame(NOTE, "the first part of this output was lost"))
    file.append(out)
    resume = KeptFile(tmp_path / "g.log", 1 << 20).open()
    new = line("new", ERR)
    again = [one for one in ahead if stamp(one[8:])[0] >= resume.since]
    assert again
    assert resume.fresh(b"".join([out, *again, new])) == new


def test_a_torn_end_is_cut_off_and_what_was_before_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "g.log"
    file = KeptFile(path, 1 << 20)
    file.open()
    file.append(line("one"))
    whole = path.read_bytes()
    for torn in (line("two")[:-1], line("two")[:3], b"\0" * 8 + b"\xff" * 40):
        path.write_bytes(whole + torn)
        again = KeptFile(path, 1 << 20)
        again.open()
        again.append(line("three"))
        again.close()
        assert b"".join(chunk.data for chunk in read(path)[0]).endswith(b"one\nthree\n")


def test_the_tail_is_bounded_and_a_reader_follows_it_over_the_turns(tmp_path: Path) -> None:
    path = tmp_path / "g.log"
    file = KeptFile(path, 20_000)
    file.open()
    reader = KeptReader(path)
    seen: list[bytes] = []
    for number in range(5000):
        file.append(line(str(number)))
        assert file.kept <= 20_000
        while (more := reader.more()) is not None:
            seen += [chunk.data for chunk in more]
    file.end()
    assert reader.more() == []
    assert reader.ended
    late = KeptReader(path)
    chunks = late.more()
    assert chunks is not None
    assert (chunks[0].stream, chunks[0].data) == (NOTE, BEGINNING_GONE)
    late.close()
    assert seen == [b"%d\n" % number for number in range(5000)]
    assert file.kept == sum(entry.stat().st_size for entry in tmp_path.iterdir())
    tail, ended = read(path)
    assert ended
    assert tail[-1].data == b"4999\n"


def test_a_slow_reader_is_told_that_it_missed_something(tmp_path: Path) -> None:
    file = KeptFile(tmp_path / "g.log", 2_000)
    file.open()
    reader = KeptReader(tmp_path / "g.log")
    assert reader.more() == []
    for number in range(1000):
        file.append(line(str(number)))
    streams: list[int] = []
    while (more := reader.more()) is not None:
        streams += [chunk.stream for chunk in more]
    assert streams.count(0) == 1
    assert 1 < len(streams) < 1000


def test_an_ended_file_says_so_when_it_is_taken_up_again(tmp_path: Path) -> None:
    file = KeptFile(tmp_path / "g.log", 1 << 20)
    file.open()
    file.append(line("mayfly: ended 0"))
    file.end()
    resume = file.open()
    assert resume.ended
    assert resume.parted


def test_a_thrown_away_past_is_not_asked_for_again(tmp_path: Path) -> None:
    file = KeptFile(tmp_path / "g.log", 2_000)
    file.open()
    frames = [line(str(number)) for number in range(200)]
    for frame in frames:
        file.append(frame)
    kept = (tmp_path / "g.log.1").read_bytes()
    assert file.open().since > stamp(kept[8:])[0]


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        (b"1970-01-01T00:00:01.000000002Z x", 1_000_000_002),
        (b"1970-01-01T01:00:01.000000002+01:00 x", 1_000_000_000),  # Podman; microseconds suffice
        (b"1970-01-01T00:00:01Z x", 1_000_000_000),
    ],
)
def test_times_are_read_in_every_form_an_engine_writes(text: bytes, nanos: int) -> None:
    at, skip = stamp(text)
    assert at == nanos
    assert text[skip:] == b"x"


def test_frames_of_mayflys_own_have_the_engines_form() -> None:
    frame = own_frame(END, "")
    assert frame[0] == END
    assert stamp(frame[8:])[1] == len(frame) - 8
