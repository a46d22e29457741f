"""The queue of a real manager: CUDA versions, two people of one box, a restart, what is run again."""

from __future__ import annotations

import grp
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.harness import Manager, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.engine.private_engine import PrivateEngine

pytestmark = [pytest.mark.long, pytest.mark.engine]

VERSIONS = {"old": "11.8", "new": "12.8", "newest": "13.0"}
POOLS = "".join(
    f"""
[[pool]]
name = "{name}"
provider = "local"
slots = 1
cuda = "{version}"
standby = false
network = "none"
[[pool.caches]]
source = "{{home}}/cache"
target = "/cache"
"""
    for name, version in VERSIONS.items()
)
BEN = 54321  # the uid of the box's other person
# Asks the door for users as somebody else of this box, which the kernel tells the manager.
AS_BEN = """
import http.client, json, os, socket, sys
path, group, method, target, body = sys.argv[1:]
os.setgroups([int(group)]); os.setgid(65534); os.setuid(54321)
connection = http.client.HTTPConnection("localhost", timeout=60)
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(path)
connection.request(method, target, body or None, {"Content-Type": "application/json"})
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@pytest.fixture
def manager(engine: PrivateEngine, make: Callable[..., Manager]) -> Manager:
    """A box with a pool of one slot for each of three CUDA versions."""
    for version in VERSIONS.values():
        engine.docker("tag", "mayfly/local:cpu", f"mayfly/local:cuda{version}")
    one = make("")
    (one.home / "cache").mkdir()
    (one.home / "cache").chmod(0o777)
    one.configure(POOLS.format(home=one.home))
    one.start()
    return one


def as_ben(
    manager: Manager, method: str, target: str, document: object = None
) -> tuple[int, dict[str, object]]:
    """What the manager answers to the box's other person, who is no operator."""
    group = str(grp.getgrnam("mayfly-users").gr_gid)
    body = "" if document is None else json.dumps(document)
    place = str(manager.socket.with_name("users.sock"))
    done = subprocess.run(
        [sys.executable, "-c", AS_BEN, place, group, method, target, body],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    status, told = done.stdout.split(maxsplit=1)
    return int(status), json.loads(told)


def two_people() -> bool:
    """Whether somebody else can be played here."""
    try:
        grp.getgrnam("mayfly-users")
    except KeyError:
        return False
    return os.getuid() == 0


def order(manager: Manager) -> list[str]:
    """The jobs that wait in pool old, the next one first."""
    rows = manager.json("jobs", "--pool", "old", "--state", "queued")["jobs"]
    return [row["job"] for row in sorted(rows, key=lambda row: row["position"])]


def until_there(file: Path) -> str:
    """What a job wrote there."""
    until(lambda: file.exists() and file.read_text(), f"{file.name} is written")
    return file.read_text()


def test_a_job_in_each_cuda_version_is_one_command_one_table_and_one_exit_code(
    manager: Manager,
) -> None:
    script = "echo on $(hostname) with $SEED; case $(hostname) in new-*) exit 7;; esac"
    done = manager.cli(
        "submit", "--cuda", "all", "--name", "kernels", "--wait", "--", "sh", "-c", script
    )
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head == ["JOB", "VARIANT", "POOL", "STATE", "EXIT", "RAN"]
    assert [row[1:5] for row in rows] == [
        ["cuda=11.8", "old", "succeeded", "0"],
        ["cuda=12.8", "new", "failed", "7"],
        ["cuda=13.0", "newest", "succeeded", "0"],
    ]
    assert done.returncode == 7, done.stderr
    group, _, _ = rows[0][0].rpartition("-")
    listed = manager.json("jobs", "--group", group)["jobs"]
    assert {(row["name"], row["group"]) for row in listed} == {("kernels", group)}
    assert manager.output(rows[2][0]) == "on newest-0 with\n"

    # What ran gives the estimate; who waits is told the place and the reason.
    blocker = manager.queue(
        "sh", "-c", "echo up >/cache/up; until [ -e /cache/go ]; do sleep 0.1; done",
        pool="old", name="kernels",
    )  # fmt: skip
    until_there(manager.home / "cache/up")
    mine = [manager.queue("true", pool="old") for _ in range(3)]
    told = manager.json("jobs", "--why", mine[1])
    why = "1 job is before it, and 1 of 1 slot of pool old is busy"
    assert (told["position"], told["why"]) == (2, why)
    assert told["starts_at"] is not None
    bens = [] if not two_people() else [one_of_another(manager, mine)]
    before = order(manager)
    assert before == [*bens, *mine]
    assert manager.kill() == -9
    manager.start(wait="answer")
    assert order(manager) == before, "a restart changes nothing of the order"
    (manager.home / "cache/go").touch()
    assert manager.ended(blocker)["state"] == "succeeded"
    starts = [manager.ended(job)["started"] for job in before]
    assert starts == sorted(starts), "and so they start"


def one_of_another(manager: Manager, others: list[str]) -> str:
    """The job of the box's other person, who can end it and no other."""
    for parent in list(manager.socket.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    status, told = as_ben(manager, "POST", "/v1/jobs", {"argv": ["true"], "pool": "old"})
    assert status == 201, told
    job = str(told["job"])
    refused = (403, {"error": f"job {others[0]} is not one of uid {BEN}'s", "kind": "forbidden"})
    assert as_ben(manager, "POST", f"/v1/jobs/{others[0]}/cancel") == refused
    assert as_ben(manager, "POST", "/v1/cancel", {"jobs": [job, others[0]]}) == refused
    assert manager.job(job)["state"] == "queued", "nothing of what is refused is done"
    high = {"argv": ["true"], "pool": "old", "priority": "high"}
    assert as_ben(manager, "POST", "/v1/jobs", high)[0] == 403
    spare = {"argv": ["true"], "pool": "old"}
    own = str(as_ben(manager, "POST", "/v1/jobs", spare)[1]["job"])
    assert as_ben(manager, "POST", "/v1/cancel", {"jobs": [own]})[0] == 200
    rows = as_ben(manager, "GET", "/v1/jobs?pool=old")[1]["jobs"]
    assert isinstance(rows, list)
    shown = {row["job"]: row["command"] for row in rows}
    assert (shown[job], shown[others[0]]) == ("true", None), "what others run is not shown"
    return job


def test_what_follows_a_job_and_what_is_run_again_where_it_was_lost(manager: Manager) -> None:
    script = "echo up >/cache/$MAYFLY_JOB; until [ -e /cache/go ]; do sleep 0.1; done"
    first = manager.submit("sh", "-c", script, options=("--pool", "old", "--retry-lost", "1"))
    after = manager.submit("true", options=("--pool", "new", "--after", first))
    vain = manager.submit("true", options=("--pool", "new", "--after", after, "--name", "third"))
    assert manager.json("jobs", "--why", after)["why"] == f"it runs once job {first} has ended well"
    until_there(manager.home / "cache" / first)
    container = manager.slot("old-0")["container"]
    assert manager.job(first)["lost"] == 0
    manager.docker("kill", container)
    until(lambda: manager.job(first)["lost"] == 1, "it was lost, and is queued again")
    (manager.home / "cache/go").touch()
    assert manager.ended(first)["state"] == "succeeded"
    assert manager.ended(after)["state"] == "succeeded"
    assert manager.ended(vain)["state"] == "succeeded"

    failing = manager.submit("sh", "-c", "exit 3", options=("--pool", "old"))
    following = manager.cli("submit", "--pool", "old", "--after", failing, "--", "true")
    if following.returncode == 0:
        row = manager.ended(following.stdout.strip())
        assert (row["state"], row["cause"]) == ("cancelled", "after")
        assert row["detail"] == f"job {failing}, which it was to run after, failed"
    else:  # it had failed by then
        assert "it would never run: " in following.stderr
