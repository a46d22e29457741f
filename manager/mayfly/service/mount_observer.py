"""Looks at what agents mount when asked, on a thread of its own: no gate is to wait for the Engine's answer.

Asking again while it looks makes it look once more, never twice at once.
"""

from __future__ import annotations

from collections.abc import Callable

from mayfly.core.capabilities import Capabilities
from mayfly.core.model import Config
from mayfly.core.stimuli import MountsSeen
from mayfly.edge.mounted import MountedPaths
from mayfly.service.asked import Asked
from mayfly.service.bugs import Bug, bug
from mayfly.service.engine_observer import looked_at_mounts


class MountObserver:
    """Looks when asked; ``send`` receives what was seen."""

    def __init__(
        self,
        config: Callable[[], Config],
        engine: Callable[[], Capabilities],
        mounted: MountedPaths,
        send: Callable[[MountsSeen | Bug], None],
    ) -> None:
        self._config = config
        self._engine = engine
        self._mounted = mounted
        self._send = send
        self._asked = Asked("mount-observer", self._look)
        self.start, self.stop = self._asked.start, self._asked.stop

    def look(self) -> None:
        """Look soon."""
        self._asked.ask()

    def _look(self) -> None:
        try:
            self._send(MountsSeen(looked_at_mounts(self._config(), self._engine(), self._mounted)))
        except Exception as error:  # noqa: BLE001  a bug in here must not keep every gate shut
            self._send(bug("a look at what agents mount", error))
