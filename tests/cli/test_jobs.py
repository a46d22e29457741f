"""``submit``, ``jobs``, ``cancel``, ``logs``: the real command against a stand-in manager."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mayfly.cli.misunderstood import LATE
from mayfly.core.command_effects import AT_ONCE
from mayfly.core.commands import CancelJobs, Command, Payload, SubmitJob, verb_of
from mayfly.core.model import JobId, Priority
from mayfly.service.pending_command import Answer
from tests.cli.conftest import COMMAND, Answers, Mayfly
from tests.service.standin import StandIn, job, slot, status
from tests.terminal import Terminal, environment

Start = Callable[..., "subprocess.Popen[bytes]"]


class Runs:
    """A queue of one job, whose life a test plays."""

    def __init__(self, manager: StandIn, answers: Answers) -> None:
        self.manager = manager
        self.submitted = threading.Event()
        answers.by_verb["submit"] = self._submit

    def _submit(self, _: Command) -> Answer:
        self.row(state="queued")
        self.submitted.set()
        return Answer(201, {"job": "j1"})

    def row(self, **changes: Any) -> None:
        before = self.manager.account.rows.get("j1", job("j1"))
        self.manager.account.rows["j1"] = {**before, **changes}

    def starts(self) -> None:
        self.row(state="running", agent="g1", slot="local-0")

    def prints(self, data: bytes, stream: int = 1) -> None:
        self.manager.account.prints("g1", data, stream)

    def ends(
        self, state: str = "succeeded", code: int | None = 0, cause: str | None = None
    ) -> None:
        self.manager.account.ends("g1")
        self.row(state=state, exit_code=code, cause=cause, finished="2026-11-21T09:10:00.000Z")


@pytest.fixture
def runs(manager: StandIn, answers: Answers) -> Runs:
    return Runs(manager, answers)


def test_input_that_comes_while_a_job_is_waited_for_is_told_once(runs: Runs, start: Start) -> None:
    process = start("submit", "--wait", "--", "cat", stdin=subprocess.PIPE)
    assert runs.submitted.wait(20)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"late\n")
    process.stdin.flush()
    assert process.stderr.readline().decode() == f"mayfly: {LATE}\n"
    runs.starts()
    runs.ends()
    _, err = process.communicate(b"later\n", timeout=30)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("ends", ["at once", "never", "when the job does"])
def test_a_pipe_that_nothing_comes_by_is_worth_no_word(runs: Runs, start: Start, ends: str) -> None:
    reading, writing = os.pipe()
    process = start("submit", "--wait", "id", stdin=reading)
    os.close(reading)
    if ends == "at once":
        os.close(writing)
    assert runs.submitted.wait(20)
    runs.starts()
    if ends == "when the job does":
        os.close(writing)
    runs.ends()
    _, err = process.communicate(timeout=30)
    if ends == "never":
        os.close(writing)
    assert (process.returncode, err) == (0, b"")


def test_a_path_of_folders_and_a_program_by_its_path_are_taken(runs: Runs, mayfly: Mayfly) -> None:
    assert mayfly("submit", "--env", "PATH=/opt/bin:bin", "id").code == 0
    assert mayfly("submit", "--env", "PATH=", "/bin/id").code == 0
    assert mayfly("submit", "--matrix", "PATH=./a,./b", "id").code == 0


# -- submit ----------------------------------------------------------------------------------------


def test_submit_prints_the_job_s_id_alone(runs: Runs, mayfly: Mayfly) -> None:
    ran = mayfly("submit", "--", "sh", "-c", "id")
    assert (ran.code, ran.out, ran.err) == (0, "j1\n", "")
    (command,) = runs.manager.commands
    payload = Payload(("sh", "-c", "id"), {})
    assert command == SubmitJob(command.by, payload, pool=None, timeout=None)


def test_a_job_that_is_too_large_is_refused_in_one_sentence(
    mayfly: Mayfly, manager: StandIn
) -> None:
    words = [word for n in range(12) for word in ("-e", f"V{n}={'x' * 100_000}")]
    ran = mayfly("submit", *words, "--", "true")
    assert (ran.code, ran.out, ran.err) == (1, "", "mayfly: the body is longer than 1 MiB\n")
    assert manager.commands == []


def test_submit_takes_its_own_options_only_before_the_command(runs: Runs, mayfly: Mayfly) -> None:
    mayfly(
        "submit", "--pool", "p", "--timeout", "2m", "--env", "A=b=c", "-e", "MINE",
        "grep", "-e", "x", "--wait", MINE="here",
    )  # fmt: skip
    (command,) = runs.manager.commands
    payload = Payload(("grep", "-e", "x", "--wait"), {"A": "b=c", "MINE": "here"})
    assert command == SubmitJob(command.by, payload, pool="p", timeout=120.0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing argument"),
        (["--timeout", "soon", "id"], "--timeout: 'soon' is not a duration"),
        (["--env", "NOT_THERE", "id"], "--env NOT_THERE: you have no such variable"),
        (["--env", "MAYFLY_X=1", "id"], "env: MAYFLY_X is reserved"),
        (["--out", "/", "id"], "--out / is all of the container: name the file or folder"),
        (["--out", "/./=here", "id"], "--out /./ is all of the container"),
        (["--matrix", "K=a,b,a", "id"], "--matrix K: 'a' is there twice, and makes one job"),
        (["--cuda", "12.8,12.8", "id"], "--cuda: '12.8' is there twice"),
        (
            ["--matrix", "PATH=/bin,b", "id"],
            "PATH=b names no folder, and the job looks for id there",
        ),
        (["--env", "PATH=b", "id"], "PATH=b names no folder"),
        (["--matrix", "K=a,b", "--out", "x=y", "id"], "several jobs cannot write to one place"),
        (["--cuda", "all", "--out", "x=y", "id"], "several jobs cannot write to one place"),
    ],
)
def test_what_cannot_be_submitted_is_a_usage_error(
    runs: Runs, mayfly: Mayfly, arguments: list[str], told: str
) -> None:
    ran = mayfly("submit", *arguments)
    assert ran.code == 2
    assert told in ran.err
    assert runs.manager.commands == []


def test_at_a_terminal_it_says_why_a_job_failed_and_what_it_did_with_its_gpus(
    runs: Runs, terminal: Callable[..., Terminal]
) -> None:
    screen = terminal("submit", "--wait", "id")
    assert runs.submitted.wait(20)
    runs.starts()
    use = [{"uuid": "GPU-1", "peak_memory": 12 << 30, "utilisation": 71.0}]
    runs.manager.account.agents.append({"agent": "g1", "gpu_use": use})
    runs.row(detail="it ended with exit code 3")
    runs.ends("failed", 3, "exit")
    code, seen = screen.end()
    assert code == 3
    assert seen == (
        "mayfly: job j1 failed: it ended with exit code 3\n"
        "mayfly: GPU use: GPU-1 12GiB at most, 71 % busy on average\n"
    )


def test_a_job_is_described_with_why_it_ended(runs: Runs, mayfly: Mayfly) -> None:
    runs.row(state="queued")
    runs.starts()
    runs.row(detail="it was out of memory: its limit is 8GiB", name="train", owner="ann")
    runs.ends("failed", 137, "oom")
    out = mayfly("describe", "j1").out.splitlines()
    assert out[0] == "job j1 failed: it was out of memory: its limit is 8GiB"
    told = dict(line.split(None, 1) for line in out[2:])
    assert (told["name"], told["owner"], told["exit"]) == ("train", "ann", "137 oom")
    document = json.loads(mayfly("describe", "j1", "--json").out)
    assert document["schema"] == "mayfly.describe/1"
    assert document["job"]["job"] == "j1"


def test_submit_wait_is_the_job_itself(runs: Runs, start: Start) -> None:
    process = start("submit", "--wait", "id")
    assert runs.submitted.wait(20)
    runs.starts()
    runs.prints(b"to stdout \xff\x1b[31m\n")
    runs.prints(b"to stderr\n", 2)
    runs.prints(b"no newline")
    runs.ends("failed", 7, "exit")
    out, err = process.communicate(timeout=30)
    assert out == b"to stdout \xff\x1b[31m\nno newline"
    assert err == b"to stderr\n"
    assert process.returncode == 7


@pytest.mark.parametrize(
    ("state", "code", "cause", "exits", "told"),
    [
        ("succeeded", 0, None, 0, ""),
        ("failed", 7, "exit", 7, ""),
        ("failed", 137, "oom", 137, "mayfly: job j1 failed: oom\n"),
        ("failed", 139, "exit", 139, "mayfly: job j1 failed: SIGSEGV\n"),
        ("failed", 143, "timeout", 143, "mayfly: job j1 failed: timeout\n"),
        ("cancelled", None, "cancelled", 1, "mayfly: job j1 cancelled: cancelled\n"),
        ("lost", None, "engine_stopped", 1, "mayfly: job j1 lost: engine_stopped\n"),
        ("failed", 0, "disk", 1, "mayfly: job j1 failed: disk\n"),
    ],
)
def test_submit_wait_exits_as_the_job_did(
    runs: Runs, start: Start, state: str, code: int | None, cause: str | None, exits: int, told: str
) -> None:
    process = start("submit", "--wait", "id")
    assert runs.submitted.wait(20)
    runs.starts()
    runs.ends(state, code, cause)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.decode()) == (exits, b"", told)


def test_a_job_that_no_agent_ever_had_ends_the_wait_too(runs: Runs, start: Start) -> None:
    process = start("submit", "--wait", "id")
    assert runs.submitted.wait(20)
    runs.row(state="lost", cause="never_started", finished="2026-11-21T09:10:00.000Z")
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, b"mayfly: job j1 lost: never_started\n")


def test_a_job_that_followed_one_that_failed_says_so_and_which(runs: Runs, start: Start) -> None:
    process = start("submit", "--wait", "--after", "j0", "id")
    assert runs.submitted.wait(20)
    why = "job j0, which it was to run after, failed"
    end = {"state": "cancelled", "cause": "after", "detail": why}
    runs.row(**end, finished="2026-11-21T09:10:00.000Z")
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.decode()) == (1, f"mayfly: job j1 cancelled: {why}\n")


def test_submit_wait_says_once_why_a_job_stays_queued(runs: Runs, start: Start) -> None:
    runs.manager.publish(
        status(*(slot(f"local-{n}", phase=p) for n, p in enumerate(("held", "held", "busy"))))
    )
    process = start("submit", "--wait", "id")
    assert process.stderr is not None
    told = b"mayfly: job j1 waits for a slot of pool local (2 held, 1 busy); see mayfly status\n"
    assert process.stderr.readline() == told
    runs.starts()
    runs.ends("succeeded", 0)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_submit_wait_says_that_somebody_paused_or_cordoned(runs: Runs, start: Start) -> None:
    cordon = {"since": None, "until": None, "by": "ann", "note": "", "drain": False}
    pause: dict[str, object] = {
        "code": "manager.paused", "severity": "warning", "pool": None, "slots": [],
        "text": "paused by root for 3m: kernel upgrade", "fix": "mayfly resume",
    }  # fmt: skip
    slots = (slot("local-0", phase="idle", cordoned=cordon), slot("local-1", phase="idle"))
    runs.manager.publish(status(*slots, health=[pause]))
    process = start("submit", "--wait", "id")
    assert process.stderr is not None
    told = b"(1 cordoned, 1 idle); paused by root for 3m: kernel upgrade; see mayfly status\n"
    assert process.stderr.readline().endswith(told)
    runs.starts()
    runs.ends("succeeded", 0)
    assert process.wait(30) == 0


def test_submit_wait_says_where_a_job_stands_why_and_when_it_may_start(
    runs: Runs, start: Start
) -> None:
    runs.manager.queue.told["j1"] = {
        "position": 3,
        "starts_at": time.time() + 605,
        "why": "2 jobs are before it, and 1 of 1 slot of pool local is busy",
    }
    process = start("submit", "--wait", "id")
    assert process.stderr is not None
    told = (
        b"mayfly: job j1 waits: 2 jobs are before it, and 1 of 1 slot of pool local is busy; it may start in"
        b" 9m; see mayfly jobs --why j1\n"
    )
    assert process.stderr.readline().replace(b" 10m;", b" 9m;") == told
    runs.starts()
    runs.ends("succeeded", 0)
    assert process.wait(30) == 0


def test_submit_says_what_its_options_say(runs: Runs, mayfly: Mayfly) -> None:
    ran = mayfly(
        "submit", "--name", "train", "--priority", "low", "--after", "j7", "--after", "g8",
        "--retry-lost", 2, "--gpus", 0, "--cuda", "12.8,11.8", "--matrix", "SEED=1,2", "--matrix", "SIZE=s",
        "--", "id",
    )  # fmt: skip
    assert (ran.code, ran.out) == (0, "j1\n")
    assert mayfly("submit", "--image", "lab/torch:2.5", "--", "id").code == 0
    command, in_its_image = runs.manager.commands
    assert isinstance(in_its_image, SubmitJob)
    assert in_its_image.image == "lab/torch:2.5"
    assert command == SubmitJob(
        command.by,
        Payload(("id",), {}),
        pool=None,
        timeout=None,
        name="train",
        priority=Priority.LOW,
        after=("j7", "g8"),
        retry_lost=2,
        cuda=("12.8", "11.8"),
        gpus=0,
        matrix={"SEED": ("1", "2"), "SIZE": ("s",)},
    )


@pytest.mark.parametrize(
    ("ends", "code", "told"),
    [
        ([("succeeded", 0, None)] * 3, 0, ""),
        (
            [("succeeded", 0, None), ("failed", 7, "exit"), ("failed", 9, "exit")],
            7,
            "mayfly: 2 of 3 jobs did not succeed; see mayfly logs g-2\n",
        ),
        (
            [("lost", None, "killed"), ("succeeded", 0, None), ("succeeded", 0, None)],
            1,
            "mayfly: 1 of 3 jobs did not succeed; see mayfly logs g-1\n",
        ),
    ],
)
def test_a_group_that_is_waited_for_is_a_table_and_one_exit_code(
    manager: StandIn,
    answers: Answers,
    start: Start,
    ends: list[tuple[str, int | None, str | None]],
    code: int,
    told: str,
) -> None:
    versions = ("11.8", "12.8", "13.0")
    rows = {
        f"g-{n}": job(f"g-{n}", pool=f"p{n}", group="g", variant=f"cuda={version}")
        for n, version in enumerate(versions, 1)
    }
    manager.account.rows = {**rows, "other": job("other", state="running")}
    submitted = {"job": "g", "group": "g", "jobs": list(rows)}
    answers.by_verb["submit"] = lambda _: Answer(201, submitted)
    process = start("submit", "--cuda", "all", "--wait", "--", "id")
    assert process.stderr is not None
    begun = process.stderr.readline()
    assert begun.startswith(b"mayfly: group g; its jobs: mayfly jobs --group g")
    for (name, row), (state, exit_code, cause) in zip(rows.items(), ends, strict=True):
        end = {"state": state, "exit_code": exit_code, "cause": cause}
        times = {"started": 1_763_715_600.0, "finished": 1_763_715_720.0}
        manager.account.rows[name] = {**row, **end, **times}
    out, err = process.communicate(timeout=30)
    lines = out.decode().splitlines()
    assert lines[0].split() == ["JOB", "VARIANT", "POOL", "STATE", "EXIT", "RAN"]
    assert [line.split()[:4] for line in lines[1:]] == [
        [f"g-{n}", f"cuda={version}", f"p{n}", ends[n - 1][0]]
        for n, version in enumerate(versions, 1)
    ]
    assert (process.returncode, err.decode()) == (code, told)


def test_submit_wait_survives_a_manager_that_is_restarted(runs: Runs, start: Start) -> None:
    process = start("submit", "--wait", "id")
    assert runs.submitted.wait(20)
    runs.starts()
    lines = [f"line {n}\n".encode() for n in range(60)]
    for number, line in enumerate(lines):
        runs.prints(line, 1 + number % 2)
        if number % 20 == 10:
            runs.manager.close()
            time.sleep(0.3)  # the time that a restart takes, not a wait for anything
            runs.manager.open()
    runs.ends()
    out, err = process.communicate(timeout=60)
    assert out == b"".join(lines[::2]), "each line once, in order"
    assert err == b"".join(lines[1::2])
    assert process.returncode == 0


def test_ctrl_c_leaves_the_job_alone_and_says_how_to_go_on(runs: Runs, start: Start) -> None:
    process = start("submit", "--wait", "id")
    assert runs.submitted.wait(20)
    runs.starts()
    runs.prints(b"begun\n")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.decode() == (
        "mayfly: job j1 goes on; see it: mayfly logs -f j1   end it: mayfly cancel j1\n"
    )
    assert [verb_of(command) for command in runs.manager.commands] == ["submit"]


def test_who_has_read_enough_ends_the_output_quietly(runs: Runs, mayfly: Mayfly) -> None:
    runs.row(state="succeeded", agent="g1")
    for _ in range(200):
        runs.prints(b"x" * 10_000 + b"\n")
    runs.ends()
    script = '"$@" | head -c 5; echo " ${PIPESTATUS[0]}"'
    done = subprocess.run(
        ["bash", "-c", script, "-", *COMMAND, "--socket", runs.manager.path, "logs", "j1"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.stdout in {"xxxxx 1\n", "xxxxx 141\n"}
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("verb", "where", "told"),
    [
        (
            ("logs", "j1"),
            ">/dev/full",
            "mayfly: standard output takes no more: No space left on device\n",
        ),
        (
            ("jobs",),
            ">/dev/full",
            "mayfly: standard output takes no more: No space left on device\n",
        ),
        (("logs", "j1"), ">&-", ""),
        (("jobs", "--json"), ">&-", ""),
    ],
)
def test_an_output_that_takes_nothing_is_told_in_a_sentence(
    runs: Runs, verb: tuple[str, ...], where: str, told: str
) -> None:
    runs.row(state="succeeded", agent="g1")
    runs.prints(b"one\n")
    runs.ends()
    done = subprocess.run(
        ["bash", "-c", f'"$@" {where}', "-", *COMMAND, "--socket", runs.manager.path, *verb],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (int(bool(told)), told)


def test_who_cannot_write_what_a_job_prints_says_that_the_job_goes_on(runs: Runs) -> None:
    runs.row(state="running", agent="g1")
    runs.prints(b"one\n")
    script = '"$@" >/dev/full'
    done = subprocess.run(
        ["bash", "-c", script, "-", *COMMAND, "--socket", runs.manager.path, "submit", "--wait", "x"],
        capture_output=True, text=True, check=False, env={**environment()},
    )  # fmt: skip
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert "No space left on device; job j1 goes on: mayfly logs -f j1" in sentence


# -- jobs and cancel -------------------------------------------------------------------------------


def test_jobs_json_is_the_document_that_was_promised(manager: StandIn, mayfly: Mayfly) -> None:
    manager.account.rows = {"j1": job("j1"), "j2": job("j2", state="lost", cause="killed")}
    ran = mayfly("jobs", "--json")
    document = json.loads(ran.out)
    assert list(document) == ["schema", "left_out", "jobs"]
    assert document["schema"] == "mayfly.jobs/1"
    ended, queued = document["jobs"]
    assert job("j2", state="lost", cause="killed").items() <= ended.items()
    assert job("j1").items() <= queued.items()
    assert ran.code == 0


def test_jobs_are_listed(manager: StandIn, mayfly: Mayfly) -> None:
    manager.account.rows = {"j1": job("j1")}
    first, second = mayfly("jobs").out.splitlines()
    assert first.split() == ["JOB", "OWNER", "STATE", "EXIT", "SLOT", "AGE", "RAN"]
    assert second.split()[:3] == ["j1", "-", "queued"]


def test_jobs_shows_places_what_is_left_and_how_many_more_there_are(
    manager: StandIn, mayfly: Mayfly
) -> None:
    manager.queue.left = 150.0
    manager.queue.places = {"j2": 2, "j3": 1}
    manager.account.rows = {
        "j1": job("j1", state="running", started=time.time() - 5, variant="SEED=1")
        | {"name": "train"},
        "j2": job("j2"),
        "j3": job("j3"),
    }
    ran = mayfly("jobs")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["JOB", "j1", "j3", "j2"]
    assert "LEFT" in ran.out
    assert " 2m " in ran.out
    assert "train SEED=1" in ran.out
    assert "queued #1" in ran.out
    ran = mayfly("jobs", "-n", 2)
    assert [line.split()[0] for line in ran.out.splitlines()] == ["JOB", "j1", "j3"]
    again = f"mayfly --socket {manager.path} jobs"
    assert ran.err == f"mayfly: 1 more job is not shown: {again} -n 3\n"
    ran = mayfly("jobs", "-n", 1, "--pool", "local", "--since", "2h")
    assert ran.err == f"mayfly: 2 more jobs are not shown: {again} --pool local --since 2h -n 3\n"


def test_jobs_are_chosen_by_whose_they_are_where_and_how_they_stand(
    manager: StandIn, mayfly: Mayfly
) -> None:
    manager.account.rows = {
        "j1": job("j1", state="failed", pool="b"),
        "j2": job("j2", pool="b"),
        "j3": job("j3", group="g"),
    }
    manager.account.owners = {"j2": os.getuid(), "j3": os.getuid() + 1}

    def shown(*options: str) -> list[str]:
        return [row["job"] for row in json.loads(mayfly("jobs", "--json", *options).out)["jobs"]]

    assert shown() == ["j1", "j2", "j3"]
    assert shown("--mine") == ["j2"]
    assert shown("--pool", "b") == ["j1", "j2"]
    assert shown("--pool", "b", "--state", "queued") == ["j2"]
    assert shown("--group", "g", "--since", "2h") == ["j3"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            {"state": "queued"},
            "job j1 waits: it is next, and 1 of 1 slot of pool local is busy; it may start in 1h00",
        ),
        ({"state": "failed", "exit_code": 7, "cause": "exit"}, "job j1 failed (7)"),
        (
            {"state": "cancelled", "cause": "after", "detail": "job j0, which … after, failed"},
            "job j1 was cancelled: job j0, which … after, failed",
        ),
    ],
)
def test_jobs_why_says_where_one_stands(
    manager: StandIn, mayfly: Mayfly, row: dict[str, Any], told: str
) -> None:
    manager.account.rows["j1"] = job("j1", **row)
    manager.queue.told["j1"] = {
        "position": 1,
        "starts_at": time.time() + 3630,
        "why": "it is next, and 1 of 1 slot of pool local is busy",
    }
    assert mayfly("jobs", "--why", "j1").out == told + "\n"


def test_several_jobs_are_cancelled_in_one_command(
    manager: StandIn, mayfly: Mayfly, answers: Answers
) -> None:
    body = {"job": "j1", "jobs": ["j1", "j3"], "ended": ["j2"]}
    answers.by_verb["cancel"] = lambda _: Answer(200, body)
    ran = mayfly("cancel", "j1", "j2", "j3")
    assert manager.commands == [CancelJobs(manager.commands[0].by, ("j1", "j2", "j3"))]
    assert ran.err == "mayfly: 2 jobs are being cancelled; 1 had ended already\n"


def _cancelled(command: Command) -> Answer:
    assert isinstance(command, CancelJobs)
    return Answer(200, {"jobs": list(command.jobs), "ended": []})


def test_all_of_ones_own_are_cancelled_in_as_many_requests_as_it_takes(
    manager: StandIn, mayfly: Mayfly, answers: Answers
) -> None:
    names = [f"j{number}" for number in range(2300)]
    manager.account.rows = {name: job(name) for name in [*names, "other"]}
    manager.account.rows["gone"] = job("gone", state="failed")
    manager.account.owners = {**dict.fromkeys([*names, "gone"], os.getuid())}
    answers.by_verb["cancel"] = _cancelled
    ran = mayfly("cancel", "--mine")
    assert (ran.code, manager.commands) == (2, []), "nobody was asked"
    ran = mayfly("cancel", "--mine", "--yes")
    assert (ran.code, ran.err) == (0, "mayfly: 2300 jobs are being cancelled\n")
    asked = [command.jobs for command in manager.commands if isinstance(command, CancelJobs)]
    assert [len(some) for some in asked] == [AT_ONCE, AT_ONCE, 300]
    assert sorted(name for some in asked for name in some) == sorted(names)


def test_of_all_that_are_cancelled_some_are_left_out_and_other_peoples_are_the_first(
    manager: StandIn, mayfly: Mayfly, answers: Answers
) -> None:
    manager.account.rows = {
        "j1": job("j1", state="running"),
        "j2": job("j2"),
        "j3": job("j3", pool="b"),
        "j4": job("j4"),
    }
    manager.account.owners = dict.fromkeys(("j1", "j2", "j3"), os.getuid())
    answers.by_verb["cancel"] = _cancelled

    def asked(*options: str) -> tuple[str, ...]:
        manager.commands.clear()
        assert mayfly("cancel", "--yes", *options).code == 0
        return tuple(
            name
            for command in manager.commands
            if isinstance(command, CancelJobs)
            for name in command.jobs
        )

    assert asked("--mine", "--state", "queued") == ("j3", "j2")
    assert asked("--mine", "--pool", "b") == ("j3",)
    assert asked("--mine", "--pool", "c") == ()
    assert asked("--all") == ("j4", "j3", "j2", "j1")


def test_what_has_ended_while_one_was_asked_is_told_with_the_others(
    manager: StandIn, mayfly: Mayfly, answers: Answers
) -> None:
    manager.account.rows = {"j1": job("j1"), "j2": job("j2")}
    manager.account.owners = dict.fromkeys(("j1", "j2"), os.getuid())
    over = {"error": "all 2 jobs have ended already", "kind": "ended"}
    answers.by_verb["cancel"] = lambda _: Answer(409, over)
    ran = mayfly("cancel", "--mine", "--yes")
    assert (ran.code, ran.err) == (0, "mayfly: 0 jobs are being cancelled; 2 had ended already\n")


def test_cancel_names_the_job(manager: StandIn, mayfly: Mayfly, answers: Answers) -> None:
    assert mayfly("cancel", "j1").code == 0
    assert manager.commands[0] == CancelJobs(manager.commands[0].by, (JobId("j1"),))
    sentence = {"error": "there is no job j9: see `mayfly jobs`", "kind": "no_such_job"}
    answers.by_verb["cancel"] = lambda _: Answer(404, sentence)
    ran = mayfly("cancel", "j9")
    assert (ran.code, ran.err) == (4, "mayfly: there is no job j9: see `mayfly jobs`\n")
    answers.by_verb["cancel"] = lambda _: Answer(409, {"error": "it has ended", "kind": "ended"})
    assert mayfly("cancel", "j1").code == 1


@pytest.mark.parametrize("name", ["../../etc", "a/b", "a b", "ü", "?", "-x"])
def test_a_name_that_is_none_is_no_such_job(manager: StandIn, mayfly: Mayfly, name: str) -> None:
    ran = mayfly("cancel", "--", name)
    assert ran.code in {1, 4}
    assert "Traceback" not in ran.err
    assert manager.commands == []


# -- logs ------------------------------------------------------------------------------------------


def test_logs_of_a_slot_and_of_a_job(runs: Runs, mayfly: Mayfly) -> None:
    runs.starts()
    runs.prints(b"out \x1b[31m\n")
    runs.prints(b"err\n", 2)
    runs.manager.account.slots = {("local-0", False): "g1", ("local-0", True): "g0"}
    runs.manager.account.prints("g0", b"before\n")
    for name in ("j1", "local-0"):
        ran = mayfly("logs", name)
        assert (ran.code, ran.out, ran.err) == (0, "out \x1b[31m\n", "err\n")
    assert mayfly("logs", "local-0", "--previous").out == "before\n"


def test_logs_of_nothing(manager: StandIn, mayfly: Mayfly) -> None:
    ran = mayfly("logs", "nothing-7")
    assert (ran.code, ran.err) == (4, "mayfly: there is no slot or job nothing-7\n")
    assert mayfly("logs", "nothing-7", "--previous").code == 4
    ran = mayfly("logs", "local-0")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith(
        "has printed nothing; the one before it: mayfly logs --previous local-0\n"
    )
    ran = mayfly("logs", "local-0", "--previous")
    assert (ran.code, ran.out) == (0, "")
    assert "no agent of slot local-0" in ran.err
    manager.account.rows["j1"] = job("j1", state="queued")
    ran = mayfly("logs", "j1")
    assert (ran.code, ran.err) == (0, "mayfly: job j1 is queued and has printed nothing\n")
    ran = mayfly("logs", "j1", "--previous")
    assert (ran.code, ran.out) == (2, "")
    assert "j1 is a job" in ran.err


def test_a_note_on_what_is_missing_is_talk(runs: Runs, mayfly: Mayfly) -> None:
    runs.starts()
    runs.prints(b"one\n")
    runs.prints(b"100 bytes of output are missing here: No space left on device", 0)
    runs.prints(b"two\n")
    ran = mayfly("logs", "j1")
    assert ran.out == "one\ntwo\n"
    assert ran.err == "mayfly: 100 bytes of output are missing here: No space left on device\n"


@pytest.mark.parametrize(("code", "exits"), [(0, 1), (3, 3)])
def test_who_waits_for_a_job_is_told_of_output_that_is_missing_and_where(
    runs: Runs, start: Start, code: int, exits: int
) -> None:
    waiting = start("submit", "--wait", "--", "true")
    assert runs.submitted.wait(30)
    runs.starts()
    runs.prints(b"one\n")
    runs.prints(b"output is missing here", 0)
    runs.prints(b"two\n")
    runs.ends("succeeded" if code == 0 else "failed", code)
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (exits, b"one\ntwo\n")
    assert b"after 4 bytes of the job's output: output is missing here" in err


def test_followed_logs_end_with_the_agent(runs: Runs, start: Start) -> None:
    runs.starts()
    runs.manager.account.slots["local-0", False] = "g1"
    by_slot, by_job = start("logs", "-f", "local-0"), start("logs", "--follow", "j1")
    for process in (by_slot, by_job):
        assert process.stdout is not None
        runs.prints(b"x\n")
        assert process.stdout.readline() == b"x\n"
    runs.manager.close()
    runs.manager.open()
    runs.prints(b"last\n")
    runs.ends()
    assert by_slot.communicate(timeout=30)[0].endswith(b"last\n")
    assert by_job.communicate(timeout=30)[0].endswith(b"last\n")
    assert (by_slot.returncode, by_job.returncode) == (0, 0)


def test_on_a_terminal_logs_cannot_play_tricks(
    runs: Runs, terminal: Callable[..., Terminal]
) -> None:
    runs.row(state="succeeded", agent="g1")
    runs.prints(b"\x1b]0;owned\x07safe\x1b[2J\x9b\n")
    runs.ends()
    code, shown = terminal("logs", "j1").end()
    assert code == 0
    assert "\x1b" not in shown
    assert "safe" in shown
    assert "owned" not in shown
