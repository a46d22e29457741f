"""The page over a real socket: what it shows is what the manager says, to whom, and that it is bounded."""

from __future__ import annotations

import html
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.commands import Caller, CancelJobs
from mayfly.core.quantities import rfc3339
from mayfly.edge import page_http
from mayfly.edge.faults import Passing
from mayfly.service.control import Control
from mayfly.service.page import streams, views
from mayfly.service.page.other_boxes import OtherBoxes
from mayfly.service.page.site import HEADERS, Site
from mayfly.service.page.strip import DAY, Stints
from mayfly.service.page.visitor import Visitors
from tests.service.conftest import connect
from tests.service.page_visits import ANN, HEADER, HOSTILE, ME, Serve, cells, known, token_of
from tests.service.standin import Row, StandIn, job, run, slot, status
from tests.waiting import Until

GPU: Row = {
    "uuid": "GPU-1",
    "index": 0,
    "name": "NVIDIA H200",
    "compute": "9.0",
    "memory": 144 << 30,
    "used": 72 << 30,
    "utilisation": 93,
    "processes": [],
    "problem": None,
    "slots": ["local-0"],
    "at_work": ["local-0"],
    "split": False,
    "mig": [],
}


def gpus(**other: Any) -> Row:
    found = [{**GPU, **other}]
    return {"schema": "mayfly.gpus/1", "watched": True, "problem": None, "gpus": found, "slots": []}


# -- what it shows -----------------------------------------------------------------------------------


STATES = [
    status(slot("local-0"), slot("local-1")),
    status(headline="no slots are configured"),
    status(slot("local-0", phase="busy", job="j1"), headline="1 slot: 1 busy"),
    status(
        slot("local-0", phase="held", note="the GPU has fallen off the bus"),
        slot("local-1", phase="cooling", note="again in 5 s"),
        paused=True,
        health=[
            {"code": "a.b", "severity": "warning", "pool": None, "slots": [], "text": "x < y", "fix": ""},
            {"code": "c.d", "severity": "error", "pool": None, "slots": [], "text": "c.d is bad",
             "fix": "mayfly retry local-0"},
        ],
    ),
    status(*(slot(f"gpu-{n}", phase="busy", job=f"job {n}") for n in range(64))),
]  # fmt: skip


def test_the_page_and_the_status_never_disagree(manager: StandIn, serve: Serve) -> None:
    """Each state that the socket tells stands on the page, slot for slot and line for line."""
    manager.account.rows["j1"] = job("j1", state="running", slot="local-0")
    for state in STATES:
        manager.publish(state)
        page = serve().page()  # a page anew, since what is gathered is shown for a second
        answer = manager.control.respond(_asked("/v1/status"))
        shown = json.loads(answer.data)  # type: ignore[union-attr, arg-type]
        assert html.escape(shown["headline"]) in page
        assert [row[0] for row in cells(page, "slots")] == [one["slot"] for one in shown["slots"]]
        for row, one in zip(cells(page, "slots"), shown["slots"], strict=True):
            assert row[1:3] == [one["pool"], one["phase"]]
            assert row[4].startswith(one["job"] or "-")
            assert (one["note"] or "-") in row[5]
        for line in shown["health"]:
            assert html.escape(line["text"]) in page
            assert html.escape(line["fix"]) in page
        assert ("paused " in page) == shown["paused"]


def _asked(path: str) -> Any:
    from mayfly.edge.http_connection import Request

    return Request("GET", path, {}, b"", ANN)


def test_the_worst_condition_comes_first_and_says_what_to_type(
    manager: StandIn, serve: Serve
) -> None:
    manager.publish(STATES[3])
    page = serve().page()
    assert page.index("c.d is bad") < page.index("x &lt; y")
    assert "<code>mayfly retry local-0</code>" in page


