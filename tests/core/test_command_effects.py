"""What each command comes to, as facts and an answer; on values alone."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import get_args

import pytest

from mayfly.core.actions import Remove
from mayfly.core.command_effects import AT_ONCE, effects
from mayfly.core.command_result import CommandResult, Reread, Situation
from mayfly.core.commands import (
    AttachAgent,
    Caller,
    CancelJobs,
    CloseGates,
    Command,
    CordonSlots,
    DetachAgent,
    DrainSlots,
    ExtendHold,
    ExtendReservation,
    HealGpu,
    HoldJob,
    LeaveHost,
    OpenGates,
    PauseManager,
    Payload,
    PlanAhead,
    RecycleSlots,
    ReleaseHold,
    ReleaseReservation,
    ReloadConfig,
    ReserveGpus,
    ResumeManager,
    RetrySlots,
    RunJob,
    SubmitJob,
    SubmitRun,
    UncordonSlots,
)
from mayfly.core.facts import (
    AgentAttached,
    AgentDetached,
    AgentDoomed,
    Fact,
    JobCancelling,
    JobEnded,
    JobSubmitted,
    ManagerPaused,
    ManagerResumed,
    SlotCordoned,
    SlotReleased,
    SlotUncordoned,
)
from mayfly.core.gpu_checks import CheckSetting
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.memory import Agent, Cordon, Doom, Job, Memory, Pause, SlotMemory, Visit
from mayfly.core.model import (
    Cause,
    Config,
    ContainerId,
    Desired,
    DoomReason,
    Generation,
    HostSpec,
    JobId,
    JobState,
    Phase,
    SlotName,
)
from mayfly.core.notice_targets import Target
from mayfly.core.plan import Plan
from mayfly.core.queue_room import ROOM
from mayfly.core.runs import Origin
from tests.core.simulator import pool, specs

T = 1_800_000_000.0
ANN = Caller(7, 1000, 1000, "ann")
A0, A1 = SlotName("a-0"), SlotName("a-1")
GONE = SlotName("old-3")  # of a pool that the configuration has no more, still with an agent
JOB, NEXT = JobId("j1"), JobId("j2")
LOCAL = pool("a", slots=2)
WAITS = Agent(Generation("g0"), A0, LOCAL.name, 1, "f", "image", (), T - 60, ready=T - 50)
RUNS = replace(
    WAITS, slot=A1, generation=Generation("g1"), committed=T - 40, opened=T - 39, job=JOB
)
SERVED = replace(WAITS, slot=GONE, generation=Generation("g2"), embedded=False)
ENTRY = Job(JOB, LOCAL.name, 3, T - 45, agent=RUNS.generation, slot=A1, started=T - 39)
QUEUED = Job(NEXT, LOCAL.name, 4, T - 5)
PAYLOAD = Payload(("id",), {"TOKEN": "s3cret"})
CORDONED = Cordon(T - 9, "bob", "driver")


def situation(
    *agents: Agent,
    slots: dict[SlotName, SlotMemory] | None = None,
    jobs: tuple[Job, ...] = (ENTRY, QUEUED),
    pause: Pause | None = None,
) -> Situation:
    """A host with one queue of two slots."""
    memory = Memory(
        {agent.generation: agent for agent in agents},
        slots or {},
        {job.id: job for job in jobs},
        pause,
        serial=4,
    )
    config = Config(HostSpec(name="lab1"), (LOCAL,))
    return Situation(config, Desired(tuple(specs(LOCAL))), memory, T, new_job=JobId("j3"))


BOX = ContainerId("b" * 64)
BOTH = situation(WAITS, RUNS)


def doomed(agent: Agent, reason: DoomReason) -> AgentDoomed:
    return AgentDoomed(T, agent.generation, reason, by="ann")


@pytest.mark.parametrize(
    ("command", "at", "body", "facts"),
    [
        (
            CancelJobs(ANN, (NEXT,)),
            BOTH,
            {"job": NEXT, "jobs": [NEXT], "ended": []},
            [
                JobCancelling(T, NEXT, "ann"),
                JobEnded(T, NEXT, JobState.CANCELLED, Cause.CANCELLED, None),
            ],
        ),
        (
            CancelJobs(ANN, (JOB,)),
            BOTH,
            {"job": JOB, "jobs": [JOB], "ended": []},
            [JobCancelling(T, JOB, "ann"), doomed(RUNS, DoomReason.CANCELLED)],
        ),
        (
            CancelJobs(ANN, (JOB,)),
            situation(replace(RUNS, doom=Doom(DoomReason.TIMEOUT, T - 1))),
            {"job": JOB, "jobs": [JOB], "ended": []},
            [JobCancelling(T, JOB, "ann")],
        ),
        *[
            (
                AttachAgent(ANN, to, is_slot=is_slot, mark="m1"),
                situation(WAITS, replace(RUNS, container=BOX)),
                {"generation": "g1", "container": BOX, "slot": "a-1"},
                [AgentAttached(T, RUNS.generation, "ann", "m1")],
            )
            for to, is_slot in ((JOB, False), (A1, True))
        ],
        (
            DetachAgent(ANN, RUNS.generation, "its process ended", "m1"),
            BOTH,
            {},
            [AgentDetached(T, RUNS.generation, "ann", "its process ended", "m1")],
        ),
        # Whoever asked was told that nobody answered, and knows not in which agent.
        (
            DetachAgent(ANN, None, "late", "m1"),
            situation(replace(RUNS, attached=(Visit("ann", "m0"), Visit("ann", "m1")))),
            {},
            [AgentDetached(T, RUNS.generation, "ann", "late", "m1")],
        ),
        (DetachAgent(ANN, None, "late", "m2"), BOTH, {}, []),
        (
            CordonSlots(ANN, ("a-1", "a-0", "a-1"), until=T + 60, note="n"),
            situation(slots={A0: SlotMemory(cordon=Cordon(T - 9, "bob", drain=True))}),
            {"slots": ["a-1", "a-0"]},
            [
                SlotCordoned(T, A1, Cordon(T, "ann", "n", T + 60)),
                SlotCordoned(T, A0, Cordon(T, "ann", "n", T + 60, drain=True)),
            ],
        ),
        (
            UncordonSlots(ANN, ("a-0", "a-1")),
            situation(slots={A0: SlotMemory(cordon=CORDONED)}),
            {"slots": ["a-0", "a-1"]},
            [SlotUncordoned(T, A0, "ann")],
        ),
        (
            DrainSlots(ANN, None, force=False),
            situation(SERVED),
            {"slots": ["a-0", "a-1", "old-3"]},
            [SlotCordoned(T, name, Cordon(T, "ann", drain=True)) for name in (A0, A1, GONE)],
        ),
        (
            DrainSlots(ANN, ("a-1",), force=True, note="n"),
            BOTH,
            {"slots": ["a-1"]},
            [
                SlotCordoned(T, A1, Cordon(T, "ann", "n", drain=True)),
                doomed(RUNS, DoomReason.FORCED),
            ],
        ),
        (
            RecycleSlots(ANN, ("a-0", "a-1")),
            BOTH,
            {"slots": ["a-0", "a-1"], "replaced": 1},
            [doomed(WAITS, DoomReason.RECYCLED)],
        ),
        (
            RecycleSlots(ANN, ("old-3",)),
            situation(replace(SERVED, committed=T - 9, opened=T - 8)),
            {"slots": ["old-3"], "replaced": 1},
            [doomed(SERVED, DoomReason.RECYCLED)],
        ),
        (RetrySlots(ANN, ("a-0",)), BOTH, {"slots": ["a-0"]}, [SlotReleased(T, A0, "ann")]),
        (
            PauseManager(ANN, "disk"),
            BOTH,
            {"paused": True},
            [ManagerPaused(T, Pause(T, "ann", "disk"))],
        ),
        (ResumeManager(ANN), BOTH, {"paused": False}, []),
        (
            ResumeManager(ANN),
            situation(pause=Pause(T - 9, "bob")),
            {"paused": False},
            [ManagerResumed(T, "ann")],
        ),
    ],
)
def test_a_command_becomes_facts_and_an_answer(
    command: Command, at: Situation, body: dict[str, object], facts: list[Fact]
) -> None:
    assert effects(command, at) == CommandResult(200, body, tuple(facts))


def test_a_submitted_job_goes_to_the_end_of_the_queue_and_what_it_runs_with_it() -> None:
    found = effects(SubmitJob(ANN, PAYLOAD, pool=None, timeout=90.0), BOTH)
    entry = Job(
        JobId("j3"), LOCAL.name, serial=5, submitted=T, timeout=90.0, uid=1000, owner="ann", size=16
    )
    assert found == CommandResult(
        201,
        {"job": "j3", "group": None, "jobs": ["j3"]},
        (JobSubmitted(T, entry),),
        {JobId("j3"): PAYLOAD},
    )
    assert "s3cret" not in repr(found)


def test_of_several_that_are_cancelled_those_that_have_ended_are_passed_over() -> None:
    over = replace(BOTH, named={"j0": {JobId("j0"): JobState.FAILED}})
    found = effects(CancelJobs(ANN, ("j0", NEXT)), over)
    assert (found.status, found.body) == (200, {"job": NEXT, "jobs": [NEXT], "ended": ["j0"]})
    assert [type(fact) for fact in found.facts] == [JobCancelling, JobEnded]
    assert effects(CancelJobs(ANN, (NEXT, "j9")), BOTH).status == 404, "and nothing of it is done"


def test_more_jobs_than_a_pass_can_record_are_not_cancelled_in_one_command() -> None:
    jobs = tuple(replace(QUEUED, id=JobId(f"g-{n}"), group=JobId("g")) for n in range(AT_ONCE + 1))
    found = effects(CancelJobs(ANN, ("g",)), situation(jobs=jobs))
    told = f"these are {AT_ONCE + 1} jobs, and at most {AT_ONCE} are cancelled at once: "
    assert (found.status, found.facts) == (400, ())
    assert str(found.body["error"]).startswith(told)
    assert str(found.body["error"]).endswith(": mayfly cancel --mine")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("j9",), "there is no job j9: see `mayfly jobs`"),
        (("j9", NEXT), "there is no job j9: see `mayfly jobs`; nothing was cancelled"),
        (
            ("j7", NEXT, "j8", "j9"),
            "there is no job j7, j8 or j9: see `mayfly jobs`; nothing was cancelled",
        ),
    ],
)
def test_of_several_that_are_cancelled_all_that_are_not_there_are_named(
    names: tuple[str, ...], told: str
) -> None:
    found = effects(CancelJobs(ANN, names), BOTH)
    assert (found.status, found.body["error"], found.facts) == (404, told, ())


def test_a_group_is_cancelled_by_its_name_what_waits_and_what_runs() -> None:
    jobs = (replace(ENTRY, group=JobId("g")), replace(QUEUED, group=JobId("g")))
    at = replace(situation(WAITS, RUNS, jobs=jobs), named={"g": {JobId("j0"): JobState.SUCCEEDED}})
    found = effects(CancelJobs(ANN, ("g",)), at)
    assert found.body == {"job": JOB, "jobs": [JOB, NEXT], "ended": ["j0"]}
    assert [type(fact) for fact in found.facts] == [
        *(JobCancelling, AgentDoomed, JobCancelling, JobEnded)
    ]


TWO_QUEUES = replace(BOTH, config=Config(HostSpec(name="lab1"), (LOCAL, pool("b"))))
NO_QUEUE = replace(
    BOTH, config=Config(HostSpec(name="lab1"), (replace(LOCAL, provider="github", embedded=False),))
)


NO_X = "there is no slot x; there are: a-0, a-1"
NO_J9 = "there is no job j9: see `mayfly jobs`"
NO_JOB = "slot a-0 has no job now; `mayfly shell a-0` opens what a job would see"
FAILED = {JobId("j0"): JobState.FAILED}
ENDED = replace(BOTH, named={"j0": FAILED, "g": FAILED})


@pytest.mark.parametrize(
    ("command", "at", "status", "kind", "told"),
    [
        (
            SubmitJob(ANN, PAYLOAD, pool=None, timeout=None),
            TWO_QUEUES,
            400,
            "which_pool",
            "there are several queues, name one with --pool: a, b",
        ),
        (
            SubmitJob(ANN, PAYLOAD, pool="c", timeout=None),
            TWO_QUEUES,
            404,
            "no_such_pool",
            'there is no pool "c" with a queue; there are: a, b',
        ),
        (
            SubmitJob(ANN, PAYLOAD, pool=None, timeout=None),
            NO_QUEUE,
            409,
            "no_queue",
            'no pool with provider "local" is configured: add one',
        ),
        (
            CancelJobs(ANN, (JobId("j9"),)),
            BOTH,
            404,
            "no_such_job",
            "there is no job j9: see `mayfly jobs`",
        ),
        (
            CancelJobs(ANN, (JobId("j0"),)),
            replace(BOTH, named={"j0": {JobId("j0"): JobState.FAILED}}),
            409,
            "ended",
            "job j0 has ended already",
        ),
        *[
            (AttachAgent(ANN, to, is_slot=is_slot), at, status, kind, told)
            for to, is_slot, at, status, kind, told in (
                (JobId("j9"), False, BOTH, 404, "no_such_job", NO_J9),
                (NEXT, False, BOTH, 409, "refused", "job j2 is queued: it runs nowhere yet"),
                (JobId("j0"), False, ENDED, 409, "ended", "job j0 has ended already"),
                (
                    JobId("g"),
                    False,
                    ENDED,
                    409,
                    "refused",
                    "g is a group: name one of its jobs",
                ),
                (JOB, False, BOTH, 409, "refused", "the job in a-1 has not begun yet: try again"),
                (A0, True, BOTH, 409, "refused", NO_JOB),
                (SlotName("x"), True, BOTH, 404, "no_such_slot", NO_X),
            )
        ],
        *[
            (command, BOTH, 404, "no_such_slot", NO_X)
            for command in (
                CordonSlots(ANN, ("a-0", "x"), until=None, note=""),
                UncordonSlots(ANN, ("x",)),
                DrainSlots(ANN, ("a-0", "x"), force=True),
                RecycleSlots(ANN, ("x",)),
                RetrySlots(ANN, ("x",)),
            )
        ],
    ],
)
def test_a_command_that_contradicts_how_things_stand_changes_nothing_and_says_why(
    command: Command, at: Situation, status: int, kind: str, told: str
) -> None:
    assert effects(command, at) == CommandResult(status, {"error": told, "kind": kind})


USER = replace(ANN, operator=False)
EVERY = (
    SubmitJob(USER, PAYLOAD, pool=None, timeout=None),
    SubmitRun(USER, Origin("/r"), (RunJob(PAYLOAD),)),
    ReserveGpus(USER, 1, 3600.0, None, None),
    ExtendReservation(USER, "r1", 600.0),
    ReleaseReservation(USER, "r1"),
    CancelJobs(USER, (NEXT,)),
    AttachAgent(USER, JOB, is_slot=False),
    DetachAgent(USER, RUNS.generation, "its process ended"),
    CordonSlots(USER, ("a-0",), until=None, note=""),
    UncordonSlots(USER, ("a-0",)),
    DrainSlots(USER, None, force=True),
    RecycleSlots(USER, ("a-0",)),
    RetrySlots(USER, ("a-0",)),
    HealGpu(USER, "GPU-a", dry_run=True),
    PauseManager(USER, ""),
    ResumeManager(USER),
    ReloadConfig(USER, dry_run=True),
    PlanAhead(USER),
    CloseGates(USER, 0.0),
    LeaveHost(USER, 0.0),
    OpenGates(USER, ""),
    HoldJob(USER, JOB, is_slot=False),
    ExtendHold(USER, JOB, is_slot=False, seconds=60.0),
    ReleaseHold(USER, JOB, is_slot=False),
)


@pytest.mark.parametrize("command", EVERY, ids=[type(one).__name__ for one in EVERY])
def test_a_user_who_is_no_operator_submits_sees_the_plan_and_ends_their_own(
    command: Command,
) -> None:
    assert {type(one) for one in EVERY} == set(get_args(Command))
    theirs = [replace(job, uid=ANN.uid) for job in (ENTRY, QUEUED)]
    runs = replace(RUNS, container=BOX)
    found = effects(command, situation(WAITS, runs, jobs=tuple(theirs)))
    if isinstance(
        command, SubmitJob | SubmitRun | CancelJobs | AttachAgent | DetachAgent | PlanAhead
    ):
        assert found.status in (200, 201)
    elif isinstance(command, HoldJob | ExtendHold | ReleaseHold):
        assert found.body["kind"] == "refused", "it is theirs, and there is nothing to be held"
    elif isinstance(command, ReserveGpus | ExtendReservation | ReleaseReservation):
        assert found.status != 403, "see tests/core/test_reservations.py"
    else:
        told = "ann may only submit jobs, reserve GPUs, read, and end, hold or attach to what is their own"
        assert found == CommandResult(403, {"error": told, "kind": "forbidden"})


def test_jobs_that_may_become_root_are_an_operator_s_to_submit() -> None:
    sudo = replace(BOTH, config=Config(HostSpec(name="lab1"), (replace(LOCAL, sudo=True),)))
    told = "jobs of pool a may become root (sudo): ann may not submit there"
    refused = CommandResult(403, {"error": told, "kind": "forbidden"})
    assert effects(SubmitJob(USER, PAYLOAD, pool=None, timeout=None), sudo) == refused
    assert effects(SubmitJob(ANN, PAYLOAD, pool=None, timeout=None), sudo).status == 201


@pytest.mark.parametrize("owner", [None, ANN.uid + 1])
def test_a_job_of_somebody_else_or_of_nobody_is_not_theirs_to_end(owner: int | None) -> None:
    at = situation(WAITS, RUNS, jobs=(replace(ENTRY, uid=owner), QUEUED))
    told = "job j1 is not one of ann's"
    refused = CommandResult(403, {"error": told, "kind": "forbidden"})
    assert effects(CancelJobs(USER, (JOB,)), at) == refused
    assert effects(CancelJobs(ANN, (JOB,)), at).status == 200, "an operator's it is"


@pytest.mark.parametrize("owner", [None, ANN.uid + 1])
def test_nobody_but_an_operator_goes_into_a_job_of_somebody_else(owner: int | None) -> None:
    runs, entry = replace(RUNS, container=BOX), replace(ENTRY, uid=owner)
    at = situation(WAITS, runs, jobs=(entry, QUEUED))
    for to, is_slot, what in ((JOB, False, "job j1"), (A1, True, "the job in slot a-1")):
        told = {"error": f"{what} is not one of ann's", "kind": "forbidden"}
        assert effects(AttachAgent(USER, to, is_slot=is_slot), at) == CommandResult(403, told)
        assert effects(AttachAgent(ANN, to, is_slot=is_slot), at).status == 200
    served = replace(SERVED, container=BOX, opened=T - 8, confirmed=Phase.BUSY)
    at = situation(served)
    assert effects(AttachAgent(USER, GONE, is_slot=True), at).status == 403, "a service's job"
    assert effects(AttachAgent(ANN, GONE, is_slot=True), at).status == 200


def test_a_queue_that_is_full_takes_no_job_and_says_so() -> None:
    large = replace(QUEUED, uid=ANN.uid, size=ROOM.of_one.size)
    found = effects(
        SubmitJob(ANN, PAYLOAD, pool=None, timeout=None), situation(WAITS, jobs=(large,))
    )
    assert (found.status, found.body["kind"], found.facts) == (429, "queue_full", ())
    assert found.body["error"] == (
        "the queue is full: with this one the jobs of ann that wait would be larger than 32 MiB; "
        "wait, or cancel some"
    )


@pytest.mark.parametrize("dry_run", [True, False])
def test_reload_says_which_slots_change_and_puts_the_file_in_force_unless_it_is_dry(
    dry_run: bool,
) -> None:
    first, second = specs(LOCAL)
    third = replace(second, name=SlotName("a-2"))
    wanted = Desired((replace(first, fingerprint="other"), third), {third.name: "no image"})
    config = Config(HostSpec(name="lab2"), (LOCAL,))
    found = effects(
        ReloadConfig(ANN, dry_run=dry_run), replace(BOTH, reread=Reread(config, wanted))
    )
    assert found == CommandResult(
        200,
        {
            "dry_run": dry_run,
            "added": ["a-2"],
            "removed": ["a-1"],
            "replaced": ["a-0"],
            "held": {"a-2": "no image"},
            "restart": ["host.name"],
        },
        config=None if dry_run else config,
    )


# Another value of each key of [host]; what is read again while the manager runs is in the set.
HOST_KEYS: dict[str, object] = {
    "name": "lab2",
    "gpu": "off",
    "engine": "other",
    "engine_settings": "others",
    "docker_host": "unix:///other.sock",
    "state_dir": "/other",
    "socket": "/other.sock",
    "metrics": "127.0.0.1:9925",
    "log_max_size": 1,
    "output_per_agent": 1,
    "output_total": 1,
    "workspace_max": 1,
    "workspaces_per_user": 1,
    "workspaces_total": 1,
    "results_max": 1,
    "results_total": 1,
    "images_total": 1,
    "history_days": 1.0,
    "history_events": 100,
    "fair_share_half_life": 3600.0,
    "driver_branches": ("580",),
    "gpu_checks": {"gpu.heat": CheckSetting(threshold=90.0)},
    "web": "127.0.0.1:8080",
    "web_user_header": "x-user",
    "web_trusted_proxies": ("127.0.0.1",),
    "idle": IdleSettings(command=("/bin/true",)),
    "web_boxes": {"gpu2": "http://gpu2.lab"},
    "docs": "https://docs.lab",
    "notify": (Target("ops", webhook="http://board.lab"),),
}
READ_AGAIN = {
    *("gpu", "images_total", "history_days", "history_events", "fair_share_half_life"),
    *("driver_branches", "gpu_checks", "docs"),
}


@pytest.mark.parametrize("key", [one.name for one in fields(HostSpec)])
def test_every_key_of_the_host_that_a_start_alone_reads_is_told_at_a_reload(key: str) -> None:
    before = BOTH.config
    host = replace(before.host, **{key: HOST_KEYS[key]})  # type: ignore[arg-type]
    assert host != before.host
    reread = Reread(replace(before, host=host), BOTH.desired)
    found = effects(ReloadConfig(ANN, dry_run=True), replace(BOTH, reread=reread))
    assert isinstance(found, CommandResult)
    named = before.host.engine if key == "engine_settings" else key
    assert found.body["restart"] == ([] if key in READ_AGAIN else [f"host.{named}"])


@pytest.mark.parametrize(
    ("before", "after"), [("pods", "pods"), ("pods", "docker"), ("docker", "pods")]
)
def test_a_table_of_an_engine_that_comes_or_goes_is_told_by_its_name(
    before: str, after: str
) -> None:
    def host(engine: str, said: str) -> HostSpec:
        settings = said if engine == "pods" else None
        return replace(BOTH.config.host, engine=engine, engine_settings=settings)

    assert "pods" in host(before, "one").reread(host(after, "another"))[1]


def test_the_plan_is_shown_and_nothing_is_changed() -> None:
    action = Remove(WAITS.generation, A0, ContainerId("c" * 64), "its job has ended")
    found = effects(
        PlanAhead(ANN), replace(BOTH, plan=Plan(actions=(action,)), headline="all is well")
    )
    assert found == CommandResult(
        200,
        {
            "schema": "mayfly.plan/1",
            "headline": "all is well",
            "actions": [
                {
                    "action": "remove",
                    "slot": "a-0",
                    "subject": WAITS.generation,
                    "reason": "its job has ended",
                }
            ],
        },
    )
