"""The control socket, over a real one: what each path answers and what it asks of the loop."""

from __future__ import annotations

import grp
import os
import re
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from mayfly.cli.verbs import VERBS
from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import (
    AttachAgent,
    Caller,
    CancelJobs,
    CloseGates,
    Command,
    CordonSlots,
    DetachAgent,
    DrainSlots,
    ExtendHold,
    ExtendReservation,
    HealGpu,
    HoldJob,
    LeaveHost,
    OpenGates,
    PauseManager,
    Payload,
    PlanAhead,
    RecycleSlots,
    ReleaseHold,
    ReleaseReservation,
    ReloadConfig,
    ReserveGpus,
    ResumeManager,
    RetrySlots,
    RunJob,
    Seen,
    SubmitJob,
    SubmitRun,
    UncordonSlots,
    verb_of,
)
from mayfly.core.model import JobId, Priority, SlotName
from mayfly.core.runs import Origin
from mayfly.edge import unix_http
from mayfly.edge.faults import Passing, Refused
from mayfly.service import control, openapi
from mayfly.service.control import JOB_KEYS, STILL_COMING, Control
from mayfly.service.pending_command import Answer
from mayfly.service.pending_command import ask as ask_loop
from tests.harness import until
from tests.service.conftest import Ask, connect
from tests.service.standin import StandIn, job, slot, status

