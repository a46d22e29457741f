"""The configuration: TOML in, ``core.model.Config`` out, or every mistake at once in one sentence each.

The only importer of pydantic. A model here says what a key may be and what it is for (the reference
and the JSON Schema are made from it); what a key defaults to is said by the core's dataclasses alone.
No secret is ever read here: ``token`` stays a reference.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import posixpath
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic import WithJsonSchema as Shape
from pydantic.functional_validators import PlainValidator

from manager.core import model
from manager.core.quantities import parse_duration, parse_size
from manager.core.variables import problem_with_name
from manager.edge import credentials, sources
from manager.edge.faults import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

NAME_MAX = 64  # HOST-POOL-N-GENERATION at a service
GENERATION_LENGTH = 13
SOCKET_MAX = 107  # sun_path less its final zero
PROVIDERS = ("local", "azure", "github", "gitlab")
RESERVED_TREES = ("/run/mayfly", "/proc", "/sys", "/dev")
RESERVED_PLACES = frozenset(
    [
        "/",
        "/bin",
        "/boot",
        "/etc",
        "/lib",
        "/lib32",
        "/lib64",
        "/sbin",
        "/run",
        "/usr",
        "/usr/bin",
        "/usr/lib",
        "/usr/local",
        "/usr/sbin",
        "/var",
        "/var/run",
    ]
)
_SECRET_LOOKS = re.compile(
    r"gh[opsur]_[A-Za-z0-9]{20}|github_pat_|gl(pat|rt|rtr|cbt|dt)-[A-Za-z0-9_-]{10}|AKIA[A-Z0-9]{16}"
    r"|hf_[A-Za-z0-9]{20}|xox[abprs]-|-----BEGIN [A-Z ]*PRIVATE KEY"
)

_N = TypeVar("_N", int, float)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands and what is wrong, as the end of a sentence."""

    file: str
    table: str
    key: str
    text: str

    def __str__(self) -> str:
        place = " ".join(part for part in (self.table, self.key) if part)
        return f"{self.file}: {place}: {self.text}" if place else f"{self.file}: {self.text}"


class ConfigError(Refused):
    """The configuration is wrong; ``problems`` lists every mistake, the message one a line."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, the files that it came from, and where each key was said."""

    config: model.Config
    files: tuple[Path, ...]
    origins: Mapping[str, str]  # "pool.azure.limits.memory" -> the file, "$VARIABLE" or "flag"


# -- what a value may be ------------------------------------------------------------------------


def _text(pattern: str, otherwise: str) -> BeforeValidator:
    compiled = re.compile(pattern)

    def check(value: object) -> object:
        if isinstance(value, str) and compiled.fullmatch(value) is None:
            raise ValueError(f"{value!r} {otherwise}")
        return value

    return BeforeValidator(check)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value < 2**62:
        raise ValueError(f"{value} is out of range")
    return value


def _size(value: object) -> int:
    number = _number(value)
    if number is not None:
        return int(number)
    if not isinstance(value, str):
        raise ValueError('must be a size such as "8GiB", or bytes as a number')
    return _quoted(value, parse_size)


def _duration(value: object) -> float:
    number = _number(value)
    if number is not None:
        return float(number)
    if not isinstance(value, str):
        raise ValueError('must be a duration such as "30m", or seconds as a number')
    return _quoted(value, parse_duration)


def _quoted(value: str, parse: Callable[[str], _N]) -> _N:
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{value!r} {error}") from error


def _or_none(parse: Callable[[object], float]) -> Callable[[object], float | None]:
    return lambda value: None if value == "none" else parse(value)


def _above_zero(value: float | None) -> float | None:
    if value is not None and value <= 0:
        raise ValueError('must be more than 0; leave it out, or write "none", for no limit')
    return value


def _gpus(value: object) -> int | str | tuple[str | int, ...]:
    if value == "all":
        return "all"
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 64:
        return value
    if isinstance(value, list) and value and all(_is_gpu(entry) for entry in value):
        if len(set(value)) != len(value):
            raise ValueError("names a GPU twice")
        return tuple(value)
    raise ValueError('must be a number, "all", or a list of "GPU-…", "MIG-…" and indexes')


def _is_gpu(entry: object) -> bool:
    if isinstance(entry, str):
        return re.fullmatch(r"(GPU|MIG)-[0-9A-Za-z/-]{4,120}", entry) is not None
    return isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < 64


def _absolute(value: object) -> object:
    if isinstance(value, str):
        _no_nul(value)
        if not value.startswith("/"):
            raise ValueError(f"{value!r} must be an absolute path")
        if ".." in value.split("/"):
            raise ValueError(f"{value!r} must not contain ..")
        return "/" + posixpath.normpath(value).lstrip("/")
    return value


def _no_nul(value: str) -> None:
    if "\0" in value:
        raise ValueError("must not contain a zero byte")


