"""`mayfly run` on a cluster that kills itself at a named point, or to whom the way into a gate is cut there.

    python tests/real/kubernetes/cluster_crashing.py POINT     (the configuration comes from MAYFLY_CONFIG)

The points lie on our own seams, as those of `tests/chaos/crashing.py` do.
"""

from __future__ import annotations

import itertools
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from mayfly.edge.faults import Passing
from mayfly.engines.kubernetes.engine import KubernetesEngine
from mayfly.engines.kubernetes.sockets import IN, Streams
from tests.chaos import crashing
from tests.chaos.crashing import die

GATE = "opening the gate"  # what a connection to a gate is for, in its own words


def around(method: str, *, after: bool) -> None:
    """Die just before, or just after, a step of the engine's."""
    asked = getattr(KubernetesEngine, method)

    def dying(self: KubernetesEngine, *args: Any, **more: Any) -> Any:
        if not after:
            die()
        asked(self, *args, **more)
        die()

    setattr(KubernetesEngine, method, dying)


def in_gate(share: float, *, cut: bool = False) -> None:
    """When this share of a frame's bytes has been sent die, or (``cut``) lose every second connection."""
    send, turns = Streams.send, itertools.count()

    def broken(self: Streams, data: bytes, stream: int = IN) -> None:
        if not self._doing.startswith(GATE) or (cut and next(turns) % 2):
            send(self, data, stream)
            return
        if share:
            send(self, data[: int(len(data) * share)], stream)
        if not cut:
            die()
        self._sock.shutdown(socket.SHUT_RDWR)
        raise Passing(f"{self._doing}: the connection was cut")

    Streams.send = broken  # type: ignore[method-assign]


# Those that every engine has, and in the order in which a pod's life passes them its own.
POINTS: Mapping[str, Callable[[], None]] = {
    **{name: point for name, point in crashing.POINTS.items() if name.startswith(("before ", "after "))
       and "byte" not in name},
    "pod asked for": lambda: around("_runs_soon", after=False),
    "pod runs": lambda: around("_runs_soon", after=True),
    "attached": lambda: in_gate(0.0),
    "half of a frame sent": lambda: in_gate(0.5),
    "a frame sent": lambda: in_gate(1.0),
    "gate open": lambda: around("_acknowledged", after=True),
    "cut before a frame": lambda: in_gate(0.0, cut=True),
    "cut in a frame's line": lambda: in_gate(0.02, cut=True),
    "cut in a frame": lambda: in_gate(0.5, cut=True),
    "cut after a frame": lambda: in_gate(1.0, cut=True),
}  # fmt: skip


if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    from mayfly.cli.app import main

    sys.argv = ["mayfly", "run"]
    main()