def test_a_gpu_says_whose_it_is_and_who_is_on_it_that_is_not_ours(
    manager: StandIn, serve: Serve
) -> None:
    other = {"pid": 77, "memory": 1, "container": None, "agent": None, "user": "eve",
             "since": "2026-11-21T08:00:00.000Z"}  # fmt: skip
    own = {"pid": 78, "memory": 1, "container": "c", "agent": "0abc", "user": None, "since": None}
    manager.gpus = gpus(processes=[other, own])
    manager.publish(status(slot("local-0", phase="busy", job="j1")))
    manager.account.rows["j1"] = job("j1", state="running", name="train", owner="ann", group="r1")
    manager.account.runs["r1"] = run("r1")
    [row] = cells(serve().page(), "gpus")
    assert row[:4] == ["0", "NVIDIA H200GPU-1", " 93 %", "72.0 of 144 GiB"]
    assert "local-0: j1train · ann · /srv/git/lab.git" in row[5]
    assert "not ours: eve, PID 77, since 2026-11-21 08:00 UTC" in row[5]
    assert "78" not in row[5]


def test_seven_days_of_a_gpu_have_what_runs_now_and_what_has_ended(
    manager: StandIn, serve: Serve
) -> None:
    now = time.time()
    manager.gpus = gpus()
    manager.account.stints = [(now - 2 * DAY, now - DAY, ("GPU-1",))]
    assert "14 % of seven days" in cells(serve().page(), "gpus")[0][6]
    since = rfc3339(now - DAY)
    manager.publish(status(slot("local-0", phase="busy", gpus=["GPU-1"], since=since)))
    assert "29 % of seven days" in cells(serve().page(), "gpus")[0][6]


def test_what_a_host_without_nvml_says_is_shown(manager: StandIn, serve: Serve) -> None:
    manager.gpus = {**manager.gpus, "watched": True, "problem": "there is no NVIDIA driver"}
    assert "there is no NVIDIA driver" in serve().page()


def test_the_queue_has_places_reasons_and_estimates(manager: StandIn, serve: Serve) -> None:
    for n in range(30):
        manager.account.rows[f"j{n}"] = job(f"j{n}", owner="ann")
        manager.queue.places[f"j{n}"] = n + 1
    manager.queue.told["j0"] = {
        "position": 1,
        "starts_at": 1_795_000_000.0,
        "why": "all slots are busy",
    }
    page = serve().page()
    found = cells(page, "queue")
    assert [row[0] for row in found] == [str(n + 1) for n in range(views.QUEUED)]
    assert found[0][4:6] == ["all slots are busy", "2026-11-18 11:06 UTC"]
    assert "10 more" in page


@pytest.mark.parametrize("path", ["/", "/jobs", "/jobs/j1", "/jobs/j1/cancel"])
def test_hostile_bytes_in_each_field_stay_text(manager: StandIn, serve: Serve, path: str) -> None:
    def hostile(row: Row, *kept: str) -> Row:
        return {
            key: HOSTILE if key not in kept and not isinstance(value, list | dict) else value
            for key, value in row.items()
        }

    line: Row = {
        "code": HOSTILE,
        "severity": HOSTILE,
        "pool": None,
        "slots": [],
        "text": HOSTILE,
        "fix": HOSTILE,
    }
    manager.publish(
        {**status(hostile(slot("local-0"))), "headline": HOSTILE, "host": HOSTILE, "health": [line]}
    )
    kept = ("job", "state", "submitted", "started", "finished")
    row = {
        **hostile(job("j1"), *kept),
        "owner": "ann",
        "argv": [HOSTILE],
        "results": None,
        "out": [],
    }
    manager.account.rows["j1"] = row
    manager.account.owners["j1"] = ANN.uid
    manager.account.runs["r1"] = hostile(run("r1"), "state", "submitted", "finished", "uid")
    process = {
        "pid": 1,
        "memory": 1,
        "container": HOSTILE,
        "agent": None,
        "user": HOSTILE,
        "since": HOSTILE,
    }
    manager.gpus = gpus(name=HOSTILE, problem=HOSTILE, processes=[process], slots=[HOSTILE])
    manager.queue.told["j1"] = {"position": 1, "starts_at": None, "why": HOSTILE}
    page = serve("ann").page(path)
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)
    scripts = re.findall(r"<script[^>]*>", page)
    assert len(scripts) == 1
    assert 'src="/static/page.js?' in scripts[0]
    assert not re.search(r"\son\w+=", re.sub(r'"[^"]*"', '""', page))


