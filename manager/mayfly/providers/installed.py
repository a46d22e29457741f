"""Which providers there are: Mayfly's own packages, and those that others have installed beside it.

Another's is found by its entry point in the group ``mayfly.providers``, which names a ``Package``. Nothing of
a provider but its description is imported here.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from mayfly import providers
from mayfly.core.model import HostId, HostSpec, PoolSpec
from mayfly.edge.faults import Refused
from mayfly.providers import Package, Provider

GROUP = "mayfly.providers"


@cache
def packages() -> dict[str, Package]:
    """Every provider by name: the embedded queue first, then the services."""
    own = [
        import_module(f"{providers.__name__}.{module.name}").PACKAGE
        for module in pkgutil.iter_modules(providers.__path__)
        if module.ispkg
    ]
    found: dict[str, Package] = {package.name: package for package in own}
    for entry in entry_points(group=GROUP):
        package = entry.load()
        found.setdefault(package.name, package)
    return dict(sorted(found.items(), key=lambda item: (not item[1].embedded, item[0])))


def package(name: str) -> Package | None:
    """The provider of that name; ``None`` where there is none."""
    return packages().get(name)


def left_behind(state_dir: Path) -> tuple[PoolSpec, ...]:
    """Pools that something at a service is remembered for, as far as is remembered.

    Their providers can clear up, and nothing else.
    """
    return tuple(pool for one in packages().values() for pool in one.left_behind(state_dir))


def load(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of a pool; ``Refused`` where there is none of that name.

    ``host_id`` marks what is ours at the service.
    """
    found = package(pool.provider)
    if found is None:
        raise Refused(
            f'pool "{pool.name}": there is no provider "{pool.provider}" in this version; '
            f"it has {', '.join(packages())}"
        )
    return found.make(pool, host, host_id, state_dir)
