"""Tries of a hostile job, each a test: what a job asks of its Engine's socket, and what the host finds of it.

One job makes all of them, on a real Engine behind the real gateway; while it does, another agent's job has a
container, a network, a volume and an exec of its own, which have to be untouched at the end.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.nvml import uuid
from tests.harness import ENDED, until
from tests.real.containers.confinement import Rows, faults
from tests.real.containers.jobs.asking import Expect
from tests.real.containers.jobs.hostile import TRIES
from tests.real.containers.lab import FORBIDDEN, GPU_IMAGE, IMAGE, SERVER, Lab

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(1800)]

WORD = "a word that nobody is told"
# Of another agent: it waits until the host lets it go.
STRANGER = f"""
docker network create theirs >/dev/null
docker volume create theirs >/dev/null
docker run -d --name theirs --network theirs -v theirs:/v -p 8000:80 -e WHO=theirs \\
  "$IMAGE" {SERVER} >/dev/null
docker exec -d theirs sleep 100000
echo "$(hostname)" >/share/stranger
until [ -e /share/enough ]; do sleep 0.2; done
docker exec theirs true
docker ps -a --format '{{{{.Names}}}} {{{{.State}}}}'
docker network inspect -f '{{{{len .Containers}}}}' theirs
"""
SENTENCE = 12  # letters at least, of which some are spaces


@dataclass
class Report:
    """What all tries came to: of each what the job saw, and what the host found of the containers made."""

    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(
        default_factory=dict
    )  # what nobody may be told: text -> what it is
    stranger: str = ""  # what the other agent's job said at its end
    stranger_before: dict[str, Any] = field(default_factory=dict)
    stranger_after: dict[str, Any] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)  # in the folder of the host
    grant: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] = field(default_factory=dict)  # the job itself


@pytest.fixture(scope="module")
def report(lab: Lab) -> Iterator[Report]:
    """All tries, made once."""
    secret = lab.manager.home / "secret"
    secret.mkdir()
    (secret / "marker").write_text(WORD)
    stranger = lab.begin(STRANGER, "cpu", timeout=1500)
    lab.shared("stranger")
    found = Report()
    world = _world(lab, stranger, secret)
    found.stranger_before = lab.inspected("container", world["stranger"])[0]
    folder = lab.share / "tries"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    generation = lab.generation("gpu-0")  # its pool has no other slot
    found.grant = until(lambda: _grant(lab, generation), "the agent has its grant")
    world |= {"agent": lab.agents()[generation], "holder": found.grant["holder"] or "0" * 64}
    (folder / "world.json").write_text(json.dumps(world))
    job = lab.begin(
        "exec python3 -m tests.real.containers.jobs.hostile /share/tries", "gpu", timeout=1500
    )
    ends = threading.Event()
    judge = threading.Thread(target=_judge, args=(lab, folder, found, ends))
    judge.start()
    try:
        until(
            lambda: (folder / "over").exists() or lab.manager.job(job)["state"] in ENDED,
            "all tries are made",
            1500,
        )
    finally:
        ends.set()
        judge.join()
    found.ended = dict(lab.manager.ended(job))
    found.stranger_after = lab.inspected("container", world["stranger"])[0]
    (lab.share / "enough").touch()
    found.stranger = lab.done(stranger).out
    found.written = sorted(file.name for file in secret.iterdir())
    found.secrets = {
        WORD: "a file of the host",
        world["stranger"]: "a stranger's container",
        world["stranger_exec"]: "a stranger's exec",
        world["stranger_network"]: "a stranger's network",
        world["holder"]: "the sandbox's holder",
        str(lab.engine.home): "a path of the Engine's",
        str(lab.manager.state): "a path of the manager's",
        "/var/lib/docker": "a path of the host",
        "goroutine ": "the inside of a program",
        "Traceback": "the inside of a program",
        f"mf-{found.grant['generation']}": "the prefix of its own names",
    }
    yield found
    lab.clean()


def _grant(lab: Lab, generation: str) -> dict[str, Any] | None:
    try:
        return lab.grant(generation)
    except (OSError, ValueError):
        return None


def _world(lab: Lab, stranger: str, secret: Path) -> dict[str, Any]:
    """What the hostile job is told, as if it had guessed all of it."""
    slot = lab.manager.job(stranger)["slot"]
    generation = lab.generation(slot)
    mine = lab.belongings(generation)
    (container,) = lab.inspected("container", *mine["containers"])
    sandboxes = lab.engine.docker(
        "network", "ls", "-q", "--no-trunc", "--filter", "label=io.mayfly.host"
    )
    return {
        "image": IMAGE,
        "forbidden_image": FORBIDDEN,
        "gpu_image": GPU_IMAGE,
        "own_gpu": uuid(0),
        "other_gpu": uuid(1),
        "stranger": container["Id"],
        "stranger_name": container["Name"].removeprefix("/"),
        "stranger_exec": (container["ExecIDs"] or ["0" * 64])[0],
        "stranger_network": next(
            row["Id"]
            for row in lab.inspected("network", *mine["networks"])
            if row["Name"].endswith("-theirs")
        ),
        "stranger_volume": next(name for name in mine["volumes"] if name.endswith("-theirs")),
        "stranger_generation": generation,
        "stranger_address": next(iter(container["NetworkSettings"]["Networks"].values()))[
            "IPAddress"
        ],
        "sandbox_network": (sandboxes.split() or ["0" * 64])[0],
        "work_volume": lab.grant(generation)["work"]["volume"],
        "engine_socket": f"{lab.engine.home}/docker.sock",
        "secret_folder": str(secret),
        "state": str(lab.manager.state),
        "work": "",
    }


def _judge(lab: Lab, folder: Path, found: Report, ends: threading.Event) -> None:
    """Look at the containers of each try as it is told, and let the job go on."""
    numbers = {number: one.name for number, one in enumerate(TRIES)}
    last = False
    while not last:
        last = ends.wait(0.05)
        for number, name in list(numbers.items()):
            told = folder / f"{number}.json"
            if not told.exists():
                continue
            del numbers[number]
            seen = json.loads(told.read_text())
            found.seen[name] = seen
            if seen["made"]:
                try:
                    found.faults[name] = _confined(lab, seen["made"], found.grant)
                except (AssertionError, KeyError, ValueError) as error:
                    found.faults[name] = [f"the host could not look: {error!r}"]
                (folder / f"{number}.seen").touch()


def _confined(lab: Lab, made: list[str], grant: dict[str, Any]) -> list[str]:
    own = frozenset(lab.belongings(grant["generation"]).get("containers", ()))
    rows = lab.inspected("container", *made)
    told = [] if len(rows) == len(made) else [f"{len(made) - len(rows)} are not there"]
    for row in rows:
        networks = [network["NetworkID"] for network in row["NetworkSettings"]["Networks"].values()]
        volumes = [mount["Name"] for mount in row["Mounts"] if mount["Type"] == "volume"]
        try:
            runtime = lab.engine.recorded(row["Id"]).env
        except KeyError:
            runtime = None
        told += faults(
            Rows(
                row,
                {net["Id"]: net for net in lab.inspected("network", *filter(None, networks))},
                {volume["Name"]: volume for volume in lab.inspected("volume", *volumes)},
                own,
                runtime,
            ),
            grant,
        )
    return told


@pytest.mark.parametrize("one", TRIES, ids=lambda one: one.name)
def test_a_try_comes_to_nothing(report: Report, one: Any) -> None:
    seen = report.seen.get(one.name)
    assert seen is not None, f"the job did not come to it: {report.ended}"
    assert "broke" not in seen["more"], seen["more"].get("broke")
    told = json.dumps([seen["message"], seen["read"], seen["more"]])
    for secret, what in report.secrets.items():
        if secret not in seen["asked"]:
            assert secret not in told, f"{what} is told: {told[:2000]}"
    assert report.faults.get(one.name, []) == []
    refused = seen["status"] >= 400
    match one.expect:
        case Expect.CONFINED:
            assert seen["made"], seen["message"]
        case Expect.REFUSED:
            assert refused, seen
        case Expect.EITHER:
            assert refused or 0 < seen["status"] < 300 or seen["more"], seen
        case Expect.ABSENT:
            assert [seen["status"], seen["message"]] == seen["more"]["absent"], seen
        case Expect.HARMLESS:
            assert seen["more"].get("after", 200) == 200, "the gateway served nobody afterwards"
    if refused and seen["read"] and one.expect in (Expect.REFUSED, Expect.EITHER):
        message = seen["message"]
        assert len(message) >= SENTENCE, seen
        assert " " in message, seen
        assert "\n" not in message, seen


def test_the_stranger_is_as_it_was(report: Report) -> None:
    assert report.stranger == "theirs running\n1\n"
    for key in ("Id", "Name", "State", "HostConfig", "RestartCount"):
        assert report.stranger_after[key] == report.stranger_before[key]


def test_no_link_led_to_the_host(report: Report) -> None:
    assert report.written == ["marker"]
    raced = report.seen["a link that is swapped"]["more"]
    assert raced["leaks"] == 0
    assert raced["begun"] > 0, "no container began: nothing was raced"


def test_what_the_host_has_is_not_to_be_found_out(report: Report) -> None:
    there, absent = report.seen["which files the host has"]["more"]["told"]
    assert there == absent


def test_its_door_has_one_socket_and_cannot_be_changed(report: Report) -> None:
    seen = report.seen["its door"]["more"]
    assert seen == {"files": ["docker.sock"], "done": []}


def test_strangers_are_not_reached_over_the_network(report: Report) -> None:
    seen = report.seen["a stranger's address"]["more"]
    assert seen["own"] == "hello from own\n", "not even its own container is reached"
    assert (seen["of a container"], seen["of the agent"]) == ("", "")


def test_bytes_behind_a_stream_are_the_containers_input(report: Report) -> None:
    assert report.seen["a request behind a stream"]["more"]["given back"]


def test_a_body_that_is_too_large_is_not_taken(report: Report) -> None:
    for name in ("a body of a gibibyte", "a body without end"):
        assert report.seen[name]["more"]["sent"] < 1 << 30


def test_bounds_are_told(report: Report) -> None:
    assert 0 < report.seen["a hundred containers"]["more"]["made"] < 100
    assert 0 < report.seen["a hundred networks"]["more"]["made"] < 100


def test_what_was_refused_is_told_with_the_job(report: Report) -> None:
    assert report.ended["refused"] >= 100
    assert any("privileged" in text.lower() for text in report.ended["refusals"]), report.ended


def test_the_next_job_finds_nothing_of_it(lab: Lab, report: Report) -> None:
    done = lab.well(
        "docker ps -aq; docker volume ls -q; docker image ls -q --filter dangling=true", "gpu"
    )
    assert done.out == ""
