"""The quick start, typed line by line on a terminal of 80 columns: what the page shows is what appears."""

from __future__ import annotations

import re
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import Manager, until
from tests.pages import consoles
from tests.terminal import Terminal

if TYPE_CHECKING:
    from tests.engine.private_engine import PrivateEngine

pytestmark = pytest.mark.long

PAGE = "docs/how-to/quick-start.md"


def plain(text: str) -> str:
    """What a person reads, without what differs from one time to the next: numbers, ids, hosts, columns."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", " ", text)
    text = re.sub(r"\b(m[a-z0-9]{12}|t[a-z0-9]{8}|[0-9a-f]{12})\b", "ID", text)
    text = re.sub(r"\b(host=|pid=)?\S+(?=: \d+ slots:)", "HOST", text)
    # How a container that had no job ended is known or not, as the Engine is quick.
    text = re.sub(r"(no_job +- +)(-|\d+)", r"\1?", text)
    text = re.sub(r"\b(host|container|version|boot)=\S*", r"\1=", text)
    return " ".join(re.sub(r"\b\d+[smh]?\b", "0", text).split())


def shown(lines: tuple[str, ...]) -> list[str]:
    """The lines of a block that do not hang on Engine and host, up to where the page cuts one."""
    found: list[str] = []
    of_host = False
    for line in lines:
        if line.endswith("1 preparing, 1 idle"):
            continue  # they may come up at once
        # Whether a slot is seen vacant on its way is a matter of milliseconds.
        of_host = line.startswith(
            ("health:", "mayfly: next:", "mayfly: waiting: local-0 is vacant")
        ) or (of_host and line.startswith("  "))
        if not of_host and line:
            found.append(plain(re.sub(r"\S*….*", "", line)))
    return found


def test_the_quick_start_is_what_is_typed_and_what_appears(
    engine: PrivateEngine, tmp_path: Path
) -> None:
    (tmp_path / "mayfly").write_text(f'#!/bin/sh\nexec {sys.executable} -m mayfly.cli.app "$@"\n')
    (tmp_path / "mayfly").chmod(0o755)
    with Manager(engine.url) as manager, ExitStack() as stack:
        manager.config.unlink()
        drop_in = manager.config.with_name("conf.d") / "own.toml"
        drop_in.parent.mkdir()
        drop_in.write_text(f'[host]\nstate_dir = "{manager.state}"\nsocket = "{manager.socket}"\n')
        env = {
            **manager.environment(),
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "DOCKER_HOST": engine.url,
        }
        typed = [one for block in consoles() if block.page == PAGE for one in block.typed]
        for command, lines in typed:
            if command == "sudo mayfly run":
                running = Terminal(["bash", "-c", "exec mayfly run"], 80, **env)
                stack.callback(running.close)
                seen = running.until("2 slots: 2 idle")
            else:
                if "describe" in command:
                    until(lambda: stands_by(manager), "the standby is ready")
                if "sleep" in command:
                    until(lambda: stands(manager), "the slot of the job before is filled again")
                seen = on_terminal(command, env, manager)
            seen = seen.replace(str(manager.home), "/etc/mayfly").replace(
                engine.url, "unix:///var/run/docker.sock"
            )
            appeared = plain(seen).replace(", /etc/mayfly/conf.d/own.toml", "")
            for line in shown(lines):
                assert line in appeared, (command, line, appeared)


def stands(manager: Manager) -> bool:
    """Whether each slot has an agent that waits and bears its name: the first one takes the next job."""
    return manager.rests() and sorted(manager.containers()) == ["local-0", "local-1"]


def stands_by(manager: Manager) -> bool:
    """Whether the busy slot's standby has reached its gate, and no event is still to come of it."""
    standby = manager.slot()["standby"]
    return standby is not None and standby["phase"] == "armed"


def on_terminal(command: str, env: dict[str, str], manager: Manager) -> str:
    """What appears where the command is typed; Enter is the answer to each question.

    The job that the page lets sleep goes on until the slot is drained, however slow this machine is.
    """
    words = command.replace("sudo ", "").replace(
        "sleep 4", "until [ -e /tmp/go ]; do sleep 0.1; done"
    )
    terminal = Terminal(["bash", "-c", words], 80, **env)
    try:
        if "init" in words:
            for question in ("local]: ", "local]: ", "2]: "):
                terminal.until(question, terminal.seen.rfind(question) + 1)
                terminal.type("\n")
        if "--watch" in words:
            terminal.until("1 idle, 1 busy")
            terminal.process.send_signal(signal.SIGINT)
        if "drain" in words:
            terminal.until("is busy, cordoned")
            manager.let_go_in(manager.slot()["container"])
        return terminal.end()[1]
    finally:
        terminal.close()
