"""A registry beside a private Engine: Debian's docker-registry, on the loopback of the Engine's own network.

    with PrivateEngine() as engine, Registry(engine) as registry:
        engine.docker("push", f"{registry.address}/lab/agent:1")

The Engine speaks plain HTTP to 127.0.0.1 by itself, and to another address (``at``) where its settings
say so. With ``locked`` it wants the user ``lab`` and the password ``secret``.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.harness import until

if TYPE_CHECKING:
    from tests.engine.private_engine import PrivateEngine

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"
USER, PASSWORD = "lab", "secret"
# bcrypt of the password, of few rounds: the registry takes no other
HASH = "$2b$04$GMiU5ZMmO.5WWx2SOdhtYecVVqUFtQEphpQPAhJgXe2SVEAW.fELa"
_PORTS = itertools.count(5000)  # nothing else listens in that network
CONFIG = """
version: 0.1
storage: {{ filesystem: {{ rootdirectory: {home}/data }} }}
http: {{ addr: "{address}" }}
"""
LOCK = "auth: {{ htpasswd: {{ realm: lab, path: {home}/htpasswd }} }}\n"


class Registry:
    """One registry; a context manager that starts it, waits until it listens, and ends it."""

    def __init__(self, engine: PrivateEngine, *, locked: bool = False, at: str = LOOPBACK) -> None:
        self.address = f"{at}:{next(_PORTS)}"
        self._engine = engine
        self._home = engine.home / self.address.replace(":", "-")
        self._home.mkdir()
        (self._home / "htpasswd").write_text(f"{USER}:{HASH}\n")
        text = CONFIG + (LOCK if locked else "")
        (self._home / "config.yml").write_text(text.format(home=self._home, address=self.address))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        made = subprocess.run(
            [ROOT / "scripts/registry"], capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
        log = self._home / "log"
        with log.open("wb") as file:
            self._process = self._engine.beside(
                made.stdout.strip(), "serve", str(self._home / "config.yml"), output=file
            )
        until(lambda: "listening on" in log.read_text(), f"the registry listens:\n{log}")
        return self

    def freeze(self) -> None:
        """Stop it in its tracks: it accepts connections and never answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
