"""``config check``, ``show``, ``schema`` and ``migrate``: the configuration without the manager."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.options import ConfigOption, JsonOption
from mayfly.cli.talk import config_path, print_json, say
from mayfly.cli.whole_file import replace_files

if TYPE_CHECKING:
    from mayfly.edge.config import Loaded
    from mayfly.edge.mistakes import Problem

config_app = typer.Typer(
    help="Check, show, describe and migrate the configuration.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@config_app.command()
def check(ctx: typer.Context, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Read the configuration and name every mistake in it."""
    from mayfly.edge.config import ConfigError  # noqa: PLC0415  pydantic is heavy
    from mayfly.providers.configuration import load  # noqa: PLC0415

    loaded = None
    try:
        loaded = load(config_path(ctx, config))
    except ConfigError as error:
        found, old = error.problems, error.old_keys
    else:
        found, old = (
            (
                *_engineless(loaded),
                *_uninstalled(loaded),
                *_examples(loaded),
                *_imageless(loaded),
                *_unserved(loaded),
            ),
            loaded.config.old_keys,
        )
    if as_json:
        problems = [dataclasses.asdict(problem) for problem in found]
        document = {"problems": problems, "old_keys": [] if problems else list(old)}
        print_json({"schema": "mayfly.config-check/1", **document})
        raise typer.Exit(1 if problems else 0)
    for sentence in (*map(str, found), *old):
        say(sentence)
    if loaded is None or found:
        say(_counted(len(found), len(old)))
        raise typer.Exit(1)
    pools = loaded.config.pools
    slots = sum(pool.slots for pool in pools)
    say(
        f"{', '.join(str(file) for file in loaded.files)}: {len(pools)} "
        f"{'pool' if len(pools) == 1 else 'pools'}, {slots} {'slot' if slots == 1 else 'slots'}, "
        "no mistakes"
    )


def _counted(mistakes: int, old: int) -> str:
    told = "1 mistake" if mistakes == 1 else f"{mistakes} mistakes"
    return told + (f", and {old} old key{'s' if old > 1 else ''}" if old else "")


def _engineless(loaded: Loaded) -> tuple[Problem, ...]:
    """A problem where there is no such engine here."""
    from mayfly.edge.faults import Refused  # noqa: PLC0415
    from mayfly.engines import OWN, maker  # noqa: PLC0415

    name = loaded.config.host.engine
    try:
        if name not in OWN:  # Mayfly's own are there, and heavy
            maker(name)
    except Refused as fault:
        return (loaded.problem(("host", "engine"), str(fault)),)
    return ()


def _uninstalled(loaded: Loaded) -> tuple[Problem, ...]:
    """A problem for each pool that needs something which is not installed here."""
    from mayfly.providers.configuration import provider_keys  # noqa: PLC0415

    return tuple(
        loaded.problem(("pool", index, pool.provider, *where), sentence)
        for index, pool in enumerate(loaded.config.pools)
        for where, sentence in provider_keys()[pool.provider].lacks(pool.settings)
    )


def _examples(loaded: Loaded) -> tuple[Problem, ...]:
    """A problem for each pool whose service's address is still the one that the pages and `init` show."""
    from mayfly.providers.installed import package  # noqa: PLC0415

    return tuple(
        loaded.problem(
            ("pool", index, pool.provider, "url"),
            f"{example} is an example: write the address of yours",
        )
        for index, pool in enumerate(loaded.config.pools)
        if (found := package(pool.provider)) is not None
        and (example := found.hints.url)
        and getattr(pool.settings, "url", None) == example
    )


def _imageless(loaded: Loaded) -> tuple[Problem, ...]:
    """A problem for each pool that pins a CUDA version which no image has."""
    from mayfly.core import images  # noqa: PLC0415
    from mayfly.edge.catalogue import catalogue  # noqa: PLC0415

    there = [images.text(row.cuda) for row in catalogue().rows]
    return tuple(
        loaded.problem(
            ("pool", index, "cuda"),
            f"there is no image for CUDA {pool.cuda}; there are {', '.join(there)}",
        )
        for index, pool in enumerate(loaded.config.pools)
        if pool.image is None and pool.cuda is not None and pool.cuda not in there
    )


def _unserved(loaded: Loaded) -> tuple[Problem, ...]:
    """A problem for each pool that asks for GPUs that this host does not have."""
    from mayfly.cli.host_hardware import hardware_for  # noqa: PLC0415
    from mayfly.core.desire import leases_of  # noqa: PLC0415

    found = hardware_for(loaded.config)
    if found.gpus is None:
        return ()
    obstacles = leases_of(loaded.config, found).obstacles
    return tuple(
        loaded.problem(("pool", index, "gpus"), obstacles[pool.name])
        for index, pool in enumerate(loaded.config.pools)
        if pool.name in obstacles
    )


@config_app.command()
def show(
    ctx: typer.Context,
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Name who said each key.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Print the configuration in force, merged, with every default."""
    from mayfly.cli.loading import load_config  # noqa: PLC0415
    from mayfly.edge.config_text import config_lines  # noqa: PLC0415

    loaded = load_config(config_path(ctx, config))
    if as_json:
        document = {"schema": "mayfly.config/2", **dataclasses.asdict(loaded.config)}
        print_json(document | ({"origins": dict(loaded.origins)} if origin else {}))
        return
    for line in config_lines(loaded.config, loaded.origins if origin else None):
        print(line)


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from mayfly.providers.configuration import schema as json_schema  # noqa: PLC0415

    print_json(json_schema())


@config_app.command()
def migrate(
    ctx: typer.Context,
    *,
    write: Annotated[
        bool, typer.Option("--write", help="Rewrite the files; without it the change is printed.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Put a provider's keys into its table, in the file and its drop-ins; comments and layout stay."""
    from mayfly.cli.loading import load_config, translated  # noqa: PLC0415
    from mayfly.edge.config_migrating import changes  # noqa: PLC0415
    from mayfly.providers.configuration import provider_keys  # noqa: PLC0415

    loaded = load_config(config_path(ctx, config))
    with translated():
        found = changes(loaded, provider_keys())
    if not found:
        say("every key stands where it belongs")
        return
    if write:
        replace_files({change.file: change.after for change in found})
        for change in found:
            say(f"{change.file} is rewritten")
        return
    for change in found:
        lines = (change.before.splitlines(), change.after.splitlines())
        for line in difflib.unified_diff(*lines, str(change.file), str(change.file), lineterm=""):
            print(line)
    say("nothing is written yet: `mayfly config migrate --write` does it")
