"""A run that was just taken: its id, or how it stands once all of its jobs have ended."""

from __future__ import annotations

import time

import typer

from mayfly.cli import render_runs
from mayfly.cli.client import Client
from mayfly.cli.following import followed_group
from mayfly.cli.run_submission import Submitted
from mayfly.cli.talk import colours, say, terminal_width
from mayfly.cli.trouble import Down, TimedOut

INTERRUPTED = 130


def report_run(manager: Client, found: Submitted, *, wait: bool) -> None:
    """Say what was taken and print its id; with ``wait`` end with the code of its jobs."""
    if not wait:
        say(str(found))
        print(found.run)
        return
    say(f"{found}; how they stand: mayfly runs {found.run}")
    raise typer.Exit(_waited_for(manager, found.run))


def _waited_for(manager: Client, run: str) -> int:
    """0 once all of its jobs have succeeded, 1 where one has not."""
    try:
        document = followed_group(manager, run)
        row = manager.get(f"/v1/runs/{run}")
    except KeyboardInterrupt:
        say(f"run {run} goes on; end it: mayfly runs {run} --cancel")
        return INTERRUPTED
    except (Down, TimedOut) as trouble:
        raise type(trouble)(f"{trouble}\n  run {run} is not lost: mayfly runs {run}") from trouble
    for line in render_runs.run(row, document, time.time(), terminal_width(), colours()):
        print(line)
    return int(row.get("state") != "succeeded")
