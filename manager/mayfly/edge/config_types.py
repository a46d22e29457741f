"""What a key of the configuration may be: the types that the tables are made of, here and in the providers.

What a key defaults to is said by the dataclass that it is read into, and only there.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic import WithJsonSchema as Shape
from pydantic.functional_validators import PlainValidator

from mayfly.core import gpu_selection
from mayfly.core.gpu_checks import CheckSetting, CheckSeverity
from mayfly.core.job_images import NAME
from mayfly.core.model import ULIMITS, Ulimit
from mayfly.edge import config_values as values
from mayfly.edge import gpu_check_values

_SIZE_SHAPE = {"type": ["string", "integer"], "examples": ["8GiB", "512MiB", "10GB"]}
_TIME_SHAPE = {"type": ["string", "number"], "examples": ["90s", "30m", "2h"]}


def form(pattern: str, otherwise: str) -> BeforeValidator:
    return BeforeValidator(values.text(pattern, otherwise))


Size = Annotated[int, PlainValidator(values.size), Shape(_SIZE_SHAPE)]
Duration = Annotated[float, PlainValidator(values.duration), Shape(_TIME_SHAPE)]
HalfLife = Annotated[
    float, PlainValidator(values.between(values.duration, 60.0)), Shape(_TIME_SHAPE)
]
Second = Annotated[float, PlainValidator(values.between(values.duration, 1.0)), Shape(_TIME_SHAPE)]
SecondToHour = Annotated[
    float, PlainValidator(values.between(values.duration, 1.0, 3600.0)), Shape(_TIME_SHAPE)
]
Day = Annotated[
    str, PlainValidator(values.day), Shape({"type": "string", "examples": ["2027-11-29"]})
]
SizeLimit = Annotated[
    int | None,
    PlainValidator(lambda value: values.above_zero(values.or_none(values.size)(value))),
    Shape(_SIZE_SHAPE),
]
RateLimit = Annotated[
    float | None,
    PlainValidator(lambda value: values.above_zero(values.or_none(values.number)(value))),
    Shape({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "none"}]}),
]
TimeLimit = Annotated[
    float | None,
    PlainValidator(lambda value: values.above_zero(values.or_none(values.duration)(value))),
    Shape(_TIME_SHAPE),
]
PositiveDuration = Annotated[
    float,
    PlainValidator(lambda value: values.above_zero(values.duration(value))),
    Shape(_TIME_SHAPE),
]
Clock = Annotated[
    int | str,
    PlainValidator(values.clock),
    Shape({"anyOf": [{"const": "base"}, {"type": "integer", "minimum": 100}], "examples": [1410]}),
]
MemoryClock = Annotated[
    int, PlainValidator(values.memory_clock), Shape({"type": "integer", "minimum": 100})
]
Gpus = Annotated[
    int | str | tuple[str | int, ...],
    PlainValidator(values.gpus),
    Shape({"anyOf": [{"type": "integer"}, {"const": "all"}, {"type": "array"}]}),
]
ModelText = Annotated[str, BeforeValidator(values.checked(gpu_selection.model_problem))]
ComputeText = Annotated[str, BeforeValidator(values.checked(gpu_selection.compute_problem))]
MigText = Annotated[str, BeforeValidator(values.checked(gpu_selection.profile_problem))]
BranchText = Annotated[
    str,
    form(
        r"[1-9][0-9]{2,3}",
        "is not a driver's branch, the number before the first dot of its version",
    ),
]
_CHECK_SHAPE = {"enum": [str(one) for one in CheckSeverity]}
GpuChecks = Annotated[
    dict[str, CheckSetting],
    PlainValidator(gpu_check_values.settings),
    Shape(
        {
            "type": "object",
            "additionalProperties": {
                "anyOf": [
                    _CHECK_SHAPE,
                    {
                        "type": "object",
                        "properties": {"severity": _CHECK_SHAPE, "threshold": {"type": "number"}},
                        "additionalProperties": True,
                    },
                ]
            },
        }
    ),
]
_ULIMIT_SHAPE = {
    "anyOf": [
        {"type": ["integer", "string"], "examples": [1048576, "8GiB", "unlimited"]},
        {
            "type": "object",
            "properties": {
                "soft": {"type": ["integer", "string"]},
                "hard": {"type": ["integer", "string"]},
            },
            "required": ["soft", "hard"],
            "additionalProperties": False,
        },
    ]
}
Ulimits = Annotated[
    dict[str, Ulimit],
    PlainValidator(values.ulimits),
    Shape(
        {
            "type": "object",
            "properties": dict.fromkeys(ULIMITS, _ULIMIT_SHAPE),
            "additionalProperties": False,
        }
    ),
]
Tmpfs = Annotated[
    dict[str, int],
    PlainValidator(values.tmpfs),
    Shape({"type": "object", "additionalProperties": _SIZE_SHAPE}),
]
SeccompText = Annotated[str, BeforeValidator(values.seccomp)]
AbsolutePath = Annotated[str, BeforeValidator(values.absolute)]
Source = Annotated[str, BeforeValidator(values.source)]
Target = Annotated[str, BeforeValidator(values.target)]
EnvName = Annotated[str, BeforeValidator(values.env_name)]
Env = Annotated[dict[str, str], BeforeValidator(values.env)]
Reference = Annotated[dict[str, str], BeforeValidator(values.reference)]
Account = Annotated[str, BeforeValidator(values.account), Shape({"type": ["string", "integer"]})]
Capability = Annotated[str, BeforeValidator(values.capability)]
Address = Annotated[str, BeforeValidator(values.address)]
PoolNameText = Annotated[
    str, form(r"[a-z0-9][a-z0-9-]*", "must be lower-case letters, digits and -, not - first")
]
HostNameText = Annotated[
    str, form(r"[A-Za-z0-9][A-Za-z0-9-]*", "must be letters, digits and -, not - first")
]
CudaText = Annotated[str, form(r"[0-9]{1,2}\.[0-9]{1,2}", 'is not a CUDA version such as "12.8"')]
ImageText = Annotated[str, form(NAME, "is not an image's name")]
ImagePattern = Annotated[
    str,
    form(r"[A-Za-z0-9*][A-Za-z0-9._/:@*-]{0,254}", "is not an image's name, in which * may stand"),
]
RegistryText = Annotated[str, BeforeValidator(values.registry)]
NetworkText = Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", "is not a network's name")]
RuntimeText = Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", "is not a runtime's name")]
ProfileText = Annotated[
    str, form(r"[A-Za-z0-9/][A-Za-z0-9_./@-]{0,254}", "is not a profile's name")
]
CpusetText = Annotated[
    str,
    form(
        r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?){0,255}",
        'is not a list of processors such as "0-7,16"',
    ),
]
LabelText = Annotated[str, form(r"[^\s,\0][^,\0\n]{0,255}", "is not a label: no comma, no newline")]
AppText = Annotated[
    str, form(r"[A-Za-z0-9.]{1,40}", "is not an App's id: digits, or its client id")
]
ScopeText = Annotated[
    str,
    form(
        r"instance|(group|project):[0-9]{1,18}",
        'is none of "group:ID", "project:ID" and "instance"',
    ),
]
EngineText = Annotated[str, form(r"[a-z][a-z0-9-]{0,62}", "is not an engine's name")]
ServiceUrl = Annotated[str, BeforeValidator(values.url("https", "http"))]
SlurmText = Annotated[
    str, form(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", "is not a name as Slurm has them")
]
CallsPerHour = Annotated[int, Field(ge=60, le=1_000_000)]
PlainText = Annotated[str, form(r"[^\0\n]{1,255}", "must be one line of text")]


def default(owner: type, name: str) -> Any:
    """What the dataclass says where the key is absent; ``None`` for a key that may not be absent."""
    for entry in dataclasses.fields(owner):
        if entry.name == name:
            if entry.default_factory is not dataclasses.MISSING:
                return entry.default_factory()
            return None if entry.default is dataclasses.MISSING else entry.default
    raise LookupError(name)


def key(owner: type, name: str, description: str, **bounds: Any) -> Any:
    return Field(default=default(owner, name), description=description, **bounds)


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def said(table: BaseModel, *without: str) -> dict[str, Any]:
    """The keys that were written, lists as tuples; the rest is left to the dataclass's defaults."""
    found = {}
    for name in table.model_fields_set:
        if name not in without:
            value = getattr(table, name)
            found[name] = tuple(value) if isinstance(value, list) else value
    return found
