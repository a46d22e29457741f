"""``doctor``: looks at all that a filled pool needs, and says what to type where something is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from manager.cli.options import (
    ConfigOption,
    JsonOption,
    SocketOption,
    TimeoutOption,
    client,
    colours,
    config_path,
    duration,
    print_json,
    say,
    terminal_width,
)
from manager.cli.trouble import Trouble, Usage

if TYPE_CHECKING:
    from manager.cli.client import Client
    from manager.cli.doctor import Result
    from manager.core.model import Config

ONLINE_SECONDS = 600.0  # for a service to show a fresh agent online


def doctor(
    ctx: typer.Context,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 also where something is warned of.")
    ] = False,
    canary: Annotated[
        str | None,
        typer.Option("--canary", metavar="SLOT", help="Also take an agent through this slot."),
    ] = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Check Engine, GPUs, images, tokens, services and host; a line to paste for whatever is wrong."""
    from manager.cli import render_doctor  # noqa: PLC0415  brings most of Mayfly
    from manager.cli.doctor import exit_code, results  # noqa: PLC0415
    from manager.cli.examination import examine  # noqa: PLC0415

    facts = examine(config_path(ctx, config), lambda: client(ctx, socket, config))
    found = results(facts)
    if canary is not None:
        seconds = duration(timeout, "--timeout")
        found.append(_flown(facts.config, client(ctx, socket, config), canary, seconds))
    if as_json:
        print_json(render_doctor.document(found))
    else:
        for line in render_doctor.doctor(found, terminal_width(), colours()):
            print(line)
    raise typer.Exit(exit_code(found, strict=strict))


def _flown(config: Config | None, manager: Client, slot: str, seconds: float | None) -> Result:
    """What came of an agent that was taken through the slot: from its gate to its end, or to its service.

    An agent of a service has no job to end with: it has come through when its service shows it idle.
    """
    from manager.cli.doctor import Result, fail, flight, ok  # noqa: PLC0415
    from manager.cli.throwaway import canary, emptied, spec_of  # noqa: PLC0415
    from manager.edge.faults import Fault  # noqa: PLC0415

    if config is None:
        raise Usage("--canary wants a configuration without mistakes")
    say(f"{slot} is emptied for the canary; a job that runs there ends first")
    problem: str | None
    try:
        spec = spec_of(config, slot)
        with emptied(manager, slot, seconds):
            problem = canary(config, spec) if spec.pool.provider == "local" else None
        if problem is None:
            _await_idle(manager, slot)
    except (Fault, Trouble) as trouble:
        problem = str(trouble)
    if problem is not None:
        return Result(flight(), fail(f"{slot}: {problem}", f"mayfly describe {slot}"))
    return Result(flight(), ok(f"{slot}: a fresh agent went all the way"))


def _await_idle(manager: Client, slot: str) -> None:
    from manager.cli.verbs_status import await_status  # noqa: PLC0415

    def left(document: dict[str, Any]) -> str | None:
        row: dict[str, Any] = next((row for row in document["slots"] if row["slot"] == slot), {})
        return (
            None
            if row.get("phase") == "idle"
            else f"{slot} is {row.get('phase')}: {row.get('note')}"
        )

    await_status(manager, left, ONLINE_SECONDS)
