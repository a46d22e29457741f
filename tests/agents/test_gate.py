"""The gate: one whole frame that is meant for this agent opens it, and nothing else does."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mayfly.edge.gate import SHORT, words
from tests.agents.container import Agent, archive, frame, header, job

pytestmark = pytest.mark.engine

HELLO = job(["echo", "hello"])
SHA = hashlib.sha256(HELLO).hexdigest()


def refused(agent: Agent) -> bool:
    """Whether it ended with that code, opened nothing, and said why in its witness, too."""
    ended = agent.wait() == 64 and agent.note("opened") is None and agent.note("exit") is None
    *_, last = agent.errors().splitlines()
    return ended and agent.note("died") == last.replace("mayfly:", "64", 1)


def test_a_whole_frame_opens_the_gate_and_the_job_runs(at_gate: Agent) -> None:
    before = time.time()
    at_gate.send(frame(at_gate.generation, HELLO))
    assert at_gate.wait() == 0
    assert at_gate.output() == "hello\n"
    assert at_gate.note("opened") == "yes"
    assert before - 0.01 < (at_gate.witness / "opened").stat().st_mtime < time.time()
    assert at_gate.note("exit") == "0 0"


def test_a_started_agent_says_that_it_waits_and_for_whom(
    at_gate: Agent, until: Callable[..., object]
) -> None:
    assert at_gate.note("ready") == at_gate.generation
    until(at_gate.raw)  # the line follows the witness
    assert at_gate.raw().decode() == f"mayfly: at gate {at_gate.generation}\n"
    assert at_gate.note("opened") is None


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"hello\n",
        b"GET / HTTP/1.1\r\n",
        b"\0\0\0\n",
        header("GENERATION", len(HELLO), SHA, protocol="MAYFLY/1"),
        header("0000000000000", len(HELLO), SHA),
        header("GENERATION", "", SHA),
        header("GENERATION", -1, SHA),
        header("GENERATION", "1e3", SHA),
        header("GENERATION", "0", SHA),
        header("GENERATION", 10**9, SHA),
        header("GENERATION", len(HELLO), "*"),
        header("GENERATION", len(HELLO), SHA.upper()),
        header("GENERATION", len(HELLO), SHA[:-1]),
        header("GENERATION", len(HELLO), f"{SHA} more"),
        header("GENERATION", len(HELLO), SHA).replace(b" ", b"  "),
        header("GENERATION", len(HELLO), SHA).replace(b" ", b"\t"),
        header("GENERATION", len(HELLO), SHA).replace(b"\n", b"\r\n"),
    ],
    ids=lambda line: repr(line[:40]),
)
def test_a_line_that_is_no_header_for_this_agent_ends_it_with_64(
    at_gate: Agent, line: bytes
) -> None:
    at_gate.send(line.replace(b"GENERATION", at_gate.generation.encode()) + HELLO)
    assert refused(at_gate)


def test_a_damaged_frame_ends_the_agent_with_64(at_gate: Agent) -> None:
    whole = frame(at_gate.generation, HELLO)
    at_gate.send(whole[:-600] + b"x" + whole[-599:])
    assert refused(at_gate)


def test_a_stream_that_ends_early_ends_the_agent_with_64(
    engine: object, at_gate: Agent, until: Callable[..., object]
) -> None:
    whole = frame(at_gate.generation, HELLO)
    at_gate.send(whole[:4096])
    until(lambda: "head" in " ".join(at_gate.processes()))
    at_gate.root("sh", "-c", "kill $(pidof head)")
    assert refused(at_gate)


def test_half_a_frame_waits_and_opens_nothing(at_gate: Agent, until: Callable[..., object]) -> None:
    at_gate.send(frame(at_gate.generation, HELLO)[:4096])
    until(lambda: "head" in " ".join(at_gate.processes()))
    assert at_gate.note("opened") is None
    at_gate.signal("TERM")
    at_gate.wait()
    assert at_gate.note("opened") is None


def test_half_a_frame_followed_by_a_whole_one_ends_the_agent_with_64(at_gate: Agent) -> None:
    whole = frame(at_gate.generation, HELLO)
    at_gate.send(whole[:4096])
    at_gate.send(whole)
    assert refused(at_gate)


def test_the_second_half_from_another_client_completes_the_frame(at_gate: Agent) -> None:
    whole = frame(at_gate.generation, HELLO)
    at_gate.send(whole[:30])
    at_gate.send(whole[30:5000])
    at_gate.send(whole[5000:])
    assert at_gate.wait() == 0
    assert at_gate.output() == "hello\n"


def test_a_frame_that_is_no_tar_ends_the_agent_with_64(at_gate: Agent) -> None:
    at_gate.send(frame(at_gate.generation, b"no tar at all" * 1000))
    assert refused(at_gate)


def lines(generation: str, body: bytes, size: int | None = None) -> bytes:
    """A frame of lines."""
    return f"MAYFLY/3 {generation} {len(body) if size is None else size} lines\n".encode() + body


@pytest.mark.parametrize(
    "body",
    [
        b"job.argv\n",
        b" 'true'\n",
        b".. 'true'\n",
        b"../w/ready x\n",
        b"/run/mayfly/w/exit 0\n",
        b"Job 'true'\n",
    ],
)
def test_lines_that_are_no_files_end_the_agent_with_64(at_gate: Agent, body: bytes) -> None:
    at_gate.send(lines(at_gate.generation, body))
    assert refused(at_gate)
    assert at_gate.note("ready") == at_gate.generation


@pytest.mark.parametrize("size", ["08", "10000", "1x", "", "0"])
def test_lines_of_no_such_length_end_the_agent_with_64(at_gate: Agent, size: str) -> None:
    body = b"job.argv 'true'\njob.env \n"
    at_gate.send(lines(at_gate.generation, body).replace(str(len(body)).encode(), size.encode(), 1))
    assert refused(at_gate)


def test_lines_beyond_the_length_that_was_said_end_the_agent_with_64(at_gate: Agent) -> None:
    at_gate.send(lines(at_gate.generation, b"job.argv 'true'\njob.env \n", size=20))
    assert refused(at_gate)


def test_half_of_the_lines_wait_and_open_nothing(
    at_gate: Agent, until: Callable[..., object]
) -> None:
    whole = lines(at_gate.generation, b"job.argv true\\0012\njob.env \\0012\n")
    at_gate.send(whole[:-5])
    until(lambda: at_gate.root("ls", "-A", "/run/mayfly/in") == "job.argv\n")
    assert at_gate.note("opened") is None
    at_gate.send(whole[-5:])
    assert at_gate.wait() == 0


@pytest.mark.parametrize("size", [0, SHORT])
def test_every_byte_that_a_job_may_have_reaches_it(at_gate: Agent, size: int) -> None:
    """In a frame of lines, and in a tar."""
    told = bytes(range(1, 256)) + b"\n" * 3
    script = 'printf %s "$1" "$A" | sha256sum; printf %s "${#2}"'
    value = told.decode(errors="surrogateescape")
    found = at_gate.run("sh", "-c", script, "sh", told, b"x" * size, env={"A": value})
    assert found == f"{hashlib.sha256(told * 2).hexdigest()}  -\n{size}"


def test_a_second_enrolment_can_not_be_read_by_the_job(at_gate: Agent) -> None:
    look = "cat; cat /proc/1/fd/0 /proc/$PPID/fd/0 /dev/stdin; readlink /proc/self/fd/0"
    second = frame(at_gate.generation, job(["echo", "SECOND"], {"TOKEN": "SECRET"}))
    at_gate.send(frame(at_gate.generation, job(["sh", "-c", look])) + second)
    assert at_gate.wait() == 0
    assert at_gate.output() == "/dev/null\n"
    assert "Permission denied" in at_gate.errors()


def test_members_owned_by_others_unpack_as_root(at_gate: Agent) -> None:
    tar = bytearray(archive({"job.argv": words(["id", "-u"]), "job.env": words([])}))
    for at in range(0, len(tar), 512):
        if tar[at : at + 4] == b"job.":
            tar[at + 108 : at + 124] = b"0001750\x000001750\x00"
            total = sum(tar[at : at + 148]) + 8 * 32 + sum(tar[at + 156 : at + 512])
            tar[at + 148 : at + 156] = f"{total:06o}\0 ".encode()
    at_gate.send(frame(at_gate.generation, bytes(tar)))
    assert at_gate.wait() == 0
    assert at_gate.output() == "1000\n"


def test_a_large_enrolment_passes_whole(at_gate: Agent) -> None:
    big = "x" * 100_000
    tar = job(["sh", "-c", 'echo "${#A} ${#B} ${#1}"', "sh", big], {"A": big, "B": big})
    at_gate.send(frame(at_gate.generation, tar))
    assert at_gate.wait() == 0
    assert at_gate.output() == "100000 100000 100000\n"


def test_an_agent_at_its_gate_ends_at_once_when_told_to(at_gate: Agent) -> None:
    at_gate.signal("TERM")
    assert at_gate.wait(5) == 143
    assert at_gate.note("opened") is None


def test_without_a_generation_the_gate_does_not_open(start: Callable[..., Agent]) -> None:
    agent = start(environment={"MAYFLY_GENERATION": ""}, at_gate=False)
    assert agent.wait() == 70
    assert "MAYFLY_GENERATION" in agent.errors()


def test_without_a_witness_nothing_runs(start: Callable[..., Agent]) -> None:
    agent = start(mounts=[], at_gate=False)
    assert agent.wait() == 73


def test_a_witness_that_was_lost_at_the_gate_keeps_the_job_from_running(
    at_gate: Agent, tmp_path: Path
) -> None:
    for note in at_gate.witness.iterdir():
        note.unlink()
    at_gate.witness.rmdir()
    at_gate.take("echo", "ran")
    assert at_gate.wait() == 73
    assert "ran" not in at_gate.output()
