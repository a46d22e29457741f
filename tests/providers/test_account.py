"""How an agent's end is told: the same end comes to the same result and cause at every provider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest

from mayfly.core.model import Cause, DoomReason, Exit, JobState, PoolName, PoolSpec
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.edge.history_reader import HistoryReader
from mayfly.providers.account import AT_FAULT, Told, account, cut_off
from mayfly.providers.azure import lines as azure_lines
from mayfly.providers.gitea import lines as gitea_lines
from mayfly.providers.github import lines as github_lines
from mayfly.providers.gitlab import lines as gitlab_lines
from mayfly.providers.local.provider import Local

AT = "2026-11-22 01:00:00Z: "
LOCAL = Local(PoolSpec(name=PoolName("own")), cast(HistoryReader, None))


@dataclass(frozen=True, slots=True)
class Client:
    """How one provider's client tells of a job."""

    judge: Callable[[End, tuple[str, ...]], Outcome]
    waits: tuple[str, ...]
    begins: tuple[str, ...]
    # None: it does not tell what came of a job
    fails: tuple[str, ...] | None = None
    succeeds: tuple[str, ...] | None = None
    # what came of it where it has told that a job began, and ended well
    over: Result = Result.UNKNOWN


def gitlab_sign(text: str, reason: str = "") -> str:
    return f"job=7 reason={reason} exit= msg={text}"


WAITS, BEGINS = f"{AT}Listening for Jobs", f"{AT}Running job: build"
TAKES = gitlab_sign("Checking for jobs... received")
RUNNER = 'time="2026-11-22T01:00:00Z" level=info msg='
CLIENTS = {
    "azure": Client(
        azure_lines.judge,
        (WAITS,),
        (WAITS, BEGINS),
        (WAITS, BEGINS, f"{AT}Job completed with result: Canceled"),
        (WAITS, BEGINS, f"{AT}Job completed with result: Succeeded"),
    ),
    "github": Client(
        github_lines.judge,
        (WAITS,),
        (WAITS, BEGINS),
        (WAITS, BEGINS, f"{AT}Job build completed with result: Canceled"),
        (WAITS, BEGINS, f"{AT}Job build completed with result: Succeeded"),
    ),
    "gitea": Client(
        gitea_lines.judge,
        (),
        (f'{RUNNER}"task 41 repo is lab/train https://github.com https://gitea.lab"',),
        over=Result.JOB_DONE,
    ),
    "gitlab": Client(
        gitlab_lines.judge,
        (),
        (TAKES,),
        (TAKES, gitlab_sign("Job failed: exit status 1", "script_failure")),
        (TAKES, gitlab_sign("Job succeeded")),
    ),
}
every_service = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys())


def ended(code: int | None = 0, oom: int = 0, **how: object) -> End:
    account = Exit(code, oom) if code is not None else None
    return End(committed=True, opened=True, exit=account, **how)  # type: ignore[arg-type]


def without_result(client: Client, end: End) -> Result:
    """What comes of an agent whose client told that a job began, and no more."""
    over_by_itself = end.exit is not None and end.exit.code == 0
    over_there = end.doom is DoomReason.TAKEN_BACK
    return client.over if over_by_itself or over_there else Result.UNKNOWN


# Why Mayfly ended it, and how its job's end is told for that.
WANTED = [
    (DoomReason.TIMEOUT, Cause.TIMEOUT, JobState.FAILED),
    (DoomReason.DISK, Cause.DISK, JobState.FAILED),
    (DoomReason.FORCED, Cause.CANCELLED, JobState.CANCELLED),
    (DoomReason.CANCELLED, Cause.CANCELLED, JobState.CANCELLED),
    (DoomReason.TAKEN_BACK, Cause.CANCELLED, JobState.CANCELLED),
]


