"""``POST /containers/create``: a container of the job's own, put together anew from what tables let in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mayfly.core.admission import create_gpu, create_limits, create_mounts, create_network
from mayfly.core.admission.ask import DEFAULT_NETWORKS, Ask, free_labels, free_name
from mayfly.core.admission.builder_image import is_builder
from mayfly.core.admission.create_host import HOST
from mayfly.core.admission.create_ports import published
from mayfly.core.admission.grant import LABEL_IMAGE, LABEL_PORTS
from mayfly.core.admission.keys import (
    Key,
    anything,
    by_name,
    command,
    dropped,
    each,
    flag,
    matching,
    nothing_in,
    read_keys,
    refused,
    soft,
    table,
    text,
    whole,
)
from mayfly.core.admission.objects import SPOKEN, Kind, Known, Ref
from mayfly.core.admission.outcome import Answer, First, Forward, Outcome, Refused
from mayfly.core.admission.ports import port_of, ports_label
from mayfly.core.admission.request import Request, shown, target
from mayfly.core.admission.weights import (
    COMMAND_WEIGHS,
    ENVIRONMENT_WEIGHS,
    EXPOSED,
    IMAGES_LABEL,
    LABELS_SAID,
    texts_of,
    weigh,
    weigh_labels,
    weight,
)
from mayfly.core.container_labels import NOBODYS
from mayfly.core.model import LABEL_DOOR, LABEL_GENERATION

SECOND = 10**9  # nanoseconds
LEAST_INTERVAL = SECOND  # of a health check: each is a process that the Engine starts
STOP_MOST = 3600
_SIGNAL = re.compile(r"[A-Za-z0-9+-]{1,20}", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_.:-]{0,255}\$?", re.ASCII)
_HOSTNAME = re.compile(r"[A-Za-z0-9_.-]{0,253}", re.ASCII)
_DURATION = whole(0, 10**18)

HEALTHCHECK = (
    Key("Test", f"at most {COMMAND_WEIGHS // 1024} KiB", command),
    Key("Interval", "a second or more", _DURATION),
    Key("StartInterval", "a second or more", _DURATION),
    Key("Timeout", "as it is", _DURATION),
    Key("StartPeriod", "as it is", _DURATION),
    Key("Retries", "as it is", whole(0, 10**6)),
)
NETWORKING = (Key("EndpointsConfig", "networks of the job's, by name", by_name(anything)),)
CONFIG = (
    Key("Image", "one that `allowed_images` allows", text),
    Key("Hostname", "as it is", matching(_HOSTNAME.fullmatch, "a host's name")),
    Key("Domainname", "as it is", matching(_HOSTNAME.fullmatch, "a domain")),
    Key(
        "User",
        "as it is; root has the pool's capabilities",
        matching(_USER.fullmatch, "a user"),
    ),
    Key("AttachStdin", "as it is", flag),
    Key("AttachStdout", "as it is", flag),
    Key("AttachStderr", "as it is", flag),
    Key("Tty", "as it is", flag),
    Key("OpenStdin", "as it is", flag),
    Key("StdinOnce", "as it is", flag),
    Key(
        "Env",
        f"at most {ENVIRONMENT_WEIGHS // 1024} KiB, but for what lets GPUs in; the pool's proxy comes first",
        each(text),
    ),
    Key(
        "Cmd",
        f"at most {COMMAND_WEIGHS // 1024} KiB, with `Entrypoint`, `Shell` and the image's",
        command,
    ),
    Key("Entrypoint", "as it is", command),
    Key("Shell", "as it is", command),
    Key("WorkingDir", "as it is", text),
    Key("Labels", f"but those that begin with `io.mayfly.`; {LABELS_SAID}", by_name(text)),
    Key("ExposedPorts", f"at most {EXPOSED}, the image's with them", by_name(nothing_in)),
    Key("Volumes", "volumes without a name, which go with the container", by_name(nothing_in)),
    Key("Healthcheck", "see below", table(HEALTHCHECK)),
    Key("StopSignal", "as it is", matching(_SIGNAL.fullmatch, "a signal")),
    Key("StopTimeout", "at most an hour", whole(-1, 2**31)),
    Key("NetworkDisabled", "as network `none`", flag),
    refused("MacAddress", "the Engine gives it"),
    refused("OnBuild", "it is an image's"),
    dropped("ArgsEscaped", "it is for Windows"),
    Key("HostConfig", "see below", table(HOST)),
    Key("NetworkingConfig", "see below", table(NETWORKING)),
)
# What goes out as it came in, and what stands for it where it did not.
_AS_IT_IS: Mapping[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "WorkingDir": "",
}
# But for the one label that no container of a job bears: agents are listed by it, however many these are.
_NO_AGENTS = {name: value for name, value in NOBODYS.items() if name != LABEL_GENERATION}
_SAME = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_WHERE_SAID = ("Cmd", "Entrypoint", "Shell", "StopSignal")


def named_in_create(request: Request) -> Iterator[Ref]:
    """What a creation names, as far as it can be read, one by one: the judging comes later."""
    return (one for one in _named(request) if isinstance(one.name, str) and one.name)


def _named(request: Request) -> Iterator[Ref]:
    body = request.body or {}
    host = soft(body, "HostConfig")
    yield Ref(Kind.IMAGE, soft(body, "Image"))
    networks = [soft(host, "NetworkMode") or "default"]
    networks += _texts(soft(body, "NetworkingConfig", "EndpointsConfig"))
    modes = _texts([networks[0], soft(host, "PidMode"), soft(host, "IpcMode")])
    joined = [one for one in modes if one.startswith(create_network.JOINS)]
    yield from (Ref(Kind.CONTAINER, one.removeprefix(create_network.JOINS)) for one in joined)
    for network in networks:
        yield Ref(Kind.NETWORK, "bridge" if _is_default(network) else network)
    endpoints = soft(body, "NetworkingConfig", "EndpointsConfig")
    ends = endpoints.values() if isinstance(endpoints, Mapping) else ()
    for linking in (soft(host, "Links"), soft(host, "VolumesFrom"), *_links(ends)):
        for link in _texts(linking):
            yield Ref(Kind.CONTAINER, link.partition(":")[0])
    for name in _volumes(host):
        yield Ref(Kind.VOLUME, name)


def _is_default(network: Any) -> bool:
    return isinstance(network, str) and network in DEFAULT_NETWORKS


def _links(endpoints: Iterable[Any]) -> Iterator[Any]:
    return (soft(one, "Links") for one in endpoints)


def _volumes(host: Any) -> Iterable[str]:
    for bind in _texts(soft(host, "Binds")):
        source, colon, _ = bind.partition(":")
        if colon and not source.startswith("/"):
            yield source
    mounts = soft(host, "Mounts")
    for mount in mounts if isinstance(mounts, list) else ():
        if soft(mount, "Type") == "volume":
            yield soft(mount, "Source")


def _texts(value: Any) -> list[str]:
    return (
        [one for one in value if isinstance(one, str)] if isinstance(value, list | Mapping) else []
    )


def create(ask: Ask) -> Outcome:
    """The container, or what has to be made before, or why there is none."""
    given = read_keys(ask.request.body or {}, CONFIG)
    if not given.get("Image"):
        raise Refused("Image is not said: a container is made of one", 400)
    image = ask.image(given["Image"])
    try:
        return _created(ask, given, image)
    except Refused as refused:
        if refused.refuse.status != 404:
            raise
        # Clients take a 404 for the image's, and would fetch it and ask again.
        raise Refused(refused.refuse.sentence, 400, told=False) from None


def _created(ask: Ask, given: Mapping[str, Any], image: Known) -> Outcome:
    host = given.get("HostConfig") or {}
    name = container_name(ask)
    endpoints = (given.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    networks = create_network.attached(
        ask, name, host, endpoints, disabled=given.get("NetworkDisabled", False)
    )
    if isinstance(networks, First):
        return networks
    exposed = given.get("ExposedPorts") or {}
    if len({*exposed, *image.exposed}) > EXPOSED:
        raise Refused(f"ExposedPorts: more than {EXPOSED} are refused, the image's with them")
    for one in exposed:
        if port_of(one) is None:
            raise Refused(f"ExposedPorts: {shown(one)} is no port", 400)
    ports = published(host, (*exposed, *image.exposed))
    if ports and (networks.joins or networks.mode == "none"):
        raise Refused(f"a container with network {shown(networks.mode)} publishes no ports", 400)
    places = create_mounts.mounted(ask, host, given.get("Volumes") or (), image)
    _weighed(given, image)
    env = variables(given.get("Env") or ())
    way, forced = create_gpu.runtime_and_env(host, env, ask.grant)
    forced = dict.fromkeys(create_gpu.strange((*image.environment, *env))) | forced
    own = _labels(free_labels(given.get("Labels"), "Labels"), image)
    labels = own | _NO_AGENTS | ask.grant.labels
    labels |= {LABEL_DOOR: "", LABEL_PORTS: ports_label(ports), LABEL_IMAGE: given["Image"]}
    body = {
        **{key: given.get(key, default) for key, default in _AS_IT_IS.items()},
        **{key: given[key] for key in _WHERE_SAID if key in given},
        # By its id: what the name means may change between the look and the creation.
        "Image": image.id,
        "Env": [
            key if value is None else f"{key}={value}"
            for key, value in ({**ask.grant.env, **env} | forced).items()
        ],
        "Labels": labels,
        "ExposedPorts": {one: {} for one in exposed},
        "HostConfig": {
            "NetworkMode": networks.mode,
            "IpcMode": _shares(ask, host, "IpcMode", ("private", "shareable", "none")),
            "PidMode": _shares(ask, host, "PidMode", ("",)),
            "Mounts": places.mounts,
            "Tmpfs": places.tmpfs,
            "VolumesFrom": places.volumes_from,
            "VolumeDriver": "local",
            "PortBindings": {},
            "PublishAllPorts": False,
            "Dns": _servers(host, networks, ask),
            "DnsOptions": host.get("DnsOptions") or [],
            "DnsSearch": host.get("DnsSearch") or [],
            "ExtraHosts": host.get("ExtraHosts") or [],
            **create_limits.limited(host, ask.grant),
            **create_limits.secured(host, ask.grant, builds=is_builder(image, ask.grant)),
            **create_limits.living(host),
            **way,
        },
        "NetworkingConfig": {"EndpointsConfig": networks.endpoints},
    }
    if "StopTimeout" in given:
        body["StopTimeout"] = (
            STOP_MOST if given["StopTimeout"] < 0 else min(given["StopTimeout"], STOP_MOST)
        )
    if healthcheck := _healthcheck(given.get("Healthcheck"), image):
        body["Healthcheck"] = healthcheck
    _platform(ask.request.query.get("platform", ""), image)
    query = {"name": ask.grant.prefix + name}
    return Forward(
        "POST",
        target(SPOKEN, "/containers/create", query),
        body=body,
        makes=True,
        answer=Answer.CREATED,
        directories=tuple(dict.fromkeys(places.directories)),
        counts="containers",
        volumes=places.makes,
    )


def _labels(own: dict[str, str], image: Known) -> dict[str, str]:
    """Those that the container is made with, of its own; long ones of its image are said empty."""
    if LABEL_GENERATION in image.labels:
        raise Refused(f"an image with the label {LABEL_GENERATION} is refused: it is an agent's")
    emptied = {name: "" for name, value in image.labels.items() if weight([value]) > IMAGES_LABEL}
    weigh_labels({**image.labels, **emptied, **own}, "Labels, with those of the image")
    return emptied | own


def _weighed(given: Mapping[str, Any], image: Known) -> None:
    """`Refused` where the Engine's lists and events would be filled with one container."""
    entry = given.get("Entrypoint")
    said = (*(entry or ()), *(given.get("Cmd") or ()), *(given.get("Shell") or ()))
    weigh((*said, *image.command), COMMAND_WEIGHS, "Cmd, with Entrypoint and the image's,")
    check, of_image = given.get("Healthcheck") or {}, image.healthcheck or {}
    test = check.get("Test") or texts_of(of_image.get("Test"))
    weigh(test, COMMAND_WEIGHS, "Healthcheck.Test")
    weigh(given.get("Env") or (), ENVIRONMENT_WEIGHS, "Env")


