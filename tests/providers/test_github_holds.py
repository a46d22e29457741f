"""What needs a person at GitHub holds the pool with a sentence; all else goes on, and it fills again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.fakes.github import FakeGitHub, Job
from tests.harness import until
from tests.hurried import hurried
from tests.providers.github_pool import GitHubPool, github_pool

pytestmark = pytest.mark.engine
LISTS = "providers.github.provider.LIST_EVERY=1"
REFUSED = "core.contact.LIST_REST=1"
TRIALS = "core.refusals.TRIAL_FIRST=1"
MINT = ("POST", "/api/v3/orgs/acme/actions/runners/generate-jitconfig")
LIST = ("GET", "/api/v3/orgs/acme/actions/runners")
OTHER = '[[pool]]\nname = "local"\nprovider = "local"\nslots = 1\n'
STRANGER = "box-gh-0-l0000000abcde"


@pytest.fixture
def pool(engine: PrivateEngine) -> Iterator[GitHubPool]:
    with github_pool(engine) as one:
        yield one


@dataclass(frozen=True)
class Fault:
    """Something at GitHub that a person has to put right."""

    name: str
    says: str  # in the sentence
    spoil: Callable[[FakeGitHub], object]
    mend: Callable[[FakeGitHub], object]
    place: str = "acme"
    app: bool = False
    checked: bool = True  # the provider's check finds it too


def rename(fake: FakeGitHub, old: str, new: str) -> None:
    fake.repos[new] = fake.repos.pop(old)
    fake.renamed = {old: new}
    for runner in fake.runners.values():
        runner.scope = f"repos/{new}"


def suspend(fake: FakeGitHub) -> None:
    fake.suspended = True
    fake.tokens.clear()


def intrude(fake: FakeGitHub) -> None:
    fake._add("orgs/acme", STRANGER, 1, ["self-hosted"])
    fake.connect(STRANGER)


FAULTS = (
    Fault(
        "a wrong token",
        "the token is wrong or has expired: put a valid one where `token` points",
        lambda fake: fake.tokens.update(ghp_other=fake.tokens.pop("ghp_good")),
        lambda fake: fake.tokens.update(ghp_good=fake.tokens.pop("ghp_other")),
    ),
    Fault(
        "a missing permission",
        "the token lacks a permission: it needs Self-hosted runners: Read and write",
        lambda fake: setattr(fake.tokens["ghp_good"], "runners", "read"),
        lambda fake: setattr(fake.tokens["ghp_good"], "runners", "write"),
    ),
    Fault(
        "an unknown group",
        'there is no runner group "gpu"',
        lambda fake: fake.groups.update({9: fake.groups.pop(3) | {"name": "cpu"}}),
        lambda fake: fake.groups.update({3: fake.groups.pop(9) | {"name": "gpu"}}),
    ),
    Fault(
        "a suspended App",
        "is suspended at orgs/acme: have an owner lift the suspension",
        suspend,
        lambda fake: setattr(fake, "suspended", False),
        app=True,
    ),
    Fault(
        "a renamed repository",
        "acme/app is called acme/new now: set url = ",
        lambda fake: rename(fake, "acme/app", "acme/new"),
        lambda fake: rename(fake, "acme/new", "acme/app"),
        place="acme/app",
    ),
    Fault(
        "a namesake that is not ours",
        f"an agent named {STRANGER} that is not ours is online at the service: rename",
        intrude,
        lambda fake: fake.disconnect(STRANGER),
        checked=False,
    ),
    Fault(
        "an Enterprise Server that mints no configurations",
        'GitHub Enterprise Server 3.19.0 knows no one-use configuration (404 where pool "gh" can list '
        'runners): set enrolment = "token"',
        lambda fake: setattr(fake, "jit", False),
        lambda fake: setattr(fake, "jit", True),
    ),
)


def configure(pool: GitHubPool, fault: Fault) -> None:
    """One slot at GitHub, and one of another pool."""
    keys = 'calls_per_hour = 36000\n[pool.env]\nSTUB_PACE = "20"'
    tables = pool.pools(1, keys, f"{pool.fake.url}/{fault.place}")
    pool.manager.configure(tables + OTHER)
    if fault.app:
        pool.use_app()


def working(pool: GitHubPool) -> Job:
    """A job that runs until it is let go."""
    job = pool.fake.queue("until [ -e /tmp/go ]; do sleep 0.05; done")
    pool.manager.in_phase("busy", "gh-0")
    return job


def let_go(pool: GitHubPool, job: Job) -> None:
    pool.manager.let_go_in("gh-0")
    until(lambda: job.state == "completed", "the job is done")


def events(pool: GitHubPool, name: str) -> int:
    """How often the log tells that."""
    lines = map(json.loads, pool.manager.log.read_text().splitlines())
    return sum(1 for line in lines if line.get("event") == name)


# Met as a wrong token is. tests/providers/test_github_pool.py begins with the first two, the test below with
# a missing permission; what each is told by is in tests/providers/test_github.py.
SOAKED = (
    *("an unknown group", "a namesake that is not ours", "a missing permission"),
    *("a suspended App", "a renamed repository"),
    "an Enterprise Server that mints no configurations",
)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=fault.name, marks=[pytest.mark.soak] if fault.name in SOAKED else [])
        for fault in FAULTS
    ],
)
def test_the_pool_is_held_with_a_sentence_loses_nothing_and_fills_again_by_itself(
    pool: GitHubPool, fault: Fault
) -> None:
    manager = pool.manager
    configure(pool, fault)
    manager.start(*hurried(LISTS, REFUSED, TRIALS), wait="idle")
    job = working(pool)
    with pool.fake.lock:
        fault.spoil(pool.fake)
    calls = pool.fake.count("", "/api/v3/")
    until(lambda: pool.fake.count("", "/api/v3/") > calls + 2, "the manager has met it")
    # Who is at work goes on, and what it did is accounted for.
    let_go(pool, job)
    assert (job.conclusion, job.acquired, job.completed) == ("succeeded", 1, 1)
    row = manager.in_phase("held", "gh-0")
    assert fault.says in row["note"]
    assert "\n" not in row["note"]
    code = "slot.held" if fault.spoil is intrude else "service.refused"
    assert fault.says in manager.health()[code]
    found = json.loads(manager.cli("doctor", "--json").stdout)["checks"]
    told = [check["text"] for check in found if check["state"] == "fail"]
    assert any(fault.says in text for text in told)
    service = next(check for check in found if check["code"] == "service.allows")
    assert (service["state"] == "fail") is fault.checked
    # The other pool does not mind.
    assert manager.ended(manager.queue("true"))["state"] == "succeeded"
    (ended,) = manager.json("history", "--slot", "gh-0", "--outcome", "job_done")["agents"]
    assert ended["detail"] == "Succeeded"
    with pool.fake.lock:
        fault.mend(pool.fake)
    manager.in_phase("idle", "gh-0")
    again = pool.fake.queue("true")
    until(lambda: again.conclusion == "succeeded", "a job is done again")
    left = {runner.name for runner in pool.fake.runners.values()}
    assert STRANGER not in left or fault.spoil is intrude


def test_a_hold_for_a_refused_enrolment_outlasts_good_lists_and_asks_seldom(
    pool: GitHubPool,
) -> None:
    pool.configure(2)
    pool.fake.tokens["ghp_good"].runners = "read"
    pool.manager.start(*hurried(LISTS), wait="answer")
    for slot in ("gh-0", "gh-1"):
        pool.manager.in_phase("held", slot)
    asked, lists = pool.fake.count(*MINT), pool.fake.count(*LIST)
    until(lambda: pool.fake.count(*LIST) > lists + 5, "five good lists")
    assert pool.manager.slot("gh-0")["phase"] == "held"
    assert pool.fake.count(*MINT) == asked <= 2
    assert events(pool, "provider.back") == 0
    assert events(pool, "agent.created") == 2
    pool.fake.tokens["ghp_good"].runners = "write"
    done = pool.manager.cli("retry", "gh-0")
    assert done.returncode == 0, done.stderr
    pool.manager.in_phase("idle", "gh-0", 15)  # long before the next trial of its own
    pool.manager.in_phase("idle", "gh-1", 15)
    assert events(pool, "provider.back") == 1
    # What was minted to try it is given back.
    until(lambda: len(pool.fake.runners) == 2, "a registration a slot")
