"""``cancel``: the end of jobs and groups that are named, or of all that are chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer

from mayfly.cli.boxes import found_by
from mayfly.cli.client import Client, segment
from mayfly.cli.confirming import confirm_end
from mayfly.cli.options import ConfigOption, SocketOption, YesOption
from mayfly.cli.talk import client, needs, say
from mayfly.cli.trouble import Ended, Usage
from mayfly.core.model import JobState
from mayfly.core.runs import JOBS_MOST

OPEN = (JobState.QUEUED, JobState.RUNNING)


def cancel(
    ctx: typer.Context,
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB...]", help="Jobs, or groups."),
    ] = None,
    *,
    mine: Annotated[bool, typer.Option("--mine", help="All of yours.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="All of everybody's: for operators.")
    ] = False,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="Of those only what is queued, or running.",
        ),
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="POOL", help="Of those only this pool's.")
    ] = None,
    yes: YesOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """End jobs, queued or running, or all jobs of a group; or all of yours."""
    chosen = mine or every
    if bool(jobs) + mine + every != 1:
        raise Usage("cancel takes jobs and groups, or --mine for all of yours, or --all")
    needs("--state", state, "--mine or --all", chosen)
    needs("--pool", pool, "--mine or --all", chosen)
    needs("--yes", yes, "--mine or --all", chosen)
    if state not in (None, *OPEN):
        raise Usage(
            f"--state: of {state!r} nothing is to be cancelled; there are {', '.join(OPEN)}"
        )
    if jobs:
        _tell(*_ended_by_name(ctx, socket, config, jobs))
        return
    manager = client(ctx, socket, config)
    found = _chosen(manager, mine, state, pool)
    if not found:
        say("there is no such job that is queued or runs")
        return
    which = "1 job" if len(found) == 1 else f"{len(found)} jobs"
    confirm_end(f"Cancel {which}{' of yours' if mine else ', whoever has them'}?", yes=yes)
    ending: list[str] = []
    over: list[str] = []
    for part in _parts(found):
        try:
            some, ended = _ended_by(manager, part)
        except Ended:  # meanwhile, all of these
            some, ended = [], list(part)
        ending += some
        over += ended
    _tell(ending, over)


def _ended_by_name(
    ctx: typer.Context, socket: str | None, config: str | None, names: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The same of jobs that may be on several boxes: first all are found, then those of a box are ended."""
    managers: dict[str, Client] = {}
    by_box: dict[str, list[str]] = {}
    for name in names:
        manager, job = found_by(ctx, socket, config, name)
        managers.setdefault(manager.path, manager)
        by_box.setdefault(manager.path, []).append(job)
    found = [_ended_by(managers[box], jobs) for box, jobs in by_box.items()]
    return [job for ending, _ in found for job in ending], [
        job for _, over in found for job in over
    ]


def _ended_by(manager: Client, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The jobs that are being cancelled now, and those that had ended before."""
    if len(names) == 1:
        answer = manager.post(f"/v1/jobs/{segment(names[0])}/cancel", {})
    else:
        answer = manager.post("/v1/cancel", {"jobs": list(names)})
    ending = answer.get("jobs") or [answer.get("job", names[0])]
    return list(map(str, ending)), list(map(str, answer.get("ended") or ()))


def _tell(ending: Sequence[str], over: Sequence[str]) -> None:
    which = f"job {ending[0]} is" if len(ending) == 1 else f"{len(ending)} jobs are"
    say(f"{which} being cancelled" + (f"; {len(over)} had ended already" if over else ""))


def _chosen(manager: Client, mine: bool, state: str | None, pool: str | None) -> list[str]:
    """The open jobs; other people's first, so that who may not end those has ended none.

    Of each state what waits behind is before what is before it: nothing begins that is about to be ended.
    """
    query = {"limit": 0, "state": state, "pool": pool}
    own = _listed(manager, {**query, "mine": 1})
    if mine:
        return own
    known = set(own)
    return [*(job for job in _listed(manager, query) if job not in known), *own]


def _listed(manager: Client, query: Mapping[str, object]) -> list[str]:
    rows = manager.get("/v1/jobs", query).get("jobs", ())
    return [str(row.get("job")) for row in reversed(rows) if row.get("state") in OPEN]


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many at once as one command may end."""
    for at in range(0, len(names), JOBS_MOST):
        yield names[at : at + JOBS_MOST]
