"""How the services' clients end, and what is made of it: their stubs as processes of this host.

What a stub does and says is what the official client does and says; the table stands at its head. Each row is
a world in which one ends. Its output goes through its launcher's own filter to `judge`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mayfly.core.model import Cause, Exit
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.providers.azure import lines as azure
from mayfly.providers.github import lines as github
from mayfly.providers.gitlab import lines as gitlab
from tests import fakes
from tests.agents.test_client_signs import kept
from tests.fakes.azure import DT, FakeAzure
from tests.fakes.github import BROKER, RUN, FakeGitHub, Runner
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.http import Fault
from tests.harness import until

PLACE = Path(fakes.__file__).parent
PACE = "1000"
LISTENING, RUNNING = "Listening for Jobs", "Running job: "
STUBBORN = "trap '' INT TERM; while :; do sleep 1; done"


@dataclass
class Client:
    """One that was started, and what it has said so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def says(self, text: str) -> None:
        """Wait until it has said that."""
        until(lambda: any(text in line for line in self.lines), text)

    def end(self) -> int:
        """Its exit code, once it and its output have ended."""
        code = self.process.wait(timeout=120)
        self._reader.join()
        return code

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


@contextmanager
def client(*words: str | Path, home: Path, **variables: str) -> Iterator[Client]:
    """A client with that command line, which is gone afterwards with whatever it has begun."""
    process = subprocess.Popen(
        [*map(str, words)],
        cwd=home,
        env={"PATH": os.environ["PATH"], "STUB_PACE": PACE, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    one = Client(process)
    try:
        yield one
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        one.end()


def judged(provider: str, code: int, lines: list[str], judge: Callable[..., Outcome]) -> Outcome:
    """What the provider makes of what its launcher keeps of these lines."""
    end = End(committed=True, opened=True, exit=Exit(code, 0))
    return judge(end, tuple(kept(provider, *lines)))


# -- GitHub's ---------------------------------------------------------------------------------------


@dataclass
class AtGitHub:
    """A runner that is registered, and its service."""

    fake: FakeGitHub
    runner: Runner
    client: Client | None = None

    def fails(self, method: str, path: str, status: int, body: object = None) -> None:
        """From now on, each such call."""
        self.fake.fail(method, path, Fault(status=status, body=body, times=None))

    def forgets(self) -> None:
        """The registration is gone."""
        with self.fake.lock:
            self.fake._remove(self.runner)

    def cancels(self) -> None:
        """Somebody cancels the job."""
        with self.fake.lock:
            self.fake.jobs[0].state = "cancelling"
            self.fake.lock.notify_all()


def taken_back(at: AtGitHub) -> None:
    """A job that runs: its first renewal was answered, which comes after it says so."""

    def renewed() -> bool:
        calls = list(at.fake.calls)
        return any(call.path == f"{RUN}/renewjob" and call.status == 200 for call in calls)

    until(renewed, "the job is renewed once")
    at.fails("POST", f"{RUN}/renewjob", 404)


def no_token(at: AtGitHub) -> None:
    at.fails("POST", f"/oauth/token/{at.runner.id}", 400, {"error": "invalid_client"})
    at.fails("GET", f"{BROKER}/message", 401)


def comes_back(at: AtGitHub) -> None:
    """It is asked five times for one failure, and says nothing once it is answered again."""
    at.fake.fail("GET", f"{BROKER}/message", Fault(status=503, times=7))
    assert at.client is not None
    at.client.says("Runner connect error")
    at.fake.queue("true")


def conflict(at: AtGitHub) -> None:
    at.fake.connect(at.runner.id)


def outdated(at: AtGitHub) -> None:
    at.fake.minimum_version = "2.999.0"


def nothing(at: AtGitHub) -> None:
    """Nothing happens."""


@dataclass(frozen=True)
class Row:
    """A world, and how the runner ends in it."""

    code: int
    result: Result
    words: str
    before: Callable[[AtGitHub], None] = nothing
    script: str = ""  # of a job that waits; "": none
    after: str = ""  # what it has said before the next thing happens
    then: Callable[[AtGitHub], None] = nothing
    once: str = ""  # what it says once
    never: str = ""  # what it does not say


GONE = "service took its registration back"
GITHUB = {
    "a job": Row(0, Result.JOB_DONE, "Succeeded", script="true", once="Removed .runner"),
    "a job that is taken back before it begins": Row(
        *(0, Result.UNKNOWN, "taken back before it began"),
        before=lambda at: at.fails("POST", f"{RUN}/renewjob", 404),
        script="true",
        never="completed with result",
    ),
    "a job that is taken back while it runs": Row(
        *(0, Result.JOB_DONE, "Abandoned"),
        script="sleep 1000",
        after=RUNNING,
        then=taken_back,
    ),
    "a job that is cancelled and heeds no signal": Row(
        *(0, Result.JOB_DONE, "Canceled"), script=STUBBORN, after=RUNNING, then=AtGitHub.cancels
    ),
    "idle expiry": Row(0, Result.NO_JOB, GONE, after=LISTENING, then=AtGitHub.forgets),
    "idle expiry, as a refusal": Row(
        *(1, Result.NO_JOB, GONE),
        after=LISTENING,
        then=lambda at: at.fails("GET", f"{BROKER}/message", 401),
    ),
    "a token that is not given any more": Row(
        *(2, Result.DIED_YOUNG, "An error occurred: invalid_client"),
        after=LISTENING,
        then=no_token,
        once="Runner connect error: invalid_client",
    ),
    "a service that is away": Row(
        *(2, Result.DIED_YOUNG, "An error occurred: status 503"),
        after=LISTENING,
        then=lambda at: at.fails("GET", f"{BROKER}/message", 503),
        once="Runner connect error: status 503",
    ),
    "a service that was away": Row(
        *(0, Result.JOB_DONE, "Succeeded"),
        after=LISTENING,
        then=comes_back,
        once="Runner connect error",
        never="Runner reconnected",
    ),
    "a registration that is gone": Row(
        1, Result.DIED_YOUNG, "registration has been deleted", before=AtGitHub.forgets
    ),
    "a session that is denied": Row(
        *(1, Result.DIED_YOUNG, "Failed to create session. no pool"),
        before=lambda at: at.fails("POST", f"{BROKER}/session", 403, {"errorMessage": "no pool"}),
    ),
    "a session that another one has": Row(
        *(5, Result.DIED_YOUNG, "Failed to create session. The actions runner already has"),
        before=conflict,
        once="Stop retry on SessionConflictException after retried for 240 seconds.",
    ),
    "too old": Row(7, Result.IMAGE_TOO_OLD, "image too old", before=outdated),
}


@pytest.mark.parametrize("name", GITHUB)
def test_githubs_runner_ends_as_its_source_says(name: str, tmp_path: Path) -> None:
    row = GITHUB[name]
    home = tmp_path / "runner"
    shutil.copytree(PLACE / "github_runner", home)
    with FakeGitHub() as fake:
        fake.hold = 0.2
        at = AtGitHub(fake, fake._add("orgs/acme", "box-gh-0-g", 3, ["self-hosted", "gpu"]))
        row.before(at)
        if row.script:
            fake.queue(row.script)
        listener = home / "bin/Runner.Listener"
        variables = {
            "ACTIONS_RUNNER_INPUT_JITCONFIG": fake._blob(at.runner),
            "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE": "1",
        }
        with client(listener, "run", home=home, **variables) as at.client:
            if row.after:
                at.client.says(row.after)
            row.then(at)
            assert at.client.end() == row.code, at.client.lines
            lines = at.client.lines
    found = judged("github", row.code, lines, github.judge)
    assert (found.result, row.words in found.detail) == (row.result, True), found
    assert not row.once or sum(row.once in line for line in lines) == 1, lines
    assert not row.never or not any(row.never in line for line in lines), lines


def test_githubs_config_takes_no_label_that_is_too_long(tmp_path: Path) -> None:
    home = tmp_path / "runner"
    shutil.copytree(PLACE / "github_runner", home)
    words = ("configure", "--unattended", "--url", "http://127.0.0.1:1/acme", "--name", "a")
    with client(home / "bin/Runner.Listener", *words, "--labels", "a" * 257, home=home) as one:
        assert one.end() == 1
    assert one.lines == [
        "Invalid configuration provided for labels. Terminating unattended configuration."
    ]


# -- Microsoft's --------------------------------------------------------------------------------------

NAME = "box-az-0"
AZURE: dict[str, tuple[int, Result, str, Callable[[FakeAzure], object], str]] = {
    "its entry is gone": (
        *(1, Result.DIED_YOUNG, "its entry in the agent pool is gone"),
        lambda fake: fake.agents.clear(),
        "Failed to create session. ",
    ),
    "it is denied": (
        *(1, Result.DIED_YOUNG, "the service does not know its key"),
        lambda fake: fake.fail(
            "POST",
            f"{DT}/pools/2/sessions",
            Fault(status=403, body={"message": "Access denied. It needs Listen."}, times=None),
        ),
        "Failed to create session. Access denied. It needs Listen.",
    ),
    "another one has its session": (
        *(1, Result.DIED_YOUNG, "another agent of its name kept its session"),
        lambda fake: fake.connect(NAME),
        "Stop retry on SessionConflictException after retried for 240 seconds.",
    ),
    "a job that is cancelled and heeds no signal": (
        *(0, Result.JOB_DONE, "Canceled"),
        lambda fake: fake.queue(STUBBORN),
        "Job a job completed with result: Canceled",
    ),
}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeAzure, Path]]:
    """An agent that config.sh has entered, and its service."""
    home = tmp_path_factory.mktemp("azure") / "agent"
    shutil.copytree(PLACE / "azure_agent", home)
    with FakeAzure() as fake:
        words = ["configure", "--unattended", "--url", fake.organisation, "--auth", "PAT"]
        words += ["--pool", "gpu", "--agent", NAME, "--replace"]
        fake.configure(NAME, {})
        secret = {"VSTS_AGENT_INPUT_TOKEN": "pat-good", **ROOT}
        with client(home / "bin/Agent.Listener", *words, home=home, **secret) as one:
            assert one.end() == 0, one.lines
        assert f"Pool 2 already contains an agent with name {NAME}." in one.lines
        assert "Successfully replaced the agent" in one.lines
        yield fake, home