FRAME = struct.Struct(">BxxxIQ")


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of an output, without the signs of life."""
    found, at = [], 0
    while at < len(data):
        stream, length, _ = FRAME.unpack_from(data, at)
        found.append((stream, data[at + 16 : at + 16 + length]))
        at += 16 + length
    return [(stream, piece) for stream, piece in found if piece]


# -- reads -----------------------------------------------------------------------------------------


def test_curl_can_read_it(manager: StandIn) -> None:
    run = subprocess.run(
        ["curl", "-sS", "--unix-socket", manager.path, "http://mayfly/v1/version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == '{"version":"0.1.0","api":1}\n'


def test_the_status_is_what_was_published_and_its_number(ask: Ask) -> None:
    answered = ask("GET", "/v1/status")
    assert answered.status == 200
    assert answered.headers["Content-Type"] == "application/json"
    assert answered.json == {**status(slot("local-0"), slot("local-1")), "rev": 1}


def test_before_the_first_pass_it_says_that_it_is_starting(tmp_path: Path) -> None:
    starting = StandIn(tmp_path / "s")
    with connect(starting.path) as connection:
        connection.sendall(b"GET /v1/status HTTP/1.0\r\n\r\n")
        data = connection.makefile("rb").read()
    assert b" 503 " in data.splitlines()[0]
    assert b'"kind":"starting"' in data
    starting.close()


def test_a_long_poll_waits_for_the_next_publication(manager: StandIn, ask: Ask) -> None:
    timer = threading.Timer(0.1, lambda: manager.publish(status(headline="changed")))
    timer.start()
    answered = ask("GET", "/v1/status?after=1&wait=30")
    assert (answered.json["rev"], answered.json["headline"]) == (2, "changed")


def test_a_long_poll_without_news_answers_what_there_is(ask: Ask) -> None:
    assert ask("GET", "/v1/status?after=1&wait=0.05").json["rev"] == 1


def test_jobs_have_the_keys_that_were_promised_and_times_as_rfc_3339(
    manager: StandIn, ask: Ask
) -> None:
    manager.account.rows["j1"] = job("j1", submitted=1763715600.5, argv=["secret"])
    rows = ask("GET", "/v1/jobs").json["jobs"]
    assert list(rows[0]) == [*JOB_KEYS, "held", "reservation", "position", "seconds_left"]
    assert rows[0]["submitted"] == "2025-11-21T09:00:00.500Z"
    assert ask("GET", "/v1/jobs/j1").json["argv"] == ["secret"]
    assert ask("GET", "/v1/jobs/j2").json == {
        "error": "there is no job j2: see `mayfly jobs`",
        "kind": "no_such_job",
    }


def test_a_long_history_comes_in_pages_and_is_one_document(manager: StandIn, ask: Ask) -> None:
    manager.account.agents = [
        {"agent": f"g{n}", "slot": "local-0", "outcome": "job_done", "exited": float(n), "gpus": []}
        for n in range(2 * control.PAGE + 7)
    ]
    found = ask("GET", "/v1/history?limit=100000")
    assert found.headers["Transfer-Encoding"] == "chunked"
    assert [row["agent"] for row in found.json["agents"]] == [
        row["agent"] for row in manager.account.agents
    ]
    assert found.json["agents"][1]["exited"] == "1970-01-01T00:00:01.000Z"
    assert "Transfer-Encoding" not in ask("GET", "/v1/history?limit=5").headers


def test_events_come_in_order_and_can_be_waited_for(manager: StandIn, ask: Ask) -> None:
    manager.account.event_rows = [
        {"seq": n, "at": 1763715600.0, "event": "agent.ready", "slot": f"local-{n % 2}"}
        for n in (1, 2, 3)
    ]
    assert [row["seq"] for row in ask("GET", "/v1/events?limit=2").json["events"]] == [2, 3]
    assert [row["seq"] for row in ask("GET", "/v1/events?after=1").json["events"]] == [2, 3]
    assert [r["seq"] for r in ask("GET", "/v1/events?after=0&slot=local-1").json["events"]] == [
        1,
        3,
    ]

    def later() -> None:
        manager.account.event_rows.append(
            {
                "seq": 4,
                "at": 0.0,
                "event": "slot.cordoned",
                "slot": "local-0",
                "cordon": {"since": 0.0},
            }
        )
        manager.publish(status())

    threading.Timer(0.1, later).start()
    (row,) = ask("GET", "/v1/events?after=3&wait=30").json["events"]
    assert row["at"] == row["cordon"]["since"] == "1970-01-01T00:00:00.000Z"
    assert ask("GET", "/v1/events?after=4&wait=0.05").json["events"] == []


def test_history_is_filtered_and_ends_with_the_latest(manager: StandIn, ask: Ask) -> None:
    manager.account.agents = [
        {"agent": str(n), "slot": f"local-{n % 2}", "outcome": "succeeded", "exited": n, "gpus": []}
        for n in range(4)
    ]

    def agents(query: str) -> list[str]:
        return [row["agent"] for row in ask("GET", f"/v1/history{query}").json["agents"]]

    assert agents("") == ["0", "1", "2", "3"]
    assert agents("?slot=local-1&since=1970-01-01T00:00:02Z") == ["3"]
    assert agents("?limit=1") == ["3"]


def test_metrics_are_passed_through(ask: Ask) -> None:
    answered = ask("GET", "/v1/metrics")
    assert answered.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert answered.data == b"mayfly_paused 0\n"


@pytest.mark.parametrize(
    ("method", "path", "code", "kind"),
    [
        ("GET", "/", 404, "no_such_path"),
        ("GET", "/v2/status", 404, "no_such_path"),
        ("GET", "/v1/jobs/..%2f", 404, "no_such_path"),
        ("POST", "/v1/status", 405, "method"),
        ("DELETE", "/v1/jobs", 405, "method"),
        ("GET", "/v1/status?aftr=1", 400, "bad_request"),
        ("GET", "/v1/status?after=-1", 400, "bad_request"),
        ("GET", "/v1/status?wait=nan", 400, "bad_request"),
        ("GET", "/v1/status?" + "&".join(f"a{n}=1" for n in range(99)), 400, "bad_request"),
        ("GET", "/v1/history?since=yesterday", 400, "bad_request"),
        ("GET", "/v1/slots/local-9/output", 404, "no_such_slot"),
        ("GET", "/v1/slots/local-0/output?follow=yes", 400, "bad_request"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(
    ask: Ask, method: str, path: str, code: int, kind: str
) -> None:
    answered = ask(method, path)
    assert (answered.status, answered.json["kind"]) == (code, kind)
    assert "\n" not in answered.json["error"]


def test_a_disk_that_cannot_be_read_is_said_and_a_bug_is_told_to_the_log(
    manager: StandIn, ask: Ask
) -> None:
    manager.account.fault = Passing("the state file is locked")
    answered = ask("GET", "/v1/jobs")
    assert (answered.status, answered.json["error"]) == (503, "the state file is locked")
    manager.account.fault = ZeroDivisionError("a bug")
    answered = ask("GET", "/v1/jobs")
    assert (answered.status, answered.json["kind"]) == (500, "bug")
    assert "ZeroDivision" not in answered.data.decode()
    assert [str(failure) for failure in manager.failures] == ["a bug"]


# -- commands --------------------------------------------------------------------------------------

ANYONE = Caller(0, 0, 0, "")
COMMANDS: list[tuple[str, object, Command]] = [
    (
        "/v1/jobs",
        {"argv": ["sh", "-c", "id"], "env": {"A": "b"}, "pool": "local", "timeout": 90},
        SubmitJob(ANYONE, Payload(("sh", "-c", "id"), {"A": "b"}), pool="local", timeout=90.0),
    ),
    (
        "/v1/jobs",
        {"argv": ["id"]},
        SubmitJob(ANYONE, Payload(("id",), {}), pool=None, timeout=None),
    ),
    (
        "/v1/jobs",
        {
            "argv": ["id"],
            "name": "train/a.1",
            "priority": "low",
            "after": ["j1", "g1"],
            "retry_lost": 2,
            "gpus": 2,
            "cuda": ["12.8", "11.8"],
            "matrix": {"SEED": ["1", "2", "1"]},
            "workspace": "0" * 64,
            "stdin": "1" * 64,
            "out": ["results/", "/tmp/x", "results/"],
            "image": "lab/torch:2.5",
        },
        SubmitJob(
            ANYONE,
            Payload(("id",), {}),
            pool=None,
            timeout=None,
            name="train/a.1",
            priority=Priority.LOW,
            after=("j1", "g1"),
            retry_lost=2,
            gpus=2,
            cuda=("12.8", "11.8"),
            matrix={"SEED": ("1", "2")},
            workspace="0" * 64,
            stdin="1" * 64,
            out=("results/", "/tmp/x"),
            image="lab/torch:2.5",
        ),
    ),
    (
        "/v1/runs",
        {
            "repository": "/srv/git/lab.git",
            "ref": "refs/heads/main",
            "commit": "c" * 40,
            "base": "b" * 64,
            "subject": "Train longer",
            "workspace": "d" * 64,
            "tasks": [
                {"argv": ["make"], "name": "test-vit"},
                {"argv": ["id"], "env": {"A": "b"}, "pool": "p", "cuda": "12.8", "timeout": 9},
                {"argv": ["id"], "after": [1, 0, 1], "out": ["results/", "r.xml"], "image": "a"},
            ],
        },
        SubmitRun(
            ANYONE,
            Origin("/srv/git/lab.git", "refs/heads/main", "c" * 40, "b" * 64, "Train longer"),
            (
                RunJob(Payload(("make",), {}), name="test-vit"),
                RunJob(Payload(("id",), {"A": "b"}), pool="p", cuda="12.8", timeout=9.0),
                RunJob(
                    Payload(("id",), {}), after=(1, 0), out=("results/", "r.xml"), image="a:latest"
                ),
            ),
            "d" * 64,
        ),
    ),
    (
        "/v1/runs",
        {"repository": "/home/ann/lib", "tasks": [{"argv": ["id"]}]},
        SubmitRun(ANYONE, Origin("/home/ann/lib"), (RunJob(Payload(("id",), {})),)),
    ),
    (
        "/v1/reservations",
        {"for": 7200, "gpus": 2, "at": "1970-01-01T00:01:00Z", "pool": "p", "workspace": "d" * 64},
        ReserveGpus(ANYONE, 2, 7200.0, 60.0, "p", workspace="d" * 64),
    ),
    (
        "/v1/reservations",
        {"for": 60, "outside": True},
        ReserveGpus(ANYONE, 1, 60.0, None, None, shell=False),
    ),
    ("/v1/reservations/r1/extend", {"for": 600}, ExtendReservation(ANYONE, "r1", 600.0)),
    ("/v1/reservations/r1/release", None, ReleaseReservation(ANYONE, "r1")),
    ("/v1/jobs/j1/hold", {"seconds": 60}, HoldJob(ANYONE, JobId("j1"), False, 60.0)),
    ("/v1/slots/local-0/hold", {}, HoldJob(ANYONE, SlotName("local-0"), True)),
    ("/v1/jobs/j1/extend", {"seconds": 60}, ExtendHold(ANYONE, JobId("j1"), False, 60.0)),
    (
        "/v1/slots/local-0/extend",
        {"seconds": 60},
        ExtendHold(ANYONE, SlotName("local-0"), True, 60.0),
    ),
    ("/v1/jobs/j1/release", None, ReleaseHold(ANYONE, JobId("j1"), False)),
    ("/v1/slots/local-0/release", None, ReleaseHold(ANYONE, SlotName("local-0"), True)),
    ("/v1/jobs/j1/cancel", None, CancelJobs(ANYONE, ("j1",))),
    ("/v1/cancel", {"jobs": ["j1", "j2"]}, CancelJobs(ANYONE, ("j1", "j2"))),
    (
        "/v1/cordon",
        {"slots": ["local-1"], "until": "1970-01-01T00:01:00Z", "note": "driver"},
        CordonSlots(ANYONE, ("local-1",), until=60.0, note="driver"),
    ),
    ("/v1/cordon", {}, CordonSlots(ANYONE, ("local-0", "local-1"), until=None, note="")),
    ("/v1/uncordon", {"slots": ["local-1"]}, UncordonSlots(ANYONE, ("local-1",))),
    ("/v1/uncordon", None, UncordonSlots(ANYONE, ("local-0", "local-1"))),
    ("/v1/drain", {"slots": None, "force": True}, DrainSlots(ANYONE, None, force=True)),
    ("/v1/drain", {"slots": ["a-1", "a-1"]}, DrainSlots(ANYONE, ("a-1",), force=False)),
    ("/v1/drain", {"note": "new fan"}, DrainSlots(ANYONE, None, force=False, note="new fan")),
    ("/v1/pause", {"note": "n"}, PauseManager(ANYONE, "n")),
    ("/v1/resume", {}, ResumeManager(ANYONE)),
    ("/v1/recycle", {"slots": ["local-0"]}, RecycleSlots(ANYONE, ("local-0",))),
    ("/v1/retry", {"slots": ["local-0"]}, RetrySlots(ANYONE, ("local-0",))),
    ("/v1/reload", {"dry_run": True}, ReloadConfig(ANYONE, dry_run=True)),
    ("/v1/gpus/heal", {"gpu": "GPU-1"}, HealGpu(ANYONE, "GPU-1", dry_run=False)),
    ("/v1/gpus/heal", {"dry_run": True}, HealGpu(ANYONE, None, dry_run=True)),
]


def test_a_submission_whose_image_nobody_tells_of_in_time_is_not_handed_on(
    manager: StandIn, ask: Ask
) -> None:
    def hangs(images: Iterable[str]) -> Seen:
        assert tuple(images) == ("lab/torch:latest",)
        raise Passing("the Engine is busy")

    manager.control.images = hangs
    found = ask("POST", "/v1/jobs", {"argv": ["id"], "image": "lab/torch"})
    assert (found.status, found.json["error"]) == (503, "the Engine is busy")
    assert manager.commands == []


@pytest.mark.parametrize(("path", "body", "wanted"), COMMANDS)
def test_a_post_is_a_command_with_who_asked(
    manager: StandIn, ask: Ask, path: str, body: object, wanted: Command
) -> None:
    assert ask("POST", path, body).json == {"slots": []}
    (command,) = manager.commands
    assert command == replace(wanted, by=command.by)
    assert command.by == Caller(os.getpid(), os.getuid(), os.getgid(), command.by.name)
    assert command.by.name


def test_every_kind_of_command_has_a_path_and_a_verb_on_the_command_line() -> None:
    entered = AttachAgent(ANYONE, JobId("j1"), is_slot=False)  # see test_attachments.py
    asked = [command for *_, command in COMMANDS] + [PlanAhead(ANYONE), entered]
    # That somebody is out again, and what becomes of an idle host, nobody asks for: the manager does it.
    own = {DetachAgent, CloseGates, LeaveHost, OpenGates}
    assert {type(command) for command in asked} == set(get_args(Command)) - own
    typed = {"heal": "gpus", "extend": "reserve"}  # words of another verb's
    assert {typed.get(verb_of(one), verb_of(one)) for one in asked} <= VERBS.keys()


def test_the_plan_is_the_loop_s_too(manager: StandIn, ask: Ask) -> None:
    ask("GET", "/v1/plan")
    assert [verb_of(command) for command in manager.commands] == ["plan"]


def test_where_a_job_would_stand_is_told_and_nothing_is_queued(manager: StandIn, ask: Ask) -> None:
    wanted = {"pool": "local", "gpus": 1, "cuda": ["12.8"], "matrix": {"SEED": ["1", "2"]}}
    found = ask("POST", "/v1/jobs/estimate", wanted)
    assert (found.status, found.json["schema"]) == (200, "mayfly.estimate/1")
    (command,) = manager.queue.asked
    assert (command.pool, command.gpus, command.cuda) == ("local", 1, ("12.8",))
    assert command.matrix == {"SEED": ("1", "2")}
    manager.queue.estimated = Refusal(409, "no_queue", "no pool has a queue")
    found = ask("POST", "/v1/jobs/estimate", {})
    assert (found.status, found.json) == (409, {"error": "no pool has a queue", "kind": "no_queue"})
    assert ask("POST", "/v1/jobs/estimate", {"argv": ["id"]}).status == 400, "what it need not know"
    assert manager.commands == []


def test_every_post_and_no_other_read_is_a_command() -> None:
    posted = {path for path, *_ in COMMANDS}
    for name, what in (("j1", "job"), ("r1", "reservation"), ("local-0", "slot")):
        posted = {path.replace(f"/{name}/", f"/{{{what}}}/") for path in posted}
    posted |= {name.removeprefix("POST ") for name in openapi.UPGRADED}
    sent = {
        "/v1/content",
        "/v1/content/lacking",
        "/v1/jobs/estimate",
        "/v1/workspaces",
    }  # no command: the loop is not asked
    assert posted | sent == {route.path for route in Control.ROUTES if route.method == "POST"}


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/jobs", {}, "argv must be a list of texts, the command first"),
        ("/v1/jobs", {"argv": []}, "argv must be a list of texts"),
        ("/v1/jobs", {"argv": ["a"], "name": "a b"}, "name must be 1 to 64 letters"),
        ("/v1/jobs", {"argv": ["a"], "name": ""}, "name must be a text of 1 to 128"),
        ("/v1/jobs", {"argv": ["a"], "priority": "urgent"}, "priority must be high, normal, low"),
        ("/v1/jobs", {"argv": ["a"], "priority": 1}, "priority must be high, normal, low"),
        ("/v1/jobs", {"argv": ["a"], "after": []}, "after must be a list of 1 to 1000 names"),
        ("/v1/jobs", {"argv": ["a"], "workspace": "../../x"}, "workspace must be a SHA-256"),
        ("/v1/jobs", {"argv": ["a"], "stdin": "A" * 64}, "stdin must be a SHA-256"),
        ("/v1/jobs", {"argv": ["a"], "out": []}, "out must be a list of 1"),
        ("/v1/jobs", {"argv": ["a"], "out": ["a"] * 17}, "out must be a list of 1"),
        ("/v1/jobs", {"argv": ["a"], "out": [None]}, "out must not contain null"),
        ("/v1/jobs", {"argv": ["a"], "out": ["a/../../b"]}, "out: 'a/../../b' leads up (..)"),
        ("/v1/jobs", {"argv": ["a"], "out": ["//./"]}, "out: '//./' is all of the container"),
        ("/v1/jobs", {"argv": ["a"], "out": ["x" * 1025]}, "out must be a text of 1 to"),
        ("/v1/jobs", {"argv": ["a"], "retry_lost": 11}, "retry_lost must be a whole number"),
        ("/v1/jobs", {"argv": ["a"], "retry_lost": True}, "retry_lost must be a whole number"),
        ("/v1/jobs", {"argv": ["a"], "gpus": 65}, "gpus must be a whole number"),
        ("/v1/jobs", {"argv": ["a"], "cuda": ["all", "12.8"]}, "cuda must be versions such as"),
        ("/v1/jobs", {"argv": ["a"], "cuda": "new"}, "cuda must be versions such as 12.8"),
        ("/v1/jobs", {"argv": ["a"], "matrix": ["A"]}, "matrix must be an object"),
        ("/v1/jobs", {"argv": ["a"], "matrix": {"A": []}}, "matrix: A must be a list of 1"),
        ("/v1/jobs", {"argv": ["a"], "matrix": {"A": [1]}}, "env: A must be a text"),
        ("/v1/jobs", {"argv": ["a"], "matrix": {"MAYFLY_X": [""]}}, "env: MAYFLY_X is reserved"),
        (
            "/v1/jobs",
            {"argv": ["a"], "env": {"A": ""}, "matrix": {"A": ["1"]}},
            "matrix: A is a variable of env already",
        ),
        ("/v1/runs", {"tasks": [{}]}, "repository must say what the run is of"),
        ("/v1/runs", {"repository": "/r" * 513}, "repository must be a text of 1 to 1024"),
        ("/v1/runs", {"repository": "/r"}, "tasks must be a list of 1 to 1000 jobs"),
        ("/v1/runs", {"repository": "/r", "tasks": [1]}, "tasks[0]: must be a JSON object"),
        ("/v1/runs", {"repository": "/r", "tasks": [{"x": 1}]}, "tasks[0]: it has no 'x'"),
        ("/v1/runs", {"repository": "/r", "commit": "HEAD"}, "commit must be a whole commit id"),
        ("/v1/runs", {"repository": "/r", "subject": "x" * 201}, "subject must be a text of 1"),
        *(
            (
                "/v1/runs",
                {"repository": "/r", "tasks": [{"argv": ["a"]}, task]},
                f"tasks[1]: {told}",
            )
            for task, told in (
                ({"argv": []}, "argv must be a list of texts"),
                ({"argv": ["a"], "name": "a b"}, "name must be 1 to 64 letters"),
                ({"argv": ["a"], "cuda": "all"}, "cuda must be one version, such as 12.8"),
                ({"argv": ["a"], "after": [1]}, "after must have places of tasks before this one"),
                ({"argv": ["a"], "out": ["../x"]}, "out: '../x' leads up (..)"),
                ({"argv": ["a"], "after": [True]}, "after must have places of tasks before"),
                ({"argv": ["a"], "after": [0] * 257}, "after must be a list of at most 256 places"),
            )
        ),
        ("/v1/cancel", {}, "jobs must name what is to be cancelled"),
        ("/v1/cancel", {"jobs": []}, "jobs must be a list of 1 to 1000 names"),
        ("/v1/jobs", {"argv": [1]}, "argv must be a list of texts"),
        ("/v1/jobs", {"argv": [""]}, "argv names no command"),
        ("/v1/jobs", {"argv": ["a\0"]}, "argv must not contain a zero byte"),
        ("/v1/jobs", {"argv": ["\ud800"]}, "argv is not Unicode text"),
        ("/v1/jobs", {"argv": ["x" * 300_000]}, "argv is longer than 256 KiB"),
        ("/v1/jobs", {"argv": ["a", "x" * 131_072]}, "an argument has to be shorter than 128 KiB"),
        (
            "/v1/jobs",
            {"argv": ["a"], "env": {"A": "x" * 131_070}},
            "env: A has to be shorter than 128",
        ),
        ("/v1/jobs", {"argv": ["a"], "env": {"A": 1}}, "env: A must be a text"),
        ("/v1/jobs", {"argv": ["a"], "env": {"A=": ""}}, "env: 'A=' is not a variable's name"),
        ("/v1/jobs", {"argv": ["a"], "env": {"MAYFLY_X": ""}}, "env: MAYFLY_X is reserved"),
        ("/v1/jobs", {"argv": ["a"], "env": {"A": "\0"}}, "env: A must not contain a zero byte"),
        ("/v1/jobs", {"argv": ["a"], "env": {"A": "x" * 300_000}}, "env is longer than 256 KiB"),
        ("/v1/jobs", {"argv": ["a"], "timeout": -1}, "timeout must be a positive number"),
        ("/v1/jobs", {"argv": ["a"], "timeout": True}, "timeout must be a positive number"),
        ("/v1/jobs", {"argv": ["a"], "evn": {}}, "the body has no 'evn'; did you mean env?"),
        ("/v1/drain", {"slots": []}, "slots must be a list of 1 to 1000 names"),
        ("/v1/drain", {"slots": [None]}, "slots must not contain null"),
        ("/v1/drain", {"slots": ["a"], "force": 1}, "force must be true or false"),
        ("/v1/cordon", {"until": "soon"}, "until is not a time"),
        ("/v1/cordon", {"note": "x" * 501}, "note must be a text of 1 to 500 characters"),
        ("/v1/resume", [], "the body must be a JSON object"),
        ("/v1/resume", {"x": 1}, "the body has no 'x'"),
    ],
)
def test_a_body_that_cannot_be_meant_reaches_no_loop(
    manager: StandIn, ask: Ask, path: str, body: object, told: str
) -> None:
    answered = ask("POST", path, body)
    assert answered.status == 400
    assert answered.json["error"].startswith(told)
    assert manager.commands == []


def test_the_loop_s_answer_is_handed_on(tmp_path: Path) -> None:
    answer = Answer(404, {"error": "there is no slot x", "kind": "no_such_slot"})
    manager = StandIn(tmp_path / "s", lambda _: answer)
    with connect(manager.path) as connection:
        connection.sendall(b"POST /v1/resume HTTP/1.0\r\n\r\n")
        data = connection.makefile("rb").read()
    assert data.startswith(b"HTTP/1.1 404 ")
    assert data.endswith(b'{"error":"there is no slot x","kind":"no_such_slot"}\n')
    manager.close()


def test_a_loop_that_does_not_answer_is_told_after_a_bounded_time() -> None:
    command = ResumeManager(Caller(1, 0, 0, "root"))
    answer = ask_loop(lambda _: None, command, timeout=0.01)
    assert (answer.status, answer.body["kind"]) == (504, "timeout")
    assert str(answer.body["error"]).startswith("the manager did not answer 'resume' within 0.01 s")


# -- output ----------------------------------------------------------------------------------------


def printed(manager: StandIn, *pieces: tuple[int, bytes], ended: bool = True) -> None:
    manager.account.rows["j1"] = job("j1", state="running", agent="g1")
    manager.account.slots["local-0", False] = "g1"
    for stream, data in pieces:
        manager.account.prints("g1", data, stream)
    if ended:
        manager.account.ends("g1")


def test_output_comes_framed_with_its_stream(manager: StandIn, ask: Ask) -> None:
    printed(manager, (1, b"out\n"), (2, b"err\n"))
    answered = ask("GET", "/v1/jobs/j1/output")
    assert answered.headers["Mayfly-Agent"] == "g1"
    assert answered.headers["Content-Type"] == "application/vnd.mayfly.output"
    assert frames(answered.data) == [(1, b"out\n"), (2, b"err\n")]
    assert ask("GET", "/v1/slots/local-0/output?format=text").data == b"out\nerr\n"


def test_the_last_words_of_a_job_that_has_ended_are_waited_for(manager: StandIn, ask: Ask) -> None:
    printed(manager, (1, b"one\n"), ended=False)
    manager.account.rows["j1"] = job("j1", state="succeeded", finished=1.0, agent="g1")

    def later() -> None:
        manager.account.prints("g1", b"two\n")
        manager.account.ends("g1")

    threading.Timer(0.2, later).start()
    assert ask("GET", "/v1/jobs/j1/output?format=text").data == b"one\ntwo\n"


def test_last_words_that_do_not_come_are_not_waited_for_for_ever(
    manager: StandIn, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mayfly.service.control.LATE_SECONDS", 0.1)
    printed(manager, (1, b"one\n"), ended=False)
    manager.account.rows["j1"] = job("j1", state="lost", finished=1.0, agent="g1")
    assert ask("GET", "/v1/jobs/j1/output?format=text").data == b"one\n"
    assert frames(ask("GET", "/v1/jobs/j1/output").data) == [(1, b"one\n"), (0, STILL_COMING)]


def test_the_last_words_of_an_agent_that_never_opened_end_with_how_it_ended(
    manager: StandIn, ask: Ask
) -> None:
    printed(manager, (2, b"mayfly: the image has no user x\n"), (0, b"the end may be missing"))
    manager.account.slots["local-0", True] = "g1"
    manager.account.at_gate["g1"] = "the agent ended at its gate with exit code 70"
    assert frames(ask("GET", "/v1/slots/local-0/output?previous=1").data) == [
        (2, b"mayfly: the image has no user x\n"),
        (0, b"the agent ended at its gate with exit code 70"),
    ]


def test_of_a_job_that_no_agent_had_there_is_no_output(manager: StandIn, ask: Ask) -> None:
    manager.account.rows["j1"] = job("j1", state="cancelled", finished=1.0)
    assert ask("GET", "/v1/jobs/j1/output").status == 204
    assert ask("GET", "/v1/jobs/j1/output?follow=1").status == 204
    assert ask("GET", "/v1/slots/local-0/output?previous=1").status == 204


def test_a_followed_output_waits_for_its_agent_and_ends_with_it(manager: StandIn, ask: Ask) -> None:
    manager.account.rows["j1"] = job("j1")

    def later() -> None:
        printed(manager, (1, b"one\n"), ended=False)
        manager.publish(status())
        time.sleep(0.1)
        manager.account.prints("g1", b"two\n")
        manager.account.ends("g1")

    threading.Timer(0.1, later).start()
    assert frames(ask("GET", "/v1/jobs/j1/output?follow=1").data) == [(1, b"one\n"), (1, b"two\n")]


@pytest.mark.parametrize("had", range(8))
def test_an_output_is_taken_up_where_it_broke(manager: StandIn, ask: Ask, had: int) -> None:
    pieces = [(1 + n % 2, f"{n}\n".encode()) for n in range(7)]
    printed(manager, *pieces)
    whole = ask("GET", "/v1/jobs/j1/output").data
    marks = []
    at = 0
    while at < len(whole):
        _, length, mark = FRAME.unpack_from(whole, at)
        marks.append(mark)
        at += 16 + length
    assert len(set(marks)) < len(marks), "frames that share a mark are part of this test"
    count = 0
    for mark in marks[:had]:
        count = count + 1 if count and mark == marks[had - 1] else int(mark == marks[had - 1])
    query = f"?agent=g1&mark={marks[had - 1]}&count={count}" if had else ""
    assert frames(ask("GET", f"/v1/jobs/j1/output{query}").data) == pieces[had:]


def test_what_was_read_of_another_agent_does_not_count(manager: StandIn, ask: Ask) -> None:
    printed(manager, (1, b"one\n"))
    mark = 1_700_000_000 * 10**9
    answered = ask("GET", f"/v1/jobs/j1/output?agent=g0&mark={mark}&count=1")
    assert frames(answered.data) == [(1, b"one\n")]


def test_where_the_last_frame_is_not_kept_any_more_everything_is_newer(
    manager: StandIn, ask: Ask
) -> None:
    printed(manager, (1, b"one\n"))
    assert frames(ask("GET", "/v1/jobs/j1/output?agent=g1&mark=5&count=1").data) == [(1, b"one\n")]
    printed(manager, ended=False)
    manager.account.ended.clear()
    with connect(manager.path) as connection:
        connection.sendall(
            b"GET /v1/jobs/j1/output?follow=1&format=text&agent=g1&mark=5&count=1 HTTP/1.0\r\n\r\n"
        )
        reader = connection.makefile("rb")
        while reader.readline() != b"\r\n":
            pass
        assert reader.readline() == b"one\n", "also where it is still followed"


def test_an_output_that_the_manager_s_end_cuts_off_does_not_look_whole(manager: StandIn) -> None:
    printed(manager, (1, b"one\n"), ended=False)
    with connect(manager.path) as connection:
        connection.sendall(b"GET /v1/jobs/j1/output?follow=1&format=text HTTP/1.1\r\n\r\n")
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        manager.control.stop()
        assert not connection.makefile("rb").read().endswith(b"0\r\n\r\n")


def test_a_client_that_goes_away_gives_its_place_back(manager: StandIn, ask: Ask) -> None:
    printed(manager, (1, b"one\n"), ended=False)
    request = b"GET /v1/jobs/j1/output?follow=1 HTTP/1.1\r\n\r\n"
    for _ in range(2):
        connections = [connect(manager.path) for _ in range(control.LONG_POLLS.of_root)]
        for connection in connections:
            connection.sendall(request)
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
        refused = ask("GET", "/v1/status?after=9&wait=5")
        assert (refused.status, refused.json["kind"]) == (503, "busy")
        assert refused.headers["Retry-After"] == "1"
        assert ask("GET", "/v1/status").status == 200, "who does not wait is not kept out"
        for connection in connections:
            connection.close()
        end = time.monotonic() + 20
        while manager.control._places._taken.total():
            assert time.monotonic() < end
            time.sleep(0.01)


# -- the socket itself -----------------------------------------------------------------------------


def test_the_socket_is_for_root_and_its_group(manager: StandIn) -> None:
    found = manager.path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    try:
        group = grp.getgrnam("mayfly").gr_gid
    except KeyError:
        group = os.getgid()
    assert found.st_gid == group
    assert list(manager.path.parent.iterdir()) == [manager.path]


def test_what_a_dead_manager_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    manager = StandIn(path)
    manager.publish(status())
    connect(path).close()
    manager.close()
    assert not path.exists()


def test_a_manager_that_answers_is_not_replaced(manager: StandIn, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="another manager answers on"):
        manager.control.open(manager.path)
    connect(manager.path).close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path, manager: StandIn) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Refused, match="is not a socket"):
        manager.control.open(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_socket_that_another_manager_put_there_stays(manager: StandIn) -> None:
    manager.path.unlink()
    other = StandIn(manager.path)
    manager.close()
    connect(other.path).close()
    other.close()


def test_a_directory_that_cannot_be_made_is_said(manager: StandIn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be made"):
        manager.control.open(tmp_path / "file" / "control.sock")


def test_a_connection_serves_several_requests(manager: StandIn) -> None:
    with connect(manager.path) as connection:
        reader = connection.makefile("rb")
        for _ in range(3):
            connection.sendall(b"GET /v1/version HTTP/1.1\r\n\r\n")
            assert b" 200 " in reader.readline()
            length = 0
            while (line := reader.readline()) != b"\r\n":
                if found := re.match(rb"Content-Length: (\d+)", line):
                    length = int(found[1])
            assert reader.read(length) == b'{"version":"0.1.0","api":1}\n'


def test_more_connections_than_there_is_room_for_are_told_so(manager: StandIn) -> None:
    held = [connect(manager.path) for _ in range(unix_http.CONNECTIONS.of_root)]
    try:
        with connect(manager.path) as one_more:
            refused = one_more.recv(1000)
            assert b"503" in refused
            assert b"Retry-After: 1\r\n" in refused
    finally:
        for connection in held:
            connection.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_one_user_leaves_room_for_the_others(manager: StandIn, ask: Ask) -> None:
    manager.path.chmod(0o666)
    manager.path.parent.chmod(0o711)
    script = (
        "import os, socket, sys\nos.setuid(65534)\n"
        "held = [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[2]) + 1)]\n"
        "for one in held: one.settimeout(10); one.connect(sys.argv[1])\n"
        "print(held[-1].recv(12).decode(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", script, manager.path.name, str(unix_http.CONNECTIONS.of_one)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=manager.path.parent
    ) as greedy:
        assert greedy.stdout is not None
        assert greedy.stdout.readline() == "HTTP/1.1 503\n"
        assert ask("GET", "/v1/status").status == 200
        greedy.communicate()
    places = manager._server._server.connections._places
    until(lambda: not places, "its places are free again")
