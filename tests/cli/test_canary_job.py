"""``init`` has a job run at each service: what it says of its end, and of why there was none."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli.canary_job import Patience, offered, try_at_service
from mayfly.cli.first_jobs import try_all
from mayfly.cli.interview import not_a_service
from mayfly.cli.setup_answers import Answers
from mayfly.cli.setup_questions import Questions
from mayfly.cli.trouble import TimedOut, Trouble
from mayfly.core import naming
from mayfly.core.model import HostSpec, PoolName, PoolSpec, SlotName
from mayfly.providers.canary_workflows import with_button
from mayfly.providers.github.settings import GitHubApp
from mayfly.providers.installed import packages
from tests.fakes.azure import FakeAzure
from tests.fakes.azure_builds import Definition
from tests.fakes.gitea import FakeGitea
from tests.fakes.gitea import Runner as GiteaRunner
from tests.fakes.github import FakeGitHub, Token
from tests.fakes.github import Runner as GitHubRunner
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.http import Fault
from tests.providers.contract import changed, pool, secret_file
from tests.providers.test_github_contract import make_key, public_numbers

pytestmark = [
    pytest.mark.seen("azure", "a job that init runs", with_="fake"),
    pytest.mark.seen("gitea", "a job that init runs", with_="fake"),
    pytest.mark.seen("github", "a job that init runs", with_="fake"),
    pytest.mark.seen("gitlab", "a job that init runs", with_="fake"),
]
BOX = HostSpec("box")
BORN = naming.generation(1_800_000_000.0, 7)
AGENT = f"box-gpu-0-{BORN}"
WORKFLOW = "on: workflow_dispatch\njobs:\n  hello:\n    runs-on: [self-hosted, gpu]\n"
PUSHED = "on: push  # not by workflow_dispatch\njobs:\n  hello:\n    runs-on: [gpu]\n"
PIPELINE = "hello:\n  tags: [gpu]\n  script: ['echo hello']\n"


class Lab:
    """A service with one job that can be run, and a pool of ours that has an idle agent there."""

    name: str  # of what can be run
    right: str  # what a token lacks that may not run it
    ends_well, ends_badly = "success", "failure"
    fake: Any
    pool: PoolSpec

    def job(self) -> Any:
        """The job that was begun."""
        (job,) = self.jobs()
        return job

    def jobs(self) -> list[Any]:
        raise NotImplementedError

    def take(self, agent: str = AGENT) -> None:
        """An agent takes it: ours, or another."""
        raise NotImplementedError

    def finish(self, result: str) -> None:
        self.fake.finish(self.job(), result)

    def narrow(self) -> None:
        """The token may keep runners, and run nothing."""
        raise NotImplementedError

    def spoil(self) -> str:
        """What is there cannot be run by hand; what is said of it."""
        raise NotImplementedError


class AtGitHub(Lab):
    name, right = "acme/app/hello.yml", "Actions: Read and write"

    def __init__(self, fake: FakeGitHub, home: Path) -> None:
        self.fake = fake
        token = secret_file(home, "token", "ghp_good")
        self.pool = pool("github", url=f"{fake.url}/acme", token=token)
        fake.workflows["acme/app"] = {"hello.yml": WORKFLOW, "pushed.yml": PUSHED}
        for number, name in ((1, AGENT), (2, "elsewhere")):
            fake.runners[number] = GitHubRunner(number, "orgs/acme", name, 1, [], "", "", 0.0)

    def jobs(self) -> list[Any]:
        return list(self.fake.jobs)

    def take(self, agent: str = AGENT) -> None:
        self.fake.connect(agent)
        job, runner = self.job(), self.fake.runner(agent)
        job.state, job.runner, job.runner_id = "running", agent, runner.id
        job.began, runner.job = job.queued_at, job

    def finish(self, result: str) -> None:
        self.fake.finish(self.job(), {"success": "succeeded", "failure": "failed"}[result])

    def narrow(self) -> None:
        self.fake.tokens["ghp_good"] = Token(actions="read")

    def spoil(self) -> str:
        self.fake.workflows["acme/app"] = {"hello.yml": PUSHED.partition("#")[0]}
        return "does not have 'workflow_dispatch' trigger"


class AtGitea(Lab):
    name, right = "ourlab/train/hello.yml", "write:repository"

    def __init__(self, fake: FakeGitea, home: Path) -> None:
        self.fake = fake
        token = secret_file(home, "token", fake.person("write:organization", "write:repository"))
        self.pool = pool("gitea", url=fake.url, token=token, scope="org:ourlab")
        fake.workflows = {"hello.yml": WORKFLOW, "pushed.yml": PUSHED}
        for number, name in ((1, AGENT), (2, "elsewhere")):
            fake.runners[number] = GiteaRunner(
                number, "orgs/ourlab", name, ["self-hosted", "gpu"], ephemeral=True
            )

    def jobs(self) -> list[Any]:
        return list(self.fake.jobs.values())

    def take(self, agent: str = AGENT) -> None:
        (runner,) = (one for one in self.fake.runners.values() if one.name == agent)
        assert self.fake.give(self.job(), runner)

    def narrow(self) -> None:
        (token,) = self.fake.people
        self.fake.people[token] = frozenset({"write:organization", "read:repository"})

    def spoil(self) -> str:
        del self.fake.workflows["hello.yml"]
        return 'workflow "hello.yml" doesn\'t exist'


class AtGitLab(Lab):
    name, right, ends_badly = "ourlab/library", "the scope api", "failed"

    def __init__(self, fake: FakeGitLab, home: Path) -> None:
        self.fake = fake
        self.token = fake.person("api")
        token = secret_file(home, "token", self.token)
        self.pool = pool("gitlab", url=fake.url, token=token, scope="group:10")
        fake.ci_files[7] = PIPELINE
        self.runners = {
            name: fake.runner("gpu", description=name) for name in ("box-gpu-0", "elsewhere")
        }

    def jobs(self) -> list[Any]:
        return list(self.fake.jobs.values())

    def take(self, agent: str = "box-gpu-0") -> None:
        self.fake.give(self.job().id, self.runners[agent].id, "s_1")

    def finish(self, result: str) -> None:
        self.fake.finish(self.job().id, result)

    def narrow(self) -> None:
        scopes = frozenset({"create_runner", "manage_runner", "read_api"})
        self.fake.people[self.token].scopes = scopes

    def spoil(self) -> str:
        self.fake.ci_files.clear()
        return "Missing CI config file"


class AtAzure(Lab):
    name, right = "library/hello", "Build (Read & execute)"
    ends_well, ends_badly = "succeeded", "failed"

    def __init__(self, fake: FakeAzure, home: Path) -> None:
        self.fake = fake
        token = secret_file(home, "token", "pat-good")
        self.pool = pool("azure", url=fake.organisation, token=token, agent_pool="gpu")
        fake.definitions = [Definition(5, "hello"), Definition(6, "off", enabled=False)]
        for name in ("box-gpu-0", "elsewhere"):
            fake.configure(name, {})

    def jobs(self) -> list[Any]:
        return list(self.fake.jobs.values())

    def take(self, agent: str = "box-gpu-0") -> None:
        self.fake.connect(agent)

    def narrow(self) -> None:
        self.fake.build_rights, self.fake.build_refusal = frozenset({"read"}), 401

    def spoil(self) -> str:
        self.fake.definitions[0].wrong = "Could not queue the build: no YAML file"
        return "no YAML file"


LABS: dict[str, tuple[Callable[[], Any], Callable[[Any, Path], Lab]]] = {
    "azure": (FakeAzure, AtAzure),
    "gitea": (FakeGitea, AtGitea),
    "github": (FakeGitHub, AtGitHub),
    "gitlab": (FakeGitLab, AtGitLab),
}


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    made, of = LABS[request.param]
    with made() as fake:
        yield of(fake, tmp_path)


@pytest.fixture
def github(tmp_path: Path) -> Iterator[AtGitHub]:
    with FakeGitHub() as fake:
        yield AtGitHub(fake, tmp_path)


class World:
    """What happens between one look and the next, in order; then time passes."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps, self.now = list(steps), 0.0

    def pause(self, seconds: float) -> None:
        if self.steps:
            self.steps.pop(0)()
        self.now += seconds

    def patience(self) -> Patience:
        return Patience(60.0, 3.0, lambda: self.now, self.pause)


