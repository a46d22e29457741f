"""The embedded queue: ``submit``, ``jobs``, and ``logs`` of a job or a slot."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from mayfly.cli import render
from mayfly.cli.boxes import found_by, several, show
from mayfly.cli.clean_terminal import let_go
from mayfly.cli.client import Client, Document, segment, some_of
from mayfly.cli.completion import SlotOrJobArgument
from mayfly.cli.following import (
    Away,
    Follower,
    JobSink,
    LogSink,
    Sink,
    follow_job,
    followed_group,
)
from mayfly.cli.job_state import StateOption
from mayfly.cli.misunderstood import (
    late_input_told,
    see_that_it_is_a_program,
    see_that_nothing_is_piped_in,
    see_that_programs_are_found,
)
from mayfly.cli.options import ConfigOption, JsonOption, SocketOption
from mayfly.cli.paste import pasted, typed_again
from mayfly.cli.render_gpu_use import gpu_use
from mayfly.cli.results import fetched, folder_of, is_group, place_here, places_in, wanted
from mayfly.cli.sending import sent_folder, sent_input
from mayfly.cli.standing import first_status, slot_of
from mayfly.cli.talk import (
    client,
    colours,
    lasting,
    moment_of,
    place,
    print_json,
    say,
    terminal_width,
)
from mayfly.cli.trouble import Busy, Down, NoSuch, TimedOut, Trouble, Usage
from mayfly.core.exit_codes import signal_of
from mayfly.core.model import Cause
from mayfly.core.plain_text import clean
from mayfly.core.quantities import parse_size

INTERRUPTED = 130
MOST = 20_000  # jobs of one list
PriorityOption = Annotated[
    str | None,
    typer.Option(
        "--priority",
        metavar="CLASS",
        help="high (operators alone), normal or low.",
    ),
]


def submit(
    ctx: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="What the job runs.")],
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Print what it prints, exit with its code.")
    ] = False,
    pool: Annotated[
        str | None,
        typer.Option("--pool", metavar="POOL", help="Needed where several pools are local."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="K=V", help="A variable; K alone takes yours."),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="The job's limit.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What you call it.")
    ] = None,
    priority: PriorityOption = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            "--after",
            metavar="JOB",
            help="Run when that job, or group, has ended well.",
        ),
    ] = None,
    retry_lost: Annotated[
        int,
        typer.Option(
            "--retry-lost",
            metavar="N",
            min=0,
            max=10,
            help="Run it again where it was lost, at most so often.",
        ),
    ] = 0,
    cuda: Annotated[
        str | None,
        typer.Option(
            "--cuda",
            metavar="VERSION",
            help="In a pool with that CUDA; several by commas, or all, are a job each.",
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus", metavar="N", min=0, max=64, help="In a pool whose slots have so many each."
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="IMAGE", help="In that image, where a pool allows it."),
    ] = None,
    matrix: Annotated[
        list[str] | None,
        typer.Option("--matrix", metavar="KEY=A,B", help="A job for each value of that variable."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="DIR", help="Send this folder as git would; the job starts in it."
        ),
    ] = None,
    out: Annotated[
        list[str] | None,
        typer.Option(
            "--out",
            metavar="PATH[=HERE]",
            help="Bring that back, also where it failed; it may be there several times.",
        ),
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Give it your standard input.")] = False,
    hold: Annotated[
        bool, typer.Option("--hold", help="When it ends keep it for you to attach to.")
    ] = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Queue a command as a job and print its id."""
    see_that_it_is_a_program(command)
    if not stdin:
        see_that_nothing_is_piped_in()
    variables, values = _variables(env or []), _matrix(matrix or [])
    versions = _several("--cuda", cuda) if cuda is not None else []
    if versions and image is not None:
        raise Usage(
            "--image brings the CUDA that is in it, and --cuda asks for a pool's: say one of them"
        )
    see_that_programs_are_found(command, [variables.get("PATH", ""), *values.get("PATH", ())])
    places = wanted(out or [], grouped=is_group(values, versions), waits=wait)
    body: dict[str, object] = {
        "argv": command,
        "env": variables,
        "pool": pool,
        "timeout": lasting(timeout, "--timeout"),
    }
    asked: dict[str, object] = {
        "name": name,
        "priority": priority,
        "retry_lost": retry_lost,
        "cuda": versions,
        "image": image,
        "matrix": values,
        "out": [*places] or None,
        "hold": hold,
    }
    if gpus is not None:  # none at all may be asked for
        body["gpus"] = gpus
    # What is not asked for is not said, so that a manager of before takes the job.
    body |= {key: one for key, one in asked.items() if one}
    box, manager, after = _where(ctx, socket, config, body, after or [])
    brought = {
        "after": after,
        "workspace": sent_folder(manager, folder, [*places]) if folder is not None else None,
        "stdin": sent_input(manager) if stdin else None,
    }
    answer = manager.post("/v1/jobs", body | {key: one for key, one in brought.items() if one})
    job = str(answer["job"])
    if not wait:
        print(f"{box}/{clean(job)}" if box else job)
        return
    outcome = _group_outcome if answer.get("group") else _job_outcome
    with nullcontext() if stdin else late_input_told(say):
        raise typer.Exit(outcome(manager, job, places))


