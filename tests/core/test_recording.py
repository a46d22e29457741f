"""What a recording keeps in memory of many looks at many containers."""

from __future__ import annotations

from dataclasses import replace

from mayfly.core.memory import Memory
from mayfly.core.model import (
    Config,
    Container,
    ContainerId,
    ContainerState,
    Generation,
    HostId,
    HostSpec,
    PoolName,
    SlotName,
)
from mayfly.core.observed import Observed
from mayfly.core.recording import ROWS, Recording, StepRecord
from mayfly.core.state import State
from mayfly.core.stimuli import EngineSeen

HOST = HostId("0" * 12)
MANY = 2 * ROWS


def seen(look: int) -> tuple[Container, ...]:
    """All of them as an engine's answer has them: no two share anything, and one differs each time."""
    found = [
        Container(
            ContainerId(f"c{number}"),
            f"pool-{number}",
            ContainerState.RUNNING,
            HOST,
            PoolName("pool"),
            SlotName(f"pool-{number}"),
            Generation(f"g{number}"),
            "f",
            "i",
            1.0,
        )
        for number in range(MANY)
    ]
    changed = look % MANY
    found[changed] = replace(found[changed], state=ContainerState.EXITED)
    return tuple(found)


def kept(recording: Recording) -> list[EngineSeen]:
    return [
        stimulus
        for half in (recording._older, recording._newer)
        for step in (half.steps if half is not None else ())
        for stimulus in step.stimuli
        if isinstance(stimulus, EngineSeen)
    ]


def test_what_a_look_shows_as_the_last_one_did_is_in_memory_once() -> None:
    state = State(HOST, "run", Config(HostSpec("box"), ()), Memory(), Observed(HOST), noise=0)
    recording = Recording(state, kept=600)
    for look in range(100):
        recording.add(StepRecord(1.0, (EngineSeen(look, seen(look)),), (), (), True), state)
    looks = kept(recording)
    assert [look.containers for look in looks] == [seen(look.began) for look in looks]
    objects = {id(one) for look in looks for one in look.containers}
    # Of each look what has changed: one that ended, and the one before, which runs again.
    assert len(objects) <= MANY + 2 * len(looks)


def test_a_look_at_many_containers_counts_as_many_stimuli() -> None:
    state = State(HOST, "run", Config(HostSpec("box"), ()), Memory(), Observed(HOST), noise=0)
    recording = Recording(state, kept=60)
    for look in range(200):
        recording.add(StepRecord(1.0, (EngineSeen(look, seen(look)),), (), (), True), state)
    assert 10 <= len(kept(recording)) <= 60 // (1 + MANY // ROWS)