def tried(lab: Lab, *steps: Callable[[], object], named: str | None = "") -> None:
    wanted = lab.name if named == "" else named
    try_at_service(lab.pool, BOX, Questions(False), wanted, World(*steps).patience())


def refused(lab: Lab, *steps: Callable[[], object], kind: type[Trouble] = Trouble) -> str:
    with pytest.raises(kind) as told:
        tried(lab, *steps)
    assert type(told.value) is kind
    return str(told.value)


def test_a_job_that_ends_on_a_slot_is_told_with_its_slot_its_end_and_its_address(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    tried(lab, lambda: None, lab.take, lambda: lab.finish(lab.ends_well))
    told = " ".join(capsys.readouterr().err.split())
    assert f"running {lab.name}, which is shown at {lab.fake.url}" in told
    assert "gpu-0 has taken it" in told
    assert "job hello ran on gpu-0 in " in told
    assert f"ended as {lab.ends_well}: {lab.fake.url}/" in told


def test_a_job_that_fails_is_told_with_the_address_of_its_log(lab: Lab) -> None:
    told = refused(lab, lab.take, lambda: lab.finish(lab.ends_badly))
    assert f"ended as {lab.ends_badly}; its log is at {lab.fake.url}/" in told


def test_a_job_that_another_agent_got_is_none_of_ours(lab: Lab) -> None:
    told = refused(lab, lambda: lab.take("elsewhere"), lambda: lab.finish(lab.ends_well))
    assert f"ended as {lab.ends_well}, and on no slot of pool gpu: it ran on elsewhere" in told


def test_a_job_that_nobody_takes_is_given_up_in_time_and_goes_on_waiting(lab: Lab) -> None:
    told = refused(lab, kind=TimedOut)
    assert "no agent has taken it for 1m" in told
    assert f": {lab.fake.url}/" in told
    assert len(lab.jobs()) == 1


def test_a_job_that_still_runs_is_left_running(lab: Lab) -> None:
    assert "it still runs on gpu-0 after 1m" in refused(lab, lab.take, kind=TimedOut)


def test_a_service_that_is_away_for_a_moment_is_asked_again(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    away = Fault(status=503, times=2)
    tried(lab, lambda: lab.fake.fail("GET", "/", away), lab.take, lambda: lab.finish(lab.ends_well))
    assert f"ended as {lab.ends_well}" in " ".join(capsys.readouterr().err.split())
    assert away.times is not None
    assert away.times <= 0


def test_a_service_that_goes_away_for_good_is_told_and_the_set_up_stands(lab: Lab) -> None:
    told = refused(lab, lab.fake.stop)
    assert "it was begun and cannot be followed: " in told
    assert "asked again" not in told


def test_a_token_that_may_run_nothing_is_told_what_it_would_need(lab: Lab) -> None:
    lab.narrow()
    told = refused(lab)
    assert told.startswith("all is set up, and no job was tried: ")
    assert lab.right in told
    assert lab.jobs() == []


def test_what_cannot_be_run_by_hand_is_told(lab: Lab) -> None:
    said = lab.spoil()
    assert said in refused(lab)
    assert lab.jobs() == []


@pytest.mark.parametrize("name", ["nobody/knows", "nobody/knows/this.yml", "odd", "../../x/y.yml"])
def test_what_is_not_there_is_told(lab: Lab, name: str) -> None:
    with pytest.raises(Trouble, match="no job was tried: "):
        tried(lab, named=name)
    assert lab.jobs() == []


def test_where_nobody_is_asked_and_none_is_named_nothing_is_run(lab: Lab) -> None:
    before = len(lab.fake.calls)
    tried(lab, named=None)
    assert len(lab.fake.calls) == before


@pytest.mark.parametrize(
    "fault", [Fault(lost="after"), Fault(status=502)], ids=["lost", "a proxy's error"]
)
def test_where_the_reply_to_its_beginning_is_lost_it_is_not_said_that_none_runs(
    lab: Lab, fault: Fault
) -> None:
    lab.fake.fail("POST", "/", replace(fault))
    told = refused(lab)
    assert f"all is set up, and {lab.name} may have begun, which is not known: " in told
    assert f": see {lab.fake.url}/" in told
    assert "no job was tried" not in told
    assert "again" not in told
    assert len(lab.jobs()) == (fault.status is None)


@pytest.mark.parametrize("lab", ["azure", "gitea", "gitlab"], indirect=True)
def test_where_the_reply_to_its_beginning_has_no_number_it_may_have_begun(lab: Lab) -> None:
    lab.fake.fail("POST", "/", Fault(garbage=b"{}"))
    assert "may have begun" in refused(lab)
    assert len(lab.jobs()) == 1


def test_one_that_is_named_for_no_pool_of_a_service_or_for_several_ends_in_trouble(
    lab: Lab,
) -> None:
    own = PoolSpec(PoolName("own"), "local", embedded=True)
    answers = Answers(canary_job=lab.name)
    with pytest.raises(Trouble, match="no pool that was set up is of one"):
        try_all([own], BOX, answers, Questions(False))
    both = [own, lab.pool, changed(lab.pool, name=PoolName("other"))]
    with pytest.raises(Trouble, match="it may be for any of the pools gpu, other"):
        try_all(both, BOX, answers, Questions(False))
    assert lab.jobs() == []


# -- a person ----------------------------------------------------------------------------------------------


def answered(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, typed: str, *steps: Callable[[], object]
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", io.StringIO(typed))
        try_at_service(lab.pool, BOX, Questions(True), None, World(*steps).patience())


def test_a_person_is_offered_what_is_there_and_enter_runs_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(lab, monkeypatch, "\n")
    told = capsys.readouterr().err
    assert f" 1  {lab.name}  (asks for this pool)\n" in told
    assert "  2  " not in told, "what has no button is not offered"
    assert lab.jobs() == []
    answered(lab, monkeypatch, "9\n00012\n0001\n", lab.take, lambda: lab.finish(lab.ends_well))
    told = " ".join(capsys.readouterr().err.split())
    assert "'9' is none of them" in told
    assert "'00012' is none of them" in told
    assert f"ended as {lab.ends_well}" in told


def test_where_nothing_can_be_run_nobody_is_asked(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.fake.workflows = lab.fake.ci_files = {}
    lab.fake.definitions = []
    answered(lab, monkeypatch, "")
    assert "no job is tried: nothing is there" in capsys.readouterr().err


def test_a_person_whose_token_may_not_even_look_is_told_and_not_asked(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.narrow()
    lab.fake.build_rights = frozenset()
    for token in getattr(lab.fake, "tokens", {}):
        if token == "ghp_good":
            lab.fake.tokens[token] = Token(actions="none")
    if lab.pool.provider == "gitea":
        (token,) = lab.fake.people
        lab.fake.people[token] = frozenset({"write:organization"})
    answered(lab, monkeypatch, "")
    told = " ".join(capsys.readouterr().err.split())
    assert "no job is tried: " in told
    assert lab.right in told


# -- what is particular to one -------------------------------------------------------------------------------


def test_an_app_is_asked_for_the_right_to_run_workflows_and_told_where_it_lacks_it(
    github: AtGitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pem = make_key(tmp_path)
    key = public_numbers(pem)
    github.fake.apps["4711"] = (key.n, key.e)
    app = GitHubApp("4711", secret_file(tmp_path, "app.pem", pem))
    github.pool = changed(github.pool, token=None, app=app)
    assert "lacks a permission at orgs/acme (actions: write)" in refused(github)
    github.fake.app_permissions["actions"] = "write"
    tried(github, github.take, lambda: github.finish("success"))
    assert "ended as success" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("contents", ["read", None])
def test_an_app_s_token_reads_which_workflows_have_a_button_where_the_app_may(
    github: AtGitHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    contents: str | None,
) -> None:
    pem = make_key(tmp_path)
    key = public_numbers(pem)
    github.fake.apps["4711"] = (key.n, key.e)
    github.fake.app_permissions["actions"] = "write"
    if contents is not None:
        github.fake.app_permissions["contents"] = contents
    app = GitHubApp("4711", secret_file(tmp_path, "app.pem", pem))
    github.pool = changed(github.pool, token=None, app=app)
    answered(github, monkeypatch, "\n")
    told = capsys.readouterr().err
    assert "acme/app/hello.yml" in told
    assert ("acme/app/pushed.yml" in told) is (contents is None), (
        "without the right all are offered"
    )


def test_a_gitea_that_says_no_number_of_its_run_has_begun_it(tmp_path: Path) -> None:
    with FakeGitea() as fake:
        lab = AtGitea(fake, tmp_path)
        fake.fail("POST", "/", Fault(status=204))
        told = refused(lab)
    assert "may have begun" in told
    assert f"does not say which run it is (1.26 does): see {fake.url}/ourlab/train/actions" in told


# -- Azure DevOps' names -----------------------------------------------------------------------------------


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[AtAzure]:
    with FakeAzure() as fake:
        yield AtAzure(fake, tmp_path)


@pytest.mark.parametrize("name", ["library/h*", "library/*", "library/hell?", "library/nightly/*"])
def test_a_pattern_of_names_runs_nothing(azure: AtAzure, name: str) -> None:
    azure.fake.definitions.append(Definition(7, "hello", path="\\nightly"))
    with pytest.raises(Trouble, match=r"no job was tried: .* has no pipeline"):
        tried(azure, named=name)
    assert azure.jobs() == []


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("library/hello", "at the top"),
        ("library/Hello", "at the top"),
        ("library/team/nightly/hello", "of the night"),
        ("library/only", "only there"),
        ("library/team/only", "only there"),
    ],
)
def test_a_pipeline_is_told_from_another_of_its_name_by_its_folder(
    azure: AtAzure, name: str, script: str
) -> None:
    azure.fake.definitions = [
        Definition(4, "hello", "of the night", path="\\team\\nightly"),
        Definition(5, "hello", "at the top"),
        Definition(6, "only", "only there", path="\\team"),
        Definition(7, "only-not", "another", path="\\team"),
    ]
    tried(azure, azure.take, lambda: azure.finish("succeeded"), named=name)
    assert azure.job().script == script


def test_a_name_that_two_folders_have_runs_nothing_and_both_are_offered(
    azure: AtAzure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.fake.definitions = [
        Definition(5, "hello", path="\\day"),
        Definition(6, "hello", path="\\night"),
    ]
    told = refused(azure)
    assert "2 pipelines are called hello: name one with its folder" in told
    assert "library/day/hello, library/night/hello" in told
    assert azure.jobs() == []
    answered(azure, monkeypatch, "\n")
    told = capsys.readouterr().err
    assert "library/day/hello" in told
    assert "library/night/hello" in told


def test_a_workflow_that_has_to_be_given_something_is_told(github: AtGitHub) -> None:
    github.fake.workflows["acme/app"]["hello.yml"] += "# required: true\n"
    assert "Required input 'version' not provided" in refused(github)


def test_runs_of_others_that_were_there_before_are_not_taken_for_ours(
    github: AtGitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = github.fake.queue("true", ("gpu",))
    earlier.event, earlier.workflow, earlier.state = "workflow_dispatch", "hello.yml", "completed"
    earlier.conclusion = "failed"
    new = lambda: github.fake.jobs[-1]  # noqa: E731
    github.job = new  # type: ignore[method-assign]
    tried(github, github.take, lambda: github.finish("success"))
    assert "ended as success" in " ".join(capsys.readouterr().err.split())


def test_a_runner_s_own_token_runs_no_pipeline(tmp_path: Path) -> None:
    with FakeGitLab() as fake:
        lab = AtGitLab(fake, tmp_path)
        token = secret_file(tmp_path, "own", lab.runners["box-gpu-0"].token)
        lab.pool = changed(lab.pool, token=token, scope=None)
        assert "a runner's own token runs no pipeline" in refused(lab)


def test_it_means_nothing_where_a_service_has_no_call_for_it() -> None:
    said = not_a_service("local", Answers(canary_job="acme/app/hello.yml"))
    assert said == "--canary-job means nothing to local"
    assert not offered("local")
    for name, package in packages().items():
        if not package.embedded and package.canary is not None:
            assert "--canary-job" in (not_a_service(name, Answers(canary=True)) or "")
            assert not_a_service(name, Answers(canary_job="a/b")) is None


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("box-gpu-0", "gpu-0"),
        (AGENT, "gpu-0"),
        ("BOX-gpu-12", "gpu-12"),
        ("box-gpu-2-0", None),
        ("box-gpu-x", None),
        ("box-gpu-", None),
        ("otherbox-gpu-0", None),
        ("box-gpus-0", None),
        ("", None),
    ],
)
def test_a_slot_is_known_by_the_name_of_its_agent(name: str, slot: SlotName | None) -> None:
    assert naming.slot_registered(name, "box", PoolName("gpu")) == slot


def test_a_workflow_of_a_million_lines_is_read_once() -> None:
    """Each line for itself: a file is anybody's, and read by root."""
    row = {"state": "active", "path": ".github/workflows/long.yml"}
    lab = PoolSpec(PoolName("ci"), "github")
    told = [*with_button([("a/b", "long.yml", row)], lambda *_: "\n" * 1_000_000, lab)]
    assert told == []
    told = [*with_button([("a/b", "long.yml", row)], lambda *_: "# no\nworkflow_dispatch:", lab)]
    assert [one.name for one in told] == ["a/b/long.yml"]
