"""What a submission comes to: which pools its jobs go to, and how many there are.

Pure. One submission is one job, or with a matrix or several CUDA versions a group of them: all of it is
taken, or nothing. What is refused is refused in a sentence that says what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import Caller, Payload, RunJob, SubmitJob, SubmitRun
from mayfly.core.contained_job import contains
from mayfly.core.desire import problem_with_job_image
from mayfly.core.held_jobs import usual, why_not_submitted
from mayfly.core.images import parse
from mayfly.core.job_images import allows, offers
from mayfly.core.memory import HoldWish, Job, Memory
from mayfly.core.model import (
    Config,
    Desired,
    JobId,
    JobState,
    PoolName,
    PoolSpec,
    Priority,
)
from mayfly.core.queue import in_vain
from mayfly.core.queue_room import no_room
from mayfly.core.runs import JOBS_MOST, variables
from mayfly.core.workspace import problem_with_pool

ALL = "all"  # as a CUDA version: each that a pool with a queue has
MOST = 256  # jobs of one group, and jobs that one runs after
SHOWN = 48  # characters of a variable in a list
OPEN = (JobState.QUEUED, JobState.RUNNING)


Members = Mapping[JobId, JobState]  # of a group, or the one job of that id


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that is to be queued."""

    job: Job
    payload: Payload


def entries(
    command: SubmitJob,
    config: Config,
    desired: Desired,
    memory: Memory,
    now: float,
    *,
    new: JobId,
    named: Mapping[str, Members],
    unsent: tuple[str, ...] = (),
) -> tuple[Entry, ...] | Refusal:
    """The jobs that are taken; ``new`` is the id of the only one, or of the group.

    ``named`` has the jobs that are named by ``after``, as the disk has them; ``unsent`` what the job is to
    bring and its owner has not sent.
    """
    by = command.by
    if command.priority is Priority.HIGH and not by.operator:
        sentence = (
            f"priority high is for operators (group mayfly): {by.name} may ask for normal or low"
        )
        return Refusal(403, "forbidden", sentence)
    pools = _pools(command, config, desired)
    if isinstance(pools, Refusal):
        return pools
    if problem := unfit(command, [pool for pool, _ in pools], desired, unsent):
        return problem
    after = _after(command.after, memory, named)
    if isinstance(after, Refusal):
        return after
    many = len(pools) * prod(len(values) for values in command.matrix.values())
    if many > MOST:  # before any of them is made
        sentence = f"that makes {many} jobs, and a group has at most {MOST}"
        return Refusal(400, "bad_request", sentence)
    combinations = [
        (pool, cuda, dict(zip(command.matrix, values, strict=True)))
        for pool, cuda in pools
        for values in product(*command.matrix.values())
    ]
    grouped = bool(command.matrix) or len(command.cuda) > 1 or ALL in command.cuda
    found = []
    for number, (pool, cuda, values) in enumerate(combinations, start=1):
        payload = replace(command.payload, env={**command.payload.env, **values})
        variant = _variant(cuda, values) if grouped else ""
        job = Job(
            id=JobId(f"{new}-{number}") if grouped else new,
            pool=pool.name,
            serial=memory.serial + number,
            submitted=now,
            timeout=command.timeout,
            uid=by.uid,
            owner=by.name,
            size=payload.size + len(variant) + sum(map(len, (*after[0], *after[1]))),
            name=command.name,
            priority=command.priority,
            group=new if grouped else None,
            variant=variant,
            after=after[0],
            awaits=after[1],
            retry_lost=command.retry_lost,
            workspace=command.workspace,
            stdin=command.stdin,
            out=command.out,
            image=_agents_image(pool, command.image),
            container=_containers_image(pool, command.image),
            hold=_hold(command, pool),
        )
        found.append(Entry(job, payload))
    return _with_room(found, memory, by) or tuple(found)


def _hold(command: SubmitJob, pool: PoolSpec) -> HoldWish | None:
    """What is wished of its container once it has ended; ``None``: as its pool has it."""
    if not command.hold:
        return None
    return HoldWish(command.hold_seconds or usual(pool), command.by.name)


def _agents_image(pool: PoolSpec, image: str | None) -> str | None:
    """The image that the job's agent is to be of; ``None``: its pool's own."""
    return image if image is not None and allows(pool, image) else None


