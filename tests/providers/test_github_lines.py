"""What GitHub's runner says, and what comes of an agent that ended so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.model import Cause, DoomReason, Exit
from mayfly.core.outcomes import End, Result
from mayfly.providers.github.lines import judge, read

T = "2026-11-21 22:11:51Z: "
LISTENING = T + "Listening for Jobs"
RUNNING = T + "Running job: build (3.12)"
DEPRECATED = "An error occurred: Runner version v2.300.0 is deprecated and cannot receive messages."
DELETED = (
    "Failed to create a session. The runner registration has been deleted from the server, please …"
)
GONE = "The runner no longer exists on the server. Cleaning up local configuration."

REFUSED = "Failed to create session. The runner may not have a session"
CLOCK = (
    "The local machine's clock may be out of sync with the server time by more than five minutes. …"
)
GAVE_UP = "Stopped retrying OAuth token request exception after 1800 seconds."
NO_MORE = "An error occurred: Get next message failed with non-retryable error."


def done(result: str) -> str:
    return f"{T}Job completed with result: {result}"


@pytest.mark.parametrize(
    ("line", "kind", "text"),
    [
        (LISTENING, "listening", ""),
        (RUNNING, "job_started", "build (3.12)"),
        (T + "Job build completed with result: Succeeded", "job_ended", "Succeeded"),
        (
            T + "Job a completed with result: Succeeded completed with result: Failed",
            "job_ended",
            "Failed",
        ),
        (T + "Running job: " + "x" * 5000, "job_started", "****"),
        (T + "Running job: \x1b[2Jboo", "job_started", "[2Jboo"),
        (T + "Running job: ghp_0123456789abcdef", "job_started", "****"),
        (DEPRECATED, "trouble", None),
        (DELETED, "trouble", None),
        (GONE, "trouble", None),
        (REFUSED, "trouble", REFUSED),
        (CLOCK, "trouble", "this host's clock is wrong: timedatectl set-ntp true"),
        (GAVE_UP, "trouble", GAVE_UP),
        (NO_MORE, "trouble", None),
        (T + "Runner connect error: boo. Retrying until reconnected.", "trouble", None),
        (T + "Runner reconnected.", "reconnected", ""),
    ],
)
def test_a_line_of_the_runner_means(line: str, kind: str, text: str | None) -> None:
    sign = read(line)
    assert sign is not None
    assert sign.kind == kind
    if text is not None:
        assert sign.text == text
    # It says the one once, and the other when that is over; all else it repeats, or ends.
    assert (sign.quiet is None) == ("Retrying until reconnected" in line)


@pytest.mark.parametrize(
    "line",
    [
        "Listening for Jobs",
        "[RUNNER 2026-11-21 22:11:51Z INFO Terminal] WRITE LINE: 2026-11-21 22:11:51Z: Listening for Jobs",
        "  " + LISTENING,
        T + "Job build completed with result: Succeeded, not",
        "√ Connected to GitHub",
        "Current runner version: '2.336.0'",
        "",
    ],
)
def test_what_only_looks_like_a_line_of_the_runner_means_nothing(line: str) -> None:
    assert read(line) is None


def end(code: int | None = 0, **more: object) -> End:
    given_exit = Exit(code, 0) if code is not None else None
    return End(committed=True, opened=True, exit=given_exit, **more)  # type: ignore[arg-type]


ROWS = [
    (
        "a job that succeeded",
        end(0),
        (LISTENING, RUNNING, done("Succeeded")),
        Result.JOB_DONE,
        None,
    ),
    ("a job that failed", end(0), (LISTENING, RUNNING, done("Failed")), Result.JOB_DONE, None),
    (
        "a limit",
        end(0, doom=DoomReason.TIMEOUT),
        (RUNNING, done("Canceled")),
        Result.JOB_DONE,
        Cause.TIMEOUT,
    ),
    ("idle expiry", end(0), (LISTENING, GONE), Result.NO_JOB, None),
    ("idle expiry without a word", end(0), (LISTENING,), Result.NO_JOB, None),
    ("0 without ever listening", end(0), (), Result.DIED_YOUNG, None),
    ("a deleted registration", end(1), (DELETED,), Result.DIED_YOUNG, None),
    ("too old, told by its code", end(7), (LISTENING,), Result.IMAGE_TOO_OLD, None),
    ("too old, told by its line", end(1), (LISTENING, DEPRECATED), Result.IMAGE_TOO_OLD, None),
    (
        "too old, misspelt",
        end(1),
        (DEPRECATED.replace("occurred", "occured"),),
        Result.IMAGE_TOO_OLD,
        None,
    ),
    (
        "told to update itself",
        end(4),
        (LISTENING, "Runner update in progress"),
        Result.IMAGE_TOO_OLD,
        None,
    ),
    ("an outage", end(2), (LISTENING,), Result.DIED_YOUNG, None),
    ("idle expiry, told by a refusal", end(1), (LISTENING, NO_MORE), Result.NO_JOB, None),
    ("idle expiry, after tries", end(2), (LISTENING, NO_MORE), Result.NO_JOB, None),
    ("refused before it listened", end(1), (NO_MORE,), Result.DIED_YOUNG, None),
    ("refused a session", end(1), (REFUSED,), Result.DIED_YOUNG, None),
    ("a wrong clock", end(1), (CLOCK, GAVE_UP), Result.DIED_YOUNG, None),
    (
        "a session conflict",
        end(5),
        ("A session for this runner already exists.",),
        Result.DIED_YOUNG,
        None,
    ),
    ("no configuration in the frame", end(65), (), Result.DIED_YOUNG, None),
    ("let go by us", end(0, doom=DoomReason.DRAINED), (LISTENING, GONE), Result.NO_JOB, None),
    ("let go and interrupted", end(130, doom=DoomReason.STALE), (LISTENING,), Result.NO_JOB, None),
    (
        "killed in its job",
        end(None, death_seen=True),
        (LISTENING, RUNNING),
        Result.UNKNOWN,
        Cause.KILLED,
    ),
    (
        "the Engine stopped",
        end(None, engine_stopped=True),
        (RUNNING,),
        Result.UNKNOWN,
        Cause.ENGINE_STOPPED,
    ),
    ("killed while idle", end(None, death_seen=True), (LISTENING,), Result.UNKNOWN, Cause.KILLED),
]


@pytest.mark.parametrize(
    ("what", "how", "lines", "result", "cause"), ROWS, ids=[row[0] for row in ROWS]
)
def test_an_end_comes_to(
    what: str, how: End, lines: tuple[str, ...], result: Result, cause: Cause | None
) -> None:
    outcome = judge(how, lines)
    assert (outcome.result, outcome.cause) == (result, cause)


def test_a_job_whose_memory_ran_out_is_told_so() -> None:
    outcome = judge(End(True, True, Exit(137, 2)), (LISTENING, RUNNING))
    assert outcome.cause is Cause.OOM


def test_an_agent_that_never_opened_did_not_die_of_its_slot_where_we_ended_it() -> None:
    assert judge(End(True, False, None, doom=DoomReason.DRAINED), ()).result is Result.NO_JOB
    assert judge(End(True, False, Exit(64)), ()).result is Result.DIED_YOUNG


@given(st.text(), st.lists(st.text(), max_size=5))
def test_no_text_of_a_job_breaks_the_reading(line: str, lines: list[str]) -> None:
    sign = read(line)
    assert sign is None or "\n" not in sign.text
    judge(end(0), tuple(lines))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_no_name_of_a_job_changes_its_result(name: str) -> None:
    line = f"{T}Job {name} completed with result: Failed"
    sign = read(line)
    assert sign is not None
    assert sign.text == "Failed"
