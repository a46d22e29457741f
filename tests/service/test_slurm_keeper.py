"""What a manager that stops leaves in Slurm's queue: stand-ins for Slurm's commands."""

from __future__ import annotations

import os
from pathlib import Path
from queue import SimpleQueue

import pytest

from mayfly.core.allocations import AllocationsSeen, Ask, TendAllocations
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Generation, HostId, PoolName, SlotName
from mayfly.core.slurm_request import SlurmRequest
from mayfly.edge.slurm import Slurm
from mayfly.service.slurm_keeper import SlurmKeeper

HOST = HostId("abcdefghijkl")
SLOT = SlotName("gpu-0")
NAME = f"mayfly:{HOST}:{SLOT}:00000001"


class Box:
    """A queue that is a file with a row for each allocation."""

    def __init__(self, home: Path) -> None:
        self.home, self.rows = home, home / "rows"
        self.rows.touch()
        self.say("sinfo", "echo 'idle|none'")
        self.say("scontrol", "echo JobId=7")
        self.say("squeue", f"cat {self.rows}")
        self.say("scancel", f'for one; do sed -i "/^$one|/d" {self.rows}; done')
        self.say("salloc", f"echo '7|RUNNING|{os.geteuid()}|12|N/A|None|{NAME}' >>{self.rows}")
        self.seen: SimpleQueue[AllocationsSeen] = SimpleQueue()
        slurm = Slurm({"PATH": f"{home}:{os.environ['PATH']}"})
        self.keeper = SlurmKeeper(self.seen.put, slurm)

    def say(self, command: str, line: str) -> None:
        file = self.home / command
        file.write_text(f"#!/bin/sh\n{line}\n")
        file.chmod(0o755)

    def ask(self) -> None:
        asks = (Ask(SLOT, NAME, 1, None, SlurmRequest()),)
        self.keeper.tend(TendAllocations(HOST, "box", (), asks=asks))


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def at_work(allocation: str) -> Memory:
    made = Agent(
        Generation("mx2yftgpx2pwl"),
        SLOT,
        PoolName("gpu"),
        1,
        "f",
        "i",
        ("GPU-b",),
        1.0,
        committed=5.0,
        allocation=allocation,
    )
    return Memory(agents={made.generation: made})


def test_what_was_granted_and_not_heard_of_yet_is_given_back(box: Box) -> None:
    box.ask()
    box.keeper.leave(Memory())
    assert box.rows.read_text() == ""


def test_what_an_agent_is_at_work_on_stays_in_the_queue(box: Box) -> None:
    box.ask()
    (one,) = box.seen.get(timeout=60).allocations or ()
    box.keeper.leave(at_work(one.id))
    assert box.rows.read_text().startswith("7|RUNNING")


def test_what_waits_is_given_back_with_its_request(box: Box) -> None:
    box.say(
        "salloc",
        f"echo '7|PENDING|{os.geteuid()}|12|N/A|Resources|{NAME}' >>{box.rows}; exec sleep 600",
    )
    box.ask()
    while not box.rows.read_text():
        box.seen.get(timeout=60)
    box.keeper.leave(Memory())
    assert box.rows.read_text() == ""


def test_a_controller_that_does_not_answer_keeps_nobody(box: Box) -> None:
    box.say("squeue", "echo 'error: Unable to contact slurm controller' >&2; exit 1")
    box.say("scancel", f"touch {box.home}/cancelled")
    box.ask()
    box.keeper.leave(Memory())
    assert not (box.home / "cancelled").exists()


def test_one_that_nobody_wanted_anything_of_asks_nothing(box: Box) -> None:
    box.say("squeue", f"touch {box.home}/asked")
    box.keeper.leave(Memory())
    assert not (box.home / "asked").exists()
