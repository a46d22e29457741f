"""`mayfly attach` on a real Engine: what one is there, what is left afterwards, and that the job goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until
from tests.terminal import Terminal

pytestmark = pytest.mark.engine
POOL = """
[[pool]]
name = "local"
provider = "local"
slots = 1
network = "none"
env = { COLOUR = "blue", BASH_ENV = "/nowhere", LD_PRELOAD = "/nowhere" }
groups = ["3456"]
[pool.limits]
memory = "128MiB"
pids = 64
"""
PIPE = subprocess.PIPE
MAYFLY = (sys.executable, "-m", "mayfly.cli.app")
SHOW = (
    "pwd; env -u MAYFLY_ATTACH -u _ | sort; id; umask; cat /proc/self/oom_score_adj; ulimit -a; "
    "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/cgroup"
)


@pytest.fixture(scope="module")
def manager(engine: PrivateEngine) -> Iterator[Manager]:
    with Manager(engine.url, POOL) as one:
        one.start()
        yield one


@pytest.fixture(scope="module")
def job(manager: Manager) -> str:
    """One that shows what it is and goes on."""
    script = f"mkdir /tmp/here; cd /tmp/here; {SHOW}; echo that was it; exec sleep 600"
    words = ("sh", "-c", script)
    job = manager.submit(*words, options=("--env", "ODD=it's\na 'word'"))
    until(lambda: "that was it" in manager.output(job), "it has shown what it is")
    return job


def processes(manager: Manager) -> str:
    """Those of the slot's container, by the words that started them."""
    return manager.docker("top", "local-0", "-o", "pid,args")


def test_one_is_beside_the_job_what_the_job_is(manager: Manager, job: str) -> None:
    done = manager.cli("attach", job, "--", "sh", "-c", f"{SHOW}; exit 7")
    assert done.returncode == 7
    shown = manager.output(job).partition("that was it")[0]
    ours, theirs = (
        [line for line in text.splitlines() if "preload" not in line]
        for text in (done.stdout, shown)
    )
    assert ours == theirs
    assert "uid=1000(runner) gid=1000(runner) groups=1000(runner),3456" in ours
    assert {"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "/tmp/here", "COLOUR=blue"} <= set(ours)


def test_a_terminal_is_one_of_the_jobs_user_and_follows_the_window(
    manager: Manager, job: str
) -> None:
    screen = Terminal([*MAYFLY, "attach", "local-0"], 80, **manager.environment())
    try:
        screen.type("tty; stat -c %U $(tty); stty size; echo $TERM\r")
        screen.until("24 80")
        screen.until("xterm")
        assert "runner" in screen.seen
        screen.resize(33, 99)
        until(lambda: _sized(screen, "33 99"), "the terminal has the window's size")
        screen.type("exit 5\r")
        assert screen.end()[0] == 5
    finally:
        screen.close()


def _sized(screen: Terminal, size: str) -> bool:
    before = len(screen.seen)
    screen.type("stty size; echo so\r")
    return size in screen.until("so\r\n", before)


def test_whoever_goes_away_leaves_nothing_but_the_job(manager: Manager, job: str) -> None:
    script = "setsid nohup sleep 501 >/dev/null 2>&1 & trap '' HUP TERM; sleep 502 & echo up; wait"
    person = subprocess.Popen(
        [*MAYFLY, "attach", job, "--", "sh", "-c", script],
        stdout=PIPE,
        stderr=PIPE,
        env=manager.environment(),
    )
    assert person.stdout is not None
    assert person.stdout.readline() == b"up\n"
    until(lambda: {"sleep 501", "sleep 502"} <= set(_commands(manager)), "both have begun")
    person.send_signal(signal.SIGKILL)
    person.communicate()
    until(lambda: _commands(manager) == ["sleep 600"], "what it started has ended")
    assert manager.job(job)["state"] == "running"
    until(lambda: (job, "root", "the client went away") in _left(manager), "that it is recorded")


def _left(manager: Manager) -> list[tuple[str, str, str]]:
    """Whose job, who, and why: of each who is out again."""
    rows = manager.json("events")["events"]
    gone = [row for row in rows if row["event"] == "agent.detached"]
    return [(row["job"], row["by"], row["reason"]) for row in gone]


def _commands(manager: Manager) -> list[str]:
    """What runs there beside the gate."""
    lines = [line.split(None, 1)[1] for line in processes(manager).splitlines()[1:]]
    return [line for line in lines if "/opt/mayfly" not in line]


def test_it_ends_with_the_job_and_with_the_manager_and_the_job_with_neither(
    manager: Manager, job: str
) -> None:
    def enter() -> subprocess.Popen[bytes]:
        words = [*MAYFLY, "attach", job, "--", "sh", "-c", "echo up; exec sleep 503"]
        person = subprocess.Popen(
            words, env=manager.environment(), stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        assert person.stdout is not None
        assert person.stdout.readline() == b"up\n"
        return person

    person = enter()
    manager.kill(signal.SIGTERM)
    assert b"the manager stops; the job goes on" in person.communicate(timeout=60)[1]
    manager.start(wait="answer")
    until(lambda: _commands(manager) == ["sleep 600"], "what it started has ended")
    person = enter()
    manager.kill(signal.SIGKILL)
    person.communicate(timeout=60)
    until(lambda: "sleep 503" in _commands(manager), "it goes on")
    manager.start(wait="answer")
    until(lambda: _commands(manager) == ["sleep 600"], "what it started has ended")
    told = (job, "root", "the manager was gone before it had ended")
    until(lambda: told in _left(manager), "that it is recorded")
    person = enter()
    assert manager.cli("cancel", job).returncode == 0
    assert b"mayfly: the job has ended, and this with it\n" in person.communicate(timeout=60)[1]
    assert manager.ended(job)["cause"] == "cancelled"
    done = manager.cli("attach", job)
    assert (done.returncode, done.stderr) == (1, f"mayfly: job {job} has ended already\n")
