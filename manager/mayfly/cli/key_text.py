"""The keys of a configuration file as text, out of its JSON Schema: for man pages and the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mayfly.core.quantities import spoken_age, spoken_size

Shape = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeyText:
    """One key of a table."""

    name: str
    default: str | None  # as the file would say it; None: it must be there
    does: str


@dataclass(frozen=True, slots=True)
class TableText:
    """A table, by the heading that it has in the file; what has none is the file itself."""

    heading: str
    does: str
    keys: tuple[KeyText, ...]


def table_texts(schema: Shape) -> Iterator[TableText]:
    """Every table of the file, each before those in it."""
    yield from _tables(schema, schema.get("$defs", {}), "", "", "")


def _tables(table: Shape, named: Shape, path: str, heading: str, does: str) -> Iterator[TableText]:
    inner, keys = [], []
    required = table.get("required", ())
    for name, shape in table.get("properties", {}).items():
        found, several = _table_in(shape, named)
        if found is None:
            default = None if name in required else default_text(shape)
            keys.append(KeyText(name, default, shape.get("description", "")))
            continue
        place = f"{path}.{name}" if path else name
        own = f"[[{place}]]" if several else f"[{place}]"
        inner.append(_tables(found, named, place, own, shape.get("description", "")))
    if keys:
        yield TableText(heading, does, tuple(keys))
    for one in inner:
        yield from one


def _table_in(shape: Shape, named: Shape) -> tuple[Shape | None, bool]:
    """The table that a key is, and whether there may be several; ``None`` where it is a value."""
    several = "items" in shape
    for one in (shape, shape.get("items") or {}, *shape.get("anyOf", ())):
        several = several or "items" in one
        for part in (one, one.get("items") or {}, one.get("additionalProperties") or {}):
            if not isinstance(part, Mapping):
                continue
            found = named.get(str(part.get("$ref", "")).rpartition("/")[2])
            if found is not None and "properties" in found:
                return found, several
    return None, False


def default_text(shape: Shape) -> str:
    """A key's default as the file would say it; nothing where it has none."""
    value = shape.get("default")
    if value is None or value in ([], {}):
        return ""
    kinds = shape.get("type")
    if isinstance(kinds, list) and "8GiB" in shape.get("examples", ()):
        return spoken_size(value)
    if isinstance(kinds, list) and "30m" in shape.get("examples", ()):
        return spoken_age(value).removesuffix("00") if value else "0"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
