"""Jobs that are held, from outside: a real manager and Engine, NVML's stub, a stand-in NVIDIA runtime."""

from __future__ import annotations

import grp
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import PLACE, NvidiaRuntime
from tests.fakes.nvml import Hardware, uuid
from tests.harness import until

pytestmark = pytest.mark.engine

POOL = """
[[pool]]
name = "gpu"
slots = 1
gpus = 1
image = "mayfly/local:cpu"
network = "none"
hold_failed = "30m"
env = { COLOUR = "blue" }
"""
MAYFLY = (sys.executable, "-m", "mayfly.cli.app")
# A job that leaves a file, a process and what it was told, says which GPU it has, and fails.
FAILS = f"sleep 700 & echo why >clue; echo $TOKEN >/dev/shm/secret; {PLACE}/nvidia-smi -L; exit 3"
# Another person of the box asks what the operators' terminal asks.
AS_BEN = """
import http.client, json, os, socket, sys
place, group, path, body = sys.argv[1:]
os.setgroups([int(group)])
os.setgid(65534)
os.setuid(65533)
client = http.client.HTTPConnection("mayfly", timeout=60)
client.sock = socket.socket(socket.AF_UNIX)
client.sock.connect(place)
headers = {"Upgrade": "mayfly-attach/1", "Connection": "Upgrade"} if path.endswith("attach") else {}
client.request("POST", path, body, headers)
answer = client.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.fixture(scope="module")
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=1) as made:
        yield made


@pytest.fixture(scope="module")
def manager(
    engine: PrivateEngine, installed: NvidiaRuntime, hardware: Hardware
) -> Iterator[GpuManager]:
    installed.void(False)
    installed.blind(False)
    with GpuManager(engine.url, hardware, POOL) as one:
        one.start()
        yield one


def failed(manager: GpuManager) -> str:
    """A job that has failed, and that is held."""
    script = f"mkdir -p /tmp/here; cd /tmp/here; {FAILS}"
    job = manager.queue("sh", "-c", script, env={"TOKEN": "it's secret"}, pool="gpu")
    assert manager.ended(job)["exit_code"] == 3
    row = until(lambda: held(manager, job), "its slot is held for its owner")
    assert row["note"].startswith("held for root until ")
    return job


def held(manager: GpuManager, job: str) -> dict[str, Any] | None:
    """The slot's row, while that job's container is held."""
    row = manager.slot("gpu-0")
    return row if row["held"] is not None and row["held"]["job"] == job else None


def inside(manager: GpuManager, job: str, script: str) -> str:
    """What a command prints there."""
    done = manager.cli("attach", job, "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def goes_on(manager: GpuManager, job: str) -> None:
    """The slot has nothing of that job any more, and does the next."""
    until(lambda: held(manager, job) is None or None, "the slot is held no longer")
    assert manager.ended(manager.on_gpu("true"))["exit_code"] == 0
    assert manager.cli("attach", job).stderr == f"mayfly: job {job} has ended already\n"


def ended_for(manager: GpuManager, job: str) -> str:
    """Why it is held no longer."""
    rows = manager.json("events")["events"]
    [row] = [row for row in rows if row["event"] == "hold.ended" and row["job"] == job]
    return str(row["reason"])


def test_a_failed_job_is_there_as_it_was_left_with_its_gpu_and_without_its_processes(
    manager: GpuManager,
) -> None:
    job = failed(manager)
    waiting = manager.on_gpu("true")
    printed = manager.output(job)
    assert printed == f"GPU 0: Stub GPU (UUID: {uuid(0)})\n"
    assert inside(manager, job, f"{PLACE}/nvidia-smi -L") == printed
    told = inside(manager, job, "cat /tmp/here/clue; id -un; echo $COLOUR $TOKEN $MAYFLY_JOB; pwd")
    assert told.splitlines()[:3] == ["why", "runner", f"blue it's secret {job}"]
    # What was in memory is gone with the processes, and so is what was handed in at the gate.
    shown = inside(
        manager, job, "ls /dev/shm; cat /proc/[0-9]*/cmdline 2>&1; ls /run/mayfly 2>&1 || :"
    )
    assert "sleep\x00700" not in shown
    assert "secret\n" not in shown
    assert "cannot open directory '/run/mayfly'" in shown
    container = manager.slot("gpu-0")["container"]
    recorded = manager.docker("inspect", container) + manager.docker("logs", container)
    assert "it's secret" not in recorded
    assert manager.job(waiting)["state"] == "queued"
    assert "held for root" in manager.cli("jobs").stdout + manager.cli("describe", job).stdout
    assert manager.cli("hold", job).returncode == 0, "to ask again changes nothing"

    extended = manager.cli("attach", job, "--extend", "1h")
    assert extended.returncode == 0, extended.stderr
    assert "is held until" in extended.stderr
    much = manager.cli("attach", job, "--extend", "9h")
    assert much.returncode == 0
    more = manager.cli("attach", job, "--extend", "1m")
    assert more.returncode == 1
    assert "is not held for more than 8h in all" in more.stderr

    released = manager.cli("release", job)
    assert released.stderr == f"mayfly: {job} is held no longer; slot gpu-0 goes on\n"
    assert manager.ended(waiting)["exit_code"] == 0
    goes_on(manager, job)
    assert ended_for(manager, job) == "root gave it up"


def test_it_outlives_managers_and_shells_and_ends_at_its_time_when_one_comes_back(
    manager: GpuManager,
) -> None:
    job = failed(manager)
    words = [*MAYFLY, "attach", job, "--", "sh", "-c", "echo up; exec sleep 701"]
    person = subprocess.Popen(
        words, env=manager.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert person.stdout is not None
    assert person.stdout.readline() == b"up\n"
    person.send_signal(signal.SIGKILL)
    person.communicate(timeout=60)
    container = manager.slot("gpu-0")["container"]

    def commands() -> str:
        return manager.docker("top", container, "-o", "pid,args")

    until(lambda: "sleep 701" not in commands() or None, "what the shell started has ended")
    assert inside(manager, job, "cat /tmp/here/clue") == "why\n"
    manager.kill(signal.SIGTERM)
    assert "sleep" in commands(), "it goes on without a manager"
    manager.start(wait="answer")
    assert inside(manager, job, "cat /tmp/here/clue; echo $TOKEN") == "why\nit's secret\n"
    manager.kill(signal.SIGKILL)
    manager.start(wait="answer")
    until(lambda: held(manager, job), "the next manager holds it on")
    assert manager.slot("gpu-0")["container"] == container
    assert manager.cli("attach", job, "--resume").returncode == 0
    goes_on(manager, job)


def test_a_job_that_did_well_is_held_where_somebody_asked_for_it_and_ends_at_its_time(
    manager: GpuManager,
) -> None:
    script = "cd /tmp; until [ -e go ]; do sleep 0.1; done"
    job = manager.on_gpu("sh", "-c", script)
    manager.started(job)
    asked = manager.cli("hold", job, "--for", "5s")
    assert asked.returncode == 0, asked.stderr
    assert f"when {job} ends it is held for root for 5s" in asked.stderr
    inside(manager, job, "touch /tmp/go")
    assert manager.ended(job)["state"] == "succeeded"
    goes_on(manager, job)
    assert ended_for(manager, job) == "its time is over"


def test_nobody_else_gets_in_or_takes_it_away_and_who_is_in_is_told_of_its_end(
    manager: GpuManager,
) -> None:
    try:
        group = str(grp.getgrnam("mayfly-users").gr_gid)
    except KeyError:
        pytest.skip("there is no group mayfly-users here")
    if os.getuid() != 0:
        pytest.skip("nobody else can be played here")
    job = failed(manager)
    manager.home.chmod(0o755)  # so that others come to the door
    door = str(manager.socket.with_name("users.sock"))
    for verb, body in (("attach", {}), ("extend", {"seconds": 60}), ("release", {}), ("hold", {})):
        for path in (f"/v1/jobs/{job}/{verb}", f"/v1/slots/gpu-0/{verb}"):
            done = subprocess.run(
                [sys.executable, "-c", AS_BEN, door, group, path, json.dumps(body)],
                capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
            assert done.stdout.startswith("403 "), (path, done.stdout, done.stderr)
    person = subprocess.Popen(
        [*MAYFLY, "attach", job, "--", "sh", "-c", "echo up; exec sleep 702"],
        env=manager.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert person.stdout is not None
    assert person.stdout.readline() == "up\n"
    assert manager.cli("release", "gpu-0").returncode == 0
    told = person.communicate(timeout=120)[1]
    assert "mayfly: it is held no longer, and this has ended with it" in told
    goes_on(manager, job)