ROOT: Mapping[str, str] = {"AGENT_ALLOW_RUNASROOT": "1"}


@pytest.mark.parametrize("name", AZURE)
def test_microsofts_agent_ends_as_its_source_says(
    name: str, configured: tuple[FakeAzure, Path]
) -> None:
    fake, home = configured
    code, result, words, before, said = AZURE[name]
    fake.hold = 0.2
    agents = dict(fake.agents)
    before(fake)
    try:
        with client(home / "bin/Agent.Listener", "run", "--once", home=home, **ROOT) as one:
            if fake.jobs:
                one.says(RUNNING)
                fake.cancel(next(iter(fake.jobs.values())))
            assert one.end() == code, one.lines
    finally:
        fake.heal()
        fake.agents |= agents
        fake.sessions.clear()
        fake.jobs.clear()
    found = judged("azure", code, one.lines, azure.judge)
    assert (found.result, words in found.detail) == (result, True), found
    assert sum(said in line for line in one.lines) == 1, one.lines


# -- GitLab's -------------------------------------------------------------------------------------------


@dataclass
class AtGitLab:
    """A runner's configuration, and its service."""

    fake: FakeGitLab
    home: Path

    def client(self, *more: str, url: str = "") -> list[str | Path]:
        """The command line of a runner for one job, whose configuration has those lines more."""
        runner = self.fake.runner("gpu")
        rows = (f'url = "{url or self.fake.url}"', f'token = "{runner.token}"', *more)
        text = "\n".join(("[[runners]]", 'name = "one"', 'executor = "shell"', *rows))
        (self.home / "config.toml").write_text(text)
        words = ("--log-format", "json", "run-single", "--max-builds", "1", "--runner", "one")
        program = PLACE / "gitlab_runner/gitlab-runner"
        return [program, *words, "--config", self.home / "config.toml"]


