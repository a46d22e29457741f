"""The configuration: TOML in, ``core.model.Config`` out, or every mistake at once.

The only importer of pydantic. A model here says what a key may be and what it is for (the reference
and the JSON Schema are made from it); what it defaults to is said by the core's dataclasses alone.
No secret is ever read here: ``token`` stays a reference.
"""

from __future__ import annotations

import dataclasses
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic import WithJsonSchema as Shape
from pydantic.functional_validators import PlainValidator

from mayfly.core import model
from mayfly.edge import config_values as values
from mayfly.edge import sources
from mayfly.edge.config_mistakes import PROVIDERS, ConfigError, Problem, contradictions, problem

__all__ = ["ConfigError", "Loaded", "Problem", "load", "schema"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, the files that it came from, and where each key was said."""

    config: model.Config
    files: tuple[Path, ...]
    origins: Mapping[str, str]  # "pool.azure.limits.memory" -> the file, "$VARIABLE" or "flag"


_SIZE_SHAPE = {"type": ["string", "integer"], "examples": ["8GiB", "512MiB", "10GB"]}
_TIME_SHAPE = {"type": ["string", "number"], "examples": ["90s", "30m", "2h"]}


def _form(pattern: str, otherwise: str) -> BeforeValidator:
    return BeforeValidator(values.text(pattern, otherwise))


Size = Annotated[int, PlainValidator(values.size), Shape(_SIZE_SHAPE)]
Duration = Annotated[float, PlainValidator(values.duration), Shape(_TIME_SHAPE)]
SizeLimit = Annotated[
    int | None,
    PlainValidator(lambda value: values.above_zero(values.or_none(values.size)(value))),
    Shape(_SIZE_SHAPE),
]
TimeLimit = Annotated[
    float | None,
    PlainValidator(lambda value: values.above_zero(values.or_none(values.duration)(value))),
    Shape(_TIME_SHAPE),
]
Gpus = Annotated[
    int | str | tuple[str | int, ...],
    PlainValidator(values.gpus),
    Shape({"anyOf": [{"type": "integer"}, {"const": "all"}, {"type": "array"}]}),
]
AbsolutePath = Annotated[str, BeforeValidator(values.absolute)]
Target = Annotated[str, BeforeValidator(values.target)]
EnvName = Annotated[str, BeforeValidator(values.env_name)]
Env = Annotated[dict[str, str], BeforeValidator(values.env)]
Reference = Annotated[dict[str, str], BeforeValidator(values.reference)]
Account = Annotated[str, BeforeValidator(values.account), Shape({"type": ["string", "integer"]})]
Capability = Annotated[str, BeforeValidator(values.capability)]
Address = Annotated[str, BeforeValidator(values.address)]
PoolNameText = Annotated[
    str, _form(r"[a-z0-9][a-z0-9-]*", "must be lower-case letters, digits and -, not - first")
]
HostNameText = Annotated[
    str, _form(r"[A-Za-z0-9][A-Za-z0-9-]*", "must be letters, digits and -, not - first")
]
CudaText = Annotated[str, _form(r"\d{1,2}\.\d{1,2}", 'is not a CUDA version such as "12.8"')]
ImageText = Annotated[str, _form(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}", "is not an image's name")]
NetworkText = Annotated[str, _form(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", "is not a network's name")]
LabelText = Annotated[
    str, _form(r"[^\s,\0][^,\0\n]{0,255}", "is not a label: no comma, no newline")
]
AppText = Annotated[
    str, _form(r"[A-Za-z0-9.]{1,40}", "is not an App's id: digits, or its client id")
]
ScopeText = Annotated[
    str,
    _form(
        r"instance|(group|project):[0-9]{1,18}",
        'is none of "group:ID", "project:ID" and "instance"',
    ),
]
PlainText = Annotated[str, _form(r"[^\0\n]{1,255}", "must be one line of text")]


def _default(owner: type, name: str) -> Any:
    """What the core's dataclass says where the key is absent."""
    for entry in dataclasses.fields(owner):
        if entry.name == name:
            if entry.default is not dataclasses.MISSING:
                return entry.default
            if entry.default_factory is not dataclasses.MISSING:
                return entry.default_factory()
    raise LookupError(name)


def _key(owner: type, name: str, description: str, **bounds: Any) -> Any:
    return Field(default=_default(owner, name), description=description, **bounds)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class DatasetTable(_Table):
    """A directory of the host that every agent of the pool sees read-only."""

    source: AbsolutePath = Field(description="the directory on the host")
    target: Target = Field(description="where agents see it")
    env: EnvName | None = _key(model.Dataset, "env", "a variable that holds the target")
    nested: Literal["refuse", "allow"] = _key(
        model.Dataset,
        "nested",
        "what to do with mounts beneath the source on Engines before 25, which would show them "
        "writable: refuse the dataset, or allow that",
    )


class CacheTable(_Table):
    """A directory of the host that the agents of one pool share, read-write."""

    source: AbsolutePath = Field(description="the directory on the host")
    target: Target = Field(description="where agents see it")
    env: EnvName | None = _key(model.Cache, "env", "a variable that holds the target")


class LimitsTable(_Table):
    """What one agent may use, and for how long; ``"none"`` lifts a limit."""

    memory: SizeLimit = _key(model.Limits, "memory", "RAM of one agent, swap not added")
    cpus: Annotated[float, Field(gt=0, le=4096)] | None = _key(
        model.Limits, "cpus", "CPUs' worth of time of one agent"
    )
    pids: int = _key(model.Limits, "pids", "processes and threads of one agent", ge=32, le=4194304)
    shm: SizeLimit = _key(model.Limits, "shm", "size of /dev/shm; absent: the Engine's 64 MiB")
    disk: SizeLimit = _key(
        model.Limits, "disk", "the writable layer, looked at every 30 s; over it the agent is ended"
    )
    job_timeout: TimeLimit = _key(model.Limits, "job_timeout", "how long one job may run")
    idle_recycle: Duration = _key(
        model.Limits, "idle_recycle", "an agent idle for so long is replaced by a fresh one"
    )


class PoolTable(_Table):
    """Slots that share a provider, image, GPUs per slot, datasets and limits."""

    name: PoolNameText = Field(description="the pool's name; its slots are NAME-0, NAME-1, …")
    provider: str = _key(model.PoolSpec, "provider", f"the CI service: {', '.join(PROVIDERS)}")
    slots: int = _key(model.PoolSpec, "slots", "how many agents are kept", ge=0, le=1000)
    gpus: Gpus = _key(
        model.PoolSpec, "gpus", 'per slot: a number, "all", or a list of "GPU-…", "MIG-…", indexes'
    )
    cuda: CudaText | None = _key(
        model.PoolSpec, "cuda", "CUDA version of the image; absent: the newest that the driver runs"
    )
    cuda_compat: bool = _key(
        model.PoolSpec, "cuda_compat", "allow minor-version compatibility when choosing an image"
    )
    image: ImageText | None = _key(
        model.PoolSpec, "image", "an image of your own, FROM mayfly/…; absent: chosen for the host"
    )
    url: Annotated[str, BeforeValidator(values.url("https", "http"))] | None = _key(
        model.PoolSpec, "url", "services only: the organisation, repository, group or instance"
    )
    agent_pool: PlainText | None = _key(
        model.PoolSpec, "agent_pool", "azure: the agent pool; github: the runner group"
    )
    token: Reference | None = _key(
        model.PoolSpec,
        "token",
        'services only: where the secret is, { credential = "NAME" } or { file = "/path" }',
    )
    tenant_id: PlainText | None = _key(
        model.PoolSpec,
        "tenant_id",
        "azure: the tenant of a service principal, whose client secret `token` is then",
    )
    client_id: PlainText | None = _key(
        model.PoolSpec, "client_id", "azure: the service principal's application (client) id"
    )
    authority: Annotated[str, BeforeValidator(values.url("https", "http"))] | None = _key(
        model.PoolSpec,
        "authority",
        "azure: who gives a service principal its tokens; absent: https://login.microsoftonline.com",
    )
    labels: list[LabelText] = _key(
        model.PoolSpec, "labels", "labels or tags that jobs ask for, at the service"
    )
    env: Env = _key(model.PoolSpec, "env", "variables of every job; never secrets")
    dataset: list[DatasetTable] = Field(default=[], description="read-only directories")
    caches: list[CacheTable] = Field(default=[], description="read-write directories of the pool")
    limits: LimitsTable = Field(default=LimitsTable(), description="what one agent may use")
    user: Account = _key(model.PoolSpec, "user", "whom the job runs as, never root")
    groups: list[Account] = _key(model.PoolSpec, "groups", "further groups of that user")
    network: NetworkText | None = _key(
        model.PoolSpec,
        "network",
        'absent: one network per pool without traffic between agents; "none", "host", or a name',
    )
    dns: list[Address] = _key(model.PoolSpec, "dns", "name servers instead of the host's")
    proxy: Annotated[str, BeforeValidator(values.url("http", "https", "socks5"))] | None = _key(
        model.PoolSpec, "proxy", "sets http_proxy and https_proxy in both spellings"
    )
    no_proxy: PlainText | None = _key(model.PoolSpec, "no_proxy", "what the proxy is not used for")
    ca: AbsolutePath | None = _key(
        model.PoolSpec, "ca", "a PEM file of the host that agents trust, mounted read-only"
    )
    cap_add: list[Capability] = _key(
        model.PoolSpec,
        "cap_add",
        "capabilities beside SETUID SETGID KILL CHOWN; without `sudo` a job's bounding set, no more",
    )
    sudo: bool = _key(
        model.PoolSpec,
        "sudo",
        "let jobs become root inside: Docker's default capabilities, no no-new-privileges",
    )
    standby: bool = _key(
        model.PoolSpec, "standby", "keep the slot's next agent started and waiting at its gate"
    )
    removal: Literal["engine", "manager"] | None = _key(
        model.PoolSpec, "removal", "who removes ended containers; absent: the engine where it can"
    )
    keep_failed: Duration = _key(
        model.PoolSpec, "keep_failed", "how long a failed agent's container is kept for a look"
    )
    share: bool = _key(model.PoolSpec, "share", "let its GPUs be in other slots too")
    injection: Literal["auto", "runtime", "cdi", "request"] = _key(
        model.PoolSpec, "injection", "how GPUs get into a container"
    )
    enrolment: Literal["jit", "token"] = _key(
        model.PoolSpec, "enrolment", "github: one-use configuration, or a registration token"
    )
    app: AppText | None = _key(
        model.PoolSpec,
        "app",
        "github: the id of a GitHub App, in place of `token`; needs `mayfly-ci[app]`",
    )
    app_key: Reference | None = _key(
        model.PoolSpec, "app_key", "github: where the App's private key (.pem) is, as for `token`"
    )
    scope: ScopeText | None = _key(
        model.PoolSpec,
        "scope",
        'gitlab: where runners are made, "group:ID", "project:ID" or "instance"; absent: where url points',
    )
    calls_per_hour: int = _key(
        model.PoolSpec,
        "calls_per_hour",
        "services only: how many calls may be made; of GitHub's, a sixth for registrations",
        ge=60,
        le=1_000_000,
    )


class HostTable(_Table):
    """The host and the manager itself."""

    name: HostNameText | None = Field(
        default=None, description="this host at the services; absent: the machine's host name"
    )
    gpu: Literal["auto", "required", "off"] = _key(
        model.HostSpec, "gpu", "whether a host without a GPU is fine, wrong, or not looked at"
    )
    engine: Annotated[str, _form(r"[a-z][a-z0-9-]{0,62}", "is not an engine's name")] = _key(
        model.HostSpec, "engine", "what runs the containers: docker, or a package that is installed"
    )
    docker_host: Annotated[str, BeforeValidator(values.docker_host)] = _key(
        model.HostSpec, "docker_host", "the Engine's socket"
    )
    state_dir: AbsolutePath = _key(
        model.HostSpec, "state_dir", "history, witnesses and kept output; $STATE_DIRECTORY counts"
    )
    socket: AbsolutePath = _key(
        model.HostSpec, "socket", "the control socket; $RUNTIME_DIRECTORY counts"
    )
    metrics: Annotated[str, BeforeValidator(values.loopback)] | None = _key(
        model.HostSpec, "metrics", 'serve metrics on loopback too, "127.0.0.1:9925"'
    )
    log_max_size: Size = _key(model.HostSpec, "log_max_size", "the Engine's log of one container")
    output_per_agent: Size = _key(
        model.HostSpec, "output_per_agent", "kept output of one agent; the oldest part goes first"
    )
    output_total: Size = _key(model.HostSpec, "output_total", "kept output of all agents together")
    history_days: float = _key(
        model.HostSpec, "history_days", "how long ended agents are remembered", gt=0, le=36500
    )
    history_events: int = _key(
        model.HostSpec,
        "history_events",
        "how many events, ended agents and ended jobs are remembered",
        ge=100,
        le=10_000_000,
    )


class FileShape(_Table):
    """The whole of ``config.toml``."""

    host: HostTable = Field(default=HostTable(), description="the host and the manager itself")
    pool: list[PoolTable] = Field(default=[], description="one entry a pool")


# -- loading --------------------------------------------------------------------------------------


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Loaded:
    """Read, merge and check the configuration; ``flags`` maps ``[host]`` keys to values.

    Raises ``ConfigError`` with every mistake found.
    """
    environ = os.environ if environ is None else environ
    main = sources.main_file(path, environ)
    layers = list(_from_directories(environ))
    try:
        found = sources.files(main)
        layers += [sources.read_toml(file) for file in found]
    except sources.Unreadable as error:
        raise ConfigError((Problem(error.origin, "", "", error.text),)) from error
    layers += [_typed(layer) for layer in sources.environment(environ)]
    if flags:
        layers.append(_typed(sources.Layer("flag", {"host": dict(flags)})))
    merged = sources.merge(layers)
    config = check(merged, str(main))
    return Loaded(config, found, _named_origins(merged, config))


def check(merged: sources.Merged, main: str) -> model.Config:
    """A merged tree as a ``Config``; ``ConfigError`` with every mistake."""
    problems: list[Problem] = []
    shape: FileShape | None = None
    try:
        shape = FileShape.model_validate(merged.tree)
    except ValidationError as error:
        problems += [problem(detail, merged, main, _known) for detail in error.errors()]
    if shape is not None:
        config = _translate(shape)
        problems += contradictions(config, merged, main)
        if not problems:
            return config
    raise ConfigError(tuple(dict.fromkeys(problems)))


def schema() -> dict[str, Any]:
    """The JSON Schema of ``config.toml``, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **FileShape.model_json_schema(),
        "title": "Mayfly configuration",
    }


def default_host_name(machine: str) -> str:
    """A machine's host name as a ``[host] name``: first label, lower case, letters, digits and -."""
    return (
        re.sub(r"[^a-z0-9]+", "-", machine.split(".", maxsplit=1)[0].lower()).strip("-") or "host"
    )


def _from_directories(environ: Mapping[str, str]) -> Iterator[sources.Layer]:
    """The directories that systemd made for the unit; several are separated by colons."""
    host: sources.Tree = {}
    if state := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        host["state_dir"] = state
    if runtime := environ.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        host["socket"] = f"{runtime}/control.sock"
    if host:
        yield sources.Layer("systemd", {"host": host})


def _typed(layer: sources.Layer) -> sources.Layer:
    """Text from the environment or a flag as the number that a numeric ``[host]`` key wants."""
    host = layer.tree.get("host")
    assert isinstance(host, dict)
    return sources.Layer(
        layer.origin, {"host": {key: _typed_value(key, value) for key, value in host.items()}}
    )


def _typed_value(key: str, value: object) -> object:
    field = HostTable.model_fields.get(key)
    if field is None or field.annotation not in (int, float) or not isinstance(value, str):
        return value
    if any(isinstance(extra, PlainValidator) for extra in field.metadata):
        return value  # sizes read text themselves
    try:
        return int(value) if field.annotation is int else float(value)
    except ValueError:
        return value


# -- into the core's words --------------------------------------------------------------------------


def _said(table: BaseModel, *without: str) -> dict[str, Any]:
    """The keys that were written, lists as tuples; the rest is left to the core's defaults."""
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key in table.model_fields_set
        if key not in without and (value := getattr(table, key), True)
    }


