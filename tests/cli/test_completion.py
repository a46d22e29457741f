"""What a shell is offered for a line that is begun, and three real shells that ask."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mayfly.cli import completion
from mayfly.cli.completion import FREE, called, source_of
from mayfly.cli.completion_scripts import SCRIPTS
from mayfly.cli.shell_completion import told
from mayfly.cli.verbs import VERBS, app, sentence
from tests import copies
from tests.cli.conftest import Mayfly
from tests.pipelines.example import commit, git
from tests.service.standin import StandIn, job, run, slot, status
from tests.terminal import Terminal, environment

BREAKS = " \t\n\"'><=;|&(:"  # bash's own
CORDONED = {"since": None, "until": None, "by": "root", "note": None, "drain": False}
# What shells make something of, at each depth of quoting; `{}` is a file that nobody is to make.
EVIL = ("$(touch {})", "`touch {}`", "\\$(touch {})", "'$(touch {})'", '"; touch {}; "', "\x1b[2J")

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """``complete(line)``: the lines that bash is told of it, of a manager that may be there.

    A machine that has much else to do is no manager that does not answer.
    """
    monkeypatch.setattr(completion, "SECONDS", 30.0)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MAYFLY_HOST__SOCKET", str(tmp_path / "control.sock"))

    def ask(line: str, shows: str = "9") -> list[str]:
        env = {"COMP_LINE": line, "COMP_TYPE": shows, "COMP_WORDBREAKS": BREAKS}
        return told("bash", env).splitlines()

    return ask


def named(told: list[str]) -> list[str]:
    """The names, where names are told."""
    assert told[:1] == ["words"], told
    return told[1:]


def parameters(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb with each value that it takes."""
    for name in group.list_commands(None):
        verb = group.get_command(None, name)
        if hasattr(verb, "list_commands"):
            yield from parameters(verb, f"{name} ")
            continue
        for one in verb.params:
            if not getattr(one, "is_flag", False):
                yield f"{before}{name}", one


def test_every_value_is_completed_or_is_nobody_s_to_know() -> None:
    for verb, one in parameters(typer.main.get_command(app)):
        own = one.type.name == "choice" or one._custom_shell_complete is not None
        assert own or source_of(verb, one) is not None or called(one) in FREE, (verb, one.opts)


def test_what_is_known_by_its_name_is_called_so() -> None:
    known = ("--pool", "--slot", "--image", "--dir", "--provider", "--config", "--gpu", "--state")
    for verb, one in parameters(typer.main.get_command(app)):
        if {*one.opts} & {*known}:
            assert source_of(verb, one) is not None, (
                f"{verb}: {one.opts}: its metavar says what it is"
            )


def test_what_a_verb_does_is_read_as_its_help_has_it() -> None:
    group: Any = typer.main.get_command(app)
    for name in VERBS:
        assert sentence(name) == group.get_command(None, name).short_help


def test_verbs_options_and_choices_are_completed(complete: Complete) -> None:
    assert named(complete("mayfly dr")) == ["drain"]
    assert named(complete("mayfly images s")) == ["select"]
    assert named(complete("mayfly help images b")) == ["build"]
    assert named(complete("mayfly help exit-c")) == ["exit-codes"]
    assert named(complete("mayfly help slot.h")) == ["slot.held"]
    assert named(complete("mayfly wait --for ")) == ["idle", "drained"]
    assert "--json" in named(complete("mayfly status "))
    assert named(complete("mayfly status --js")) == ["--json"]
    assert named(complete("mayfly submit --priority n")) == ["normal"]
    assert named(complete("mayfly cancel --mine --state ")) == ["queued", "running"]
    assert named(complete("mayfly init --provider gitl")) == ["gitlab"]
    assert named(complete("mayfly images build c")) == ["cpu"]
    assert "12.8" in named(complete("mayfly images select --cuda 12."))
    assert named(complete("mayfly submit --name ")) == []
    assert named(complete("mayfly gpus ")) == ["heal", "unlock"]
    assert named(complete("mayfly submit -e HOM")) == ["HOME"]


def test_files_and_folders_are_the_shell_s(complete: Complete) -> None:
    assert complete("mayfly status --config ") == ["files"]
    assert complete("mayfly --config=lab") == ["files"]
    assert complete("mayfly submit --dir ") == ["folders"]
    assert complete("mayfly submit -- ") == ["files"]


def test_slots_are_completed_that_the_verb_has_a_use_for(
    manager: StandIn, complete: Complete
) -> None:
    manager.publish(
        status(slot("local-0", job="j1", phase="busy"), slot("local-1", cordoned=CORDONED))
    )
    assert named(complete("mayfly drain loc")) == ["local-0", "local-1"]
    assert named(complete("mayfly drain local-0 loc")) == ["local-1"]
    assert named(complete("mayfly uncordon ")) == ["local-1"]
    assert named(complete("mayfly cordon ")) == ["local-0"]
    assert named(complete("mayfly events --slot=local-1")) == ["local-1"]
    assert named(complete("mayfly jobs --pool ")) == ["local"]


