"""What a roster says of an agent, beside what the agent itself has told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.memory import Agent, Doom, Memory
from mayfly.core.model import (
    ContainerId,
    DoomReason,
    Generation,
    Phase,
    PoolName,
    Roster,
    RosterEntry,
    SlotName,
    Witness,
    World,
)
from mayfly.core.rosters import (
    BUSY_WITHOUT_JOB,
    GONE,
    OTHERS,
    bounded,
    busy_without_job,
    job_taken_back,
)
from mayfly.providers.azure import lines as azure_lines
from mayfly.providers.gitea import lines as gitea_lines
from mayfly.providers.github import lines as github_lines
from mayfly.providers.gitlab import lines as gitlab_lines
from tests.service_agent import service_agent

T = 1_800_000_000.0
POOL = PoolName("gh")
AGENT = service_agent(
    POOL,
    born=T - 100,
    container=ContainerId("c"),
    committed=T - 50,
    opened=T - 40,
    registration="7",
    registered="box-gh-0",
    confirmed=Phase.BUSY,
    confirmed_at=T,
)
BUSY = RosterEntry("7", "box-gh-0", online=True, busy=True, slot=SlotName("gh-0"))
LISTENS = "2026-11-22 01:00:00Z: Listening for Jobs"
BEGINS = "2026-11-22 01:00:05Z: Running job: test"


def doubted(
    agent: Agent = AGENT,
    entry: RosterEntry | None = BUSY,
    signs: tuple[str, ...] = (LISTENS,),
    after: float = BUSY_WITHOUT_JOB + 1,
    **world: object,
) -> dict[Generation, float]:
    entries = (entry,) if entry is not None else ()
    shown: dict[str, object] = {
        "rosters": {POOL: Roster(entries, T)},
        "witnesses": {agent.generation: Witness(opened=T - 40, signs=signs)},
        **world,
    }
    memory = Memory({agent.generation: agent})
    return busy_without_job(
        memory,
        World({}, **shown),  # type: ignore[arg-type]
        T + after,
        lambda _, end, lines: github_lines.judge(end, lines),
    )


def test_an_agent_listed_as_busy_for_minutes_that_told_of_no_job_is_doubted() -> None:
    assert doubted() == {AGENT.generation: T}


@pytest.mark.parametrize(
    ("why", "found"),
    [
        ("not for minutes yet", lambda: doubted(after=BUSY_WITHOUT_JOB - 1)),
        ("it has told of a job", lambda: doubted(signs=(LISTENS, BEGINS))),
        ("not listed as busy any more", lambda: doubted(entry=replace(BUSY, busy=False))),
        ("not listed", lambda: doubted(entry=None)),
        ("no list", lambda: doubted(rosters={POOL: None})),
        ("no witness", lambda: doubted(witnesses={})),
        ("its witness cannot be read", lambda: doubted(unreadable=frozenset({AGENT.generation}))),
        ("it waits for a job", lambda: doubted(replace(AGENT, confirmed=Phase.IDLE))),
        ("its job is the queue's", lambda: doubted(replace(AGENT, embedded=True))),
        ("it is over", lambda: doubted(replace(AGENT, exited=T + 1))),
        ("a person ends it", lambda: doubted(replace(AGENT, doom=Doom(DoomReason.FORCED, T)))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_other_is(why: str, found: object) -> None:
    assert callable(found)
    assert found() == {}, why


@pytest.mark.parametrize(
    ("judge", "line"),
    [
        (github_lines.judge, BEGINS),
        (azure_lines.judge, "2026-11-22 01:00:05Z: Running job: Job"),
        (gitlab_lines.judge, "job=7 reason= exit= msg=Checking for jobs... received"),
        (
            gitea_lines.judge,
            'time="2026-11-22T01:00:00Z" level=info msg="task 41 repo is lab/train https://github.com x"',
        ),
    ],
    ids=["github", "azure", "gitlab", "gitea"],
)
def test_every_service_that_lists_busy_agents_can_be_asked_so(judge: object, line: str) -> None:
    assert callable(judge)
    memory = Memory({AGENT.generation: AGENT})

    def asked(*signs: str) -> dict[Generation, float]:
        world = World(
            {},
            rosters={POOL: Roster((BUSY,), T)},
            witnesses={AGENT.generation: Witness(opened=T, signs=signs)},
        )
        return busy_without_job(memory, world, T + 1000, lambda _, end, lines: judge(end, lines))

    assert asked() == {AGENT.generation: T}
    assert asked(line) == {}


def gone(
    agent: Agent = AGENT,
    *entries: RosterEntry,
    after: float = GONE,
    missing: bool = True,
    roster: bool = True,
) -> bool:
    since = {agent.generation: T} if missing else {}
    listed = Roster(entries, T + after) if roster else None
    return job_taken_back(agent, World({}, rosters={POOL: listed}, absent=since))


def test_a_job_is_taken_back_when_its_entry_has_been_gone_from_rosters_for_a_while() -> None:
    assert gone()


@pytest.mark.parametrize(
    ("why", "found"),
    [
        ("gone since a moment", lambda: gone(after=GONE - 1)),
        ("its entry is there, offline", lambda: gone(AGENT, replace(BUSY, online=False))),
        ("nobody is missed", lambda: gone(missing=False)),
        ("its service does not say", lambda: gone(roster=False)),
        ("it waits for a job", lambda: gone(replace(AGENT, confirmed=Phase.IDLE))),
        ("its registration is not known yet", lambda: gone(replace(AGENT, registration=None))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_other_job_is(why: str, found: object) -> None:
    assert callable(found)
    assert not found(), why


def test_a_roster_without_end_shows_each_agent_of_ours_and_a_bounded_number_of_others() -> None:
    others = [RosterEntry(f"x{n}", f"other-{n}", online=True, busy=False) for n in range(10_000)]
    unknown = replace(AGENT, generation=Generation("g2"), registration=None, registered=None)
    early = RosterEntry("9", "?", online=True, busy=False, generation=unknown.generation)
    memory = Memory({one.generation: one for one in (AGENT, unknown)})
    found = bounded(memory, POOL, Roster((*others, BUSY, early), T)).entries
    assert found[-2:] == (BUSY, early)
    assert found[:-2] == tuple(others[:OTHERS])
    few = Roster((*others[:9], BUSY), T)
    assert bounded(memory, POOL, few) is few
