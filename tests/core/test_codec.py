"""Values of the core as JSON: they come back as they were, and hold nothing that jobs keep to themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from enum import Enum
from typing import get_args, get_type_hints

import pytest

from mayfly.core.codec import MASKED, _types, decoded, encoded
from mayfly.core.desire import fingerprint
from mayfly.core.facts import Fact, RunSubmitted
from mayfly.core.memory import Job, Memory, Share
from mayfly.core.model import JobId, Phase, PoolName, PoolSpec, Priority, Removal, Witness
from mayfly.core.runs import Origin, Run
from mayfly.core.state import State
from mayfly.core.stimuli import Stimulus
from mayfly.providers.github.settings import GitHubSettings


def test_values_come_back_as_they_were() -> None:
    for value in (
        Memory(),
        Memory(shares={(PoolName("p"), 1001, Priority.LOW): Share(1.5, 2.0, None)}),
        Phase.BUSY,
        Witness(ready=1.0, signs=("a",)),
        {(PoolName("p"), "7"): 1.5},
        frozenset({"a", "b"}),
        (1, None, True, "text"),
    ):
        assert decoded(json.loads(json.dumps(encoded(value)))) == value


def test_what_jobs_see_in_their_environment_is_not_told() -> None:
    spec = PoolSpec(
        PoolName("p"), env={"TOKEN": "hunter2"}, proxy="http://alice:hunter2@proxy:3128"
    )
    assert "hunter2" not in json.dumps(encoded(spec))
    assert encoded(decoded(encoded(spec))) == encoded(spec)


def test_what_differs_within_a_group_of_jobs_is_not_told() -> None:
    job = Job(JobId("g-1"), PoolName("p"), 1, 2.0, group=JobId("g"), variant="TOKEN=hunter2")
    told = json.dumps(encoded(Memory(jobs={job.id: job})))
    assert "hunter2" not in told
    assert "g-1" in told


def test_what_the_commit_of_a_run_says_is_not_told() -> None:
    origin = Origin("/srv/lab.git", "refs/heads/main", "c" * 40, None, "hunter2")
    fact = RunSubmitted(1.0, Run(JobId("r"), origin, 2, 1000, "ann"))
    told = encoded(fact)
    assert "hunter2" not in json.dumps(told)
    masked = replace(fact, run=replace(fact.run, origin=replace(origin, subject=MASKED)))
    assert decoded(told) == masked


def atoms(hint: object) -> Iterator[object]:
    """The types that a hint is made of."""
    yield hint
    for part in get_args(hint):
        yield from atoms(part)


def reached(kind: type, found: set[type]) -> set[type]:
    """All types of the core that a value of that one may have in it."""
    if kind not in found:
        found.add(kind)
        for hint in get_type_hints(kind).values():
            for one in atoms(hint):
                if isinstance(one, type) and one.__module__.startswith("mayfly.core"):
                    reached(one, found)
    return found


def test_whatever_a_step_takes_and_gives_can_be_read_again() -> None:
    every: set[type] = set()
    for kind in (*get_args(Fact), *get_args(Stimulus), State):
        reached(kind, every)
    assert Origin in every
    values = {kind for kind in every if is_dataclass(kind) or issubclass(kind, Enum)}
    assert {kind for kind in values if kind.__name__ not in _types()} == set()


def test_a_short_secret_cannot_be_tried_out_on_what_a_report_says() -> None:
    def told(env: str, key: str) -> tuple[str, str]:
        pool = PoolSpec(PoolName("p"), env={"PIN": env}, installation_key=key)
        text = json.dumps(encoded(pool))
        assert key not in text
        return text, fingerprint(decoded(json.loads(text)), "id", (), Removal.ENGINE)

    told_of_one, mark = told("1234", "this installation's")
    other, other_mark = told("1234", "another one's")
    assert told_of_one != other
    assert mark != other_mark
    assert told("1234", "this installation's") == (told_of_one, mark)


def test_what_is_of_no_known_type_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no 'Nonsense'"):
        decoded({"is": "Nonsense"})


def test_a_pool_of_a_service_comes_back_with_its_fingerprint_and_without_its_references() -> None:
    settings = GitHubSettings(
        url="https://github.com/lab", token={"file": "/etc/token"}, runner_group="gpu"
    )
    pool = PoolSpec(
        PoolName("gh"),
        provider="github",
        embedded=False,
        settings=settings,
        env={"LICENCE": "hunter2"},
    )
    text = json.dumps(encoded(pool))
    assert "/etc/token" not in text
    again = decoded(json.loads(text))
    marks = {fingerprint(one, "id", (), Removal.ENGINE) for one in (pool, again)}
    assert len(marks) == 1
