"""``status``, ``wait`` and the verbs that look back: the real command against a stand-in manager."""

from __future__ import annotations

import grp
import json
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mayfly.cli.client import forbidden
from mayfly.core.commands import verb_of
from tests.cli.conftest import COMMAND, Mayfly, plain
from tests.service.standin import StandIn, slot, status
from tests.terminal import Terminal, environment, unmeasured

OnTerminal = Callable[..., Terminal]
Start = Callable[..., "subprocess.Popen[bytes]"]

HELD = slot("local-0", phase="held", note="the image is missing")


# -- status ----------------------------------------------------------------------------------------


def test_status_json_is_the_published_document(manager: StandIn, mayfly: Mayfly) -> None:
    ran = mayfly("status", "--json")
    assert json.loads(ran.out) == status(slot("local-0"), slot("local-1"))
    assert (ran.code, ran.err) == (0, "")


def test_piped_the_table_is_plain(manager: StandIn, mayfly: Mayfly) -> None:
    ran = mayfly("status")
    head, columns, *rows = ran.out.splitlines()
    assert head == "lab1: all slots are idle"
    assert columns.split() == ["SLOT", "PROVIDER", "PHASE", "FOR", "GPU", "IMAGE", "JOB", "NOTE"]
    assert [row.split()[0] for row in rows] == ["local-0", "local-1"]
    assert "\x1b" not in ran.out


def test_on_a_terminal_it_has_colours_and_80_columns(
    manager: StandIn, terminal: OnTerminal
) -> None:
    manager.publish(status({**HELD, "note": "x" * 200}))
    code, shown = terminal("status").end()
    assert code == 1
    assert "\x1b[31mheld\x1b[0m" in shown
    assert max(len(line) for line in plain(shown).splitlines()) <= 80


@pytest.mark.parametrize("no", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_declined(
    manager: StandIn, terminal: OnTerminal, no: dict[str, str]
) -> None:
    assert "\x1b" not in terminal("status", **no).end()[1]


def test_a_name_that_a_person_gave_cannot_play_tricks(
    manager: StandIn, terminal: OnTerminal
) -> None:
    cordon = {"since": None, "until": None, "by": "al\x1b[2Jice", "note": "\x9b31mred\nline"}
    manager.publish(status(slot("local-0", cordoned=cordon), headline="\x1b]0;x\x07all\r\nwell"))
    shown = terminal("status", columns=200, NO_COLOR="1").end()[1]
    assert "cordoned by alice: 31mred line" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (status(slot("local-0")), 0),
        (status(HELD), 1),
        (status(health=[{"code": "c", "severity": "error", "text": "t", "fix": "f"}]), 1),
        (status(health=[{"code": "c", "severity": "warning", "text": "t", "fix": "f"}]), 0),
        (status(slot("local-0", phase="cooling"), paused=True), 0),
    ],
)
def test_its_exit_says_whether_a_person_is_needed(
    manager: StandIn, mayfly: Mayfly, document: dict[str, object], code: int
) -> None:
    manager.publish(document)
    assert mayfly("status").code == mayfly("status", "--json").code == code


def test_a_manager_that_has_only_begun_is_given_a_moment(tmp_path: Path, mayfly: Mayfly) -> None:
    beginning = StandIn(tmp_path / "control.sock")
    threading.Timer(0.5, lambda: beginning.publish(status(slot("local-0")))).start()
    assert mayfly("status").code == 0
    beginning.close()


def test_without_a_manager_it_says_what_to_type(tmp_path: Path, mayfly: Mayfly) -> None:
    for verb in (["status"], ["jobs"], ["submit", "id"], ["drain"], ["events"], ["logs", "x"]):
        ran = mayfly(*verb)
        assert ran.code == 3, verb
        # As it works here: with the unit where there is one, else in the foreground.
        unit, own = "systemctl start mayfly", f"mayfly --socket {tmp_path}/control.sock run"
        assert any(
            f"  start it: {sudo}{line}\n" in ran.err
            for sudo in ("", "sudo ")
            for line in (unit, own)
        )
        assert ran.out == ""


