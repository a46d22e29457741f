"""Nothing that a job, a service, a label or a person says acts on a terminal, whatever verb shows it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli.app import main
from mayfly.cli.clean_terminal import CleanTerminal
from mayfly.cli.verbs import VERBS
from mayfly.core.commands import Command
from mayfly.edge.http_connection import error_reply, json_reply
from mayfly.service.pending_command import Answer
from tests.cli.conftest import Answers
from tests.pipelines.example import commit, git, write
from tests.service.standin import StandIn, job, run, slot, status

# A title, another screen, what answers as if typed, one colour, C1, marks that reorder, what takes back.
EVIL = (
    "\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x1b\\\x1b[?1049h\x1b[2J\x1b[6n\x1b[35;8m\x1bc\x9b2J\x90q\x9c"
    "\u202egnp\u2066\u200f\u061c\ufeff\x08\x08\x0b\x0c\x00\x7fok"
)
NOT_NUL = EVIL.replace("\x00", "")
ALLOWED = re.compile(r"\x1b\[(?:0|2|3[1236])m|\x1b\[\d+A|\x1b\[[JK]")
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)
# How each verb is typed; without a row with one word that nobody meant, and with such an option.
TYPED: dict[str, list[list[str]]] = {
    "submit": [["submit", NOT_NUL], ["submit", "--wait", NOT_NUL], ["submit", "-e", NOT_NUL, "id"]],
    "status": [["status"], ["status", "--all"], ["status", "--json"]],
    "jobs": [["jobs"], ["jobs", "--json"], ["jobs", "--why", "j1"], ["jobs", "--why", "j2"]],
    "runs": [["runs"], ["runs", "r1"], ["runs", "r1", "--cancel"], ["runs", "--json"]],
    "events": [["events"], ["events", "--json"], ["events", "--slot", NOT_NUL]],
    "history": [["history"], ["history", "--outcome", NOT_NUL], ["history", "--since", NOT_NUL]],
    "describe": [["describe", "local-0"], ["describe", "j1"], ["describe", NOT_NUL]],
    "logs": [["logs", "j1"], ["logs", "local-0"], ["logs", "-f", "j1"]],
    "plan": [["plan"]],
    "gpus": [["gpus"], ["gpus", "--json"]],
    "fetch": [["fetch", "j1"], ["fetch", NOT_NUL]],
    "cancel": [["cancel", "j1"], ["cancel", NOT_NUL]],
    "cordon": [["cordon", "local-0", "--note", NOT_NUL], ["cordon", "x", "--for", NOT_NUL]],
    "wait": [["wait", "--for", NOT_NUL]],
    "config": [["config", "check"], ["config", "show"]],
    "init": [["init", "--provider", NOT_NUL]],
    "bugreport": [["bugreport", NOT_NUL]],
    "backup": [["backup", f"/no/such/{NOT_NUL}"]],
    "restore": [["restore", NOT_NUL]],
    "idle": [["idle"], ["idle", "--json"], ["idle", NOT_NUL]],
    "notify": [["notify", "list"], ["notify", "test", NOT_NUL]],
    "shell": [["shell", NOT_NUL]],
    "reserve": [["reserve", "--for", "1h"]],
    "attach": [["attach", "local-0"], ["attach", "j1", NOT_NUL]],
    "top": [["top", "-n", "1"], ["top", "--json"]],
    "push": [["push", "--all"], ["push", "--all", "--wait"], ["push", "bad"], ["push", NOT_NUL]],
    "pipeline": [["pipeline", "render", "bad", "--for", "local", "--all"]],
}


JOBS = """
[job.test]
paths = "stages/{stage}/**"
run = "true {{ stage }}"
"""


def refuses(_: Command) -> Answer:
    return Answer(409, {"error": f"no: {EVIL}", "kind": "refused"})


class Hostile(Answers):
    """A manager whose every sentence is evil; it takes jobs."""

    def __call__(self, command: Command) -> Answer:
        if type(command).__name__ == "SubmitJob":
            return Answer(201, {"job": "j1"})
        if type(command).__name__ == "SubmitRun":
            return Answer(201, {"run": "r1", "jobs": ["j1"]})
        return refuses(command)


@pytest.fixture
def answers() -> Answers:
    return Hostile()


@pytest.fixture
def hostile(manager: StandIn) -> StandIn:
    """Everything that it has came from somebody evil."""
    told = {"since": None, "until": None, "by": EVIL, "note": EVIL}
    evil: dict[str, Any] = {"code": EVIL, "severity": "error", "text": EVIL, "fix": EVIL}
    manager.publish(
        status(
            slot("local-0", cordoned=told, note=EVIL, image=EVIL, gpus=[EVIL], container=EVIL),
            slot("local-1", phase=EVIL, job=EVIL),
            headline=EVIL,
            host=EVIL,
            health=[evil],
        )
    )
    manager.attach = lambda _, __: error_reply(409, f"no: {EVIL}", "refused")
    account = manager.account
    account.rows["j1"] = job("j1", state="failed", cause=EVIL, exit_code=3, agent="g1", pool=EVIL)
    account.rows["j1"] |= {"finished": "2026-11-21T09:00:01.000Z", "argv": [EVIL], "owner": EVIL}
    account.rows["j1"] |= {"out": [EVIL], "results": {"left_out": [EVIL]}, "group": "r1"}
    account.rows["j1"] |= {"name": EVIL, "command": EVIL, "variant": EVIL, "detail": EVIL}
    account.rows["j2"] = job("j2", owner=EVIL, name=EVIL, pool=EVIL)
    told = {"repository": EVIL, "ref": EVIL, "subject": EVIL, "owner": EVIL}
    account.runs["r1"] = run("r1", **told, state="failed", jobs={"failed": 1})
    account.event_rows = [{"seq": 1, "at": 0.0, "event": EVIL, "slot": "local-0", EVIL: EVIL}]
    account.slots["local-0", False] = "g1"
    for stream in (1, 2, 0):
        account.prints("g1", f"{EVIL}\n".encode() + b"\xff\x9b", stream)
    account.ends("g1")
    return manager


def shown(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a verb has written to a terminal, run in here."""
    ours, theirs = pty.openpty()
    parts: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 65536):
                parts.append(data)
        except OSError:
            pass  # nobody has the other end any more

    reader = threading.Thread(target=read)
    reader.start()
    with (
        os.fdopen(theirs, "w", encoding="utf-8", errors="backslashreplace") as out,
        os.fdopen(os.dup(theirs), "w", encoding="utf-8", errors="backslashreplace") as err,
        monkeypatch.context() as patched,
    ):
        patched.setattr(sys, "argv", ["mayfly", *arguments])
        patched.setattr(sys, "stdin", io.StringIO())
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit):
            main()
    reader.join(30)
    os.close(ours)
    return b"".join(parts).decode()


