"""Keys by which something was said once: those of a provider in the pool itself, and those renamed since.

For each there is one sentence that says the new line. Nothing of a value is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Merged, Tree, Where

# Keys of a pool that have another name now.
RENAMED = {"keep_failed": "hold_failed"}


@dataclass
class Lifted:
    """A tree in which every provider's keys stand in its table."""

    tree: Tree
    # where a key stands now, and where it was written
    moved: dict[Where, Where] = field(default_factory=dict)
    # an old key, and the sentence that says the new line
    old: list[tuple[Where, str]] = field(default_factory=list)
    wrong: list[tuple[Where, str]] = field(default_factory=list)

    def written(self, where: Where) -> Where:
        """Where something was written that stands there now."""
        for length in range(len(where), 0, -1):
            if where[:length] in self.moved:
                return (*self.moved[where[:length]], *where[length:])
        return where


def lift(merged: Merged, providers: Mapping[str, ProviderKeys], default: str) -> Lifted:
    """The merged tree with old keys in their tables; ``default`` is a pool's provider that names none."""
    pools = merged.tree.get("pool")
    if not isinstance(pools, list):
        return Lifted(merged.tree)
    lifted = Lifted({**merged.tree})
    every = {key for keys in providers.values() for key in keys.flat}
    lifted.tree["pool"] = [
        _pool(lifted, ("pool", index), pool, providers, default, every)
        if isinstance(pool, dict)
        else pool
        for index, pool in enumerate(pools)
    ]
    return lifted


def _pool(
    lifted: Lifted,
    here: Where,
    pool: Tree,
    providers: Mapping[str, ProviderKeys],
    default: str,
    every: set[str],
) -> Tree:
    said = pool.get("provider", default)
    own = providers.get(said) if isinstance(said, str) else None
    rest: Tree = {}
    table: Tree = {}
    for key, value in pool.items():
        if key in RENAMED:
            _rename(lifted, here, key, value, pool, rest)
        elif key in providers and own is not None and key != own.name and isinstance(value, dict):
            text = f"is a table of provider {key}, and this pool's is {own.name}"
            lifted.wrong.append(((*here, key), text))
        elif own is None:
            # That there is no such provider is told already.
            if key not in every and key != said:
                rest[key] = value
        elif key not in every:
            rest[key] = value
        elif key in own.flat:
            _place(lifted, here, key, value, own, pool, table)
        elif key in own.ignored:
            text = f"has no meaning with provider {own.name}: leave it out"
            lifted.old.append(((*here, key), text))
        else:
            lifted.wrong.append(((*here, key), _not_its_own(key, own, providers)))
    if own is not None and table:
        there = rest.get(own.name)
        rest[own.name] = _joined(there, table) if isinstance(there, dict) else table
    return rest


def _rename(lifted: Lifted, here: Where, key: str, value: Any, pool: Tree, rest: Tree) -> None:
    name, written = RENAMED[key], (*here, key)
    if name in pool:
        lifted.wrong.append((written, f"is said twice: as {name}, too, which is its name now"))
        return
    rest[name] = value
    lifted.moved[(*here, name)] = written
    lifted.old.append((written, f"is an old key: say {name}"))


def _place(
    lifted: Lifted, here: Where, key: str, value: Any, own: ProviderKeys, pool: Tree, table: Tree
) -> None:
    place = own.flat[key]
    name = ".".join(map(str, place))
    written = (*here, key)
    if _has(pool.get(own.name), place):
        lifted.wrong.append((written, f"is said twice: as {name} in [pool.{own.name}] too"))
        return
    inner = table
    for part in place[:-1]:
        inner = inner.setdefault(str(part), {})  # type: ignore[assignment]
    inner[str(place[-1])] = value
    lifted.moved[(*here, own.name, *place)] = written
    text = (
        f"is an old key: say {name} in [pool.{own.name}]; `mayfly config migrate --write` does it"
    )
    lifted.old.append((written, text))


def _has(table: object, place: Where) -> bool:
    for part in place:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _joined(there: Tree, more: Tree) -> Tree:
    joined = {**there}
    for key, value in more.items():
        before = joined.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        joined[key] = {**before, **value} if both else value  # type: ignore[dict-item]
    return joined


def _not_its_own(key: str, own: ProviderKeys, providers: Mapping[str, ProviderKeys]) -> str:
    if own.embedded:
        return f"belongs to a service; provider {own.name}, the embedded queue, has none"
    return f"belongs to provider {', '.join(_owners(key, providers))}"


def _owners(key: str, providers: Mapping[str, ProviderKeys]) -> Iterator[str]:
    return (name for name, keys in providers.items() if key in keys.flat)
