"""A configuration as TOML again: pure, for ``config show``.

Every key is written, said or not, so that what is in force can be read off; with ``origins`` each
line names who said it. Secrets are references already.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from mayfly.core.idle_settings import IdleSettings
from mayfly.core.model import Config, PoolSpec
from mayfly.core.quantities import written_duration, written_size
from mayfly.edge.toml_value import toml_key, toml_value

_TABLES = {"limits", "security", "slurm", "datasets", "caches", "registries", "notify"}
# What is in bytes and what in seconds: written with units, as the reference has it.
SIZES = frozenset(
    (
        *("memory", "shm", "disk", "tmpfs", "log_max_size", "output_per_agent", "output_total"),
        *("workspace_max", "workspaces_per_user", "workspaces_total"),
        *("results_max", "results_total", "images_total", "min_memory"),
    )
)
DURATIONS = frozenset(
    (
        *(
            "job_timeout",
            "idle_recycle",
            "images_keep",
            "hold_failed",
            "hold_most",
            "fair_share_half_life",
        ),
        *("stuck_after", "cancel_stuck"),
        *("after", "timeout", "logins", "gone_within"),
        *("time_limit", "wait", "retry", "idle", "look"),
        *("longest", "per_week", "ahead", "clear"),
    )
)


def config_lines(config: Config, origins: Mapping[str, str] | None) -> Iterator[str]:
    """The lines of a file that would load as this configuration."""
    yield "[host]"
    yield from _table(config.host, "host", origins)
    settings, engine = config.host.engine_settings, config.host.engine
    if settings is not None:
        yield ""
        yield f"[host.{engine}]"
        yield from _table(settings, f"host.{engine}", origins)
    if config.host.idle is not None:
        yield ""
        yield "[host.idle]"
        yield from _table(config.host.idle, "host.idle", origins)
    for target in config.host.notify:
        yield ""
        yield "[[host.notify]]"
        yield from _table(target, "host.notify", origins)
        if target.mail is not None:
            yield ""
            yield "[host.notify.mail]"
            yield from _table(target.mail, "host.notify.mail", origins)
    for pool in config.pools:
        where = f"pool.{pool.name}"
        yield ""
        yield "[[pool]]"
        yield from _table(pool, where, origins)
        yield ""
        if pool.gpu is not None:
            yield "[pool.gpu]"
            yield from _table(pool.gpu, f"{where}.gpu", origins)
            yield ""
        if pool.device_kind is not None:
            yield f"[pool.{engine}]"
            yield from _table(pool.device_kind, f"{where}.{engine}", origins)
            yield ""
        if pool.settings is not None:
            yield f"[pool.{pool.provider}]"
            yield from _table(pool.settings, f"{where}.{pool.provider}", origins)
            yield ""
        if pool.by_slurm:
            yield "[pool.slurm]"
            yield from _table(pool.slurm, f"{where}.slurm", origins)
            yield ""
        yield "[pool.limits]"
        yield from _table(pool.limits, f"{where}.limits", origins)
        yield ""
        yield "[pool.security]"
        yield from _table(pool.security, f"{where}.security", origins)
        tables: tuple[tuple[str, tuple[object, ...]], ...] = (
            ("dataset", pool.datasets),
            ("caches", pool.caches),
            ("registries", pool.registries),
        )
        for heading, entries in tables:
            for entry in entries:
                yield ""
                yield f"[[pool.{heading}]]"
                yield from _table(entry, f"{where}.{heading}", origins)


def _table(table: object, where: str, origins: Mapping[str, str] | None) -> Iterator[str]:
    assert dataclasses.is_dataclass(table)
    for field in dataclasses.fields(table):
        if field.name in _TABLES or not field.metadata.get("key", True):
            continue
        if isinstance(table, PoolSpec) and field.name == "gpu" and table.gpu is not None:
            continue
        value = getattr(table, field.name)
        if isinstance(value, IdleSettings):
            continue  # a table of its own
        if isinstance(table, PoolSpec) and field.name == "gpus":
            value = table.devices or value
        lifted = value is None and field.default is not None
        written = '"none"' if lifted else _value(_with_unit(field.name, value))
        line = f"# {field.name} is not set" if written is None else f"{field.name} = {written}"
        if origins is not None:
            line = f"{line:<48} # {_origin(f'{where}.{field.name}', origins)}"
        yield line


def _with_unit(name: str, value: object) -> object:
    """A number of bytes or seconds as people write it; anything else as it is."""
    if isinstance(value, Mapping):
        return {key: _with_unit(name, one) for key, one in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if name in SIZES:
        return written_size(int(value))
    return written_duration(value) if name in DURATIONS else value


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """Who said a key: itself, something inside it, or the table around it that was given whole."""
    if key in origins:
        return origins[key]
    inside = [origin for name, origin in origins.items() if name.startswith(key + ".")]
    if inside:
        return inside[-1]
    around = key.rpartition(".")[0]
    return origins.get(around, "default") if around.count(".") > 1 else "default"


def _value(value: object) -> str | None:
    """A value as TOML, a whole number without a fraction; ``None`` for what TOML has no word for."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return toml_value(int(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = dataclasses.asdict(value)
        return _value({key: one for key, one in told.items() if one is not None})
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{toml_key(key)} = {_value(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return toml_value(value)
