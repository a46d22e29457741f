"""What the machine was told of late, and what followed: the last stimuli with the state that they begin at.

Kept in two halves: when the newer one is full it becomes the older one, and the state of that moment begins a
new one. A state is a value, so keeping one costs nothing. No stimulus holds a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mayfly.core import machine
from mayfly.core.codec import decoded, encoded
from mayfly.core.facts import Fact
from mayfly.core.machine import Step
from mayfly.core.model import Container, PoolName
from mayfly.core.notice import Judge
from mayfly.core.outcomes import End, Outcome
from mayfly.core.state import State
from mayfly.core.stimuli import EngineSeen, Stimulus

KEPT = 10_000  # stimuli at the most; half as many at the least, once there were so many
ROWS = 16  # containers of a look that count as one stimulus more: a report has all of them

SCHEMA = "mayfly.recording/1"

Judged = tuple[PoolName, End, tuple[str, ...], Outcome]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step: what it was told and when, what ends were judged to be, and what it recorded."""

    now: float
    stimuli: tuple[Stimulus, ...]
    judged: tuple[Judged, ...]
    facts: tuple[Fact, ...]
    recorded: bool  # the disk took the facts


@dataclass(slots=True)
class _Half:
    state: State
    steps: list[StepRecord] = field(default_factory=list)
    stimuli: int = 0


class Recording:
    """The steps of late; used by the loop's thread, and read by others as ``halves`` are never changed."""

    def __init__(self, state: State, kept: int = KEPT) -> None:
        self._most = kept // 2
        self._older: _Half | None = None
        self._containers: tuple[Container, ...] = ()
        self._newer = _Half(state)

    def add(self, record: StepRecord, after: State) -> None:
        """One more step, and the state that was gone on with."""
        half = self._newer
        half.steps.append(replace(record, stimuli=self._shared(record.stimuli)))
        half.stimuli += sum(map(_counts, record.stimuli))
        if half.stimuli >= self._most:
            self._older, self._newer = half, _Half(after)

    def _shared(self, stimuli: tuple[Stimulus, ...]) -> tuple[Stimulus, ...]:
        """The stimuli; what a look shows as the last one showed it, it shares with that: of so many looks at
        so many containers, each would else hold all of them anew.
        """
        shared: list[Stimulus] = []
        for stimulus in stimuli:
            if isinstance(stimulus, EngineSeen):
                stimulus = replace(stimulus, containers=self._known(stimulus.containers))  # noqa: PLW2901
            shared.append(stimulus)
        return tuple(shared)

    def _known(self, containers: tuple[Container, ...]) -> tuple[Container, ...]:
        last = {one.id: one for one in self._containers}
        found = tuple(
            known if (known := last.get(one.id, one)) == one else one for one in containers
        )
        if found != self._containers:
            self._containers = found
        return self._containers

    def document(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        newer, older = self._newer, self._older
        steps = [*(older.steps if older is not None else ()), *newer.steps]
        state = older.state if older is not None else newer.state
        return {
            "schema": SCHEMA,
            "state": encoded(state),
            "steps": [encoded(step) for step in steps],
        }


class Recorder:
    """Steps the machine and keeps what was told; the ends that it judged are kept with each step."""

    def __init__(self, judge: Judge, recording: Recording) -> None:
        self.judge = judge
        self._recording = recording
        self._judged: list[Judged] = []

    def step(self, state: State, stimuli: Sequence[Stimulus], now: float) -> Step:
        """The machine's own."""
        self._judged = []
        return machine.step(state, stimuli, now, self._heard)

    def _heard(self, pool: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        outcome = self.judge(pool, end, signs)
        self._judged.append((pool, end, signs, outcome))
        return outcome

    def keep(self, stimuli: Sequence[Stimulus], now: float, step: Step, *, recorded: bool) -> State:
        """Keep what it was told; the state to go on with."""
        after = step.state if recorded else step.unrecorded
        record = StepRecord(now, tuple(stimuli), tuple(self._judged), step.facts, recorded)
        self._recording.add(record, after)
        return after


@dataclass(frozen=True, slots=True)
class Difference:
    """A step of a replay that recorded something else."""

    number: int
    was: tuple[Fact, ...]
    replayed: tuple[Fact, ...]


def replayed(document: dict[str, Any], found: Callable[[Difference], None]) -> tuple[int, int]:
    """Step through a recording again; how many steps and facts there were. ``found`` hears of differences."""
    state: State = decoded(document["state"])
    facts = 0
    for number, entry in enumerate(document["steps"]):
        record: StepRecord = decoded(entry)
        answers = {(pool, end, signs): outcome for pool, end, signs, outcome in record.judged}
        step = machine.step(state, record.stimuli, record.now, _from(answers))
        if step.facts != record.facts:
            found(Difference(number, record.facts, step.facts))
        facts += len(step.facts)
        state = step.state if record.recorded else step.unrecorded
    return len(document["steps"]), facts


def _counts(stimulus: Stimulus) -> int:
    rows = len(stimulus.containers) if isinstance(stimulus, EngineSeen) else 0
    return 1 + rows // ROWS


def _from(answers: dict[tuple[PoolName, End, tuple[str, ...]], Outcome]) -> Judge:
    def judge(pool: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        return answers[pool, end, signs]

    return judge
