"""Jobs in a pool, seen from outside: what they may, what becomes of them, what can be seen of them.

One manager serves all tests here; each job's marks go to a cache directory of its pool.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import Manager, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.private_engine import PrivateEngine

pytestmark = [pytest.mark.long, pytest.mark.engine]

POOLS = """
[[pool]]
name = "local"
provider = "local"
slots = 2
network = "none"
[[pool.dataset]]
source = "{home}/data"
target = "/data"
env = "DATA"
[[pool.caches]]
source = "{home}/cache"
target = "/cache"

[[pool]]
name = "one"
provider = "local"
slots = 1
network = "none"
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
[pool.limits]
pids = 64
memory = "96MiB"
"""
LOCAL = ("--pool", "local")
ONE = ("--pool", "one")


@pytest.fixture(scope="module")
def manager(engine: PrivateEngine) -> Iterator[Manager]:
    """The manager of this module."""
    with Manager(engine.url) as one:
        (one.home / "data").mkdir()
        (one.home / "data/file").write_text("given\n")
        (one.home / "cache").mkdir()
        (one.home / "cache").chmod(0o777)
        one.configure(POOLS.format(home=one.home))
        one.start()
        yield one


@pytest.fixture
def cache(manager: Manager) -> Path:
    """The directory that jobs see as /cache."""
    return manager.home / "cache"


def moment(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()


def wait_for(file: Path) -> str:
    """The file's text once it has some."""
    return until(lambda: file.read_text() if file.exists() else None, f"{file.name} is written")


def test_a_job_is_unprivileged_and_its_dataset_is_not_writable(manager: Manager) -> None:
    done = manager.cli(
        "submit", *LOCAL, "--wait", "--", "sh", "-c",
        "id; cat /proc/self/oom_score_adj; cat $DATA/file; touch $DATA/x; echo $?; "
        "grep CapEff /proc/self/status",
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "uid=1000(runner) gid=1000(runner) groups=1000(runner)",
        "1000",
        "given",
        "1",
        "CapEff:\t0000000000000000",
    ]
    assert done.stderr == "touch: cannot touch '/data/x': Read-only file system\n"
    assert not (manager.home / "data/x").exists()


