"""What is told of who waits, of reservations, tokens, images and GPUs."""

from __future__ import annotations

from dataclasses import replace

from mayfly.core.desire import ImageSeen, Survey
from mayfly.core.gpu_health import Reading, Vitals
from mayfly.core.gpus import Gpus
from mayfly.core.memory import Memory
from mayfly.core.model import Desired, Generation, JobId, PoolName
from mayfly.core.reservations import Reservation
from mayfly.core.state import State
from mayfly.core.token_end import Credential
from mayfly.core.waiting import Queue, Queues
from tests.service.exposition import CONFIG, DEVICE, GITHUB, NOW, begun, queued, specs, state


def value(known: State, name: str, **labels: str) -> float | None:
    return begun(known).registry.get_sample_value(f"mayfly_{name}", labels)


def test_the_longest_wait_is_of_a_job_that_could_run() -> None:
    jobs = (
        queued(1),
        queued(3),
        queued(7, agent=Generation("g")),  # it runs
        queued(8, after=(JobId("j1"),), awaits=(JobId("j1"),)),
        queued(9, after=(JobId("j0"),)),  # that has ended a moment ago
        queued(10, lost=1),  # it ran meanwhile
        queued(11, forsaken="what it awaited has failed"),
        queued(12),  # a shell that is to begin tonight
    )
    shell = Reservation(JobId("j12"), PoolName("local"), 1, "ann", 1, 1, NOW + 60, 60.0, NOW)
    memory = Memory(jobs={job.id: job for job in jobs}, reservations={shell.id: shell})
    known = state(memory)
    assert value(known, "jobs_longest_wait_seconds", pool="local") == 30.0
    assert value(known, "jobs_longest_wait_seconds", pool="gpu") == 0.0
    assert value(known, "jobs_longest_wait_seconds", pool="forge") is None


def test_where_the_pages_are_is_told_where_that_is_configured() -> None:
    url = "https://docs.lab.example/mayfly/how-to/troubleshooting.html"
    known = state()
    host = replace(known.config.host, docs="https://docs.lab.example/mayfly/")
    told = replace(known, config=replace(known.config, host=host))
    assert value(told, "docs_info", url=url) == 1
    assert b"mayfly_docs_info{" not in begun(replace(known, config=CONFIG)).text()


def test_what_waits_at_a_service_is_told_as_of_the_last_look_and_not_once_that_failed() -> None:
    assert value(state(), "service_jobs_waiting", pool="forge") == 1
    assert value(state(), "service_jobs_longest_wait_seconds", pool="forge") == 50.0
    nobody = replace(state(), queues=Queues({GITHUB.name: Queue(NOW, seen=NOW)}))
    assert value(nobody, "service_jobs_waiting", pool="forge") == 0
    assert value(nobody, "service_jobs_longest_wait_seconds", pool="forge") == 0.0
    unknown = replace(state(), queues=Queues({GITHUB.name: Queue(NOW)}))
    assert value(unknown, "service_jobs_waiting", pool="forge") is None


def test_reservations_are_counted_by_whether_they_have_begun() -> None:
    ahead = Reservation(JobId("r1"), PoolName("local"), 1000, "ann", 1, 1, NOW + 60, 60.0, NOW)
    others = replace(ahead, id=JobId("r2")), replace(ahead, id=JobId("r3"), began=NOW)
    known = state(Memory(reservations={one.id: one for one in (ahead, *others)}))
    assert value(known, "reservations", pool="local", state="ahead") == 2
    assert value(known, "reservations", pool="local", state="running") == 1
    assert value(state(), "reservations", pool="local", state="running") == 0
    assert value(state(), "reservations", pool="forge", state="running") is None


def test_the_end_of_a_token_is_told_and_that_of_the_engine_s_unless_it_is_renewed() -> None:
    def of(credential: Credential | None, pool: str) -> float | None:
        known = replace(state(), survey=Survey(credential=credential))
        return value(known, "token_end_timestamp_seconds", pool=pool)

    assert of(None, "forge") == NOW + 86400
    assert of(None, "") is None
    assert of(Credential("/var/run/token", 500.0, "fix"), "") == 500.0
    assert of(Credential("/var/run/token", 500.0, "fix", renewed=True), "") is None


def test_the_age_of_a_pool_s_own_image_is_told_and_of_none_that_a_job_asks_for() -> None:
    name = "image_created_timestamp_seconds"
    assert value(state(), name, pool="local", image="mayfly/local:cpu") == 10.0
    assert (
        value(state(), name, pool="forge", image="mayfly/github:cpu") is None
    )  # it was not looked at
    theirs = replace(specs()[0], reference="lab/theirs:1", asked_image="lab/theirs:1")
    known = replace(
        state(),
        desired=Desired((theirs,)),
        survey=Survey({"lab/theirs:1": ImageSeen("sha256:2", "1", created=10.0)}),
    )
    assert value(known, name, pool="local", image="lab/theirs:1") is None


def test_an_image_whose_time_was_put_to_nothing_has_no_age() -> None:
    """As builds do that are to be the same each time."""
    known = replace(
        state(), survey=Survey({"mayfly/local:cpu": ImageSeen("sha256:1", "1", created=0.0)})
    )
    assert (
        value(known, "image_created_timestamp_seconds", pool="local", image="mayfly/local:cpu")
        is None
    )


def test_how_a_gpu_fares_is_told_by_its_last_reading_and_what_nvml_cannot_tell_is_not() -> None:
    labels = {"gpu": "0", "uuid": "GPU-1"}
    assert value(state(), "gpu_utilisation_ratio", **labels) == 0.42
    assert value(state(), "gpu_memory_used_bytes", **labels) == 1024**3
    assert value(state(), "gpu_memory_bytes", **labels) == 80 * 1024**3
    assert value(state(), "gpu_temperature_celsius", **labels) == 61
    assert value(state(), "gpu_leased", pool="gpu", slot="gpu-0", uuid="GPU-1") == 1
    mute = Reading(1.0, 1.0, gpus=(DEVICE,), vitals={"GPU-1": Vitals()})
    known = replace(state(), gpus=Gpus(reading=mute))
    assert value(known, "gpu_utilisation_ratio", **labels) is None
    assert value(known, "gpu_temperature_celsius", **labels) is None
    for nothing in (Gpus(), Gpus(reading=Reading(1.0, 1.0, problem="no driver"))):
        assert value(replace(state(), gpus=nothing), "gpu_memory_bytes", **labels) is None
