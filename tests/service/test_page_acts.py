"""What people change by the page: each asks first, is a command of the manager's, and of what is theirs."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from mayfly.core.commands import (
    CancelJobs,
    Command,
    ExtendHold,
    ExtendReservation,
    HoldJob,
    ReleaseHold,
    ReleaseReservation,
    ReserveGpus,
)
from mayfly.core.quantities import parse_time
from mayfly.service.pending_command import Answer
from tests.service.page_visits import ANN, HEADER, HOSTILE, Browser, Serve, cells, token_of
from tests.service.standin import Row, StandIn, job, slot, status

BEN = replace(ANN, uid=4243, name="ben")
HERE = {"Sec_Fetch_Site": "same-origin"}


def reservation(name: str, **other: Any) -> Row:
    """A row of the calendar, ann's and begun unless said otherwise."""
    return {
        "reservation": name,
        "pool": "gpu",
        "user": "ann",
        "uid": ANN.uid,
        "state": "active",
        "shell": False,
        "gpus": 1,
        "start": "2026-11-21T09:00:00.000Z",
        "until": "2026-11-21T11:00:00.000Z",
        "slots": ["gpu-0"],
        "slots_asked": 1,
        "devices": ["GPU-1"],
        "in_use": False,
        "idle_since": None,
        "entered": [],
        **other,
    }


@pytest.fixture
def lab(manager: StandIn) -> StandIn:
    """A manager that has of ann's: j1, which runs; j2, which is held; j3, which runs and is to be held; j4,
    which waits; r1, a reservation that has begun, and r2, which has not.
    """
    rows: dict[str, Row] = {
        "j1": {"state": "running", "slot": "local-0"},
        "j2": {"state": "failed", "slot": "local-1", "exit_code": 3},
        "j3": {"state": "running", "hold": {"seconds": 1800.0, "by": "ann"}},
        "j4": {},
    }
    for name, other in rows.items():
        manager.account.rows[name] = job(name, owner="ann", out=[], results=None, **other)
        manager.account.owners[name] = ANN.uid
    held = {"job": "j2", "user": "ann", "until": "2026-11-21T14:05:00.000Z", "over": False}
    told = "held for ann until 14:05"
    manager.publish(status(slot("local-0"), slot("local-1", held=held, note=told)))
    manager.queue.reserved = [reservation("r1"), reservation("r2", state="booked", slots=[])]
    manager.queue.reservable = ["gpu", "big"]
    return manager


ACTS = [
    ("/jobs/j4/cancel", CancelJobs(ANN, ("j4",)), "/jobs/j4"),
    ("/jobs/j1/hold", HoldJob(ANN, "j1", False, None), "/jobs/j1"),  # type: ignore[arg-type]
    ("/jobs/j2/extend", ExtendHold(ANN, "j2", False, 1800.0), "/jobs/j2"),  # type: ignore[arg-type]
    ("/jobs/j2/release", ReleaseHold(ANN, "j2", False), "/jobs/j2"),  # type: ignore[arg-type]
    ("/jobs/j3/release", ReleaseHold(ANN, "j3", False), "/jobs/j3"),  # type: ignore[arg-type]
    ("/reservations/r1/extend", ExtendReservation(ANN, "r1", 1800.0), "/#reservations"),
    ("/reservations/r1/release", ReleaseReservation(ANN, "r1"), "/#reservations"),
    ("/reservations/r2/release", ReleaseReservation(ANN, "r2"), "/#reservations"),
]
PATHS = [*(one[0] for one in ACTS), "/reserve"]
WISH = {"gpus": "2", "for": "1h30m", "at": "2026-12-01T14:00", "pool": "gpu"}


def sent(browser: Browser, path: str, given: Row | None = None, **more: str) -> tuple[Any, str]:
    """The form of that page, with its token, as a browser sends it."""
    fields = {"token": token_of(browser.page(path)), **(given or {})}
    answer, data = browser.get(path, "POST", urlencode(fields), **(more or HERE))
    return answer, html.unescape(data)


def test_what_is_theirs_is_offered_asked_first_and_then_done(lab: StandIn, serve: Serve) -> None:
    browser = serve("ann")
    page = browser.page()
    for path, command, then in ACTS:
        assert f'href="{path}"' in page
        assert f'action="{path}"' in browser.page(path)
        assert lab.commands == []  # to look has changed nothing
        found, _ = sent(browser, path)
        assert (found.status, found.headers["Location"]) == (303, then)
        assert [lab.commands.pop()] == [command]


def test_a_reservation_s_job_is_not_offered_to_be_held(lab: StandIn, serve: Serve) -> None:
    lab.account.rows["r1"] = job("r1", owner="ann", out=[], results=None, state="running")
    lab.account.owners["r1"] = ANN.uid
    browser = serve("ann")
    for page in (browser.page(), browser.page("/jobs/r1")):
        assert 'href="/jobs/r1/cancel"' in page
        assert 'href="/jobs/r1/hold"' not in page


