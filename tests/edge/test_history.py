"""The state file's bounds: what is old or too much goes, what is still needed stays."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from mayfly.core.apply import apply
from mayfly.core.commands import Payload
from mayfly.core.facts import (
    AgentAttached,
    AgentCreated,
    AgentDetached,
    AgentEquipped,
    AgentExited,
    AgentOpened,
    ClockJumped,
    Fact,
    GateOpening,
    JobEnded,
    JobRequeued,
    JobSubmitted,
    ResultsTaken,
    RunSubmitted,
    SlotBooked,
    TurnAwaited,
    TurnEnded,
    TurnWaived,
)
from mayfly.core.kept_texts import COMMAND_KEPT, TEXT_KEPT
from mayfly.core.memory import Agent, Job, TurnAccount, Visit
from mayfly.core.model import (
    Cause,
    Generation,
    GpuUse,
    JobId,
    JobState,
    PoolName,
    Priority,
    Results,
    SlotName,
)
from mayfly.core.queue import HALF_LIFE, Queue, charged
from mayfly.core.runs import Origin, Run
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.history import FEW, PIECE, History
from mayfly.edge.history_file import FILE_NAME, MIGRATIONS, translated
from mayfly.edge.history_reader import ALL_JOBS, JOBS, HistoryReader, JobsWanted, RunsWanted

if TYPE_CHECKING:
    from pathlib import Path

T = 1_800_000_000.0


def lived(number: int, at: float) -> list[Fact]:
    """An agent that came and went, and a job that was submitted and ended."""
    generation, job = Generation(f"g{number:04}"), JobId(f"j{number:04}")
    agent = Agent(
        generation=generation,
        slot=SlotName("a-0"),
        pool=PoolName("a"),
        serial=2 * number,
        fingerprint="f",
        image="i",
        lease=(),
        born=at,
    )
    entry = Job(id=job, pool=PoolName("a"), serial=2 * number + 1, submitted=at)
    return [
        AgentCreated(at, agent, "the slot has no agent"),
        AgentExited(at + 1, generation, "job_done", None, 0, 0),
        JobSubmitted(at, entry),
        JobEnded(at + 1, job, JobState.FAILED, Cause.EXIT, 3),
    ]


def kept(history: History, *facts: Fact) -> None:
    """Put them on disk, as the loop does."""
    jobs = [fact.job.id for fact in facts if isinstance(fact, JobSubmitted)]
    payloads = {job: Payload(("true",), {}) for job in jobs}
    history.commit(facts, apply(history.load(), facts), payloads)


def test_an_event_of_an_agent_that_has_a_job_names_it(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    created, exited, *_ = lived(1, T)
    assert isinstance(exited, AgentExited)
    opening = GateOpening(T, exited.generation, "run", JobId("j1"))
    kept(history, created)
    kept(history, opening)
    kept(history, exited)
    told = [(event["event"], event["slot"], event["job"]) for event in reader.events()]
    assert told == [
        ("agent.created", "a-0", None),
        ("gate.opening", "a-0", "j1"),
        ("agent.exited", "a-0", "j1"),
    ]


def test_an_event_says_how_many_results_there_are_and_no_name_of_one(tmp_path: Path) -> None:
    """Events are everybody's to read."""
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    created, *_, submitted, _ = lived(1, T)
    assert isinstance(created, AgentCreated)
    assert isinstance(submitted, JobSubmitted)
    agent, job = created.agent.generation, submitted.job.id
    kept(history, created, submitted)
    kept(history, GateOpening(T, agent, "run", job))
    results = Results(3, 4096, ("secret-plan: it is not for the job to read",))
    kept(history, ResultsTaken(T, agent, job, results))
    *_, told = reader.events()
    assert (told["event"], told["job"], told["agent"]) == ("results.taken", job, agent)
    assert (told["files"], told["bytes"], told["left_out"]) == (3, 4096, 1)
    assert "secret-plan" not in json.dumps(told)
    row = reader.job(job)
    assert row is not None
    assert row["results"]["left_out"] == ["secret-plan: it is not for the job to read"]
    history.close()


