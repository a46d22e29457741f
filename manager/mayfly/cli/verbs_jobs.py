"""The embedded queue: ``submit``, ``jobs``, ``cancel``, and ``logs`` of a job or a slot."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from mayfly.cli import render
from mayfly.cli.client import Client, Document, segment, some_of
from mayfly.cli.completion import SlotOrJobArgument
from mayfly.cli.following import Away, Follower, JobSink, LogSink, Sink, follow_job
from mayfly.cli.options import (
    ConfigOption,
    JsonOption,
    SocketOption,
    client,
    colours,
    lasting,
    print_json,
    say,
    terminal_width,
)
from mayfly.cli.trouble import Busy, Down, NoSuch, TimedOut, Usage
from mayfly.cli.verbs_status import first_status, slot_of
from mayfly.core.model import Cause

INTERRUPTED = 130


def submit(
    ctx: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="What the job runs.")],
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Print what it prints, exit with its code.")
    ] = False,
    pool: Annotated[
        str | None, typer.Option("--pool", help="Needed where several pools are local.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="K=V", help="A variable; K alone takes yours."),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="The job's limit.")
    ] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Queue a command as a job and print its id."""
    manager = client(ctx, socket, config)
    body = {
        "argv": command,
        "env": _variables(env or []),
        "pool": pool,
        "timeout": lasting(timeout, "--timeout"),
    }
    job = str(manager.post("/v1/jobs", body)["job"])
    if not wait:
        print(job)
        return
    sink = JobSink()
    try:
        row = follow_job(manager, job, sink)
    except KeyboardInterrupt:
        say(f"job {job} goes on; see it: mayfly logs -f {job}   end it: mayfly cancel {job}")
        raise typer.Exit(INTERRUPTED) from None
    except (Down, TimedOut) as trouble:
        text = f"{trouble}\n  job {job} is not lost: mayfly logs -f {job}"
        raise type(trouble)(text) from trouble
    except OSError as error:  # the client's own are told by now: standard output takes no more
        why = error.strerror or str(error)
        say(f"the job's output cannot be written: {why}; job {job} goes on: mayfly logs -f {job}")
        raise typer.Exit(1) from None
    code = _exit_code(row)
    if sink.incomplete and code == 0:
        say(f"job {job} succeeded, and its output is not whole: what is missing is said above")
        code = 1
    raise typer.Exit(code)


def _variables(given: list[str]) -> dict[str, str]:
    variables = {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not equals:
            if name not in os.environ:
                raise Usage(f"--env {name}: you have no such variable; write {name}=VALUE")
            value = os.environ[name]
        variables[name] = value
    return variables


def _exit_code(row: Document) -> int:
    """A job's own code; 1 where it has none or did not succeed with 0.

    Why it did not succeed is said, unless the command ended so by itself.
    """
    code, cause = row.get("exit_code"), row.get("cause")
    own = isinstance(code, int) and (code != 0 or row.get("state") == "succeeded")
    if not own or cause not in (None, str(Cause.EXIT)):
        say(f"job {row.get('job')} {row.get('state')}: {cause or 'cause unknown'}")
    return code if own and isinstance(code, int) else 1


def jobs(
    ctx: typer.Context,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List queued and running jobs and the last 100 that ended."""
    document = client(ctx, socket, config).get("/v1/jobs")
    if as_json:
        print_json(document)
        return
    for line in render.jobs(document, time.time(), terminal_width(), colours()):
        print(line)


def cancel(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB")],
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """End a job, queued or running."""
    client(ctx, socket, config).post(f"/v1/jobs/{segment(job)}/cancel", {})
    say(f"job {job} is being cancelled")


def logs(
    ctx: typer.Context,
    name: SlotOrJobArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    previous: Annotated[
        bool, typer.Option("--previous", help="Of the slot's agent before this one.")
    ] = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Print what a job, or the agent in a slot, has printed."""
    if follow and previous:
        raise Usage("--previous is of an agent that has ended, and --follow of one that has not")
    manager = client(ctx, socket, config)
    sink = LogSink()
    try:
        came = _print_slot(manager, name, follow, previous, sink)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if not came:
        say(_silence(manager, name, previous))


def _silence(manager: Client, name: str, previous: bool) -> str:
    """Why there is nothing to print."""
    if previous:
        return f"no agent of slot {name} that had a job, or died at its gate, is remembered"
    try:
        row = manager.get(f"/v1/jobs/{segment(name)}")
    except NoSuch:
        return f"the agent in {name} has printed nothing; the one before it: mayfly logs --previous {name}"
    return f"job {name} is {row.get('state')} and has printed nothing"


def _see_that_it_is_a_slot(manager: Client, name: str) -> None:
    try:
        manager.get(f"/v1/jobs/{segment(name)}")
    except NoSuch:
        slot_of(first_status(manager), name)
        return
    raise Usage(f"{name} is a job, and --previous is of a slot's agents: mayfly logs {name}")


def _print_slot(manager: Client, name: str, follow: bool, previous: bool, sink: Sink) -> bool:
    """What the agent in a slot printed, or the job of that name; whether there was anything."""
    extra = {"previous": 1} if previous else {}
    follower = Follower(manager, f"/v1/slots/{segment(name)}/output", sink)
    away = Away()
    while True:
        try:
            return follower.read(follow, extra)
        except NoSuch:
            if previous:
                _see_that_it_is_a_slot(manager, name)
                raise
            return _print_job(manager, name, follow, sink)
        except Busy:
            time.sleep(some_of(2.0))
        except (Down, TimedOut) as trouble:
            if not follow or not follower.begun:
                raise
            away.gone(trouble)
            time.sleep(0.3)


def _print_job(manager: Client, name: str, follow: bool, sink: Sink) -> bool:
    try:
        if follow:
            follow_job(manager, name, sink)
            return True
        return Follower(manager, f"/v1/jobs/{segment(name)}/output", sink).read(follow=False)
    except NoSuch as trouble:
        raise NoSuch(f"there is no slot or job {name}") from trouble