def _target(value: object) -> object:
    path = _absolute(value)
    if isinstance(path, str):
        for tree in RESERVED_TREES:
            if path == tree or path.startswith(tree + "/"):
                raise ValueError(f"{path!r} is reserved: {tree} belongs to the container itself")
        if path in RESERVED_PLACES:
            raise ValueError(f"{path!r} is reserved: it would hide the image's own files")
    return path


def _env_name(value: object) -> object:
    if isinstance(value, str) and (problem := problem_with_name(value)):
        raise ValueError(problem)
    return value


def _env(value: object) -> object:
    if isinstance(value, dict):
        for name, content in value.items():
            _env_name(name)
            if isinstance(content, str):
                _no_nul(content)
                if _SECRET_LOOKS.search(content):
                    raise ValueError(
                        f"{name} looks like a secret, and a container's environment is no place "
                        "for one: mount a file as a dataset instead"
                    )
    return value


def _reference(value: object) -> object:
    """A secret by reference; the text of an inline one is never repeated."""
    if isinstance(value, str):
        raise ValueError(
            'a secret is not written here; use { credential = "NAME" } or { file = "/path" }'
        )
    if not isinstance(value, dict) or set(value) not in ({"credential"}, {"file"}):
        raise ValueError('must be { credential = "NAME" } or { file = "/path" }')
    (kind, name), *_ = value.items()
    if not isinstance(name, str):
        raise ValueError(f"{kind} must be a string")
    if kind == "file":
        return {"file": _absolute(name)}
    if not credentials.valid_name(name):
        raise ValueError(f"{name!r} is not a credential's name: letters, digits, . _ - only")
    return value


def _url(*schemes: str) -> BeforeValidator:
    def check(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            parts = urlsplit(value)
            known = parts.scheme in schemes and parts.hostname
        except ValueError:
            known = False
        if not known or re.search(r"[\s\0]", value):
            raise ValueError(f"must be a URL that begins with {' or '.join(schemes)}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not carry a user or password")
        return value

    return BeforeValidator(check)


def _docker_host(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"unix:///[^\0]+", value):
        raise ValueError(f'{value!r} must be a unix socket, "unix:///var/run/docker.sock"')
    return value


def _loopback(value: object) -> object:
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        try:
            loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            loopback = False
        if not loopback or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f'{value!r} must be a loopback address and port, "127.0.0.1:9925"')
    return value


def _address(value: object) -> object:
    if isinstance(value, str):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError(f"{value!r} is not an IP address") from None
    return value


def _capability(value: object) -> object:
    if isinstance(value, str):
        name = value.upper().removeprefix("CAP_")
        if re.fullmatch(r"[A-Z][A-Z_]{2,30}", name) is None:
            raise ValueError(f'{value!r} is not a capability; write for example "SYS_PTRACE"')
        return name
    return value


def _account(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str):
        if re.fullmatch(r"\d{1,9}|[a-z_][a-z0-9_-]{0,31}", value) is None:
            raise ValueError(f"{value!r} is not a user or group")
        if value in {"0", "root"}:
            raise ValueError("a job never runs as root; sudo = true lets it become root by itself")
    return value


_SIZE_SHAPE = {"type": ["string", "integer"], "examples": ["8GiB", "512MiB", "10GB"]}
_TIME_SHAPE = {"type": ["string", "number"], "examples": ["90s", "30m", "2h"]}

