"""A thread that an error struck goes on, and one that could not be had is had later."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import pytest

from mayfly.core.model import Severity
from mayfly.edge import lasting_thread
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.log import Log
from mayfly.service.bugs import Bug, Bugs, bug, watch_threads
from mayfly.service.report import Ground, own_health

MANAGER = Path(__file__).parents[2] / "manager/mayfly"


def test_an_error_ends_what_it_struck_and_the_thread_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lasting_thread, "REST", 0.0)
    asked: SimpleQueue[int | None] = SimpleQueue()
    done: SimpleQueue[float] = SimpleQueue()
    told: SimpleQueue[Bug] = SimpleQueue()

    def run() -> None:
        while (number := asked.get()) is not None:
            done.put(1 / number)

    undo = watch_threads(told.put)
    thread = LastingThread(run, "divider")
    thread.start()
    for number in (1, 0, 2, 0, 4):
        asked.put(number)
    assert [done.get(timeout=30) for _ in range(3)] == [1.0, 0.5, 0.25]
    asked.put(None)
    thread.join(30)
    undo()
    met = told.get(timeout=30)
    assert (met.where, met.thread) == ("the thread divider", None), "it has not ended"


def test_every_thread_of_the_manager_lasts_or_belongs_to_one_task() -> None:
    """A thread that could end for good without anybody noticing is not made."""
    others = {
        "cli/boxes.py",  # one question to one box
        "cli/cluster_socket.py",  # one connection
        "cli/misunderstood.py",  # input that a verb does not take, while it waits
        "cli/ssh_socket.py",  # what one connection's ssh says beside it
        "cli/standing_of_boxes.py",  # one box, as long as a command watches it
        "cli/verbs_bugreport.py",  # a line after a moment
        "edge/exchange.py",  # the deadline of one call
        "edge/gpu_reset.py",  # the output of one program
        "edge/http_connection.py",  # one client
        "edge/mail.py",  # the deadline of one mail
        "edge/mounted.py",  # one look, which may hang
        "edge/repository.py",  # the deadline of one question to git
        "engines/docker/gateway/agent_namespace.py",  # one socket, in another namespace than all others
        "engines/docker/output.py",  # one question
        "engines/kubernetes/output.py",  # one agent's output, and whatever goes wrong with it is told
        "edge/tcp_http.py",  # accepts, and catches whatever a client brings
        "edge/unix_http.py",  # the same
        "providers/gitlab/access.py",  # one reading of a token, which may hang
        "service/attachments.py",  # what one manager has left behind, once
        "service/job_watch.py",  # one service is left, and whatever goes wrong with it is told
        "service/reservation_teller.py",  # one file in one agent
        "service/workers.py",  # catches whatever an action raises
    }
    making = {
        str(file.relative_to(MANAGER))
        for file in MANAGER.rglob("*.py")
        if re.search(r"(?<![A-Za-z])(?:Thread|Timer)\(", file.read_text())
    }
    assert making == others


def test_what_only_the_lack_of_descriptors_or_threads_explains_is_no_bug() -> None:
    bugs = Bugs(Log())
    for error in (
        OSError(24, "Too many open files"),
        OSError(23, "Too many open files in system"),
        RuntimeError("can't start new thread"),
    ):
        met = bug("a look at the Engine", error)
        assert met.starved
        bugs.take(met, 0.0)
    assert bugs.health(0.0) == []
    bugs.take(bug("a look at the Engine", RuntimeError("another")), 0.0)
    assert [one.code for one in bugs.health(0.0)] == ["manager.bug"]


NO_THREADS = """
import resource, threading, time
from mayfly.edge import lasting_thread
from mayfly.edge.faults import Passing
from mayfly.edge.lasting_thread import LastingThread

ran = threading.Event()
thread = LastingThread(ran.set, "late")
stack = threading.stack_size(64 * 1024 * 1024)
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 32 * 1024 * 1024, hard))
assert not thread.start_if_possible() and lasting_thread.lacking()
try:
    thread.start()
except Passing as fault:
    print(fault)
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
assert thread.start_if_possible() and ran.wait(30)
lasting_thread.TOLD = 0.0
assert not lasting_thread.lacking()
print("had")
"""


def test_a_thread_that_is_not_to_be_had_is_told_and_had_when_there_are_some() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines() == [
        "no thread is to be had for late: raise TasksMax of the unit",
        "had",
    ], done.stderr
    [one] = own_health(Ground(no_threads=True))
    assert (one.code, one.severity) == ("manager.threads", Severity.ERROR)
    assert own_health(Ground()) == []
