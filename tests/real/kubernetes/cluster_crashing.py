"""`mayfly run` on a cluster that kills itself at a named point, or to whom the way into a gate is cut there.

    python tests/real/kubernetes/cluster_crashing.py POINT FILE    (configured by MAYFLY_CONFIG)

The points lie on our own seams, as those of `tests/chaos/crashing.py` do. Each time that one is met its name
becomes a line of a file, just before the manager dies, or just after the way was cut.
"""

from __future__ import annotations

import itertools
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mayfly.edge.faults import Passing
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.sockets import IN, Streams
from tests.chaos import crashing
from tests.chaos.crashing import die

GATE = "opening the gate"  # what a connection to a gate is for, in its own words
Bytes = Callable[[bytes], int]  # how many of a frame's are sent
# Where a frame can break off: before it, in its first line, after that, in the rest, at its end.
CUTS: Mapping[str, Bytes] = {
    "no byte": lambda data: 0,
    "one byte": lambda data: 1,
    "half of the line": lambda data: data.index(b"\n") // 2,
    "all but the line's end": lambda data: data.index(b"\n"),
    "the line": lambda data: data.index(b"\n") + 1,
    "half of the frame": lambda data: data.index(b"\n") + (len(data) - data.index(b"\n")) // 2,
    "all but a byte": lambda data: len(data) - 1,
    "all of it": len,
}


def met(point: str, place: str) -> None:
    """Write down that it was."""
    with Path(place).open("a", encoding="utf-8") as file:
        file.write(f"{point}\n")


def around(method: str, *, after: bool) -> None:
    """Die just before, or just after, a step of the engine's."""
    asked = getattr(KubernetesEngine, method)

    def dying(self: KubernetesEngine, *args: Any, **more: Any) -> Any:
        if not after:
            die()
        asked(self, *args, **more)
        die()

    setattr(KubernetesEngine, method, dying)


def in_gate(much: Bytes, cut: Callable[[], None] | None = None) -> None:
    """When that much of a frame has been sent die, or lose every second connection and call ``cut``."""
    send, turns = Streams.send, itertools.count()

    def broken(self: Streams, data: bytes, stream: int = IN) -> None:
        if not self._doing.startswith(GATE) or (cut is not None and next(turns) % 2):
            send(self, data, stream)
            return
        if part := data[: much(data)]:
            send(self, part, stream)
        if cut is None:
            die()
        self._sock.shutdown(socket.SHUT_RDWR)
        cut()
        raise Passing(f"{self._doing}: the connection was cut")

    Streams.send = broken  # type: ignore[method-assign]


# Those that every engine has, and in the order in which a pod's life passes them its own.
DEATHS: Mapping[str, Callable[[], None]] = {
    **{name: point for name, point in crashing.POINTS.items() if name.startswith(("before ", "after "))
       and "byte" not in name},
    "pod asked for": lambda: around("_runs_soon", after=False),
    "pod runs": lambda: around("_runs_soon", after=True),
    "attached": lambda: in_gate(CUTS["no byte"]),
    "half of a frame sent": lambda: in_gate(CUTS["half of the frame"]),
    "a frame sent": lambda: in_gate(CUTS["all of it"]),
    "gate open": lambda: around("_acknowledged", after=True),
}  # fmt: skip
WAYS_CUT: Mapping[str, Bytes] = {f"cut after {name}": much for name, much in CUTS.items()}
POINTS = (*DEATHS, *WAYS_CUT)


if __name__ == "__main__":
    name, noted = sys.argv[1], partial(met, *sys.argv[1:3])
    if name in WAYS_CUT:
        in_gate(WAYS_CUT[name], noted)
    else:
        crashing.before_death.append(noted)
        DEATHS[name]()
    from mayfly.cli.app import main

    sys.argv = ["mayfly", "run"]
    main()