def test_ten_thousand_jobs_come_in_pages(manager: StandIn, serve: Serve) -> None:
    for n in range(10_000):
        manager.account.rows[f"j{n}"] = job(f"j{n}", name="n" * 64, owner="ann")
        manager.queue.places[f"j{n}"] = n + 1
    browser = serve()
    first, last = browser.page("/jobs"), browser.page("/jobs?page=200")
    assert "page 1 of 200" in first
    assert "j9999" in last
    assert "j9949" not in last
    assert max(map(len, (first, last, browser.page()))) < 150_000
    assert browser.get("/jobs?state=nonsense")[0].status == 400
    assert "There is no such job." in browser.page("/jobs?page=99999")


# -- what a browser is told ----------------------------------------------------------------------------


def test_every_answer_has_the_headers_that_bind_a_browser(serve: Serve) -> None:
    browser = serve()
    for path in ("/", "/jobs", "/nothing", "/static/page.js", "/static/page.css", "/jobs/j9"):
        found, data = browser.get(path)
        for name, value in HEADERS.items():
            expected = "max-age=86400" if name == "Cache-Control" and "static" in path else value
            assert found.headers[name] == expected, (path, name)
        assert "Set-Cookie" not in found.headers
        assert " style=" not in data
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_another_hosts_name_is_refused(serve: Serve) -> None:
    found, _ = serve().get("/", Host="evil.example")
    assert found.status == 421


def test_no_get_changes_anything(manager: StandIn, serve: Serve) -> None:
    manager.account.rows["j1"] = job("j1", owner="ann", out=[], results=None)
    manager.account.owners["j1"] = ANN.uid
    browser = serve("ann")
    for path in ("/", "/jobs", "/jobs/j1", "/jobs/j1/cancel", "/jobs/j1/log"):
        browser.page(path) if path != "/jobs/j1/log" else browser.get(path)
    assert manager.commands == []
    assert browser.get("/jobs", method="POST")[0].status == 405


# -- who may do what -----------------------------------------------------------------------------------


def test_whom_a_trusted_proxy_names_cancels_what_is_theirs(anns: StandIn, serve: Serve) -> None:
    browser = serve("ann")
    assert 'href="/jobs/j1/cancel"' in browser.page()
    body = f"token={token_of(browser.page('/jobs/j1/cancel'))}"
    found, _ = browser.get("/jobs/j1/cancel", "POST", body, Sec_Fetch_Site="same-origin")
    assert (found.status, found.headers["Location"]) == (303, "/jobs/j1")
    [command] = anns.commands
    assert isinstance(command, CancelJobs)
    assert command.by == ANN


@pytest.mark.parametrize(
    ("more", "token"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, None),
        ({"Sec_Fetch_Site": "same-site"}, None),
        ({"Sec_Fetch_Site": "none"}, None),
        ({}, None),
        ({"Origin": "https://evil.example"}, None),
        ({"Origin": "null"}, None),
        ({"Sec_Fetch_Site": "same-origin"}, "0" * 64),
        ({"Sec_Fetch_Site": "same-origin"}, ""),
    ],
)
def test_a_form_of_another_site_cancels_nothing(
    anns: StandIn, serve: Serve, more: dict[str, str], token: str | None
) -> None:
    browser = serve("ann")
    own = token_of(browser.page("/jobs/j1/cancel"))
    found, data = browser.get(
        "/jobs/j1/cancel", "POST", f"token={own if token is None else token}", **more
    )
    assert found.status == 403
    assert "Nothing was changed" in data
    assert anns.commands == []


