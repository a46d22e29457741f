"""The frame: what goes in comes out, small ones as lines that a shell reads without any program."""

from __future__ import annotations

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.core.model import Generation
from mayfly.edge.gate import SHORT, frame, words
from mayfly.engines.simulated.gate import unpacked

G = Generation("g000000000001")
FILES = st.dictionaries(
    st.from_regex(r"\A[a-z_][a-z_.]{0,20}\Z"), st.binary(max_size=SHORT // 4), max_size=6
)


@given(files=FILES)
def test_what_is_framed_is_unpacked(files: dict[str, bytes]) -> None:
    assert unpacked(frame(G, files), G) == files


def test_a_small_frame_is_lines_of_printable_ascii() -> None:
    found = frame(G, {"job.argv": b"a\\ b\n\0\xff", "job.env": b""})
    header, *lines = found.decode().splitlines()
    assert header == "MAYFLY/3 g000000000001 42 lines"
    assert lines == ["job.argv a\\0134 b\\0012\\0000\\0377", "job.env "]


def test_a_large_frame_is_a_tar() -> None:
    most = b"x" * (SHORT - len("token \n"))
    assert frame(G, {"token": most}).startswith(b"MAYFLY/3 g000000000001 4096 lines\n")
    large = frame(G, {"token": most + b"x"})
    assert b"lines" not in large.partition(b"\n")[0]
    assert unpacked(large, G) == {"token": most + b"x"}


# What a shell makes of them; an argument of a program holds no zero byte.
TEXTS = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    max_size=5,
)


@given(texts=TEXTS)
@settings(max_examples=40, deadline=None)
def test_words_are_what_a_shell_takes_them_for(texts: list[str]) -> None:
    line, _, more = words(texts).partition(b"\n")
    text = more if line == b"&" else line
    show = 'eval "set -- $1"; for one do printf "%s\\0" "$one"; done'
    said = subprocess.run(["sh", "-c", show, "sh", text], capture_output=True, check=True).stdout
    assert said == b"".join(one.encode() + b"\0" for one in texts)


def test_what_is_no_plain_line_is_said_to_be_none() -> None:
    assert words(["true"]) == b"true\n"
    assert words([]) == b"\n"
    assert words(["a\nb"]) == b"&\n'a\nb'\n"
    assert words(["\udcff"]) == b"&\n'\xff'\n"
    assert words(["x" * (SHORT + 1)]).startswith(b"&\n")