def test_where_the_manager_is_may_stand_before_the_verb(
    manager: StandIn, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAYFLY_HOST__SOCKET", "/nowhere")
    assert named(complete("mayfly drain loc")) == []
    assert named(complete(f"mayfly --socket {manager.path} drain loc")) == ["local-0", "local-1"]


def test_jobs_are_completed_that_the_verb_has_a_use_for(
    manager: StandIn, complete: Complete
) -> None:
    manager.account.rows = {
        "old": job("old", state="failed"),
        "q1": job("q1"),
        "r1": job("r1", state="running", slot="local-0", command="python3 train.py"),
        "late": job("late", state="succeeded", group="late"),
    }
    assert named(complete("mayfly cancel ")) == ["r1", "q1"]
    assert named(complete("mayfly cancel q1 ")) == ["r1"]
    assert named(complete("mayfly attach r")) == ["r1"]
    assert named(complete("mayfly jobs --why q")) == ["q1"]
    assert named(complete("mayfly submit --after q")) == ["q1"]
    assert [one for one in named(complete("mayfly logs ")) if "local" not in one] == [
        *("r1", "q1", "late", "old"),
    ]
    assert named(complete("mayfly jobs --group ")) == ["late"]
    shown = complete("mayfly cancel ", "63")
    assert named(shown) == ["r1  (running local-0 python3 train.py)", "q1  (queued)"]


def test_runs_refs_and_versions_are_completed(
    manager: StandIn, complete: Complete, tmp_path: Path
) -> None:
    manager.account.runs = {"5vq1": run("5vq1"), "5vq2": run("5vq2", state="failed")}
    assert named(complete("mayfly runs 5vq")) == ["5vq2", "5vq1"]
    manager.publish(
        status(*(slot(f"a-{n}", image=f"mayfly/local:cuda{v}") for n, v in enumerate((12.4, 12.8))))
    )
    assert named(complete("mayfly submit --cuda ")) == ["12.4", "12.8", "all"]
    assert named(complete("mayfly submit --cuda 12.4,")) == ["12.4,12.8"]
    assert named(complete("mayfly submit --image mayfly/local:c")) == ["cuda12.4", "cuda12.8"]
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", "desk")
    commit(tmp_path / "desk")
    git(tmp_path / "desk", "branch", "next")
    assert named(complete(f"mayfly push {tmp_path}/desk --ref n")) == ["next"]
    line = f"mayfly pipeline render --repository {tmp_path}/desk --changed main..n"
    assert named(complete(line)) == ["main..next"]


def test_reservations_are_completed(manager: StandIn, complete: Complete) -> None:
    manager.queue.reserved = [
        {"reservation": "m1", "state": "active", "user": "ann", "pool": "gpu"},
        {"reservation": "m2", "state": "coming", "user": "bob", "pool": "gpu"},
    ]
    assert named(complete("mayfly reserve --for 1h --extend m")) == ["m1", "m2"]
    manager.account.rows = {
        "kept": job("kept", state="failed"),
        "gone": job("gone", state="failed"),
    }
    held = {"job": "kept", "user": "ann", "until": "2026-11-21T09:00:00.000Z", "over": False}
    manager.publish(status(slot("local-0", phase="held", held=held)))
    assert named(complete("mayfly release ", "63")) == [
        *("kept  (failed)", "m1    (active ann gpu)", "m2    (coming bob gpu)")
    ]


def test_what_a_shell_makes_something_of_is_not_offered_and_not_shown_raw(
    manager: StandIn, complete: Complete
) -> None:
    names = [*EVIL, "-f", "a b", "a;b", "a\nb"]
    manager.account.rows = {one: job(one) for one in names}
    manager.account.rows |= {"ok1": job("ok1", name="a\x1b[2Jb\nc"), "ok2": job("ok2")}
    told = complete("mayfly cancel ", "63")
    assert named(told) == ["ok1  (queued ab c)", "ok2  (queued)"]


def test_without_a_manager_nothing_is_said(complete: Complete) -> None:
    for line in ("mayfly drain loc", "mayfly cancel ", "mayfly notify test "):
        assert named(complete(line)) == []


def asked(door: Path, line: str) -> tuple[int, bytes, bytes]:
    """What a process of its own prints."""
    env = {"COMP_LINE": line, "MAYFLY_HOST__SOCKET": str(door)}
    done = copies.run(copies.MAYFLY, environment(_MAYFLY_COMPLETE="bash", **env))
    return done.returncode, done.stdout, done.stderr


def test_a_manager_that_is_deaf_or_never_ends_offers_nothing_and_keeps_nobody(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s"
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(path))
    door.listen(5)
    assert asked(path, "mayfly drain loc") in ((0, b"words\n", b""), (0, b"", b""))
    ended = threading.Event()

    def drip() -> None:
        door.accept()[0].close()  # the one before
        client, _ = door.accept()
        with client:
            while not ended.wait(0.05):
                try:
                    client.send(b"H")
                except OSError:
                    return

    dripping = threading.Thread(target=drip)
    dripping.start()
    assert asked(path, "mayfly drain loc") == (0, b"", b""), "the whole is given up"
    ended.set()
    dripping.join()
    door.close()


def test_what_is_wrong_with_a_line_is_not_said(tmp_path: Path) -> None:
    lines = ("", "mayfly 'a", "mayfly --nonsense x", "mayfly nonsense ", "mayfly --version ")
    for line in lines:
        code, out, err = asked(tmp_path / "s", line)
        assert (code, err) == (0, b"")
        assert out == b"" or out.startswith(b"words\n")


@pytest.mark.parametrize(
    ("shell", "env", "said"),
    [
        ("complete_bash", {"COMP_WORDS": "mayfly\ndrain\nloc", "COMP_CWORD": "2"},
         "local-0\nlocal-1\n"),
        ("complete_zsh", {"_TYPER_COMPLETE_ARGS": "mayfly drain loc"},
         "_arguments '*: :((local-0 local-1))'\n"),
        ("complete_fish", {"_TYPER_COMPLETE_ARGS": "mayfly drain loc"}, "local-0\nlocal-1\n"),
    ],
)  # fmt: skip
def test_scripts_of_earlier_versions_are_still_answered(
    manager: StandIn, complete: Complete, shell: str, env: dict[str, str], said: str
) -> None:
    assert told(shell, env) == said


# -- the scripts -----------------------------------------------------------------------------------

PREPARE = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i"),
}
LOAD = {
    "bash": "source ./script",
    "zsh": "cp script _mayfly; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D",
    "fish": "source ./script",
}
# Answers as Mayfly does, and says how it was called; what bash is told has been cut by then (above).
PROGRAM = """#!/bin/sh
[ -n "${_MAYFLY_COMPLETE-}" ] || { echo "called: $*."; exit; }
word=${_MAYFLY_WORD-${COMP_LINE##* }}
case "${_MAYFLY_BEFORE-}${COMP_LINE-}" in
    *--config*) echo files ;;
    *--dir*) echo folders ;;
    *cancel*) cat cancel ;;
    *) printf 'words\\n'; printf "$word%s\\n" "n" ;;
esac
"""


