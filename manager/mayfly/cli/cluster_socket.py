"""`--context NAME`: the control socket of a manager that is a pod, reached as a person reaches a cluster.

By an exec beside the manager for each connection (``cli/relay.py``), whose streams are the connection: no
port is opened, and who may do so is the cluster's own to say. What goes wrong before a connection stands is
a ``Trouble`` in one sentence: no such context, no such pod, no right to either.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from shlex import quote
from typing import Any

from mayfly.cli.relay import GREETING
from mayfly.cli.trouble import Denied, Down, Trouble, Usage
from mayfly.core.plain_text import clean
from mayfly.edge.faults import Fault, Refused
from mayfly.engines.kubernetes import sockets
from mayfly.engines.kubernetes.access import Access, of_context
from mayfly.engines.kubernetes.api import Api, NotLet

NAMESPACE = "mayfly"  # of a context that names none
CONTAINER = "manager"
LABELS = "app.kubernetes.io/name=mayfly,app.kubernetes.io/component=manager"
RELAY = ("python3", "-m", "mayfly.cli.relay")
SECONDS = 15.0
RIGHTS = "ask whoever runs the cluster for list of pods and get and create of pods/exec in that namespace"


def connected(context: str, timeout: float) -> socket.socket:
    """A connection to the manager in that context's namespace; every failure is a ``Trouble``."""
    access, namespace = _reached(context)
    pod = _pod(context)
    doing = f"entering pod {pod} in namespace {namespace} of context {context}"
    query = [("container", CONTAINER), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in RELAY]
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
    try:
        streams = sockets.connect(access, path, query, doing)
        ahead = _greeted(streams, doing)
    except Fault as fault:
        raise _trouble(fault, context) from fault
    here, there = socket.socketpair()
    here.settimeout(timeout)
    threading.Thread(target=_carry, args=(there, streams, ahead), daemon=True).start()
    return here


@cache
def _reached(context: str) -> tuple[Access, str]:
    """How, and in which namespace."""
    try:
        access, namespace = of_context(context, os.environ)
    except Refused as fault:
        raise Usage(f"--context {context}: {fault}") from fault
    return access, namespace or NAMESPACE


@cache
def _pod(context: str) -> str:
    """What the manager's pod is called; it is asked for once in a command's life."""
    access, namespace = _reached(context)
    where = f"namespace {namespace} of context {context}"
    api = Api(access, timeout=SECONDS)
    try:
        said = api.call(
            "GET",
            f"/api/v1/namespaces/{namespace}/pods",
            f"looking for the manager in {where}",
            query={"labelSelector": LABELS},
        )
    except Fault as fault:
        raise _trouble(fault, context) from fault
    finally:
        api.close()
    pods: list[Mapping[str, Any]] = said.get("items") or []
    if not pods:
        raise Down(
            f"no manager is in {where}: no pod there has the labels {LABELS}; is it another context, or "
            "another namespace of it?"
        )
    for pod in pods:
        if "running" in _state(pod):
            return str(pod["metadata"]["name"])
    name = str(pods[0]["metadata"]["name"])
    raise Down(
        f"the manager's pod {name} in {where} does not run: {_why_not(pods[0])}\n"
        f"  look at it: kubectl --context {quote(context)} --namespace {quote(namespace)} describe pod {name}"
    )


def _state(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of its container: running, waiting or terminated."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        if one.get("name") == CONTAINER:
            found: Mapping[str, Any] = one.get("state") or {}
            return found
    return {}


def _why_not(pod: Mapping[str, Any]) -> str:
    """In the cluster's own words."""
    status = pod.get("status") or {}
    of_pod = [one for one in status.get("conditions") or () if one.get("type") == "PodScheduled"]
    for one in (*_state(pod).values(), *of_pod):
        words = [str(one[key]) for key in ("reason", "message") if one.get(key)]
        if words:
            return clean(": ".join(words))[:300]
    return str(status.get("phase"))


def _greeted(streams: sockets.Streams, doing: str) -> bytes:
    """What came behind the relay's first word; ``Down`` where it never came to that."""
    said, told = b"", b""
    last = time.monotonic() + SECONDS
    while (left := last - time.monotonic()) > 0:
        got = streams.receive(left)
        if got is None:
            break
        stream, data = got
        said, told = (said + data, told) if stream == sockets.OUT else (said, told + data)
        if said.startswith(GREETING):
            return said[len(GREETING) :]
    code = streams.exit_code
    streams.close()
    words = " ".join((told or said).decode(errors="replace").split())[:300]
    if code == Down.code:
        raise Down(f"the manager is not running: {words}")
    raise Trouble(f"{doing}: it did not come to the manager: {words or 'nobody says why'}")


def _carry(end: socket.socket, streams: sockets.Streams, ahead: bytes) -> None:
    """Between the client's end and the exec, until one of them is over."""
    looked = select.poll()
    looked.register(end, select.POLLIN)
    looked.register(streams.fileno(), select.POLLIN)
    with end, suppress(OSError, Fault):
        end.sendall(ahead)
        while True:
            while (got := streams.receive(0.0)) is not None:
                if got[0] == sockets.OUT:
                    end.sendall(got[1])
            if streams.over:
                break
            if streams.has_more():
                continue
            if any(ready == end.fileno() for ready, _ in looked.poll()):
                data = end.recv(sockets.PIECE)
                if not data:
                    break
                streams.send(data)
    streams.close()


def _asks(context: str) -> str:
    return f"kubectl --context {quote(context)} auth whoami"


def _trouble(fault: Fault, context: str) -> Trouble:
    match fault:
        case NotLet(known=True):
            return Denied(f"{fault.said}: {RIGHTS}")
        case NotLet():
            return Denied(f"{fault.said}: log in to it again; `{_asks(context)}` asks the same")
        case Refused():
            return Denied(str(fault))
        case _:  # whether the manager runs is not known
            return Trouble(str(fault))
