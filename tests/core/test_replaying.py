"""`python -m tests.replay FILE`: whatever the file is, one sentence, and an exit code of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.facts import ManagerResumed
from mayfly.core.memory import Memory
from mayfly.core.model import Config, HostId, HostSpec
from mayfly.core.observed import Observed
from mayfly.core.outcomes import Outcome, Result
from mayfly.core.recording import Recorder, Recording
from mayfly.core.state import State
from mayfly.core.stimuli import Started
from tests.replay import main

FILE = "report.json"
Spoil = Callable[[dict[str, Any]], object]


@pytest.fixture
def report() -> dict[str, Any]:
    """Of a manager that started and did nothing else."""
    state = State(
        HostId("0" * 12),
        "run",
        Config(HostSpec("box"), ()),
        Memory(),
        Observed(HostId("0" * 12)),
        noise=0,
    )
    kept = Recording(state)
    recorder = Recorder(lambda *_: Outcome(Result.UNKNOWN), kept)
    step = recorder.step(state, [Started(host_restarted=False)], 1.0)
    recorder.keep([Started(host_restarted=False)], 1.0, step, recorded=True)
    document = {"schema": "mayfly.bugreport/1", "recording": kept.document()}
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found


def replay(home: Path, document: object) -> int:
    text = document if isinstance(document, str) else json.dumps(document)
    (home / FILE).write_text(text)
    return main([str(home / FILE)])


def test_the_same_is_0_and_another_is_1(tmp_path: Path, report: dict[str, Any]) -> None:
    assert replay(tmp_path, report) == replay(tmp_path, report["recording"]) == 0
    fact = {"is": "ManagerResumed", "at": 1.0, "by": "ann"}
    assert ManagerResumed(1.0, "ann")
    report["recording"]["steps"][0]["facts"] = [fact]
    assert replay(tmp_path, report) == 1


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda _: "", "is not a whole JSON document"),
        (lambda report: json.dumps(report)[:100], "is not a whole JSON document"),
        (lambda _: "null", "has no schema"),
        (lambda _: "[]", "has no schema"),
        (lambda _: "[" * 100_000, "is not a whole JSON document"),
        (
            lambda report: report | {"schema": "mayfly.bugreport/2"},
            "'mayfly.bugreport/2'; what can",
        ),
        (
            lambda report: report | {"recording": report["recording"] | {"schema": "x/9"}},
            "has the schema 'x/9'; what can be read is",
        ),
        (lambda _: {"schema": "mayfly.bugreport/1"}, "is a report without a recording"),
        (lambda report: report | {"recording": None}, "is a report without a recording"),
        (
            lambda report: report | {"recording": {"unknown": "Down: nobody\n answers"}},
            "holds no recording, for it could not be had: Down: nobody answers",
        ),
        (
            lambda report: {"schema": "mayfly.recording/1", "steps": []},
            "is of another version, or damaged (KeyError: 'state')",
        ),
        (
            lambda report: json.dumps(report).replace('"Started"', '"Commenced"'),
            "is of another version, or damaged (ValueError: there is no 'Commenced'",
        ),
        (
            lambda report: report | {"recording": report["recording"] | {"steps": 7}},
            "is of another version, or damaged (TypeError",
        ),
        (
            lambda report: report | {"recording": report["recording"] | {"state": 7}},
            "is of another version, or damaged (AttributeError",
        ),
    ],
)
def test_what_cannot_be_stepped_through_is_2_and_one_sentence(
    tmp_path: Path,
    report: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    spoil: Spoil,
    sentence: str,
) -> None:
    assert replay(tmp_path, spoil(report)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert sentence in told.err
    assert told.err.startswith("replay: ")
    assert told.err.count("\n") == 1


def test_a_file_that_is_not_there_and_none_at_all_are_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == main(["a", "b"]) == main([str(tmp_path / "none")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["replay: one file is wanted: python -m tests.replay FILE"] * 2
    assert lines[2].endswith("none cannot be read: No such file or directory")
