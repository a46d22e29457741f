"""The gateway of a manager in a test, by its verb and the manager's configuration, as its unit runs it.

It runs where the networks of the private Engine are reached: a container's published port is carried by it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness import PATIENCE, Manager, ask, until

if TYPE_CHECKING:
    from tests.engine.private_engine import PrivateEngine

ROOT = Path(__file__).parents[2]


class Gateway:
    """One gateway process after another over the state of one manager."""

    def __init__(self, engine: PrivateEngine, manager: Manager) -> None:
        self._engine = engine
        self._manager = manager
        self._log = manager.home / "gateway.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended since."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._manager.state.mkdir(mode=0o700, exist_ok=True)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "nsenter",
                    f"--net={self._engine.namespace}",
                    *(sys.executable, "-m", "mayfly.cli.app", "gateway"),
                ],
                cwd=ROOT,
                env={**self._manager.environment(), "PYTHONPATH": str(ROOT / "manager")},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._serves, "the gateway serves")

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Send it a signal and wait for its end; nothing where none runs."""
        if self.process is not None:
            self.process.send_signal(sig)
            self.process.wait(PATIENCE)
            self.process = None

    def log(self) -> str:
        """All that gateways have said here."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _serves(self) -> bool:
        assert self.runs, self.log()
        try:
            return ask(self._manager.state / "gateway/control.sock", "GET", "/v1/health")[0] == 200
        except OSError:
            return False
