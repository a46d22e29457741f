"""What a person does to slots and to the pool: the real command against a stand-in manager."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from mayfly.core.commands import (
    Caller,
    Command,
    CordonSlots,
    DrainSlots,
    PauseManager,
    RecycleSlots,
    ReloadConfig,
    ResumeManager,
    RetrySlots,
    UncordonSlots,
    verb_of,
)
from mayfly.core.quantities import parse_time
from mayfly.service.pending_command import Answer
from tests.cli.conftest import Answers, Mayfly
from tests.service.standin import StandIn, slot, status
from tests.terminal import Terminal

OnTerminal = Callable[..., Terminal]
Start = Callable[..., "subprocess.Popen[bytes]"]

GONE = {"agent": None, "container": None, "phase": "vacant"}
DRAINED = {"since": None, "until": None, "by": "root", "note": None, "drain": True}


ANYONE = Caller(0, 0, 0, "")


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["uncordon", "local-0"], UncordonSlots(ANYONE, ("local-0",))),
        (["uncordon", "--all"], UncordonSlots(ANYONE, ("local-0", "local-1"))),
        (["recycle", "local-0", "local-1"], RecycleSlots(ANYONE, ("local-0", "local-1"))),
        (["retry", "local-1"], RetrySlots(ANYONE, ("local-1",))),
        (["drain", "local-1"], DrainSlots(ANYONE, ("local-1",), force=False)),
        (["drain", "--all"], DrainSlots(ANYONE, None, force=False)),
        (["drain"], DrainSlots(ANYONE, None, force=False)),
        (["drain", "--force", "--yes"], DrainSlots(ANYONE, None, force=True)),
        (["drain", "--note", "new fan"], DrainSlots(ANYONE, None, force=False, note="new fan")),
        (["cordon", "local-1"], CordonSlots(ANYONE, ("local-1",), until=None, note="")),
        (["pause", "--note", "disk"], PauseManager(ANYONE, "disk")),
        (["resume"], ResumeManager(ANYONE)),
        (["reload"], ReloadConfig(ANYONE, dry_run=False)),
        (["reload", "--dry-run"], ReloadConfig(ANYONE, dry_run=True)),
    ],
)
def test_a_verb_is_a_command_and_its_talk_goes_to_stderr(
    manager: StandIn, mayfly: Mayfly, arguments: list[str], asked: Command
) -> None:
    ran = mayfly(*arguments)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("mayfly: ")
    (command,) = manager.commands
    assert (verb_of(command), command) == (arguments[0], replace(asked, by=command.by))


def test_a_cordon_can_have_an_end(manager: StandIn, mayfly: Mayfly) -> None:
    before = time.time()
    assert mayfly("cordon", "local-0", "--for", "2h", "--note", "driver").code == 0
    (command,) = manager.commands
    assert isinstance(command, CordonSlots)
    until = command.until
    assert until is not None
    assert before + 7199 < until < time.time() + 7201
    assert parse_time("2026-11-21") > 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["uncordon"],
        ["uncordon", "local-0", "--all"],
        ["recycle"],
        ["retry"],
        ["cordon"],
        ["cordon", "local-0", "--for", "soon"],
        ["drain", "local-0", "--all"],
        ["drain", "--force"],
        ["drain", "--timeout", "x"],
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    manager: StandIn, mayfly: Mayfly, arguments: list[str]
) -> None:
    assert mayfly(*arguments).code == 2
    assert manager.commands == []


@pytest.mark.parametrize(
    ("typed", "code", "commands"), [("y\n", 0, 1), ("\n", 1, 0), ("no\n", 1, 0)]
)
def test_on_a_terminal_stopping_jobs_is_asked_about(
    manager: StandIn, terminal: OnTerminal, typed: str, code: int, commands: int
) -> None:
    screen = terminal("drain", "local-0", "--force")
    screen.until("Stop the running jobs of local-0? [y/N] ")
    screen.type(typed)
    assert screen.end()[0] == code
    assert len(manager.commands) == commands


def test_draining_can_be_waited_for(manager: StandIn, start: Start, mayfly: Mayfly) -> None:
    ran = mayfly("drain", "local-0", "--wait", "--timeout", "0.2")
    assert ran.code == 5
    assert "timed out after 0.2 s" in ran.err
    process = start("drain", "local-0", "--wait")
    manager.publish(status(slot("local-0", cordoned=DRAINED, phase="busy"), slot("local-1")))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    manager.publish(status(slot("local-0", **GONE, cordoned=DRAINED), slot("local-1")))
    assert process.wait(30) == 0, "the other slot does not matter"


def test_a_slot_that_is_vacant_but_not_yet_cordoned_is_not_drained(
    manager: StandIn, mayfly: Mayfly
) -> None:
    manager.publish(status(slot("local-0", **GONE)))
    assert mayfly("drain", "--wait", "--timeout", "0.2").code == 5


@pytest.mark.parametrize("verb", ["drain", "cordon", "uncordon", "recycle", "retry"])
def test_a_slot_that_is_not_there(
    manager: StandIn, mayfly: Mayfly, answers: Answers, verb: str
) -> None:
    sentence = {"error": "there is no slot x; there are: local-0", "kind": "no_such_slot"}
    answers.by_verb[verb] = lambda _: Answer(404, sentence)
    ran = mayfly(verb, "x")
    assert (ran.code, ran.err) == (4, "mayfly: there is no slot x; there are: local-0\n")


def test_reload_tells_what_changes(manager: StandIn, mayfly: Mayfly, answers: Answers) -> None:
    changes = {"dry_run": True, "added": ["b-0"], "removed": [], "replaced": ["a-0", "a-1"]}
    answers.by_verb["reload"] = lambda _: Answer(200, changes)
    assert mayfly("reload", "--dry-run").out == "added: b-0\nreplaced: a-0, a-1\n"
    document = json.loads(mayfly("reload", "--dry-run", "--json").out)
    assert document == {"schema": "mayfly.reload/1", **changes}
    answers.by_verb["reload"] = lambda _: Answer(
        409, {"error": "config.toml: no", "kind": "refused"}
    )
    ran = mayfly("reload")
    assert (ran.code, ran.err) == (1, "mayfly: config.toml: no\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("drain", "local-0", "--timeout", "3"), "--timeout goes with --wait"),
        (("doctor", "--timeout", "5"), "--timeout goes with --canary"),
        (("cordon", "local-0", "--for", "0"), "is no time at all"),
        (("history", "--outcome", "nope"), "there is no 'nope'; there are job_done, "),
    ],
)
def test_what_a_verb_would_ignore_is_refused_and_nothing_is_done(
    manager: StandIn, mayfly: Mayfly, words: tuple[str, ...], says: str
) -> None:
    ran = mayfly(*words)
    assert (ran.code, ran.out, manager.commands) == (2, "", [])
    assert says in ran.err


@pytest.mark.parametrize(
    "words", [("events", "--slot"), ("history", "--slot"), ("doctor", "--canary"), ("describe",)]
)
def test_a_name_that_no_slot_has_is_said_and_nothing_is_done(
    manager: StandIn, mayfly: Mayfly, words: tuple[str, ...]
) -> None:
    ran = mayfly(*words, "nope-7")
    assert (ran.code, ran.out, manager.commands) == (4, "", [])
    assert "there is no slot nope-7" in ran.err
