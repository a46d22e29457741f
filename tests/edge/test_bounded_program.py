"""Somebody else's program is run to its end, or ended with all that it began."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from mayfly.edge.bounded_program import run, told
from tests.harness import disk


def sh(script: str, seconds: float = 30.0, **variables: str) -> str:
    return told("it", run(["/bin/sh", "-c", script], seconds, variables))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 0", ""),
        ("echo no quota >&2; exit 3", "it ended with 3: no quota"),
        ("printf 'first\\n\\033[31mlast\\033[0m \\001\\n\\n'; exit 1", "it ended with 1: last"),
        ("kill -9 $$", "it ended by signal 9"),
        ("exit 1", "it ended with 1"),
        ("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end; exit 1", "it ended with 1: end"),
        ("[ -t 0 ] || read line || exit 4", "it ended with 4"),
    ],
)
def test_what_it_says_is_its_last_line(script: str, says: str) -> None:
    assert sh(script) == says


def test_one_that_prints_without_end_fills_no_disk_and_its_last_line_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pieces = "head -c 1000000 /dev/zero || exit 9; sleep 0.1"
    script = f"for piece in 1 2 3 4 5 6 7 8 9 10; do {pieces}; done; echo; echo end; exit 1"
    with disk(tmp_path, "6m"):
        assert sh(script) == "it ended with 1: end"


def test_it_is_told_what_it_is_about_and_speaks_to_systemd_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("KEPT", "yes")
    assert (
        sh("echo $A-$KEPT-${NOTIFY_SOCKET:-none}; exit 1", A="b") == "it ended with 1: b-yes-none"
    )


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["/no/such/program"], "it cannot be run: No such file or directory"),
        (["/etc"], "it cannot be run: Permission denied"),
        (["/bin/echo", "a\0b"], "it cannot be run: embedded null byte"),
    ],
)
def test_what_is_no_program_is_said(argv: list[str], says: str) -> None:
    assert told("it", run(argv, 5.0, {})) == says


def test_one_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    place = tmp_path / "child"
    ended = run(["/bin/sh", "-c", f"sleep 600 & echo $! > {place}; wait"], 0.5, {})
    assert told("it", ended) == "it did not end within 0.5 s"
    stat = Path(f"/proc/{place.read_text().strip()}/stat")
    assert not stat.exists() or " Z " in stat.read_text()


def test_one_that_leaves_somebody_behind_is_not_waited_for() -> None:
    assert sh("sleep 5 & exit 0", seconds=4.0) == ""
