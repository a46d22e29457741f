"""A configuration with every provider's keys in its table, by lines: comments, layout and line ends stay.

Where a statement begins and ends is told by ``toml_statements``. What cannot be moved by lines is refused
with its line; the files together mean the same before and after, or nothing is to be written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mayfly.edge import config
from mayfly.edge.config import DEFAULT_PROVIDER, ConfigError, Loaded
from mayfly.edge.faults import Refused
from mayfly.edge.flat_keys import Lifted, lift
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Layer, Where, merge
from mayfly.edge.toml_statements import NotToml, Statement, key_lines, statements

BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Change:
    """One file, as it is and as it would be."""

    file: Path
    before: str
    after: str


@dataclass
class _Pool:
    """A ``[[pool]]`` as its lines."""

    own: list[Statement] = field(default_factory=list)
    tables: list[Statement] = field(default_factory=list)
    after: int = 0  # the line after the last of its own keys
    name: str | None = None
    provider: str | None = None


@dataclass
class _Edit:
    """What becomes of a file's lines, by their numbers."""

    lines: list[str]  # without what ends them
    removed: set[int] = field(default_factory=set)
    replaced: dict[int, str] = field(default_factory=dict)
    added: dict[int, list[str]] = field(default_factory=dict)  # before that line

    def text(self, ends: list[str], usual: str) -> str:
        """All of it; ``ends`` is what ended each line before, ``usual`` what ends the new ones."""
        out: list[tuple[str, str]] = []
        for number in range(len(self.lines) + 1):
            out += [(line, usual) for line in self.added.get(number, ())]
            if number < len(self.lines) and number not in self.removed:
                out.append((self.replaced.get(number, self.lines[number]), ends[number]))
        last = len(out) - 1
        return "".join(
            line + (end or (usual if at < last else "")) for at, (line, end) in enumerate(out)
        )


def changes(loaded: Loaded, providers: Mapping[str, ProviderKeys]) -> tuple[Change, ...]:
    """The files that would change; ``Refused`` where a person has to do it, or the meaning would change."""
    known = {str(pool.name): pool.provider for pool in loaded.config.pools}
    made: list[Change] = []
    for file in loaded.files:
        try:
            before = file.read_bytes().decode()
            after = migrated(before, providers, known, DEFAULT_PROVIDER)
        except OSError as error:
            raise Refused(f"{file} cannot be read: {error.strerror}") from error
        except Refused as fault:
            raise Refused(f"{file}:{fault}") from fault
        if after != before:
            made.append(Change(file, before, after))
    if not made:
        return ()
    try:
        texts = {change.file: change.after for change in made}
        new = config.load(loaded.files[0], providers, texts=texts).config
    except ConfigError as error:
        raise Refused(f"its keys cannot be moved, for then: {error}") from error
    if new != loaded.config:
        raise Refused("its keys cannot be moved by lines: it would mean another thing afterwards")
    return tuple(made)


def migrated(
    text: str, providers: Mapping[str, ProviderKeys], known: Mapping[str, str], default: str
) -> str:
    """The file in the new form; the same text where it is in it already.

    ``known`` gives the provider of each pool by name, whatever this file alone says. ``Refused`` where a
    person has to do it: the line, and a sentence.
    """
    bom = BOM if text.startswith(BOM) else ""
    whole = text.removeprefix(BOM)
    plain = whole.replace("\r\n", "\n")
    old = _lifted(plain, providers, known, default)
    if not old.old:
        return text
    lines = plain.split("\n")
    ends = ["\r\n" if line.endswith("\r") else "\n" for line in whole.split("\n")[:-1]]
    edit = _Edit(lines)
    for pool in _pools(lines):
        own = providers.get(known.get(pool.name or "", pool.provider or default))
        if own is not None:
            _move(pool, own, edit)
    new = edit.text([*ends, ""], ends[0] if ends else "\n")
    unmoved = _unmoved(new.replace("\r\n", "\n"), old, providers, known, default)
    if unmoved is not None:
        raise Refused(
            f"{key_lines(plain).get(unmoved, 1)}: {unmoved[-1]} cannot be moved by lines: "
            "a person has to rewrite it"
        )
    return bom + new


