"""What is done to an agent reaches its containers, at a real Engine: its disk, the brake, its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import until
from tests.real.containers.lab import Lab

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(900)]

DISK = 64 << 20
FILL = "head -c 100000000 /dev/urandom >{}/big; sleep 1000"
WRITERS = {
    "layer": f"docker run -d \"$IMAGE\" sh -c '{FILL.format('')}'; sleep 1000",
    "volume": f"docker run -d -v own:/v \"$IMAGE\" sh -c '{FILL.format('/v')}'; sleep 1000",
    "work": FILL.format("/workspace"),
    # It has several and stays below.
    "little": 'for n in 1 2 3; do docker run -d --name c$n "$IMAGE" sh -c \'head -c 9000000 /dev/urandom '
    ">/b; sleep 90'; done; docker wait c1 c2 c3",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab({"cpu": 4}) as made:
        pools = made.pools().replace("pids = 400", f"pids = 400\ndisk = {DISK}\nprocess_rate = 5")
        made.manager.configure(pools)
        assert made.manager.cli("reload").returncode == 0
        yield made


def state_of_freezer(generation: str) -> str:
    """FROZEN or THAWED, of the group of an agent with its containers."""
    first = Path(f"/sys/fs/cgroup/freezer/mayfly/{generation}/freezer.state")
    second = Path(f"/sys/fs/cgroup/mayfly/{generation}/cgroup.freeze")
    if second.exists():
        return "FROZEN" if second.read_text().strip() == "1" else "THAWED"
    return first.read_text().strip() if first.exists() else ""


def generation_of(lab: Lab, job: str) -> str:
    slot = until(lambda: lab.manager.job(job)["slot"], "the job has a slot")
    return lab.generation(slot)


def test_limits_disk_counts_what_a_job_s_containers_and_volumes_hold(lab: Lab) -> None:
    jobs = {name: lab.begin(script) for name, script in WRITERS.items()}
    rows = {name: lab.done(job, 400).row for name, job in jobs.items()}
    told = {name: (row["state"], row["cause"]) for name, row in rows.items()}
    over = ("failed", "disk")
    assert told == {"layer": over, "volume": over, "work": over, "little": ("succeeded", None)}
    lab.clean()


@pytest.mark.parametrize(
    "harm", ["yes", "sh -c 'while :; do /bin/true; done'"], ids=["prints", "begins"]
)
def test_who_harms_others_in_a_container_stands_still_with_all_that_it_has_made(
    lab: Lab, harm: str
) -> None:
    """And goes on as it was: health that could not be looked at is not lost."""
    for name in ("count", "flooding"):
        (lab.share / name).unlink(missing_ok=True)
    job = lab.begin(
        'docker run -d --name count -v /share:/share "$IMAGE" sh -c '
        "'n=0; while :; do n=$((n+1)); echo $n >/share/count.new; mv /share/count.new /share/count; "
        "sleep 0.05; done'\n"
        'docker run -d --name well --health-cmd true --health-interval 1s "$IMAGE" sleep 1000\n'
        f'docker run -d --name flood "$IMAGE" {harm}\n'
        "touch /share/flooding; sleep 1000"
    )
    lab.shared("flooding")
    lab.shared("count")
    generation = generation_of(lab, job)
    counted = lab.share / "count"

    def stands_still() -> bool:
        """Twice the same, and frozen before, between and after."""
        seen = []
        for _ in range(2):
            if state_of_freezer(generation) != "FROZEN":
                return False
            seen.append(counted.read_text())
            lab.engine.docker("version")
        return state_of_freezer(generation) == "FROZEN" and seen[0] == seen[1]

    until(stands_still, "nothing of the job goes on", 120)
    at = int(counted.read_text())
    until(lambda: int(counted.read_text() or 0) > at, "it goes on", 120)
    (row,) = lab.inspected("container", f"mf-{generation}-well")
    assert all(one["ExitCode"] == 0 for one in row["State"]["Health"]["Log"])
    until(lambda: "slot.throttled" in lab.manager.health(), "the flood is told")
    assert lab.manager.cli("cancel", job).returncode == 0
    assert lab.done(job).row["state"] == "cancelled"
    lab.clean()


def test_what_a_job_has_made_ends_with_it_whatever_keeps_the_gateway(lab: Lab) -> None:
    job = lab.begin('docker run -d "$IMAGE" sleep 1000; touch /share/begun; sleep 1000')
    lab.shared("begun")
    generation = generation_of(lab, job)
    running = ("ps", "-q", "--filter", f"label=io.mayfly.belongs={generation}")
    assert lab.engine.docker(*running)
    assert lab.gateway.process is not None
    lab.gateway.process.send_signal(signal.SIGSTOP)
    try:
        assert lab.manager.cli("cancel", job).returncode == 0
        until(lambda: not lab.engine.docker(*running), "its container has ended")
    finally:
        lab.gateway.process.send_signal(signal.SIGCONT)
    assert lab.done(job).row["state"] == "cancelled"
    lab.clean()
