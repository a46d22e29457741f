"""What the control socket takes as a command: each path, and how its request becomes a value of the core.

``COMMAND_ROUTES`` is the whole table; nothing past this file sees a body. A request that cannot be meant is a
``BadRequest``. Whether a slot or a job exists is not asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mayfly.core.commands import (
    Caller,
    CancelJobs,
    Command,
    CordonSlots,
    DrainSlots,
    ExtendHold,
    ExtendReservation,
    HealGpu,
    HoldJob,
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
from mayfly.core.model import JobId, SlotName
from mayfly.core.runs import JOBS_MOST, PATH_MAX, REF_MAX, SUBJECT_MAX, Origin
from mayfly.core.submitting import MOST
from mayfly.service import parameters


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """A request for a command, not yet understood."""

    by: Caller
    given: Mapping[str, object]  # its body: no keys but those of the route
    names: Mapping[str, str]  # in its path
    all_slots: Sequence[str]  # of this host, as published: for a body that names none


@dataclass(frozen=True, slots=True)
class CommandRoute:
    """One path that leads to a command."""

    method: str
    path: str  # with {names}
    body: tuple[str, ...]  # the keys that it may have
    does: str
    parse: Callable[[CommandRequest], Command]


def submit(request: CommandRequest) -> SubmitJob:
    """All of ``SUBMISSION``."""
    given = request.given
    payload = Payload(parameters.argv(given.get("argv")), parameters.env(given.get("env")))
    matrix = parameters.matrix(given.get("matrix"))
    for key in matrix:
        if key in payload.env:
            raise parameters.BadRequest(f"matrix: {key} is a variable of env already")
    return SubmitJob(
        request.by,
        payload,
        pool=parameters.text(given.get("pool"), "pool"),
        timeout=parameters.seconds(given.get("timeout"), "timeout"),
        name=parameters.job_name(given.get("name")),
        priority=parameters.priority(given.get("priority")),
        after=parameters.names(given.get("after"), "after") or (),
        retry_lost=parameters.count(given.get("retry_lost"), "retry_lost", RETRIES),
        cuda=parameters.versions(given.get("cuda")),
        gpus=parameters.count_or_none(given.get("gpus"), "gpus", GPUS),
        matrix=matrix,
        workspace=parameters.digest(given.get("workspace"), "workspace"),
        stdin=parameters.digest(given.get("stdin"), "stdin"),
        out=parameters.paths(given.get("out")),
        image=parameters.image(given.get("image")),
        hold=parameters.flag(given.get("hold"), "hold"),
        hold_seconds=parameters.seconds(given.get("hold_for"), "hold_for"),
    )


def estimated(request: CommandRequest) -> SubmitJob:
    """All of ``ESTIMATE``: a submission whose command and variables say nothing of where it would stand."""
    given = request.given
    return SubmitJob(
        request.by,
        Payload(("true",), {}),
        pool=parameters.text(given.get("pool"), "pool"),
        timeout=None,
        priority=parameters.priority(given.get("priority")),
        cuda=parameters.versions(given.get("cuda")),
        gpus=parameters.count_or_none(given.get("gpus"), "gpus", GPUS),
        matrix=parameters.matrix(given.get("matrix")),
        out=parameters.paths(given.get("out")),
        image=parameters.image(given.get("image")),
    )


def submit_run(request: CommandRequest) -> SubmitRun:
    """All of ``RUN``; each of ``tasks`` has keys of ``TASK``."""
    given = request.given
    repository = parameters.text(given.get("repository"), "repository", PATH_MAX)
    if repository is None:
        raise parameters.BadRequest("repository must say what the run is of")
    origin = Origin(
        repository,
        ref=parameters.text(given.get("ref"), "ref", REF_MAX),
        commit=parameters.commit(given.get("commit"), "commit"),
        base=parameters.commit(given.get("base"), "base"),
        subject=parameters.text(given.get("subject"), "subject", SUBJECT_MAX) or "",
    )
    tasks = given.get("tasks")
    if not isinstance(tasks, list) or not 0 < len(tasks) <= JOBS_MOST:
        raise parameters.BadRequest(f"tasks must be a list of 1 to {JOBS_MOST} jobs")
    jobs = tuple(map(_task, range(len(tasks)), tasks))
    workspace = parameters.digest(given.get("workspace"), "workspace")
    if len({job.image for job in jobs}) > IMAGES_MOST:
        raise parameters.BadRequest(f"tasks ask for more than {IMAGES_MOST} images")
    return SubmitRun(request.by, origin, jobs, workspace)


def _task(place: int, given: object) -> RunJob:
    try:
        known = parameters.keys(given, TASK)
        return RunJob(
            Payload(parameters.argv(known.get("argv")), parameters.env(known.get("env"))),
            pool=parameters.text(known.get("pool"), "pool"),
            timeout=parameters.seconds(known.get("timeout"), "timeout"),
            name=parameters.job_name(known.get("name")),
            cuda=parameters.version(known.get("cuda")),
            after=parameters.places(known.get("after"), "after", place, MOST),
            out=parameters.paths(known.get("out")),
            image=parameters.image(known.get("image")),
        )
    except parameters.BadRequest as error:
        raise parameters.BadRequest(f"tasks[{place}]: {error}") from error


def reserve(request: CommandRequest) -> ReserveGpus:
    """All of ``RESERVATION``; ``for`` in seconds, ``at`` as RFC 3339."""
    given = request.given
    lasting = parameters.seconds(given.get("for"), "for")
    if lasting is None:
        raise parameters.BadRequest("for must say how many seconds GPUs are reserved")
    return ReserveGpus(
        request.by,
        parameters.count_or_none(given.get("gpus"), "gpus", GPUS) or 1,
        lasting,
        start=parameters.moment(given.get("at"), "at"),
        pool=parameters.text(given.get("pool"), "pool"),
        shell=not parameters.flag(given.get("outside"), "outside"),
        workspace=parameters.digest(given.get("workspace"), "workspace"),
        image=parameters.image(given.get("image")),
    )


def extend(request: CommandRequest) -> ExtendReservation:
    """``{for}``, in seconds; the reservation is in the path."""
    lasting = parameters.seconds(request.given.get("for"), "for")
    if lasting is None:
        raise parameters.BadRequest("for must say how many seconds more")
    return ExtendReservation(request.by, request.names["reservation"], lasting)


def release(request: CommandRequest) -> ReleaseReservation:
    """No body: the reservation is in the path."""
    return ReleaseReservation(request.by, request.names["reservation"])


def cancel(request: CommandRequest) -> CancelJobs:
    """No body: the job, or the group, is in the path."""
    return CancelJobs(request.by, (request.names["job"],))


def cancel_many(request: CommandRequest) -> CancelJobs:
    """``{jobs}``: jobs and groups."""
    jobs = parameters.names(request.given.get("jobs"), "jobs")
    if jobs is None:
        raise parameters.BadRequest("jobs must name what is to be cancelled")
    return CancelJobs(request.by, jobs)


def hold(request: CommandRequest) -> HoldJob:
    """``{seconds}``; the job, or the slot that has it, is in the path."""
    seconds = parameters.seconds(request.given.get("seconds"), "seconds")
    return HoldJob(request.by, *_held(request), seconds)


def extend_hold(request: CommandRequest) -> ExtendHold:
    """``{seconds}``: how much longer."""
    seconds = parameters.seconds(request.given.get("seconds"), "seconds")
    if seconds is None:
        raise parameters.BadRequest("seconds must say how much longer it is to be held")
    return ExtendHold(request.by, *_held(request), seconds)


def release_hold(request: CommandRequest) -> ReleaseHold:
    """No body."""
    return ReleaseHold(request.by, *_held(request))


def _held(request: CommandRequest) -> tuple[JobId | SlotName, bool]:
    slot = request.names.get("slot")
    return (SlotName(slot), True) if slot is not None else (JobId(request.names["job"]), False)


def cordon(request: CommandRequest) -> CordonSlots:
    """``{slots, until, note}``; ``until`` as RFC 3339."""
    return CordonSlots(
        request.by,
        _slots(request),
        until=parameters.moment(request.given.get("until"), "until"),
        note=_note(request),
    )


def uncordon(request: CommandRequest) -> UncordonSlots:
    """``{slots}``."""
    return UncordonSlots(request.by, _slots(request))


def drain(request: CommandRequest) -> DrainSlots:
    """``{slots, force, note}``; no slots means all."""
    return DrainSlots(
        request.by,
        parameters.names(request.given.get("slots"), "slots"),
        force=parameters.flag(request.given.get("force"), "force"),
        note=_note(request),
    )


def recycle(request: CommandRequest) -> RecycleSlots:
    """``{slots}``."""
    return RecycleSlots(request.by, _slots(request))


def retry(request: CommandRequest) -> RetrySlots:
    """``{slots}``."""
    return RetrySlots(request.by, _slots(request))


def heal(request: CommandRequest) -> HealGpu:
    """``{gpu, dry_run}``; no GPU means the only one that a reset may mend."""
    return HealGpu(
        request.by,
        parameters.text(request.given.get("gpu"), "gpu"),
        dry_run=parameters.flag(request.given.get("dry_run"), "dry_run"),
    )


def pause(request: CommandRequest) -> PauseManager:
    """``{note}``."""
    return PauseManager(request.by, _note(request))


def resume(request: CommandRequest) -> ResumeManager:
    """No body."""
    return ResumeManager(request.by)


def reload(request: CommandRequest) -> ReloadConfig:
    """``{dry_run}``."""
    return ReloadConfig(
        request.by, dry_run=parameters.flag(request.given.get("dry_run"), "dry_run")
    )


def plan(request: CommandRequest) -> PlanAhead:
    """No body."""
    return PlanAhead(request.by)


RETRIES = 10  # that one may ask for
GPUS = 64  # the same
IMAGES_MOST = 64  # of one run: each is looked for
SUBMISSION = (
    *("argv", "env", "pool", "timeout", "name", "priority", "after", "retry_lost", "cuda"),
    *("gpus", "matrix", "workspace", "stdin", "out", "image", "hold", "hold_for"),
)
ESTIMATE = ("pool", "priority", "cuda", "gpus", "matrix", "out", "image")
RESERVATION = ("gpus", "for", "at", "pool", "outside", "workspace", "image")
RUN = ("repository", "ref", "commit", "base", "subject", "workspace", "tasks")
TASK = ("argv", "env", "pool", "timeout", "name", "cuda", "after", "out", "image")
COMMAND_ROUTES = (
    CommandRoute("GET", "/v1/plan", (), "what the next pass would do", plan),
    CommandRoute("POST", "/v1/jobs", SUBMISSION, "queue a job, or a group of them", submit),
    CommandRoute("POST", "/v1/runs", RUN, "queue the jobs of a push as one", submit_run),
    CommandRoute("POST", "/v1/reservations", RESERVATION, "reserve GPUs for a while", reserve),
    CommandRoute(
        "POST", "/v1/reservations/{reservation}/extend", ("for",), "let one end later", extend
    ),
    CommandRoute("POST", "/v1/reservations/{reservation}/release", (), "give one back", release),
    CommandRoute("POST", "/v1/jobs/{job}/cancel", (), "end a job, or all of a group", cancel),
    *(
        CommandRoute("POST", f"/v1/{whose}/{verb}", body, does, parse)
        for whose in ("jobs/{job}", "slots/{slot}")
        for verb, body, does, parse in (
            ("hold", ("seconds",), "hold its container once it has ended", hold),
            ("extend", ("seconds",), "hold it for longer", extend_hold),
            ("release", (), "give a held container up", release_hold),
        )
    ),
    CommandRoute("POST", "/v1/cancel", ("jobs",), "end several jobs", cancel_many),
    CommandRoute("POST", "/v1/cordon", ("slots", "until", "note"), "no new agent or job", cordon),
    CommandRoute("POST", "/v1/uncordon", ("slots",), "fill again", uncordon),
    CommandRoute("POST", "/v1/drain", ("slots", "force", "note"), "empty slots", drain),
    CommandRoute("POST", "/v1/pause", ("note",), "observe only", pause),
    CommandRoute("POST", "/v1/resume", (), "act again", resume),
    CommandRoute("POST", "/v1/recycle", ("slots",), "fresh agents", recycle),
    CommandRoute("POST", "/v1/retry", ("slots",), "forget back-off", retry),
    CommandRoute("POST", "/v1/gpus/heal", ("gpu", "dry_run"), "reset a sick GPU", heal),
    CommandRoute("POST", "/v1/reload", ("dry_run",), "read the config again", reload),
)


def _slots(request: CommandRequest) -> tuple[str, ...]:
    return parameters.names(request.given.get("slots"), "slots") or tuple(request.all_slots)


def _note(request: CommandRequest) -> str:
    return parameters.text(request.given.get("note"), "note", parameters.NOTE_MAX) or ""