@pytest.mark.parametrize(("doom", "cause", "state"), WANTED)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"oom": 2},
        {"engine_stopped": True},
        {"signalled": True},
        {"code": None, "death_seen": True},
        {"code": None, "engine_stopped": True},
        {"code": 137, "signalled": True},
    ],
    ids=str,
)
def test_why_mayfly_ended_it_comes_before_everything_that_followed(
    how: dict[str, object], doom: DoomReason, cause: Cause, state: JobState
) -> None:
    end = ended(doom=doom, **how)  # type: ignore[arg-type]
    for name, client in CLIENTS.items():
        if client.fails is not None:
            told = client.judge(end, client.fails)
            assert (told.result, told.cause) == (Result.JOB_DONE, cause), name
        untold = client.judge(end, client.begins)
        assert (untold.result, untold.cause) == (without_result(client, end), cause), name
    own = LOCAL.judge(end, ())
    assert (own.cause, own.job) == (cause, state)


@pytest.mark.parametrize(
    ("code", "words"), [(70, "at its gate with exit code 70"), (None, "at its gate")]
)
def test_an_agent_that_died_at_its_gate_has_the_code_that_the_engine_saw(
    code: int | None, words: str
) -> None:
    end = End(committed=False, opened=False, exit=None, death_seen=True, died_with=code)
    judged = [client.judge(end, ()) for client in CLIENTS.values()]
    for outcome in (*judged, LOCAL.judge(end, ())):
        assert outcome.result is Result.DIED_YOUNG
        assert outcome.detail.endswith(words)


@every_service
@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ({"code": None, "engine_stopped": True}, Cause.ENGINE_STOPPED),
        ({"code": 143, "engine_stopped": True, "signalled": True}, Cause.ENGINE_STOPPED),
        ({"code": 137, "oom": 1, "death_seen": True}, Cause.OOM),
        ({"code": None, "death_seen": True}, Cause.KILLED),
        ({"code": 137}, Cause.KILLED),
        ({"code": 0, "signalled": True}, Cause.KILLED),
        ({"code": None, "doom": DoomReason.MISSED}, Cause.KILLED),
        ({"code": 1}, Cause.UNKNOWN),
        ({"code": None}, Cause.UNKNOWN),
    ],
    ids=str,
)
def test_a_job_without_a_result_was_ended_by(
    client: Client, how: dict[str, object], cause: Cause
) -> None:
    end = ended(**how)  # type: ignore[arg-type]
    outcome = client.judge(end, client.begins)
    assert (outcome.result, outcome.cause) == (without_result(client, end), cause)


@pytest.mark.parametrize("name", ["azure", "github"])
def test_a_client_that_ends_well_without_a_result_may_have_had_its_job_taken_back(
    name: str,
) -> None:
    """A job that is cancelled between its hand-out and its beginning; a job could end its client so, too."""
    outcome = CLIENTS[name].judge(ended(0), CLIENTS[name].begins)
    assert (outcome.result, outcome.cause) == (Result.UNKNOWN, Cause.UNKNOWN)
    assert outcome.detail.startswith("its job was taken back before it began, or broken off")


@every_service
def test_memory_that_ran_out_is_told_of_a_job_that_failed_alone(client: Client) -> None:
    if client.fails is None or client.succeeds is None:
        pytest.skip("its client does not tell which did")
    assert client.judge(ended(oom=1), client.fails).cause is Cause.OOM
    assert client.judge(ended(oom=1), client.succeeds).cause is None


@pytest.mark.parametrize(
    ("end", "result"),
    [
        (End(True, False, None, doom=DoomReason.DRAINED), Result.NO_JOB),
        (End(True, False, Exit(143), engine_stopped=True), Result.NO_JOB),
        (End(True, False, Exit(64)), Result.DIED_YOUNG),
        (End(True, False, None), Result.DIED_YOUNG),
    ],
)
def test_an_agent_whose_gate_was_not_passed(end: End, result: Result) -> None:
    for name, client in CLIENTS.items():
        assert client.judge(end, ()).result is result, name
    assert LOCAL.judge(end, ()).result is result