def _containers_image(pool: PoolSpec, image: str | None) -> str | None:
    """The image of the container that the job runs in; ``None``: it runs in its agent itself."""
    return None if image is None or allows(pool, image) else image


def run_entries(
    command: SubmitRun,
    config: Config,
    desired: Desired,
    memory: Memory,
    now: float,
    *,
    new: JobId,
    unsent: tuple[str, ...] = (),
) -> tuple[Entry, ...] | Refusal:
    """The jobs of a run that is taken, of which ``new`` is the id."""
    by = command.by
    if len(command.jobs) > JOBS_MOST:
        sentence = f"these are {len(command.jobs)} jobs, and a run has at most {JOBS_MOST}"
        return Refusal(400, "bad_request", sentence)
    found: list[Entry] = []
    told = variables(new, command.origin)
    for number, wanted in enumerate(command.jobs, start=1):
        alone = _alone(command, wanted)
        pools = _pools(alone, config, desired)
        if isinstance(pools, Refusal):
            return replace(pools, sentence=f"{_which(number, wanted)}: {pools.sentence}")
        if problem := unfit(alone, [pool for pool, _ in pools], desired, unsent):
            return replace(problem, sentence=f"{_which(number, wanted)}: {problem.sentence}")
        after = tuple(found[place].job.id for place in wanted.after)
        payload = replace(wanted.payload, env={**wanted.payload.env, **told})
        job = Job(
            id=JobId(f"{new}-{number}"),
            pool=pools[0][0].name,
            serial=memory.serial + number,
            submitted=now,
            timeout=wanted.timeout,
            uid=by.uid,
            owner=by.name,
            size=payload.size + 2 * sum(map(len, after)) + sum(map(len, wanted.out)),
            name=wanted.name,
            group=new,
            after=after,
            awaits=after,
            workspace=command.workspace,
            out=wanted.out,
            image=_agents_image(pools[0][0], wanted.image),
            container=_containers_image(pools[0][0], wanted.image),
        )
        found.append(Entry(job, payload))
    return _with_room(found, memory, by) or tuple(found)


def _alone(command: SubmitRun, wanted: RunJob) -> SubmitJob:
    """A job of a run as it would be submitted by itself."""
    return SubmitJob(
        *(command.by, wanted.payload, wanted.pool, wanted.timeout),
        cuda=() if wanted.cuda is None else (wanted.cuda,),
        workspace=command.workspace,
        out=wanted.out,
        image=wanted.image,
        seen=command.seen,
    )


def _which(number: int, wanted: RunJob) -> str:
    return f"job {number}" if wanted.name is None else f"job {wanted.name}"


def unfit(
    command: SubmitJob, pools: Iterable[PoolSpec], desired: Desired, unsent: tuple[str, ...]
) -> Refusal | None:
    """Why the job cannot bring, or have brought back, what it is to."""
    pools = list(pools)
    if command.hold:
        unheld = why_not_submitted(pools, desired.slots, command.hold_seconds)
        if unheld is not None:
            return Refusal(409, "refused", unheld)
    if unsent:
        sentence = f"{unsent[0][:12]} is not kept of {command.by.name} (any more): send it again"
        return Refusal(409, "no_such_workspace", sentence)
    if command.workspace is None and command.stdin is None and not command.out:
        return None
    for pool in pools:
        if (why := problem_with_pool(pool, takes=bool(command.out))) is not None:
            return Refusal(409, "refused", why)
        lost = any(
            spec.pool.name == pool.name and not spec.engine.keeps_files for spec in desired.slots
        )
        if command.out and lost:
            sentence = (
                f"nothing is brought back from pool {pool.name}: its engine keeps no files of an agent that "
                "has ended; have the job store them, or write them to a cache"
            )
            return Refusal(409, "refused", sentence)
    return None


def _variant(cuda: str, values: Mapping[str, str]) -> str:
    """What is different about a job of a group, as a list shows it: long values by their beginning."""
    told = [f"cuda={cuda}"] if cuda else []
    for key, value in values.items():
        line = f"{key}={value}"
        told.append(line if len(line) <= SHOWN else line[: SHOWN - 1] + "…")
    return " ".join(told)


