"""What is typed most, and what stays, read without a parser: a verb and options, each just as it is called.

Whatever else is typed is Typer's to read, and to refuse: an option that is shortened, joined with its value
or with others, or wrong, and ``--help``. So nothing is read here in another way than there; a test holds the
table to what Typer is told of the same verbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any

from mayfly.cli.talk import Where

PLACES = MappingProxyType({"--socket": "socket", "--config": "config"})
ELSEWHERE = MappingProxyType({**PLACES, "--host": "host"})


@dataclass(frozen=True, slots=True)
class Quick:
    """What does a verb, and its options by how they are typed."""

    module: str  # of mayfly.cli
    function: str
    flags: Mapping[str, str]
    values: Mapping[str, str] = field(default_factory=lambda: PLACES)


@dataclass(slots=True)
class Call:
    """How a verb was called: with nothing before it."""

    obj: Where


SHOWN = {"--watch": "watch", "-w": "watch", "--all": "every", "--json": "as_json"}
VERBS = {
    "status": Quick("standing", "show", SHOWN, ELSEWHERE),
    # A daemon would keep a parser in memory for ever.
    "run": Quick("running", "manage", {"--take-over": "take_over"}),
    "gateway": Quick("gateway_process", "serve", {}, {"--config": "config"}),
    # What is typed at another desk waits for it.
    "relay": Quick("relaying", "relayed", {}),
}


def run(typed: Sequence[str]) -> int | None:
    """Do what was typed; its exit code, or ``None`` where that is Typer's to read."""
    verb = VERBS.get(typed[0]) if typed else None
    options = read(verb, typed[1:]) if verb is not None else None
    if verb is None or options is None:
        return None
    does = getattr(import_module(f"mayfly.cli.{verb.module}"), verb.function)
    code: int = does(Call(Where()), **options)
    return code


def read(verb: Quick, typed: Sequence[str]) -> dict[str, Any] | None:
    """The options that were typed, by name; ``None`` where one is not exactly as it is called."""
    found: dict[str, Any] = {}
    words = iter(typed)
    for word in words:
        if word in verb.flags:
            found[verb.flags[word]] = True
        elif word in verb.values:
            value = next(words, "-")
            if value.startswith("-"):
                return None
            found[verb.values[word]] = value
        else:
            return None
    return found
