"""The log reaches whoever reads it: a terminal in words, the journal in fields, everything else as JSON."""

import ast
import io
import json
import os
import pty
import socket
from pathlib import Path
from typing import get_args

import pytest

import mayfly
from mayfly.core.events import EVENTS
from mayfly.core.facts import Fact, event_name
from mayfly.edge.journal import Journal, journal_of, priority
from mayfly.edge.log import Log

PACKAGE = Path(mayfly.__file__).parent


class Receiver:
    """A socket that takes the journal's datagrams and reads them as journald does."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(10)

    def fields(self) -> dict[str, str]:
        data, found = self.socket.recv(1 << 20), {}
        while data:
            key, _, rest = data.partition(b"\n")
            if b"=" in key:
                name, _, value = key.partition(b"=")
                data = rest
            else:
                name, size = key, int.from_bytes(rest[:8], "little")
                value, data = rest[8 : 8 + size], rest[9 + size :]
            found[name.decode()] = value.decode()
        return found


@pytest.fixture
def received(tmp_path: Path) -> Receiver:
    return Receiver(tmp_path / "socket")


def test_an_events_fields_are_fields_of_the_journal(received: Receiver, tmp_path: Path) -> None:
    stream = io.StringIO()
    log = Log(stream, Journal(str(tmp_path / "socket")))
    log.event("slot.held", slot="azure-0", reason="two\nlines", by=None)
    assert received.fields() == {
        "MESSAGE": "azure-0: slot.held reason=two\nlines",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "mayfly",
        "MAYFLY_EVENT": "slot.held",
        "MAYFLY_SLOT": "azure-0",
        "MAYFLY_REASON": "two\nlines",
    }
    assert stream.getvalue() == ""


def test_what_the_journal_does_not_take_is_written_as_json(tmp_path: Path) -> None:
    stream = io.StringIO()
    Log(stream, Journal(str(tmp_path / "nobody"))).event("daemon.started", pid=7)
    told = json.loads(stream.getvalue())
    assert (told["event"], told["pid"]) == ("daemon.started", 7)


def test_the_journal_is_used_where_it_reads_the_stream_and_nowhere_else(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        here = f"{status.st_dev}:{status.st_ino}"
        assert journal_of(stream, {"JOURNAL_STREAM": here}) is not None
        assert (
            journal_of(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}) is None
        )
        assert journal_of(stream, {}) is None
    assert journal_of(io.StringIO(), {"JOURNAL_STREAM": here}) is None


def test_a_stream_that_the_journal_does_not_read_gets_json() -> None:
    stream = io.StringIO()
    Log(stream).event("pass.ended", "2 slots: 2 idle")
    assert json.loads(stream.getvalue())["message"] == "2 slots: 2 idle"


def test_a_terminal_gets_a_line_to_read() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        Log(terminal).event(
            *("agent.armed", ""), slot="local-0", generation="g1", container="ab" * 32,
            note="\x1b[2J of\u202e mine",
        )  # fmt: skip
        said = os.read(ours, 4096).decode()
    os.close(ours)
    time, _, rest = said.rstrip().partition(" ")
    assert len(time) == len("22:44:49")
    assert rest.replace("\r\n         ", " ") == (
        'agent.armed     local-0 g1 container=abababababab note="\\u001b[2J of\\u202e mine"'
    )


@pytest.mark.parametrize(
    ("event", "level"),
    [
        ("agent.created", 6),
        ("slot.cooled", 4),
        ("action.failed", 4),
        ("loop.failed", 3),
        ("disk.lost", 3),
    ],
)
def test_an_event_matters_as_much_in_the_journal_as_the_table_says(event: str, level: int) -> None:
    assert priority(event) == level


def test_json_tells_how_much_an_event_matters() -> None:
    for event, severity in EVENTS.items():
        stream = io.StringIO()
        Log(stream).event(event)
        assert json.loads(stream.getvalue())["level"] == severity


def test_the_table_has_every_fact_and_every_event_that_is_logged_and_no_other() -> None:
    facts = {event_name(kind.__new__(kind)) for kind in get_args(Fact)}
    calls = (
        node
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    )
    logged = {
        argument.value
        for call in calls
        if ast.unparse(call.func).endswith(("log.event", "self._note", "Note"))
        for argument in call.args[:1]
        if isinstance(argument, ast.Constant)
    }
    assert len(logged) > 15
    assert set(EVENTS) == facts | logged
