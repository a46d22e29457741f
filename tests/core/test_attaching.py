"""Frames between a person's end and the manager: whole however they are cut, and bounded."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.attaching import (
    FRAME_MAX,
    TYPE,
    End,
    Frame,
    Frames,
    Kind,
    Malformed,
    Size,
    end_frame,
    end_in,
    framed,
    size_frame,
    size_in,
)


@given(st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=50))), st.integers(1, 9))
def test_frames_come_out_whole_however_they_are_cut(
    sent: list[tuple[Kind, bytes]], step: int
) -> None:
    data = b"".join(framed(kind, one) for kind, one in sent)
    frames = Frames()
    found = [
        frame for at in range(0, len(data), step) for frame in frames.feed(data[at : at + step])
    ]
    assert found == [Frame(kind, one) for kind, one in sent]


def test_what_is_long_goes_in_several_and_none_is_over_the_bound() -> None:
    data = bytes(FRAME_MAX) + b"x"
    found = list(Frames().feed(framed(Kind.OUT, data)))
    assert [len(frame.data) for frame in found] == [FRAME_MAX, 1]
    assert b"".join(frame.data for frame in found) == data


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">BxxxI", 5, 0),
        struct.pack(">BxxxI", 255, 1),
        struct.pack(">BxxxI", Kind.INPUT, FRAME_MAX + 1),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_frame_is_told_before_it_is_held(data: bytes) -> None:
    with pytest.raises(Malformed):
        list(Frames().feed(data))


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_end_in_frames_or_are_malformed(data: bytes) -> None:
    try:
        found = list(Frames().feed(data))
    except Malformed:
        return
    for frame in found:
        for read in (size_in, end_in):
            try:
                read(frame)
            except Malformed:
                continue


def test_a_size_and_an_end_come_back_as_they_were() -> None:
    (frame,) = Frames().feed(size_frame(Size(40, 132)))
    assert size_in(frame) == Size(40, 132)
    for end in (End(7), End(None, "the job has ended")):
        (frame,) = Frames().feed(end_frame(end))
        assert end_in(frame) == end


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\1\0\1\0"])
def test_a_size_that_no_terminal_has_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        size_in(Frame(Kind.SIZE, data))


@pytest.mark.parametrize("name", ["xterm'; id #", "a b", "", "x" * 65, "-x", "a\n"])
def test_a_type_that_a_shell_would_obey_is_none(name: str) -> None:
    assert TYPE.fullmatch(name) is None
