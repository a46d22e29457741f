"""The laws notice it when they are broken: each rule here is put out of force, and the days must find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mayfly.core import belongings, decide, keeping, machine, notice, opening, sandbox
from mayfly.core.model import DoomReason
from mayfly.core.plan import Doom, Verdict
from tests.core.test_laws import DAY, Chaos

DAYS = settings(
    max_examples=60,
    stateful_step_count=DAY,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def broken(home: ModuleType, name: str, rule: Callable[..., Any]) -> Iterator[None]:
    """Our own rule, replaced."""
    before = getattr(home, name)
    setattr(home, name, rule)
    try:
        yield
    finally:
        setattr(home, name, before)


def opens_again(
    view: Any, leased: Any, waiting: Any, spec: Any, agent: Any, tenancy: Any, gates: Any
) -> Verdict:
    """Law 2 (docs/architecture.md): whose gate was being opened is taken for one that waits at it."""
    return opening.use(view, leased, waiting, spec, replace(agent, committed=None), tenancy, gates)


def dooms_the_busy(
    view: Any, rolling: Any, spec: Any, agent: Any, due: float | None, *, own: bool
) -> Verdict:
    """Law 3 (docs/architecture.md): whoever is in the way is ended, whether it works or not."""
    if not agent.busy:
        return keeping.keep(view, rolling, spec, agent, due, own=own)
    return Doom(DoomReason.FORCED)


def is_gone_when_unseen(agent: Any, world: Any) -> bool:
    """Law 1 (docs/architecture.md): an Engine that is not known has no containers."""
    return agent.generation not in (world.containers or {})


def forgets_its_flight(*arguments: Any, **more: Any) -> Any:
    """One action a subject: those under way are forgotten."""
    return decide.decide(*arguments, **{**more, "in_flight": frozenset()})


def sees_nothing_in_the_way(_view: Any, _spec: Any, _tenancy: Any) -> bool:
    """Law 6 (docs/architecture.md): what an ended agent made is nobody's."""
    return False


def takes_networks_away(view: Any, found: Any, tended: Callable[..., Any] = sandbox.tended) -> Any:
    """Law 3 (docs/architecture.md): a sandbox that its slot does not want goes, whoever is in it."""
    return tended(view, replace(found, inside=frozenset()))


def days(*kinds: str) -> type[Chaos]:
    """Those on which things of no other kind happen; none named: all days."""
    known = {rule.function.__name__ for rule in Chaos.setup_state().rules}
    assert known >= set(kinds)
    return type("Days", (Chaos,), dict.fromkeys(known - set(kinds))) if kinds else Chaos


WORK = ("turns", "all_actions_end", "a_good_while", "launchers_go_on", "a_gate_is_opened")
LEFT = ("a_gate_is_opened", "a_job_leaves_a_container_and_the_next_one_waits")
RULES: dict[str, tuple[ModuleType, str, Callable[..., Any], str]] = {
    "opens again": (decide, "use", opens_again, "a gate was to be opened twice"),
    "ends the busy": (decide, "keep", dooms_the_busy, "only a person forces"),
    "gone when unseen": (notice, "_gone", is_gone_when_unseen, "unknown"),
    "two at once": (machine, "decide", forgets_its_flight, "for one subject"),
    "nothing in the way": (
        belongings,
        "in_the_way",
        sees_nothing_in_the_way,
        "what an ended agent made",
    ),
    "a sandbox": (sandbox, "tended", takes_networks_away, "its network was taken"),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("of", "kinds"),
    [
        ("opens again", (*WORK, "the_manager_dies")),
        ("ends the busy", WORK),
        ("gone when unseen", ()),
        ("two at once", WORK),
        ("nothing in the way", LEFT),
        # Days of all kinds take up to a minute to find it.
        *(pytest.param(of, (), marks=pytest.mark.soak) for of in RULES if of != "gone when unseen"),
    ],
)
def test_a_broken_law_is_found(of: str, kinds: tuple[str, ...]) -> None:
    home, name, rule, says = RULES[of]
    with broken(home, name, rule), pytest.raises(AssertionError) as found:
        run_state_machine_as_test(days(*kinds), settings=DAYS)
    told: list[str] = []
    error: BaseException | None = found.value
    while error is not None:  # what a day ends with hides what went wrong first
        told.append(str(error))
        error = error.__context__
    assert any(says in text for text in told), told
