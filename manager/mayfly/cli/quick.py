"""What is typed most, read without a parser: a verb and options that are each exactly as they are called.

Whatever else is typed is Typer's to read, and to refuse: an option that is shortened, joined with its value
or with others, or wrong, and ``--help``. So nothing is read here in another way than there; a test holds the
table to what Typer is told of the same verbs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mayfly.cli.talk import Where


@dataclass(frozen=True, slots=True)
class Quick:
    """The options of a verb, by how they are typed."""

    flags: Mapping[str, str]
    values: Mapping[str, str]


@dataclass(slots=True)
class Call:
    """How a verb was called: with nothing before it."""

    obj: Where


VERB = "status"
STATUS = Quick(
    flags={"--watch": "watch", "-w": "watch", "--all": "every", "--json": "as_json"},
    values={"--socket": "socket", "--config": "config"},
)


def run(typed: Sequence[str]) -> int | None:
    """Do what was typed; its exit code, or ``None`` where that is Typer's to read."""
    completes = os.environ.get("_MAYFLY_COMPLETE")  # a shell asks what could be typed
    quick = typed and typed[0] == VERB and not completes
    options = read(STATUS, typed[1:]) if quick else None
    if options is None:
        return None
    from mayfly.cli.standing import show  # noqa: PLC0415  not where Typer reads

    return show(Call(Where()), **options)


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