def rows(verb: str) -> list[list[str]]:
    anything = [[verb, f"/no/such/{NOT_NUL}"], [verb, f"--{NOT_NUL}"], [verb, "--json", NOT_NUL]]
    return (
        TYPED.get(verb, [[verb, "local-0"], [verb]]) + anything[verb in ("submit", "bugreport") :]
    )


@pytest.mark.parametrize("verb", VERBS)
def test_on_a_terminal_every_verb_is_clean(
    hostile: StandIn, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if verb in ("push", "pipeline"):
        repository(tmp_path / "lab")
    monkeypatch.chdir(tmp_path / "lab" if verb in ("push", "pipeline") else tmp_path)
    monkeypatch.setenv("MAYFLY_CONFIG", str(tmp_path / "evil.toml"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    (tmp_path / "evil.toml").write_text(f'[host]\n"{_escaped(EVIL)}" = 1\nname = "\\u009b2J"\n')
    told = []
    for typed in rows(verb):
        seen = shown(["--socket", str(hostile.path), *typed], monkeypatch)
        left = ALLOWED.sub("", seen).replace("\r\n", "\n")
        assert not FORBIDDEN.search(left), (typed, left)
        told.append(seen)
    assert any("ok" in seen for seen in told), "nothing evil was shown at all"


def repository(folder: Path) -> None:
    """A repository that says what it can to a terminal: by names of files, in its words and in mistakes."""
    for place, text in ((folder, JOBS), (folder / "bad", f'"{_escaped(EVIL)}" = 1\n')):
        place.mkdir()
        git(place, "init", "--quiet", "--initial-branch", "main")
        write(place, ".mayfly.toml", text)
        write(place, f"stages/{NOT_NUL}/train.py")
        commit(place)


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


def test_in_a_pipe_each_byte_of_a_job_is_as_it_was(hostile: StandIn) -> None:
    command = [sys.executable, "-m", "mayfly.cli.app", "--socket", str(hostile.path)]
    for verb in (["logs", "j1"], ["submit", "--wait", "true"]):
        done = subprocess.run([*command, *verb], capture_output=True, check=False, timeout=60)
        assert done.stdout == f"{EVIL}\n".encode() + b"\xff\x9b"
        assert done.stderr.startswith(f"{EVIL}\n".encode() + b"\xff\x9b")


def test_sequences_are_found_however_they_are_cut_and_our_own_colours_stay() -> None:
    inner = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    terminal = CleanTerminal(inner)
    terminal.write(f"\x1b[31mred\x1b[0m {EVIL}\n")
    terminal.buffer.write(b"\x1b]0;ti")
    terminal.buffer.write(b"tle\x07\xc3")
    terminal.buffer.write(b"\xa9 10%\r20%\n")
    terminal.buffer.end()
    terminal.flush()
    assert isinstance(inner.buffer, io.BytesIO)
    assert inner.buffer.getvalue().decode() == "\x1b[31mred\x1b[0m 2Jqgnpok\né 10%\n20%\n"


def test_a_document_of_the_socket_acts_on_no_terminal_either() -> None:
    """For whoever asks with curl: the same document, and nothing in it that a terminal obeys."""
    reply = json_reply(200, {EVIL: [EVIL, "é", "\ud800"]})
    assert isinstance(reply.data, bytes)
    text = reply.data.decode()
    assert not FORBIDDEN.search(text.rstrip("\n"))
    assert "é" in text
    assert json.loads(text) == {EVIL: [EVIL, "é", "\ud800"]}
