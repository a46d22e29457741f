"""Which providers there are: Mayfly's own packages, and those that others have installed beside it.

Another's is found by its entry point in the group ``mayfly.providers``, which names a ``Package``. Nothing of
a provider but its description is imported here. One that is broken is told where a pool asks for it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from mayfly import providers
from mayfly.core.model import HostId, HostSpec, PoolSpec
from mayfly.edge.faults import Refused
from mayfly.edge.plugins import Plugin, plugins
from mayfly.providers import Package, Provider

GROUP = "mayfly.providers"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Found:
    """What is installed here."""

    packages: Mapping[str, Package]  # the embedded queue first, then the services
    plugins: Mapping[str, Plugin]  # of others, by the provider's name
    broken: Mapping[str, str]  # by the provider's name, why it cannot be used
    hidden: tuple[str, ...]  # a sentence for each whose name is Mayfly's own


@cache
def found() -> Found:
    """All of it."""
    own: dict[str, Package] = {
        package.name: package
        for package in (
            import_module(f"{providers.__name__}.{module.name}").PACKAGE
            for module in pkgutil.iter_modules(providers.__path__)
            if module.ispkg
        )
    }
    others, hidden = plugins(GROUP, own)
    all_of_them, broken = dict(own), {}
    for name, plugin in others.items():
        try:
            all_of_them[name] = _package(plugin)
        except Refused as fault:
            broken[name] = str(fault)
    ordered = sorted(all_of_them.items(), key=lambda item: (not item[1].embedded, item[0]))
    return Found(dict(ordered), others, broken, hidden)


def _package(plugin: Plugin) -> Package:
    package = plugin.load()
    if not isinstance(package, Package):
        raise plugin.wrong(f"is no mayfly.providers.Package, but {type(package).__name__}")
    if package.name != plugin.name:
        raise plugin.wrong(f"describes a provider of another name, {package.name}")
    return package


def packages() -> Mapping[str, Package]:
    """Every provider that can be used, by name: the embedded queue first, then the services."""
    return found().packages


def package(name: str) -> Package | None:
    """The provider of that name; ``None`` where there is none."""
    return packages().get(name)


def left_behind(state_dir: Path) -> tuple[PoolSpec, ...]:
    """Pools that something at a service is remembered for, as far as is remembered.

    Their providers can clear up, and nothing else.
    """
    return tuple(pool for name in packages() for pool in _left_behind(name, state_dir))


def _left_behind(name: str, state_dir: Path) -> tuple[PoolSpec, ...]:
    one, plugin = packages()[name], found().plugins.get(name)
    if plugin is None:
        return one.left_behind(state_dir)
    try:
        return plugin.guarded(lambda: tuple(one.left_behind(state_dir)), "fails")
    except Refused:
        return ()  # the pools that use it are told more


def guarded(name: str, call: Callable[[], _T], otherwise: str) -> _T:
    """What the provider of that name gives; ``Refused`` where another's code raises anything but a fault."""
    plugin = found().plugins.get(name)
    return call() if plugin is None else plugin.guarded(call, otherwise)


def load(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of a pool; ``Refused`` where there is none of that name, or it cannot be made.

    ``host_id`` marks what is ours at the service.
    """
    one, plugin = package(pool.provider), found().plugins.get(pool.provider)
    if one is None:
        text = found().broken.get(pool.provider) or (
            f'there is no provider "{pool.provider}" in this version; it has {", ".join(packages())}'
        )
        raise Refused(f'pool "{pool.name}": {text}')
    if plugin is None:
        return one.make(pool, host, host_id, state_dir)
    made: object = plugin.guarded(
        lambda: one.make(pool, host, host_id, state_dir), f'cannot serve pool "{pool.name}"'
    )
    if not callable(getattr(made, "enrol", None)):
        raise plugin.wrong(f'makes no provider for pool "{pool.name}", but {type(made).__name__}')
    return made  # type: ignore[return-value]
