"""Values of the core as JSON and back: what a bug report holds and a replay reads.

Every value says what it is, so that a union needs no guessing: a dataclass is ``{"is": NAME, FIELD: …}`` with
the fields that differ from their defaults, a tuple a list, a set ``{"set": […]}``, a mapping
``{"map": [[KEY, VALUE], …]}``, an enumeration's member ``{"enum": [NAME, VALUE]}``. Only types of the core
are read back; anything else is a ``ValueError``. What jobs see in their environment is masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any

from mayfly.core.desire import baked_parts, without_secrets
from mayfly.core.memory import Job
from mayfly.core.model import HostSpec, PoolSpec
from mayfly.core.runs import Origin

MASKED = "****"
MODULES = (
    "actions",
    "activity",
    "allocations",
    "belongings",
    "bench_lane",
    "capabilities",
    "client_release",
    "commands",
    "contact",
    "delivery",
    "desire",
    "dispatch",
    "facts",
    "gpu_checks",
    "gpu_gauges",
    "gpu_health",
    "gpu_metering",
    "gpu_selection",
    "gpu_use",
    "gpus",
    "healing",
    "idle_settings",
    "images",
    "isolation",
    "leases",
    "in_vain",
    "left_behind",
    "machine",
    "memory",
    "model",
    "mounts",
    "notice_targets",
    "observed",
    "outcomes",
    "polls",
    "recording",
    "refusals",
    "requests",
    "reservations",
    "reserve_rules",
    "reserved_hours",
    "runs",
    "signs",
    "slurm_request",
    "state",
    "stimuli",
    "tainted_devices",
    "token_end",
    "throttle",
    "turns",
    "waiting",
    "workspace",
    "xids",
)


@cache
def _types() -> Mapping[str, type]:
    found: dict[str, type] = {}
    for name in MODULES:
        module = import_module(f"mayfly.core.{name}")
        for value in vars(module).values():
            known = isinstance(value, type) and value.__module__ == module.__name__
            if known and (is_dataclass(value) or issubclass(value, Enum)):
                assert value.__name__ not in found, f"two types are called {value.__name__}"
                found[value.__name__] = value
    return found


def encoded(value: object) -> Any:
    """The value as JSON has it."""
    if isinstance(value, Enum):
        return {"enum": [type(value).__name__, value.value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, PoolSpec):
        # A provider's settings are its own: what is told of them is what a fingerprint is made of.
        value = replace(without_secrets(value), settings=baked_parts(value.settings))
    if isinstance(value, HostSpec) and value.notify:
        value = replace(value, notify=())  # an address to which anybody may write is a secret
    if isinstance(value, HostSpec) and value.idle is not None:
        value = replace(value, idle=None)  # so is its webhook
    if isinstance(value, Job) and value.variant:
        value = replace(value, variant=MASKED)  # it has values of its variables
    if isinstance(value, Origin) and value.subject:
        value = replace(value, subject=MASKED)  # it is for its owner and operators
    if is_dataclass(value) and not isinstance(value, type):
        told = {field.name: getattr(value, field.name) for field in fields(value)}
        return {"is": type(value).__name__} | {
            field.name: encoded(told[field.name])
            for field in fields(value)
            if told[field.name] != _default(field)
        }
    if isinstance(value, Mapping):
        return {"map": [[encoded(key), encoded(entry)] for key, entry in value.items()]}
    if isinstance(value, (set, frozenset)):
        return {"set": sorted((encoded(entry) for entry in value), key=str)}
    if isinstance(value, (tuple, list)):
        return [encoded(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} is no value of the core")


def decoded(value: Any) -> Any:
    """The value again; ``ValueError`` where it is none of the core."""
    if isinstance(value, list):
        return tuple(decoded(entry) for entry in value)
    if not isinstance(value, dict):
        return value
    if "map" in value:
        return {decoded(key): decoded(entry) for key, entry in value["map"]}
    if "set" in value:
        return frozenset(decoded(entry) for entry in value["set"])
    if "enum" in value:
        name, member = value["enum"]
        return _known(name)(member)
    given = {key: decoded(entry) for key, entry in value.items() if key != "is"}
    try:
        return _known(value.get("is"))(**given)
    except TypeError as error:
        raise ValueError(f"a {value['is']} of another version of Mayfly: {error}") from error


def _known(name: Any) -> type:
    found = _types().get(name)
    if found is None:
        raise ValueError(f"there is no {name!r} in this version of Mayfly")
    return found


def _default(field: Any) -> object:
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING
