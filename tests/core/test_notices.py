"""What people elsewhere are told: two messages an episode, to whom it may concern."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.model import Condition, PoolName, Severity
from mayfly.core.notice_targets import MailTarget, Target
from mayfly.core.notices import (
    SETTLED,
    STANDS,
    TITLE_MOST,
    Episodes,
    Kind,
    Notice,
    message,
    template_fault,
    wanted,
)

HELD = Condition("slot.held", Severity.ERROR, "slot a-0 is held", "mayfly retry a-0", PoolName("a"))
LOW = Condition("disk.low", Severity.WARNING, "/ has 1 GiB left", "df -h /")
EVERYBODY = Target("all", webhook="http://x", jobs="all")


Look = tuple[float, tuple[Condition, ...]]  # when, and what stands then


def told(*looks: Look) -> list[tuple[Kind, str, float]]:
    """What is told over looks at these times."""
    episodes, found = Episodes(), []
    for now, conditions in looks:
        episodes, notices = episodes.step(conditions, "box", now)
        found += [(one.kind, one.code, one.seconds) for one in notices]
    return found


def test_an_episode_is_told_when_it_stands_and_when_it_is_over_and_in_between_nothing() -> None:
    looks: list[Look] = [(float(second), (HELD,)) for second in range(0, 600, 10)]
    looks += [(float(second), ()) for second in range(600, 1200, 10)]
    assert told(*looks) == [(Kind.BEGAN, "slot.held", STANDS), (Kind.ENDED, "slot.held", 600.0)]


def test_what_was_there_for_a_moment_is_nobodys_business() -> None:
    assert told((0.0, (LOW,)), (STANDS - 1, ()), (STANDS + SETTLED + 1, ())) == []


def test_what_comes_and_goes_is_one_episode() -> None:
    looks = [(float(second), (HELD,) if second % 200 < 100 else ()) for second in range(0, 3000, 5)]
    assert told(*looks) == [(Kind.BEGAN, "slot.held", STANDS)]


def test_a_clock_that_is_set_back_ends_and_begins_nothing() -> None:
    assert told((1e6, (HELD,)), (1e6 + STANDS, (HELD,)), (10.0, ()), (11.0, (HELD,))) == [
        (Kind.BEGAN, "slot.held", STANDS)
    ]


@given(
    st.lists(
        st.tuples(st.floats(0.1, 400), st.sets(st.sampled_from([HELD, LOW]))),
        min_size=1,
        max_size=60,
    )
)
def test_no_condition_is_told_twice_in_an_episode(
    looks: list[tuple[float, set[Condition]]],
) -> None:
    """Of each code the messages are began, ended, began, …, and what is due is said by ``due``."""
    episodes, now, last = Episodes(), 0.0, dict[str, Kind]()
    for pause, conditions in looks:
        now += pause
        episodes, notices = episodes.step(conditions, "box", now)
        for one in notices:
            assert one.kind is not last.get(one.code, Kind.ENDED), looks
            last[one.code] = one.kind
        due = episodes.due(now)
        unsettled = [one for one in episodes.open.values() if not one.told or one.gone is not None]
        assert (due is None) is not bool(unsettled)
    for code, kind in last.items():
        open_now = any(key[0] == code and one.told for key, one in episodes.open.items())
        assert (kind is Kind.BEGAN) is open_now


def job(user: str = "anna", state: str = "failed", pool: str = "a") -> Notice:
    return Notice(Kind.JOB, 0.0, "box", job="j1", user=user, state=state, pool=pool)


OWNERS = Target("owners", mail=MailTarget("m:25", "m@x", ("{user}@x",)), jobs="all")


@pytest.mark.parametrize(
    ("target", "notice", "is_told"),
    [
        (EVERYBODY, job(state="succeeded"), True),
        (Target("x", webhook="http://x"), job(), False),
        (Target("x", webhook="http://x", jobs="failed"), job(), True),
        (Target("x", webhook="http://x", jobs="failed"), job(state="lost"), True),
        (Target("x", webhook="http://x", jobs="failed"), job(state="succeeded"), False),
        (Target("x", webhook="http://x", jobs="all", users=("berta",)), job(), False),
        (Target("x", webhook="http://x", jobs="all", pools=("b",)), job(), False),
        (OWNERS, job(), True),
        (OWNERS, job(user=""), False),
        (OWNERS, job(user="a@evil.example, b"), False),
        (OWNERS, job(user="-a"), False),
    ],
)
def test_a_jobs_end_is_told_to_whom_it_concerns(
    target: Target, notice: Notice, is_told: bool
) -> None:
    assert wanted(target, notice) is is_told


def test_conditions_are_told_by_their_severity_and_pool_and_never_to_owners_alone() -> None:
    _, (held,) = Episodes().step([HELD], "box", 0.0)[0].step([HELD], "box", STANDS)
    _, (low,) = Episodes().step([LOW], "box", 0.0)[0].step([LOW], "box", STANDS)
    errors = Target("x", webhook="http://x", conditions="error")
    assert (wanted(errors, held), wanted(errors, low)) == (True, False)
    assert wanted(EVERYBODY, low)
    of_pool = Target("x", webhook="http://x", pools=("a",))
    assert (wanted(of_pool, held), wanted(of_pool, low)) == (True, False)
    assert not wanted(OWNERS, held)
    assert not wanted(Target("x", webhook="http://x", conditions="none"), held)


def test_what_a_job_can_write_is_put_in_once_on_one_line_and_within_bounds() -> None:
    evil = "{fix}\r\nBcc: all@x\x1b[2J" + "a" * 10_000
    target = Target("x", webhook="http://x", title="{name} ended", text="{text}")
    made = message(target, Notice(Kind.JOB, 0.0, "box", name=evil, text=evil, fix="secret"))
    assert "secret" not in made.title + made.text
    assert len(made.title) == TITLE_MOST
    assert made.title.startswith("{fix}  Bcc: all@x [2J")
    assert not [char for char in made.title if not char.isprintable()]
    assert not [char for char in made.text if not char.isprintable() and char != "\n"]


@pytest.mark.parametrize(
    ("template", "says"),
    [("{text}", ""), ("{{x}}", ""), ("{nix}", "names {nix}"), ("{", "is no template"),
     ("{text!r}", "names {text}"), ("{text.__class__}", "names {text.__class__}"), ("{0}", "names {0}")],
)  # fmt: skip
def test_a_template_names_what_there_is(template: str, says: str) -> None:
    assert template_fault(template).startswith(says)
    assert bool(template_fault(template)) is bool(says)