def _translate(shape: FileShape) -> model.Config:
    host = _said(shape.host, "name")
    name = shape.host.name or default_host_name(socket.gethostname())
    return model.Config(
        model.HostSpec(name=name, **host), tuple(_pool(pool) for pool in shape.pool)
    )


def _pool(table: PoolTable) -> model.PoolSpec:
    said = _said(table, "name", "dataset", "caches", "limits", "removal")
    return model.PoolSpec(
        name=model.PoolName(table.name),
        datasets=tuple(model.Dataset(**_said(dataset)) for dataset in table.dataset),
        caches=tuple(model.Cache(**_said(cache)) for cache in table.caches),
        limits=model.Limits(**_said(table.limits)),
        embedded=table.provider == _default(model.PoolSpec, "provider"),
        removal=None if table.removal is None else model.Removal(table.removal),
        **said,
    )


def _named_origins(merged: sources.Merged, config: model.Config) -> dict[str, str]:
    """Origins with pools by name, leaves only."""
    names = [pool.name for pool in config.pools]
    tables = {where[:length] for where in merged.origins for length in range(1, len(where))}
    named = {}
    for where, origin in merged.origins.items():
        if where in tables:
            continue
        parts = [str(part) for part in where]
        if where[0] == "pool" and len(where) > 1 and isinstance(where[1], int):
            parts[1] = names[where[1]]
        named[".".join(parts)] = origin
    return named


def _known(where: sources.Where) -> list[str]:
    """The keys that the table at a location has."""
    here: type[BaseModel] = FileShape
    for part in where:
        if isinstance(part, str) and part in here.model_fields:
            annotation = here.model_fields[part].annotation
            inner = [*get_args(annotation), annotation]
            here = next(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
    return list(here.model_fields)
