"""Networks of the job's: bridges with addresses that the Engine gives them, and no others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mayfly.core.admission.ask import DEFAULT_NETWORKS, Ask, free_labels, free_name
from mayfly.core.admission.create_network import (
    ENDPOINT,
    ICC,
    MTU,
    endpoint,
    network_body,
    network_name,
)
from mayfly.core.admission.filters import (
    OF_NETWORKS,
    OF_PRUNES,
    asks_for,
    filtered,
    named_in_filters,
)
from mayfly.core.admission.grant import LABEL_DEFAULT
from mayfly.core.admission.keys import (
    Key,
    by_name,
    dropped,
    flag,
    matching,
    read_keys,
    refused,
    soft,
    table,
    text,
)
from mayfly.core.admission.objects import SPOKEN, Kind, Ref
from mayfly.core.admission.outcome import Answer, First, Forward, Outcome, Refused
from mayfly.core.admission.request import Request, quoted, shown, target
from mayfly.core.admission.routes import Expects, Route, asked, out, switch, word
from mayfly.core.admission.routes import anything as any_text

_OWN = "networks of a job take the addresses that the Engine gives them"
_MTU = re.compile(r"[0-9]{2,5}", re.ASCII)
OPTIONS = (
    Key(ICC, "as it is", matching(lambda one: one in ("true", "false"), '"true" or "false"')),
    Key(MTU, "as it is", matching(_MTU.fullmatch, "a number of bytes")),
)
IPAM = (
    Key("Driver", "`default` alone", matching(lambda one: one in ("", "default"), '"default"')),
    refused("Config", _OWN),
    refused("Options", _OWN),
)
CREATE = (
    Key("Name", "the name that the job knows it by", text),
    Key("Driver", "`bridge` alone", text),
    Key("Internal", "as it is", flag),
    Key("Labels", "but those that begin with `io.mayfly.`", by_name(text)),
    Key("Options", f"`{ICC}` and `{MTU}`", table(OPTIONS)),
    Key("IPAM", "empty: the Engine gives addresses", table(IPAM)),
    Key("Scope", "`local` alone", matching(lambda one: one in ("", "local"), '"local"')),
    refused("EnableIPv6", "networks of a job have IPv4"),
    dropped("EnableIPv4", "networks of a job have IPv4"),
    dropped("CheckDuplicate", "always"),
    dropped("Attachable", "it is for swarms"),
    refused("Ingress", "there is no swarm"),
    refused("ConfigOnly", "there is no swarm"),
    refused("ConfigFrom", "there is no swarm"),
)
CONNECT = (
    Key("Container", "one of the job's", text),
    Key("EndpointConfig", "as in a creation", table(ENDPOINT)),
)
DISCONNECT = (Key("Container", "one of the job's", text), Key("Force", "as it is", flag))
_PREDEFINED = ("default", "bridge", "host", "none")


def _create(ask: Ask) -> Outcome:
    given = read_keys(ask.request.body or {}, CREATE)
    name, driver = given.get("Name", ""), given.get("Driver") or "bridge"
    if ask.grant.network == "none":
        raise Refused(f"pool {shown(ask.grant.pool)} gives its containers no network")
    if driver != "bridge":
        raise Refused(f"driver {shown(driver)} is refused: a job's networks are bridges")
    if name in _PREDEFINED:
        raise Refused(f"operation is not permitted on predefined {name} network")
    free_name(ask.grant, name, "a network")
    labels = free_labels(given.get("Labels"), "Labels")
    body = network_body(
        ask.grant,
        ask.grant.prefix + name,
        labels,
        given.get("Options") or {},
        internal=given.get("Internal", False),
    )
    return Forward(
        "POST",
        target(SPOKEN, "/networks/create"),
        body=body,
        makes=True,
        answer=Answer.CREATED,
        counts="networks",
    )


def _list(ask: Ask) -> Outcome:
    said = asked(ask, (any_text("filters"),)) | {"filters": filtered(ask, OF_NETWORKS)}
    custom = asks_for(ask, "type", "custom")
    answer = Answer.CUSTOM_NETWORKS if custom else Answer.NETWORKS
    return out(ask, "/networks", said, answer=answer)


def _inspect(ask: Ask) -> Outcome:
    said = asked(ask, (switch("verbose"), word("scope")))
    found = _network(ask)
    if isinstance(found, First):
        return found
    return out(ask, f"/networks/{quoted(found)}", said, answer=Answer.NETWORK)


def _network(ask: Ask) -> str | First:
    """The id of the path's network, or what makes the default one."""
    name = ask.named["network"]
    if name == "host":
        return ask.own(Kind.NETWORK, name).id  # it is not there
    made = network_name(ask, name)
    if isinstance(made, First):
        return made
    return ask.own(Kind.NETWORK, "bridge" if name in DEFAULT_NETWORKS else name).id


