"""Slurm's commands as they fail, which real daemons are not to be made to: stand-ins, read by one grammar.

What they print where all is well is in ``tests/real/slurm``, from the real ones.
"""

from __future__ import annotations

import os
import resource
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.core.allocations import Ask, TendAllocations, identity
from mayfly.core.model import HostId, SlotName
from mayfly.core.slurm_request import SlurmRequest
from mayfly.edge.slurm import Slurm

HOST = HostId("abcdefghijkl")
OURS = f"mayfly:{HOST}:gpu-0:00000001"
SINFO = "echo 'idle|none'"


class Box:
    """Stand-ins of Slurm's commands, each a line of shell."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.say("sinfo", SINFO)
        self.say("squeue", "true")
        self.say(
            "slurmd",
            f"echo 'slurmd: Gres Name=gpu Type=(null) Count=2 File={home}/gpu[0-1] (null)' >&2",
        )
        for minor in range(2):
            os.mknod(home / f"gpu{minor}", 0o600 | stat.S_IFCHR, os.makedev(195, minor + 4))

    def say(self, command: str, line: str) -> None:
        file = self.home / command
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)

    def row(
        self, state: str = "RUNNING", name: str = OURS, user: int = 0, ends: str = "99"
    ) -> None:
        self.say("squeue", f"echo '7|{state}|{user}|12|{ends}|None|{name}'")

    def job(self, gres: str) -> None:
        self.say(
            "scontrol",
            f"echo 'JobId=7 JobState=RUNNING Reason=None Nodes=box CPU_IDs=0 Mem=0 GRES={gres} x=y'",
        )

    @property
    def slurm(self) -> Slurm:
        return Slurm({"PATH": f"{self.home}:{os.environ['PATH']}", "SLURM_CLUSTERS": "elsewhere"})


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def tend(*known: str, asks: tuple[Ask, ...] = ()) -> TendAllocations:
    return TendAllocations(HOST, "box", known, asks=asks)


@pytest.mark.parametrize(
    ("gres", "minors"),
    [
        ("gpu:1(IDX:1)", (5,)),
        ("gpu:a100:2(IDX:0-1)", (4, 5)),
        ("tmpdisk:1,gpu:2(IDX:0,1)", (4, 5)),
        ("gpu:1(IDX:2)", None),
        ("gpu:1(IDX:0-99999)", None),
        ("gpu:1", None),
        ("mps:1(IDX:0)", None),
    ],
)
def test_which_gpus_it_has_is_told_by_their_device_files_or_is_not_known(
    box: Box, gres: str, minors: tuple[int, ...] | None
) -> None:
    box.row()
    box.job(gres)
    seen = box.slurm.tend(tend()).allocations
    assert seen is not None
    assert [one.minors for one in seen] == [minors]
    assert bool(seen[0].problem) is (minors is None)


def test_what_is_no_allocation_of_ours_is_none(box: Box) -> None:
    for name, user in (("train", 0), (OURS.replace("abc", "xyz"), 0), (OURS, os.geteuid() + 1)):
        box.row(name=name, user=user)
        assert box.slurm.tend(tend()).allocations == ()
    for over in ("COMPLETING", "CANCELLED", "TIMEOUT", "NODE_FAIL"):
        box.row(over)
        assert box.slurm.tend(tend()).allocations == (), "it is over"
    for word in ("SUSPENDED", "STOPPED", "SIGNALING", "CONFIGURING", "WHATEVER_IS_NEW"):
        box.row(word)
        seen = box.slurm.tend(tend()).allocations
        assert [one.running for one in seen or ()] == [False], "not lost, and no gate opens"


def test_a_host_that_is_short_of_something_has_no_answer_and_says_so(box: Box) -> None:
    slurm, (soft, hard) = box.slurm, resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        seen = slurm.tend(tend())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen.allocations is None
    assert "Too many open files" in seen.problem


def test_what_is_given_back_is_what_was_meant_and_bears_this_host_s_name(box: Box) -> None:
    box.say("scancel", f'echo "$*" >>{box.home}/cancelled')
    gone = box.home / "cancelled"
    box.row("PENDING")
    box.slurm.tend(replace(tend(), returns=(identity("7", 11.0), identity("8", 12.0))))
    assert not gone.exists(), "its number was given again"
    box.row("PENDING", name="train")
    box.slurm.tend(replace(tend(), returns=(identity("7", 12.0),)))
    box.slurm.give_back_all(HOST, frozenset())
    assert not gone.exists(), "it is somebody else's"
    box.row("PENDING")
    box.slurm.give_back_all(HOST, frozenset({identity("7", 12.0)}))
    assert not gone.exists(), "an agent is at work on it"
    box.slurm.tend(replace(tend(), returns=(identity("7", 12.0),)))
    box.slurm.give_back_all(HOST, frozenset())
    assert gone.read_text().splitlines() == ["7", "7"]


def test_what_an_allocation_has_is_asked_once(box: Box) -> None:
    box.row()
    box.job("gpu:1(IDX:1)")
    slurm = box.slurm
    before = slurm.tend(tend()).allocations
    box.say("scontrol", "exit 1")
    assert slurm.tend(tend()).allocations == before


def test_an_answer_that_is_too_long_is_none(box: Box) -> None:
    box.say("squeue", "head -c 4194400 /dev/zero | tr '\\0' '\\n'")
    assert "more than anybody reads" in box.slurm.tend(tend()).problem


@pytest.mark.parametrize(
    ("command", "line", "says"),
    [
        (
            "squeue",
            "echo 'error: Unable to contact slurm controller' >&2; exit 1",
            "Unable to contact",
        ),
        ("squeue", f"echo 'nonsense:{HOST}:gpu-0'", "nobody can read"),
        ("squeue", "kill -9 $$", "squeue fails"),
        ("sinfo", "exit 1", "sinfo fails"),
        ("scontrol", "echo 'error: busy' >&2; exit 1", "scontrol fails: busy"),
    ],
)
def test_a_command_that_fails_or_prints_nonsense_is_no_answer(
    box: Box, command: str, line: str, says: str
) -> None:
    box.row()
    box.job("gpu:1(IDX:0)")
    box.say(command, line)
    seen = box.slurm.tend(tend())
    assert seen.allocations is None
    assert says in seen.problem


def test_a_host_without_slurm_says_what_is_missing(tmp_path: Path) -> None:
    seen = Slurm({"PATH": str(tmp_path)}).tend(tend())
    assert seen.problem == "there is no squeue on this host: install Slurm's client commands"
    assert Slurm({"PATH": str(tmp_path)}).look("box", None) == {
        "tools": "there is no salloc on this host: install Slurm's client commands"
    }


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("JobState=CANCELLED Reason=None", "Slurm cancelled allocation 9: somebody's scancel"),
        ("JobState=TIMEOUT Reason=TimeLimit", "allocation 9 was at its time limit (TimeLimit)"),
        ("JobState=PREEMPTED Reason=None", "Slurm preempted allocation 9"),
        ("JobState=NODE_FAIL Reason=NodeDown", "this node failed (NodeDown)"),
        ("JobState=BOOT_FAIL Reason=None", "Slurm ended allocation 9: BOOT_FAIL"),
    ],
)
def test_how_one_ended_is_slurm_s_word(box: Box, word: str, says: str) -> None:
    box.say("scontrol", f'echo "JobId=9 {word} x=y"')
    assert says in box.slurm.tend(tend("9")).ended["9"]
    box.say("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert box.slurm.tend(tend("9")).ended["9"] == "Slurm shows allocation 9 no more"
    box.say("scontrol", f'echo "JobId=9 {word} SubmitTime=20 x=y"')
    told = box.slurm.tend(tend("9@20", "9@11")).ended
    assert says in told["9@20"]
    assert "given its number again" in told["9@11"]


@pytest.mark.parametrize(
    ("line", "unfit"),
    [
        ("echo 'mixed|none'", ""),
        ("echo 'drained|XID 79 on gpu0'", "Slurm has node box drained: XID 79 on gpu0"),
        ("echo 'idle*|Not responding'", "Slurm has node box idle*: Not responding"),
        ("true", "Slurm knows no node box: say which this host is, as `node` in [pool.slurm]"),
    ],
)
def test_a_node_that_gives_nothing_is_told_in_slurm_s_words(
    box: Box, line: str, unfit: str
) -> None:
    box.say("sinfo", line)
    assert box.slurm.tend(tend()).unfit == unfit


def test_a_request_is_made_as_the_pool_says_and_one_that_is_refused_is_told(box: Box) -> None:
    box.say(
        "salloc",
        f'echo "$*" >{box.home}/asked; env >{box.home}/env; echo "salloc: error: Invalid qos" >&2; exit 1',
    )
    request = SlurmRequest(partition="main", qos="ci", gres="gpu:a100", options=("--mem=1",))
    ask = Ask(SlotName("gpu-0"), OURS, 2, 25, request)
    seen = box.slurm.tend(tend(asks=(ask,)))
    assert seen.refused == {SlotName("gpu-0"): "Invalid qos"}
    asked = (box.home / "asked").read_text().split()
    assert asked == [
        *("--no-shell", "--nodes=1", "--ntasks=1", "--nodelist=box", "--gres=gpu:a100:2"),
        *(f"--job-name={OURS}", "--time=25", "--partition=main", "--qos=ci", "--mem=1"),
    ]
    assert "SLURM_CLUSTERS" not in (box.home / "env").read_text()