def test_submit_waits_and_exits_with_the_jobs_code(manager: Manager) -> None:
    done = manager.cli(
        "submit", *LOCAL, "--wait", "--", "sh", "-c", "echo out; echo err >&2; exit 42"
    )
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_submit_says_why_where_the_job_has_no_code(manager: Manager, cache: Path) -> None:
    waiting = subprocess.Popen(
        [
            *(sys.executable, "-m", "mayfly.cli.app", "submit", *ONE, "--wait", "--"),
            *("sh", "-c", "echo up >/cache/doomed; sleep 100"),
        ],
        env=manager.environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(cache / "doomed")
    manager.docker("kill", manager.slot("one-0")["container"])
    _, said = waiting.communicate(timeout=30)
    assert waiting.returncode == 1
    assert said.count("\n") == 1
    assert "killed" in said


def test_a_slot_without_gpus_is_void(manager: Manager) -> None:
    idle = manager.in_phase("idle", "local-0")
    inspected = json.loads(manager.docker("inspect", idle["container"]))[0]
    assert "NVIDIA_VISIBLE_DEVICES=void" in inspected["Config"]["Env"]
    assert inspected["HostConfig"]["Runtime"] == "runc"
    assert inspected["Config"]["Hostname"] == "local-0"
    assert inspected["HostConfig"]["OomScoreAdj"] == 500
    assert inspected["HostConfig"]["CapDrop"] == ["ALL"]


def test_docker_stop_of_a_busy_agent_gives_the_job_its_time(manager: Manager, cache: Path) -> None:
    job = manager.queue(
        "sh", "-c",
        "trap 'sleep 2; echo written >/cache/termed; exit 7' TERM; echo up >/cache/up; "
        "while :; do sleep 0.1; done",
        pool="one",
    )  # fmt: skip
    wait_for(cache / "up")
    manager.docker("stop", "-t", "60", manager.slot("one-0")["container"])
    assert (cache / "termed").read_text() == "written\n"
    row = manager.ended(job)
    assert (row["state"], row["cause"], row["exit_code"]) == ("lost", "killed", 7)


def test_a_job_that_ends_well_on_docker_stop_has_succeeded(manager: Manager, cache: Path) -> None:
    job = manager.queue(
        "sh", "-c",
        "trap 'exit 0' TERM; echo up >/cache/up0; while :; do sleep 0.1; done",
        pool="one",
    )  # fmt: skip
    wait_for(cache / "up0")
    manager.docker("stop", "-t", "60", manager.slot("one-0")["container"])
    row = manager.ended(job)
    assert (row["state"], row["exit_code"]) == ("succeeded", 0)


def test_daemons_that_a_job_leaves_are_dead_before_the_next_gate_opens(
    manager: Manager, cache: Path
) -> None:
    beat = "trap '' TERM HUP INT; while :; do date +%s.%N; done >>/cache/beats"
    leaves = manager.queue(
        "bash", "-c",
        f"(setsid bash -c \"{beat}\" & ) ; nohup setsid bash -c \"{beat}\" & "
        "while [ ! -s /cache/beats ]; do sleep 0.05; done; exit 0",
        pool="one",
    )  # fmt: skip
    follows = manager.queue("sleep", "0.5", pool="one")
    assert manager.ended(leaves)["exit_code"] == 0
    second = manager.ended(follows)
    assert second["state"] == "succeeded"
    last = max(float(line) for line in (cache / "beats").read_text().splitlines() if "." in line)
    assert last < moment(second["started"])


@pytest.fixture(scope="module")
def secret() -> str:
    """Something that must not be found."""
    return "hunted-7f3a9c51"


def seen_from_outside(manager: Manager, since: float) -> str:
    """All that the Engine tells of the manager's containers."""
    told = []
    for name in manager.containers():
        told.append(manager.docker("inspect", name, check=False))
        told.append(manager.docker("top", name, "-eo", "pid,args", check=False))
        logs = subprocess.run(
            ["docker", "-H", manager.docker_host, "logs", name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        told += [logs.stdout, logs.stderr]
    told.append(
        manager.docker("events", "--since", f"{since:.0f}", "--until", f"{time.time() + 1:.0f}")
    )
    return "\n".join(told)


def raw(place: Path) -> bytes:
    """The bytes of all files beneath, one after the other."""
    found = []
    for file in sorted(place.rglob("*")):
        with suppress(OSError):
            if file.is_file():
                found.append(file.read_bytes())
    return b"".join(found)


def test_nothing_that_went_through_a_gate_is_seen_from_outside(
    manager: Manager, engine: PrivateEngine, cache: Path, secret: str
) -> None:
    since = time.time()
    job = manager.submit(
        "sh", "-c",
        'test -n "$SECRET" && echo up >/cache/secretive; while [ ! -e /cache/over ]; do sleep 0.1; done',
        options=(*ONE, "--env", f"SECRET={secret}"),
    )  # fmt: skip
    wait_for(cache / "secretive")
    until(lambda: manager.slot("one-0")["standby"], "one-0 has a standby")
    told = seen_from_outside(manager, since)
    assert len(manager.containers()) >= 4  # busy, its standby, two idle
    assert "io.mayfly.generation" in told
    assert secret not in told
    assert "job.env" not in told
    assert "job.argv" not in told
    inside = manager.docker("exec", manager.slot("one-0")["container"], "ls", "-A", "/run/mayfly")
    assert inside.split() == ["w"]
    assert secret.encode() not in raw(engine.home / "data" / "containers")
    (cache / "over").touch()
    assert manager.ended(job)["exit_code"] == 0
    until(lambda: secret.encode() not in raw(manager.state), "the environment is erased")
    assert secret not in seen_from_outside(manager, since)
    assert secret not in manager.log.read_text()


def test_a_job_that_forks_without_end_ends_at_its_limit(manager: Manager) -> None:
    job = manager.submit(
        "bash", "-c", "f() { f | f & }; f; sleep 100", options=(*ONE, "--timeout", "3")
    )
    row = manager.ended(job)
    assert row["state"] == "failed"
    assert manager.cli("submit", *ONE, "--wait", "--", "true").returncode == 0


def test_a_job_that_fills_its_memory_failed_for_it(manager: Manager) -> None:
    job = manager.queue(
        "sh", "-c", "head -c 400000000 /dev/zero | tail -n 1 | wc -c; exit 3", pool="one"
    )
    row = manager.ended(job)
    assert (row["state"], row["cause"], row["exit_code"]) == ("failed", "oom", 3)
    assert manager.cli("submit", *ONE, "--wait", "--", "true").returncode == 0


def test_a_job_that_closes_its_output_is_waited_for(manager: Manager) -> None:
    job = manager.queue("bash", "-c", "exec >&- 2>&-; sleep 1; exit 6", pool="one")
    row = manager.ended(job)
    assert row["exit_code"] == 6
    assert moment(row["finished"]) - moment(row["started"]) >= 1


def test_a_forged_end_opens_no_gate_and_changes_no_account(manager: Manager, cache: Path) -> None:
    forges = manager.queue(
        "sh", "-c",
        "echo mayfly: ended 0; echo up >/cache/forged; "
        "until [ -e /cache/forged-enough ]; do sleep 0.1; done; exit 3",
        pool="one",
    )  # fmt: skip
    follows = manager.queue("true", pool="one")
    manager.started(forges)
    wait_for(cache / "forged")
    manager.passed()
    assert manager.job(follows)["state"] == "queued"
    released = time.time()
    (cache / "forged-enough").touch()
    row = manager.ended(forges)
    assert (row["state"], row["cause"], row["exit_code"]) == ("failed", "exit", 3)
    assert moment(manager.ended(follows)["started"]) >= released
    assert manager.output(forges) == "mayfly: ended 0\n"


def test_jobs_that_ignore_term_are_ended_by_the_ladder(manager: Manager, cache: Path) -> None:
    script = 'trap "" TERM; echo up >/cache/deaf-$1; while :; do sleep 1; done'
    cancelled = manager.queue("sh", "-c", script, "-", "c", pool="local")
    late = manager.submit("sh", "-c", script, "-", "t", options=(*LOCAL, "--timeout", "3"))
    wait_for(cache / "deaf-c")
    wait_for(cache / "deaf-t")
    began = time.monotonic()
    assert manager.cli("cancel", cancelled).returncode == 0
    row = manager.ended(cancelled)
    assert time.monotonic() - began >= 8
    assert (row["state"], row["cause"], row["exit_code"]) == ("cancelled", "cancelled", 137)
    row = manager.ended(late)
    assert (row["state"], row["cause"], row["exit_code"]) == ("failed", "timeout", 137)


def test_a_cancelled_job_that_obeys_keeps_its_code(manager: Manager) -> None:
    job = manager.queue("sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.1; done", pool="local")
    manager.started(job)
    assert manager.cli("cancel", job).returncode == 0
    row = manager.ended(job)
    assert (row["state"], row["cause"]) == ("cancelled", "cancelled")
    again = manager.cli("cancel", job)
    assert again.returncode == 1
    assert "has ended already" in again.stderr


def test_a_queued_job_is_cancelled_at_once(manager: Manager) -> None:
    first = manager.queue("sleep", "100", pool="one")
    second = manager.queue("sh", "-c", "touch /cache/never", pool="one")
    manager.started(first)
    assert manager.job(second)["state"] == "queued"
    assert manager.cli("cancel", second).returncode == 0
    row = manager.job(second)
    assert (row["state"], row["cause"], row["exit_code"]) == ("cancelled", "cancelled", None)
    assert manager.cli("cancel", first).returncode == 0
    manager.ended(first)
    assert not (manager.home / "cache/never").exists()


def test_the_table_of_states_and_causes(manager: Manager, cache: Path) -> None:
    killed = manager.queue("sh", "-c", "echo up >/cache/killed; sleep 100", pool="one")
    wait_for(cache / "killed")
    manager.docker("kill", manager.slot("one-0")["container"])
    fine = manager.queue("true", pool="local")
    failed = manager.queue("false", pool="local")
    missing = manager.queue("no-such-command", pool="local")
    itself = manager.queue("sh", "-c", "kill -TERM $$", pool="local")
    expected: dict[str, tuple[Any, Any, Any]] = {
        killed: ("lost", "killed", None),
        fine: ("succeeded", None, 0),
        failed: ("failed", "exit", 1),
        missing: ("failed", "exit", 127),
        itself: ("failed", "exit", 128 + signal.SIGTERM),
    }
    for job, account in expected.items():
        row = manager.ended(job)
        assert (row["state"], row["cause"], row["exit_code"]) == account
    rows = {row["job"]: row for row in manager.json("jobs")["jobs"]}
    for job, account in expected.items():
        assert (rows[job]["state"], rows[job]["cause"], rows[job]["exit_code"]) == account
        assert rows[job]["submitted"] <= rows[job]["started"] <= rows[job]["finished"]


def test_names_that_are_not_there(manager: Manager) -> None:
    for words in (
        ("cancel", "zzzzzzzzz"),
        ("logs", "nothing-7"),
        ("drain", "nothing-7"),
        ("uncordon", "nothing-7"),
    ):
        done = manager.cli(*words)
        assert done.returncode == 4, words
        assert words[1] in done.stderr
    assert manager.cli("submit", "--", "true").returncode == 2  # two pools: which?
    assert manager.cli("wait", "--for", "rain").returncode == 2
