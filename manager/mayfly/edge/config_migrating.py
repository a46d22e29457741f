"""One configuration file with every provider's keys in its table, by lines: comments and layout stay.

A statement is as many lines as TOML needs to read it, so no grammar is repeated here. What cannot be moved by
lines is refused in a sentence; what was written means the same before and after, or nothing is written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.edge.faults import Refused
from mayfly.edge.flat_keys import lift
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Layer, merge
from mayfly.edge.toml_statements import NotToml, Statement, statements


@dataclass
class _Pool:
    """A ``[[pool]]`` as its lines."""

    own: list[Statement] = field(default_factory=list)
    tables: list[Statement] = field(default_factory=list)
    after: int = 0  # the line after the last of its own keys
    name: str | None = None
    provider: str | None = None


def migrated(
    text: str, providers: Mapping[str, ProviderKeys], known: Mapping[str, str], default: str
) -> str:
    """The file in the new form; the same text where it is in it already.

    ``known`` gives the provider of each pool by name, for a drop-in that does not say it. ``Refused`` where a
    person has to do it.
    """
    lines = text.split("\n")
    try:
        pools = _pools(lines)
    except NotToml as error:
        raise Refused(str(error)) from error
    removed: set[int] = set()
    renamed: dict[int, str] = {}
    added: dict[int, list[str]] = {}
    for pool in pools:
        own = providers.get(pool.provider or known.get(pool.name or "", default))
        if own is not None:
            _move(pool, own, lines, removed, renamed, added)
    out: list[str] = []
    for number in range(len(lines) + 1):
        out += added.get(number, [])
        if number < len(lines) and number not in removed:
            out.append(renamed.get(number, lines[number]))
    new = "\n".join(out)
    _see_the_same(text, new, providers, known, default)
    return new


def _move(
    pool: _Pool,
    own: ProviderKeys,
    lines: list[str],
    removed: set[int],
    renamed: dict[int, str],
    added: dict[int, list[str]],
) -> None:
    moved: list[str] = []
    for statement in pool.own:
        if statement.key in own.ignored:
            removed |= set(range(statement.start, statement.end))
        if statement.key not in own.flat:
            continue
        place = ".".join(map(str, own.flat[statement.key]))
        removed |= set(range(statement.first, statement.end))
        moved += lines[statement.first : statement.start]
        moved.append(_renamed(lines[statement.start], statement.key, place))
        moved += lines[statement.start + 1 : statement.end]
    for table in pool.tables:
        assert table.heading is not None
        old, *rest = table.heading[1:]
        if old in own.flat:
            parts = ("pool", own.name, *map(str, own.flat[old]), *rest)
            comment = lines[table.start].partition("]")[2]
            renamed[table.start] = f"[{'.'.join(parts)}]{comment}"
    if not moved:
        return
    there = next((table for table in pool.tables if table.heading == ("pool", own.name)), None)
    if there is not None:
        added.setdefault(there.end, []).extend(moved)
    else:
        added.setdefault(pool.after, []).extend(["", f"[pool.{own.name}]", *moved])


def _renamed(line: str, key: str, place: str) -> str:
    return re.sub(rf"""^(\s*)(["']?){re.escape(key)}\2""", rf"\g<1>{place}", line, count=1)


def _pools(lines: list[str]) -> list[_Pool]:
    found: list[_Pool] = []
    here: tuple[str, ...] = ()
    for statement in statements(lines):
        if statement.heading is not None:
            here = statement.heading
            if here == ("pool",):
                found.append(_Pool(after=statement.end))
            elif here[:1] == ("pool",) and found:
                found[-1].tables.append(statement)
        elif here == ("pool",):
            pool = found[-1]
            pool.own.append(statement)
            pool.after = statement.end
            said = statement.said
            if statement.key == "name" and isinstance(said["name"], str):
                pool.name = said["name"]
            if statement.key == "provider" and isinstance(said["provider"], str):
                pool.provider = said["provider"]
        elif here == () and statement.key == "pool":
            raise Refused("its pools are written on one line: a person has to rewrite them")
    for pool in found:
        pool.after = _below_comments(lines, pool.after)
    return found


def _below_comments(lines: list[str], number: int) -> int:
    """The end of the comments there, unless they belong to the heading that follows them."""
    end = number
    while end < len(lines) and lines[end].strip().startswith("#"):
        end += 1
    return number if end < len(lines) and lines[end].strip().startswith("[") else end


def _see_the_same(
    old: str,
    new: str,
    providers: Mapping[str, ProviderKeys],
    known: Mapping[str, str],
    default: str,
) -> None:
    try:
        if _meant(old, providers, known, default) == _meant(new, providers, known, default):
            return
    except tomllib.TOMLDecodeError:
        pass
    raise Refused("its keys cannot be moved by lines: a person has to rewrite it")


def _meant(
    text: str, providers: Mapping[str, ProviderKeys], known: Mapping[str, str], default: str
) -> object:
    tree = tomllib.loads(text)
    for pool in tree.get("pool", ()):
        pool.setdefault("provider", known.get(pool.get("name", ""), default))
    return lift(merge([Layer("", tree)]), providers, default).tree
