"""Which ports a container's creation publishes: on the loopback of its job, never on the host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.core.admission.keys import Key, read_keys, text
from mayfly.core.admission.outcome import Refused
from mayfly.core.admission.ports import MOST, Published, port_of
from mayfly.core.admission.request import shown

ANYWHERE = ("", "0.0.0.0", "127.0.0.1", "::", "::1", "localhost")  # noqa: S104  all mean the job's own loopback
BINDING = (
    Key("HostIp", "the job's loopback, whatever it says; no other address", text),
    Key("HostPort", "a port of the job's loopback; none or 0: one that is free", text),
)


def published(host: Mapping[str, Any], exposed: Iterable[str]) -> tuple[Published, ...]:
    """The ports; ``exposed`` is what the container and its image say, for who publishes all of it."""
    found: dict[Published, None] = {}
    for name, bindings in (host.get("PortBindings") or {}).items():
        where = f"HostConfig.PortBindings.{shown(name)[1:-1]}"
        if not isinstance(bindings, list | None):
            raise Refused(f"{where} has to be a list", 400)
        port = _tcp(name, where)
        for binding in bindings or [{}]:
            found[Published(port, _at(read_keys(binding, BINDING, f"{where}."), where))] = None
    named = {one.port for one in found}
    if host.get("PublishAllPorts"):
        for name in exposed:
            read = port_of(name)
            if read is not None and read[1] == "tcp" and read[0] not in named:
                found[Published(read[0])] = None
    at = [one.at for one in found if one.at]
    if len(set(at)) != len(at):
        raise Refused("HostConfig.PortBindings publishes two ports at one", 400)
    if len(found) > MOST:
        raise Refused(f"HostConfig.PortBindings publishes more than {MOST} ports")
    return tuple(found)


def _tcp(name: str, where: str) -> int:
    read = port_of(name)
    if read is None:
        raise Refused(f"{where} is no port", 400)
    if read[1] != "tcp":
        raise Refused(
            f"{where} is refused: only TCP is published; a container of the job reaches another's UDP by "
            "its name in their network"
        )
    return read[0]


def _at(binding: Mapping[str, Any], where: str) -> int:
    address, port = binding.get("HostIp") or "", binding.get("HostPort") or "0"
    if address not in ANYWHERE:
        raise Refused(
            f"{where}: address {shown(address)} is refused: a job publishes on its loopback"
        )
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise Refused(f"{where}: {shown(port)} has to be one port", 400)
    return int(port)
