"""What the files of a witness say, whole, half and not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mayfly.core.model import Exit, Generation, Witness
from mayfly.edge.faults import Passing
from mayfly.edge.witness import Witnesses

G = Generation("g1")
AT = 1_795_295_545.0  # when every file was written


@pytest.fixture
def witnesses(tmp_path: Path) -> Witnesses:
    return Witnesses(tmp_path)


def says(witnesses: Witnesses, **files: str) -> Witness | None:
    place = witnesses.make(G)
    for name, text in files.items():
        (place / name).write_text(text)
        os.utime(place / name, (AT, AT))
    return witnesses.read(G)


SPARE = " " * 32
WRITTEN = f"{'7 1':<31}\n"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, Witness()),
        ({"ready": "g1\n"}, Witness(ready=AT)),
        ({"opened": "1795295500.5\n"}, Witness(opened=1795295500.5)),
        ({"opened": ""}, Witness()),
        ({"opened": "17952955"}, Witness(opened=AT)),
        ({"opened": "now\n"}, Witness(opened=AT)),
        ({"opened": "1.5\n", "exit": "3 0\n"}, Witness(opened=1.5, exit=Exit(3, 0, AT))),
        ({"opened": "1.5\n", "exit": "3 -\n"}, Witness(opened=1.5, exit=Exit(3, None, AT))),
        ({"opened": "1.5\n", "exit": "3 0"}, Witness(opened=1.5)),
        ({"opened": "1.5\n", "exit": "3\n"}, Witness(opened=1.5)),
        ({"opened": "1.5\n", "exit": "x 0\n"}, Witness(opened=1.5)),
        ({"opened": "1.5\n", "exit": "", "spare": SPARE}, Witness(opened=1.5)),
        ({"opened": "1.5\n", "exit": "", "spare": "7 1"}, Witness(opened=1.5)),
        (
            {"opened": "1.5\n", "exit": "", "spare": WRITTEN},
            Witness(opened=1.5, exit=Exit(7, 1, AT)),
        ),
        ({"opened": "1.5\n", "spare": WRITTEN}, Witness(opened=1.5, exit=Exit(7, 1, AT))),
        (
            {"opened": "1.5\n", "exit": "0 0\n", "spare": WRITTEN},
            Witness(opened=1.5, exit=Exit(0, 0, AT)),
        ),
        ({"opened": "1.5\n", "signals": "TERM\n"}, Witness(opened=1.5, signalled=True)),
        (
            {"opened": "1.5\n", "signs": "one\n\xff two\n"},
            Witness(opened=1.5, signs=("one", "\xff two")),
        ),
    ],
)
def test_a_witness_says_what_its_files_say(
    witnesses: Witnesses, files: dict[str, str], told: Witness
) -> None:
    assert says(witnesses, **files) == told


def test_without_its_directory_there_is_no_witness(witnesses: Witnesses) -> None:
    assert witnesses.read(G) is None
    says(witnesses, ready="g1\n")
    witnesses.remove(G)
    assert witnesses.read(G) is None
    witnesses.remove(G)


@pytest.mark.parametrize("name", ["ready", "opened", "exit", "signs"])
def test_what_cannot_be_read_is_unknown_and_not_nothing(witnesses: Witnesses, name: str) -> None:
    says(witnesses, opened="1.5\n")
    (witnesses.path(G) / name).unlink(missing_ok=True)
    (witnesses.path(G) / name).mkdir()
    with pytest.raises(Passing, match=name):
        witnesses.read(G)


def test_the_spare_bytes_can_be_written_over_by_any_root(witnesses: Witnesses) -> None:
    place = witnesses.make(G)
    assert (place / "spare").stat().st_mode & 0o777 == 0o666
    assert (place / "spare").read_bytes() == SPARE.encode()
