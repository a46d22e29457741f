"""The engines: what runs containers, one package each, behind one protocol.

``load`` finds them: Mayfly's own, and those of other packages by the entry point ``mayfly.engines``. What
that names is called with the address and ``timeout`` (seconds), and gives an ``engines.protocol.Engine``.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, cast

from mayfly.edge.extras import extra_line
from mayfly.edge.faults import Refused
from mayfly.edge.plugins import Plugin, plugins

if TYPE_CHECKING:
    from mayfly.core.model import HostSpec
    from mayfly.engines.protocol import Engine

GROUP = "mayfly.engines"
OWN = {
    "docker": "mayfly.engines.docker.engine:DockerEngine",
    "kubernetes": "mayfly.engines.kubernetes.engine:KubernetesEngine",
    "simulated": "mayfly.engines.simulated.engine:SimulatedEngine",
}
FOR_TESTS = frozenset({"simulated"})  # in memory
TIMEOUT = 30.0  # seconds of a call, unless said otherwise


def load(host: HostSpec, *, timeout: float = TIMEOUT) -> Engine:
    """The engine that the configuration names, at its address; ``Refused`` where none has that name."""
    if host.engine in OWN:
        where = host.docker_host if host.engine_settings is None else host.engine_settings
        return maker(host.engine)(where, timeout=timeout)
    try:
        return _made(host, timeout)
    except Refused as fault:
        raise Refused(f"host.engine: {fault}") from fault


def _made(host: HostSpec, timeout: float) -> Engine:
    """Another package's; ``Refused`` where it makes none."""
    make, plugin = maker(host.engine), _plugin(host.engine)
    assert plugin is not None
    made: object = plugin.guarded(
        lambda: make(host.docker_host, timeout=timeout), f"makes no engine at {host.docker_host}"
    )
    if not callable(getattr(made, "facts", None)):
        raise plugin.wrong(f"makes no engine, but {type(made).__name__}")
    return cast("Engine", made)


def names() -> tuple[str, ...]:
    """The engines that an operator can choose here."""
    return tuple(sorted({*OWN, *plugins(GROUP, OWN)[0]} - FOR_TESTS))


def unusable(chosen: str) -> tuple[str, ...]:
    """A sentence for each package that is installed as an engine and is none, without the chosen one."""
    others, hidden = plugins(GROUP, OWN)
    told = []
    for name in others.keys() - {chosen}:
        try:
            maker(name)
        except Refused as fault:
            told.append(str(fault))
    return (*sorted(told), *hidden)


def maker(name: str) -> Callable[..., Engine]:
    """What makes the engine of that name; ``Refused`` where there is none, or it is broken."""
    place = OWN.get(name)
    if place is not None:
        module, _, attribute = place.partition(":")
        try:
            return cast("Callable[..., Engine]", getattr(import_module(module), attribute))
        except ImportError as error:
            raise Refused(
                f"engine {name} needs more packages ({error.name}): `{extra_line(name)}`"
            ) from error
    plugin = _plugin(name)
    if plugin is not None:
        found = plugin.load()
        if not callable(found):
            raise plugin.wrong(f"cannot be called: it is {type(found).__name__}")
        return cast("Callable[..., Engine]", found)
    near = get_close_matches(name, names(), 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names())}"
    raise Refused(f'there is no engine "{name}"; {hint}')


def _plugin(name: str) -> Plugin | None:
    return plugins(GROUP, OWN)[0].get(name)
