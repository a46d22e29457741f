"""Documents as text: at 80 columns, piped, with and without colour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.cli import render, render_history
from mayfly.cli.table import table
from mayfly.core.plain_text import Cleaner, clean
from tests.service.standin import job, slot, status

NOW = 1795253400.0  # 2026-11-21T09:30:00Z

POOL = status(
    slot("local-0", phase="busy", job="j-0mcx4k", since="2026-11-21T09:29:56.000Z"),
    slot("local-1", standby={"container": "f" * 12, "phase": "armed", "since": None}),
    slot(
        "azure-0",
        provider="azure",
        phase="held",
        container=None,
        agent=None,
        image="mayfly/azure:cuda12.8",
        gpus=["GPU-8f2c1111-2222-3333"],
        note="GPU-8f2c1111 has a pending row remap: reset the GPU, then mayfly retry azure-0",
    ),
    slot(
        "azure-1",
        provider="azure",
        phase="idle",
        gpus=["GPU-1", "GPU-2"],
        cordoned={
            "since": "2026-11-21T09:00:00.000Z",
            "until": "2026-11-21T11:30:00.000Z",
            "by": "alice",
            "note": "driver update",
        },
    ),
    headline="4 slots: 1 busy, 2 idle, 1 held (1 cordoned)",
    health=[
        {
            "code": "slot.held",
            "severity": "error",
            "text": "slot azure-0 is held: GPU-8f2c1111 has a pending row remap: reset the GPU",
            "fix": "mayfly retry azure-0",
        }
    ],
)

PIPED = """\
lab1: 4 slots: 1 busy, 2 idle, 1 held (1 cordoned)
SLOT     PROVIDER  PHASE  FOR  GPU       IMAGE           JOB       NOTE
local-0  local     busy   4s   -         local:cpu       j-0mcx4k
local-1  local     idle   30m  -         local:cpu       -
azure-0  azure     held   30m  GPU-8f2c  azure:cuda12.8  -         GPU-8f2c1111 has a pending row remap: reset the GPU, then mayfly retry azure-0
azure-1  azure     idle   30m  2 GPUs    local:cpu       -         cordoned by alice, 2h00 left: driver update
health: ERROR slot.held slot azure-0 is held: GPU-8f2c1111 has a pending row remap: reset the GPU
  fix: mayfly retry azure-0
read on: mayfly help slot.held
"""  # noqa: E501  piped, a line is as long as it is

SCREEN = """\
lab1: 4 slots: 1 busy, 2 idle, 1 held (1 cordoned)
SLOT     PROVIDER  PHASE  FOR  GPU       IMAGE           JOB       NOTE
local-0  local     busy   4s   -         local:cpu       j-0mcx4k
local-1  local     idle   30m  -         local:cpu       -
azure-0  azure     held   30m  GPU-8f2c  azure:cuda12.8  -         GPU-8f2c1111…
azure-1  azure     idle   30m  2 GPUs    local:cpu       -         cordoned by …
health: ERROR slot.held slot azure-0 is held: GPU-8f2c1111 has a pending row
  remap: reset the GPU
  fix: mayfly retry azure-0