def test_without_a_manager_and_with_a_mistake_in_its_file_it_says_that(
    tmp_path: Path, mayfly: Mayfly
) -> None:
    wrong = tmp_path / "config.toml"
    wrong.write_text('[[pool]]\nname = "a"\nslotz = 2\n')
    ran = mayfly("--config", wrong, "status")
    assert ran.code == 3
    assert (
        f"has a mistake, and it does not start: mayfly --config {wrong} config check\n" in ran.err
    )
    assert "start it" not in ran.err


def asked_by_somebody_else(
    manager: StandIn, tmp_path: Path, *groups: int
) -> subprocess.CompletedProcess[str]:
    """`mayfly status` as somebody who is not root and is in these groups alone."""
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    code = (
        "import os, sys; from mayfly.cli.app import main; from mayfly.cli import standing\n"
        f"sys.argv = ['mayfly', 'status', '--socket', {str(manager.path)!r}]\n"
        f"os.setgroups({[*groups]}); os.setgid(65534); os.setuid(65534); main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment(USER="bob"),
    )


def test_a_socket_that_may_not_be_used_names_the_group(manager: StandIn, tmp_path: Path) -> None:
    ran = asked_by_somebody_else(manager, tmp_path)
    assert ran.returncode == 1
    assert f"mayfly: you may not use {manager.path}: " in ran.stderr


def test_who_may_is_told_that_no_manager_runs_where_the_users_door_is_not_there(
    manager: StandIn, tmp_path: Path
) -> None:
    try:
        group = grp.getgrnam("mayfly-users").gr_gid
    except KeyError:
        pytest.skip("there is no group mayfly-users here")
    manager.path.with_name("users.sock").unlink(missing_ok=True)
    ran = asked_by_somebody_else(manager, tmp_path, group)
    assert ran.returncode == 3
    assert f"the manager is not running: nobody answers on {manager.path}" in ran.stderr
    assert "usermod" not in ran.stderr


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ((), "use sudo, or let `sudo mayfly install` make the group mayfly"),
        (
            ("mayfly",),
            "ask for the group mayfly (sudo usermod -aG mayfly bob, then log in again), or use sudo",
        ),
        (
            ("mayfly", "mayfly-users"),
            (
                "ask for the group mayfly-users (sudo usermod -aG mayfly-users bob, then log in again), or "
                "for mayfly to do more than submit, or use sudo"
            ),
        ),
    ],
)
def test_of_the_groups_that_there_are_the_one_that_may_do_least_is_asked_for(
    groups: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "bob")
    assert forbidden("/s", frozenset(groups)) == f"you may not use /s: {told}"


def test_the_socket_is_found_by_flag_then_config_then_default(
    manager: StandIn, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[host]\nsocket = "{manager.path}"\n')
    other = tmp_path / "other.toml"
    other.write_text('[host]\nsocket = "/nowhere.sock"\n')
    drop_in = tmp_path / "conf.d" / "more.toml"

    def run(*arguments: str, **env: str) -> tuple[int, str]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment(**env),
        )
        return done.returncode, done.stderr

    assert run("status", "--config", str(config)) == (0, "")
    assert run("--config", str(config), "status") == (0, "")
    assert run("status", MAYFLY_CONFIG=str(config)) == (0, "")
    assert run("status", "--config", str(config), MAYFLY_CONFIG=str(other)) == (0, "")
    assert run("status", "--config", str(other), "--socket", str(manager.path)) == (0, "")
    assert run("status", "--config", str(other))[0] == 3
    assert run("status", "--config", str(tmp_path / "none.toml"))[0] == 1
    assert "/run/mayfly/control.sock" in run("status")[1]
    drop_in.parent.mkdir()
    drop_in.write_text('[host]\nsocket = "/elsewhere.sock"\n')
    assert "/elsewhere.sock" in run("status", "--config", str(config))[1]


def test_status_starts_fast(manager: StandIn) -> None:
    status_command = [*COMMAND, "status", "--socket", str(manager.path)]
    bare = [_processor_seconds([sys.executable, "-c", ""]) for _ in range(5)]
    taken = [_processor_seconds(status_command) for _ in range(5)]
    assert min(taken) < 15 * min(bare), (bare, taken)


def _processor_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=False, env=unmeasured())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# -- watching --------------------------------------------------------------------------------------


