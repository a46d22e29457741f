"""What changed, as git and people write it down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.pipeline.changes import Change, ChangesError, listed, name_status


def test_each_letter_of_git_is_read_and_both_paths_of_a_rename() -> None:
    output = b"M\0a b\0A\0n\0D\0g\0T\0t\0R087\0old\0new\0C100\0from\0copy\0M\0x\ny\0M\0\xff\0"
    assert name_status(output) == (
        Change("a b"),
        Change("n"),
        Change("g", gone=True),
        Change("t"),
        Change("old", gone=True),
        Change("new"),
        Change("copy"),
        Change("x\ny"),
        Change("\udcff"),
    )


@pytest.mark.parametrize("output", [b"M\0", b"R100\0a\0", b"nonsense\0a\0"])
def test_what_git_never_prints_is_refused(output: bytes) -> None:
    with pytest.raises(ChangesError):
        name_status(output)


THERE = frozenset({"a", "b c", "d/e"})
LISTS = [
    (b"a\nb c\n", (Change("a"), Change("b c"))),
    (b"./a\r\ngone\n", (Change("a"), Change("gone", gone=True))),
    (b"a\0x\ny\0", (Change("a"), Change("x\ny", gone=True))),
    (b"M\ta\nD\td/e\nR090\tq\td/e\n", (Change("a"), Change("d/e"), Change("q", gone=True))),
    (b"", ()),
]


@pytest.mark.parametrize(("output", "changes"), LISTS)
def test_a_list_of_paths_is_read_as_people_make_them(
    output: bytes, changes: tuple[Change, ...]
) -> None:
    assert sorted(listed(output, THERE), key=lambda one: one.path) == sorted(
        changes, key=lambda one: one.path
    )


@pytest.mark.parametrize("output", [b"/etc/passwd\n", b'"a\\tb"\n', b'M\t"a\\tb"\n', b"R100\ta\n"])
def test_a_list_that_cannot_be_meant_is_refused(output: bytes) -> None:
    with pytest.raises(ChangesError, match="list of changes"):
        listed(output, THERE)


PATHS = st.binary(min_size=1).filter(lambda path: b"\0" not in path)


@given(st.lists(st.tuples(st.sampled_from([b"M", b"A", b"D"]), PATHS)))
def test_a_path_of_any_bytes_is_kept(changes: list[tuple[bytes, bytes]]) -> None:
    output = b"".join(letter + b"\0" + path + b"\0" for letter, path in changes)
    found = name_status(output)
    assert [one.path.encode("utf-8", "surrogateescape") for one in found] == [p for _, p in changes]
    assert [one.gone for one in found] == [letter == b"D" for letter, _ in changes]