read on: mayfly help slot.held
"""


def test_piped_nothing_is_cut() -> None:
    assert "\n".join(render.status(POOL, NOW, None, colour=False)) + "\n" == PIPED


def test_at_80_columns_nothing_wraps() -> None:
    lines = render.status(POOL, NOW, 80, colour=False)
    assert "\n".join(lines) + "\n" == SCREEN
    assert max(map(len, lines)) <= 80


MISSING = "mayfly/local:cuda12.8 is missing: build it with mayfly images build 12.8"
MANY = status(
    *(slot(f"vision-h100-cuda128-{n}", pool="vision-h100-cuda128", phase="held", note=MISSING)
      for n in range(56)),
    *(slot(f"cpu-{n}", pool="cpu") for n in range(3)),
    slot("cpu-3", pool="cpu", phase="cooling", note="next try in 8 s: the agent ended at its gate"),
    headline="60 slots: 3 idle, 1 cooling, 56 held",
    health=[
        {
            "code": "slot.held",
            "severity": "error",
            "pool": "vision-h100-cuda128",
            "slots": [f"vision-h100-cuda128-{n}" for n in range(56)],
            "text": "56 slots of pool vision-h100-cuda128 (vision-h100-cuda128-0 to vision-h100-cuda128-55)"
            f" are held: {MISSING}",
            "fix": "mayfly describe vision-h100-cuda128-0",
        }
    ],
)  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, None])
def test_many_slots_with_one_cause_are_one_screen_and_no_name_is_cut(width: int | None) -> None:
    lines = render.status(MANY, NOW, width, False, 24)
    assert len(lines) <= 24
    whole = "\n".join(lines)
    assert whole.count("ERROR slot.held") == 1
    assert "vision-h100-cuda128  56     56 held" in whole
    assert "cpu                  4      3 idle, 1 cooling" in whole
    assert any(line.startswith("cpu-3 ") for line in lines)
    assert not any(line.startswith("cpu-0 ") for line in lines)
    everything = render.status(MANY, NOW, width, False)
    assert sum(line.startswith("vision-h100-cuda128-55 ") for line in everything) == 1


def test_what_has_no_room_is_counted_and_where_it_is_said() -> None:
    odd = [slot(f"s-{n}", pool="s", phase="cooling", note=f"cause {n}") for n in range(40)]
    lines = [{"code": "c", "severity": "error", "text": f"t{n}", "fix": "f"} for n in range(40)]
    shown = render.status(status(*odd, health=lines), NOW, 80, False, 24)
    assert len(shown) <= 24
    assert "mayfly status --all" in "\n".join(shown)


def test_colour_only_repeats_what_the_words_say() -> None:
    plain = render.status(POOL, NOW, 80, colour=False)
    coloured = render.status(POOL, NOW, 80, colour=True)
    assert coloured != plain
    stripped = [
        line.replace("\x1b[0m", "")
        .replace("\x1b[31m", "")
        .replace("\x1b[32m", "")
        .replace("\x1b[36m", "")
        for line in coloured
    ]
    assert stripped == plain


def test_jobs_are_a_row_each() -> None:
    rows = [
        job("j-1", state="failed", exit_code=137, cause="oom", slot="local-0", owner="alice",
            submitted="2026-11-21T09:00:00.000Z", started="2026-11-21T09:00:01.000Z",
            finished="2026-11-21T09:02:05.000Z"),
        job("j-2", state="running", slot="local-1", started="2026-11-21T09:29:00.000Z"),
        job("j-3", state="failed", exit_code=7, cause="exit", slot="local-1"),
        job("j-4", state="cancelled", cause="cancelled"),
        job("j-5"),
    ]  # fmt: skip
    assert render.jobs({"jobs": rows}, NOW, 80, colour=False) == [
        "JOB  OWNER  STATE      EXIT     SLOT     AGE  RAN",
        "j-1  alice  failed     137 oom  local-0  30m  2m",
        "j-2  -      running    -        local-1  30m  1m",
        "j-3  -      failed     7        local-1  30m  -",
        "j-4  -      cancelled  -        -        30m  -",
        "j-5  -      queued     -        -        30m  -",
    ]


def test_what_a_job_runs_gives_way_and_what_one_types_does_not() -> None:
    rows = [
        job("j-1", pool="vision-h100", command="sh -c 'make test'") | {"name": "nightly"},
        job("j-2", pool="cuda", command="pytest -x --durations=20 tests/kernels tests/compiled"),
        job("j-3", pool="cuda"),
    ]
    assert render.jobs({"jobs": rows}, NOW, 80, colour=False) == [
        "JOB  POOL         OWNER  STATE   EXIT  SLOT  AGE  RAN  COMMAND",
        "j-1  vision-h100  -      queued  -     -     30m  -    nightly: sh -c 'make tes…",
        "j-2  cuda         -      queued  -     -     30m  -    pytest -x --durations=20…",
        "j-3  cuda         -      queued  -     -     30m  -    -",
    ]


def test_a_drained_slot_says_so_once() -> None:
    cordon = {"since": None, "until": None, "by": "root", "note": "", "drain": True}
    assert render.note(slot("a-0", cordoned=cordon, note="drained"), NOW) == "drained by root"
    until = "2026-11-21T11:29:59.500Z"
    cordon |= {"until": until, "drain": False}
    assert render.note(slot("a-0", cordoned=cordon), NOW) == "cordoned by root, 2h00 left"
    late = NOW + 7195.0
    assert render.note(slot("a-0", cordoned=cordon), late) == "cordoned by root, 5s left"


def test_an_event_is_one_line_with_its_fields() -> None:
    row = {
        "seq": 7,
        "at": "2026-11-21T09:00:01.000Z",
        "event": "slot.cordoned",
        "slot": "local-0",
        "agent": "g",
        "job": None,
        "cordon": {"since": "2026-11-21T09:00:01.000Z", "by": "alice", "note": "new driver"},
        "gpus": ["a", "b"],
        "seconds": 3.0,
    }
    line = render_history.event(row, None)
    assert line.endswith(
        'local-0     slot.cordoned     by=alice  note="new driver"  gpus=a,b  seconds=3  agent=g'
    )
    assert len(render_history.event(row, 80)) == 80  # among others, in describe
    whole = render_history.whole_event(row, 80).splitlines()
    assert max(map(len, whole)) <= 80
    assert " ".join(" ".join(whole).split()) == " ".join(line.split())


@pytest.mark.parametrize("width", [None, 80, 60])
def test_a_slot_is_described(width: int | None) -> None:
    document = {
        "slot": POOL["slots"][2],
        "health": POOL["health"],
        "agents": [
            {"agent": "0abc0000def00", "slot": "azure-0", "job": None, "outcome": "lost",
             "cause": "killed", "exit_code": None, "exited": "2026-11-21T09:00:00.000Z",
             "seconds": {"busy": 61.2}, "refused": 2,
             "refusals": ["a privileged container is not to be had: leave out --privileged"]}
        ],
        "events": [],
    }  # fmt: skip
    lines = render_history.describe(document, NOW, width)
    assert "refused to agent 0abc0000def00 2 times:" in " ".join(" ".join(lines).split())
    assert "leave out --privileged" in " ".join(" ".join(lines).split())
    assert lines[0].startswith("azure-0 is held for 30m, confirmed by")
    assert any("30m" in line and "lost" in line and "1m" in line for line in lines)
    assert width is None or max(map(len, lines)) <= width


def test_a_plan_tells_its_reasons() -> None:
    action = {"action": "prepare", "slot": "local-0", "subject": "g", "reason": "it is vacant"}
    lines = render_history.plan({"headline": "1 slot: 1 vacant", "actions": [action]}, 80)
    assert lines == [
        "1 slot: 1 vacant",
        "ACTION   SLOT     SUBJECT  WHY",
        "prepare  local-0  g        it is vacant",
    ]
    assert render_history.plan({"headline": "h", "actions": []}, 80)[-1] == (
        "the next pass would do nothing"
    )


# -- tables ----------------------------------------------------------------------------------------


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(
            st.lists(st.text("ab ", max_size=40), min_size=n, max_size=n), max_size=4
        )
    ),
    st.integers(40, 120),
)
def test_a_table_fits_and_stays_aligned(rows: list[list[str]], width: int) -> None:
    headings = ["H"] * (len(rows[0]) if rows else 2)
    lines = table(headings, rows, width)
    assert len(lines) == len(rows) + 1
    assert max(map(len, lines)) <= width


# -- control characters ----------------------------------------------------------------------------

EVIL = "\x1b]0;title\x07a\x1b[31mb\x1b[0m\x9b2Jc\x08\u202ed\x00\x1b(0e\x1bcf"


def test_a_cell_has_no_control_characters() -> None:
    assert clean(EVIL) == "ab2Jcdef"
    assert clean("two\nlines\tand\rmore") == "two lines and more"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_cleaned_however_it_is_cut(size: int) -> None:
    data = (EVIL + "\r\n10%\r20%\r\nü€\n").encode()
    cleaner = Cleaner()
    pieces = [cleaner.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert "".join(pieces) + cleaner.feed(b"", final=True) == "ab2Jcdef\n10%\n20%\nü€\n"


@given(st.binary(max_size=300), st.integers(1, 50))
def test_nothing_that_a_job_prints_moves_the_cursor(data: bytes, size: int) -> None:
    cleaner = Cleaner()
    shown = "".join(cleaner.feed(data[at : at + size]) for at in range(0, len(data), size))
    shown += cleaner.feed(b"", final=True)
    assert not any(
        (ord(character) < 32 and character not in "\n\t") or 127 <= ord(character) < 160
        for character in shown
    )


def test_an_escape_without_end_is_not_held_for_ever() -> None:
    cleaner = Cleaner()
    shown = "".join(cleaner.feed(b"\x1b]0;" + b"x" * 1000) for _ in range(20))
    assert "x" in shown
