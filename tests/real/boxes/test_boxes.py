"""Two boxes behind real sshd: what a person at a desk types reaches the manager that it is for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.real.boxes.conftest import Box, Desk

pytestmark = [pytest.mark.real]

Boxes = dict[str, Box]
BOTH = ("--host", "a,b")


@pytest.fixture(autouse=True)
def _up(boxes: Boxes) -> Iterator[None]:
    """Whatever a test stopped is there again."""
    yield
    for box in boxes.values():
        if box.server.process is None:
            box.server.start()
        if box.manager.process is None:
            box.manager.rested()


def test_both_are_one_table_and_a_job_goes_to_one_and_is_read_from_there(
    boxes: Boxes, desk: Desk
) -> None:
    code, out, err = desk.mayfly(*BOTH, "status")
    assert (code, err) == (0, ""), out
    assert re.findall(r"^(\w/local-\d)", out, re.MULTILINE) == [
        *("a/local-0", "a/local-1", "b/local-0", "b/local-1")
    ]
    code, out, err = desk.mayfly("--host", "b", "submit", "--wait", "--", "echo", "from b")
    assert (code, out) == (0, "from b\n"), err
    found = json.loads(desk.mayfly(*BOTH, "jobs", "--json")[1])
    (job,) = [row for row in found["jobs"] if row["state"] == "succeeded"]
    assert job["box"] == "b"
    assert boxes["b"].manager.job(job["job"])["exit_code"] == 0
    for name in (job["job"], f"b/{job['job']}"):
        assert desk.mayfly(*BOTH, "logs", name) == (0, "from b\n", "")
    assert desk.mayfly("logs", f"b/{job['job']}")[1] == "from b\n"


def test_a_terminal_in_a_job_of_another_box_and_its_end(boxes: Boxes, desk: Desk) -> None:
    manager = boxes["b"].manager
    job = manager.submit("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done; echo gone on")
    manager.started(job)
    screen = desk.terminal(*BOTH, "attach", job)
    screen.type("echo $((6 * 7)) of $(hostname)\r")
    screen.until("42 of local-")
    screen.type("touch /tmp/go; exit 5\r")
    assert screen.end()[0] == 5
    assert manager.ended(job)["state"] == "succeeded"
    code, out, err = desk.mayfly(*BOTH, "attach", job, "--", "true")
    assert (code, out) == (1, ""), err


def test_a_box_that_is_down_is_a_row_and_what_is_followed_there_goes_on_once_it_is_back(
    boxes: Boxes, desk: Desk
) -> None:
    there, manager = boxes["b"], boxes["b"].manager
    job = manager.submit("sh", "-c", "echo one; until [ -e /tmp/go ]; do sleep 0.1; done; echo two")
    manager.started(job)
    screen = desk.terminal("--host", "b", "logs", "-f", job)
    screen.until("one")
    there.server.stop()
    code, out, _ = desk.mayfly(*BOTH, "status")
    assert code == 1
    assert re.search(r"^b +- +no answer +b is not reached over ssh", out, re.MULTILINE)
    assert "a/local-0" in out
    found = json.loads(desk.mayfly(*BOTH, "jobs", "--json")[1])
    assert [one["answered"] for one in found["boxes"]] == [True, False]
    assert desk.mayfly(*BOTH, "logs", job)[0] == 3, "it may be on the box that is down"
    there.server.start()
    manager.let_go(job)
    screen.until("two")
    code, seen = screen.end()
    assert code == 0
    assert seen.count("one\n") == seen.count("two\n") == 1


def test_a_box_whose_manager_is_stopped_says_so_and_the_other_works_on(
    boxes: Boxes, desk: Desk
) -> None:
    boxes["a"].manager.kill()
    code, out, _ = desk.mayfly(*BOTH, "status")
    assert code == 1
    assert "the manager on a is not running" in out
    code, out, err = desk.mayfly("--host", "a", "status")
    assert (code, out) == (3, "")
    assert "start it: ssh -t a sudo systemctl start mayfly" in err
    assert desk.mayfly("--host", "b", "submit", "--wait", "--", "true")[0] == 0


def test_status_is_watched_over_the_end_and_the_return_of_a_box(boxes: Boxes, desk: Desk) -> None:
    screen = desk.terminal(*BOTH, "status", "--watch")
    screen.until("b/local-1")
    at = len(screen.seen)
    boxes["b"].server.stop()
    screen.until("no answer", at)
    at = len(screen.seen)
    boxes["b"].server.start()
    screen.until("b/local-1", at)
    screen.type("\x03")
    assert screen.end()[0] == 130


def test_a_job_goes_to_the_box_with_a_free_slot(boxes: Boxes, desk: Desk) -> None:
    manager = boxes["a"].manager
    busy = [manager.submit("sleep", "600") for _ in range(2)]
    for job in busy:
        manager.started(job)
    code, out, err = desk.mayfly(*BOTH, "submit", "--", "true")
    assert (code, err) == (0, "")
    box, _, job = out.strip().partition("/")
    assert box == "b"
    assert boxes["b"].manager.ended(job)["state"] == "succeeded"
    after = desk.mayfly(*BOTH, "submit", "--after", busy[0], "--", "true")
    assert after[1].startswith("a/"), after
    assert desk.mayfly(*BOTH, "cancel", *busy)[0] == 0
    for job in busy:
        assert manager.ended(job)["state"] == "cancelled"


def test_jobs_of_both_are_cancelled_where_they_are(boxes: Boxes, desk: Desk) -> None:
    jobs = {name: box.manager.submit("sleep", "600") for name, box in boxes.items()}
    names = [jobs["a"], f"b/{jobs['b']}"]
    code, _, err = desk.mayfly(*BOTH, "cancel", *names)
    assert code == 0, err
    for name, box in boxes.items():
        assert box.manager.ended(jobs[name])["state"] == "cancelled"


def test_a_host_key_that_nobody_has_seen_asks_nobody_where_several_are_asked(
    boxes: Boxes, desk: Desk
) -> None:
    known = desk.person.home / "known_hosts"
    before = known.read_text()
    port = f":{boxes['b'].server.port} "
    known.write_text("".join(f"{line}\n" for line in before.splitlines() if port not in line))
    try:
        code, out, _ = desk.mayfly(*BOTH, "jobs")
        assert code == 1
        assert "Host key verification failed." in out
        assert "ssh-add, and once by hand: ssh b" in out
    finally:
        known.write_text(before)


def test_a_key_that_is_bound_to_the_relay_asks_the_manager_and_does_nothing_else(
    boxes: Boxes, desk: Desk
) -> None:
    file = boxes["a"].server.home / "authorized_keys"
    before = file.read_text()
    file.write_text(f'restrict,command="mayfly relay" {before}')
    try:
        code, out, err = desk.mayfly("--host", "a", "status", "--json")
        assert code == 0, err
        assert json.loads(out)["schema"] == "mayfly.status/1"
        job = desk.mayfly("--host", "a", "submit", "--", "true")[1].strip()
        assert boxes["a"].manager.ended(job)["state"] == "succeeded"
        assert desk.ssh("a", "echo", "let in") != "let in\n"
    finally:
        file.write_text(before)
