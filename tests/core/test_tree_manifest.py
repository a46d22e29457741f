"""A tree as a list: what goes in comes out, and what no honest client writes is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.tree_manifest import (
    MOST_ENTRIES,
    BadManifest,
    TreeEntry,
    digest_of,
    is_name_in_tree,
    manifest,
    read_manifest,
)

SHA = digest_of(b"x")


def file(path: str) -> TreeEntry:
    return TreeEntry(path, "file", 0o644, 1, SHA)


def line(*fields: object) -> bytes:
    return json.dumps(fields).encode() + b"\n"


ODD = ("\U0001f600", "a\nb", "\x1b[2J", "caf\udce9", "ünï", "a b", "-rf", "\u202e", "." * 3)


def test_what_is_written_is_read_in_its_order_whatever_names_it_has() -> None:
    entries = [file(name) for name in ODD]
    entries += [file("a/b"), file("a-b"), TreeEntry("a", "dir", 0o755)]
    entries.append(TreeEntry("link", "link", 0o644, target="../\udcff"))
    found = list(read_manifest(manifest(entries)))
    assert sorted(found, key=lambda one: one.path) == sorted(entries, key=lambda one: one.path)
    assert [one.path for one in found if "/" not in one.path] == [
        os.fsdecode(name)
        for name in sorted(os.fsencode(one.path) for one in found if "/" not in one.path)
    ]
    assert [one.path for one in found].index("a/b") == [one.path for one in found].index("a") + 1


@given(st.lists(st.text(min_size=1).filter(is_name_in_tree), unique=True))
def test_any_names_that_lie_in_no_other_come_back(names: list[str]) -> None:
    flat = [file(name.replace("/", "_")) for name in names]
    flat = list({entry.path: entry for entry in flat}.values())
    assert {one.path for one in read_manifest(manifest(flat))} == {one.path for one in flat}


@pytest.mark.parametrize(
    "lines",
    [
        [b"\n"],
        [b"{}\n"],
        [b"[" * 10_000 + b"\n"],
        [line("a")],
        [line("a", "fifo", 0o644)],
        [line("a", "file", 0o4755, 1, SHA)],
        [line("a", "file", 0o644, -1, SHA)],
        [line("a", "file", 0o644, 1, "../../etc/passwd")],
        [line("a", "file", 0o644, 1, SHA.upper())],
        [line("a", "file", "0644", 1, SHA)],
        [line("a", "dir", 0o1777)],
        [line("a", "link", "")],
        [line("a", "link", "x\0y")],
        [line("a", "link", "x" * 5000)],
        [line("a" * 5000, "dir", 0o755)],
        # What no Linux has: it could be put into no agent.
        [line("a" * 256, "dir", 0o755)],
        [line(f"a/{'é' * 128}/b", "dir", 0o755)],
        [line("a/" * 2047 + "a", "dir", 0o755)],
        [line("a", "link", "x/" * 2048)],
        *[
            [line(name, "dir", 0o755)]
            for name in ("", ".", "..", "/etc", "a/../b", "a//b", "a/", "./a", "a\0b", "\ud800")
        ],
        [line("b", "dir", 0o755), line("a", "dir", 0o755)],
        [line("a", "dir", 0o755), line("a", "dir", 0o755)],
        [line("\udcc3\udca9", "dir", 0o755)],
        [line("a", "link", "\udcc3\udca9")],
        [line("é", "link", "/etc"), line("\udcc3\udca9/x", "file", 0o644, 1, SHA)],
        [line("a", "link", "/etc"), line("a/passwd", "file", 0o644, 1, SHA)],
        [line("a", "file", 0o644, 1, SHA), line("a/b", "file", 0o644, 1, SHA)],
    ],
)
def test_what_leads_out_or_lies_twice_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(BadManifest):
        list(read_manifest(lines))


def test_what_linux_has_is_taken() -> None:
    deep = "/".join(["a" * 255] * 15)
    entries = [TreeEntry("link", "link", target="./" * 2040), TreeEntry(deep, "dir", 0o755)]
    assert sorted(read_manifest(manifest(entries)), key=lambda one: -len(one.path)) == entries[::-1]


def test_a_list_without_an_end_is_read_no_further_than_it_may_be() -> None:
    def endless() -> Iterator[bytes]:
        number = 0
        while True:
            number += 1
            yield line(f"{number:09}", "dir", 0o755)

    read = read_manifest(endless())
    assert len(list(islice(read, MOST_ENTRIES))) == MOST_ENTRIES
    with pytest.raises(BadManifest, match="at most"):
        next(read)
