"""A host is paused once nothing is to do, nobody wants it and all gates are closed; a failure opens them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from mayfly.core.idle_episodes import (
    AGAIN,
    ASKED_AGAIN,
    CLOSING_MOST,
    TOLD_AFTER,
    Asked,
    Ran,
    Seen,
    Stage,
    Want,
    Watch,
    conditions,
    resumed,
)
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.idleness import Kind, Reason

AFTER = 600.0
SETTINGS = IdleSettings(after=AFTER, command=("/bin/pause",), gone_within=300.0)
JOB = Reason(Kind.WORK, "slot a-0 runs job j1")
LOGIN = Reason(Kind.KEPT, "ann is logged in")
SILENT = Reason(Kind.UNKNOWN, "the service does not say")
ON_ITS_WAY = Reason(Kind.UNSETTLED, "slot a-0 is not idle at its service yet")
OPEN = "slot a-0: its agent has not ended yet"


class Host:
    """Looks once a second at what a test says, and does what is wanted; ``did`` has all of it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.watch = Watch(entered=self.now)
        self.seen = Seen()
        self.vetoes: tuple[Reason, ...] = ()
        self.ran = Ran()
        self.closes = True  # the gates, as soon as they are told to
        self.did: list[tuple[float, Want]] = []

    def looks(self, seconds: float = 1.0, **seen: object) -> list[Want]:
        """What it did meanwhile, looks for vetoes left out."""
        self.seen = replace(self.seen, **seen)  # type: ignore[arg-type]
        before = len(self.did)
        until = self.now + seconds
        while self.now < until:
            self.now += 1.0
            self._look()
        return [want for _, want in self.did[before:] if want is not Want.ASK]

    def _look(self) -> None:
        self.watch, want = self.watch.step(self.seen, SETTINGS, self.now)
        self.seen = replace(self.seen, away=False)
        while want is not None:
            self.did.append((self.now, want))
            match want:
                case Want.ASK:
                    self.seen = replace(self.seen, asked=Asked(self.now, self.vetoes))
                    return
                case Want.CLOSE:
                    self.seen = replace(self.seen, still_open="" if self.closes else OPEN)
                    return
                case Want.OPEN:
                    self.seen = replace(self.seen, still_open="")
                    return
                case Want.RUN:
                    ran = replace(self.seen, ran=self.ran)
                    self.watch, want = self.watch.step(ran, SETTINGS, self.now)

    def times(self, what: Want) -> list[float]:
        return [at for at, want in self.did if want is what]


def test_a_host_without_work_is_paused_after_its_time_and_once() -> None:
    host = Host()
    assert host.looks(AFTER - 1) == []
    assert host.looks(5) == [Want.CLOSE, Want.RUN]
    assert host.watch.stage is Stage.AWAITED
    assert host.looks(SETTINGS.gone_within) == [Want.OPEN], "it went nowhere"
    assert host.looks(20 * AFTER) == [], "it has succeeded, and is not run again"
    (told,) = conditions(host.watch, host.seen, host.now)
    assert told.code == "idle.stayed"
    assert "this host still runs after 5m" in told.text
    host.looks(reasons=(JOB,))
    assert conditions(host.watch, host.seen, host.now) == []
    assert host.looks(AFTER + 5, reasons=()) == [Want.CLOSE, Want.RUN], "a new episode"


def test_work_begins_idleness_anew_also_what_nobody_saw_running() -> None:
    host = Host()
    host.looks(AFTER - 10)
    host.looks(reasons=(JOB,))
    assert host.watch.since is None
    assert host.looks(AFTER - 10, reasons=()) == []
    host.looks(active=host.now)
    assert host.looks(AFTER - 5) == [], "a job ran between two looks"
    assert host.looks(10) == [Want.CLOSE, Want.RUN]


@pytest.mark.parametrize("reason", [LOGIN, SILENT, ON_ITS_WAY])
def test_whoever_wants_it_or_does_not_answer_keeps_it_up_and_it_goes_as_soon_as_that_is_over(
    reason: Reason,
) -> None:
    host = Host()
    assert host.looks(3 * AFTER, reasons=(reason,)) == []
    assert host.looks(5, reasons=()) == [Want.CLOSE, Want.RUN]


@pytest.mark.parametrize("reason", [LOGIN, SILENT])
def test_a_veto_is_asked_for_only_when_it_is_time_and_again_while_it_stands(reason: Reason) -> None:
    host = Host()
    host.vetoes = (reason,)
    host.looks(AFTER - 1)
    assert host.times(Want.ASK) == []
    assert host.looks(10 * ASKED_AGAIN) == []
    assert 9 <= len(host.times(Want.ASK)) <= 11
    host.vetoes = ()
    assert host.looks(ASKED_AGAIN + 5) == [Want.CLOSE, Want.RUN]


def test_an_answer_that_cannot_be_had_is_told() -> None:
    host = Host()
    host.looks(AFTER + TOLD_AFTER - 10, reasons=(SILENT,))
    assert conditions(host.watch, host.seen, host.now) == []
    host.looks(20)
    (told,) = conditions(host.watch, host.seen, host.now)
    assert told.code == "idle.unknown"
    assert "nothing to do for 15m and is not paused: the service does not say" in told.text
    host.looks(reasons=(SILENT, LOGIN))
    assert conditions(host.watch, host.seen, host.now) == [], "somebody wants it anyway"


