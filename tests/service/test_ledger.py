"""The way to disk: what is old is forgotten beside the passes, never all of it in one."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

from mayfly.core.facts import SlotRecovered
from mayfly.core.gpu_health import Quiet, Reading, Vitals
from mayfly.core.gpu_metering import Meter, Metered, Throttle
from mayfly.core.gpu_use import DeviceSum, Tally
from mayfly.core.gpus import Gpus
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Generation, HostSpec, PoolName, SlotName
from mayfly.edge.history import PIECE, History
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.log import Log
from mayfly.service.ledger import GPU_QUIET, GPU_USE, NOTE_EVERY, PRUNE_EVERY, Ledger

if TYPE_CHECKING:
    from pathlib import Path

T = 1_800_000_000.0
HOST = HostSpec("h", history_events=10)


def test_what_one_pass_does_not_forget_the_next_ones_do(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    ledger = Ledger(history, Log(io.StringIO()))

    def passes(number: int, at: float) -> int:
        """How many events there are after so many."""
        for _ in range(number):
            ledger.upkeep(at, HOST)
        return len(reader.events(limit=100_000))

    def happens(number: int) -> None:
        history.commit([SlotRecovered(T, SlotName("a-0"))] * number, Memory())

    happens(3 * PIECE)
    assert passes(1, T) == 2 * PIECE
    assert passes(1, T) == PIECE
    assert passes(1, T) == 10
    happens(PIECE)
    assert passes(5, T + 1) == 10 + PIECE, "not looked at before its time"
    assert passes(1, T + PRUNE_EVERY) == 10
    history.close()


def test_what_jobs_did_with_their_gpus_is_there_for_the_next_manager_and_once(
    tmp_path: Path,
) -> None:
    history = History(tmp_path)
    ledger = Ledger(history, Log(io.StringIO()))
    assert ledger.take_gpu_use() == Tally()
    throttled = {Throttle.THERMAL: 2.0}
    sums = {Generation("g1"): {"GPU-1": DeviceSum(9, metered=Metered(5.0, 2.0, throttled, 2.0))}}
    tally = Tally(sums=sums, meters={"GPU-1": Meter(T, 7, (Throttle.THERMAL,))})
    ledger.keep_gpu_use(tally)
    assert Ledger(history, Log(io.StringIO())).take_gpu_use() == tally
    assert ledger.take_gpu_use() == Tally(), "once"
    history.set_meta(GPU_USE, '{"is": "TallyOfAnotherVersion"}')
    assert ledger.take_gpu_use() == Tally()
    history.close()


def test_what_is_quiet_on_gpus_is_there_for_the_next_manager_also_for_one_that_was_killed(
    tmp_path: Path,
) -> None:
    history = History(tmp_path)
    ledger = Ledger(history, Log(io.StringIO()))
    assert ledger.gpu_quiet() == Quiet()
    seen = Reading(T, T, loading="boot", gpus=(), vitals={"GPU-1": Vitals(7)})
    gpus = replace(Gpus(watching=True).read(seen), rested=frozenset({"GPU-1"}))
    ledger.note_gpu_quiet(gpus, T)
    assert Ledger(history, Log(io.StringIO())).gpu_quiet() == Quiet("boot", {"GPU-1": 7})
    less = gpus.read(replace(seen, vitals={"GPU-1": Vitals(5)}))
    ledger.note_gpu_quiet(less, T + NOTE_EVERY - 1)
    assert ledger.gpu_quiet().used == {"GPU-1": 7}, "once a minute"
    ledger.note_gpu_quiet(less, T + NOTE_EVERY)
    assert ledger.gpu_quiet().used == {"GPU-1": 5}
    ledger.keep_gpu_quiet(Quiet())
    assert ledger.gpu_quiet().used == {"GPU-1": 5}, "nothing is known of the driver"
    history.set_meta(GPU_QUIET, '{"is": "QuietOfAnotherVersion"}')
    assert ledger.gpu_quiet() == Quiet()
    history.close()


def test_what_jobs_did_with_their_gpus_is_noted_once_a_minute_while_any_works(
    tmp_path: Path,
) -> None:
    history = History(tmp_path)
    ledger = Ledger(history, Log(io.StringIO()))
    agent = Agent(
        *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f", "i", ("GPU-1",), T), opened=T
    )
    at_work = Tally().assigned((), Memory(agents={agent.generation: agent}))

    def noted(tally: Tally, now: float) -> bool:
        history.set_meta(GPU_USE, "")
        ledger.note_gpu_use(tally, now)
        return bool(history.meta(GPU_USE))

    assert [noted(at_work, T + second) for second in (0, NOTE_EVERY - 1, NOTE_EVERY)] == [
        *(True, False, True)
    ]
    assert not noted(Tally(), T + 10 * NOTE_EVERY), "nobody works: a disk that sleeps may go on"
    ledger.reset_timers()
    assert noted(at_work, T), "the clock was set back"
    history.close()
