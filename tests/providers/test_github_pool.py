"""A pool at GitHub, whole: a real manager, a real Engine, the fake service and the stub runner."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.model import GATE_PROTOCOL
from tests.engine.private_engine import PrivateEngine
from tests.fakes.github import Job
from tests.harness import until
from tests.hurried import SOON, hurried
from tests.providers.github_pool import GitHubPool, github_pool
from tests.providers.leaks import leaks, surfaces

pytestmark = [
    pytest.mark.engine,
    pytest.mark.seen("github", "a job from start to end", with_="fake"),
]


@pytest.fixture
def pool(engine: PrivateEngine) -> Iterator[GitHubPool]:
    with github_pool(engine) as one:
        yield one


def done(pool: GitHubPool, job: Job, patience: float = 40) -> Job:
    """The job once it is over."""
    until(lambda: job.state == "completed", f"job {job.name} is done ({job.state})", patience)
    return job


def started(pool: GitHubPool) -> None:
    """Start the manager, whatever comes of its pool."""
    pool.manager.start(wait=None)
    until(pool.manager.answers, "the manager answers")


def history(pool: GitHubPool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pool.manager.get("/v1/history")["agents"]
    return rows


def metrics(pool: GitHubPool) -> str:
    """What Prometheus would be told."""
    return pool.manager.read("/v1/metrics").decode()


def test_a_wrong_token_holds_the_pool_with_a_sentence_until_a_right_one_is_there(
    pool: GitHubPool,
) -> None:
    token = pool.manager.home / "token"
    token.write_text("ghp_wrong")
    pool.configure(1)
    pool.manager.start(*hurried("providers.github.provider.LIST_EVERY=1", *SOON), wait="answer")
    row = pool.manager.in_phase("held", "gh-0")
    assert "401" in row["note"]
    assert "token is wrong or has expired" in row["note"]
    assert pool.fake.runners == {}
    token.write_text("ghp_good")
    pool.manager.in_phase("idle", "gh-0")


def test_an_unknown_group_holds_the_pool_and_names_those_there_are(pool: GitHubPool) -> None:
    pool.configure(1)
    pool.fake.groups.pop(3)
    started(pool)
    row = pool.manager.in_phase("held", "gh-0")
    assert 'no runner group "gpu"' in row["note"]
    assert '"Default"' in row["note"]


def test_a_namesake_of_somebody_else_that_is_online_holds_its_slot(pool: GitHubPool) -> None:
    stranger = pool.fake._add("orgs/acme", "box-gh-0-l0000000abcde", 1, ["self-hosted"])
    pool.fake.connect(stranger.id)
    started(pool)
    row = pool.manager.in_phase("held", "gh-0")
    assert "not ours" in row["note"]
    assert stranger.id in pool.fake.runners
    pool.manager.in_phase("idle", "gh-1")


def test_a_runner_that_is_too_old_holds_its_slots_and_is_not_tried_again_and_again(
    pool: GitHubPool,
) -> None:
    pool.fake.minimum_version = "2.999.0"
    started(pool)
    for slot in ("gh-0", "gh-1"):
        row = pool.manager.in_phase("held", slot)
        assert row["note"].startswith("image too old")
    minted = pool.fake.registered
    assert minted <= 4
    outcomes = {row["outcome"] for row in history(pool)}
    assert "image_too_old" in outcomes
    assert outcomes <= {"image_too_old", "no_job"}  # standbys are let go


def test_idle_registrations_that_the_service_takes_back_are_replaced_without_penalty(
    pool: GitHubPool,
) -> None:
    pool.fake.idle_expiry = 2.0
    pool.fake.hold = 1.0
    started(pool)
    until(lambda: pool.fake.registered >= 8, "eight registrations")
    rows = history(pool)
    assert {row["outcome"] for row in rows} == {"no_job"}
    assert {row["detail"] for row in rows} == {
        "idle expiry: the service took its registration back"
    }
    assert {row["exit_code"] for row in rows} == {0}
    assert not any("slot.cooled" in line for line in pool.manager.log.read_text().splitlines())
    counted = re.findall(
        r'mayfly_agents_expired_total\{pool="gh",provider="github",slot="gh-\d"\} (\d+)',
        metrics(pool),
    )
    assert sum(map(int, counted)) >= len(rows)
    job = pool.fake.queue("true")
    assert done(pool, job).conclusion == "succeeded"


def test_config_sh_enrols_where_one_use_configurations_are_missing(pool: GitHubPool) -> None:
    pool.fake.jit = False
    pool.fake.agents_url = None
    pool.configure(1, 'enrolment = "token"\nnetwork = "host"')
    pool.manager.start()
    jobs = [pool.fake.queue("echo hello") for _ in range(2)]
    for job in jobs:
        assert done(pool, job).conclusion == "succeeded"
    assert pool.fake.count("POST", "/api/v3/orgs/acme/actions/runners/registration-token") == 1


# -- the secret hunt ------------------------------------------------------------------------------

# Everything that a job can see: every process's environment and arguments, and every file it can read
# outside the system's own programs.
HUNT = r"""
set +e
exec 2>/dev/null
for p in /proc/[0-9]*; do
  tr '\0' '\n' <$p/environ; tr '\0' ' ' <$p/cmdline; echo
  for f in $p/fd/*; do [ -f $f ] && head -c 100000 $f; done
done
env
find / -xdev \( -path /proc -o -path /sys -o -path /usr -o -path /var/lib -o -path /etc/ssl \) -prune -o \
  -type f -readable -size -200k -print | while read -r f; do printf '\nFILE %s\n' "$f"; cat "$f"; done
find /run /dev/shm -type f | while read -r f; do printf '\nFILE %s\n' "$f"; cat "$f"; done
echo HUNTED
"""


@pytest.mark.parametrize("way", ["jit", "token"])
def test_a_job_finds_nothing_that_outlives_its_agent_or_opens_another_slot(
    pool: GitHubPool, way: str
) -> None:
    keys = 'enrolment = "token"\nnetwork = "host"' if way == "token" else ""
    if way == "token":
        pool.fake.agents_url = None
    pool.configure(2, keys)
    pool.manager.start()
    job = pool.fake.queue(HUNT)
    seen = done(pool, job).log
    assert "HUNTED" in seen
    assert "Runner.Listener" in seen
    known = {"token": "ghp_good"}
    known |= {f"registration token {n}": t for n, t in enumerate(pool.fake._registration_tokens)}
    known |= {f"key of {r.name}": r.proof for r in pool.fake.runners.values()}
    assert leaks(known, {"the job's eyes": seen, **surfaces(pool.manager, pool.tag)}) == []
    # Its own key the job does see, as the runner works with it. It is good for nothing any more.
    client, key = own_credentials(seen)
    assert pool.fake.runner(job.runner or "") is None
    status = subprocess.run(
        [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-d",
            assertion(client, key),
            client["url"],
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert status == "400"
    assert leaks({"its key": key}, surfaces(pool.manager, pool.tag)) == []


@pytest.mark.parametrize("way", ["jit", "token", "app"])
def test_no_secret_is_left_where_anybody_on_the_host_looks(pool: GitHubPool, way: str) -> None:
    secrets = {"the token": "ghp_good"}
    if way == "token":
        pool.fake.agents_url = None
        pool.configure(2, 'enrolment = "token"\nnetwork = "host"')
    elif way == "app":
        secrets |= {f"the App's key {n}": line for n, line in enumerate(pool.use_app()[1:-1])}
    pool.manager.start()
    job = pool.fake.queue("until [ -e /tmp/go ]; do sleep 0.05; done")
    slot = until(
        lambda: next(
            (s for s in ("gh-0", "gh-1") if pool.manager.slot(s)["phase"] == "busy"), None
        ),
        "a slot is busy",
    )
    during = surfaces(pool.manager, pool.tag)
    assert leaks(secrets | pool.fake.issued, during) == []
    assert leaks({"its slot": slot}, during)  # what does stand there is found
    pool.manager.let_go_in(slot)
    done(pool, job)
    until(lambda: history(pool), "the agent's end in the history")
    kinds = {"jit": "the configuration of", "token": "registration token", "app": "the App's token"}
    assert any(what.startswith(kinds[way]) for what in pool.fake.issued)
    assert leaks(secrets | pool.fake.issued, surfaces(pool.manager, pool.tag)) == []


def own_credentials(seen: str) -> tuple[dict[str, str], str]:
    """The OAuth client and the private key that lay beside the runner."""
    url = re.search(r'"(?:AuthorizationUrl|authorizationUrl)": ?"([^"]+)"', seen)
    client = re.search(r'"(?:ClientId|clientId)": ?"([^"]+)"', seen)
    key = re.search(r'"d": ?"([^"]+)"', seen)
    assert url is not None
    assert client is not None
    assert key is not None
    port = url.group(1).split(":")[2]
    return {"id": client.group(1), "url": f"http://127.0.0.1:{port}"}, base64.b64decode(
        key.group(1)
    ).decode()


def assertion(client: dict[str, str], key: str) -> str:
    """The form by which the runner would get itself a new token."""
    claims = {
        "iss": client["id"],
        "sub": client["id"],
        "nbf": int(time.time()),
        "exp": int(time.time()) + 300,
    }
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({}, claims)
    ]
    proof = hashlib.sha256(f"{parts[0]}.{parts[1]}{key}".encode()).hexdigest()
    signed = base64.urlsafe_b64encode(proof.encode()).decode().rstrip("=")
    return f"grant_type=client_credentials&client_assertion={parts[0]}.{parts[1]}.{signed}"


def test_the_image_is_built_from_the_real_dockerfile_and_says_its_client(
    engine: PrivateEngine,
) -> None:
    (row,) = json.loads(engine.docker("image", "inspect", "mayfly/github:stub-2.336.0"))
    labels = row["Config"]["Labels"]
    assert labels["io.mayfly.gate"] == GATE_PROTOCOL
    assert labels["io.mayfly.provider"] == "github"
    assert labels["io.mayfly.client"] == "2.336.0"
    assert Path("dockerfiles/Dockerfile").exists()


def canary(pool: GitHubPool, slot: str) -> dict[str, Any]:
    """What `mayfly doctor --canary SLOT` says of its canary."""
    said = pool.manager.json("doctor", "--canary", slot)["checks"]
    (row,) = [check for check in said if check["code"] == "agent.canary"]
    return dict(row)


def test_a_canary_that_is_not_let_in_says_why_and_its_slot_stays_as_it_was(
    pool: GitHubPool,
) -> None:
    pool.manager.start()
    cordon = pool.manager.cli("cordon", "gh-1", "--note", "fans")
    assert cordon.returncode == 0
    pool.fake.minimum_version = "2.999.0"
    row = canary(pool, "gh-1")
    assert row["state"] == "fail"
    assert "too old" in row["text"]
    assert pool.manager.slot("gh-1")["cordoned"]["note"] == "fans"
