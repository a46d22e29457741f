"""What gitlab-runner's lines mean, and what is made of how it ended."""

from __future__ import annotations

import json

import pytest

from mayfly.core.model import Cause, DoomReason, Exit
from mayfly.core.outcomes import End, Result
from mayfly.providers import Sign
from mayfly.providers.gitlab.lines import REFUSED, judge, read

DONE = End(committed=True, opened=True, exit=Exit(0))
KILLED = End(committed=True, opened=True, exit=None, death_seen=True)


def line(msg: str, **fields: object) -> str:
    return json.dumps(
        {"level": "info", "msg": msg, "time": "2026-11-21T00:00:00Z", **fields}, sort_keys=True
    )


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        (
            line("Starting runner for https://gitlab.com with token abcdefghi ..."),
            Sign("listening"),
        ),
        (line("Checking for jobs... received", job=7), Sign("job_started", "job 7")),
        (line("Job succeeded", job=7), Sign("job_ended", "job 7: Job succeeded")),
        (
            line("Job failed: exit status 3", job=7),
            Sign("job_ended", "job 7: Job failed: exit status 3"),
        ),
        (line("Checking for jobs... forbidden"), Sign("refused", REFUSED)),
        (
            line("Checking for jobs... failed", status="POST: connection refused"),
            Sign("trouble", "Checking for jobs... failed POST: connection refused"),
        ),
        (
            line("Checking for jobs... GitLab instance currently unavailable", status="503"),
            Sign("trouble", "Checking for jobs... GitLab instance currently unavailable 503"),
        ),
        (
            line("Waiting before making the next call", duration=30_000_000_000),
            Sign("trouble", "GitLab asks for a pause of 30 s", quiet=30.0),
        ),
        (
            line("Checking for jobs... client error", status="POST: no such file"),
            Sign("trouble", "Checking for jobs... client error POST: no such file", quiet=300.0),
        ),
        (line("Waiting before making the next call", duration=10**40), None),
        (line("Waiting before making the next call", duration=3_000_000_000), None),
        (line("Waiting before making the next call"), None),
        (
            line("Submitting job to coordinator...ok", job=7, **{"job-status": "running"}),
            Sign("job_begun", "job 7"),
        ),
        (
            line("Submitting job to coordinator...ok", job=7, **{"job-status": "canceling"}),
            Sign("job_dropped", "job 7"),
        ),
        (
            line("Submitting job to coordinator... job failed", job=7, code=403),
            Sign("job_dropped", "job 7"),
        ),
        (
            line("Submitting job to coordinator... not found", job=7, code=404),
            Sign("job_dropped", "job 7"),
        ),
        (
            line("Submitting job to coordinator... forbidden", job=7, code=403),
            Sign("job_dropped", "job 7"),
        ),
        # After a conflict or a fault of the server's the job runs all the same.
        (line("Submitting job to coordinator... failed", job=7, code=409), None),
        (line("Runtime platform"), None),
        (line("Appending trace to coordinator...ok", job=7), None),
        ('{"msg": 7}', None),
        ('{"msg": null}', None),
        ("[1, 2]", None),
        ("{" * 100_000, None),
        ('{"a":' * 20_000, None),
        ("Checking for jobs... received", None),
    ],
)
def test_a_line_means(text: str, sign: Sign | None) -> None:
    assert read(text) == sign


def test_a_token_in_a_line_is_not_passed_on() -> None:
    told = read(line("Checking for jobs... failed", status="glrt-t1_abcdefghijklmnop"))
    assert told is not None
    assert "abcdefghijklmnop" not in told.text


RECEIVED = "job=7 reason= exit= msg=Checking for jobs... received"


def said(msg: str, reason: str = "", code: str = "") -> str:
    return f"job=7 reason={reason} exit={code} msg={msg}"


