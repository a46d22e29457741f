"""azure-devops finds all calls of the fake by their ids, as an agent does, and reads what it says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.azure import FakeAzure
from tests.real.sdk.sdks import Raised, Sdk, sdk

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.seen(
        "azure",
        "registration",
        "list of agents",
        "no new job",
        "removal",
        "cancelling a job that waits",
        with_="sdk",
    ),
]
POOL = 2


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeAzure]:
    with FakeAzure() as one:
        yield one


@pytest.fixture(scope="module")
def ask(python: str, fake: FakeAzure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    home = tmp_path_factory.mktemp("azure")
    with sdk(python, "azure", home, fake.organisation, "pat-good") as one:
        yield one


def add(ask: Sdk, name: str, **more: object) -> dict[str, object]:
    """An agent of the pool."""
    agent = {"name": name, "version": "4.269.0", "max_parallelism": 1, **more}
    made: dict[str, object] = ask("task_agent.add_agent", agent=agent, pool_id=POOL)
    return made


def test_the_organisation_and_its_pools(ask: Sdk) -> None:
    assert ask("location.get_connection_data")["deployment_type"] == "hosted"
    (pool,) = ask("task_agent.get_agent_pools", pool_name="gpu")
    assert (pool["id"], pool["is_hosted"], pool["pool_type"]) == (POOL, False, "automation")
    assert ask("task_agent.get_agent_pool", pool_id=POOL)["name"] == "gpu"
    assert ask("task_agent.get_agent_pools", pool_name="nobody") == []
    assert ask("task_agent.get_agent_pools", pool_name="gpu", action_filter="manage") == [pool]
    with pytest.raises(Raised, match="No agent pool found"):
        ask("task_agent.get_agent_pool", pool_id=99)


def test_an_agent_is_added_listed_disabled_replaced_and_deleted(ask: Sdk) -> None:
    made = add(ask, "box-gpu-0", system_capabilities={"MAYFLY_ID": "abc/gpu"})
    number = made["id"]
    authorization = made["authorization"]
    assert isinstance(authorization, dict)
    assert authorization["client_id"]
    listed = ask(
        "task_agent.get_agents",
        pool_id=POOL,
        agent_name="box-gpu-0",
        include_capabilities=True,
        include_assigned_request=True,
        include_last_completed_request=True,
    )
    assert [one["system_capabilities"]["MAYFLY_ID"] for one in listed] == ["abc/gpu"]
    at = {"pool_id": POOL, "agent_id": number}
    off = {"id": number, "name": "box-gpu-0", "enabled": False}
    assert ask("task_agent.update_agent", agent=off, **at)["enabled"] is False
    on = {"id": number, "name": "box-gpu-0", "version": "4.270.0", "enabled": True}
    assert ask("task_agent.replace_agent", agent=on, **at)["enabled"] is True
    assert ask("task_agent.get_agent", **at)["version"] == "4.270.0"
    ask("task_agent.delete_agent", **at)
    with pytest.raises(Raised, match="No agent exists"):
        ask("task_agent.get_agent", **at)


def test_a_name_is_not_taken_twice_and_a_busy_agent_is_not_deleted(
    ask: Sdk, fake: FakeAzure
) -> None:
    number = add(ask, "box-gpu-1")["id"]
    with pytest.raises(Raised, match="already contains"):
        add(ask, "box-gpu-1")
    fake.connect("box-gpu-1")
    job = fake.queue("true")
    shown = ask(
        "task_agent.get_agent", pool_id=POOL, agent_id=number, include_assigned_request=True
    )
    assert shown["status"] == "online"
    assert shown["assigned_request"]["request_id"] == job.id
    assert shown["assigned_request"]["owner"]["id"] == job.id
    with pytest.raises(Raised, match="is running a job"):
        ask("task_agent.delete_agent", pool_id=POOL, agent_id=number)
    fake.finish(job)
    shown = ask(
        "task_agent.get_agent",
        pool_id=POOL,
        agent_id=number,
        include_last_completed_request=True,
    )
    assert shown["last_completed_request"]["result"] == "succeeded"
    fake.leave("box-gpu-1")
    ask("task_agent.delete_agent", pool_id=POOL, agent_id=number)


def test_builds_that_wait_are_read_and_cancelled(ask: Sdk, fake: FakeAzure) -> None:
    number = add(ask, "box-gpu-2")["id"]
    job = fake.queue("true")
    (build,) = ask("build.get_builds", project="library", status_filter="notStarted,inProgress")
    assert build["id"] == job.id
    assert build["queue_time"]
    ending = ask(
        "build.update_build",
        build={"status": "cancelling"},
        project="library",
        build_id=job.id,
    )
    assert ending["status"] == "cancelling"
    ended = ask("build.get_build", project="library", build_id=job.id)
    assert (ended["status"], ended["result"]) == ("completed", "canceled")
    ask("task_agent.delete_agent", pool_id=POOL, agent_id=number)
