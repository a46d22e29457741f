"""Which things of the Engine a request may name, where each is looked for, and whether it is the agent's own.

A container, network or volume that the agent calls N is PREFIX+N at the Engine. What is asked for by id is
asked for by 12 characters of it or more, and then has to be the agent's own. What is not its own is told as
what is not there, so nobody can ask by this socket what else the Engine has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mayfly.core.admission import image_names
from mayfly.core.admission.grant import LABEL_PORTS, Grant
from mayfly.core.admission.ports import Published, published_of
from mayfly.core.admission.request import quoted
from mayfly.core.admission.weights import texts_of

# The release of the API in which bodies go out, whatever a client speaks: Engine 26's, the first that mounts
# a directory of a volume.
SPOKEN = "1.45"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}", re.ASCII)
ID = re.compile(r"[0-9a-f]{12,64}", re.ASCII)
WHOLE_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Kind(StrEnum):
    """What the Engine keeps."""

    CONTAINER = "container"
    EXEC = "exec"
    NETWORK = "network"
    VOLUME = "volume"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Ref:
    """A thing as a request names it."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the Engine said of it, where it is the agent's own or, of an image, one that it may use."""

    id: str  # as it is told to the Engine: whole; of a volume its name
    name: str  # at the Engine, with the prefix; of an image as it was asked for, empty: by its id
    own: bool = True  # what this socket made
    container: str | None = None  # of an exec: the id of its container
    running: bool = False  # of a container
    # Of a container: the ports that it publishes, and the id of another whose network it is in.
    ports: tuple[Published, ...] = ()
    places: tuple[str, ...] = ()  # of a container: where it has anything mounted
    names: tuple[str, ...] = ()  # of an image: those that the agent may see
    # Of an image: what it says of each container that is made of it.
    volumes: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()  # such as "80/tcp"
    environment: tuple[str, ...] = ()  # names of variables
    platform: tuple[str, ...] = ()  # such as ("linux", "arm64", "v8")
    healthcheck: Mapping[str, Any] | None = field(default=None, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    command: tuple[str, ...] = ()  # with its entrypoint
    # Of an image: whether this agent has pulled it by this socket; looked at where the grant pulls always.
    pulled: bool = False
    # Of an image: whether its name came from the registry that the name says, and not from this host alone.
    of_registry: bool = False


def lookups(ref: Ref, grant: Grant) -> tuple[str, ...]:
    """What to ask the Engine (``GET``) for it, one after the other, until `found` takes an answer."""
    name = ref.name.removeprefix("/") if ref.kind is Kind.CONTAINER else ref.name
    named = (grant.prefix + name,) if NAME.fullmatch(name) else ()
    match ref.kind:
        case Kind.CONTAINER:
            return tuple(
                f"/v{SPOKEN}/containers/{quoted(one)}/json" for one in (*named, *_by_id(name))
            )
        case Kind.EXEC:
            return tuple(f"/v{SPOKEN}/exec/{one}/json" for one in _by_id(name))
        case Kind.NETWORK:
            return tuple(f"/v{SPOKEN}/networks/{quoted(one)}" for one in (*named, *_by_id(name)))
        case Kind.VOLUME:
            whole = (name,) if WHOLE_ID.fullmatch(name) else ()
            return tuple(f"/v{SPOKEN}/volumes/{quoted(one)}" for one in (*named, *whole))
        case Kind.IMAGE:
            if not image_names.is_reference(name):
                return ()
            # By the name under which it would be fetched: two spellings of one are one image.
            told = None if image_names.is_id(name) else image_names.familiar(name)
            return (f"/v{SPOKEN}/images/{quoted(told or name, slashes=True)}/json",)


def found(
    ref: Ref,
    document: Mapping[str, Any],
    grant: Grant,
    container: Mapping[str, Any] | None = None,
    *,
    pulled: bool = False,
) -> Known | None:
    """What is to be in ``known`` for it, by the Engine's answer to one of its `lookups`.

    ``None``: it is as good as not there. ``container`` is the answer for the container of an exec
    (its ``ContainerID``); ``pulled`` tells of an image whether this agent has (`image_names.was_pulled`).
    """
    match ref.kind:
        case Kind.CONTAINER:
            return _container(document, grant)
        case Kind.EXEC:
            return _exec(document, container, grant)
        case Kind.NETWORK:
            own = grant.owns(document.get("Labels"))
            name, by_id = str(document.get("Name")), str(document.get("Id"))
            # A network's name may be the beginning of what was asked for, or another's.
            meant = name == grant.prefix + ref.name or by_id.startswith(ref.name)
            return Known(by_id, name) if own and meant else None
        case Kind.VOLUME:
            return _volume(document, grant)
        case Kind.IMAGE:
            return _image(ref.name, document, grant, pulled=pulled)


def _by_id(name: str) -> tuple[str, ...]:
    return (name,) if ID.fullmatch(name) else ()


def _container(document: Mapping[str, Any], grant: Grant) -> Known | None:
    config = document.get("Config") or {}
    labels = config.get("Labels") or {}
    by_id = str(document.get("Id"))
    if not grant.owns(labels) or by_id in (grant.container, grant.holder):
        return None
    return Known(
        by_id,
        str(document.get("Name", "")).removeprefix("/"),
        running=(document.get("State") or {}).get("Running") is True,
        ports=published_of(labels.get(LABEL_PORTS)),
        places=tuple(str(one.get("Destination")) for one in document.get("Mounts") or ()),
    )


def _exec(
    document: Mapping[str, Any], container: Mapping[str, Any] | None, grant: Grant
) -> Known | None:
    owner = _container(container, grant) if container is not None else None
    if owner is None or owner.id != document.get("ContainerID"):
        return None
    return Known(str(document.get("ID")), "", container=owner.id, running=owner.running)


def _volume(document: Mapping[str, Any], grant: Grant) -> Known | None:
    name = str(document.get("Name"))
    mounted = {place.volume for place in (grant.work, *grant.shared) if place is not None}
    if not grant.owns(document.get("Labels")) or name in mounted:
        return None
    return Known(name, name)


def _image(asked: str, document: Mapping[str, Any], grant: Grant, *, pulled: bool) -> Known | None:
    shown = image_names.names_of(document, grant)
    by_name = image_names.is_named(asked, document) and image_names.allowed(asked, grant)
    if not by_name and not (shown and image_names.is_id(asked)):
        return None
    config = document.get("Config") or {}
    return Known(
        str(document.get("Id")),
        asked if by_name else "",
        own=False,
        names=shown,
        volumes=tuple(config.get("Volumes") or ()),
        exposed=tuple(config.get("ExposedPorts") or ()),
        environment=tuple(str(one).partition("=")[0] for one in config.get("Env") or ()),
        platform=tuple(
            str(one)
            for one in (document.get(key) for key in ("Os", "Architecture", "Variant"))
            if one
        ),
        healthcheck=config.get("Healthcheck"),
        labels=config.get("Labels") or {},
        command=(*texts_of(config.get("Entrypoint")), *texts_of(config.get("Cmd"))),
        pulled=pulled,
        of_registry=image_names.is_of_registry(asked, document),
    )