def _with_room(found: list[Entry], memory: Memory, by: Caller) -> Refusal | None:
    size = sum(entry.job.size for entry in found)
    full = no_room(memory.jobs.values(), by, size, count=len(found))
    if full is None:
        return None
    return Refusal(429, "queue_full", f"the queue is full: {full}; wait, or cancel some")


# -- which pools -------------------------------------------------------------------------------------


def _pools(
    command: SubmitJob, config: Config, desired: Desired
) -> list[tuple[PoolSpec, str]] | Refusal:
    """Each pool that a job is to go to, with the CUDA version that was asked for; "": none was."""
    queues = [pool for pool in config.pools if pool.embedded]
    if not queues:
        sentence = 'no pool with provider "local" is configured: add one'
        return Refusal(409, "no_queue", sentence)
    if command.pool is not None:
        queues = [pool for pool in queues if pool.name == command.pool]
        if not queues:
            there = ", ".join(pool.name for pool in config.pools if pool.embedded)
            sentence = f'there is no pool "{command.pool}" with a queue; there are: {there}'
            return Refusal(404, "no_such_pool", sentence)
    if command.gpus is not None:
        found = _with_gpus(command, queues, gpus_of_pools(desired))
        if isinstance(found, Refusal):
            return found
        queues = found
    if command.image is not None:
        found = _with_image(command.image, command, queues, config)
        if isinstance(found, Refusal):
            return found
        queues = found
    mayed = [pool for pool in queues if command.by.operator or not pool.sudo]
    if command.cuda:
        return _by_cuda(command, mayed or queues, cuda_of_pools(desired))
    if command.gpus is not None:
        return _permitted(command.by, [((mayed or queues)[0], "")])
    if command.image is not None:
        queues = mayed or queues
    if len(queues) > 1:
        there = ", ".join(pool.name for pool in queues)
        sentence = f"there are several queues, name one with --pool: {there}"
        return Refusal(400, "which_pool", sentence)
    return _permitted(command.by, [(queues[0], "")])


def _with_gpus(
    command: SubmitJob, queues: list[PoolSpec], gpus: Mapping[PoolName, int]
) -> list[PoolSpec] | Refusal:
    """The pools whose slots have just so many."""
    found = [pool for pool in queues if gpus.get(pool.name) == command.gpus]
    if found:
        return found
    there = sorted({gpus[pool.name] for pool in queues if pool.name in gpus})
    if command.pool is not None:
        sentence = (
            f"how many GPUs slots of pool {command.pool} have is not known yet: see `mayfly gpus`"
        )
        if there:
            sentence = f"slots of pool {command.pool} have {there[0]} GPUs, not {command.gpus}"
    else:
        told = f"; there are slots with {', '.join(map(str, there))}" if there else ""
        sentence = f"no pool with a queue has slots with {command.gpus} GPUs{told}"
    return Refusal(404, "no_such_pool", sentence)


def _with_image(
    image: str, command: SubmitJob, queues: list[PoolSpec], config: Config
) -> list[PoolSpec] | Refusal:
    """The pools that allow the image, where agents can be made of it, as far as that is known; or else those
    whose jobs may run in a container of it.
    """
    if command.cuda:
        sentence = "an image has the CUDA that is in it: ask for image or cuda, not for both"
        return Refusal(400, "bad_request", sentence)
    found = [pool for pool in queues if allows(pool, image)]
    if not found:
        beside = [pool for pool in queues if contains(pool, image)]
        return beside or Refusal(409, "refused", _not_allowed(image, command, queues, config))
    if image in command.seen:
        why = problem_with_job_image(image, command.seen[image], found[0])
        if why is not None:
            return Refusal(409, "refused", why)
    return found


def _not_allowed(image: str, command: SubmitJob, queues: list[PoolSpec], config: Config) -> str:
    elsewhere = offers(config.pools)
    if command.pool is not None:
        whose = f'pool "{command.pool}" does not let jobs ask for image {image}'
    elif command.gpus is not None and offers(queues) != elsewhere:
        whose = f"no pool whose slots have {command.gpus} GPUs lets jobs ask for image {image}"
    else:
        whose = f"no pool with a queue lets jobs ask for image {image}"
    if elsewhere:
        return f"{whose}; which pools allow which: {elsewhere}"
    return f"{whose}: none has job_images, or containers, in the configuration"


