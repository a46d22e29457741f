"""What was promised is there still, or the changelog says what stands in its place; old state is read."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mayfly.core.events import EVENTS
from mayfly.core.facts import event_name
from mayfly.core.model import JobId
from mayfly.edge.faults import Refused
from mayfly.edge.history import History
from mayfly.edge.history_file import FILE_NAME, MIGRATIONS, SCHEMA_VERSION
from mayfly.edge.history_reader import HistoryReader
from tests import compatibility, event_texts

NOW = compatibility.promised()
KEPT = compatibility.kept()
CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def test_no_kind_of_name_is_looked_for_no_more() -> None:
    assert KEPT["promised"].keys() == NOW.keys()
    before = {"metrics": ["a"], "verbs": ["b"]}
    assert compatibility.added(before, {"verbs": ["c"]}) == {"verbs": ["b", "c"], "metrics": ["a"]}


def test_what_is_gone_is_told_under_removed_and_not_elsewhere() -> None:
    text = "## [2]\n### Added\n- `--note`\n### Removed\n- `--wait-more` of drain\n## [1]\n- `id`\n"
    told = compatibility.is_told_gone
    assert told("mayfly drain --wait-more", text)
    assert not any(
        told(name, text) for name in ("mayfly drain --note", "mayfly drain --wait", "jobs: id")
    )


@pytest.mark.parametrize("kind", NOW)
def test_nothing_that_was_promised_is_gone(kind: str) -> None:
    gone = {*KEPT["promised"][kind]} - {*NOW[kind]}
    assert not gone, (
        f"{', '.join(sorted(gone))}: others build on it. Keep it beside the new name for one release; where "
        "that cannot be, write it under `### Removed` of Unreleased in CHANGELOG.md and move it in "
        'tests/promised.json from "promised" to "gone", with what stands in its place. '
        "docs/reference/compatibility.md says what may go when."
    )


@pytest.mark.parametrize("kind", NOW)
def test_what_is_new_is_promised(kind: str) -> None:
    new = {*NOW[kind]} - {*KEPT["promised"].get(kind, ())}
    assert not new, f"run `python -m tests.reference`: {', '.join(sorted(new))}"


def test_what_is_gone_is_in_the_changelog() -> None:
    text = CHANGELOG.read_text()
    for name, instead in KEPT["gone"].items():
        assert instead, f"{name}: say what stands in its place"
        assert compatibility.is_told_gone(name, text), (
            f"{name}: CHANGELOG.md does not say it is gone"
        )


def test_each_kind_has_names() -> None:
    assert all(len(names) > 1 for names in NOW.values())
    assert len(NOW["config keys"]) > 150
    assert len(NOW["events"]) > 200
    assert "host.state_dir" in {name.lower() for name in NOW["config keys"]}


def test_each_event_and_field_says_what_it_is() -> None:
    of_facts = {event_name(kind.__new__(kind)) for kind in event_texts.facts()}
    mute = EVENTS.keys() - of_facts - event_texts.WHEN.keys()
    assert not mute, f"say in WHEN of tests/event_texts.py when they are logged: {sorted(mute)}"
    assert event_texts.WHEN.keys() <= event_texts.logged().keys(), "nothing logs it any more"
    rows = event_texts.shown()
    bare = [
        f"{kind.__name__}.{field}"
        for kind in event_texts.facts()
        for field in rows[event_name(kind.__new__(kind))]
        if field not in event_texts.COMMON and not event_texts.described(kind, field)
    ]
    assert not bare, f"write a comment beside them in core/facts.py: {bare}"


# -- state on disk -----------------------------------------------------------------------------------


def older(place: Path, schema: int) -> None:
    """A state file as the Mayfly of that schema made it, with a queued job."""
    place.mkdir()
    with closing(sqlite3.connect(place / FILE_NAME, isolation_level=None)) as db:
        db.create_function("kept_command", 1, lambda text: text)
        for statements in MIGRATIONS[:schema]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {schema}")
        db.execute(
            "INSERT INTO jobs (id, serial, pool, state, argv, env, submitted)"
            " VALUES ('job1', 1, 'a', 'queued', '[\"true\"]', '{\"A\": \"1\"}', 5.0)"
        )
        db.execute("INSERT INTO meta VALUES ('host', '0123456789ab')")


@pytest.mark.parametrize("schema", range(1, SCHEMA_VERSION + 1))
def test_a_state_of_each_older_schema_is_read(tmp_path: Path, schema: int) -> None:
    older(tmp_path / "state", schema)
    with closing(History(tmp_path / "state")) as history:
        memory = history.load()
        assert history.meta("host") == "0123456789ab"
    assert set(memory.jobs) == {"job1"}
    with closing(HistoryReader(tmp_path / "state")) as reader:
        payload = reader.payload(JobId("job1"))
    assert payload is not None
    assert (payload.argv, payload.env) == (("true",), {"A": "1"})


def test_a_state_of_a_newer_schema_is_refused_in_one_sentence_and_left_alone(
    tmp_path: Path,
) -> None:
    older(tmp_path / "state", SCHEMA_VERSION)
    file = tmp_path / "state" / FILE_NAME
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = file.read_bytes()
    with pytest.raises(Refused) as refused:
        History(tmp_path / "state")
    told = str(refused.value)
    assert re.search(r"was written by a newer Mayfly \(schema \d+, this one knows \d+\)", told)
    assert "install that version again" in told
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT id FROM jobs").fetchall() == [("job1",)]
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
    assert before[:16] == file.read_bytes()[:16]