@pytest.mark.parametrize(
    ("end", "signs", "result", "cause", "detail"),
    [
        (DONE, (RECEIVED, said("Job succeeded")), Result.JOB_DONE, None, "job 7 succeeded"),
        (
            DONE,
            (RECEIVED, said("Job failed: exit status 3", "script_failure", "3")),
            Result.JOB_DONE,
            Cause.EXIT,
            "job 7 failed: exit status 3",
        ),
        (
            DONE,
            (RECEIVED, said("Job failed: canceled", "job_canceled")),
            Result.JOB_DONE,
            Cause.CANCELLED,
            "job 7 failed: canceled",
        ),
        (
            DONE,
            (RECEIVED, said("Job failed: execution took longer", "job_execution_timeout")),
            Result.JOB_DONE,
            Cause.TIMEOUT,
            "job 7 failed: execution took longer",
        ),
        (
            End(committed=True, opened=True, exit=Exit(0), signalled=True, doom=DoomReason.DISK),
            (RECEIVED, said("Job failed: aborted: terminated", "runner_interrupted")),
            Result.JOB_DONE,
            Cause.DISK,
            "job 7 failed: aborted: terminated",
        ),
        (
            End(committed=True, opened=True, exit=Exit(0, oom_kills=1)),
            (RECEIVED, said("Job failed: exit status 137", "script_failure", "137")),
            Result.JOB_DONE,
            Cause.OOM,
            "job 7 failed: exit status 137",
        ),
        (
            DONE,
            (RECEIVED, said("Job failed (system failure): prepare environment", "x")),
            Result.DIED_YOUNG,
            None,
            "job 7 failed (system failure): prepare environment",
        ),
        (KILLED, (RECEIVED,), Result.UNKNOWN, Cause.KILLED, "job 7 was broken off"),
        (
            End(committed=True, opened=True, exit=Exit(0), doom=DoomReason.TIMEOUT),
            (RECEIVED, said("Submitting job to coordinator... job failed")),
            Result.NO_JOB,
            None,
            "it had no job",
        ),
        (
            End(committed=True, opened=True, exit=Exit(0), signalled=True),
            (RECEIVED, said("Submitting job to coordinator...ok")),
            Result.NO_JOB,
            None,
            "it was told from outside to end",
        ),
        (
            KILLED,
            (
                "job=6 reason= exit= msg=Checking for jobs... received",
                "job=6 reason= exit= msg=Submitting job to coordinator... forbidden",
                RECEIVED,
            ),
            Result.UNKNOWN,
            Cause.KILLED,
            "job 7 was broken off",
        ),
        (
            End(committed=True, opened=True, exit=None, engine_stopped=True),
            (RECEIVED,),
            Result.UNKNOWN,
            Cause.ENGINE_STOPPED,
            "job 7 was broken off",
        ),
        (
            End(committed=True, opened=True, exit=Exit(137), doom=DoomReason.TIMEOUT),
            (RECEIVED,),
            Result.UNKNOWN,
            Cause.TIMEOUT,
            "job 7 was broken off",
        ),
        (
            End(committed=True, opened=True, exit=Exit(1), doom=DoomReason.REFUSED),
            (said("Checking for jobs... forbidden"),),
            Result.DIED_YOUNG,
            None,
            REFUSED,
        ),
        (
            End(committed=True, opened=True, exit=Exit(0), doom=DoomReason.DRAINED),
            (),
            Result.NO_JOB,
            None,
            "it had no job",
        ),
        (
            End(committed=True, opened=True, exit=Exit(1)),
            ("job= reason= exit= msg=fatal: Could not find a runner with the name x",),
            Result.DIED_YOUNG,
            None,
            "gitlab-runner: fatal: Could not find a runner with the name x",
        ),
        (DONE, (), Result.DIED_YOUNG, None, "gitlab-runner ended with 0 and had no job"),
        (
            End(committed=True, opened=True, exit=Exit(0), signalled=True),
            (),
            Result.NO_JOB,
            None,
            "it was told from outside to end, and had no job",
        ),
        (KILLED, ("nonsense",), Result.UNKNOWN, Cause.KILLED, "its client ended without a word"),
    ],
)
def test_an_end_is_judged_by_the_signs_and_never_by_the_exit_code(
    end: End, signs: tuple[str, ...], result: Result, cause: Cause | None, detail: str
) -> None:
    outcome = judge(end, signs)
    assert (outcome.result, outcome.cause) == (result, cause)
    assert outcome.detail.startswith(detail)


def test_a_system_failure_of_a_job_with_an_image_of_its_own_is_not_the_slot_s() -> None:
    """Else whoever names an image that is not there has the slot cool for all others."""
    signs = (RECEIVED, said("Job failed (system failure): prepare environment", "x"))
    found = judge(DONE, signs, contained=True)
    assert (found.result, found.cause) == (Result.JOB_DONE, Cause.EXIT)
    assert "job 7 failed (system failure): prepare environment" in found.detail