Size = Annotated[int, PlainValidator(_size), Shape(_SIZE_SHAPE)]
Duration = Annotated[float, PlainValidator(_duration), Shape(_TIME_SHAPE)]
SizeLimit = Annotated[
    int | None,
    PlainValidator(lambda value: _above_zero(_or_none(_size)(value))),
    Shape(_SIZE_SHAPE),
]
TimeLimit = Annotated[
    float | None,
    PlainValidator(lambda value: _above_zero(_or_none(_duration)(value))),
    Shape(_TIME_SHAPE),
]
Gpus = Annotated[
    int | str | tuple[str | int, ...],
    PlainValidator(_gpus),
    Shape({"anyOf": [{"type": "integer"}, {"const": "all"}, {"type": "array"}]}),
]
AbsolutePath = Annotated[str, BeforeValidator(_absolute)]
Target = Annotated[str, BeforeValidator(_target)]
EnvName = Annotated[str, BeforeValidator(_env_name)]
Env = Annotated[dict[str, str], BeforeValidator(_env)]
Reference = Annotated[dict[str, str], BeforeValidator(_reference)]
Account = Annotated[str, BeforeValidator(_account), Shape({"type": ["string", "integer"]})]
Capability = Annotated[str, BeforeValidator(_capability)]
Address = Annotated[str, BeforeValidator(_address)]
PoolNameText = Annotated[
    str, _text(r"[a-z0-9][a-z0-9-]*", "must be lower-case letters, digits and -, not - first")
]
HostNameText = Annotated[
    str, _text(r"[A-Za-z0-9][A-Za-z0-9-]*", "must be letters, digits and -, not - first")
]
CudaText = Annotated[str, _text(r"\d{1,2}\.\d{1,2}", 'is not a CUDA version such as "12.8"')]
ImageText = Annotated[str, _text(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}", "is not an image's name")]
NetworkText = Annotated[str, _text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", "is not a network's name")]
LabelText = Annotated[
    str, _text(r"[^\s,\0][^,\0\n]{0,255}", "is not a label: no comma, no newline")
]
PlainText = Annotated[str, _text(r"[^\0\n]{1,255}", "must be one line of text")]


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
    url: Annotated[str, _url("https", "http")] | None = _key(
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
    proxy: Annotated[str, _url("http", "https", "socks5")] | None = _key(
        model.PoolSpec, "proxy", "sets http_proxy and https_proxy in both spellings"
    )
    no_proxy: PlainText | None = _key(model.PoolSpec, "no_proxy", "what the proxy is not used for")
    ca: AbsolutePath | None = _key(
        model.PoolSpec, "ca", "a PEM file of the host that agents trust, mounted read-only"
    )
    cap_add: list[Capability] = _key(
        model.PoolSpec, "cap_add", "capabilities beside SETUID SETGID KILL CHOWN"
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


class HostTable(_Table):
    """The host and the manager itself."""

    name: HostNameText | None = Field(
        default=None, description="this host at the services; absent: the machine's host name"
    )
    gpu: Literal["auto", "required", "off"] = _key(
        model.HostSpec, "gpu", "whether a host without a GPU is fine, wrong, or not looked at"
    )
    docker_host: Annotated[str, BeforeValidator(_docker_host)] = _key(
        model.HostSpec, "docker_host", "the Engine's socket"
    )
    state_dir: AbsolutePath = _key(
        model.HostSpec, "state_dir", "history, witnesses and kept output; $STATE_DIRECTORY counts"
    )
    socket: AbsolutePath = _key(
        model.HostSpec, "socket", "the control socket; $RUNTIME_DIRECTORY counts"
    )
    metrics: Annotated[str, BeforeValidator(_loopback)] | None = _key(
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
        model.HostSpec, "history_events", "how many events are remembered", ge=100, le=10_000_000
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
        problems += [_problem(detail, merged, main) for detail in error.errors()]
    if shape is not None:
        config = _translate(shape)
        problems += _contradictions(config, merged, main)
        if not problems:
            return config
    raise ConfigError(tuple(dict.fromkeys(problems)))


def schema() -> dict[str, Any]:
    """The JSON Schema of ``config.toml``, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mayfly configuration",
        **FileShape.model_json_schema(),
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


# -- mistakes -----------------------------------------------------------------------------------------


def _problem(detail: ErrorDetails, merged: sources.Merged, main: str) -> Problem:
    where = detail["loc"]
    known = tuple(where)
    tree_where, rest = _follow(merged.tree, known)
    table, key = _place(merged.tree, tree_where)
    text = _sentence(detail, known)
    del rest
    return Problem(merged.origin(tree_where) or main, table, key, text)


def _follow(tree: object, where: sources.Where) -> tuple[sources.Where, sources.Where]:
    """The part of a location that exists in the tree, and what pydantic added behind it."""
    here: object = tree
    for depth, part in enumerate(where):
        if isinstance(here, dict) and isinstance(part, str):
            if part not in here:
                return where[: depth + 1], where[depth + 1 :]
            here = here[part]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            return where[:depth], where[depth:]
    return where, ()


def _place(tree: sources.Tree, where: sources.Where) -> tuple[str, str]:
    """A location as the table's heading and the key in it."""
    if not where:
        return "", ""
    if where[0] != "pool" or len(where) == 1:
        return (f"[{where[0]}]", _key_text(where[1:])) if len(where) > 1 else ("", str(where[0]))
    pools = tree.get("pool")
    entry = pools[where[1]] if isinstance(pools, list) and isinstance(where[1], int) else {}
    name = entry.get("name") if isinstance(entry, dict) else None
    heading = (
        f'[[pool]] "{name}"' if isinstance(name, str) else f"[[pool]] number {_count(where[1])}"
    )
    match where[2:]:
        case ("limits", *key) if key:
            return f"{heading} . limits", _key_text(tuple(key))
        case ("dataset" | "caches" as kind, int(index), *key):
            return f"{heading} . {kind} number {index + 1}", _key_text(tuple(key))
        case key:
            return heading, _key_text(tuple(key))


def _count(part: str | int) -> str:
    return str(part + 1) if isinstance(part, int) else part


def _key_text(where: sources.Where) -> str:
    return ".".join(_count(part) for part in where)


_TYPE_WORDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def _sentence(detail: ErrorDetails, where: sources.Where) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(where)
    if kind == "missing":
        return "is missing"
    if kind in _TYPE_WORDS:
        return f"must be {_TYPE_WORDS[kind]}, not {_shown(detail['input'])}"
    if kind == "literal_error":
        text = f"must be {context.get('expected', 'another value')}"
        return text + _nearest(detail["input"], re.findall(r"'([^']*)'", text))
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    bounds = {
        "greater_than": ("more than", "gt"),
        "greater_than_equal": ("at least", "ge"),
        "less_than_equal": ("at most", "le"),
    }
    if kind in bounds:
        words, bound = bounds[kind]
        return f"must be {words} {context[bound]}, not {_shown(detail['input'])}"
    return f"is wrong: {detail['msg'].lower()}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _unknown_key(where: sources.Where) -> str:
    *tables, key = where
    known = list(_table_at(tuple(tables)).model_fields)
    return "there is no such key" + _nearest(key, known)


def _table_at(where: sources.Where) -> type[BaseModel]:
    here: type[BaseModel] = FileShape
    for part in where:
        if isinstance(part, str) and part in here.model_fields:
            annotation = here.model_fields[part].annotation
            inner = [*get_args(annotation), annotation]
            here = next(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
    return here


def _nearest(word: object, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word).lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _contradictions(config: model.Config, merged: sources.Merged, main: str) -> Iterator[Problem]:
    """What is wrong between keys, each of which is right by itself."""

    def at(where: sources.Where, text: str) -> Problem:
        return Problem(merged.origin(where) or main, *_place(merged.tree, where), text)

    if len(config.host.socket.encode()) > SOCKET_MAX:
        yield at(("host", "socket"), f"is longer than the {SOCKET_MAX} bytes of a socket's path")
    if not config.pools:
        yield Problem(main, "", "", "there is no [[pool]], so there is nothing to keep filled")
    names = [pool.name for pool in config.pools]
    for index, pool in enumerate(config.pools):
        here: sources.Where = ("pool", index)
        if pool.name in names[:index]:
            yield at((*here, "name"), f"there is more than one pool named {pool.name}")
        for key, text in _pool_contradictions(config.host.name, pool):
            yield at((*here, *key), text)


def _pool_contradictions(host: str, pool: model.PoolSpec) -> Iterator[tuple[sources.Where, str]]:
    room = len(f"{host}-{pool.name}-{max(0, pool.slots - 1)}-") + GENERATION_LENGTH
    if room > NAME_MAX:
        yield (
            ("name",),
            f"{host}-{pool.name}-{max(0, pool.slots - 1)}-GENERATION has {room} characters "
            f"({room - GENERATION_LENGTH} and {GENERATION_LENGTH} for the generation), and services "
            f"take {NAME_MAX}: shorten the pool's name or [host] name",
        )
    if pool.provider not in PROVIDERS:
        text = f"there is no provider {pool.provider!r}"
        yield ("provider",), text + _nearest(pool.provider, list(PROVIDERS))
    yield from _service_keys(pool)
    yield from _mounts(pool)
    if pool.limits.shm and pool.limits.memory and pool.limits.shm > pool.limits.memory:
        yield ("limits", "shm"), "is larger than memory, and counts towards it"
    if pool.gpus == 0 and pool.share:
        yield ("share",), "has no meaning in a pool without GPUs"


def _service_keys(pool: model.PoolSpec) -> Iterator[tuple[sources.Where, str]]:
    if pool.provider == "local":
        for key in ("url", "agent_pool", "token"):
            if getattr(pool, key) is not None:
                yield (key,), "belongs to a service; provider local, the embedded queue, has none"
        return
    needed = {"azure": ("url", "agent_pool", "token")}.get(pool.provider, ("url", "token"))
    if pool.provider in PROVIDERS:
        for key in needed:
            if getattr(pool, key) is None:
                yield (key,), f"is missing; provider {pool.provider} needs it"


def _mounts(pool: model.PoolSpec) -> Iterator[tuple[sources.Where, str]]:
    targets: set[str] = set()
    variables = set(pool.env)
    mounts: list[tuple[sources.Where, model.Dataset | model.Cache]] = [
        *((("dataset", i), dataset) for i, dataset in enumerate(pool.datasets)),
        *((("caches", i), cache) for i, cache in enumerate(pool.caches)),
    ]
    for where, mount in mounts:
        if mount.target in targets:
            yield (*where, "target"), f"{mount.target} is the target of another one"
        if mount.env is not None and mount.env in variables:
            yield (*where, "env"), f"{mount.env} is set by another one, or by env"
        targets.add(mount.target)
        if mount.env is not None:
            variables.add(mount.env)
