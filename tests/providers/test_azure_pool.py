"""A pool of Azure Pipelines on a real Engine: the life of a slot, what is wrong, what a job can take away."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.fakes.azure import Job, unpadded
from tests.harness import until
from tests.hurried import SOON, hurried
from tests.providers.azure_pool import AzurePool, azure_pool
from tests.providers.leaks import leaks, surfaces
from tests.providers.test_azure import assertion

pytestmark = [
    pytest.mark.engine,
    pytest.mark.seen("azure", "a job from start to end", with_="fake"),
]
FIRST, SECOND = "box-az-0", "box-az-1"


@pytest.fixture
def pool(engine: PrivateEngine) -> Iterator[AzurePool]:
    with azure_pool(engine) as ready:
        yield ready


@pytest.fixture
def filled(pool: AzurePool) -> AzurePool:
    pool.manager.start()
    return pool


def done(job: Job) -> Job:
    """The job once the service has its result."""
    until(lambda: job.result, f"job {job.name} ends")
    return job


def begun(job: Job) -> str:
    """The slot of the agent that runs the job, once Mayfly knows it too."""
    until(lambda: job.begun_by, "a job begins")
    assert job.agent is not None
    return job.agent.removeprefix("box-")


def history(pool: AzurePool) -> list[dict[str, Any]]:
    rows = [value for value in pool.manager.json("history").values() if isinstance(value, list)]
    found: list[dict[str, Any]] = rows[0]
    return found


def ended(pool: AzurePool, outcome: str) -> dict[str, Any]:
    """The first agent in the history that came to that."""

    def look() -> dict[str, Any] | None:
        return next((row for row in history(pool) if row["outcome"] == outcome), None)

    return until(look, f"an agent ends as {outcome}")


# -- the life of a slot ------------------------------------------------------------------------------


def test_slots_are_filled_under_names_that_stay_and_each_job_has_an_agent_of_its_own(
    filled: AzurePool,
) -> None:
    fake = filled.fake
    assert fake.names() == [FIRST, SECOND]
    ids = {entry.id for entry in fake.agents.values()}
    jobs = [done(fake.queue("hostname")) for _ in range(5)]
    assert {job.result for job in jobs} == {"succeeded"}
    agents = {generation for job in jobs for generation in job.begun_by}
    assert len(agents) == 5
    assert fake.names() == [FIRST, SECOND]
    assert {entry.id for entry in fake.agents.values()} == ids
    assert ended(filled, "job_done")["detail"] == "Succeeded"


def test_a_killed_agents_slot_comes_back_by_taking_its_entry_anew(filled: AzurePool) -> None:
    fake = filled.fake
    fake.lapse = 1000.0  # its session outlives its job
    fake.renewal = 5.0
    job = fake.queue("sleep 1000")
    slot = begun(job)
    before = fake.entry(f"box-{slot}").id
    filled.engine.docker("kill", slot)
    assert done(job).result == "abandoned"
    name = f"box-{slot}"  # which is nobody's for a moment
    taken = lambda: name in fake.names() and fake.entry(name).id != before  # noqa: E731
    until(taken, "the entry is taken anew")
    filled.manager.in_phase("idle", slot)
    assert fake.names() == [FIRST, SECOND]
    assert ended(filled, "unknown")["cause"] == "killed"


def test_a_killed_manager_finds_its_busy_agents_again(filled: AzurePool) -> None:
    job = filled.fake.queue("until [ -e /tmp/go ]; do sleep 0.1; done")
    slot = begun(job)
    filled.manager.in_phase("busy", slot)
    container = filled.engine.docker("inspect", "-f", "{{.Id}}", slot)
    filled.manager.kill()
    filled.manager.start(wait="answer")
    filled.manager.in_phase("busy", slot)
    assert filled.engine.docker("inspect", "-f", "{{.Id}}", slot) == container
    filled.manager.let_go_in(slot)
    assert done(job).result == "succeeded"


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_manager_ends_no_agent(filled: AzurePool, sig: signal.Signals) -> None:
    job = filled.fake.queue("until [ -e /tmp/go ]; do sleep 0.1; done")
    slot = begun(job)
    assert filled.manager.kill(sig) == 0
    filled.manager.let_go_in(slot)
    assert done(job).result == "succeeded"


def test_a_drained_pool_ends_its_jobs_first_and_leaves_entries_that_jobs_can_wait_for(
    filled: AzurePool,
) -> None:
    fake = filled.fake
    job = fake.queue("until [ -e /tmp/go ]; do sleep 0.1; done")
    slot = begun(job)
    filled.manager.in_phase("busy", slot)
    assert filled.manager.cli("drain", "--all").returncode == 0
    other = ({"az-0", "az-1"} - {slot}).pop()
    until(lambda: other not in filled.manager.containers(), "the idle agent goes")
    late = fake.queue("true")
    assert late.result is None
    filled.manager.let_go_in(slot)
    assert done(job).result == "succeeded"
    drained = filled.manager.cli("drain", "--all", "--wait", "--timeout", "100")
    assert drained.returncode == 0, drained.stderr
    assert filled.manager.containers() == []
    assert fake.names() == [FIRST, SECOND]
    assert not any(fake.online(entry) for entry in fake.agents.values())
    assert late.agent is None
    filled.manager.cli("uncordon", "--all")
    assert done(late).result == "succeeded"


def test_a_cordoned_slot_is_disabled_at_the_service_and_enabled_again(filled: AzurePool) -> None:
    entry = filled.fake.entry(FIRST)
    filled.manager.cli("cordon", "az-0")
    until(lambda: not entry.enabled, "the entry is disabled")
    jobs = [done(filled.fake.queue("true")) for _ in range(2)]
    assert {job.agent for job in jobs} == {SECOND}
    filled.manager.cli("uncordon", "az-0")
    until(lambda: entry.enabled, "the entry is enabled")


def test_a_slot_that_the_configuration_has_no_more_loses_its_agent_and_its_entry(
    filled: AzurePool,
) -> None:
    filled.configure(slots=1)
    assert filled.manager.cli("reload").returncode == 0
    until(lambda: "az-1" not in filled.manager.containers(), "the agent goes")
    until(lambda: filled.fake.names() == [FIRST], "the entry goes", 200)


# -- what is wrong --------------------------------------------------------------------------------------


def test_a_wrong_token_holds_the_pool_and_a_right_one_frees_it_without_a_restart(
    pool: AzurePool,
) -> None:
    token = pool.manager.home / "token"
    token.write_text("pat-bad")
    pool.manager.start(*hurried(*SOON), wait="answer")
    row = pool.manager.in_phase("held", "az-0")
    assert "the token is wrong or has expired" in row["note"]
    assert "pat-bad" not in pool.manager.log.read_text()
    calls = len(pool.fake.calls)
    token.write_text("pat-good")
    pool.manager.in_phase("idle", "az-0", 90)
    assert calls < 60


def test_an_image_that_is_too_old_holds_its_slot_and_says_so(filled: AzurePool) -> None:
    filled.fake.refresh(FIRST)

    def held() -> bool:
        told = filled.manager.health().get("slot.held", "")
        return "slot az-0 is held" in told and "mayfly images refresh --newest" in told

    until(held, "the slot is held", 60)
    filled.manager.in_phase("idle", "az-1")


def test_a_foreign_agent_of_a_slots_name_holds_that_slot(pool: AzurePool) -> None:
    pool.fake.configure(FIRST, {"MAYFLY_ID": "somebody/else"})
    pool.fake.lapse = 1000
    pool.fake.connect(FIRST)
    pool.manager.start(wait="answer")
    row = pool.manager.in_phase("held", "az-0")
    assert "is not ours is online" in row["note"]
    pool.manager.in_phase("idle", "az-1")


@pytest.mark.soak  # that rests grow is the core's, and tried there
def test_a_failing_registration_is_tried_less_and_less_often(pool: AzurePool) -> None:
    pool.fake.tokens["pat-good"] = "read"
    pool.manager.start(wait="answer")

    def tries() -> list[float]:
        with pool.fake.lock:
            return [
                call.when
                for call in pool.fake.calls
                if call.method == "POST"
                and call.path.endswith("/agents")
                and call.json["name"] == FIRST
            ]

    until(lambda: len(tries()) >= 4, "four tries", 120)
    times = tries()
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [gap >= wait for gap, wait in zip(gaps, (1.0, 2.0, 4.0), strict=False)] == [True] * 3


# -- what a job can take away -----------------------------------------------------------------------------

LOOT = "cat /opt/azure-agent/.credentials_rsaparams; echo; cat /opt/azure-agent/.credentials"


def number(key: dict[str, str], name: str) -> int:
    return int.from_bytes(
        unpadded(key[name].translate(str.maketrans("+/", "-_")).rstrip("=")), "big"
    )


def test_the_key_that_a_job_carries_off_is_useless_once_its_agent_has_ended(
    filled: AzurePool,
) -> None:
    fake = filled.fake
    job = fake.queue(f"{LOOT}; until [ -e /tmp/go ]; do sleep 0.1; done")
    slot = begun(job)
    name = f"box-{slot}"
    loot = filled.engine.docker(
        "exec", "-u", "1000", slot, "cat", "/opt/azure-agent/.credentials_rsaparams"
    )
    key = json.loads(loot)
    modulus, private = number(key, "modulus"), number(key, "d")
    assert assertion(fake, name, modulus, private) == 200
    # No next agent takes the entry: the key has to become useless all the same.
    filled.manager.cli("drain", "--all")
    filled.manager.let_go_in(slot)
    assert done(job).log.startswith(loot.strip()[:40])
    until(lambda: not filled.manager.containers(), "the slot is empty")
    until(lambda: assertion(fake, name, modulus, private) == 400, "its key opens nothing")


def test_no_secret_is_left_where_anybody_on_the_host_looks(filled: AzurePool) -> None:
    job = filled.fake.queue(
        "ps -ef; env; grep -rls pat-goo[d] / --exclude-dir=proc --exclude-dir=sys"
    )
    assert done(job).log.count("pat-good") == 0
    held = filled.fake.queue("until [ -e /tmp/go ]; do sleep 0.1; done")
    slot = begun(held)
    places = {**surfaces(filled.manager, filled.tag), "the Engine's log": filled.engine.log()}
    known = {"the token": "pat-good", "the job's token": held.token}
    known |= {f"bearer {n}": text for n, text in enumerate(filled.fake.bearers)}
    assert leaks(known, places) == []
    filled.manager.let_go_in(slot)
    done(held)
    until(lambda: len(history(filled)) > 1, "both agents in the history")
    assert leaks(known, surfaces(filled.manager, filled.tag)) == []


def test_a_job_reads_nothing_of_another_slot(filled: AzurePool) -> None:
    entries = {entry.name: entry for entry in filled.fake.agents.values()}
    job = filled.fake.queue(
        "grep -rlsa -e 'box-az-[0-9]' /opt /home /tmp /run 2>/dev/null | xargs grep -hoa 'box-az-[0-9]'"
        " | sort -u; cat /opt/azure-agent/.credentials"
    )
    done(job)
    other = entries[({FIRST, SECOND} - {str(job.agent)}).pop()]
    assert other.client not in job.log
    assert other.name not in job.log
