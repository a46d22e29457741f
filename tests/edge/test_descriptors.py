"""File descriptors: asked for at the start, counted, and what is told where none is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

# A process that may have 64, uses them up, asks an Engine and a history for something, and gives them back.
STORY = """
import json, os, resource, sys
from pathlib import Path
from mayfly.edge.descriptors import descriptors, raise_limit
from mayfly.edge.faults import Passing
from mayfly.edge.history import History
from mayfly.engines.docker.faults import unreachable
from mayfly.service.report import Ground, own_health

home = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 64))
raise_limit()
told = {"limit": descriptors().limit, "before": descriptors().few_left}
kept = []
while True:
    try:
        kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        told["engine"] = str(unreachable("unix:///e.sock", "listing", error))
        break
told["full"] = descriptors().few_left
told["conditions"] = [
    [one.code, one.text, one.fix] for one in own_health(Ground(descriptors=descriptors()))
]
try:
    History(home)
except Passing as fault:
    told["history"] = str(fault)
for descriptor in kept:
    os.close(descriptor)
told["after"] = [one.code for one in own_health(Ground(descriptors=descriptors()))]
print(json.dumps(told))
"""


def test_a_manager_that_has_none_left_says_so_wherever_it_is_stopped_by_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", STORY, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["limit"], told["before"], told["full"], told["after"]) == (64, False, True, [])
    ((code, text, fix),) = told["conditions"]
    assert code == "manager.descriptors"
    assert "of 64 file descriptors" in text
    assert fix.startswith("sudo prlimit --pid ")
    assert "too many files are open" in told["engine"]
    assert "no file descriptor left" in told["history"]
