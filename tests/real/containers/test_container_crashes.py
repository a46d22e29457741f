"""Gateway, manager and Engine are killed while a job's containers are at something, each and two at once.

Whatever the job itself makes of it: its account is closed and right, nothing of it is left on the host, and
the next job of the slot finds nothing of it.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.harness import until
from tests.real.containers.lab import Lab

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(900)]

PARTS = ("gateway", "manager", "engine")
# What the job is at when they are killed. Each says where it is by a file of its own.
BEGUN = "begun() { touch /share/begun-$MAYFLY_JOB; }\n"
MOMENTS = {
    "run": 'begun; docker run --rm --name one "$IMAGE" sh -c "sleep 2; exit 42" || code=$?',
    "create": 'begun; for n in $(seq 20); do docker create --network own "$IMAGE" true || code=$?; done',
    "pull": "begun; docker pull {image} || code=$?",
    "exec": 'docker run -d --name one "$IMAGE" sleep 1000; begun; docker exec one sleep 3 || code=$?',
    "stream": 'begun; head -c 300000000 /dev/zero | docker run -i --rm "$IMAGE" wc -c || code=$?',
    "end": 'docker run -d -v vol:/v "$IMAGE" sleep 1000; docker create "$IMAGE" true; begun; exit 0',
}
JOB = """set +e
code=0
docker network create own >/dev/null
{at}
# A client that was cut off says so by its code; afterwards the socket serves again, whoever was killed.
for n in $(seq 300); do docker ps -q >/dev/null 2>&1 && break; sleep 0.2; done
docker ps -q >/dev/null || exit 90
echo "code $code"
exit 0
"""
# One is killed while the job is at any of these; two, in either order, while it runs a container.
ONE = [(moment, (part,)) for moment in MOMENTS for part in PARTS]
TWO = [
    (moment, pair)
    for moment in ("run", "pull", "exec", "end")
    for pair in itertools.permutations(PARTS, 2)
]
SOAKED = frozenset(
    {("create", ("manager",)), ("stream", ("engine",)), ("create", ("engine",))}
    | {row for row in TWO if row[0] != "run"}
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A host of this module's own, whose containers live on without their Engine."""
    with Lab({"cpu": 1}) as made:
        yield made


def _kill(lab: Lab, part: str) -> None:
    match part:
        case "gateway":
            lab.gateway.kill(signal.SIGKILL)
        case "manager":
            lab.manager.kill(signal.SIGKILL)
        case _:
            lab.engine.stop(signal.SIGKILL)


def _start(lab: Lab, part: str) -> None:
    match part:
        case "gateway":
            lab.gateway.start()
        case "manager":
            lab.manager.start(wait=None)
        case _:
            lab.engine.start()


def _at(lab: Lab, moment: str) -> tuple[str, Callable[[], object]]:
    """The job's script for that moment, and what is done once all that was killed runs again."""
    at = MOMENTS[moment]
    if moment != "pull":
        return JOB.format(at=BEGUN + at), lambda: None
    tag = lab.only_in_the_registry("slow")
    lab.registry.freeze()  # so that its pull does not end before it is let go of
    return JOB.format(at=BEGUN + at.format(image=tag)), lab.registry.thaw


@pytest.mark.parametrize(
    ("moment", "killed"),
    [pytest.param(*row, marks=[pytest.mark.soak] if row in SOAKED else []) for row in (*ONE, *TWO)],
    ids=lambda found: found if isinstance(found, str) else " and ".join(found),
)
def test_killed_in_the_middle(lab: Lab, moment: str, killed: tuple[str, ...]) -> None:
    script, then = _at(lab, moment)
    try:
        job = _hit(lab, lab.begin(script), moment, killed)
    finally:
        then()
    _settled(lab, job, moment, killed)


def _hit(lab: Lab, job: str, moment: str, killed: tuple[str, ...]) -> str:
    """Kill them in this order once the job is there, and start them again."""
    lab.shared(f"begun-{job}")
    slot = until(lambda: lab.manager.job(job)["slot"], "the job has a slot")
    generation = lab.generation(slot) if moment != "end" else None
    if moment in ("run", "stream"):
        assert generation is not None
        running = ("-q", "--filter", f"label=io.mayfly.belongs={generation}")
        until(lambda: lab.engine.docker("ps", *running), "its container runs")
    for part in killed:
        _kill(lab, part)
    for part in sorted(killed, key=PARTS.index, reverse=True):
        _start(lab, part)  # the Engine first, as a host that boots
    until(lab.manager.answers, "the manager answers")
    return job


def _settled(lab: Lab, job: str, moment: str, killed: tuple[str, ...]) -> None:
    """The account is right, nothing is left over, and the next job finds nothing."""
    done = lab.done(job, 300)
    told = (done.row["state"], done.row["cause"], done.code)
    # Its agent lives on under live-restore: a client of its own was cut off, and it was not.
    assert told == ("succeeded", None, 0), f"{done.row}\n{done.out}\n{done.err}"
    if moment != "end":
        (code,) = [line for line in done.lines if line.startswith("code ")]
        # Who kills the manager does not touch what a job runs.
        if moment == "run" and killed == ("manager",):
            assert code == "code 42"
        if moment == "pull" and killed == ("manager",):
            assert code == "code 0"
    next_one = lab.well(
        "docker ps -aq; docker volume ls -q; docker network ls -q --filter type=custom"
    )
    assert next_one.out == ""
    lab.clean()
    assert lab.manager.slot("cpu-0")["phase"] not in ("held", "cooling")


def test_who_restarts_the_gateway_cuts_what_it_carried_and_the_next_call_works(lab: Lab) -> None:
    job = lab.begin(
        BEGUN + 'docker run -d --name one "$IMAGE" sleep 1000 >/dev/null; begun\n'
        "docker wait one 2>/dev/null && exit 9\n"
        "for n in $(seq 300); do docker ps -q >/dev/null 2>&1 && break; sleep 0.2; done\n"
        "docker ps --format '{{.Names}} {{.State}}'; docker exec one echo served"
    )
    lab.shared(f"begun-{job}")
    lab.gateway.kill(signal.SIGTERM)
    lab.gateway.start()
    assert lab.done(job).lines == ["one running", "served"]


def test_an_engine_that_ends_its_containers_with_it_leaves_nothing(lab: Lab) -> None:
    """Without live-restore agent and belongings end with the Engine: the account says that it stopped."""
    with Lab({"cpu": 1}, live_restore=False) as other:
        job = other.begin(BEGUN + 'docker run -d "$IMAGE" sleep 1000; begun; sleep 1000')
        other.shared(f"begun-{job}")
        other.engine.restart(signal.SIGTERM)
        until(other.manager.answers, "the manager answers")
        done = other.done(job)
        assert (done.row["state"], done.row["cause"]) == ("lost", "engine_stopped")
        assert other.well("docker ps -aq; docker volume ls -q").out == ""
        other.clean()
