"""Where the configuration comes from: a file, its drop-ins, the environment, flags.

Layers are merged into one plain tree, and for each leaf the layer that said it is remembered, so
that an error and ``mayfly config show --origin`` can name it. What the keys mean is not known here.
By hand, since no library tells for each value who said it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mayfly.edge.toml_statements import key_lines, read

DEFAULT_FILE = Path("/etc/mayfly/config.toml")
ENV_FILE = "MAYFLY_CONFIG"
ENV_HOST = "MAYFLY_HOST__"

Tree = dict[str, object]
Where = tuple[str | int, ...]  # ("host", "name"), ("pool", 0, "limits", "memory")


@dataclass(frozen=True, slots=True)
class Layer:
    """One source and what it says."""

    origin: str
    tree: Tree
    # its text; None: it is no file
    text: str | None = None
    # lines, from 1, that are not TOML, each with the end of a sentence
    wrong: tuple[tuple[int, str], ...] = ()


@dataclass(slots=True)
class Merged:
    """All layers as one tree, with the origin of each leaf."""

    tree: Tree = field(default_factory=dict)
    origins: dict[Where, str] = field(default_factory=dict)
    # where each place of the tree stands in the layer that said it: its pools are counted by itself
    written: dict[Where, Where] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    _lines: dict[str, dict[Where, int]] = field(default_factory=dict)

    def origin(self, where: Where) -> str | None:
        """The layer that said this key, or the nearest table around it; ``None`` if nobody did."""
        for length in range(len(where), 0, -1):
            if where[:length] in self.origins:
                return self.origins[where[:length]]
        return None

    def line(self, where: Where) -> int | None:
        """The line, from 1, at which the file that ``origin`` names says this key or the table around it."""
        origin = self.origin(where)
        text = self.texts.get(origin or "")
        if origin is None or text is None:
            return None
        if origin not in self._lines:
            self._lines[origin] = key_lines(text)
        for length in range(len(where), 0, -1):
            if where[:length] in self.origins:
                return _nearest(
                    self._lines[origin], (*self.written[where[:length]], *where[length:])
                )
        return None


def _nearest(lines: Mapping[Where, int], where: Where) -> int | None:
    """The line of a place, or of the nearest table around it."""
    around = (where[:length] for length in range(len(where), 0, -1))
    return next((lines[place] for place in around if place in lines), None)


class Unreadable(Exception):
    """A source that cannot be read: which, and why in one sentence."""

    def __init__(self, origin: str, text: str) -> None:
        super().__init__(f"{origin}: {text}")
        self.origin = origin
        self.text = text


def main_file(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path:
    """The file that ``--config``, ``MAYFLY_CONFIG`` or nobody names."""
    return Path(path or environ.get(ENV_FILE) or DEFAULT_FILE)


def files(main: Path, further: Iterable[Path] = ()) -> tuple[Path, ...]:
    """The main file and the drop-ins beside it, in the order in which they count.

    ``further``: files that are counted as if they were there.
    """
    there = {*(main.parent / "conf.d").glob("*.toml"), *further} - {main}
    return (main, *sorted(there))


def read_toml(path: Path, text: str | None = None) -> Layer:
    """One TOML file as a layer, with the lines that are not TOML; ``Unreadable`` where it is no text.

    ``text``: what it would say instead of what it says.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig") if text is None else text
        found = read(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    except FileNotFoundError as error:
        where = str(path.absolute())  # a name alone does not say where was looked
        raise Unreadable(where, "there is no such file; `mayfly init` writes one") from error
    except OSError as error:
        raise Unreadable(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(str(path), f"is not UTF-8 text (byte {error.start})") from error
    except RecursionError as error:
        raise Unreadable(str(path), "is nested too deeply") from error
    return Layer(str(path), found.tree, found.text, found.wrong)


def environment(environ: Mapping[str, str]) -> Iterable[Layer]:
    """``MAYFLY_HOST__KEY`` as one layer a variable; other ``MAYFLY_`` names are not configuration."""
    for name in sorted(environ):
        if name.startswith(ENV_HOST):
            yield Layer(f"${name}", {"host": {name.removeprefix(ENV_HOST).lower(): environ[name]}})


def merge(layers: Iterable[Layer]) -> Merged:
    """Tables merge, scalars and arrays replace, ``[[pool]]`` entries are joined by ``name``."""
    merged = Merged()
    for layer in layers:
        if layer.text is not None:
            merged.texts[layer.origin] = layer.text
        for key, value in layer.tree.items():
            if key == "pool" and _is_list_of_tables(value):
                _join_pools(merged, value, layer.origin)
            else:
                _put(merged, merged.tree, (), key, value, layer.origin)
    return merged


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _join_pools(merged: Merged, entries: object, origin: str) -> None:
    assert isinstance(entries, list)
    pools = merged.tree.setdefault("pool", [])
    if not isinstance(pools, list) or not _is_list_of_tables(pools):
        return  # an earlier layer is wrong already, and that mistake is reported
    seen: set[object] = set()
    for number, entry in enumerate(entries):
        name = entry.get("name")
        known = isinstance(name, str) and name not in seen
        places = [i for i, pool in enumerate(pools) if known and pool.get("name") == name]
        seen.add(name if isinstance(name, str) else None)
        if not places:
            pools.append({})
            merged.origins[("pool", len(pools) - 1)] = origin
            merged.written[("pool", len(pools) - 1)] = ("pool", number)
        place = places[0] if places else len(pools) - 1
        for key, value in entry.items():
            _put(merged, pools[place], ("pool", place), key, value, origin, ("pool", number))


def _put(
    merged: Merged,
    table: Tree,
    where: Where,
    key: str,
    value: object,
    origin: str,
    own: Where = (),  # where the table stands in the layer itself
) -> None:
    here = (*where, key)
    merged.written[here] = (*own, key)
    if isinstance(value, dict):
        inner = table.get(key)
        if not isinstance(inner, dict):
            inner = table[key] = {}
        merged.origins[here] = origin
        for inner_key, inner_value in value.items():
            _put(merged, inner, here, inner_key, inner_value, origin, (*own, key))
        return
    table[key] = value
    merged.origins[here] = origin
