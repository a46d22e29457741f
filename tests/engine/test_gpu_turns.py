"""Pools in turn, from outside: a real manager and Engine, NVML's stub, a runtime that sees two on one GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import PLACE, NvidiaRuntime
from tests.fakes.nvml import Hardware, uuid
from tests.harness import until
from tests.hurried import hurried

pytestmark = pytest.mark.engine

SMI = f"{PLACE}/nvidia-smi"
VERSIONS = {"v124": "12.4", "v128": "12.8", "v130": "13.0"}
HELD_UP = ("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done")


def pool(name: str, slots: int, gpus: int, more: str) -> str:
    keys = f'slots = {slots}\ngpus = {gpus}\nnetwork = "none"\nexclusive = "in turn"'
    return f'[[pool]]\nname = "{name}"\n{keys}\n{more}\n'


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2, cuda=13000) as made:
        yield made


@pytest.fixture
def manager(
    engine: PrivateEngine, runtime: NvidiaRuntime, hardware: Hardware
) -> Iterator[GpuManager]:
    runtime.witness(uuid(0), uuid(1))
    image = 'image = "mayfly/local:cpu"'
    with GpuManager(
        engine.url, hardware, pool("one", 2, 1, image) + pool("both", 1, 2, image)
    ) as made:
        yield made


def test_one_gpu_serves_three_cuda_versions_one_after_the_other_each_in_an_agent_of_its_own(
    manager: GpuManager, hardware: Hardware, engine: PrivateEngine
) -> None:
    for version in VERSIONS.values():
        engine.docker("tag", "mayfly/local:cpu", f"mayfly/local:cuda{version}")
    hardware.gpus = 1
    hardware.write()
    manager.configure(
        "".join(pool(name, 1, 1, f'cuda = "{version}"') for name, version in VERSIONS.items())
    )
    manager.start()
    script = f"{SMI} -L; {SMI} compute sh -c '{SMI} compute true; [ $? = 97 ] && sleep 0.5'"
    done = manager.cli("submit", "--cuda", "all", "--wait", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[1:4] for row in rows] == [
        [f"cuda={version}", name, "succeeded"] for name, version in VERSIONS.items()
    ]
    assert all(uuid(0) in manager.output(row[0]) for row in rows)
    lives = [life for life in manager.json("history")["agents"] if life["job"]]
    assert {life["slot"] for life in lives} == {f"{name}-0" for name in VERSIONS}
    assert len({life["container"] for life in lives}) == 3
    spans = sorted((life["opened"], life["exited"]) for life in lives)
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), spans


def test_a_wide_job_has_its_turn_and_a_gpu_that_falls_off_under_it_holds_who_has_it(
    manager: GpuManager, hardware: Hardware
) -> None:
    sees_soon = hurried("edge.gpus.IDENTITY_EVERY=1")
    manager.start(*sees_soon)
    narrow = [manager.queue(SMI, "compute", *HELD_UP, pool="one") for _ in range(2)]
    for job in narrow:
        manager.started(job)
    wide = manager.queue(SMI, "compute", *HELD_UP, pool="both")
    behind = manager.queue(SMI, "compute", "true", pool="one")
    told = f"next on its GPUs, waits for {uuid(0)} and 1 more"
    until(lambda: manager.slot("both-0")["note"] == told, "it says what it waits for")
    why = manager.cli("jobs", "--why", wide).stdout
    assert "pool one has its GPUs, and next in turn is pool both" in why
    rows = {gpu["uuid"]: (gpu["slots"], gpu["at_work"]) for gpu in manager.json("gpus")["gpus"]}
    assert rows == {uuid(at): ([f"one-{at}", "both-0"], [f"one-{at}"]) for at in range(2)}
    # The next manager goes on with the same turns.
    manager.kill()
    manager.start(*sees_soon, wait="answer")
    until(lambda: manager.slot("both-0")["note"] == told, "another manager says the same")
    slots = [manager.job(job)["slot"] for job in narrow]
    manager.let_go(narrow[0])
    manager.ended(narrow[0])
    other = manager.job(narrow[1])["slot"]
    alone = f"next on its GPUs, waits for {uuid(int(other[-1]))}"
    until(lambda: manager.slot("both-0")["note"] == alone, "the GPU that got free is kept for it")
    assert manager.job(behind)["state"] == "queued"
    manager.let_go(narrow[1])
    assert manager.started(wide)["slot"] == "both-0"
    assert sorted(slots) == ["one-0", "one-1"]
    hardware.gpus = 1
    hardware.write()
    held = manager.in_phase("held", "one-1")["note"]
    assert held.startswith(f"{uuid(1)} is not there any more")
    assert manager.job(wide)["state"] == "running", "nobody ends its job"
    manager.let_go(wide)
    assert manager.ended(wide)["state"] == "succeeded"
    assert manager.in_phase("held", "both-0")["note"] == held
    assert manager.ended(behind)["slot"] == "one-0", "the GPU that is there goes on"
    waits = manager.queue(SMI, "compute", "true", pool="both")
    assert manager.ended(manager.queue("true", pool="one"))["slot"] == "one-0"
    assert manager.job(waits)["state"] == "queued"
    hardware.gpus = 2
    hardware.write()
    assert manager.ended(waits)["exit_code"] == 0


def test_a_storm_of_xids_under_a_narrow_job_holds_nobody_and_the_hardware_s_xid_who_has_the_gpu(
    manager: GpuManager, hardware: Hardware
) -> None:
    manager.start()
    narrow = {
        manager.started(job)["slot"]: job
        for job in [manager.queue(SMI, "compute", *HELD_UP, pool="one") for _ in range(2)]
    }
    storm = [f"xid gpu=0 code={code}" for code in (13, 31, 43, 45, 109) * 40]
    hardware.say(*storm, "xid gpu=1 code=79")
    held = manager.in_phase("held", "both-0")["note"]
    assert f"XID 79 on {uuid(1)}" in held
    assert [manager.slot(name)["phase"] for name in narrow] == ["busy", "busy"]
    assert manager.job(narrow["one-1"])["state"] == "running", "nobody ends its job"
    wide = manager.queue(SMI, "compute", "true", pool="both")
    for job in narrow.values():
        manager.let_go(job)
        assert manager.ended(job)["exit_code"] == 0
    assert manager.in_phase("held", "one-1")["note"] == held
    assert manager.ended(manager.queue("true", pool="one"))["slot"] == "one-0"
    assert manager.job(wide)["state"] == "queued"
    ended = [one for one in manager.json("events")["events"] if one["event"] == "turn.ended"]
    assert {one["pool"] for one in ended} == {"one"}, "the wide pool has had nothing"
    assert manager.cli("retry", "one-1", "both-0").returncode == 0
    assert manager.ended(wide)["exit_code"] == 0


def test_a_shell_has_its_slot_s_gpu_to_itself(manager: GpuManager) -> None:
    manager.start()
    wide = manager.queue(SMI, "compute", *HELD_UP, pool="both")
    manager.started(wide)
    surroundings = {**manager.environment(), "MAYFLY_CONFIG": str(manager.config)}
    words = (sys.executable, "-m", "mayfly.cli.app", "shell", "one-0", "--", SMI, "compute", "true")
    with subprocess.Popen(words, env=surroundings, stderr=subprocess.PIPE, text=True) as shell:
        until(lambda: manager.slot("both-0")["cordoned"], "who may have its GPU takes no job")
        assert manager.slot("one-1")["cordoned"] is None
        assert shell.poll() is None, "it waits for the GPU"
        manager.let_go(wide)
        _, told = shell.communicate(timeout=120)
    assert shell.returncode == 0, told
    assert "one-0 and both-0 take no job until this ends" in told
    assert manager.ended(wide)["exit_code"] == 0
    manager.in_phase("idle", "both-0")
    # So it is with a job of a pool that is configured no more, whether or not pools take turns.
    wide = manager.queue(SMI, "compute", *HELD_UP, pool="both")
    manager.started(wide)
    alone = pool("one", 2, 1, 'image = "mayfly/local:cpu"').replace('exclusive = "in turn"', "")
    manager.configure(alone)
    assert manager.cli("reload").returncode == 0
    with subprocess.Popen(words, env=surroundings, stderr=subprocess.PIPE, text=True) as shell:
        until(lambda: manager.slot("one-0")["cordoned"], "its slot is emptied")
        assert manager.slot("both-0")["cordoned"] is None, "it goes by itself"
        assert shell.poll() is None, "it waits for the GPU"
        manager.let_go(wide)
        _, told = shell.communicate(timeout=120)
    assert shell.returncode == 0, told
    assert manager.in_phase("idle", "one-0")["cordoned"] is None
