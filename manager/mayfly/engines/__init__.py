"""The engines: what runs containers, one package each, behind one protocol.

``load`` finds them: Mayfly's own, and those of other packages by the entry point ``mayfly.engines``. What
that names is called with the address and ``timeout`` (seconds), and gives an ``engines.protocol.Engine``.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from mayfly.edge.faults import Refused

if TYPE_CHECKING:
    from mayfly.core.model import HostSpec
    from mayfly.engines.protocol import Engine

GROUP = "mayfly.engines"
OWN = {
    "docker": "mayfly.engines.docker.engine:DockerEngine",
    "simulated": "mayfly.engines.simulated.engine:SimulatedEngine",  # in memory, for tests
}
TIMEOUT = 30.0  # seconds of a call, unless said otherwise


def load(host: HostSpec, *, timeout: float = TIMEOUT) -> Engine:
    """The engine that the configuration names, at its address; ``Refused`` where none has that name."""
    return _maker(host.engine)(host.docker_host, timeout=timeout)


def names() -> tuple[str, ...]:
    """The engines that are installed here."""
    return tuple(sorted({*OWN, *(point.name for point in entry_points(group=GROUP))}))


def _maker(name: str) -> Callable[..., Engine]:
    place = OWN.get(name)
    if place is not None:
        module, _, attribute = place.partition(":")
        return cast("Callable[..., Engine]", getattr(import_module(module), attribute))
    for point in entry_points(group=GROUP, name=name):
        return cast("Callable[..., Engine]", point.load())
    near = get_close_matches(name, names(), 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names())}"
    raise Refused(f'host.engine: there is no engine "{name}"; {hint}')
