"""What is typed most is read without Typer, and never in another way than Typer reads it."""

from __future__ import annotations

import inspect
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from mayfly.cli.gateway_process import serve
from mayfly.cli.quick import VERBS, read
from mayfly.cli.relaying import relayed
from mayfly.cli.running import manage
from mayfly.cli.standing import show
from mayfly.cli.verbs import app
from tests.cli.conftest import Mayfly
from tests.service.standin import StandIn, slot, status
from tests.terminal import unmeasured

Start = Callable[..., "subprocess.Popen[bytes]"]

HEAVY = {"typer", "click", "http.client", "email", "ssl", "rich", "pydantic"}
OF_OTHERS = {  # which no way of asking for the status is to import
    *("pydantic", "docker", "rich", "requests", "sqlite3", "prometheus_client"),
    "pynvml",
}


STATUS = VERBS["status"]
FUNCTIONS: dict[str, Callable[..., int]] = {
    "status": show,
    "run": manage,
    "gateway": serve,
    "relay": relayed,
}


def described(verb: str) -> click.Command:
    """The verb as Typer describes it."""
    group: Any = typer.main.get_command(app)
    command: click.Command = group.commands[verb]
    return command


def options(verb: str) -> Iterator[click.Parameter]:
    return (one for one in described(verb).params if one.name != "help")


@pytest.mark.parametrize("verb", VERBS)
def test_a_quick_verb_has_every_option_that_typer_knows_and_no_other(verb: str) -> None:
    told = {word: one for one in options(verb) for word in one.opts}
    flags = {word: one.name for word, one in told.items() if getattr(one, "is_flag", False)}
    values = {word: one.name for word, one in told.items() if word not in flags}
    assert VERBS[verb].flags == flags
    assert VERBS[verb].values == values
    assert all(one.nargs == 1 and not one.multiple for one in told.values())
    assert not any(one.secondary_opts for one in told.values())
    defaults = {
        name: one.default
        for name, one in inspect.signature(FUNCTIONS[verb]).parameters.items()
        if one.default is not inspect.Parameter.empty
    }
    assert defaults == {one.name: one.default for one in options(verb)}
    does = FUNCTIONS[verb]
    assert does.__module__ == f"mayfly.cli.{VERBS[verb].module}"
    assert does.__name__ == VERBS[verb].function


def as_typer_reads(words: list[str]) -> dict[str, Any]:
    """The options that were typed, or the error that they are."""
    with described("status").make_context("status", list(words)) as context:
        return {
            name: value
            for name, value in context.params.items()
            if value is not None and value is not False
        }


def words_of_it() -> st.SearchStrategy[list[str]]:
    known = st.sampled_from([*STATUS.flags, *STATUS.values, "--help", "--js", "-wa", "--json=1"])
    return st.lists(known | st.sampled_from(["/x", "", "-", "--", "--socket=/x", "1"]), max_size=5)


@given(words=words_of_it())
def test_what_is_read_without_typer_is_read_as_typer_reads_it(words: list[str]) -> None:
    found = read(STATUS, words)
    if found is not None:
        assert found == as_typer_reads(words)


@pytest.mark.parametrize("words", [["--help"], ["--js"], ["-wa"], ["--json", "more"], ["--socket"]])
def test_what_is_not_exactly_an_option_is_typers_to_read(words: list[str]) -> None:
    assert read(STATUS, words) is None


def test_a_manager_keeps_nothing_in_memory_that_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[host]\nnope = 1\n")
    script = (
        f"import sys; sys.argv = ['mayfly', 'run', '--config', '{tmp_path}/config.toml']\n"
        "from mayfly.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 1, end\n"
        "import mayfly.service.daemon\n"
        "print(sorted({'typer', 'click', 'rich', 'pygments', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=unmeasured()
    )
    assert done.stdout.strip() == "[]", done
    assert "nope" in done.stderr


def test_status_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['mayfly', 'status', '--socket', '/nobody']\n"
        "from mayfly.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 3, end\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=unmeasured()
    )
    assert done.stdout.strip() == "[]", done
    assert "nobody answers on /nobody" in done.stderr


@pytest.mark.parametrize(
    ("words", "not_imported"),
    [
        (["--socket", "PATH", "status"], OF_OTHERS),
        (["status", "--socket", "PATH"], OF_OTHERS | HEAVY),
    ],
)
def test_a_manager_s_answer_is_shown_without_what_is_heavy(
    manager: StandIn, words: list[str], not_imported: set[str]
) -> None:
    typed = ["mayfly", *(str(manager.path) if word == "PATH" else word for word in words)]
    script = (
        f"import sys; sys.argv = {typed!r}\n"
        "from mayfly.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end\n"
        f"print(sorted({not_imported!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=unmeasured(),
    )
    assert (done.stderr, done.stdout.splitlines()[0]) == ("[]\n", "lab1: all slots are idle")


# -- a quick verb ends as with Typer ---------------------------------------------------------------


@pytest.fixture(params=["without Typer", "with Typer"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """What stands before the verb: Typer alone reads that there is anything."""
    return [] if request.param == "without Typer" else ["--socket", f"{tmp_path}/control.sock"]


@pytest.mark.parametrize("words", [["status"], ["status", "--watch"]])
def test_interrupted_it_ends_without_a_word(
    tmp_path: Path, start: Start, before: list[str], words: list[str]
) -> None:
    with socket.socket(socket.AF_UNIX) as never_answers:
        never_answers.bind(f"{tmp_path}/control.sock")
        never_answers.listen()
        never_answers.settimeout(60)
        process = start(*before, *words)
        with never_answers.accept()[0] as asked:
            assert asked.recv(4096).startswith(b"GET /v1/status")
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 130


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["status", "--watch"]])
def test_whoever_reads_no_further_is_told_nothing(
    tmp_path: Path, start: Start, before: list[str], words: list[str]
) -> None:
    manager = StandIn(tmp_path / "control.sock")
    process = start(*before, *words)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    manager.publish(status(slot("local-0")))
    assert process.stderr.read() == b""
    assert process.wait(60) == 1
    manager.close()


@pytest.mark.parametrize(
    ("words", "env"),
    [
        ([], {}),
        (["--json"], {"MAYFLY_CONFIG": "/none", "MAYFLY_HOST__SOCKET": "/none"}),
        (["-h"], {}),
        (["--jsno"], {}),
        (
            [],
            {
                "_MAYFLY_COMPLETE": "complete_bash",
                "COMP_WORDS": "mayfly status --js",
                "COMP_CWORD": "2",
            },
        ),
        ([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ],
)
def test_it_prints_and_exits_as_with_typer(
    manager: StandIn, mayfly: Mayfly, words: list[str], env: dict[str, str]
) -> None:
    manager.publish(status(slot("local-0", phase="held"), headline="caf\u00e9 \u2026"))
    quick = mayfly("status", *words, **env)
    assert quick == mayfly("--socket", manager.path, "status", *words, **env)
    assert quick.out + quick.err
