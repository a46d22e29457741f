"""A daemon whose configuration says the opposite of everything: agents are as on one that says nothing.

But for the runtime, which a daemon's `default-runtime` chooses for every container that needs no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import Ulimit
from tests.engine.agents import Agents
from tests.engine.private_engine import PrivateEngine, version, why_not

LOOK = """
grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status
cat /proc/self/limits
df -B1 --output=size /dev/shm | tail -1
cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null
tr '\\0' ' ' </proc/1/cmdline
"""
OPPOSITE: dict[str, Any] = {
    "no-new-privileges": True,
    "default-ulimits": {
        "nofile": {"Name": "nofile", "Soft": 128, "Hard": 128},
        "memlock": {"Name": "memlock", "Soft": 4096, "Hard": 4096},
        "nproc": {"Name": "nproc", "Soft": 77, "Hard": 77},
        "core": {"Name": "core", "Soft": 1, "Hard": 1},
        "stack": {"Name": "stack", "Soft": 1048576, "Hard": 1048576},
    },
    "default-shm-size": "8M",
    "default-runtime": "nvidia",
    "default-ipc-mode": "shareable",
    "log-driver": "local",  # its options are of containers that name the same driver
    "log-opts": {"mode": "non-blocking", "max-size": "1m", "max-file": "1", "compress": "true"},
}
SAID = (
    "SecurityOpt",
    "IpcMode",
    "CgroupnsMode",
    "PidsLimit",
    "ShmSize",
    "Init",
    "LogConfig",
)


@pytest.fixture
def opposite(tmp_path: Path) -> Iterator[PrivateEngine]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    settings = dict(OPPOSITE)
    second = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    settings["default-cgroupns-mode"] = "host" if second else "private"
    if version() >= (23,):  # before, what this key says cannot be taken back
        profile = tmp_path / "any-call"
        profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
        settings["seccomp-profile"] = str(profile)
    with PrivateEngine(settings=settings) as engine:
        yield engine


def seen(engine: PrivateEngine, runtime: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    """What a container of that plan sees inside, and what the Engine has noted of it but for its runtime."""
    with Agents(engine.url) as agents:
        cid = agents.engine.create(agents.plan(LOOK, **changes))
        noted = json.loads(engine.docker("inspect", "--format", "{{json .HostConfig}}", cid))
        assert noted["Runtime"] == runtime
        return engine.docker("start", "--attach", cid), {name: noted[name] for name in SAID}


def test_a_daemon_that_says_the_opposite_of_each_thing_changes_nothing(
    worker_engine: PrivateEngine, opposite: PrivateEngine
) -> None:
    for forbidden in (True, False):
        changes = {"no_new_privileges": forbidden, "pids": 99}
        inside, noted = seen(worker_engine, "runc", **changes)
        assert f"NoNewPrivs:\t{int(forbidden)}" in inside
        assert seen(opposite, "nvidia", **changes) == (inside, noted)
    # What a pool says comes before what the manager has itself.
    inside, _ = seen(
        opposite, "nvidia", ulimits={"nofile": Ulimit(1000, 2000), "core": Ulimit(0, 0)}
    )
    limits = dict(re.findall(r"^(Max .*?) {2,}(\S+ +\S+)", inside, re.MULTILINE))
    assert limits["Max open files"].split() == ["1000", "2000"]
    assert limits["Max core file size"].split() == ["0", "0"]