@every_service
@pytest.mark.parametrize(
    ("how", "result", "cause"),
    [
        ({"code": 0, "doom": DoomReason.DRAINED}, Result.NO_JOB, None),
        ({"code": None, "doom": DoomReason.TIMEOUT}, Result.NO_JOB, None),
        ({"code": 143, "engine_stopped": True}, Result.NO_JOB, None),
        ({"code": None, "death_seen": True}, Result.UNKNOWN, Cause.KILLED),
        ({"code": 2}, Result.DIED_YOUNG, None),
    ],
    ids=str,
)
def test_an_agent_that_waited_for_a_job(
    client: Client, how: dict[str, object], result: Result, cause: Cause | None
) -> None:
    outcome = client.judge(ended(**how), client.waits)  # type: ignore[arg-type]
    assert (outcome.result, outcome.cause) == (result, cause)


@pytest.mark.parametrize("opened", [True, False])
@pytest.mark.parametrize("doom", sorted(AT_FAULT))
def test_an_agent_that_was_ended_for_a_fault_says_which(doom: DoomReason, opened: bool) -> None:
    end = End(True, opened, Exit(0), doom=doom, because="enrolling for more than 180 s")
    for name, client in CLIENTS.items():
        outcome = client.judge(end, client.waits if opened else ())
        assert outcome.result is Result.NO_JOB, name
        assert outcome.detail == "enrolling for more than 180 s", name


def test_what_a_client_said_to_be_wrong_is_told_of_one_that_missed_its_deadline() -> None:
    end = ended(0, doom=DoomReason.MISSED, because="enrolling for more than 180 s")
    clock = "The local machine's clock may be out of sync with the server time by …"
    for name in ("azure", "github"):
        outcome = CLIENTS[name].judge(end, (clock, "Failed to create session. No."))
        assert outcome.result is Result.NO_JOB, name
        assert outcome.detail == (
            "enrolling for more than 180 s: this host's clock is wrong: timedatectl set-ntp true"
        ), name


@pytest.mark.parametrize(
    ("end", "cause", "state"),
    [
        (ended(0), None, JobState.SUCCEEDED),
        (ended(3), Cause.EXIT, JobState.FAILED),
        (ended(137, oom=1), Cause.OOM, JobState.FAILED),
        (ended(143, signalled=True), Cause.KILLED, JobState.LOST),
        (ended(143, oom=1, signalled=True), Cause.KILLED, JobState.LOST),
        (ended(143, signalled=True, engine_stopped=True), Cause.ENGINE_STOPPED, JobState.LOST),
        (ended(1, engine_stopped=True), Cause.EXIT, JobState.FAILED),
        (ended(None, engine_stopped=True), Cause.ENGINE_STOPPED, JobState.LOST),
        (ended(None, death_seen=True), Cause.KILLED, JobState.LOST),
        (ended(None), Cause.UNKNOWN, JobState.LOST),
    ],
)
def test_a_job_of_the_queue_ends_as(end: End, cause: Cause | None, state: JobState) -> None:
    outcome = LOCAL.judge(end, ())
    assert (outcome.cause, outcome.job) == (cause, state)
    assert outcome.result is (Result.JOB_DONE if end.exit is not None else Result.UNKNOWN)


@pytest.mark.parametrize("doom", [DoomReason.FORCED, DoomReason.CANCELLED, DoomReason.DRAINED])
def test_an_agent_that_was_sent_away_speaks_not_against_its_slot(doom: DoomReason) -> None:
    end = End(committed=True, opened=True, exit=Exit(1, 0, 1.0), doom=doom)
    told = Told(unfit="its service would not have it")
    assert account(end, told).result is Result.NO_JOB
    assert account(replace(end, doom=None), told).result is Result.DIED_YOUNG


@pytest.mark.parametrize(
    ("code", "cause"),
    [(1, Cause.UNKNOWN), (137, Cause.KILLED), (143, Cause.KILLED), (255, Cause.UNKNOWN)],
)
def test_only_a_signals_code_is_a_kill(code: int, cause: Cause) -> None:
    assert cut_off(End(committed=True, opened=True, exit=Exit(code, 0, 1.0))) is cause