def _move(pool: _Pool, own: ProviderKeys, edit: _Edit) -> None:
    lines = edit.lines
    beside = any(s.key == own.name and _dotted(lines[s.start], own.name) for s in pool.own)
    moved: list[str] = []
    for statement in pool.own:
        inside = range(statement.start, statement.end)
        if statement.key in own.ignored:
            edit.removed |= set(inside)
            edit.added.setdefault(statement.end, []).extend(_comments(lines, statement))
        if statement.key not in own.flat:
            continue
        place = ".".join(map(str, own.flat[statement.key]))
        if beside:  # the table cannot be opened again
            line = _renamed(lines[statement.start], statement.key, f"{own.name}.{place}")
            edit.replaced[statement.start] = line
            continue
        edit.removed |= {*range(statement.first, statement.start), *inside}
        moved += lines[statement.first : statement.start]
        moved.append(_renamed(lines[statement.start], statement.key, place))
        moved += lines[statement.start + 1 : statement.end]
    for table in pool.tables:
        assert table.heading is not None
        old, *rest = table.heading[1:]
        if old in own.flat:
            parts = ("pool", own.name, *map(str, own.flat[old]), *rest)
            line = lines[table.start]
            for comment in _comments(lines, table):
                line = line.removesuffix(comment).rstrip()
            behind = lines[table.start].removeprefix(line) if line != lines[table.start] else ""
            edit.replaced[table.start] = f"[{'.'.join(parts)}]{behind}"
    if not moved:
        return
    there = next((table for table in pool.tables if table.heading == ("pool", own.name)), None)
    if there is not None:
        edit.added.setdefault(there.end, []).extend(moved)
    else:
        edit.added.setdefault(pool.after, []).extend(["", f"[pool.{own.name}]", *moved])


def _renamed(line: str, key: str, place: str) -> str:
    return re.sub(rf"""^(\s*)(["']?){re.escape(key)}\2""", rf"\g<1>{place}", line, count=1)


def _dotted(line: str, key: str) -> bool:
    return re.match(rf"""\s*(["']?){re.escape(key)}\1\s*\.""", line) is not None


def _comments(lines: list[str], statement: Statement) -> Iterator[str]:
    """Those in a statement: what can be cut from a line's end and changes nothing."""
    for number in range(statement.start, statement.end):
        line = lines[number]
        for at in (place.start() for place in re.finditer("#", line)):
            rest = [*lines[statement.start : number], line[:at], *lines[number + 1 : statement.end]]
            try:
                if tomllib.loads("\n".join(rest)) != statement.said:
                    continue
            except tomllib.TOMLDecodeError:
                continue
            yield line[at:]
            break


def _pools(lines: list[str]) -> list[_Pool]:
    try:
        return _read_pools(lines)
    except NotToml as error:
        raise Refused(f"{error.line}: cannot be read by lines") from error


def _read_pools(lines: list[str]) -> list[_Pool]:
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
            sentence = "the pools are written as one list: a person has to rewrite them"
            raise Refused(f"{statement.start + 1}: pool: {sentence}")
    for pool in found:
        pool.after = _below_comments(lines, pool.after)
    return found


def _below_comments(lines: list[str], number: int) -> int:
    """The end of the comments there, unless they belong to the heading that follows them."""
    end = number
    while end < len(lines) and lines[end].strip().startswith("#"):
        end += 1
    return number if end < len(lines) and lines[end].strip().startswith("[") else end


def _unmoved(
    new: str,
    old: Lifted,
    providers: Mapping[str, ProviderKeys],
    known: Mapping[str, str],
    default: str,
) -> Where | None:
    """An old key that has no new place there, or has changed its meaning; ``None``: all is well."""
    before = [where for where, _ in old.old]
    try:
        found = _lifted(new, providers, known, default)
    except Refused:
        return before[0]
    left = [where for where, _ in found.old]
    if found.tree != old.tree or left:
        return next((where for where in before if where in left), before[0])
    return None


def _lifted(
    text: str, providers: Mapping[str, ProviderKeys], known: Mapping[str, str], default: str
) -> Lifted:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f" is not TOML: {error}") from error
    pools = tree.get("pool", ())
    for pool in pools if isinstance(pools, list) else ():
        pool["provider"] = known.get(pool.get("name", ""), pool.get("provider", default))
    return lift(merge([Layer("", tree)]), providers, default)