def test_watched_as_json_it_is_a_document_a_change(manager: StandIn, start: Start) -> None:
    process = start("status", "--watch", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    manager.publish(status(headline="second"))
    second = json.loads(process.stdout.readline())
    assert first == status(slot("local-0"), slot("local-1"))
    assert second == status(headline="second")


def test_watched_on_a_terminal_it_is_redrawn_in_place(
    manager: StandIn, terminal: OnTerminal
) -> None:
    screen = terminal("status", "--watch")
    screen.until("local-1")
    manager.publish(status(slot("local-0", phase="busy"), headline="one is busy"))
    shown = screen.until("busy\x1b[0m")
    assert "\x1b[4A" in shown, "up over the four lines drawn before"
    assert "\x1b[2J" not in shown, "the screen is not blanked"
    screen.type("\x03")
    assert screen.end()[0] == 130


def test_watching_outlives_a_manager_that_is_restarted(manager: StandIn, start: Start) -> None:
    process = start("status", "--watch", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    manager.close()
    manager.open()
    manager.publish(status(headline="back"))
    while json.loads(process.stdout.readline())["headline"] != "back":
        pass


def test_watching_nothing_is_told_at_once(mayfly: Mayfly) -> None:
    assert mayfly("status", "--watch").code == 3


# -- wait ------------------------------------------------------------------------------------------


def test_wait_says_what_it_can_wait_for(mayfly: Mayfly) -> None:
    ran = mayfly("wait")
    assert ran.code == 2
    assert ran.err.startswith("mayfly: what for? --for idle: until every slot is;")
    assert ran.err.count("\n") == 1


def test_wait_for_idle(manager: StandIn, mayfly: Mayfly, start: Start) -> None:
    assert mayfly("wait", "--for", "idle").code == 0
    manager.publish(status(slot("local-0", phase="preparing"), slot("local-1")))
    ran = mayfly("wait", "--for", "idle", "--timeout", "0.2")
    assert (ran.code, ran.err) == (5, "mayfly: timed out after 0.2 s: local-0 is preparing\n")
    process = start("wait", "--for", "idle", "--timeout", "30")
    manager.publish(status(slot("local-0"), slot("local-1")))
    assert process.wait(30) == 0


def test_wait_for_idle_does_not_wait_for_a_person(manager: StandIn, mayfly: Mayfly) -> None:
    manager.publish(status(HELD, slot("local-1")))
    ran = mayfly("wait", "--for", "idle", "--timeout", "30")
    assert (ran.code, ran.out) == (1, "")
    assert "local-0" in ran.err
    manager.publish(status(HELD, slot("local-1", phase="busy")))
    assert mayfly("wait", "--for", "idle", "--timeout", "0.1").code == 5


def test_wait_for_drained(manager: StandIn, mayfly: Mayfly, start: Start) -> None:
    gone = {"agent": None, "container": None, "phase": "vacant"}
    standby = {"container": "c", "phase": "armed", "since": None}
    manager.publish(status(slot("local-0", **gone), slot("local-1", **gone, standby=standby)))
    ran = mayfly("wait", "--for", "drained", "--timeout", "0.1")
    assert (ran.code, ran.err) == (5, "mayfly: timed out after 0.1 s: local-1 is vacant\n")
    process = start("wait", "--for", "drained")
    manager.publish(status(slot("local-0", **gone), slot("local-1", **gone)))
    assert process.wait(30) == 0


@pytest.mark.parametrize("goal", ["idle", "drained"])
def test_a_manager_that_is_not_there_is_waited_for_and_never_3(
    tmp_path: Path, mayfly: Mayfly, start: Start, goal: str
) -> None:
    assert mayfly("wait", "--for", goal, "--timeout", "0.3").code == 5
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control.sock"))
    assert mayfly("wait", "--for", goal, "--timeout", "0.3").code == 5
    left.close()
    process = start("wait", "--for", goal, "--timeout", "30")
    manager = StandIn(tmp_path / "control.sock")
    empty = {"agent": None, "container": None}
    manager.publish(status(slot("local-0", **(empty if goal == "drained" else {}))))
    assert process.wait(30) == 0
    manager.close()


@pytest.mark.parametrize("arguments", [[], ["--for", "lunch"], ["--for", "idle", "--timeout", "x"]])
def test_wait_for_nothing_is_a_usage_error(mayfly: Mayfly, arguments: list[str]) -> None:
    assert mayfly("wait", *arguments).code == 2


# -- looking back ----------------------------------------------------------------------------------


@pytest.fixture
def past(manager: StandIn) -> StandIn:
    """A manager with something to tell."""
    manager.account.event_rows = [
        {"seq": n, "at": 1763715600.0 + n, "event": "agent.ready", "slot": f"local-{n % 2}"}
        for n in range(1, 5)
    ]
    manager.account.agents = [
        {
            "agent": f"g{n}",
            "slot": f"local-{n % 2}",
            "job": f"j{n}",
            "outcome": "succeeded",
            "cause": None,
            "exit_code": 0,
            "exited": 1763715600.0 + n,
            "gpus": [],
            "seconds": {"busy": 2.5},
        }
        for n in range(3)
    ]
    return manager


def test_events_are_listed_and_filtered(past: StandIn, mayfly: Mayfly) -> None:
    assert [line.split()[1] for line in mayfly("events", "-n", "2").out.splitlines()] == [
        "09:00:03",
        "09:00:04",
    ]
    document = json.loads(mayfly("events", "--slot", "local-1", "--json").out)
    assert document["schema"] == "mayfly.events/1"
    assert [row["seq"] for row in document["events"]] == [1, 3]
    assert document["events"][0]["at"] == "2025-11-21T09:00:01.000Z"


def test_events_are_followed_over_a_restart(past: StandIn, start: Start) -> None:
    process = start("events", "-f", "--json", "-n", "1")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["seq"] == 4
    past.close()
    past.account.event_rows.append({"seq": 5, "at": 0.0, "event": "daemon.started", "slot": None})
    past.open()
    row = json.loads(process.stdout.readline())
    assert (row["schema"], row["seq"]) == ("mayfly.event/1", 5)


def test_history_is_listed_and_filtered(past: StandIn, mayfly: Mayfly) -> None:
    lines = mayfly("history").out.splitlines()
    assert lines[0].split() == [
        "ENDED", "SLOT", "JOB", "OUTCOME", "CAUSE", "EXIT", "BUSY", "AGENT",
    ]  # fmt: skip
    assert [line.split()[-1] for line in lines[1:]] == ["g0", "g1", "g2"]
    document = json.loads(mayfly("history", "--slot", "local-1", "--json").out)
    assert [row["agent"] for row in document["agents"]] == ["g1"]
    assert document["schema"] == "mayfly.history/1"
    assert len(mayfly("history", "--since", "1h").out.splitlines()) == 1
    assert len(mayfly("history", "--since", "2025-11-21T09:00:01Z").out.splitlines()) == 3
    assert mayfly("history", "--since", "yesterday").code == 2


def test_describe_tells_a_slot_s_story(past: StandIn, mayfly: Mayfly) -> None:
    out = mayfly("describe", "local-1").out
    assert out.startswith("local-1 is idle for ")
    assert "last agents" in out
    assert "last events" in out
    document = json.loads(mayfly("describe", "local-1", "--json").out)
    assert list(document) == ["schema", "slot", "health", "agents", "events"]
    assert document["schema"] == "mayfly.describe/1"
    assert mayfly("describe", "local-9").code == 4


def test_plan_is_the_loop_s(past: StandIn, mayfly: Mayfly) -> None:
    assert mayfly("plan").code == 0
    assert [verb_of(command) for command in past.commands] == ["plan"]
    assert mayfly("plan", "--json").code == 0


def test_what_the_engine_says_is_not_taken_for_what_the_control_socket_said(
    mayfly: Mayfly, tmp_path: Path
) -> None:
    dead = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(dead))
    config = tmp_path / "config.toml"
    config.write_text(f'[host]\ndocker_host = "unix://{dead}"\n[[pool]]\nname = "local"\n')
    ran = mayfly("plan", "--config", config, MAYFLY_HOST__STATE_DIR=str(tmp_path))
    assert ran.code == 1
    assert "there is no such socket" not in ran.err, "that is so of the manager's alone"
