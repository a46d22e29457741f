"""Jobs that mean harm, some of them root in their agents (`sudo = true`): they reach their own agent only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.hostile import KINDS
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until

POOLS = """
[[pool]]
name = "evil"
provider = "local"
slots = 1
sudo = true
[[pool.caches]]
source = "{home}/cache"
target = "/cache"

[[pool]]
name = "led"
provider = "local"
slots = 1
image = "mayfly/local:led"
[pool.env]
LD_DEBUG = "statistics"
LD_DEBUG_OUTPUT = "/cache/led/by"
FOO = "it's\\nfoo"
TAR_OPTIONS = "--no-such"
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
[pool.limits]
memory = "96MiB"

[[pool]]
name = "storm"
provider = "local"
slots = 2
[pool.limits]
connection_rate = 10
process_rate = 5

[[pool]]
name = "good"
provider = "local"
slots = 1
"""
IMAGE_SETS = (
    "ENV MAYFLY_GROUPS=0 MAYFLY_SUDO=1 LD_LIBRARY_PATH=/of/image LD_DEBUG=all"
    " LD_DEBUG_OUTPUT=/cache/led/image FOO=1"
)
EVIL, LED, GOOD = ("--pool", "evil"), ("--pool", "led"), ("--pool", "good")
RUNNER = 1000
OURS = {"MAYFLY_SLOT", "MAYFLY_JOB", "MAYFLY_POOL", "MAYFLY_IMAGE"}  # variables that each job finds


@pytest.fixture(scope="module")
def manager(engine: PrivateEngine) -> Iterator[Manager]:
    """The manager of this module."""
    engine.docker("create", "--name", "led", "mayfly/local:cpu")
    engine.docker("commit", "-c", IMAGE_SETS, "led", "mayfly/local:led")
    engine.docker("rm", "led")
    with Manager(engine.url) as one:
        (one.home / "cache/led").mkdir(parents=True)
        for place in ("cache", "cache/led"):
            (one.home / place).chmod(0o777)
        one.configure(POOLS.format(home=one.home))
        one.start()
        yield one


def there(file: Path) -> None:
    until(file.exists, f"{file.name} is there")


def test_an_end_that_root_forges_in_the_witness_is_none_while_the_job_goes_on(
    manager: Manager,
) -> None:
    cache = manager.home / "cache"
    forger = manager.submit(
        "sh", "-c",
        "sudo sh -c 'echo 0 0 >/run/mayfly/w/exit'; echo mayfly: ended 0; touch /cache/forged; "
        "until [ -e /cache/enough ]; do sleep 0.1; done; exit 3",
        options=EVIL,
    )  # fmt: skip
    follows = manager.submit("true", options=EVIL)
    there(cache / "forged")
    assert manager.cli("submit", *GOOD, "--wait", "--", "true").returncode == 0
    manager.passed()
    assert manager.job(forger)["state"] == "running"
    assert manager.job(follows)["state"] == "queued"
    (cache / "enough").touch()
    assert manager.ended(forger)["exit_code"] == 3
    assert manager.ended(follows)["state"] == "succeeded"


def test_what_pool_and_image_set_leads_nothing_of_roots_and_reaches_the_job(
    manager: Manager,
) -> None:
    look = "cat /proc/self/environ | tr '\\0' '|'; echo; id -G; grep NoNewPrivs /proc/self/status"
    job = manager.submit("sh", "-c", look, options=LED)
    assert manager.ended(job)["state"] == "succeeded", manager.output(job)
    seen, _, rest = manager.output(job).rpartition("|\n")
    variables = dict(pair.split("=", 1) for pair in seen.split("|"))
    assert variables["LD_LIBRARY_PATH"] == "/of/image"
    assert variables["LD_DEBUG_OUTPUT"] == "/cache/led/by"
    assert variables["FOO"] == "it's\nfoo"
    assert variables["TAR_OPTIONS"] == "--no-such"
    assert {name for name in variables if "MAYFLY" in name} == OURS
    assert rest.split() == [str(RUNNER), "NoNewPrivs:", "1"]
    # The loader writes a file for each process that it is led in, as who that process is.
    traces = list((manager.home / "cache/led").iterdir())
    assert {trace.stat().st_uid for trace in traces} == {RUNNER}


def test_a_flood_of_output_is_frozen_and_its_job_ended_as_any_other(manager: Manager) -> None:
    job = manager.submit("sh", "-c", "exec sudo yes", options=EVIL)
    until(lambda: "slot.throttled" in manager.health(), "the flood is told")
    until(lambda: manager.docker("ps", "-q", "--filter", "status=paused"), "it is frozen")
    assert manager.slot("evil-0")["phase"] == "busy"
    assert "slot.paused" not in manager.health()
    assert manager.cli("submit", *GOOD, "--wait", "--", "true").returncode == 0
    assert manager.cli("cancel", job).returncode == 0
    assert manager.ended(job)["state"] == "cancelled"
    until(lambda: "slot.throttled" not in manager.health(), "nothing is left to tell")


def test_who_begins_processes_or_connections_without_end_is_frozen_and_an_honest_job_is_not(
    manager: Manager,
) -> None:
    """The honest one begins as many of each as it may for long, beside those who do not."""
    storm = ("--pool", "storm")
    bomb = manager.submit("sh", "-c", "while :; do (:) & wait; done", options=storm)
    flood = manager.submit("bash", "-c", KINDS["network"], options=storm)

    def throttled(words: str) -> None:
        def told() -> bool:
            return any(words in one["text"] for one in manager.get("/v1/status")["health"])

        until(told, f"one of them {words}", 120)

    throttled("begins too many processes")
    throttled("opens too many connections")
    build = "seq 1 600 | xargs -P 4 -n 1 sh -c :; for p in $(seq 1 3000); do : >/dev/tcp/127.0.0.1/$p; done"
    honest = manager.submit("bash", "-c", f"({build}) 2>/dev/null; exit 0", options=GOOD)
    assert manager.ended(honest, 120)["state"] == "succeeded"
    events = manager.get("/v1/events?limit=1000")["events"]
    told = {one["slot"] for one in events if one["event"] == "agent.throttled"}
    assert told >= {"storm-0", "storm-1"}
    assert "good-0" not in told
    for job in (bomb, flood):
        assert manager.cli("cancel", job).returncode == 0
        assert manager.ended(job)["state"] == "cancelled"
    until(lambda: "slot.throttled" not in manager.health(), "nothing is left to tell")


def test_what_root_puts_into_the_witness_costs_its_own_job_alone(manager: Manager) -> None:
    """A pipe in place of each record, and then more than is for it."""
    fill = (
        "cd /run/mayfly/w; rm -f *; for f in ready opened exit signs signals spare; do mkfifo $f; done;"
        " mkdir -p d/e; chmod 0 d/e; head -c 4000000 /dev/zero >more"
    )
    job = manager.submit("sh", "-c", 'sudo sh -c "$0"; sleep 600', fill, options=EVIL)
    assert manager.cli("submit", *GOOD, "--wait", "--", "true").returncode == 0
    row = manager.ended(job)
    assert (row["state"], row["cause"]) == ("failed", "disk")
    assert manager.cli("submit", *EVIL, "--wait", "--", "true").returncode == 0
    kept = manager.home / "state/agents"
    until(lambda: not list(kept.glob("*/more")), "what it left is gone")


def test_a_job_that_lowers_its_own_score_dies_of_a_full_memory_before_its_launcher(
    manager: Manager,
) -> None:
    # Each holds what it has read until its input ends, which it does not: together they are too many.
    holds = "tail -n 1 < <(head -c 24000000 /dev/zero; exec sleep infinity) >/dev/null"
    job = manager.submit(
        "bash", "-c",
        "unset LD_DEBUG; echo 0 >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj; "
        f"for _ in 1 2 3 4 5 6 7 8; do {holds} & done; wait -n; exit 3",
        options=LED,
    )  # fmt: skip
    row = manager.ended(job)
    assert (row["state"], row["cause"]) == ("failed", "oom"), (row, manager.output(job))