def test_an_old_browser_says_its_origin_and_the_proxy_its_host(anns: StandIn, serve: Serve) -> None:
    browser = serve("ann")
    body = f"token={token_of(browser.page('/jobs/j1/cancel'))}"
    more = {"Origin": "https://gpu.lab.example", "X_Forwarded_Host": "gpu.lab.example"}
    assert browser.get("/jobs/j1/cancel", "POST", body, **more)[0].status == 303


def test_another_persons_job_is_not_theirs_and_shows_no_command_and_no_log(
    anns: StandIn, serve: Serve
) -> None:
    browser = serve("ben")
    assert browser.get("/jobs/j1/cancel")[0].status == 403
    page = browser.page("/jobs/j1")
    assert "secret-words" not in page
    assert "shown to its owner" in page
    assert browser.get("/jobs/j1/log")[0].status == 403
    assert browser.get("/jobs/j1/log/live")[0].status == 403
    assert "secret-words" in serve("ann").page("/jobs/j1")


def test_a_header_of_somebody_else_is_ignored_and_told(
    anns: StandIn, serve: Serve, told: list[str]
) -> None:
    browser = serve("ann", trusted=("www-data", "10.0.0.0/8"))
    page = browser.page()
    assert "read-only" in page
    assert f"X-Remote-User is not believed of {ME}" in page
    assert "cancel" not in page
    assert browser.get("/jobs/j1/cancel")[0].status == 403
    assert len(told) == 1


def test_who_is_no_user_here_or_named_twice_only_looks(anns: StandIn, serve: Serve) -> None:
    for name in ("zoe", "ann, ben", "ann,ann"):
        page = serve(name).page()
        assert "read-only" in page
        assert "/cancel" not in page


def test_a_condition_leads_to_where_its_code_is_explained(manager: StandIn, serve: Serve) -> None:
    one = {"code": "slot.held", "severity": "error", "text": "held", "fix": "mayfly retry gpu-0"}
    site = "https://docs.lab/how-to/troubleshooting.html#slot.held"
    manager.publish(status(slot("gpu-0"), health=[{**one, "anchor": site}]))
    assert f'<a href="{site}" rel="noreferrer">slot.held</a>' in serve().page()
    manager.publish(
        status(
            slot("gpu-0"), health=[{**one, "anchor": "docs/how-to/troubleshooting.md#slot.held"}]
        )
    )
    shown = serve().page()
    assert "<code>mayfly help slot.held</code>" in shown
    assert "troubleshooting" not in shown


# -- live ------------------------------------------------------------------------------------------------


def test_what_changes_comes_by_itself_and_nothing_else(manager: StandIn, serve: Serve) -> None:
    events = serve().events("/live")
    name, first = next(events)
    assert (name, set(first)) == (
        "parts",
        {"summary", "conditions", "slots", "gpus", "reservations", "queue", "jobs", "runs"},
    )
    manager.publish(status(slot("local-0", phase="busy"), slot("local-1"), headline="one is busy"))
    _, second = next(events)
    assert set(second) == {"summary", "slots"}
    assert "one is busy" in second["summary"]


def test_a_log_comes_live_without_what_a_terminal_would_obey(anns: StandIn, serve: Serve) -> None:
    anns.account.rows["j1"] |= {"state": "running", "agent": "g1"}
    anns.account.prints("g1", b"old \x1b[31mred\x1b[0m <b>\n")
    events = serve("ann").events("/jobs/j1/log/live")
    assert next(events) == ("begin", "")
    assert next(events) == ("print", "old red <b>\n")
    anns.account.prints("g1", b"new \xff\n")
    assert next(events) == ("print", "new \ufffd\n")
    anns.account.ends("g1")
    assert next(events) == ("end", "")


def test_of_a_long_log_the_end_is_shown(anns: StandIn, serve: Serve) -> None:
    anns.account.rows["j1"] |= {"state": "running", "agent": "g1"}
    for n in range(100):
        anns.account.prints("g1", f"{n} ".encode() * 4096)
    events = serve("ann").events("/jobs/j1/log/live")
    next(events)
    _, text = next(events)
    assert 0 < len(text) <= streams.TAIL
    assert text.endswith("99 ")


