"""Mistakes in a file as one sentence each: which file, which table, which key, what is wrong.

Knows nothing of pydantic but the shape of its error details, which come as plain mappings.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mayfly.edge.faults import Refused

if TYPE_CHECKING:
    from mayfly.edge.flat_keys import Lifted
    from mayfly.edge.sources import Merged, Tree, Where

POOL_DEPTH = 3  # parts of the place of a pool's own key: pool, its number, the key


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands and what is wrong, as the end of a sentence."""

    file: str
    table: str
    key: str
    text: str
    # from 1; None: it stands on no line, or not in a file
    line: int | None = None

    def __str__(self) -> str:
        place = " ".join(part for part in (self.table, self.key) if part)
        file = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{file}: {place}: {self.text}" if place else f"{file}: {self.text}"


class ConfigError(Refused):
    """The configuration is wrong; ``problems`` lists every mistake, the message one a line and how many."""

    def __init__(self, problems: tuple[Problem, ...], old_keys: tuple[str, ...] = ()) -> None:
        count = (f"{len(problems)} mistakes",) if len(problems) > 1 else ()
        super().__init__("\n".join((*map(str, problems), *count)))
        self.problems = problems
        # a sentence for each key that is still read and has a new place
        self.old_keys = old_keys


def told(where: Where, text: str, merged: Merged, main: str) -> Problem:
    """A mistake at a location, as it was written."""
    place = _place(merged.tree, where)
    return Problem(merged.origin(where) or main, *place, text, merged.line(where))


def problem(
    detail: Mapping[str, Any],
    lifted: Lifted,
    merged: Merged,
    main: str,
    known: Callable[[Where], Sequence[str]],
) -> Problem:
    """One of pydantic's error details; ``known`` says which keys a table has."""
    where: Where = tuple(detail["loc"])
    there = lifted.written(follow(lifted.tree, where))
    text = _unknown_key(where, known) if detail["type"] == "extra_forbidden" else _sentence(detail)
    return told(there, text, merged, main)


def follow(tree: object, where: Where) -> Where:
    """The part of a location that exists in the tree; pydantic adds words of its own behind it."""
    here: object = tree
    for depth, part in enumerate(where):
        if isinstance(here, dict) and isinstance(part, str):
            if part not in here:
                return where[: depth + 1]
            here = here[part]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            return where[:depth]
    return where


def _place(tree: Tree, where: Where) -> tuple[str, str]:
    """A location as the table's heading and the key in it."""
    if not where:
        return "", ""
    if where[0] != "pool" or len(where) == 1:
        top = _count(where[0])
        return (f"[{top}]", _key_text(where[1:])) if len(where) > 1 else ("", top)
    pools = tree.get("pool")
    entry = pools[where[1]] if isinstance(pools, list) and isinstance(where[1], int) else {}
    name = entry.get("name") if isinstance(entry, dict) else None
    named = isinstance(name, str) and name.isprintable()
    heading = f'[[pool]] "{name}"' if named else f"[[pool]] number {_count(where[1])}"
    match where[2:]:
        case ("limits" | "security" as table, *key) if key:
            return f"{heading} . {table}", _key_text(tuple(key))
        case (str(name), *key) if key and isinstance(entry, dict) and name == entry.get("provider"):
            return f"{heading} . {_count(name)}", _key_text(tuple(key))
        case ("dataset" | "caches" as kind, int(index), *key):
            return f"{heading} . {kind} number {index + 1}", _key_text(tuple(key))
        case key:
            return heading, _key_text(tuple(key))


def _count(part: str | int) -> str:
    """A place in a list as people count, a key as it is unless it would break the line."""
    if isinstance(part, int):
        return str(part + 1)
    return part if part.isprintable() else repr(part)


def _key_text(where: Where) -> str:
    return ".".join(_count(part) for part in where)


_TYPE_WORDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def _sentence(detail: Mapping[str, Any]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing"
    value = detail["input"]
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        return f'must be a string, in quotes: "{value}"'
    if kind in _TYPE_WORDS:
        return f"must be {_TYPE_WORDS[kind]}, not {_shown(value)}"
    if kind == "literal_error":
        text = f"must be {context.get('expected', 'another value')}"
        return text + nearest(detail["input"], re.findall(r"'([^']*)'", text), rest=False)
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    bounds = {
        "greater_than": ("more than", "gt"),
        "greater_than_equal": ("at least", "ge"),
        "less_than_equal": ("at most", "le"),
    }
    if kind in bounds:
        words, bound = bounds[kind]
        return f"must be {words} {context[bound]}, not {_shown(detail['input'])}"
    return f"is wrong: {detail['msg'].lower()}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _unknown_key(where: Where, known: Callable[[Where], Sequence[str]]) -> str:
    word, here = where[-1], list(known(where[:-1]))
    # What is typed below a table's heading is that table's, also where it was meant for the pool.
    if len(where) > POOL_DEPTH and where[0] == "pool" and word in known(where[:2]):
        return (
            "there is no such key; [[pool]] itself has it: put it above the headings of its tables"
        )
    return "there is no such key" + nearest(word, here)


def nearest(word: object, known: list[str], *, rest: bool = True) -> str:
    """What was meant, or else, if wanted, all that there is."""
    close = difflib.get_close_matches(str(word).lower()[:64], known, n=1, cutoff=0.5)
    if not close and not rest:
        return ""
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"