def test_what_was_refused_to_an_agent_is_counted_for_all_and_told_with_its_life(
    tmp_path: Path,
) -> None:
    """The sentences may hold names of files and images: they are for whoever may see the job."""
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    created, exited, *_ = lived(1, T)
    assert isinstance(exited, AgentExited)
    said = ("no privileged container",)
    kept(history, created)
    kept(history, replace(exited, made=True, refusals=said, refused=3))
    *_, told = reader.events()
    assert (told["made"], told["refused"]) == (True, 3)
    assert "privileged" not in json.dumps(told)
    (life,) = reader.lives([exited.generation])
    assert (life["refused"], life["refusals"]) == (3, [*said])
    kept(history, *lived(2, T + 9.0)[:2])
    *_, plain = reader.events()
    assert not {"made", "refused", "refusals"} & plain.keys()


def test_what_a_job_did_with_its_gpus_is_in_its_row_of_a_list_and_of_one_without_nothing(
    tmp_path: Path,
) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    made, exited, submitted, ended = lived(1, T)
    assert isinstance(exited, AgentExited)
    use = GpuUse(
        "GPU-1", 5, 80.0, energy=3600.0, metered=4.0, throttled={"thermal": 2.0}, watched=4.0
    )
    gate = GateOpening(T, exited.generation, "run", JobId("j0001"))
    kept(history, made, submitted)
    kept(history, gate)
    kept(history, replace(exited, gpus=(use,)), ended)
    kept(history, *lived(2, T + 10))
    first, second = reader.job_rows([*reader.listed_jobs()])
    assert first["gpu_use"] == [asdict(use) | {"use_of": "gpu"}]
    assert second["gpu_use"] == []
    history.close()