@pytest.fixture
def at_gitlab(tmp_path: Path) -> Iterator[AtGitLab]:
    with FakeGitLab(hold=0.2) as fake:
        yield AtGitLab(fake, tmp_path)


def test_a_step_that_a_signal_ends_has_no_exit_code(at_gitlab: AtGitLab) -> None:
    job = at_gitlab.fake.submit("printf 'caf\\351\\n'; kill -9 $$", tags=["gpu"])
    with client(*at_gitlab.client(), home=at_gitlab.home) as one:
        assert one.end() == 0
    found = judged("gitlab", 0, one.lines, gitlab.judge)
    assert (found.result, found.cause) == (Result.JOB_DONE, Cause.EXIT)
    assert found.detail == f"job {job} failed: signal: killed"
    told = at_gitlab.fake.jobs[job]
    assert (told.state, told.exit_code) == ("failed", -1)
    assert "caf\N{REPLACEMENT CHARACTER}\n" in told.log


def test_a_job_whose_log_is_refused_is_cancelled(at_gitlab: AtGitLab) -> None:
    job = at_gitlab.fake.submit("while :; do echo more; sleep 0.1; done", tags=["gpu"])
    with client(*at_gitlab.client(), home=at_gitlab.home) as one:
        one.says("Submitting job to coordinator...ok")
        at_gitlab.fake.finish(job, "canceled")
        assert one.end() == 0
    found = judged("gitlab", 0, one.lines, gitlab.judge)
    assert (found.result, found.cause) == (Result.JOB_DONE, Cause.CANCELLED)
    assert found.detail == f"job {job} failed: canceled"


@pytest.mark.parametrize(
    ("more", "url", "line", "quiet"),
    [
        (("tls-ca-file = '/nowhere'",), "https://127.0.0.1:1", "client error", 300.0),
        ((), "http://127.0.0.1:1", "failed couldn't execute POST against", 0.0),
        ((), "", "failed 401 Unauthorized", 0.0),
    ],
    ids=["a file that is not there", "nobody answers", "an answer"],
)
def test_what_gitlabs_runner_says_of_a_service_in_trouble_is_read(
    at_gitlab: AtGitLab, more: tuple[str, ...], url: str, line: str, quiet: float
) -> None:
    at_gitlab.fake.fail("POST", "/api/v4/jobs/request", Fault(status=401, times=None))
    with client(*at_gitlab.client(*more, url=url), home=at_gitlab.home) as one:
        one.says("Checking for jobs... ")
        signs = [gitlab.read(said) for said in one.lines]
    (sign,) = (sign for sign in signs if sign is not None and sign.kind == "trouble")
    assert sign.text.startswith(f"Checking for jobs... {line}")
    assert sign.quiet == quiet
