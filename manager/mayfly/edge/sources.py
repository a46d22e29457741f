"""Where the configuration comes from: a file, its drop-ins, the environment, flags.

Layers are merged into one plain tree, and for each leaf the layer that said it is remembered, so
that an error and ``mayfly config show --origin`` can name it. What the keys mean is not known here.
By hand, since no library tells for each value who said it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(slots=True)
class Merged:
    """All layers as one tree, with the origin of each leaf."""

    tree: Tree = field(default_factory=dict)
    origins: dict[Where, str] = field(default_factory=dict)

    def origin(self, where: Where) -> str | None:
        """The layer that said this key, or the nearest table around it; ``None`` if nobody did."""
        for length in range(len(where), 0, -1):
            if where[:length] in self.origins:
                return self.origins[where[:length]]
        return None


class Unreadable(Exception):
    """A source that cannot be read: which, and why in one sentence."""

    def __init__(self, origin: str, text: str) -> None:
        super().__init__(f"{origin}: {text}")
        self.origin = origin
        self.text = text


def main_file(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path:
    """The file that ``--config``, ``MAYFLY_CONFIG`` or nobody names."""
    return Path(path or environ.get(ENV_FILE) or DEFAULT_FILE)


def files(main: Path) -> tuple[Path, ...]:
    """The main file and the drop-ins beside it, in the order in which they count."""
    return (main, *sorted((main.parent / "conf.d").glob("*.toml")))


def read_toml(path: Path) -> Layer:
    """One TOML file as a layer; ``Unreadable`` where it is none."""
    try:
        text = path.read_bytes().decode()
        return Layer(str(path), tomllib.loads(text))
    except FileNotFoundError as error:
        raise Unreadable(str(path), "there is no such file; `mayfly init` writes one") from error
    except OSError as error:
        raise Unreadable(str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(str(path), f"is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(str(path), f"is not TOML: {error}") from error
    except RecursionError as error:
        raise Unreadable(str(path), "is nested too deeply") from error


def environment(environ: Mapping[str, str]) -> Iterable[Layer]:
    """``MAYFLY_HOST__KEY`` as one layer a variable; other ``MAYFLY_`` names are not configuration."""
    for name in sorted(environ):
        if name.startswith(ENV_HOST):
            yield Layer(f"${name}", {"host": {name.removeprefix(ENV_HOST).lower(): environ[name]}})


def merge(layers: Iterable[Layer]) -> Merged:
    """Tables merge, scalars and arrays replace, ``[[pool]]`` entries are joined by ``name``."""
    merged = Merged()
    for layer in layers:
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
    for entry in entries:
        name = entry.get("name")
        known = isinstance(name, str) and name not in seen
        places = [i for i, pool in enumerate(pools) if known and pool.get("name") == name]
        seen.add(name if isinstance(name, str) else None)
        if not places:
            pools.append({})
            merged.origins[("pool", len(pools) - 1)] = origin
        place = places[0] if places else len(pools) - 1
        for key, value in entry.items():
            _put(merged, pools[place], ("pool", place), key, value, origin)


def _put(merged: Merged, table: Tree, where: Where, key: str, value: object, origin: str) -> None:
    here = (*where, key)
    if isinstance(value, dict):
        inner = table.get(key)
        if not isinstance(inner, dict):
            inner = table[key] = {}
        merged.origins[here] = origin
        for inner_key, inner_value in value.items():
            _put(merged, inner, here, inner_key, inner_value, origin)
        return
    table[key] = value
    merged.origins[here] = origin
