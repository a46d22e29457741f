"""``config check``, ``config show`` and ``config schema``: the configuration without the manager."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.options import ConfigOption, JsonOption, config_path, print_json, say

if TYPE_CHECKING:
    from mayfly.core.model import Config
    from mayfly.edge.config import Loaded
    from mayfly.edge.config_mistakes import Problem

config_app = typer.Typer(
    help="Check, show and describe the configuration.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


@config_app.command()
def check(ctx: typer.Context, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Read the configuration and name every mistake in it."""
    from mayfly.cli.loading import load_config  # noqa: PLC0415  pydantic is heavy
    from mayfly.edge.config import ConfigError, load  # noqa: PLC0415
    from mayfly.edge.config_mistakes import Problem  # noqa: PLC0415

    path = config_path(ctx, config)
    if as_json:
        try:
            loaded = load(path)
            unserved = _unserved(loaded.config)
            found = (
                *_uninstalled(loaded),
                *(Problem(str(path), "", "gpus", sentence) for sentence in unserved),
            )
        except ConfigError as error:
            found = error.problems
        problems = [dataclasses.asdict(problem) for problem in found]
        print_json({"schema": "mayfly.config-check/1", "problems": problems})
        raise typer.Exit(1 if problems else 0)
    loaded = load_config(path)
    pools = loaded.config.pools
    obstacles = [*map(str, _uninstalled(loaded)), *_unserved(loaded.config)]
    for sentence in obstacles:
        say(sentence)
    if obstacles:
        raise typer.Exit(1)
    slots = sum(pool.slots for pool in pools)
    say(
        f"{', '.join(str(file) for file in loaded.files)}: {len(pools)} "
        f"{'pool' if len(pools) == 1 else 'pools'}, {slots} {'slot' if slots == 1 else 'slots'}, "
        "no mistakes"
    )


def _uninstalled(loaded: Loaded) -> tuple[Problem, ...]:
    """A problem for each pool that needs a library which is an extra and is not there."""
    from mayfly.edge.app_key import missing  # noqa: PLC0415
    from mayfly.edge.config_mistakes import Problem  # noqa: PLC0415

    apps = [pool.name for pool in loaded.config.pools if pool.app is not None]
    sentence = missing() if apps else None
    if sentence is None:
        return ()
    return tuple(
        Problem(loaded.origins[f"pool.{name}.app"], f'[[pool]] "{name}"', "app", sentence)
        for name in apps
    )


def _unserved(config: Config) -> list[str]:
    """A sentence for each pool that asks for GPUs that this host does not have."""
    from mayfly.cli.host_hardware import hardware_for  # noqa: PLC0415
    from mayfly.core.desire import leases_of  # noqa: PLC0415

    found = hardware_for(config)
    return list(leases_of(config, found).obstacles.values()) if found.gpus is not None else []


@config_app.command()
def show(
    ctx: typer.Context,
    *,
    origin: Annotated[bool, typer.Option("--origin", help="Name who said each key.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Print the configuration in force, merged, with every default."""
    from mayfly.cli.config_text import config_lines  # noqa: PLC0415
    from mayfly.cli.loading import load_config  # noqa: PLC0415

    loaded = load_config(config_path(ctx, config))
    if as_json:
        document = {"schema": "mayfly.config/1", **dataclasses.asdict(loaded.config)}
        print_json(document | ({"origins": dict(loaded.origins)} if origin else {}))
        return
    for line in config_lines(loaded.config, loaded.origins if origin else None):
        print(line)


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from mayfly.edge.config import schema as json_schema  # noqa: PLC0415

    print_json(json_schema())
