"""``mayfly status`` from the shell, beside a bare Python and ``docker ps``; and the manager's part of it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.control import Control
from tests.bench.figures import Figure, Goal, median, p95
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager

TIMES = 25


def status_figures(manager: Manager, engine: PrivateEngine, times: int = TIMES) -> list[Figure]:
    """Wall times of the installed command, of a Python that does nothing, of ``docker ps``."""
    mayfly = str(Path(sys.executable).with_name("mayfly"))
    environment = manager.environment()
    control = Control(manager.home / "s")
    tries: dict[str, Callable[[], object]] = {
        "status": lambda: _run([mayfly, "status"], environment),
        "version": lambda: _run([mayfly, "--version"], environment),
        "python": lambda: _run([sys.executable, "-c", "pass"], environment),
        "docker": lambda: _run(["docker", "-H", engine.url, "ps"], environment),
        "manager": lambda: control.ask("GET", "/v1/status"),
    }
    taken: dict[str, list[float]] = {name: [] for name in tries}
    for number in range(times + 2):
        for name, run in tries.items():
            began = time.perf_counter()
            run()
            if number > 1:
                taken[name].append(time.perf_counter() - began)
    python, docker = median(taken["python"]), median(taken["docker"])
    return [
        Figure(
            name="status_seconds",
            what="mayfly status",
            value=median(taken["status"]),
            unit="s",
            goal=Goal(4, of_ratio=True),
            beside="docker ps",
            beside_value=docker,
            p95=p95(taken["status"]),
            n=times,
        ),
        Figure(
            name="status_in_manager_seconds",
            what="  of it in the manager (one request)",
            value=median(taken["manager"]),
            unit="s",
            goal=Goal(0.01),
            p95=p95(taken["manager"]),
            n=times,
        ),
        Figure(
            name="start_up_seconds",
            what="mayfly --version",
            value=median(taken["version"]),
            unit="s",
            beside="python -c pass",
            beside_value=python,
            p95=p95(taken["version"]),
            n=times,
        ),
    ]


def _run(words: list[str], environment: dict[str, str]) -> None:
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=True)