def test_nothing_else_is_offered(lab: StandIn, serve: Serve) -> None:
    offered = set(re.findall(r'href="(/(?:jobs/j\d|reservations/r\d)/\w+)"', serve("ann").page()))
    assert offered == {one[0] for one in ACTS} | {"/jobs/j1/cancel", "/jobs/j3/cancel"}


def test_another_persons_is_neither_offered_nor_asked_and_the_manager_hears_who_sent_it(
    lab: StandIn, serve: Serve
) -> None:
    lab.answering = lambda _: Answer(403, {"error": "it is not one of ben's", "kind": "forbidden"})
    browser = serve("ben")
    page = browser.page()
    assert "/cancel" not in page
    assert not re.search(r'href="/(jobs|reservations)/\w+/\w+"', page)
    token = token_of(browser.page("/reserve"))  # of their own form
    for path, _, _ in ACTS:
        found, data = browser.get(path)
        assert found.status == 403
        assert "is not one of ben" in data
        found, data = browser.get(path, "POST", f"token={token}", **HERE)
        assert found.status == 403
        assert "it is not one of ben" in data
        assert lab.commands.pop().by == BEN


@pytest.mark.parametrize(
    ("user", "trusted"), [(None, None), ("ann", ("www-data",)), ("zoe", None), ("ann, ben", None)]
)
def test_who_is_not_named_by_a_proxy_is_offered_nothing_and_refused(
    lab: StandIn, serve: Serve, user: str | None, trusted: tuple[str, ...] | None
) -> None:
    browser = serve(user) if trusted is None else serve(user, trusted)
    token = token_of(serve("ann").page("/reserve"))
    assert "…</a>" not in browser.page()
    for path in PATHS:
        for method in ("GET", "POST"):
            found, data = browser.get(path, method, urlencode({"token": token, **WISH}), **HERE)
            assert found.status == 403, path
            assert (
                "Nothing was changed" not in data
            )  # it is for who they are not, not for the token
    assert lab.commands == []


def test_the_form_of_another_site_or_person_changes_nothing(lab: StandIn, serve: Serve) -> None:
    browser = serve("ann")
    own = token_of(browser.page("/reserve"))
    bens = token_of(Browser(browser.address, {HEADER: "ben"}).page("/reserve"))
    wrong: list[tuple[dict[str, str], str]] = [
        ({"Sec_Fetch_Site": "cross-site"}, own),
        ({"Origin": "https://evil.example"}, own),
        ({}, own),
        (HERE, "0" * 64),
        (HERE, "\xff"),
        (HERE, bens),
    ]
    for path in PATHS:
        for more, token in wrong:
            found, data = browser.get(path, "POST", urlencode({"token": token, **WISH}), **more)
            assert found.status == 403, (path, more)
            assert "Nothing was changed" in data
    assert lab.commands == []


def test_a_job_that_is_to_be_held_says_so(lab: StandIn, serve: Serve) -> None:
    browser = serve("ann")
    assert "when it has ended, for 30m" in browser.page("/jobs/j3")
    assert "held for ann until 14:05" in browser.page("/jobs/j2")
    lab.account.rows["j3"]["hold"] = {"seconds": 0.0, "by": "ann"}  # it was taken back
    page = browser.page("/jobs/j3")
    assert "when it has ended" not in page
    assert 'href="/jobs/j3/hold"' in page


def test_gpus_are_reserved_by_a_form(lab: StandIn, serve: Serve) -> None:
    browser = serve("ann")
    assert 'href="/reserve"' in browser.page()
    page = browser.page("/reserve")
    assert re.findall(r"<option[^>]*>([^<]*)<", page) == ["whichever has room", "gpu", "big"]
    assert "mayfly reserve --for 2h" in page
    found, _ = sent(browser, "/reserve", WISH)
    assert (found.status, found.headers["Location"]) == (303, "/#reservations")
    at = parse_time("2026-12-01T14:00:00Z")
    assert lab.commands == [ReserveGpus(ANN, 2, 5400.0, start=at, pool="gpu", shell=False)]
    found, _ = sent(browser, "/reserve", {"gpus": "1", "for": "2h", "at": "", "pool": ""})
    assert found.status == 303
    assert lab.commands[1:] == [ReserveGpus(ANN, 1, 7200.0, start=None, pool=None, shell=False)]


def test_what_was_reserved_stands_there_at_once(lab: StandIn, serve: Serve) -> None:
    def enter(_: Command) -> Answer:
        lab.queue.reserved.append(reservation("r9", state="booked"))
        return Answer(201, {"reservation": "r9"})

    lab.answering = enter
    browser = serve("ann")
    assert len(cells(browser.page(), "reservations")) == 2
    sent(browser, "/reserve", WISH)
    assert [row[0] for row in cells(browser.page(), "reservations")] == ["r1", "r2", "r9"]


