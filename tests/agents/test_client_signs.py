"""Which lines of the services' clients a launcher keeps for `judge`, in the shell that runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mayfly.providers.azure import lines as azure
from mayfly.providers.gitea import lines as gitea
from mayfly.providers.github import lines as github
from mayfly.providers.gitlab import lines as gitlab

AGENTS = Path(__file__).parents[2] / "agents"
AT = "2026-11-28 20:00:00Z: "
CLOCK = (
    "The local machine's clock may be out of sync with the server time by more than five minutes. "
    "Please sync your clock with your domain or internet time and try again."
)
GITHUB = (
    f"{AT}Listening for Jobs",
    f"{AT}Running job: build",
    f"{AT}Job build completed with result: Succeeded",
    "An error occurred: Get next message failed with non-retryable error.",
    "An error occured: Runner version v2.300.0 is deprecated and cannot receive messages.",
    "Failed to create a session. The runner registration has been deleted from the server",
    "Failed to create session. Access denied.",
    "The runner no longer exists on the server. Cleaning up local configuration.",
    "A session for this runner already exists.",
    "Stop retry on SessionConflictException after retried for 240 seconds.",
    "Stopped retrying OAuth token request exception after 1800 seconds.",
    "Runner update in progress, do not shutdown runner.",
    "A runner exists with the same name box-gh-0.",
    CLOCK,
)
AZURE = (
    f"{AT}Listening for Jobs",
    f"{AT}Running job: build",
    f"{AT}Job build completed with result: SucceededWithIssues",
    "Agent pool not found: 'gpu'",
    "A session for this agent already exists.",
    "Stop retry on SessionConflictException after retried for 240 seconds.",
    "Failed to create a session. No.",
    "Failed to create session. No.",
    "Access denied. The agent has no right.",
    "VS30063: You are not authorized to access https://dev.azure.com.",
    "Must not run with sudo",
    "An error occurred: Not configured",
    "Cannot configure the agent because it is already configured. To reconfigure the agent, run …",
    "The token is not valid now. Current server time is 11/28/2026.",
    "The agent no longer exists on the server. Please reconfigure the agent.",
    "Agent update in progress, do not shutdown agent.",
    "Downgrading agent to a lower version. …",
    CLOCK,
)


def kept(provider: str, *lines: str) -> list[str]:
    """What the launcher leaves in its witness of the lines that the client said."""
    script = '_room=/nowhere _witness=$PWD _last=none; . "$0/launch.sh"; . "$0/$1"; pass_on_lines'
    text = "".join(f"{line}\n" for line in lines)
    with TemporaryDirectory() as witness:
        done = subprocess.run(
            ["/bin/sh", "-c", script, str(AGENTS), provider],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            cwd=witness,
        )
        assert done.stderr == ""
        assert done.stdout.count("\n") == text.count("\n"), "each is passed on"
        signs = Path(witness, "signs")
        return signs.read_text().splitlines() if signs.exists() else []


@pytest.mark.parametrize("line", GITHUB)
def test_githubs_launcher_keeps_what_its_provider_reads(line: str) -> None:
    (sign,) = kept("github", line)
    assert github.read(sign) == github.read(line) is not None


@pytest.mark.parametrize("line", AZURE)
def test_azures_launcher_keeps_what_its_provider_reads(line: str) -> None:
    (sign,) = kept("azure", line)
    assert azure.read(sign) == azure.read(line) is not None


RUNNER = 'time="2026-11-28T20:00:00Z" level='
TASK = f'{RUNNER}info msg="task 41 repo is lab/train https://github.com https://gitea.lab"'
AWAY = f'{RUNNER}error msg="failed to fetch task" error="unavailable: connection refused"'
DELETED = 'error="unknown: rpc error: code = Unauthenticated desc = unregistered runner"'
GITEA = (
    TASK,
    AWAY,
    f'{RUNNER}error msg="failed to fetch task" {DELETED}',
    f'{RUNNER}error msg="fail to invoke Declare" error="unavailable: connection refused"',
)


@pytest.mark.parametrize("line", GITEA)
def test_giteas_launcher_keeps_what_its_provider_reads(line: str) -> None:
    (sign,) = kept("gitea", line)
    assert gitea.read(sign) == gitea.read(line) is not None


@pytest.mark.parametrize("provider", ["azure", "gitea", "github", "gitlab"])
def test_a_line_that_only_looks_like_the_clients_is_not_kept(provider: str) -> None:
    lines = (
        "Listening for Jobs",
        f" {AT}Running job: x",
        "Job succeeded",
        "task 41 repo is lab/train",
        f' {RUNNER}info msg="task 41 repo is lab/train"',
        f'{RUNNER}info msg="runner: task 41 repo is lab/train"',
        f"{AT}Scanning for tool capabilities.",
        "[2026-11-28 20:00:00Z INFO Terminal] WRITE LINE: An error occurred: x",
    )
    assert kept(provider, *lines) == []


def said(msg: str, job_status: str = "", **more: object) -> str:
    """A line of gitlab-runner's, as it writes them: its keys in the order of the alphabet."""
    status = {"job-status": job_status} if job_status else {}
    line = {"level": "info", "msg": msg, "time": "2026-11-28T20:00:00Z", **status, **more}
    return json.dumps(line, sort_keys=True, separators=(",", ":"))