@pytest.mark.parametrize("shell", PREPARE)
def test_a_real_shell_completes_and_runs_nothing_of_what_others_have_written(
    tmp_path: Path, shell: str
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    made = tmp_path / "made"
    abouts = [one.format(made) for one in EVIL]
    rows = "".join(
        f"job{n}  ({about})\n" if shell == "bash" else f"job{n}\t{about}\n"
        for n, about in enumerate(abouts)
    )
    (tmp_path / "cancel").write_text(f"words\n{rows}")
    (tmp_path / "script").write_text(SCRIPTS[shell])
    (tmp_path / "mayfly").write_text(PROGRAM)
    (tmp_path / "mayfly").chmod(0o755)
    (tmp_path / "folder").mkdir()
    (tmp_path / "lab.toml").touch()
    path = f"{tmp_path}:/usr/bin:/bin"
    screen = Terminal([*PREPARE[shell]], 160, PATH=path, HOME=str(tmp_path), PS1="> ")
    try:
        screen.type(f"cd {tmp_path}; {LOAD[shell]}; echo lo''aded\n")
        screen.until("loaded")
        for keys, called_so in (
            ("mayfly drai\tall\n", "drain all."),
            ("mayfly status --config la\t\n", "status --config lab.toml."),
            ("mayfly submit --dir fo\t\n", "submit --dir folder"),
        ):
            seen = len(screen.seen)
            screen.type(keys)
            screen.until(f"called: {called_so}", seen)
        screen.type("mayfly cancel job\t\t")
        screen.until(f"job{len(EVIL) - 1}")
    finally:
        screen.close()
    assert not made.exists()


# -- the verb --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_printed_or_put_in_place(tmp_path: Path, shell: str) -> None:
    env = environment(
        HOME=str(tmp_path), SHELL=f"/usr/bin/{shell}", XDG_DATA_HOME="", XDG_CONFIG_HOME=""
    )
    assert copies.command("completion", shell, environment=env).stdout == SCRIPTS[shell]
    assert copies.command("--show-completion", environment=env).stdout == SCRIPTS[shell]
    for words in (("completion", "--install"), ("--install-completion",)):
        done = copies.command(*words, environment=env)
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).read_text() == SCRIPTS[shell]
        assert "the next shell completes" in done.stderr


def test_a_shell_that_nobody_knows_is_named(mayfly: Mayfly) -> None:
    assert mayfly("completion", "tcsh").code == 2
    assert "there is no 'tcsh'; there are bash, zsh, fish" in mayfly("completion", "tcsh").err
    assert "which shell is yours is not known" in mayfly("completion", SHELL="").err