WRONG = [
    ({"gpus": "many"}, "GPUs: say how many"),
    ({"gpus": "0"}, "GPUs: say how many"),
    ({"gpus": "65"}, "gpus must be a whole number between 0 and 64"),
    ({"for": "a while"}, "For: it is not a duration"),
    ({"for": "0"}, "for must be a positive number of seconds"),
    ({"at": "tomorrow"}, "From: it is not a time"),
    ({"pool": "x" * 300}, "pool must be a text of 1 to"),
]


def test_what_cannot_be_meant_is_said_beside_what_was_filled_in(lab: StandIn, serve: Serve) -> None:
    browser = serve("ann")
    for wrong, sentence in WRONG:
        found, data = sent(browser, "/reserve", {**WISH, **wrong})
        assert found.status == 400
        assert sentence in data
        assert f'id="for" value="{wrong.get("for", "1h30m")}"' in data
    assert lab.commands == []


def test_the_managers_refusal_is_its_sentence(lab: StandIn, serve: Serve) -> None:
    why = "pool gpu is reserved by others from 2026-12-01 14:00 UTC on"
    lab.answering = lambda _: Answer(409, {"error": why, "kind": "refused"})
    browser = serve("ann")
    found, data = sent(browser, "/reserve", WISH)
    assert (found.status, why in data) == (409, True)
    assert 'value="2026-12-01T14:00"' in data
    assert '<option value="gpu" selected>' in data
    assert token_of(data)  # it can be sent again
    for path, _, _ in ACTS:
        found, data = sent(browser, path)
        assert (found.status, why in data) == (409, True)


def test_where_no_pool_lets_people_reserve_it_is_not_offered(lab: StandIn, serve: Serve) -> None:
    lab.queue.reservable = []
    browser = serve("ann")
    assert 'href="/reserve"' not in browser.page()
    assert "No pool is for reservations" in browser.page("/reserve")
    lab.queue.reserved = []
    assert "Reservations" not in serve("ann").page()


def test_what_is_not_there_is_not_asked(lab: StandIn, serve: Serve) -> None:
    browser = serve("ann")
    for path, expected in (
        ("/reservations/r9/release", 404),
        ("/jobs/j9/hold", 404),
        ("/jobs/j1/explode", 404),
        ("/reservations/r1/cancel", 404),
    ):
        assert browser.get(path)[0].status == expected
    assert browser.get("/reserve", "PUT")[0].status == 405


def test_hostile_bytes_stay_text(lab: StandIn, serve: Serve) -> None:
    for name, row in lab.account.rows.items():
        more = dict.fromkeys(("name", "pool", "slot", "detail", "command"), HOSTILE)
        lab.account.rows[name] = {**row, **more}
    lab.queue.reserved = [
        {**row, "pool": HOSTILE, "slots": [HOSTILE], "start": HOSTILE} for row in lab.queue.reserved
    ]
    lab.queue.reserved.append(reservation(HOSTILE, state=HOSTILE))
    lab.queue.reservable = [HOSTILE]
    browser = serve("ann")
    for path in ("/", *PATHS):
        _clean(browser.page(path))


def test_hostile_bytes_in_a_form_stay_text_and_do_no_harm(lab: StandIn, serve: Serve) -> None:
    lab.answering = lambda _: Answer(409, {"error": HOSTILE, "kind": "refused"})
    browser = serve("ann")
    token = token_of(browser.page("/reserve"))
    hostile = HOSTILE.encode("utf-8", "replace").decode()
    for name in ("gpus", "for", "at", "pool"):
        body = urlencode({"token": token, **WISH, name: hostile})
        found, data = browser.get("/reserve", "POST", body, **HERE)
        assert found.status == 400
        _clean(data, shown=name != "pool")  # (there is no such choice)
    found, data = browser.get("/reserve", "POST", urlencode({"token": token, **WISH}), **HERE)
    assert found.status == 409
    _clean(data)
    many = "&".join(f"f{n}=1" for n in range(1000))
    for body in ("\xff=\xfe", "", "&" * 2000, f"token={token}&{many}", "token", "%00=%ff"):
        assert browser.get("/reserve", "POST", body, **HERE)[0].status == 403


def _clean(page: str, *, shown: bool = True) -> None:
    assert ("alert(1)" in page) == shown
    assert "<script>alert" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)
    assert len(re.findall(r"<script[^>]*>", page)) == 1
    assert not re.search(r"\son\w+=", re.sub(r'"[^"]*"', '""', page))


def test_a_form_has_no_fields_but_those(lab: StandIn, serve: Serve) -> None:
    """A field that the page does not have changes nothing of what is asked: not a shell, not an image."""
    more = {"outside": "false", "image": "evil", "workspace": "x"}
    sent(serve("ann"), "/reserve", {**WISH, **more})
    [command] = lab.commands
    assert isinstance(command, ReserveGpus)
    assert (command.shell, command.image, command.workspace) == (False, None, None)