def _names(_request: Request, named: Mapping[str, str]) -> tuple[Ref, ...]:
    name = named["network"]
    return (Ref(Kind.NETWORK, "bridge" if name in DEFAULT_NETWORKS else name),)


def _names_with_container(request: Request, named: Mapping[str, str]) -> tuple[Ref, ...]:
    container = soft(request.body, "Container")
    links = soft(request.body, "EndpointConfig", "Links")
    found = [container] if isinstance(container, str) else []
    if isinstance(links, list):
        found += [one.partition(":")[0] for one in links if isinstance(one, str)]
    return (*_names(request, named), *(Ref(Kind.CONTAINER, one) for one in found))


def _names_in_filters(request: Request, _named: Mapping[str, str]) -> tuple[Ref, ...]:
    return named_in_filters(request)


def _remove(ask: Ask) -> Outcome:
    asked(ask, ())
    name = ask.named["network"]
    if name in _PREDEFINED:
        raise Refused(f"{name} is a pre-defined network and cannot be removed")
    return out(ask, f"/networks/{quoted(ask.own(Kind.NETWORK, name).id)}")


def _connect(ask: Ask) -> Outcome:
    given = _body(ask, CONNECT)
    network, container = _network(ask), ask.own(Kind.CONTAINER, given.get("Container", ""))
    if isinstance(network, First):
        return network
    name = container.name.removeprefix(ask.grant.prefix)
    settings = soft(ask.request.body, "EndpointConfig")
    config: dict[str, Any] = endpoint(ask, name, settings or {}, "EndpointConfig.")
    body = {"Container": container.id, "EndpointConfig": config}
    return Forward("POST", target(SPOKEN, f"/networks/{quoted(network)}/connect"), body=body)


def _disconnect(ask: Ask) -> Outcome:
    given = _body(ask, DISCONNECT)
    container = ask.own(Kind.CONTAINER, given.get("Container", ""))
    network = ask.own(Kind.NETWORK, _names(ask.request, ask.named)[0].name)
    body = {"Container": container.id, "Force": given.get("Force", False)}
    return Forward("POST", target(SPOKEN, f"/networks/{quoted(network.id)}/disconnect"), body=body)


def _body(ask: Ask, keys: tuple[Key, ...]) -> dict[str, Any]:
    asked(ask, ())
    return read_keys(ask.request.body or {}, keys)


def _prune(ask: Ask) -> Outcome:
    # The default one stays: a container may be about to be made in it.
    kept = filtered(ask, OF_PRUNES, not_label=LABEL_DEFAULT)
    said = asked(ask, (any_text("filters"),)) | {"filters": kept}
    return out(ask, "/networks/prune", said, answer=Answer.PRUNED)


_FILTERS = any_text("filters", "with the agent's own label")
ROUTES = (
    Route("GET", "/networks", "the job's own alone", _list, (_FILTERS,), names=_names_in_filters),
    Route("POST", "/networks/create", "a bridge", _create, expects=Expects.JSON, keys=CREATE),
    Route("POST", "/networks/prune", "removes the job's own that are empty", _prune, (_FILTERS,)),
    Route(
        "GET",
        "/networks/{network}",
        "the job's own; `bridge` is its default one",
        _inspect,
        (switch("verbose"), word("scope")),
        names=_names,
    ),
    Route(
        "DELETE", "/networks/{network}", "the job's own, but for `bridge`", _remove, names=_names
    ),
    Route(
        "POST",
        "/networks/{network}/connect",
        "a container of the job's to a network of the job's",
        _connect,
        expects=Expects.JSON,
        names=_names_with_container,
        keys=CONNECT,
    ),
    Route(
        "POST",
        "/networks/{network}/disconnect",
        "the same",
        _disconnect,
        expects=Expects.JSON,
        names=_names_with_container,
        keys=DISCONNECT,
    ),
)