def _where(
    ctx: typer.Context,
    socket: str | None,
    config: str | None,
    body: Mapping[str, object],
    after: list[str],
) -> tuple[str, Client, list[str]]:
    """The box, "" where only one is meant, the manager that the job goes to, and what it is to run after."""
    boxes = several(ctx, socket, config)
    if boxes is None:
        return "", client(ctx, socket, config), after
    from mayfly.cli.choosing_box import chosen  # noqa: PLC0415  rarely needed

    return chosen(boxes, body, after)


def _job_outcome(manager: Client, job: str, places: Mapping[str, Path]) -> int:
    """Print what a job prints, and bring what it has made; the exit code for both."""
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
        let_go()
        say(f"the job's output cannot be written: {why}; job {job} goes on: mayfly logs -f {job}")
        raise typer.Exit(1) from None
    code = _exit_code(row)
    if sys.stderr.isatty() and (used := gpu_use(row)):
        say(used)
    if sink.incomplete and code == 0:
        say(f"job {job} succeeded, and its output is not whole: what is missing is said above")
        code = 1
    if places and not _brought(manager, job, places) and code == 0:
        code = 1
    return code


def _brought(manager: Client, job: str, places: Mapping[str, Path]) -> bool:
    """Bring what a job has made; whether all of it came. Why it did not is said."""
    try:
        return fetched(manager, job, places)
    except KeyboardInterrupt:
        say(f"the results of job {job} are kept: mayfly fetch {job}")
        raise typer.Exit(INTERRUPTED) from None
    except Trouble as trouble:
        say(str(trouble))
        return False