@pytest.mark.parametrize("reason", [JOB, LOGIN])
def test_work_or_a_person_while_gates_are_closed_opens_them_and_nothing_is_run(
    reason: Reason,
) -> None:
    host = Host()
    host.closes = False
    assert host.looks(AFTER + 5) == [Want.CLOSE]
    assert conditions(host.watch, host.seen, host.now)[0].code == "idle.closed"
    assert host.looks(reasons=(reason,)) == [Want.OPEN]
    assert host.watch.why == reason.text
    assert (host.watch.since is None) is (reason is JOB)
    assert host.times(Want.RUN) == []


def test_who_logs_in_while_gates_are_closed_is_heeded() -> None:
    host = Host()
    host.closes = False
    host.looks(AFTER + 5)
    host.vetoes = (LOGIN,)
    assert host.looks(5, still_open="") == [Want.OPEN]
    assert host.times(Want.RUN) == []


def test_gates_that_do_not_close_are_opened_told_and_tried_again_with_more_and_more_patience() -> (
    None
):
    host = Host()
    host.closes = False
    assert host.looks(AFTER + CLOSING_MOST + 5) == [Want.CLOSE, Want.OPEN]
    (told,) = conditions(host.watch, host.seen, host.now)
    assert told.code == "idle.failing"
    assert f"could not be closed in 5m: {OPEN}" in told.text
    host.looks(20 * (CLOSING_MOST + AGAIN))
    closed, opened = host.times(Want.CLOSE), host.times(Want.OPEN)
    pauses = [close - open_ for open_, close in zip(opened, closed[1:], strict=False)]
    assert pauses[:4] == sorted(pauses[:4])
    assert [round(pause / AGAIN) for pause in pauses[:4]] == [1, 2, 4, 8]
    assert host.times(Want.RUN) == []


def test_a_command_that_fails_is_told_in_its_words_and_tried_again_with_gates_open_meanwhile() -> (
    None
):
    host = Host()
    host.ran = Ran("the command /bin/pause ended with 3: no quota")
    assert host.looks(AFTER + 5) == [Want.CLOSE, Want.RUN, Want.OPEN]
    (told,) = conditions(host.watch, host.seen, host.now)
    assert (told.code, "no quota; again in" in told.text) == ("idle.failing", True)
    host.looks(10 * 3600)
    runs = host.times(Want.RUN)
    pauses = [round((late - soon) / AGAIN) for soon, late in pairwise(runs)]
    assert pauses[:5] == [1, 2, 4, 8, 16]
    assert max(pauses) == 60, "an hour at most"
    host.ran = Ran()
    host.looks(2 * 3600)
    assert len(host.times(Want.RUN)) == len(runs) + 1
    assert host.watch.spent


def test_a_command_of_which_nobody_knows_whether_it_was_done_keeps_gates_closed_for_a_while() -> (
    None
):
    host = Host()
    host.ran = Ran("the command /bin/pause did not end within 120 s", doubtful=True)
    assert host.looks(AFTER + 5) == [Want.CLOSE, Want.RUN]
    assert host.looks(SETTINGS.gone_within - 10) == []
    assert host.looks(20) == [Want.OPEN]
    assert host.watch.failure == host.ran.failure
    assert not host.watch.spent
    assert host.looks(2 * AGAIN) == [Want.CLOSE, Want.RUN], (
        "it has not succeeded as far as is known"
    )


@pytest.mark.parametrize("stage", list(Stage))
def test_a_host_that_was_away_opens_its_gates_and_is_idle_from_its_return_on(stage: Stage) -> None:
    host = Host()
    host.looks(AFTER - 5)
    host.watch = replace(host.watch, stage=stage, entered=host.now, spent=True, failure="x")
    assert host.looks(away=True) == [Want.OPEN]
    assert host.watch == Watch(since=host.now, entered=host.now, why="the host is back")
    assert host.looks(AFTER - 5) == []
    assert host.looks(10) == [Want.CLOSE, Want.RUN]


@pytest.mark.parametrize("stage", [Stage.CLOSING, Stage.PAUSING, Stage.AWAITED])
def test_whoever_lets_a_slot_take_jobs_meanwhile_is_obeyed(stage: Stage) -> None:
    host = Host()
    host.looks(AFTER - 5)
    host.watch = replace(host.watch, stage=stage, entered=host.now)
    assert host.looks(refused="somebody has let slot a-0 take jobs") == [Want.OPEN]
    assert host.watch.stage is Stage.WATCHING
    assert host.watch.why == "somebody has let slot a-0 take jobs"


@pytest.mark.parametrize("stage", list(Stage))
def test_a_manager_that_starts_again_awaits_what_may_still_go_for_the_rest_of_its_time(
    stage: Stage,
) -> None:
    host = Host()
    host.watch = resumed(stage, 100.0, SETTINGS, host.now)
    if stage not in (Stage.PAUSING, Stage.AWAITED):
        assert host.watch == Watch(entered=host.now)
        return
    assert host.watch.stage is Stage.AWAITED
    assert host.looks(SETTINGS.gone_within - 101) == []
    assert host.looks(2) == [Want.OPEN]
    assert host.watch.spent is (stage is Stage.AWAITED), "a command nobody saw the end of is tried"
    late = resumed(stage, SETTINGS.gone_within, SETTINGS, host.now)
    assert late == Watch(entered=host.now)
    set_back = resumed(stage, -7200.0, SETTINGS, host.now)
    assert set_back.entered == host.now, "a clock that was set back costs one more time at most"