def test_followers_are_bounded_and_a_place_comes_back(
    manager: StandIn,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[..., object],
) -> None:
    monkeypatch.setattr(streams, "QUIET", 3600.0)  # nothing is said to who has gone
    monkeypatch.setattr(streams, "AT_ONCE", 0.02)
    monkeypatch.setattr(streams, "LATEST", 0.02)
    browser = serve(trusted=())
    held = []
    for _ in range(streams.PLACES.of_one if os.getuid() else streams.PLACES.of_root):
        connection = socket.create_connection(browser.address, timeout=30)
        connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in connection.recv(4096).splitlines()[0]
        held.append(connection)
    found, _ = browser.get("/live")
    assert (found.status, found.headers["Retry-After"]) == (503, "1")
    assert browser.get("/")[0].status == 200  # the page itself is there for who asks
    for connection in held:
        connection.close()

    def follows() -> bool:
        with socket.create_connection(browser.address, timeout=30) as connection:
            connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return b" 200 " in connection.recv(4096).splitlines()[0]

    until(follows, 30)


def test_who_does_not_read_costs_the_others_nothing(manager: StandIn, serve: Serve) -> None:
    """A reader that has stopped reading, and the loop's publications and other readers go on."""
    browser = serve()
    with socket.create_connection(browser.address, timeout=30) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        rows = [slot(f"gpu-{n}", note="x" * 400) for n in range(64)]
        events = browser.events("/live")
        next(events)
        for n in range(2):
            manager.publish(status(*rows, headline=f"pass {n}"))
            _, parts = next(events)
            assert f"pass {n}" in parts["summary"]


def test_a_stream_ends_when_its_time_is_over_and_when_the_manager_stops(manager: StandIn) -> None:
    steady = count(0.0, streams.LASTS / 4)
    found = list(streams.parts(manager.board, dict, lambda _: False, lambda: next(steady)))
    assert set(found) - {b""} == {b"retry: 3000\n\n", b": nothing has changed\n\n"}
    stop = threading.Event()
    stop.set()
    ended = list(streams.parts(manager.board, dict, stop.wait))
    assert [piece for piece in ended if piece] == [b"retry: 3000\n\n"]


def test_only_proxies_are_answered_where_the_network_can_connect(manager: StandIn) -> None:
    site = Site(
        manager.control, manager.board, Visitors(None, ("10.1.0.0/16",)), Stints(manager.account),
        on_failure=lambda _, error: None, only_proxies=True,
    )  # fmt: skip
    for address, expected in (
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("10.2.0.1", 403),
        ("::1", 403),
    ):
        request = replace(_asked("/"), caller=Caller(0, -1, -1, address, operator=False))
        found = site.respond(request)
        assert found.status == expected, address  # type: ignore[union-attr]


def test_on_a_socket_a_proxy_is_known_by_its_user(manager: StandIn, tmp_path: Path) -> None:
    for trusted, told in (((ME,), "signed in as ann"), (("www-data",), "read-only")):
        site = Site(
            manager.control, manager.board, Visitors(HEADER, trusted, known), Stints(manager.account),
            on_failure=lambda _, error: manager.failures.append(error),
        )  # fmt: skip
        path = tmp_path / "web.sock"
        close = page_http.serve(str(path), site.respond, lambda _, error: None, lambda _: False)
        with connect(path) as connection:
            connection.sendall(f"GET / HTTP/1.0\r\n{HEADER}: ann\r\n\r\n".encode())
            assert told in connection.makefile("rb").read().decode()
        close()
        assert not path.exists()
    assert manager.failures == []


def test_before_the_first_pass_the_page_says_that_the_manager_starts(tmp_path: Path) -> None:
    starting = StandIn(tmp_path / "s")
    site = Site(starting.control, starting.board, Visitors(None, ()), Stints(starting.account),
                on_failure=lambda _, error: starting.failures.append(error))  # fmt: skip
    found = site.respond(_asked("/"))
    assert found.status == 503  # type: ignore[union-attr]
    assert b"starting" in found.data  # type: ignore[union-attr]
    starting.close()
    assert starting.failures == []
    assert isinstance(starting.control, Control)


