"""What one agent may do with its Engine socket: written by the manager, read by the gateway.

Nothing in it is secret to the manager's host; the agent itself never sees it. It is read strictly: a key that
is not known, or a value of another kind, makes the whole of it unreadable, since half a grant could be a
wider one.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mayfly.core.model import Generation, Registry
from mayfly.core.naming import belonging, is_generation

LABEL_BELONGS = "io.mayfly.belongs"  # the generation of the agent that made it
LABEL_BELONGS_HOST = "io.mayfly.belongs.host"
LABEL_BELONGS_SEAL = "io.mayfly.belongs.seal"
# Where a container's published ports are kept, as JSON: a gateway that is started anew has to know them.
LABEL_PORTS = "io.mayfly.belongs.ports"
# how the client named a container's image, which goes out by its id
LABEL_IMAGE = "io.mayfly.belongs.image"
LABEL_DEFAULT = "io.mayfly.belongs.default"  # of the network that stands for Docker's own
RESERVED = "io.mayfly."  # what labels of clients must not begin with, and are never shown


@dataclass(frozen=True, slots=True)
class VolumePlace:
    """A directory of the agent that is a volume."""

    target: str  # the path in the agent, absolute
    volume: str  # its name at the Engine


@dataclass(frozen=True, slots=True)
class MountPlace:
    """What the agent mounts of the host: a dataset or a cache."""

    target: str
    source: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class GpuAccess:
    """How the GPUs of the lease get into a container, in the words of a create."""

    host_config: Mapping[str, Any] = field(default_factory=dict)  # Runtime, DeviceRequests
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GrantLimits:
    """What each container may take at most, and what it gets that asks for nothing; ``None``: no limit."""

    memory: int | None = None  # bytes, with swap
    cpus: float | None = None
    pids: int | None = None
    shm: int | None = None  # bytes of /dev/shm; None: 64 MiB, more where it is asked for
    # bytes of one container's files, and of one volume; None: the Engine's disk keeps no such bound
    disk: int | None = None

    @property
    def volume_options(self) -> dict[str, str]:
        """What is said of each volume that is made."""
        return {} if self.disk is None else {"size": str(self.disk)}


@dataclass(frozen=True, slots=True)
class GrantUlimit:
    """In the kernel's unit; -1: none."""

    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class GrantSecurity:
    """The pool's own words on what its processes may do, which hold for these containers, too."""

    # What stands after ``seccomp=``: a profile's text, "builtin" or "unconfined"; None: the Engine's own
    seccomp: str | None = None
    apparmor: str | None = None  # a profile's name; None: the Engine's own
    ulimits: Mapping[str, GrantUlimit] = field(default_factory=dict)
    runtime: str | None = None  # None: the Engine's default
    userns: str | None = None  # "host"; None: as the Engine has it
    cpuset: str | None = None  # None: all processors


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of each an agent may have; the gateway keeps the count."""

    containers: int = 32
    networks: int = 4  # each takes a range of addresses, of which a host has some thirty
    volumes: int = 32
    images: int = 256  # names that it may have fetched
    connections: int = 64
    body: int = 1024**2  # bytes of a body that is JSON
    upload: int = 2 * 1024**3  # bytes of an archive
    requests: int = 200  # a second


@dataclass(frozen=True, slots=True)
class Grant:
    """One agent, and what it may do."""

    host: str
    pool: str
    slot: str
    generation: str
    container: str  # the id of the agent's own
    seal: str  # see `belongs_seal` in core/seal.py
    door: str  # the host's path of the agent's own docker.sock
    # whose network namespace the agent is in: its sandbox's holder; None: its own
    holder: str | None = None
    work: VolumePlace | None = None  # None: it has no directory that its containers can mount
    shared: tuple[VolumePlace, ...] = ()  # read-only
    mounts: tuple[MountPlace, ...] = ()
    lease: tuple[str, ...] = ()  # UUIDs
    gpu: GpuAccess | None = None  # None: the slot has no GPU
    limits: GrantLimits = GrantLimits()
    cgroup_parent: str | None = None
    oom_score: int = 500
    capabilities: tuple[str, ...] = ()  # what a container has at most, without "CAP_"
    security: GrantSecurity = GrantSecurity()
    network: Literal["own", "none"] = "own"
    dns: tuple[str, ...] = ()  # the pool's name servers; none: the Engine's
    env: Mapping[str, str] = field(default_factory=dict)
    ca: str | None = None  # the host's path of the pool's certificate authority
    # patterns, where `*` stands for any characters; "*" alone allows every name, none allows nothing
    allowed_images: tuple[str, ...] = ()
    pull: Literal["missing", "always", "never"] = "missing"
    # of which the credentials are sent along, where a job brings none of its own
    registries: tuple[Registry, ...] = ()
    # the image whose containers may build images; None: none may
    builder: str | None = None
    # patterns of what agents of this host are made of, whatever their pool: no job has one of them fetched
    agents: tuple[str, ...] = ()
    bounds: Bounds = Bounds()

    @property
    def prefix(self) -> str:
        """What the names of its belongings begin with at the Engine; shown to nobody."""
        return belonging(Generation(self.generation))

    @property
    def default_network(self) -> str:
        """The name at the Engine of the network that stands for Docker's own."""
        return f"{self.prefix}bridge"

    @property
    def labels(self) -> dict[str, str]:
        """What each of its belongings bears."""
        return {
            LABEL_BELONGS: self.generation,
            LABEL_BELONGS_HOST: self.host,
            LABEL_BELONGS_SEAL: self.seal,
        }

    def registry(self, address: str) -> Registry | None:
        """The registry of that address, where the pool has credentials for it."""
        return next((one for one in self.registries if one.address == address), None)

    def owns(self, labels: Mapping[str, Any] | None) -> bool:
        """Whether what bears these labels was made through this agent's socket."""
        return bool(self.seal) and all(
            (labels or {}).get(name) == value for name, value in self.labels.items()
        )


