"""The filters of a list: those that are known, by names as the Engine has them, and always the agent's label.

The Engine is asked for the agent's own alone, and does not hand out more for somebody to sort afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mayfly.core.admission.ask import Ask
from mayfly.core.admission.grant import LABEL_BELONGS, RESERVED
from mayfly.core.admission.objects import Kind, Ref
from mayfly.core.admission.outcome import Refused
from mayfly.core.admission.request import Request, read_json, shown

MOST = 64
LONGEST = 1024
_START = re.compile(r"(^|[|(])\^/?")
# What a filter names, of which kind it is.
_THINGS = {
    "container": Kind.CONTAINER,
    "network": Kind.NETWORK,
    "volume": Kind.VOLUME,
    "before": Kind.CONTAINER,
    "since": Kind.CONTAINER,
}
NAMED = ("container", "network", "volume")
OF_CONTAINERS = (
    *("ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name"),
    *("network", "publish", "since", "status", "volume"),
)
OF_NETWORKS = ("dangling", "driver", "id", "label", "name", "scope", "type")
OF_VOLUMES = ("dangling", "driver", "label", "name")
OF_EVENTS = (*("container", "event", "image", "label", "network", "scope", "type", "volume"),)
OF_PRUNES = ("all", "label", "label!", "until")
OF_IMAGES = ("before", "dangling", "label", "reference", "since", "until")


def named_in_filters(request: Request) -> tuple[Ref, ...]:
    """The things that its filters name."""
    try:
        read = _read(request)
    except Refused:
        return ()
    return tuple(Ref(kind, value) for name, kind in _THINGS.items() for value in read.get(name, ()))


def filtered(ask: Ask, known: tuple[str, ...], **more: str) -> str:
    """The filters as they go out; ``more`` are further ones that are forced, each with its value."""
    found = _translated(ask, known)
    found.setdefault("label", {})[f"{LABEL_BELONGS}={ask.grant.generation}"] = True
    for name, value in more.items():
        found.setdefault({"not_label": "label!"}.get(name, name), {})[value] = True
    return json.dumps(found, separators=(",", ":"))


def asks_for(ask: Ask, name: str, value: str) -> bool:
    """Whether that is among its filters."""
    return value in _read(ask.request).get(name, ())


def event_filters(ask: Ask) -> str:
    """Those of events, of which networks' and volumes' have no labels: they go by the prefix.

    The Engine takes each of these three for the id or the beginning of the name of whatever an event is of.
    """
    found = _translated(ask, OF_EVENTS)
    if any(value.startswith("/") for value in found.get("volume", ())):
        raise Refused("filter volume has to be the name of a volume", 400)
    if not any(found.get(name) for name in NAMED):
        found["container"] = {ask.grant.prefix: True}
    return json.dumps(found, separators=(",", ":"))


def _translated(ask: Ask, known: tuple[str, ...]) -> dict[str, dict[str, bool]]:
    found: dict[str, dict[str, bool]] = {}
    for name, values in _read(ask.request).items():
        if name not in known:
            raise Refused(
                f"filter {shown(name)} is not known to this socket: {', '.join(known)} are"
            )
        found[name] = {_value(ask, name, value): True for value in values}
    return found


def own_filters(ask: Ask, known: tuple[str, ...]) -> str | None:
    """The filters as they came in, of things that nobody owns; ``None``: there are none."""
    read = _read(ask.request)
    for name in read:
        if name not in known:
            raise Refused(
                f"filter {shown(name)} is not known to this socket: {', '.join(known)} are"
            )
    for name, values in read.items():
        for value in values:
            if name in ("label", "label!") and value.startswith(RESERVED):
                raise Refused(f"labels that begin with {RESERVED} are Mayfly's own")
    return (
        json.dumps({name: dict.fromkeys(values, True) for name, values in read.items()})
        if read
        else None
    )


def _value(ask: Ask, name: str, value: str) -> str:
    if name in ("label", "label!") and value.startswith(RESERVED):
        raise Refused(f"labels that begin with {RESERVED} are Mayfly's own")
    if name == "name":
        return _START.sub(lambda start: f"{start[1]}^/?{ask.grant.prefix}", value)
    if name == "volume" and value.startswith("/"):
        return value  # where it is mounted
    if name in _THINGS:
        thing = ask.known.get(Ref(_THINGS[name], value))
        if thing is None:
            return ask.grant.prefix + value  # there is none of that name
        return thing.name if name in ("network", "volume") else thing.id
    return value


def _read(request: Request) -> dict[str, tuple[str, ...]]:
    """Filters by name, as either of the two forms has them: lists, or objects of values that are true."""
    said = request.query.get("filters", "")
    if not said:
        return {}
    document: Any = read_json(said)
    if not isinstance(document, Mapping) or len(document) > MOST:
        raise Refused("the filters have to be a JSON object", 400)
    found = {}
    for name, values in document.items():
        if isinstance(values, Mapping):
            chosen = [value for value, on in values.items() if on is True]
        elif isinstance(values, list):
            chosen = values
        else:
            raise Refused(f"filter {shown(name)} has to be a list", 400)
        if len(chosen) > MOST or not all(
            isinstance(one, str) and len(one) <= LONGEST for one in chosen
        ):
            raise Refused(f"filter {shown(name)} has to be a list of texts", 400)
        found[name] = tuple(str(one) for one in chosen)
    return found
