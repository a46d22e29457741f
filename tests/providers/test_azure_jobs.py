"""Jobs through a pool of Azure Pipelines, one after the other on one manager, which each leaves as it was."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.fakes.azure import unpadded
from tests.harness import until
from tests.providers.azure_pool import AzurePool, azure_pool
from tests.providers.leaks import leaks, surfaces
from tests.providers.test_azure import assertion
from tests.providers.test_azure_pool import FIRST, SECOND, begun, done, ended, history

pytestmark = [
    pytest.mark.engine,
    pytest.mark.seen("azure", "a job from start to end", with_="fake"),
]
LOOT = "cat /opt/azure-agent/.credentials_rsaparams; echo; cat /opt/azure-agent/.credentials"


def number(key: dict[str, str], name: str) -> int:
    return int.from_bytes(
        unpadded(key[name].translate(str.maketrans("+/", "-_")).rstrip("=")), "big"
    )


@pytest.fixture(scope="module")
def pools(engine: PrivateEngine) -> Iterator[AzurePool]:
    """That of all tests which leave it as it was."""
    with azure_pool(engine) as ready:
        yield ready


@pytest.fixture
def filled(pools: AzurePool) -> AzurePool:
    """Two slots with an idle agent each."""
    pools.manager.rested()
    return pools


@pytest.mark.seen("azure", "the lines of a job's log", with_="fake")
def test_slots_are_filled_under_names_that_stay_and_each_job_has_an_agent_of_its_own(
    filled: AzurePool,
) -> None:
    fake = filled.fake
    assert fake.names() == [FIRST, SECOND]
    ids = {entry.id for entry in fake.agents.values()}
    jobs = [done(fake.queue("hostname")) for _ in range(3)]
    assert {job.result for job in jobs} == {"succeeded"}
    for job in jobs:  # what its machine is, in the log of "Initialize job"
        group, slot, image, end = job.logs[0].splitlines()
        assert (group, end) == ("##[group]Mayfly", "##[endgroup]"), job.logs
        assert slot.startswith("mayfly: slot az-"), job.logs
        assert image.startswith("mayfly: image mayfly/azure:"), job.logs
    agents = {generation for job in jobs for generation in job.begun_by}
    assert len(agents) == 3
    assert fake.names() == [FIRST, SECOND]
    assert {entry.id for entry in fake.agents.values()} == ids
    assert ended(filled, "job_done")["detail"] == "Succeeded"


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
    filled.configure()
    assert filled.manager.cli("reload").returncode == 0
    until(lambda: "az-1" in filled.manager.containers(), "the slot is filled again")


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
    both = {*job.begun_by, *held.begun_by}
    until(lambda: both <= {row["agent"] for row in history(filled)}, "both agents in the history")
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