def fetch(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB")],
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            "-o", metavar="DIR", help="Where to, over what is there; a new folder called JOB."
        ),
    ] = None,
    most: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="The most to take: all, and 16GiB of a manager on another host."
        ),
    ] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Bring back what `submit --out` named of a job that has ended."""
    bound = _size("--most", most)
    manager, job = found_by(ctx, socket, config, job)
    row = manager.get(f"/v1/jobs/{segment(job)}")
    into = folder_of(job) if folder is None else folder
    if folder is None and os.path.lexists(into):
        raise Trouble(
            f"{clean(job)} is here already, and stays as it is: `mayfly fetch {clean(job)} -o DIR` writes "
            "to a folder of your choice"
        )
    places = places_in(into, row.get("out") or ())
    whole = fetched(manager, job, places, bound)
    if folder is None and into.is_dir():
        say(f"the results of job {clean(job)} are in {clean(str(into.absolute()))}")
    for one in places.values():
        if os.path.lexists(one):
            print(clean(str(one)))
    if not whole:
        raise typer.Exit(1)


def _size(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise Usage(f"{option}: {clean(text or '')!r} {error}") from error


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


def _matrix(given: list[str]) -> dict[str, list[str]]:
    values = {}
    for entry in given:
        name, equals, several = entry.partition("=")
        if not equals or not several:
            raise Usage(f"--matrix {entry}: write KEY=VALUE,VALUE")
        if name in values:
            raise Usage(f"--matrix {name} is there twice: write all values behind one")
        values[name] = _several(f"--matrix {name}", several)
    return values


def _several(option: str, text: str) -> list[str]:
    """Values by commas; ``Usage`` where one is there twice, which would be one job."""
    values = text.split(",")
    twice = [one for number, one in enumerate(values) if one in values[:number]]
    if twice:
        raise Usage(
            f"{option}: {clean(twice[0])!r} is there twice, and makes one job: write each value once"
        )
    return values


def _group_outcome(manager: Client, group: str, places: Mapping[str, Path]) -> int:
    """The exit code of all jobs of a group, once they have ended: 0 where all succeeded, else the first that
    one of them has that did not. What each has made is brought into a folder called as it is.
    """
    say(f"group {group}; its jobs: mayfly jobs --group {group}   what one prints: mayfly logs JOB")
    try:
        document = followed_group(manager, group)
    except KeyboardInterrupt:
        say(f"group {group} goes on; end it: mayfly cancel {group}")
        raise typer.Exit(INTERRUPTED) from None
    except (Down, TimedOut) as trouble:
        text = f"{trouble}\n  group {group} is not lost: mayfly jobs --group {group}"
        raise type(trouble)(text) from trouble
    for line in render.group(document, time.time(), terminal_width(), colours()):
        print(line)
    rows = document["jobs"]
    failed = [row for row in rows if row.get("state") != "succeeded"]
    if failed:
        first = failed[0].get("job")
        say(f"{len(failed)} of {len(rows)} jobs did not succeed; see mayfly logs {first}")
    codes = [row.get("exit_code") for row in failed]
    code = next((code for code in codes if code), 1) if failed else 0
    if places and not _each_brought(manager, [str(row.get("job")) for row in rows], places):
        code = code or 1
    return code


def _each_brought(manager: Client, jobs: Sequence[str], places: Mapping[str, Path]) -> bool:
    """Bring what each job has made into a new folder called as the job; whether all of it came."""
    whole = True
    for job in jobs:
        folder = folder_of(job)
        if os.path.lexists(folder):
            say(f"{folder} is here already, and stays as it is: mayfly fetch {folder} -o DIR")
            whole = False
            continue
        whole &= _brought(manager, job, {path: place_here(path, folder) for path in places})
        if folder.is_dir():
            say(f"the results of job {folder} are in {clean(str(folder.absolute()))}")
    return whole


def _exit_code(row: Document) -> int:
    """A job's own code; 1 where it has none or did not succeed with 0.

    Why it did not succeed is said; where the command ended by itself and no signal did it, to a person alone.
    """
    code, cause = row.get("exit_code"), row.get("cause")
    succeeded = row.get("state") == "succeeded"
    own = isinstance(code, int) and (code != 0 or succeeded)
    plain = own and cause in (None, str(Cause.EXIT)) and not signal_of(code)
    if not plain or (not succeeded and sys.stderr.isatty()):
        told = signal_of(code) if cause == str(Cause.EXIT) else ""
        why = row.get("detail") or told or cause or "cause unknown"
        say(f"job {row.get('job')} {row.get('state')}: {clean(str(why))}")
    return code if own and isinstance(code, int) else 1


def jobs(
    ctx: typer.Context,
    *,
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    state: StateOption = None,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="POOL", help="Only of this pool.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="GROUP", help="Only of this group.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Of what has ended: from then on, or 24h ago."
        ),
    ] = None,
    most: Annotated[
        int, typer.Option("-n", metavar="N", min=1, max=MOST, help="At most so many.")
    ] = 200,
    why: Annotated[
        str | None,
        typer.Option(
            "--why",
            metavar="JOB",
            help="Say where this one stands, and why.",
        ),
    ] = None,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List jobs: those that ended last, those that run, and those that wait, in their order."""
    if why is not None:
        if mine or state or pool or group or since:
            raise Usage("--why is of one job: the other options would be ignored")
        manager, why = found_by(ctx, socket, config, why)
        row = manager.get(f"/v1/jobs/{segment(why)}")
        if as_json:
            print_json(row)
        else:
            print(render.why(row, time.time()))
        return
    query = {
        "mine": int(mine) or None,
        "state": state,
        "pool": pool,
        "group": group,
        "since": moment_of(since),
        "most": most,
        "limit": min(most, 10_000) if state or since or group else None,
    }
    if boxes := several(ctx, socket, config):
        found = boxes.get("/v1/jobs", query)
        raise typer.Exit(show(found, as_json, _listed))
    document = client(ctx, socket, config).get("/v1/jobs", query)
    if as_json:
        print_json(document)
        return
    for line in _listed(document):
        print(line)
    if left_out := document.get("left_out"):
        more = "1 more job is" if left_out == 1 else f"{left_out} more jobs are"
        typed = {
            "--mine": mine,
            "--state": state,
            "--pool": pool,
            "--group": group,
            "--since": since,
        }
        wider = typed_again("jobs", {**typed, "-n": min(most + int(left_out), MOST)})
        say(f"{more} not shown: {pasted(wider, place(ctx, socket, config))}")


def _listed(document: Document) -> list[str]:
    return render.jobs(document, time.time(), terminal_width(), colours())


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
    manager, name = found_by(ctx, socket, config, name)
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
