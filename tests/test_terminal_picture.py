"""A picture of a terminal says what was printed, and is left where it says the same."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from tests.terminal_picture import keep, terminal, words

PRINTED = "lab: 2 slots\r\nSLOT   JOB        FOR\r\ngpu-0  \x1b[32mt{}\x1b[0m  {}s <&>\r\n"


def test_it_is_a_picture_of_what_was_printed_with_its_colours() -> None:
    shown = terminal(PRINTED.format("abcdefgh", 4), "mayfly status")
    root = ET.fromstring(shown)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    told = "mayfly status lab: 2 slots SLOT JOB FOR gpu-0 tabcdefgh 4s <&>"
    assert words(shown).startswith(told)
    assert "url(http" not in shown
    assert "@font-face" not in shown


def test_one_that_says_the_same_but_for_times_and_ids_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "status.svg"
    first = terminal(PRINTED.format("abcdefgh", 4), "mayfly status")
    assert keep(file, first)
    assert not keep(file, terminal(PRINTED.format("zyxwvuts", 17), "mayfly status"))
    assert file.read_text() == first
    other = terminal(PRINTED.format("abcdefgh", 4).replace("gpu-0", "cpu-0"), "mayfly status")
    assert keep(file, other)
    assert file.read_text() == other
