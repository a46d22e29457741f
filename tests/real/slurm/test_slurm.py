"""GPUs that a real Slurm gives: a real manager and Engine, the distribution's slurmctld and slurmd."""

from __future__ import annotations

import pytest

from tests.fakes.nvidia_runtime import PLACE
from tests.fakes.nvml import uuid
from tests.harness import until
from tests.real.slurm.real_slurm import NODE, RealSlurm, SlurmManager

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.timeout(300)]

SMI = f"{PLACE}/nvidia-smi"
HELD_UP = ("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done")


def test_a_job_has_the_gpu_of_an_allocation_that_is_asked_for_then_and_given_back_idle(
    slurm: RealSlurm, manager: SlurmManager
) -> None:
    # Somebody of the lab has the first GPU.
    slurm.command("salloc", "--no-shell", "--gres=gpu:1", "-n1", "--mem=1", "-J", "theirs")
    manager.start(wait="answer")
    until(lambda: manager.slot("gpu-0")["note"].startswith("asks Slurm"), "nothing is asked ahead")
    assert [called for _, _, called in slurm.queue()] == ["theirs"]
    job = manager.queue("sh", "-c", f"{SMI} -L; {HELD_UP[2]}", pool="gpu")
    manager.started(job)
    ours = [row for row in slurm.queue() if row[2] != "theirs"]
    assert [state for _, state, _ in ours] == ["RUNNING"]
    assert ours[0][2].startswith(f"mayfly:{manager.host_id()}:gpu-0:")
    assert manager.slot("gpu-0")["gpus"] == [uuid(1)], "IDX, minor number, UUID"
    manager.let_go(job)
    assert manager.ended(job)["state"] == "succeeded"
    assert uuid(1) in manager.output(job)
    slurm.until(
        lambda: [called for _, _, called in slurm.queue()] == ["theirs"], "ours is given back"
    )
    until(lambda: manager.slot("gpu-0")["phase"] == "vacant", "no agent stands ready meanwhile")


def test_scancel_ends_the_job_with_its_cause_and_the_next_has_an_allocation_of_its_own(
    slurm: RealSlurm, manager: SlurmManager
) -> None:
    manager.start(wait="answer")
    job = manager.queue(*HELD_UP, pool="gpu")
    manager.started(job)
    ((allocation, _, _),) = slurm.queue()
    slurm.command("scancel", allocation)
    row = manager.ended(job)
    assert row["state"] == "lost"
    assert f"Slurm cancelled allocation {allocation}" in str(row)
    assert manager.ended(manager.queue("true", pool="gpu"))["state"] == "succeeded"


def test_a_full_or_drained_node_is_told_in_slurm_s_words(
    slurm: RealSlurm, manager: SlurmManager
) -> None:
    for _ in range(2):
        slurm.command("salloc", "--no-shell", "--gres=gpu:1", "-n1", "--mem=1", "-J", "theirs")
    theirs = [name for name, _, _ in slurm.queue()]
    manager.start(wait="answer")
    job = manager.queue("true", pool="gpu")
    until(lambda: "Resources" in manager.slot("gpu-0")["note"], "it says what it waits for")
    slurm.command("scancel", *theirs)
    assert manager.ended(job)["state"] == "succeeded"
    slurm.until(lambda: not slurm.queue(), "all is given back")
    slurm.command("scontrol", "update", f"nodename={NODE}", "state=drain", "reason=XID 79 on gpu0")
    held = manager.in_phase("held", "gpu-0")["note"]
    assert held.endswith("drained: XID 79 on gpu0")
    job = manager.queue("true", pool="gpu")
    slurm.command("scontrol", "update", f"nodename={NODE}", "state=resume")
    assert manager.ended(job)["state"] == "succeeded", "it lets go by itself"


def test_what_waits_too_long_is_given_up(slurm: RealSlurm, manager: SlurmManager) -> None:
    for _ in range(2):
        slurm.command("salloc", "--no-shell", "--gres=gpu:1", "-n1", "--mem=1", "-J", "theirs")
    manager.pools(wait="2s")
    manager.start(wait="answer")
    manager.queue("true", pool="gpu")

    def pending() -> list[str]:
        return [name for name, state, called in slurm.queue() if called != "theirs"]

    slurm.until(pending, "it is asked for")
    first = pending()
    slurm.until(lambda: pending() and pending() != first, "and later again, by another request")


def test_a_controller_that_is_gone_ends_no_job_and_opens_no_gate(
    slurm: RealSlurm, manager: SlurmManager
) -> None:
    manager.start(wait="answer")
    job = manager.queue(*HELD_UP, pool="gpu")
    manager.started(job)
    slurm.stop_controller()
    try:
        until(lambda: manager.told("slurm.unreachable"), "it is told")
        assert manager.job(job)["state"] == "running"
        behind = manager.queue("true", pool="gpu")
        manager.let_go(job)
        assert manager.ended(job)["state"] == "succeeded"
        assert manager.job(behind)["state"] == "queued"
    finally:
        slurm.start_controller()
    slurm.until(lambda: slurm.state().strip() in ("idle", "mixed"), "the node answers again")
    assert manager.ended(behind)["state"] == "succeeded", manager.slot("gpu-0")


def test_a_manager_that_is_killed_finds_its_allocation_and_one_that_stops_leaves_none_idle(
    slurm: RealSlurm, manager: SlurmManager
) -> None:
    manager.pools(idle="10m")
    manager.start(wait="answer")
    job = manager.queue(*HELD_UP, pool="gpu")
    manager.started(job)
    before = slurm.queue()
    manager.kill()
    manager.start(wait="answer")
    until(lambda: manager.slot("gpu-0")["gpus"], "it has found which GPU it is")
    assert slurm.queue() == before
    assert manager.job(job)["state"] == "running"
    manager.let_go(job)
    assert manager.ended(job)["state"] == "succeeded"
    assert manager.ended(manager.queue("true", pool="gpu"))["state"] == "succeeded"
    assert slurm.queue() == before, "the next job has the same one: it is not idle for long"
    manager.kill(15)
    slurm.until(lambda: not slurm.queue(), "nothing is left of a manager that stopped")
