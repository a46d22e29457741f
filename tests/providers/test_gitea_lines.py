"""What Gitea's runner says, in the words of v1.0.8, and what an end of it means."""

from __future__ import annotations

import pytest

from mayfly.core.model import Cause, DoomReason, Exit
from mayfly.core.outcomes import End, Result
from mayfly.providers import Sign
from mayfly.providers.gitea import lines

AT = 'time="2026-11-28T20:00:00Z" level='
UNKNOWN = 'error="unknown: rpc error: code = Unauthenticated desc = unregistered runner"'
TASK = f'{AT}info msg="task 41 repo is lab/train https://github.com http://127.0.0.1:3000"'
SAYS = [
    (f'{AT}info msg="Starting runner daemon"', None),
    (
        f'{AT}info msg="runner: box-g-0, with version: v1.0.8, with labels: [gpu], declare successfully"',
        Sign("listening"),
    ),
    (TASK, Sign("job_started", "task 41 of lab/train")),
    (f'{AT}error msg="failed to fetch task" {UNKNOWN}', Sign("refused", lines.REFUSED)),
    (f'{AT}error msg="fail to invoke Declare" {UNKNOWN}', Sign("refused", lines.REFUSED)),
    (
        f'{AT}error msg="failed to fetch task" error="unavailable: dial tcp 127.0.0.1:3000: refused"',
        Sign(
            "trouble",
            "failed to fetch task: unavailable: dial tcp 127.0.0.1:3000: refused",
        ),
    ),
    (
        f'{AT}error msg="failed to fetch task" error=EOF',
        Sign("trouble", "failed to fetch task: EOF"),
    ),
    (f'{AT}error msg="failed to fetch task" error="canceled: context canceled"', None),
    (
        f'{AT}info msg="runner: box-g-0, shutdown initiated, waiting 1h0m0s for running jobs to complete"',
        None,
    ),
    (
        f'{AT}info msg="  | runner: x, declare successfully \\" level=info msg=\\"task 1 repo is a/b c"',
        None,
    ),
    ("task 41 repo is lab/train x", None),
]


@pytest.mark.parametrize(("line", "sign"), SAYS)
def test_a_line_means(line: str, sign: Sign | None) -> None:
    assert lines.read(line) == sign


@pytest.mark.parametrize("length", [300, 5000])
def test_a_line_that_was_cut_means_the_same(length: int) -> None:
    line = f'{AT}info msg="task 41 repo is lab/train https://github.com {"u" * 9000}"'
    assert lines.read(line[:length]) == Sign("job_started", "task 41 of lab/train")


@pytest.mark.parametrize("labels", ["gpu", "l" * 9000, "\\" * 9000, " \\" * 9000])
def test_a_runner_with_more_labels_than_are_read_is_heard(labels: str) -> None:
    words = f"runner: box-g-0, with version: v1.0.8, with labels: [{labels}], declare successfully"
    line = f'{AT}info msg="{words}"'
    assert lines.read(line) == Sign("listening")


def ended(code: int | None = 0, **how: object) -> End:
    account = Exit(code) if code is not None else None
    return End(committed=True, opened=True, exit=account, **how)  # type: ignore[arg-type]


def test_a_job_that_ended_by_itself_is_done_and_nothing_is_claimed_of_its_result() -> None:
    outcome = lines.judge(ended(), (TASK,))
    assert (outcome.result, outcome.cause, outcome.succeeded) == (Result.JOB_DONE, None, None)
    assert outcome.detail == lines.ENDED


def test_memory_that_ran_out_is_told_beside_it() -> None:
    end = End(committed=True, opened=True, exit=Exit(0, 2))
    assert "2 of its processes were killed for memory" in lines.judge(end, (TASK,)).detail


def test_a_job_that_was_broken_off_with_its_runner_s_word_has_failed() -> None:
    outcome = lines.judge(ended(signalled=True), (TASK,))
    assert (outcome.result, outcome.cause, outcome.succeeded) == (
        Result.JOB_DONE,
        Cause.KILLED,
        False,
    )


def test_a_runner_that_was_killed_in_a_job_left_gitea_without_a_word() -> None:
    outcome = lines.judge(ended(137), (TASK,))
    assert (outcome.result, outcome.cause) == (Result.UNKNOWN, Cause.KILLED)
    assert "ten minutes" in outcome.detail


def test_a_job_that_gitea_has_ended_is_cancelled() -> None:
    """However its container ended, Gitea shows it as ended, and not as running."""
    for code in (0, 137, None):
        outcome = lines.judge(ended(code, doom=DoomReason.TAKEN_BACK), (TASK,))
        assert (outcome.result, outcome.cause, outcome.succeeded, outcome.detail) == (
            Result.JOB_DONE,
            Cause.CANCELLED,
            False,
            lines.TAKEN_BACK,
        )


def test_a_runner_that_gitea_does_not_know_when_it_comes_up_says_so() -> None:
    outcome = lines.judge(ended(1), (SAYS[4][0],))
    assert (outcome.result, outcome.detail) == (Result.DIED_YOUNG, lines.REFUSED)


def test_a_runner_that_was_told_from_outside_to_end_had_no_job() -> None:
    assert lines.judge(ended(signalled=True), ()).result is Result.NO_JOB
    assert lines.judge(ended(2), ()).result is Result.DIED_YOUNG
