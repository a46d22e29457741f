"""What ended agents leave and nobody can remove: tried ever more seldom, told once, a condition."""

from __future__ import annotations

from dataclasses import replace

from mayfly.core.actions import Forget
from mayfly.core.codec import decoded, encoded
from mayfly.core.gpus import Gpus
from mayfly.core.left_behind import SPELT_OUT, LeftBehind
from mayfly.core.memory import Memory
from mayfly.core.model import Config, Generation, HostId, HostSpec, SlotName
from mayfly.core.requests import Note
from mayfly.core.state import State, begin
from mayfly.core.stimuli import ActionDone, ActionFailed, Failure, Family, Stimulus
from mayfly.core.taking_in import Draft

T = 1_800_000_000.0
G = Generation("g000000000001")
FORGET = Forget(G, SlotName("p-0"), "its container is gone")
STUCK = Failure(Family.REFUSED, f"cannot remove what is in /state/agents/{G}: Permission denied")
MORE = Failure(Family.PASSING, f"/state/agents/{G} holds more than is removed at once", 1.0)


def started() -> State:
    config = Config(HostSpec("box", state_dir="/state"), ())
    return begin(HostId("ours00000000"), "run1", config, Memory(), Gpus(), 0)


def told(state: State, stimulus: Stimulus) -> tuple[State, list[Note], float]:
    """What is made of it, what the log says, and for how long the agent rests."""
    draft = Draft(state, T)
    draft.take(stimulus)
    notes = [one for one in draft.requests if isinstance(one, Note)]
    return draft.state, notes, draft.state.resting.get(G, T) - T


def test_what_cannot_be_removed_is_told_once_and_tried_ever_more_seldom() -> None:
    state = started()
    rests: list[float] = []
    notes: list[Note] = []
    for _ in range(2_000):
        state, new, rest = told(state, ActionFailed(FORGET, STUCK))
        rests.append(rest)
        notes += new
    assert rests[:7] == [1, 2, 4, 8, 16, 32, LeftBehind.SELDOM]
    assert set(rests[7:]) == {LeftBehind.SELDOM}
    assert [one.event for one in notes] == ["action.failed"]
    assert decoded(encoded(state.left_behind)) == state.left_behind
    (condition,) = state.left_behind.conditions("/state")
    assert condition.code == "state.left_behind"
    assert STUCK.text in condition.text
    assert condition.fix == f"sudo chattr -R -ia /state/agents/{G}; sudo rm -rf /state/agents/{G}"
    (odd,) = state.left_behind.conditions("/a b;reboot")
    assert odd.fix.count(f"'/a b;reboot/agents/{G}'") == 2
    state, _, _ = told(state, ActionDone(FORGET))
    assert state.left_behind == LeftBehind()


def test_another_reason_is_told() -> None:
    state, _, _ = told(started(), ActionFailed(FORGET, STUCK))
    _, notes, _ = told(state, ActionFailed(FORGET, Failure(Family.REFUSED, "a disk that is sick")))
    assert [one.fields["reason"] for one in notes] == ["a disk that is sick"]


def test_a_removal_that_goes_on_needs_nobody() -> None:
    state = started()
    for _ in range(20):
        state, _, rest = told(state, ActionFailed(FORGET, MORE))
        assert rest == 1.0
    assert state.left_behind.conditions("/state") == []


def test_many_are_one_condition_whose_line_can_be_typed() -> None:
    left = LeftBehind()
    for number in range(50):
        left, _ = left.failed(replace(FORGET, generation=Generation(f"g{number:012}")), STUCK)
    (condition,) = left.conditions("/state")
    assert condition.text.endswith("; so it is with 49 more")
    assert condition.fix.count("/state/agents/") == 2 * SPELT_OUT