RECEIVED = said("Checking for jobs... received", job=7)
BEGUN = said("Submitting job to coordinator...ok", job=7, job_status="running", code=200)
LOST = said("Submitting job to coordinator... failed", job=7, code=409)
DROPPED = [
    said("Submitting job to coordinator...ok", job=7, job_status="canceling"),
    said("Submitting job to coordinator... job failed", job=7, job_status="canceled"),
    said("Submitting job to coordinator... not found", job=7, code=404),
    said("Submitting job to coordinator... forbidden", job=7, code=403),
]


def test_gitlabs_launcher_keeps_the_result_of_a_job() -> None:
    lines = (RECEIVED, BEGUN, said("Job failed: exit status 3", job=7, exit_code=3))
    assert kept("gitlab", *lines) == [
        "job=7 reason= exit= msg=Checking for jobs... received",
        "job=7 reason= exit=3 msg=Job failed: exit status 3",
    ]


# What each client says of trouble that lasts, at one time and another, and of the job that it has then.
TROUBLES = {
    "azure": (f"{AT}Agent connect error: No route.", "An error occurred: {}", AZURE[2]),
    "gitea": (AWAY, f'{RUNNER}error msg="failed to fetch task" error="{{}}"', TASK),
    "github": ("An error occurred: away", "An error occurred: {}", GITHUB[2]),
    "gitlab": (
        said("Checking for jobs... forbidden"),
        said("Checking for jobs... forbidden", status="{}"),
        said("Job succeeded", job=7),
    ),
}


@pytest.mark.parametrize("provider", TROUBLES)
def test_trouble_without_end_leaves_room_for_the_job_after_it(provider: str) -> None:
    """A witness has room for 64 lines; a client, or a job that writes as it does, says more of trouble."""
    same, other, end = TROUBLES[provider]
    stamped = [same.replace("20:00:00Z", f"20:00:{n % 60:02}Z") for n in range(500)]
    others = [other.replace("{}", str(n)) for n in range(500)]
    (job,) = kept(provider, end)
    lines = kept(provider, *stamped, *others, end)
    assert len(lines) < 64
    assert lines[-1] == job
    assert len(kept(provider, *stamped)) == 1, "what is only said again is not kept again"


@pytest.mark.parametrize("line", DROPPED)
def test_gitlabs_launcher_keeps_that_a_job_was_taken_back_where_it_had_not_begun(line: str) -> None:
    """In one that has begun the same answer says that it is to end, which its own line tells later."""
    sign = gitlab.read(line)
    assert sign is not None
    assert sign.kind == "job_dropped"
    assert len(kept("gitlab", RECEIVED, line)) == 2
    assert len(kept("gitlab", RECEIVED, BEGUN, line)) == 1
    assert len(kept("gitlab", RECEIVED, LOST, line)) == 1
    assert len(kept("gitlab", RECEIVED, BEGUN, RECEIVED, line)) == 3


@pytest.mark.parametrize(
    "text", ['creating runner tmp dir "/x": no', '""', 'a","level":"fatal', "plain"]
)
def test_a_text_with_quotation_marks_is_kept_whole_and_is_no_field(text: str) -> None:
    assert kept("gitlab", said(f"Job failed: {text}", job=7)) == [
        f"job=7 reason= exit= msg=Job failed: {text}"
    ]