def test_what_jobs_run_is_read_where_it_is_shown_and_nowhere_else(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    for number in (1, 2):
        submitted = lived(number, T)[2]
        assert isinstance(submitted, JobSubmitted)
        entry = replace(submitted.job, uid=1000 + number, owner="ann", size=9)
        kept(history, replace(submitted, job=entry))
    # Whoever read these columns would fail.
    with sqlite3.connect(tmp_path / "mayfly.sqlite") as other:
        other.execute("UPDATE jobs SET argv = 'no JSON', env = 'no JSON'")
    assert [(row["job"], row["owner"]) for row in reader.job_rows([*reader.listed_jobs()])] == [
        ("j0001", "ann"),
        ("j0002", "ann"),
    ]
    assert [(job.uid, job.size) for job in history.load().jobs.values()] == [(1001, 9), (1002, 9)]
    assert reader.owner_of_job("j0002") == 1002
    assert reader.owner_of_job("j0003") is None
    with pytest.raises(ValueError, match="Expecting value"):
        reader.job("j0001")
    history.close()


def test_an_agent_is_its_job_s_owner_s(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    created, exited, submitted, _ = lived(1, T)
    assert isinstance(created, AgentCreated)
    assert isinstance(submitted, JobSubmitted)
    agent = replace(created.agent, job=submitted.job.id)
    kept(history, replace(submitted, job=replace(submitted.job, uid=1001)))
    kept(history, replace(created, agent=agent))
    assert reader.owner_of_agent("g0001") == 1001, "while it is there"
    kept(history, exited)
    assert reader.owner_of_agent("g0001") == 1001, "and once it has ended"
    assert reader.owner_of_agent("g0002") is None
    history.close()


def test_what_is_older_than_the_bound_is_forgotten(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    for number in range(10):
        kept(history, *lived(number, T + 100 * number))
    history.prune(T + 450, 1000)
    assert [row["agent"] for row in reader.lives(reader.ended_agents())] == [
        f"g{n:04}" for n in range(9, 4, -1)
    ]
    assert [*reader.listed_jobs()] == [f"j{n:04}" for n in range(5, 10)]
    assert min(row["at"] for row in reader.events()) == T + 500
    history.close()


def test_a_slot_s_previous_agent_may_be_one_that_died_at_its_gate_and_is_none_that_was_sent_away(
    tmp_path: Path,
) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    for number, outcome in ((1, "died_young"), (2, "no_job")):
        created, exited, *_ = lived(number, T + 100 * number)
        assert isinstance(exited, AgentExited)
        kept(history, created, replace(exited, outcome=outcome, detail="with exit code 70"))
    assert reader.generation_of_slot("a-0", previous=True) == "g0001"
    assert reader.end_at_gate("g0001") == "with exit code 70"
    assert reader.end_at_gate("g0009") is None
    history.close()


def test_of_more_than_the_bound_the_newest_stay(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    for number in range(10):
        kept(history, *lived(number, T + 100 * number))
    history.prune(0.0, 3)
    assert [row["agent"] for row in reader.lives(reader.ended_agents())] == [
        "g0009",
        "g0008",
        "g0007",
    ]
    assert [*reader.listed_jobs()] == ["j0007", "j0008", "j0009"]
    assert len(reader.events()) == 3
    history.close()


def test_the_gpus_of_agents_whose_gates_were_opened_are_told_with_their_times(
    tmp_path: Path,
) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    gpus: list[tuple[str, ...]] = [("GPU-1", "MIG-2"), ("GPU-1",), (), ("GPU-3",)]
    for number, lease in enumerate(gpus):
        made, exited, *_ = lived(number, T + 100 * number)
        assert isinstance(made, AgentCreated)
        assert isinstance(exited, AgentExited)
        kept(history, replace(made, agent=replace(made.agent, lease=lease)))
        if number != 1:  # that one's gate was never opened
            kept(history, AgentOpened(T + 100 * number, exited.generation))
        kept(history, replace(exited, at=T + 100 * number + 50))
    assert reader.gpu_stints(T, 10) == [
        (T + 300, T + 350, ("GPU-3",)),
        (T, T + 50, ("GPU-1", "MIG-2")),
    ]
    assert len(reader.gpu_stints(T, 1)) == 1
    assert reader.gpu_stints(T + 60, 10) == [(T + 300, T + 350, ("GPU-3",))]
    history.close()


LONG = ("sh", "-c", "x" * 130_000, "é" * 60_000)


def test_that_a_gpu_has_had_work_since_an_end_that_nobody_saw_outlives_a_restart(
    tmp_path: Path,
) -> None:
    history = History(tmp_path)
    one, *_ = lived(1, T)
    assert isinstance(one, AgentCreated)
    created = [
        AgentCreated(T, replace(one.agent, generation=generation, slot=SlotName(slot)), "")
        for slot, generation in (("a-0", Generation("g0001")), ("a-1", Generation("g0002")))
    ]
    kept(history, *created)
    for fact in created:
        kept(history, AgentEquipped(T, fact.agent.generation, ("d0",)))
    kept(history, AgentExited(T, Generation("g0001"), "unknown", None, None, None, unseen=True))
    assert history.load().slots[SlotName("a-0")].unseen_devices == ("d0",)
    kept(history, GateOpening(T + 90, Generation("g0002"), "run", None))
    assert history.load().slots[SlotName("a-0")].unseen_end is None
    assert history.load().slots[SlotName("a-0")].unseen_devices == ()


def test_of_which_image_a_job_s_container_is_outlives_a_restart(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    job = Job(JobId("j1"), PoolName("a"), 1, T, container="python:3.12")
    submitted = JobSubmitted(T, job)
    history.commit(
        [submitted], apply(history.load(), [submitted]), {job.id: Payload(("true",), {})}
    )
    assert history.load().jobs[job.id] == job
    assert reader.payload(job.id) == Payload(("true",), {}, "python:3.12")
    assert (reader.job(job.id) or {})["image"] == "python:3.12"


def test_what_a_job_is_given_stands_nowhere_on_disk_as_it_is_and_its_key_goes_with_it(
    tmp_path: Path,
) -> None:
    """Also while it waits: SQLite leaves copies of rows that it moves, where nothing erases them."""

    def on_disk(what: bytes) -> bool:
        return any(what in file.read_bytes() for file in tmp_path.iterdir())

    history, reader = History(tmp_path), HistoryReader(tmp_path)
    given, keys, ends = {"TOKEN": "not-for-others", "Ä": "ü" * 3000}, [], []
    for number in range(60):
        *_, submitted, ended = lived(number, T)
        assert isinstance(submitted, JobSubmitted)
        after = apply(history.load(), [submitted])
        history.commit([submitted], after, {submitted.job.id: Payload(("true",), given)})
        assert reader.payload(submitted.job.id) == Payload(("true",), given)
        ends.append(ended)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        keys = [key for (key,) in db.execute("SELECT key FROM job_keys")]
    assert len(set(keys)) == 60
    assert not on_disk(b"not-for-others")
    kept(history, *ends)
    assert history.scrub()
    assert not [key for key in keys if on_disk(key)]
    history.close()


def test_of_a_job_that_has_ended_no_variable_stays_and_of_its_command_the_beginning(
    tmp_path: Path,
) -> None:
    """Whoever submits large jobs and cancels them at once fills no disk."""
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    for number in range(40):
        *_, submitted, ended = lived(number, T)
        assert isinstance(submitted, JobSubmitted)
        after = apply(history.load(), [submitted])
        history.commit([submitted], after, {submitted.job.id: Payload(LONG, {"A": "b"})})
        assert reader.payload(submitted.job.id) == Payload(LONG, {"A": "b"}), "what is run is whole"
        kept(history, ended)
        assert reader.payload(submitted.job.id) is None, "what is not whole is not run"
        assert history.scrub()
    row = reader.job("j0007")
    assert row is not None
    *words, last = row["argv"]
    assert words == ["sh", "-c"]
    assert last.startswith("xxx")
    assert last.endswith(f"x… ({4 + 130_000 + 120_000} bytes)")
    assert 0.9 * COMMAND_KEPT < len(json.dumps(row["argv"])) <= COMMAND_KEPT
    history.close()
    assert (tmp_path / FILE_NAME).stat().st_size < 5 * len(json.dumps(LONG))


def test_commands_of_ended_jobs_in_an_older_file_are_cut_in_pieces_and_those_of_waiting_ones_are_not(
    tmp_path: Path,
) -> None:
    db = sqlite3.connect(tmp_path / FILE_NAME)
    for statements in MIGRATIONS[:3]:
        for statement in statements:
            db.execute(statement)
    db.execute("PRAGMA user_version = 3")
    for number, (state, finished, argv) in enumerate(
        [
            ("failed", T, json.dumps(LONG)),
            ("failed", T, json.dumps(["true"])),
            ("failed", T, "no JSON" * 1000),
            ("queued", None, json.dumps(LONG)),
            *[("failed", T, "[]")] * FEW,
        ]
    ):
        db.execute(
            "INSERT INTO jobs (id, serial, pool, state, argv, env, submitted, finished)"
            " VALUES (?, ?, 'a', ?, ?, '{}', ?, ?)",
            (f"j{number}", number, state, argv, T, finished),
        )
    db.commit()
    db.close()

    history, reader = History(tmp_path), HistoryReader(tmp_path)
    assert history.prune(0.0, 1_000_000) is True
    assert (reader.job("j0") or {})["argv"] == list(LONG), "a manager that starts waits for no file"
    while history.prune(0.0, 1_000_000):
        pass
    argvs = [(reader.job(f"j{number}") or {})["argv"] for number in range(4)]
    assert argvs[0][-1].endswith("(250004 bytes)")
    assert argvs[1:] == [["true"], ["… (7000 bytes)"], list(LONG)]
    assert reader.payload(JobId("j3")) == Payload(LONG, {})
    history.close()


def test_a_text_of_any_length_is_kept_by_its_beginning_in_events_and_lives(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    created, exited, *_ = lived(1, T)
    assert isinstance(created, AgentCreated)
    assert isinstance(exited, AgentExited)
    kept(history, replace(created, reason="r" * 300_000))
    kept(history, replace(exited, detail="d" * 300_000))
    first, second = reader.events()
    (life,) = reader.lives(reader.ended_agents())
    mark = "… (300000 bytes)"
    assert first["reason"] == "r" * TEXT_KEPT + mark
    assert second["detail"] == life["detail"] == "d" * TEXT_KEPT + mark
    history.close()


def test_what_is_to_be_forgotten_goes_in_pieces_and_the_oldest_first(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    everything = [fact for number in range(2 * PIECE) for fact in lived(number, T + number)]
    kept(history, *everything, *lived(2 * PIECE, T + 9_000))
    ended = len(reader.ended_agents())
    assert ended == 2 * PIECE + 1

    assert history.prune(0.0, 10) is True
    assert (
        len(reader.ended_agents()) == len(reader.listed_jobs(JobsWanted(10_000))) == ended - PIECE
    )
    assert next(iter(reader.listed_jobs(JobsWanted(10_000)))) == f"j{PIECE:04}"
    assert history.prune(T + 8_999, 1_000_000) is True
    assert len(reader.ended_agents()) == 1

    left = len(everything) - 2 * PIECE  # of the events
    calls = 0
    while history.prune(T + 8_999, 2):
        calls += 1
    assert calls == left // (2 * PIECE), "a piece of the old, and one of the too many"
    assert [*reader.listed_jobs()] == [f"j{2 * PIECE:04}"]
    assert len(reader.events()) == 2
    history.close()


def test_a_list_of_jobs_looks_at_no_more_of_those_that_have_ended_than_it_shows(
    tmp_path: Path,
) -> None:
    history = History(tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        plan = [
            row[3]
            for row in db.execute(f"EXPLAIN QUERY PLAN {JOBS}", {**asdict(ALL_JOBS), "since": 0.0})
        ]
    of_jobs = [step for step in plan if "jobs" in step]
    assert len(of_jobs) == 2
    assert all("USING INDEX jobs_" in step for step in of_jobs), plan
    assert any("jobs_finished" in step for step in of_jobs), plan
    history.close()


def test_jobs_that_wait_are_never_forgotten(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    waiting = [
        fact for number in range(5) for fact in lived(number, T) if isinstance(fact, JobSubmitted)
    ]
    kept(history, *waiting)
    history.prune(T + 10_000, 1)
    assert len(reader.listed_jobs()) == len(history.load().jobs) == 5
    assert reader.memory() == history.load()
    history.close()


def test_the_order_of_the_queue_is_the_same_in_the_next_manager(tmp_path: Path) -> None:
    """All that it follows from is on disk: shares, classes, who waits for whom, what was lost."""
    history = History(tmp_path)
    memory = history.load()
    pool = PoolName("a")

    def happened(*facts: Fact, half_life: float = HALF_LIFE) -> None:
        nonlocal memory
        told = charged(facts, memory, half_life)
        memory = apply(memory, told)
        payloads = {
            fact.job.id: Payload(("true",), {}) for fact in facts if isinstance(fact, JobSubmitted)
        }
        history.commit(told, memory, payloads)
        with closing(History(tmp_path)) as again:
            assert again.load() == memory

    def job(number: int, uid: int | None, **given: Any) -> JobSubmitted:
        entry = Job(JobId(f"j{number}"), pool, number, T + number, uid=uid, **given)
        return JobSubmitted(T + number, entry)

    happened(job(1, 1001, retry_lost=2), job(2, 1002), job(3, None), job(4, 1001))
    happened(
        job(5, 1002, priority=Priority.LOW, name="train", group=JobId("g"), variant="12.8"),
        job(6, 1003, after=(JobId("j1"), JobId("j2")), awaits=(JobId("j1"), JobId("j2"))),
        job(7, 1003, after=(JobId("j3"),), awaits=(JobId("j3"),)),
        job(8, 1004, image="lab/torch:2.5"),
    )
    happened(SlotBooked(T + 9, SlotName("a-9"), JobId("j8"), "lab/torch:2.5"))
    for number in (1, 2, 3):
        created = lived(number, T + 10)[0]
        assert isinstance(created, AgentCreated)
        generation = created.agent.generation
        happened(created, GateOpening(T + 11, generation, "run", JobId(f"j{number}")))
        happened(AgentOpened(T + 12 + number, generation))
    happened(JobEnded(T + 400, JobId("j2"), JobState.SUCCEEDED, None, 0))
    assert memory.jobs[JobId("j6")].awaits == ("j1",)
    happened(JobEnded(T + 500, JobId("j3"), JobState.FAILED, Cause.EXIT, 1))
    assert memory.jobs[JobId("j7")].forsaken
    happened(JobRequeued(T + 600, JobId("j1"), Generation("g0001"), counted=False, lost=True))
    happened(ClockJumped(T + 700, 3600.0))
    order = [one.id for one in Queue(memory, T + 5000).order(pool)]
    history.close()
    with closing(History(tmp_path)) as again:
        assert [one.id for one in Queue(again.load(), T + 5000).order(pool)] == order
    assert order[0] == "j1"
    assert set(order) == {"j1", "j4", "j5"}


def test_whose_turn_it_is_is_the_same_in_the_next_manager(tmp_path: Path) -> None:
    history = History(tmp_path)
    memory = history.load()
    pool, other = PoolName("a"), PoolName("b")
    created = lived(1, T)[0]
    for fact in (
        TurnAwaited(T, pool, 5.0),
        created,
        TurnAwaited(T + 1, other, 6.5),
        TurnEnded(T + 9, pool, Generation("g0001"), 8.0, 13.0),
        TurnWaived(T + 10, other),
        ClockJumped(T + 11, 3600.0),
    ):
        memory = apply(memory, [fact])
        history.commit([fact], memory)
        with closing(History(tmp_path)) as again:
            assert again.load() == memory
    history.close()
    assert memory.turns == {pool: TurnAccount(13.0, T + 3600.0), other: TurnAccount(6.5, None)}


def test_a_queue_in_a_file_of_before_shares_and_classes_is_read_on(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / FILE_NAME)
    for statements in MIGRATIONS[:4]:
        for statement in statements:
            db.execute(statement)
    db.execute("PRAGMA user_version = 4")
    for number, (state, uid) in enumerate(
        [("queued", 1001), ("queued", None), ("succeeded", 1001)]
    ):
        db.execute(
            "INSERT INTO jobs (id, serial, pool, state, argv, env, submitted, finished, uid, size)"
            " VALUES (?, ?, 'a', ?, '[\"true\"]', '{}', ?, ?, ?, 9)",
            (f"j{number}", number, state, T, T if state == "succeeded" else None, uid),
        )
    db.commit()
    db.close()
    with pytest.raises(Refused, match=r"is of an earlier Mayfly \(schema 4, this one has \d+\)"):
        HistoryReader(tmp_path).memory()
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    first, second = history.load().jobs.values()
    assert first == Job(JobId("j0"), PoolName("a"), 0, T, uid=1001, size=9)
    assert (second.uid, second.priority, second.after) == (None, Priority.NORMAL, ())
    assert history.load().shares == {}
    assert [*reader.listed_jobs()] == ["j0", "j1", "j2"]
    created = lived(1, T)[0]
    kept(history, created, GateOpening(T + 1, Generation("g0001"), "run", JobId("j0")))
    assert history.load().jobs[JobId("j0")].agent == "g0001"
    history.close()


def test_who_is_beside_a_job_is_known_to_the_next_manager_until_they_are_out(
    tmp_path: Path,
) -> None:
    history = History(tmp_path)
    created, one = lived(1, T)[0], Generation("g0001")
    kept(history, created, *(AgentAttached(T, one, by, f"m-{by}") for by in ("ann", "bob")))
    kept(history, AgentAttached(T, one, "former"), AgentDetached(T, one, "ann", "left", "m-ann"))
    history.close()
    history = History(tmp_path)
    assert history.load().agents[one].attached == (Visit("bob", "m-bob"),)
    history.close()


FORMER_KEYS = {
    "embedded": "queue",
    "cordoned_there": "told",
    "run_id": "boot",
    "enrolled_by_run": "enrolled_in",
}


def test_a_state_file_of_the_first_release_is_read_as_it_was_meant(tmp_path: Path) -> None:
    (created, *_) = lived(1, T)
    assert isinstance(created, AgentCreated)
    agent = replace(
        created.agent,
        embedded=False,
        cordoned_there=True,
        run_id="r1",
        enrolled_by_run="r0",
        registered='a name with "queue": in it',
    )
    former = {FORMER_KEYS.get(key, key): value for key, value in asdict(agent).items()}
    db = sqlite3.connect(tmp_path / FILE_NAME)
    for statement in MIGRATIONS[0]:
        db.execute(statement)
    db.execute("PRAGMA user_version = 1")
    row = (agent.generation, agent.slot, json.dumps(former))
    db.execute("INSERT INTO agents VALUES (?, ?, ?)", row)
    told = (T, "agent.told", agent.slot, agent.generation, "{}")
    db.execute(
        "INSERT INTO events (at, event, slot, generation, fields) VALUES (?, ?, ?, ?, ?)", told
    )
    db.commit()
    db.close()

    history = History(tmp_path)
    assert history.load().agents == {agent.generation: agent}
    (event,) = HistoryReader(tmp_path).events()
    assert (event["event"], event["formerly"]) == ("agent.cordoned", "agent.told")
    history.close()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("SELECT nothing FROM events", sqlite3.OperationalError),
        ("INSERT INTO meta VALUES ('a', NULL)", sqlite3.IntegrityError),
        ("INSERT INTO meta VALUES ('a', 'b')", Passing),
    ],
    ids=["no such column", "a broken constraint", "read-only"],
)
def test_only_what_the_disk_does_is_told_as_a_trouble_of_the_disk(
    tmp_path: Path, statement: str, says: type[Exception]
) -> None:
    History(tmp_path).close()
    file = tmp_path / FILE_NAME
    mode = "ro" if says is Passing else "rw"
    db = sqlite3.connect(f"file:{file}?mode={mode}", uri=True)
    with pytest.raises(says), translated("cannot write", file):
        db.execute(statement)
    db.close()


def test_a_damaged_state_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(b"not a database, and long enough to be looked at" * 100)
    with pytest.raises(Refused, match="is damaged"):
        History(tmp_path)


def pushed(number: int, *, ref: str = "refs/heads/main", uid: int = 1000) -> list[Fact]:
    """A run of two jobs."""
    run, at = JobId(f"r{number}"), T + number
    origin = Origin("/srv/lab.git", ref, f"{number:040x}", None, "Train \x1b[2J")
    jobs = [
        Job(JobId(f"{run}-{n}"), PoolName("a"), 10 * number + n, at, uid=uid, group=run)
        for n in (1, 2)
    ]
    return [
        RunSubmitted(at, Run(run, origin, len(jobs), uid, "ann")),
        *(JobSubmitted(at, job) for job in jobs),
    ]


def ended(job: str, state: JobState, at: float) -> Fact:
    return JobEnded(at, JobId(job), state, Cause.EXIT, 0)


def test_a_run_stands_as_its_jobs_do_and_is_found_by_what_it_is_of(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    kept(history, *pushed(1))
    kept(history, *pushed(2, ref="refs/heads/wip", uid=1001))
    assert reader.run("r9") is None
    assert reader.run("r1") == {
        "run": "r1",
        "repository": "/srv/lab.git",
        "ref": "refs/heads/main",
        "commit": f"{1:040x}",
        "base": None,
        "subject": "Train \x1b[2J",
        "owner": "ann",
        "uid": 1000,
        "state": "queued",
        "submitted": T + 1,
        "finished": None,
        "jobs": {"queued": 2},
    }
    kept(history, ended("r1-2", JobState.SUCCEEDED, T + 60))
    found = reader.run("r1")
    assert found is not None
    assert (found["state"], found["finished"]) == ("running", None)
    kept(history, ended("r1-1", JobState.FAILED, T + 50))
    found = reader.run("r1")
    assert found is not None
    assert (found["state"], found["finished"]) == ("failed", T + 60)
    assert found["jobs"] == {"failed": 1, "succeeded": 1}

    def listed(**wanted: Any) -> list[str]:
        return [row["run"] for row in reader.listed_runs(RunsWanted(**wanted))]

    assert listed() == ["r2", "r1"]
    assert listed(limit=1) == ["r2"]
    assert listed(state="failed", limit=1) == listed(uid=1000) == ["r1"]
    assert listed(ref="refs/heads/wip") == listed(since=T + 2) == ["r2"]
    assert listed(repository="/srv/lab.git", ref="refs/heads/x") == []
    told = [event for event in reader.events() if event["event"] == "run.submitted"]
    assert [(event["run"], event["by"], event["jobs"]) for event in told] == [
        ("r1", "ann", 2),
        ("r2", "ann", 2),
    ]
    assert not any("Train" in json.dumps(event) for event in told)
    history.close()


def test_a_run_is_forgotten_with_the_last_of_its_jobs(tmp_path: Path) -> None:
    history, reader = History(tmp_path), HistoryReader(tmp_path)
    for number in (1, 2, 3):
        kept(history, *pushed(number))
    kept(history, *(ended(f"r{n}-{m}", JobState.SUCCEEDED, T + 9) for n in (1, 3) for m in (1, 2)))
    kept(history, ended("r2-1", JobState.SUCCEEDED, T + 9))
    while history.prune(T + 100, 1000):
        pass
    assert [row["run"] for row in reader.listed_runs()] == ["r2"], "a job of it still waits"
    history.close()
