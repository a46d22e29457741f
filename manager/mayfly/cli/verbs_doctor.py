"""``doctor``: looks at all that a filled pool needs, and says what to type where something is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.options import ConfigOption, JsonOption, SocketOption, TimeoutOption
from mayfly.cli.paste import pasted
from mayfly.cli.standing import first_status, slot_of
from mayfly.cli.talk import (
    client,
    colours,
    config_path,
    lasting,
    needs,
    place,
    print_json,
    say,
    terminal_width,
)
from mayfly.cli.trouble import Trouble, Usage

if TYPE_CHECKING:
    from mayfly.cli.client import Client
    from mayfly.cli.doctor import CheckResult
    from mayfly.core.model import Config


def doctor(
    ctx: typer.Context,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 also where something is warned of.")
    ] = False,
    canary: Annotated[
        str | None,
        typer.Option(
            "--canary",
            metavar="SLOT",
            help="Also take an agent through this slot.",
        ),
    ] = None,
    pools: Annotated[
        bool,
        typer.Option("--pools", help="Look at nothing, and propose pools for this host's GPUs."),
    ] = False,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider",
            metavar="NAME",
            help="With --pools: where their jobs come from.",
            show_default="local",
        ),
    ] = None,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Check Engine, GPUs, images, tokens, services and host; a line to paste for whatever is wrong."""
    from mayfly.cli import render_doctor  # noqa: PLC0415  brings most of Mayfly
    from mayfly.cli.doctor import exit_code, results  # noqa: PLC0415
    from mayfly.cli.examination import examine  # noqa: PLC0415

    needs("--timeout", timeout, "--canary", canary)
    needs("--provider", provider, "--pools", pools or None)
    if pools:
        _propose(provider or "local", other=canary is not None or as_json or strict)
        return
    seconds = lasting(timeout, "--timeout")
    if canary is not None:
        # Nothing is looked at or emptied where no slot has that name.
        slot_of(first_status(client(ctx, socket, config)), canary)
    facts = examine(config_path(ctx, config), lambda: client(ctx, socket, config))
    found = results(facts)
    if canary is not None:
        found.append(_flown(facts.config, client(ctx, socket, config), canary, seconds))
    where = place(ctx, socket, config)
    found = [
        replace(one, verdict=replace(one.verdict, fix=pasted(one.verdict.fix, where)))
        for one in found
    ]
    if as_json:
        known = facts.config.host.docs if facts.config is not None else None
        print_json(render_doctor.document(found, known))
    else:
        for line in render_doctor.doctor(found, terminal_width(), colours()):
            print(line)
    raise typer.Exit(exit_code(found, strict=strict))


def _propose(provider: str, *, other: bool) -> None:
    """Print pools for the GPUs that NVML says."""
    from mayfly.cli.host_hardware import hardware  # noqa: PLC0415  brings NVML
    from mayfly.cli.proposal_text import proposal_text  # noqa: PLC0415
    from mayfly.core.pool_proposal import proposals  # noqa: PLC0415
    from mayfly.providers.installed import packages  # noqa: PLC0415

    if other:
        raise Usage("--pools goes with --provider alone")
    package = packages().get(provider)
    if package is None:
        raise Usage(f"there is no provider {provider!r}: there are {', '.join(packages())}")
    found = hardware()
    if found.gpus is None:
        raise Trouble(f"no pools can be proposed: {found.unknown}")
    proposed = proposals(found.gpus, turns=package.embedded)
    if not proposed:
        raise Trouble(
            "no pools can be proposed: the driver answers and finds no GPU to give to a slot"
        )
    print(proposal_text(proposed, package), end="")


def _flown(config: Config | None, manager: Client, slot: str, seconds: float | None) -> CheckResult:
    """What came of an agent that was taken through the slot."""
    from mayfly.cli.canary import fly  # noqa: PLC0415
    from mayfly.cli.doctor import CheckResult, fail, flight, ok  # noqa: PLC0415
    from mayfly.edge.faults import Fault  # noqa: PLC0415

    if config is None:
        raise Usage("--canary wants a configuration without mistakes")
    say(f"{slot} is emptied for the canary; a job that runs there ends first")
    try:
        told = fly(config, manager, slot, seconds)
    except (Fault, Trouble) as trouble:
        return CheckResult(flight(), fail(f"{slot}: {trouble}", f"mayfly describe {slot}"))
    return CheckResult(flight(), ok(f"{slot}: {told}"))
