"""Slots with GPUs, from outside: a real manager and Engine, NVML's stub, a stand-in NVIDIA runtime."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import PLACE, NvidiaRuntime
from tests.fakes.nvml import Hardware, mig_uuid, uuid
from tests.harness import until
from tests.hurried import hurried
from tests.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.engine

LIST = f"{PLACE}/nvidia-smi -L"
COPIED = {"host": "h00000000000", "slot": "gpu-0", "generation": "g000000000001"}
CPU = """
[[pool]]
name = "cpu"
slots = 1
network = "none"
"""


def pool(slots: int = 1, gpus: object = 1, more: str = "") -> str:
    keys = f'slots = {slots}\ngpus = {gpus}\nimage = "mayfly/local:cpu"\nnetwork = "none"'
    return f'[[pool]]\nname = "gpu"\n{keys}\n{more}\n'


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2) as made:
        yield made


@pytest.fixture
def manager(
    engine: PrivateEngine, runtime: NvidiaRuntime, hardware: Hardware
) -> Iterator[GpuManager]:
    with GpuManager(engine.url, hardware, pool(2)) as made:
        yield made


def test_two_slots_that_run_at_once_see_their_own_gpu_and_no_other(
    manager: GpuManager, engine: PrivateEngine, tmp_path: Path
) -> None:
    meet = "until [ $(ls /meet | wc -l) = 2 ]; do sleep 0.02; done"
    manager.configure(pool(2, more=f'[[pool.caches]]\nsource = "{tmp_path}"\ntarget = "/meet"'))
    tmp_path.chmod(0o777)
    manager.start()
    jobs = [
        manager.on_gpu("sh", "-c", f"touch /meet/$$-$RANDOM-$(hostname); {meet}; {LIST}")
        for _ in range(2)
    ]
    ended = [manager.ended(job) for job in jobs]
    assert [row["state"] for row in ended] == ["succeeded", "succeeded"]
    seen = {row["slot"]: manager.output(row["job"]).strip() for row in ended}
    assert seen == {
        f"gpu-{number}": f"GPU 0: Stub GPU (UUID: {uuid(number)})" for number in range(2)
    }
    for life in manager.json("history")["agents"]:
        if life["job"] in jobs:
            number = int(life["slot"][-1])
            recorded = engine.recorded(life["container"]).env
            assert recorded["NVIDIA_VISIBLE_DEVICES"] == uuid(number)
            assert recorded["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    rows = {gpu["uuid"]: gpu["slots"] for gpu in manager.json("gpus")["gpus"]}
    assert rows == {uuid(0): ["gpu-0"], uuid(1): ["gpu-1"]}


def test_a_pool_that_asks_for_more_gpus_than_there_are_is_held_and_the_others_run(
    manager: GpuManager,
) -> None:
    manager.configure(pool(3) + CPU)
    manager.start(wait="answer")
    row = manager.in_phase("held", "gpu-2")
    sentence = 'pool "gpu" asks for 3 GPUs (3 slots of 1) and this host has 2'
    assert row["note"] == sentence
    assert manager.in_phase("held", "gpu-0")["note"] == sentence
    assert manager.ended(manager.submit("true", options=["--pool", "cpu"]))["exit_code"] == 0
    checked = manager.cli("config", "check")
    assert (checked.returncode, sentence in checked.stderr) == (1, True)
    dry = manager.cli("reload", "--dry-run")
    assert (dry.returncode, sentence in dry.stdout + dry.stderr) == (1, True)


def test_an_application_s_xid_is_recorded_and_a_hardware_xid_holds_its_slot_until_retry(
    manager: GpuManager, hardware: Hardware
) -> None:
    manager.start()
    hardware.xid(0, 31)
    hardware.xid(1, 43)
    for _ in range(2):
        assert manager.ended(manager.on_gpu("true"))["exit_code"] == 0
    hardware.xid(0, 79)
    job = manager.on_gpu("true")
    manager.ended(job)
    held = manager.in_phase("held", "gpu-0")
    assert f"XID 79 on {uuid(0)}" in held["note"]
    manager.in_phase("idle", "gpu-1")
    after = [manager.ended(manager.on_gpu("true")) for _ in range(2)]
    assert {row["slot"] for row in after} == {"gpu-1"}
    assert manager.cli("retry", "gpu-0").returncode == 0
    manager.in_phase("idle", "gpu-0")
    both = {manager.ended(manager.on_gpu("sleep", "0.3"))["slot"] for _ in range(3)}
    assert "gpu-0" in both


def test_memory_that_returns_late_is_waited_for_and_memory_that_does_not_return_holds_the_slot(
    manager: GpuManager, hardware: Hardware
) -> None:
    manager.configure(pool(1))
    manager.start()
    held_up = ("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done")
    first = manager.on_gpu(*held_up)
    manager.started(first)
    returned = time.time() + 4.0
    hardware.memory_until(0, 30_000, 4.0)
    manager.let_go(first)
    manager.ended(first)
    follows = manager.ended(manager.on_gpu("true"))
    assert follows["exit_code"] == 0
    assert datetime.fromisoformat(follows["started"]).timestamp() >= returned
    second = manager.on_gpu(*held_up)
    manager.started(second)
    hardware.gpu(0, used=30_000)
    manager.let_go(second)
    manager.ended(second)
    note = manager.in_phase("held", "gpu-0")["note"]
    assert "30000 MiB" in note
    assert "were not returned" in note
    hardware.gpu(0, used=0)
    manager.cli("retry", "gpu-0")
    assert manager.ended(manager.on_gpu("true"))["exit_code"] == 0


def test_a_process_left_on_the_gpu_holds_the_slot_and_somebody_else_s_is_shown(
    manager: GpuManager, hardware: Hardware, engine: PrivateEngine
) -> None:
    manager.configure(pool(1))
    devices = ("--runtime", "nvidia", "-e", f"NVIDIA_VISIBLE_DEVICES={uuid(0)}")
    # Of an image that somebody made of an agent, say.
    named = [f"--label=io.mayfly.{label}={text}" for label, text in COPIED.items()]
    alien = engine.docker(
        "run", "-d", *devices, *named, "--entrypoint", "sleep", "mayfly/local:cpu", "600"
    )
    manager.start()
    (given,) = until(lambda: manager.told("gpu.foreign_container"), "the container is shown")
    assert f"was given {uuid(0)}, which is leased, and is not Mayfly's" in given
    pid = int(engine.docker("inspect", "--format", "{{.State.Pid}}", alien))
    hardware.process(0, pid)
    assert manager.ended(manager.on_gpu("true"))["exit_code"] == 0
    told = until(lambda: manager.told("gpu.foreign"), "the stranger is shown")
    called = f"process {pid} (sleep 600) of container {alien[:12]}"
    assert f"{called} computes on {uuid(0)}" in told[0]
    engine.docker("rm", "-f", alien)
    assert "still holds" in manager.in_phase("held", "gpu-0")["note"]


def test_an_agent_that_loses_its_gpu_while_it_waits_is_replaced(
    manager: GpuManager, runtime: NvidiaRuntime, hardware: Hardware
) -> None:
    manager.configure(pool(1))
    runtime.blind()
    manager.start(wait="answer")
    cooling = manager.in_phase("cooling", "gpu-0")
    assert "Failed to initialize NVML" in cooling["note"]
    runtime.blind(False)
    manager.in_phase("idle", "gpu-0")
    assert manager.ended(manager.on_gpu("true"))["exit_code"] == 0
    before = manager.in_phase("idle", "gpu-0")["agent"]
    runtime.hide(uuid(0))
    hardware.xid(
        0, 43
    )  # whatever the driver reports has the agents look again before their minute is over
    until(lambda: manager.slot("gpu-0")["agent"] != before, "another agent")
    runtime.hide()
    manager.in_phase("idle", "gpu-0")
    ended = [life["ended_for"] for life in manager.json("history")["agents"]]
    assert "blind" in ended


def test_a_driver_that_comes_late_is_waited_for(manager: GpuManager, hardware: Hardware) -> None:
    manager.configure(pool(1) + CPU)
    hardware.appears = math.inf
    hardware.write()
    manager.start(wait="answer")
    held = manager.in_phase("held", "gpu-0")
    assert "kernel module is not loaded" in held["note"]
    assert manager.ended(manager.submit("true", options=["--pool", "cpu"]))["exit_code"] == 0
    assert manager.slot("gpu-0")["phase"] == "held"
    hardware.appears = None
    hardware.write()
    manager.in_phase("idle", "gpu-0")


def test_while_nvml_hangs_slots_without_gpus_go_on_and_those_with_wait(
    manager: GpuManager, hardware: Hardware
) -> None:
    manager.configure(pool(1) + CPU)
    manager.start()
    hardware.say("hang *")
    manager.ended(manager.on_gpu("true"))
    waiting = [manager.on_gpu("true") for _ in range(2)]
    for _ in range(3):  # the hang lasts: whoever waits for its end does not end
        assert manager.ended(manager.submit("true", options=["--pool", "cpu"]))["exit_code"] == 0
    told = until(lambda: manager.told("gpu.nvml_late"), "the hang is told")
    assert "NVML has not answered" in told[0]
    assert manager.json("gpus")["late_since"] is not None
    assert "queued" in {manager.job(job)["state"] for job in waiting}
    hardware.unsay("hang *")
    assert [manager.ended(job)["exit_code"] for job in waiting] == [0, 0]


def test_after_a_change_of_mig_no_gate_opens_on_an_old_lease(
    manager: GpuManager, hardware: Hardware
) -> None:
    hardware.mig(0, 2)
    hardware.gpus = 1
    hardware.write()
    manager.start()
    assert manager.slot("gpu-0")["gpus"] == [mig_uuid(0, 0)]
    job = manager.ended(manager.on_gpu("sh", "-c", LIST))
    assert mig_uuid(0, int(job["slot"][-1])) in manager.output(job["job"])
    old = manager.slot("gpu-1")["agent"]
    hardware.lines = [line.replace("MIG-00000000", "MIG-aaaaaaaa") for line in hardware.lines]
    hardware.write()
    until(lambda: manager.slot("gpu-1")["gpus"][0].startswith("MIG-aaaaaaaa"), "a new lease")
    job = manager.ended(manager.on_gpu("sh", "-c", LIST))
    assert "MIG-aaaaaaaa" in manager.output(job["job"])
    manager.in_phase("idle", "gpu-1")
    assert manager.slot("gpu-1")["agent"] != old


def counter(manager: GpuManager, beyond: float) -> float:
    """Joules of the first GPU, once there are more than those."""
    found = [gpu["energy"] or 0.0 for gpu in manager.get("/v1/gpus")["gpus"]]
    return found[0] if found and found[0] > beyond else 0.0


def test_the_history_tells_which_gpu_an_agent_had_and_what_it_did_with_it(
    manager: GpuManager, hardware: Hardware
) -> None:
    manager.start()
    hardware.gpu(0, util=80)
    hardware.gpu(1, util=20)
    held_up = ("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done; exit 1")
    jobs = [manager.on_gpu(*held_up) for _ in range(2)]
    for job in jobs:
        manager.started(job)  # memory that is used before a gate opens would keep it shut
    used = [2048 * 2**20, 512 * 2**20]
    hardware.gpu(0, used=2048, util=80, energy=f"5000+300@{time.time()}", reasons="0x40")
    hardware.gpu(1, used=512, util=20)
    until(lambda: [gpu["used"] for gpu in manager.get("/v1/gpus")["gpus"]] == used, "it is read")
    # What was measured until then is kept for the next manager, which reads them once at least.
    (metered,) = [gpu for gpu in manager.get("/v1/gpus")["gpus"] if gpu["uuid"] == uuid(0)]
    assert metered["throttled"] == ["thermal"]
    manager.kill(signal.SIGTERM)
    manager.start(wait="answer")
    again = until(lambda: counter(manager, metered["energy"]), "it is read again")
    for job in jobs:
        manager.let_go(job)
    assert {manager.ended(job)["slot"] for job in jobs} == {"gpu-0", "gpu-1"}
    hardware.gpu(0, used=0, util=0)
    hardware.gpu(1, used=0, util=0)
    told = manager.cli("history", "--gpu", uuid(0)).stdout
    assert f"{uuid(0)}: 1 of 1 job failed (100 %); the other GPUs: 1 of 1 job failed" in told
    document = manager.json("history", "--gpu", uuid(0))
    assert [row["jobs"] for row in document["gpus"]] == [1, 1]
    lives = document["agents"]
    (life,) = [life for life in lives if life["job"] in jobs]
    assert life["gpus"] == [uuid(0)]
    (use,) = life["gpu_use"]
    assert (use["uuid"], use["peak_memory"], use["utilisation"]) == (uuid(0), used[0], 80)
    between = round(again - metered["energy"], 3)  # as the record has it
    assert use["energy"] >= between > 0, "what lies between two managers counts"
    assert use["throttled"]["thermal"] > 0
    assert manager.json("jobs")["jobs"][0]["gpu_use"][0].keys() == use.keys()
    assert " Wh, throttled for " in " ".join(manager.cli("describe", life["job"]).stdout.split())


def test_a_manager_that_starts_again_keeps_the_agents_that_wait(manager: GpuManager) -> None:
    manager.start()
    before = [manager.slot(name)["agent"] for name in ("gpu-0", "gpu-1")]
    manager.kill()
    manager.start()
    assert [manager.slot(name)["agent"] for name in ("gpu-0", "gpu-1")] == before
    assert manager.ended(manager.on_gpu("true"))["exit_code"] == 0


def test_slots_that_share_a_gpu_run_at_once_on_it(
    manager: GpuManager, hardware: Hardware, tmp_path: Path
) -> None:
    hardware.gpus = 1
    hardware.write()
    tmp_path.chmod(0o777)
    cache = f'[[pool.caches]]\nsource = "{tmp_path}"\ntarget = "/meet"'
    manager.configure(pool(3, more=f"share = true\n{cache}"))
    manager.start()
    meet = "touch /meet/$(hostname); until [ $(ls /meet | wc -l) = 3 ]; do sleep 0.02; done"
    jobs = [manager.on_gpu("sh", "-c", f"{meet}; {LIST}") for _ in range(3)]
    assert {manager.ended(job)["slot"] for job in jobs} == {"gpu-0", "gpu-1", "gpu-2"}
    assert all(uuid(0) in manager.output(job) for job in jobs)


def test_a_host_that_is_to_have_a_gpu_says_so_when_it_has_none(
    engine: PrivateEngine, hardware: Hardware
) -> None:
    hardware.gpus = 0
    hardware.write()
    with GpuManager(engine.url, hardware, CPU, host='gpu = "required"') as manager:
        manager.start()
        told = until(lambda: manager.told("gpu.required"), "the missing GPU is told")
        assert "this host is to have a GPU" in told[0]
        assert manager.cli("status").returncode == 1
        assert manager.ended(manager.submit("true"))["exit_code"] == 0


def test_an_agent_whose_gpu_hangs_is_replaced_and_keeps_no_other_waiting(
    manager: GpuManager, runtime: NvidiaRuntime
) -> None:
    manager.configure(pool(1) + CPU)
    runtime.hang()
    manager.start(*hurried("core.gpus.PROBE_TIMEOUT=8"), wait="answer")
    assert manager.ended(manager.submit("true", options=["--pool", "cpu"]))["exit_code"] == 0
    (told,) = until(lambda: manager.told("gpu.unproven"), "the silence is told")
    assert "slot gpu-0 takes no job yet" in told
    ended = until(lambda: manager.get("/v1/history")["agents"][1:], "the agent is replaced")
    assert ended[0]["ended_for"] == "blind"
    job = manager.on_gpu("true")
    runtime.hang(False)
    assert manager.ended(job)["exit_code"] == 0


def test_a_lease_that_cdi_answered_with_nothing_is_told_from_a_runtime_that_put_nothing_in(
    manager: GpuManager, runtime: NvidiaRuntime
) -> None:
    manager.configure(pool(1))
    runtime.void()
    manager.start(wait="answer")
    note = manager.in_phase("cooling", "gpu-0")["note"]
    assert (
        "NVIDIA_VISIBLE_DEVICES is void inside: the Engine asked CDI for it and got nothing" in note
    )
    runtime.void(False)
    runtime.empty()
    until(
        lambda: "the runtime put none in" in (manager.slot("gpu-0")["note"] or ""),
        "the next agent's own sentence",
    )
    runtime.empty(False)
    assert manager.ended(manager.on_gpu("true"), 90)["exit_code"] == 0


def test_a_shell_has_its_slot_s_gpu_and_gives_it_back_when_its_terminal_goes_away(
    manager: GpuManager,
) -> None:
    manager.start()
    command = [sys.executable, "-m", "mayfly.cli.app", "shell", "gpu-1"]
    surroundings = {"MAYFLY_CONFIG": str(manager.config), **manager.hardware.environment()}
    screen = Terminal(command, 80, **surroundings)
    try:
        screen.until("runner@gpu-1:~$")
        screen.type(f"{LIST}\n")
        assert uuid(0) not in screen.until(uuid(1))
        assert screen.hang_up() == 129
    finally:
        screen.close()
    manager.in_phase("idle", "gpu-1")
    assert manager.cli("cordon", "gpu-0").returncode == 0
    job = manager.on_gpu("sh", "-c", LIST)
    assert manager.ended(job)["slot"] == "gpu-1"
    assert uuid(1) in manager.output(job)