def _by_cuda(
    command: SubmitJob, queues: list[PoolSpec], versions: Mapping[PoolName, str]
) -> list[tuple[PoolSpec, str]] | Refusal:
    first: dict[str, PoolSpec] = {}
    for pool in queues:
        if (version := versions.get(pool.name)) is not None:
            first.setdefault(version, pool)
    there = sorted(first, key=parse)
    wanted = there if ALL in command.cuda else list(command.cuda)
    missing = next((version for version in wanted if version not in first), None)
    if missing is not None or not wanted:
        return Refusal(404, "no_such_pool", _without(command.pool, missing, there))
    return _permitted(command.by, [(first[version], version) for version in wanted])


def _without(pool: str | None, missing: str | None, there: list[str]) -> str:
    if pool is not None:
        return f"pool {pool} has " + (f"CUDA {there[0]}, not {missing}" if there else "no CUDA")
    if not there:
        return "no pool with a queue has CUDA: see `mayfly images list`"
    return f"no pool with a queue has CUDA {missing}; there are: {', '.join(there)}"


def _permitted(
    by: Caller, pools: list[tuple[PoolSpec, str]]
) -> list[tuple[PoolSpec, str]] | Refusal:
    for pool, _ in pools:
        if pool.sudo and not by.operator:
            sentence = (
                f"jobs of pool {pool.name} may become root (sudo): {by.name} may not submit there"
            )
            return Refusal(403, "forbidden", sentence)
    return pools


def cuda_of_pools(desired: Desired) -> dict[PoolName, str]:
    """The CUDA version of each pool that has one: which it names, or that of the image chosen for it."""
    found: dict[PoolName, str] = {}
    for spec in desired.slots:
        told = re.search(r":cuda([0-9]+\.[0-9]+)$", spec.reference)
        version = spec.pool.cuda or (told.group(1) if told is not None else None)
        if version is not None:
            found.setdefault(spec.pool.name, version)
    return found


def gpus_of_pools(desired: Desired) -> dict[PoolName, int]:
    """How many GPUs each slot of a pool has; left out where that is "all" and not known yet."""
    found: dict[PoolName, int] = {}
    for spec in desired.slots:
        asked = spec.pool.gpus
        if spec.lease:
            found.setdefault(spec.pool.name, len(spec.lease))
        elif spec.pool.devices:
            found.setdefault(spec.pool.name, spec.pool.devices)
        elif asked != "all":
            found.setdefault(spec.pool.name, asked if isinstance(asked, int) else len(asked))
    return found


# -- after which jobs --------------------------------------------------------------------------------


def members(name: str, memory: Memory, named: Mapping[str, Members]) -> dict[JobId, JobState]:
    """The job of that id, or the jobs of that group, and how they stand; empty where there is none.

    One that the disk has as open and the memory no longer has ends at this moment, and is left as it stands.
    """
    found = dict(named.get(name, {}))
    alone = memory.jobs.get(JobId(name))
    if alone is not None:  # a group is called as no job is
        return found | {alone.id: alone.state}
    return found | {job.id: job.state for job in memory.jobs.values() if name == job.group}


def _after(
    names: Iterable[str], memory: Memory, named: Mapping[str, Members]
) -> tuple[tuple[JobId, ...], tuple[JobId, ...]] | Refusal:
    """All jobs that are to end well first, and those of them that have not ended."""
    every: dict[JobId, None] = {}
    open_: dict[JobId, None] = {}
    for name in names:
        known = members(name, memory, named)
        if not known:
            return Refusal(404, "no_such_job", f"there is no job {name}: see `mayfly jobs`")
        for job, state in known.items():
            every[job] = None
            if job in memory.jobs:
                open_[job] = None
            elif state in OPEN:
                return Refusal(409, "ended", f"job {job} ends at this moment: submit again")
            elif state is not JobState.SUCCEEDED:
                return Refusal(409, "ended", f"it would never run: {in_vain(job, state)}")
    if len(every) > MOST:
        sentence = f"a job runs after {MOST} others at most, and these are {len(every)}"
        return Refusal(400, "bad_request", sentence)
    return tuple(every), tuple(open_)
