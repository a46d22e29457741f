"""Looks at what agents mount when asked, on a thread of its own: no gate is to wait for the Engine's answer.

Asking again while it looks makes it look once more, never twice at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mayfly.core.model import Config
from mayfly.core.mounts import paths
from mayfly.core.stimuli import MountsSeen
from mayfly.edge.mounted import MountedPaths
from mayfly.service.bugs import Bug, bug


class MountObserver:
    """Looks when asked; ``send`` receives what was seen."""

    def __init__(
        self,
        config: Callable[[], Config],
        mounted: MountedPaths,
        send: Callable[[MountsSeen | Bug], None],
    ) -> None:
        self._config = config
        self._mounted = mounted
        self._send = send
        self._asked = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="mount-observer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look under way."""
        self._stopping = True
        self._asked.set()

    def look(self) -> None:
        """Look soon."""
        self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._stopping:
                return
            try:
                wanted = [path for pool in self._config().pools for path in paths(pool)]
                self._send(MountsSeen(self._mounted.look(wanted)))
            except Exception as error:  # noqa: BLE001  a bug in here must not keep every gate shut
                self._send(bug("a look at what agents mount", error))
