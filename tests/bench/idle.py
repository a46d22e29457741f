"""What a manager with 64 idle slots costs: processor time by the kernel's account, and resident memory."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.bench.command_line import status_figures
from tests.bench.control import Control
from tests.bench.figures import Figure, Goal
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until

SLOTS = 64
SETTLE = 10.0
WINDOW = 60.0
# As systemd starts it: a copy of the tests' own process has every verb in memory.
MAYFLY = str(Path(sys.executable).with_name("mayfly"))
POOL = f'[[pool]]\nname = "local"\nprovider = "local"\nslots = {SLOTS}\nstandby = true\n'


def measure(engine: PrivateEngine) -> list[Figure]:
    """Share of a core and MiB, with every slot idle; then the status of so many slots."""
    with Manager(engine.url, POOL) as manager:
        began = time.monotonic()
        manager.start(MAYFLY, "run", wait=None)
        until((manager.home / "s").exists, "the control socket is there")
        control = Control(manager.home / "s")
        until(lambda: _all_idle(control), f"{SLOTS} slots are idle", 240)
        filled = time.monotonic() - began
        time.sleep(SETTLE)
        assert manager.process is not None
        pid = manager.process.pid
        before, start = _seconds(pid), time.monotonic()
        time.sleep(WINDOW)
        share = (_seconds(pid) - before) / (time.monotonic() - start)
        figures = [
            Figure(
                name=f"manager_cpu_{SLOTS}_idle",
                what=f"manager, {SLOTS} idle slots: of a core",
                value=share * 100,
                unit="%",
                goal=Goal(0.1),
                more={"seconds_to_fill": round(filled, 1)},
            ),
            Figure(
                name=f"manager_rss_{SLOTS}_idle",
                what=f"manager, {SLOTS} idle slots: resident",
                value=resident(pid),
                unit="MiB",
                goal=Goal(64),
            ),
        ]
        return figures + status_figures(manager, engine)


def _all_idle(control: Control) -> bool:
    try:
        rows = control.ask("GET", "/v1/status")["slots"]
    except (AssertionError, OSError):  # it starts
        control.close()
        return False
    time.sleep(0.3)
    return all(row["phase"] == "idle" for row in rows)


def _seconds(pid: int) -> float:
    """User and system time of all its threads (proc(5), stat, fields 14 and 15)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB that the process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"no VmRSS of {pid}")