def grant_text(grant: Grant) -> str:
    """The grant as its file has it: what is as it is unless it is said is left out, so that a gateway of an
    older version reads each grant that asks for nothing which it does not know. (So what a key is by itself
    must never come to allow less: an older one would go on to allow more.)
    """
    return json.dumps(_said(grant), ensure_ascii=False, indent=1) + "\n"


def _said(record: Any) -> dict[str, Any]:
    """The fields of a record that are not as they are by themselves, and those that must be there."""
    said = {}
    for one in fields(record):
        value = getattr(record, one.name)
        usual = one.default if one.default_factory is MISSING else one.default_factory()
        if usual is MISSING or value != usual:
            said[one.name] = _plain(value)
    return said


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _said(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value


def known_keys(kind: Any = Grant, where: str = "") -> frozenset[str]:
    """Each key that this version reads, those of records with their record's: ``limits.disk``."""
    found = set()
    for name, hint in get_type_hints(kind).items():
        found.add(where + name)
        for inner in (hint, *get_args(hint)):
            if isinstance(inner, type) and is_dataclass(inner):
                found |= known_keys(inner, f"{where}{name}.")
    return frozenset(found)


def read_grant(text: str | bytes) -> Grant:
    """The grant of that file; ``ValueError`` says in one sentence what of it cannot be read."""
    found = json.loads(text)
    grant = _read(Grant, found, "grant")
    assert isinstance(grant, Grant)
    if not is_generation(grant.generation):
        raise ValueError("grant.generation is none")
    if not grant.seal:
        raise ValueError("grant.seal is empty")
    return grant


def _read(kind: Any, value: Any, where: str) -> Any:
    """The value as one of that type; what it may be is what the fields above are."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _record(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        if value is None:
            return None
        return _read(next(one for one in arguments if one is not type(None)), value, where)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where} has to be one of {', '.join(arguments)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} has to be a list")
        return tuple(_read(arguments[0], one, f"{where}[{i}]") for i, one in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise ValueError(f"{where} has to be an object")
        return {name: _read(arguments[1], one, f"{where}.{name}") for name, one in value.items()}
    if kind is Any:
        return value
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise ValueError(f"{where} has to be of type {kind.__name__}")


def _record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} has to be an object")
    hints = get_type_hints(kind)
    names = {one.name for one in fields(kind)}
    if strange := sorted(set(value) - names):
        raise ValueError(f"{where}.{strange[0]} is not known to this version of Mayfly")
    read = {name: _read(hints[name], one, f"{where}.{name}") for name, one in value.items()}
    try:
        return kind(**read)
    except TypeError as error:
        raise ValueError(f"{where} lacks a key: {error}") from error