def _platform(said: str, image: Known) -> None:
    """`Refused` where the image is for another: it was looked at as it is here, and is made so."""
    words = [_SAME.get(one, one) for one in said.lower().split("/") if one]
    variants = ("v8",) if "arm64" in image.platform else ()
    if strange := [one for one in words if one not in (*image.platform, *variants)]:
        raise Refused(
            f"platform {shown(said)} is refused: the image is here for {'/'.join(image.platform)}, "
            f"and not for {strange[0]}",
            400,
        )


def container_name(ask: Ask) -> str:
    """As the client calls it; one that it does not name is called by the gateway's token."""
    name = ask.request.query.get("name", "").removeprefix("/")
    if not name:
        return f"c-{ask.request.token}"
    free_name(ask.grant, name, "a container")
    return name


def variables(given: Iterable[str]) -> dict[str, str | None]:
    """The environment by name, the last of each; ``None`` takes away what the image says."""
    found: dict[str, str | None] = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not name:
            raise Refused(f"Env: {shown(one)} has no name", 400)
        found[name] = value if sign else None
    return found


def _shares(ask: Ask, host: Mapping[str, Any], key: str, own: tuple[str, ...]) -> str:
    """A namespace of its own, or that of a container of the job's."""
    mode = host.get(key) or own[0]
    if mode.startswith(create_network.JOINS):
        joined = ask.own(Kind.CONTAINER, mode.removeprefix(create_network.JOINS))
        return create_network.JOINS + joined.id
    if mode not in own:
        raise Refused(
            f"HostConfig.{key} {shown(mode)} is refused: it is a container's own, or one of the job's"
        )
    return str(mode)


def _servers(host: Mapping[str, Any], networks: create_network.Attached, ask: Ask) -> list[str]:
    if networks.joins or networks.mode == "none":
        return []
    return list(host.get("Dns") or ask.grant.dns)


def _healthcheck(given: Mapping[str, Any] | None, image: Known) -> dict[str, Any] | None:
    """As it is asked for, but no more often than once a second; where nobody says it, so is the image's."""
    said = dict(given or {})
    found = image.healthcheck or {}
    for key in ("Interval", "StartInterval"):
        value = said.get(key) or found.get(key) or 0
        if type(value) is int and 0 < value < LEAST_INTERVAL:
            said[key] = LEAST_INTERVAL
    return said or None
