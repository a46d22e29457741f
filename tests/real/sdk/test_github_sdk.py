"""githubkit reads all that the fake GitHub says: its models are made from GitHub's published description."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from tests.fakes.github import API, FakeGitHub
from tests.real.sdk.sdks import Raised, Sdk, sdk

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.seen(
        "github",
        "registration",
        "list of agents",
        "removal",
        "GitHub App",
        "runner groups",
        "jobs that wait",
        "cancelling a job that waits",
        with_="sdk",
    ),
]
ORG, REPO = {"org": "acme"}, {"owner": "acme", "repo": "app"}
SCOPES = [("org", ORG), ("repo", REPO)]


@pytest.fixture(scope="module")
def github() -> Iterator[FakeGitHub]:
    with FakeGitHub() as fake:
        fake.repos["acme/old"] = {"id": 502, "private": True, "pushed_at": "2020-01-01T00:00:00Z"}
        yield fake


@pytest.fixture(scope="module")
def ask(python: str, github: FakeGitHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    home = tmp_path_factory.mktemp("githubkit")
    with sdk(python, "github", home, f"{github.url}{API}", "ghp_good") as one:
        yield one


def mint(ask: Sdk, scope: str, place: dict[str, str], name: str) -> dict[str, object]:
    """A runner, as its 201 says."""
    call = f"actions.generate_runner_jitconfig_for_{scope}"
    made = ask(call, **place, name=name, runner_group_id=1, labels=["self-hosted", "gpu"])
    assert made["encoded_jit_config"]
    runner: dict[str, object] = made["runner"]
    return runner


@pytest.mark.parametrize(("scope", "place"), SCOPES)
def test_a_runner_is_minted_listed_looked_at_and_removed(
    ask: Sdk, github: FakeGitHub, scope: str, place: dict[str, str]
) -> None:
    runner = mint(ask, scope, place, f"box-gpu-0-{scope}")
    assert (runner["status"], runner["busy"]) == ("offline", False)
    listed = ask(f"actions.list_self_hosted_runners_for_{scope}", **place, name=runner["name"])
    assert [one["id"] for one in listed["runners"]] == [runner["id"]]
    at = {**place, "runner_id": runner["id"]}
    looked = ask(f"actions.get_self_hosted_runner_for_{scope}", **at)
    labels = ask(f"actions.list_labels_for_self_hosted_runner_for_{scope}", **at)
    assert looked["labels"] == labels["labels"]
    assert {label["name"] for label in labels["labels"]} == {"self-hosted", "gpu"}
    assert ask(f"actions.delete_self_hosted_runner_from_{scope}", **at) is None
    with pytest.raises(Raised) as gone:
        ask(f"actions.get_self_hosted_runner_for_{scope}", **at)
    assert gone.value.status == 404


def test_a_busy_runner_is_not_removed_and_a_name_is_not_taken_twice(
    ask: Sdk, github: FakeGitHub
) -> None:
    runner = mint(ask, "org", ORG, "box-gpu-1")
    with pytest.raises(Raised) as taken:
        mint(ask, "org", ORG, "box-gpu-1")
    assert taken.value.status == 409
    github.give(str(runner["id"]))
    looked = ask("actions.get_self_hosted_runner_for_org", **ORG, runner_id=runner["id"])
    assert looked["busy"] is True
    with pytest.raises(Raised) as busy:
        ask("actions.delete_self_hosted_runner_from_org", **ORG, runner_id=runner["id"])
    assert busy.value.status == 422


@pytest.mark.parametrize(("scope", "place"), SCOPES)
def test_what_registers_runners_and_what_they_are_made_of(
    ask: Sdk, scope: str, place: dict[str, str]
) -> None:
    token = ask(f"actions.create_registration_token_for_{scope}", **place)
    assert token["token"]
    assert token["expires_at"]
    packages = ask(f"actions.list_runner_applications_for_{scope}", **place)
    there = {(one["os"], one["architecture"]) for one in packages}
    assert {("linux", "x64"), ("linux", "arm64")} <= there


def test_runner_groups_and_their_runners(ask: Sdk) -> None:
    groups = ask("actions.list_self_hosted_runner_groups_for_org", **ORG)["runner_groups"]
    assert [group["name"] for group in groups] == ["Default", "GitHub Actions", "gpu"]
    number = int(groups[0]["id"])
    one = ask("actions.get_self_hosted_runner_group_for_org", **ORG, runner_group_id=number)
    assert one["default"] is True
    runner = mint(ask, "org", ORG, "box-gpu-2")
    call = "actions.list_self_hosted_runners_in_group_for_org"
    inside = ask(call, **ORG, runner_group_id=number)["runners"]
    assert runner["id"] in [one["id"] for one in inside]
    assert ask(call, **ORG, runner_group_id=3)["runners"] == []


def test_organisations_and_repositories(ask: Sdk) -> None:
    assert ask("orgs.get", **ORG)["login"] == "acme"
    assert ask("repos.get", **REPO)["private"] is True
    listed = ask("repos.list_for_org", **ORG, sort="pushed", per_page=10)
    assert [one["full_name"] for one in listed] == ["acme/app", "acme/old"]


def test_runs_that_wait_their_jobs_and_their_end(ask: Sdk, github: FakeGitHub) -> None:
    job = github.queue("true", ("self-hosted", "a100"))
    runs = ask("actions.list_workflow_runs_for_repo", **REPO, status="queued")["workflow_runs"]
    assert [run["id"] for run in runs] == [job.run]
    assert ask("actions.get_workflow_run", **REPO, run_id=job.run)["status"] == "queued"
    call = "actions.list_jobs_for_workflow_run"
    (shown,) = ask(call, **REPO, run_id=job.run, filter_="latest")["jobs"]
    assert (shown["status"], shown["runner_id"]) == ("queued", None)
    assert shown["labels"] == ["self-hosted", "a100"]
    assert ask("actions.cancel_workflow_run", **REPO, run_id=job.run) is None
    assert ask("actions.get_workflow_run", **REPO, run_id=job.run)["conclusion"] == "cancelled"
    with pytest.raises(Raised) as over:
        ask("actions.force_cancel_workflow_run", **REPO, run_id=job.run)
    assert over.value.status == 409


def test_an_app_signs_is_found_and_gets_a_token_that_mints(
    python: str, github: FakeGitHub, tmp_path: Path
) -> None:
    """With the SDK's own signature, and with its own way to an installation's token."""
    key = generate_private_key(65537, 2048)
    public = key.public_key().public_numbers()
    github.apps["4711"] = (public.n, public.e)
    pem = tmp_path / "app.pem"
    form = serialization.PrivateFormat.TraditionalOpenSSL
    none = serialization.NoEncryption()
    pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, none))
    with sdk(python, "github", tmp_path, f"{github.url}{API}", "", "4711", str(pem)) as ask:
        found = ask("apps.get_org_installation", **ORG)
        assert found["app_slug"] == "mayfly"
        rights = {"organization_self_hosted_runners": "write"}
        token = ask(
            "apps.create_installation_access_token",
            installation_id=found["id"],
            permissions=rights,
        )
        assert token["token"].startswith("ghs_")
        listed = ask(
            "installed.actions.list_self_hosted_runners_for_org",
            installation_id=found["id"],
            **ORG,
        )
        assert listed["total_count"] == len(listed["runners"])
