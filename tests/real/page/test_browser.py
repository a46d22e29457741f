"""The page in a real browser: what a lab member and an operator see and do there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mayfly.core.quantities import parse_time
from tests.harness import until
from tests.real.page.chromium import PHONE, Chromium
from tests.real.page.lab import HEADER, LabPage

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def nothing_to_complain_of(lab: LabPage, browser: Chromium) -> Iterator[None]:
    """No error in the console, nothing that the policy kept from anything."""
    yield
    browser.settle()
    assert browser.complaints == []


def test_a_lab_member_finds_their_job_reads_its_log_and_cancels_it_by_keyboard(
    lab: LabPage, browser: Chromium
) -> None:
    failed, first, _, *waiting = lab.busy()
    browser.named(HEADER, "root")
    browser.open(lab.address)
    browser.shows(".who", "signed in as root")
    browser.shows("#link", "live")
    assert first in browser.text("#slots")
    assert waiting[0] in browser.text("#queue")
    assert failed in browser.text("#jobs")
    # By keyboard: to the job, its log, which goes on by itself, and to its end.
    browser.tab_to(f"slot-job-{first}")
    browser.key("Enter")
    browser.shows("h2", f"Job {first}")
    browser.shows("#log", "loss")
    assert "\x1b" not in browser.text("#log")
    before = len(browser.text("#log"))
    until(lambda: len(browser.text("#log")) > before, "the log goes on")
    browser.tab_to(f"cancel-{first}")
    browser.key("Enter")
    browser.shows("h2", f"Cancel job {first}?")
    assert lab.manager.job(first)["state"] == "running"  # to look at it has changed nothing
    browser.tab_to("cancel")
    browser.key("Enter")
    browser.shows("h2", f"Job {first}")
    assert lab.manager.ended(first)["state"] == "cancelled"
    for gpu in range(2):
        lab.hardware.gpu(gpu, used=0, util=0)  # it has given its memory back
    browser.open(lab.address)
    browser.shows("#slots", waiting[0])  # who was next has its place


def test_a_lab_member_holds_a_job_extends_that_and_gives_it_up_by_keyboard(
    lab: LabPage, browser: Chromium
) -> None:
    waits = "until [ -e /tmp/go ]; do sleep 0.05; done; exit 3"
    job = lab.manager.submit("sh", "-c", waits, options=("--pool", "cpu"))
    lab.manager.started(job)
    browser.named(HEADER, "root")
    browser.open(lab.address)
    browser.shows("#jobs", job)
    _done(browser, f"hold-{job}", f"Hold job {job} when it has ended?", "hold")
    browser.shows("h2", f"Job {job}")
    browser.shows("dl", "when it has ended, for 30m")
    lab.manager.let_go(job)
    assert lab.manager.ended(job)["state"] == "failed"
    browser.open(lab.address)
    browser.shows("#slots", "held for root until")
    browser.shows("#jobs", "held for root until")
    before = parse_time(lab.manager.slot("cpu-0")["held"]["until"])
    _done(browser, f"extend-{job}", f"Hold job {job} for 30 minutes longer?", "extend")
    browser.shows("h2", f"Job {job}")
    until(
        lambda: parse_time(lab.manager.slot("cpu-0")["held"]["until"]) == before + 1800,
        "it is held for longer",
    )
    browser.open(lab.address)
    browser.shows("#jobs", "held for root until")
    _done(browser, f"release-{job}", f"Release job {job}?", "release")
    browser.shows("h2", f"Job {job}")
    until(lambda: lab.manager.slot("cpu-0")["held"] is None, "its slot is free")


def test_a_lab_member_reserves_a_gpu_and_gives_it_back_by_keyboard(
    lab: LabPage, browser: Chromium
) -> None:
    browser.named(HEADER, "root")
    browser.open(lab.address)
    browser.tab_to("to-reserve")
    browser.key("Enter")
    browser.shows("h2", "Reserve GPUs")
    browser.tab_to("gpus")
    browser.type("5")
    browser.tab_to("reserve")
    browser.key("Enter")
    browser.shows("#why", "2 may be reserved at once")
    browser.settle()
    browser.complaints.clear()  # the browser says itself that it was refused
    browser.tab_to("gpus")
    browser.type("1")
    browser.tab_to("for")
    browser.type("1h")
    browser.tab_to("reserve")
    browser.key("Enter")
    browser.shows("#reservations", "outside of containers")
    [row] = lab.manager.get("/v1/reservations")["reservations"]
    name, end = row["reservation"], parse_time(row["until"])
    assert (row["user"], row["gpus"], row["shell"]) == ("root", 1, False)
    browser.shows("#reservations", "active")
    _done(browser, f"extend-reservation-{name}", f"Extend reservation {name}", "extend")
    browser.shows("#reservations", "active")
    [row] = lab.manager.get("/v1/reservations")["reservations"]
    assert parse_time(row["until"]) >= end + 1800
    _done(browser, f"release-reservation-{name}", f"Release reservation {name}?", "release")
    browser.shows("#reservations", "Nothing is reserved.")
    assert lab.manager.get("/v1/reservations")["reservations"] == []


def _done(browser: Chromium, link: str, question: str, button: str) -> None:
    """By keyboard: what leads there, and then that it is meant."""
    browser.tab_to(link)
    browser.key("Enter")
    browser.shows("h2", question)
    browser.tab_to(button)
    browser.key("Enter")


def test_what_happens_comes_to_an_operator_by_itself_and_is_what_status_says(
    lab: LabPage, browser: Chromium
) -> None:
    browser.open(lab.address)
    browser.shows(".who", "read-only")
    browser.shows("#link", "live")
    browser.js("window.same = true")
    _, first, _, *waiting = lab.busy()
    browser.shows("#slots", first)
    browser.shows("#gpus", "not ours: root")
    browser.shows("#queue", waiting[2])
    assert browser.js("document.querySelectorAll('main .button').length") == 0  # nothing is offered
    assert lab.manager.cli("reserve", "--outside", "--for", "1h").returncode == 0
    browser.shows("#reservations", "outside of containers")
    assert lab.manager.cli("hold", first).returncode == 0
    lab.manager.cli("cordon", "cpu-0", "--note", "its <disk> is full")
    browser.shows("#slots", "its <disk> is full")
    lab.manager.cli("pause", "--note", "maintenance")
    browser.shows("#conditions", "mayfly resume")
    shown = browser.js(
        "[...document.querySelectorAll('#slots tbody tr')]"
        ".map(row => [...row.cells].slice(0, 3).map(cell => cell.innerText))"
    )
    rows = lab.manager.json("status")["slots"]
    assert [row[:2] for row in shown] == [[row["slot"], row["pool"]] for row in rows]
    assert all(row["phase"] in cells[2] for row, cells in zip(rows, shown, strict=True))
    lab.manager.cli("resume")
    until(lambda: "mayfly resume" not in browser.text("#conditions"), "the condition has gone")
    [row] = lab.manager.get("/v1/reservations")["reservations"]
    lab.manager.cli("release", row["reservation"])
    until(lambda: browser.text("#reservations") == "", "the reservation has gone")
    assert browser.js("window.same") is True  # it was never loaded again


def test_it_is_read_on_a_phone_in_the_dark_and_on_paper(lab: LabPage, browser: Chromium) -> None:
    lab.busy()
    browser.open(lab.address)
    backs = {}
    for dark in (False, True):
        for width, height in (PHONE, (320, 568), (1280, 900)):
            browser.look(width, height, dark=dark)
            assert browser.js("document.documentElement.scrollWidth") <= width, (width, dark)
        backs[dark] = browser.js("getComputedStyle(document.body).backgroundColor")
    assert backs == {False: "rgb(255, 255, 255)", True: "rgb(18, 22, 27)"}
    browser.look(1280, 900, dark=True, printed=True)
    assert browser.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.js("getComputedStyle(document.querySelector('header nav')).display") == "none"


def test_a_manager_that_goes_is_told_and_one_that_comes_back_is_live(
    lab: LabPage, browser: Chromium
) -> None:
    browser.open(lab.address)
    browser.shows("#link", "live")
    lab.manager.kill()
    browser.shows("#link", "not connected since")
    browser.complaints.clear()  # that it could not connect, the browser says itself
    lab.manager.start(wait="answer")
    browser.shows("#link", "live")
    browser.complaints.clear()


def test_another_site_cannot_send_the_page_s_forms(lab: LabPage, browser: Chromium) -> None:
    job = lab.manager.submit("sleep", "600", options=("--pool", "cpu"))
    lab.manager.started(job)
    browser.named(HEADER, "root")
    browser.open("data:text/html,<p>another site</p>")
    sent = (
        f"fetch('{lab.address}/jobs/{job}/cancel', {{method: 'POST', mode: 'no-cors', body: 'token=x'}})"
        ".then(() => document.title = 'sent', () => document.title = 'sent')"
    )
    browser.js(sent)
    until(lambda: browser.js("document.title") == "sent", "the form was sent")
    assert lab.manager.job(job)["state"] == "running"
    browser.settle()
    browser.complaints.clear()  # the browser says itself that it was refused
