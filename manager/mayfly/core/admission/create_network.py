"""Which networks a container is in: the job's own, another container's of the job, or none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mayfly.core.admission.ask import DEFAULT_NETWORKS, Ask
from mayfly.core.admission.grant import LABEL_DEFAULT, Grant
from mayfly.core.admission.keys import (
    Key,
    dropped,
    each,
    is_nothing,
    matching,
    read_keys,
    refused,
    text,
    whole,
)
from mayfly.core.admission.objects import SPOKEN, Kind, Ref
from mayfly.core.admission.outcome import Answer, First, Forward, Refused
from mayfly.core.admission.request import shown, target
from mayfly.core.admission.weights import ALIASES

ICC = "com.docker.network.bridge.enable_icc"
MTU = "com.docker.network.driver.mtu"
JOINS = "container:"
_ALIAS = re.compile(r"[A-Za-z0-9_.-]{1,253}", re.ASCII)
_OWN_SUBNETS = "networks of a job take the addresses that the Engine gives them"
ENDPOINT = (
    refused("IPAMConfig", _OWN_SUBNETS),
    Key("Links", "to containers of the job's", each(text)),
    Key("Aliases", f"at most {ALIASES}", each(matching(_ALIAS.fullmatch, "a name"))),
    refused("MacAddress", "the Engine gives it"),
    refused("DriverOpts", "none are passed on"),
    Key("GwPriority", "not passed on", whole(-(2**31), 2**31)),
    dropped("NetworkID", "an answer's"),
    dropped("EndpointID", "an answer's"),
    dropped("Gateway", "an answer's"),
    dropped("IPAddress", "an answer's"),
    dropped("IPPrefixLen", "an answer's"),
    dropped("IPv6Gateway", "an answer's"),
    dropped("GlobalIPv6Address", "an answer's"),
    dropped("GlobalIPv6PrefixLen", "an answer's"),
    dropped("DNSNames", "an answer's"),
)


@dataclass(frozen=True, slots=True)
class Attached:
    """The networks of a container, as a creation says them."""

    mode: str
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    joins: bool = False  # whether it is in the network of another container


def default_network(grant: Grant) -> Forward:
    """The request that makes the network which stands for Docker's own."""
    return Forward(
        "POST",
        target(SPOKEN, "/networks/create"),
        body=network_body(grant, grant.default_network, {LABEL_DEFAULT: "1"}, {}, internal=False),
        makes=True,
        answer=Answer.CREATED,
        counts="networks",
    )


def network_body(
    grant: Grant,
    name: str,
    labels: Mapping[str, str],
    options: Mapping[str, str],
    *,
    internal: bool,
) -> dict[str, Any]:
    """A network of the job's, with all said that daemon.json could say otherwise."""
    return {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Scope": "local",
        "Internal": internal,
        "Attachable": False,
        "Ingress": False,
        "ConfigOnly": False,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Config": []},
        "Options": {ICC: "true", **options},
        "Labels": {**labels, **grant.labels},
    }


def network_name(ask: Ask, name: str) -> str | First:
    """A network's name at the Engine, or what has to be made before it has one."""
    if ask.grant.network == "none":
        raise Refused(f"pool {shown(ask.grant.pool)} gives its containers no network")
    if name in DEFAULT_NETWORKS:
        if Ref(Kind.NETWORK, "bridge") not in ask.known:
            return First(default_network(ask.grant))
        return ask.grant.default_network
    if name == "host":
        raise Refused("the host's network is refused: a container is in networks of its own job")
    return ask.own(Kind.NETWORK, name).name


def attached(
    ask: Ask, name: str, host: Mapping[str, Any], endpoints: Mapping[str, Any], *, disabled: bool
) -> Attached | First:
    """The networks of the container that is to be called so."""
    mode = "none" if disabled else (host.get("NetworkMode") or "default")
    if mode in ("default", "bridge") and ask.grant.network == "none":
        mode = "none"
    if mode == "host":
        network_name(ask, mode)
    if mode == "none" or mode.startswith(JOINS):
        if host.get("Links"):
            raise Refused(f"a container with network {shown(mode)} has no links", 400)
        for other, settings in endpoints.items():
            if other not in (mode, *DEFAULT_NETWORKS) or not is_nothing(settings):
                raise Refused(
                    f"a container with network {shown(mode)} cannot be in others, too", 400
                )
        if mode == "none":
            return Attached(mode)
        joined = ask.own(Kind.CONTAINER, mode.removeprefix(JOINS))
        return Attached(JOINS + joined.id, joins=True)
    return _in_networks(ask, name, mode, host, endpoints)


def _in_networks(
    ask: Ask, name: str, mode: str, host: Mapping[str, Any], endpoints: Mapping[str, Any]
) -> Attached | First:
    meant = {
        "bridge" if one in DEFAULT_NETWORKS else one: settings
        for one, settings in endpoints.items()
    }
    if len(meant) != len(endpoints):
        raise Refused("NetworkingConfig.EndpointsConfig says the default network twice", 400)
    if mode in DEFAULT_NETWORKS:
        # As the Engine has it: networks that are named stand for the default one.
        mode = "bridge" if "bridge" in meant or not meant else next(iter(meant))
    found: dict[str, dict[str, Any]] = {}
    for one in dict.fromkeys((mode, *meant)):
        engine = network_name(ask, one)
        if isinstance(engine, First):
            return engine
        settings = endpoint(ask, name, meant.get(one) or {}, f"EndpointsConfig.{one}.")
        if engine in found:
            raise Refused(f"NetworkingConfig.EndpointsConfig says network {shown(one)} twice", 400)
        found[engine] = settings
    primary = next(iter(found))
    found[primary]["Links"] += linked(ask, host.get("Links") or [], "HostConfig.Links")
    return Attached(primary, found)


def endpoint(ask: Ask, name: str, settings: Any, where: str) -> dict[str, Any]:
    """A container's place in a network of the job's, where it is found by its own name."""
    read = read_keys(settings, ENDPOINT, where)
    if len(read.get("Aliases") or ()) > ALIASES:
        raise Refused(f"{where}Aliases: more than {ALIASES} are refused")
    aliases = dict.fromkeys((*(read.get("Aliases") or ()), *((name,) if name else ())))
    return {
        "Aliases": list(aliases),
        "Links": linked(ask, read.get("Links") or [], f"{where}Links"),
    }


def linked(ask: Ask, links: list[str], where: str) -> list[str]:
    """Links to containers of the job's, each with the name by which it is found."""
    found = []
    for link in links:
        name, _, alias = link.partition(":")
        other = ask.own(Kind.CONTAINER, name)
        alias = (alias or name).rpartition("/")[2]
        if not _ALIAS.fullmatch(alias):
            raise Refused(f"{where}: {shown(alias)} is no name", 400)
        found.append(f"{other.name}:{alias}")
    return found
