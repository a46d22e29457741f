"""``python -m mayfly.engines.docker.gateway STATE_DIR ENGINE_SOCKET``: what ``mayfly gateway`` becomes.

A process that stays: it has read no configuration, and loads no library for one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mayfly.engines.docker.gateway.process import run

if __name__ == "__main__":
    state_dir, engine = sys.argv[1:]
    sys.exit(run(Path(state_dir), engine))