# -- other boxes -------------------------------------------------------------------------------------


def test_other_boxes_are_rows_with_the_way_to_their_pages_and_how_they_stand(
    manager: StandIn, serve: Serve, until: Until
) -> None:
    lines = [{"code": "a", "severity": one, "text": "x"} for one in ("error", "warning", "warning")]
    slots = (slot("a-0", phase="busy"), slot("a-1"), slot("a-2"))
    manager.publish(status(*slots, health=lines, headline=f"all is well {HOSTILE}"))
    manager.account.rows = {"j1": job("j1"), "j2": job("j2", state="running")}
    there = serve()
    with socket.socket() as probe:  # where nobody listens
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}/lab"
        with_page = "http://{}:{}".format(*there.address)
        others = OtherBoxes({"gpu2": with_page, "gpu3": nowhere}, every=0.05)
        here = serve(boxes=others.seen)
        assert [row[1] for row in cells(here.page(), "boxes")] == ["not asked yet"] * 2
        others.start()
        until(lambda: all(one.why != "" for one in others.seen()), 60)
        others.stop()
    assert [one.why is None for one in others.seen()] == [True, False], others.seen()
    page = serve(boxes=others.seen).page()
    up, down = cells(page, "boxes")
    assert up[:4] == ["gpu2", "2 idle, 1 busy", "1", "1 error, 2 warnings"]
    assert up[4].startswith("all is well")
    assert down[:2] == ["gpu3", "no answer"]
    assert f'href="{with_page}"' in page
    for bad in ("<script>alert", "\x1b", "\u202e"):
        assert bad not in page


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"schema": "mayfly.box/9"},
        {"schema": "other"},
    ],
)
def test_what_is_no_page_of_ours_is_no_answer(answer: object) -> None:
    others = OtherBoxes({"gpu2": "http://gpu2"}, lambda _: answer)
    assert "no page of Mayfly's" in str(others.looked("gpu2").why)


@pytest.mark.parametrize("odd", [None, [], "x" * 9999, -5, 1e99, True, {"a": "b"}, HOSTILE])
def test_whatever_a_box_says_has_known_types_and_bounds(odd: object) -> None:
    keys = ("headline", "paused", "phases", "queued", "errors", "warnings")
    told = {"schema": "mayfly.box/1", **dict.fromkeys(keys, odd), "phases": {"x" * 99: odd}}
    found = OtherBoxes({"gpu2": "http://gpu2"}, lambda _: told).looked("gpu2")
    assert found.why is None
    assert len(found.headline) <= 300
    assert all(0 <= count < 10**7 for count in (found.queued, found.errors, found.warnings))
    assert all(len(name) <= 20 and count >= 0 for name, count in found.phases.items())
    views.boxes([found])


def test_a_box_that_stops_to_answer_says_when_it_last_did() -> None:
    answers: list[object] = [{"schema": "mayfly.box/1", "headline": "well"}]

    def ask(_: str) -> object:
        if not answers:
            raise Passing("it does not answer")
        return answers.pop()

    others = OtherBoxes({"gpu2": "http://gpu2"}, ask, now=lambda: 1_800_000_000.0)
    assert others.looked("gpu2").headline == "well"
    gone = others.looked("gpu2")
    assert (gone.why, gone.at) == ("it does not answer", 1_800_000_000.0)
    assert "it last answered" in views.boxes([gone]).text


def test_what_a_page_tells_other_boxes_is_what_it_shows_everybody(
    manager: StandIn, serve: Serve
) -> None:
    manager.publish(status(slot("a-0", job="secret"), note="secret"))
    found, data = serve().get("/box")
    assert found.status == 200
    assert json.loads(data) == {
        "schema": "mayfly.box/1",
        "host": "lab1",
        "headline": "all slots are idle",
        "paused": False,
        "phases": {"idle": 1},
        "queued": 0,
        "errors": 0,
        "warnings": 0,
    }
