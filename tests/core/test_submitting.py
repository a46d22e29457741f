"""What a submission comes to: the pools of a CUDA version, the jobs of a matrix, what is waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import Caller, Payload, SubmitJob
from mayfly.core.desire import ImageSeen
from mayfly.core.memory import Job, Memory
from mayfly.core.model import (
    GATE_PROTOCOL,
    Config,
    Desired,
    HostSpec,
    JobId,
    JobState,
    PoolName,
    PoolSecurity,
    PoolSpec,
    Priority,
    SlotSpec,
)
from mayfly.core.queue_room import ROOM
from mayfly.core.submitting import MOST, Entry, entries, gpus_of_pools
from tests.core.simulator import pool, specs

T = 1_800_000_000.0
ANN = Caller(7, 1000, 1000, "ann")
BEN = Caller(8, 1001, 1001, "ben", operator=False)
PAYLOAD = Payload(("id",), {"A": "b"})


def slots(name: str, reference: str, **given: object) -> list[SlotSpec]:
    """Two slots of a pool whose image is known by that name."""
    of = replace(pool(name, slots=2), **given)  # type: ignore[arg-type]
    return [replace(spec, reference=reference) for spec in specs(of)]


SLOTS = (
    *slots("plain", "mayfly/local:cpu"),
    *slots("new", "mayfly/local:cuda12.8"),
    *slots("root", "mayfly/local:cuda11.8", sudo=True),
    *slots("old", "lab.example/own:image", cuda="11.8"),
    *slots("newest", "mayfly/local:cuda13.0"),
    *slots("twin", "mayfly/local:cuda12.8"),
    *slots("shut", "mayfly/local:cpu", security=PoolSecurity(read_only=True)),
    *slots("pair", "mayfly/local:cuda13.0", gpus=2),
    *slots("every", "mayfly/local:cpu", gpus="all"),
    *slots("made", "mayfly/local:cpu", job_images=("lab/torch:*", "lab/jax:1")),
    *slots("again", "mayfly/local:cpu", gpus=4, job_images=("lab/jax:1",)),
    *slots("hub", "mayfly/github:cuda12.4", provider="github", embedded=False),
)
POOLS = tuple({spec.pool.name: spec.pool for spec in SLOTS}.values())


def submitted(
    by: Caller = ANN,
    *,
    memory: Memory | None = None,
    named: dict[str, dict[JobId, JobState]] | None = None,
    wanted: str | None = None,
    unsent: tuple[str, ...] = (),
    pools: tuple[PoolSpec, ...] = POOLS,
    **given: object,
) -> tuple[Entry, ...] | Refusal:
    """What a box with those pools says to it."""
    command = replace(SubmitJob(by, PAYLOAD, wanted, None), **given)  # type: ignore[arg-type]
    config = Config(HostSpec("box"), pools)
    return entries(
        *(command, config, Desired(SLOTS), memory or Memory(serial=9), T),
        new=JobId("new"),
        named=named or {},
        unsent=unsent,
    )


def taken(found: tuple[Entry, ...] | Refusal) -> list[tuple[str, str, str]]:
    """The jobs: id, pool, variant."""
    assert not isinstance(found, Refusal), found
    return [(entry.job.id, entry.job.pool, entry.job.variant) for entry in found]


def test_all_cuda_versions_are_a_group_of_a_job_for_each_version_that_a_queue_has() -> None:
    found = submitted(cuda=("all",))
    assert taken(found) == [
        ("new-1", "root", "cuda=11.8"),
        ("new-2", "new", "cuda=12.8"),
        ("new-3", "newest", "cuda=13.0"),
    ]
    assert not isinstance(found, Refusal)
    assert {entry.job.group for entry in found} == {"new"}
    assert [entry.job.serial for entry in found] == [10, 11, 12]
    # Who may not use the pool with sudo gets the other of that version.
    assert taken(submitted(BEN, cuda=("all",)))[0] == ("new-1", "old", "cuda=11.8")


def test_one_cuda_version_is_one_job() -> None:
    found = submitted(cuda=("12.8",))
    assert taken(found) == [("new", "new", "")]
    assert not isinstance(found, Refusal)
    assert found[0].job.group is None
    assert taken(submitted(cuda=("12.8",), wanted="twin")) == [("new", "twin", "")]


def test_a_matrix_is_a_job_for_each_combination_with_its_variables() -> None:
    matrix = {"SEED": ("1", "2"), "SIZE": ("s", "l")}
    found = submitted(wanted="plain", matrix=matrix)
    assert [variant for *_, variant in taken(found)] == [
        "SEED=1 SIZE=s",
        "SEED=1 SIZE=l",
        "SEED=2 SIZE=s",
        "SEED=2 SIZE=l",
    ]
    assert not isinstance(found, Refusal)
    assert found[1].payload == Payload(("id",), {"A": "b", "SEED": "1", "SIZE": "l"})
    assert found[1].job.size == found[1].payload.size + len("SEED=1 SIZE=l")
    both = submitted(cuda=("11.8", "12.8"), matrix={"SEED": ("1", "2")})
    assert [variant for *_, variant in taken(both)] == [
        "cuda=11.8 SEED=1",
        "cuda=11.8 SEED=2",
        "cuda=12.8 SEED=1",
        "cuda=12.8 SEED=2",
    ]


def test_a_number_of_gpus_is_a_pool_whose_slots_have_just_so_many() -> None:
    assert taken(submitted(gpus=2)) == [("new", "pair", "")]
    assert taken(submitted(gpus=0)) == [("new", "plain", "")]
    assert taken(submitted(gpus=2, cuda=("13.0",))) == [("new", "pair", "")]
    assert taken(submitted(gpus=0, cuda=("13.0",))) == [("new", "newest", "")]
    assert taken(submitted(gpus=2, wanted="pair")) == [("new", "pair", "")]


def test_an_image_leads_to_the_pool_that_allows_it() -> None:
    seen = {"lab/torch:2": ImageSeen("id", GATE_PROTOCOL, provider="local")}
    found = submitted(image="lab/torch:2", seen=seen, matrix={"SEED": ("1", "2")})
    assert [pool for _, pool, _ in taken(found)] == ["made", "made"]
    assert not isinstance(found, Refusal)
    assert [entry.job.image for entry in found] == ["lab/torch:2"] * 2
    assert taken(submitted(image="lab/jax:1", gpus=4)) == [("new", "again", "")]
    # What the Engine does not say refuses nothing.
    assert taken(submitted(image="lab/torch:2")) == [("new", "made", "")]


def test_an_image_that_no_agent_may_be_of_is_a_container_s_where_a_pool_has_those() -> None:
    made = replace(pool("made"), job_images=("lab/torch:*",))
    open_ = replace(pool("open"), containers=True, job_images=("lab/own:1",))
    some = replace(pool("some"), containers=True, allowed_images=("lab/db:*",))

    def asked(image: str, wanted: str | None = None) -> tuple[str, str | None, str | None]:
        found = submitted(image=image, wanted=wanted, pools=(made, open_, some))
        assert not isinstance(found, Refusal), found
        job = found[0].job
        return job.pool, job.image, job.container

    assert asked("lab/torch:2") == ("made", "lab/torch:2", None)  # an agent's goes before
    assert asked("lab/own:1") == ("open", "lab/own:1", None)
    assert asked("python:3.12") == ("open", None, "python:3.12")
    assert asked("lab/db:1", "some") == ("some", None, "lab/db:1")
    refused = submitted(image="python:3.12", wanted="some", pools=(made, open_, some))
    assert isinstance(refused, Refusal)
    assert refused.sentence.endswith(
        "which pools allow which: made: lab/torch:*; open: lab/own:1, *; some: lab/db:*"
    )


def test_how_many_all_are_is_what_the_slots_have() -> None:
    slot = next(spec for spec in SLOTS if spec.pool.name == "every")
    assert "every" not in gpus_of_pools(Desired(SLOTS))
    found = gpus_of_pools(Desired((replace(slot, lease=("GPU-1", "GPU-2", "GPU-3")),)))
    assert found == {"every": 3}


@pytest.mark.parametrize(
    ("found", "status", "told"),
    [
        (
            submitted(gpus=8),
            404,
            "no pool with a queue has slots with 8 GPUs; there are slots with 0, 2, 4",
        ),
        (
            submitted(gpus=1, wanted="pair"),
            404,
            "slots of pool pair have 2 GPUs, not 1",
        ),
        (
            submitted(gpus=1, wanted="every"),
            404,
            "how many GPUs slots of pool every have is not known yet: see `mayfly gpus`",
        ),
        (
            submitted(gpus=2, cuda=("12.8",)),
            404,
            "no pool with a queue has CUDA 12.8; there are: 13.0",
        ),
        (
            submitted(cuda=("9.9",)),
            404,
            "no pool with a queue has CUDA 9.9; there are: 11.8, 12.8, 13.0",
        ),
        (
            submitted(image="lab/torch:2", cuda=("12.8",)),
            400,
            "an image has the CUDA that is in it: ask for image or cuda, not for both",
        ),
        (
            submitted(image="lab/other:1"),
            409,
            (
                "no pool with a queue lets jobs ask for image lab/other:1; which pools allow which: "
                "made: lab/torch:*, lab/jax:1; again: lab/jax:1"
            ),
        ),
        (
            submitted(image="lab/torch:2", wanted="plain"),
            409,
            (
                'pool "plain" does not let jobs ask for image lab/torch:2; which pools allow which: '
                "made: lab/torch:*, lab/jax:1; again: lab/jax:1"
            ),
        ),
        (
            submitted(image="lab/torch:2", gpus=2),
            409,
            (
                "no pool whose slots have 2 GPUs lets jobs ask for image lab/torch:2; which pools allow "
                "which: made: lab/torch:*, lab/jax:1; again: lab/jax:1"
            ),
        ),
        (
            submitted(image="lab/jax:1"),
            400,
            "there are several queues, name one with --pool: made, again",
        ),
        (
            submitted(image="lab/torch:2", seen={"lab/torch:2": None}),
            409,
            "image lab/torch:2 is not on this Engine: `sudo docker pull lab/torch:2`, or build it there",
        ),
        (
            submitted(image="lab/torch:2", seen={"lab/torch:2": ImageSeen("id", None)}),
            409,
            (
                "image lab/torch:2 has no Mayfly gate (label io.mayfly.gate): `mayfly images build cpu "
                "--base lab/torch:2 --tag NAME` makes one on it that has"
            ),
        ),
        (
            submitted(wanted="new", cuda=("11.8",)),
            404,
            "pool new has CUDA 12.8, not 11.8",
        ),
        (
            submitted(wanted="plain", cuda=("all",)),
            404,
            "pool plain has no CUDA",
        ),
        (
            submitted(BEN, wanted="root"),
            403,
            "jobs of pool root may become root (sudo): ben may not submit there",
        ),
        (
            submitted(BEN, wanted="plain", priority=Priority.HIGH),
            403,
            "priority high is for operators (group mayfly): ben may ask for normal or low",
        ),
        (
            # As many as nobody could make to count them.
            submitted(wanted="plain", matrix=dict.fromkeys("ABCD", tuple(map(str, range(1000))))),
            400,
            f"that makes 1000000000000 jobs, and a group has at most {MOST}",
        ),
        (
            submitted(
                wanted="plain",
                after=("g",),
                named={"g": {JobId(f"g-{n}"): JobState.SUCCEEDED for n in range(MOST + 1)}},
            ),
            400,
            f"a job runs after {MOST} others at most, and these are {MOST + 1}",
        ),
        (submitted(wanted="plain", after=("j9",)), 404, "there is no job j9: see `mayfly jobs`"),
        (
            submitted(wanted="plain", after=("j1",), named={"j1": {JobId("j1"): JobState.FAILED}}),
            409,
            "it would never run: job j1, which it was to run after, failed",
        ),
        (
            submitted(wanted="plain", after=("j1",), named={"j1": {JobId("j1"): JobState.RUNNING}}),
            409,
            "job j1 ends at this moment: submit again",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_whole_and_says_why(
    found: tuple[Entry, ...] | Refusal, status: int, told: str
) -> None:
    assert isinstance(found, Refusal)
    assert (found.status, found.sentence) == (status, told)


def test_what_a_job_is_to_run_after_is_waited_for_unless_it_ended_well() -> None:
    open_ = Job(JobId("j2"), PoolName("plain"), 2, T)
    grouped = Job(JobId("g-2"), PoolName("plain"), 3, T, group=JobId("g"))
    memory = Memory(jobs={open_.id: open_, grouped.id: grouped}, serial=9)
    named = {
        "j1": {JobId("j1"): JobState.SUCCEEDED},
        "g": {JobId("g-1"): JobState.SUCCEEDED, JobId("g-2"): JobState.QUEUED},
    }
    found = submitted(wanted="plain", after=("j1", "j2", "g"), memory=memory, named=named)
    assert not isinstance(found, Refusal)
    (entry,) = found
    assert entry.job.after == ("j1", "j2", "g-1", "g-2")
    assert entry.job.awaits == ("j2", "g-2")


def test_what_a_job_waits_for_and_how_it_is_told_apart_takes_of_the_room_of_its_owner() -> None:
    named = {"g": {JobId(f"g-{n}"): JobState.SUCCEEDED for n in range(MOST)}}
    long = {"SEED": ("x" * 100_000, "y")}
    found = submitted(wanted="plain", after=("g",), named=named, matrix=long)
    assert not isinstance(found, Refusal)
    first = found[0].job
    assert first.variant == "SEED=" + "x" * 42 + "…", "and is not kept whole"
    assert first.size == found[0].payload.size + len(first.variant) + sum(map(len, first.after))


def test_a_group_for_which_there_is_no_room_is_not_taken_in_part() -> None:
    waiting = {
        JobId(f"j{n}"): Job(JobId(f"j{n}"), PoolName("plain"), n, T, uid=ANN.uid)
        for n in range(ROOM.of_one.jobs - 2)
    }
    memory = Memory(jobs=waiting)
    matrix = {"SEED": ("1", "2", "3")}
    found = submitted(wanted="plain", matrix=matrix, memory=memory)
    assert isinstance(found, Refusal)
    assert found.sentence == (
        f"the queue is full: with these 3 the jobs of ann that wait would be more than {ROOM.of_one.jobs};"
        " wait, or cancel some"
    )
    two = {"SEED": ("1", "2")}
    assert len(taken(submitted(wanted="plain", matrix=two, memory=memory))) == 2


def test_what_a_job_brings_has_to_be_kept_of_its_owner_and_fit_its_pool() -> None:
    digest = "0" * 64
    (entry,) = submitted(wanted="plain", workspace=digest, stdin=digest, out=("results",))  # type: ignore[misc]
    assert (entry.job.workspace, entry.job.stdin, entry.job.out) == (digest, digest, ("results",))
    assert entry.job.brings
    refused = submitted(wanted="plain", workspace=digest, unsent=(digest,))
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.kind) == (409, "no_such_workspace")
    shut = submitted(wanted="shut", out=("results",))
    assert isinstance(shut, Refusal)
    assert (shut.status, shut.kind) == (409, "refused")
    assert not isinstance(submitted(wanted="shut"), Refusal)
