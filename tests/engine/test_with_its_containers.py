"""What the engine does to an agent it does to it with its containers: frozen, ended, measured as one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.admission.grant import read_grant
from mayfly.core.model import (
    LABEL_DOOR,
    LABEL_GENERATION,
    LABEL_HOST,
    ContainerId,
    ContainerState,
    Generation,
    HostId,
    Limits,
)
from mayfly.core.naming import base36
from mayfly.edge import mountinfo
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.parent_groups import ParentGroups
from mayfly.engines.docker.engine import DockerEngine
from mayfly.engines.docker.quotas import wall
from mayfly.engines.protocol import Unmeasured
from tests.engine.test_granting import POOL, SPEC, plan_of
from tests.fakes.docker_engine import Ask, FakeEngine, reply

AGENT = Generation("mywpiww03hg4s")
OWN, DB = ContainerId("a" * 64), ContainerId("b" * 64)
V = "(/v1[.][0-9]+)?"
MIB = 1024 * 1024
INFO = {
    "ID": "id",
    "NCPU": 2,
    "Driver": "overlay2",
    "CgroupDriver": "cgroupfs",
    "CgroupVersion": "1",
}


class World:
    """An Engine with one agent that has made a container, in which a process runs."""

    def __init__(self, fake: FakeEngine, home: Path, inner: int) -> None:
        self.fake, self.home, self.state = fake, home, "running"
        self.layer = 7  # bytes
        self.log: list[str] = []
        parents = ParentGroups(home / "cgroup", home / "units", home / "proc")
        self.engine = DockerEngine(fake.url, parents=parents)
        self.freezer = home / "cgroup/freezer/mayfly" / AGENT / "freezer.state"
        for cid in (OWN, DB):
            (home / "cgroup/memory/mayfly" / AGENT / cid).mkdir(parents=True)
        (home / "cgroup/memory/mayfly" / AGENT / DB / "cgroup.procs").write_text(f"{inner}\n")
        (home / f"proc/{inner}").mkdir(parents=True)
        (home / f"proc/{inner}/cgroup").write_text(f"3:memory:/mayfly/{AGENT}/{DB}\n")
        self.freezer.parent.mkdir(parents=True)
        self.freezer.write_text("THAWED")
        root = home / "docker"
        (root / f"volumes/mf-{AGENT}-work/_data").mkdir(parents=True)
        (root / f"volumes/mf-{AGENT}-work/_data/file").write_bytes(os.urandom(MIB))
        version = {"Version": "28.5.2", "ApiVersion": "1.51", "MinAPIVersion": "1.24"}
        fake.on("GET", f"{V}/version", reply(200, {**version, "Components": []}))
        fake.on("GET", f"{V}/info", reply(200, {**INFO, "DockerRootDir": str(root)}))
        fake.on("GET", f"{V}/containers/json", self._list)
        fake.on("GET", f"{V}/volumes", reply(200, {"Volumes": []}))
        for word, state in (("pause", "paused"), ("unpause", "running")):
            fake.on("POST", f"{V}/containers/{OWN}/{word}", self._turn(word, state))
        fake.on("DELETE", f"{V}/containers/{OWN}", self._turn("remove", "exited"))

    def _list(self, ask: Ask) -> None:
        if "belongs" in ask.target:
            reply(200, [{"Id": DB, "Names": [f"/mf-{AGENT}-db"], "SizeRw": 5 * MIB}])(ask)
            return
        labels = {LABEL_HOST: "host", LABEL_GENERATION: AGENT, LABEL_DOOR: "1"}
        found = {"Id": OWN, "Names": ["/p-0"], "State": self.state, "Labels": labels}
        reply(200, [{**found, "SizeRw": self.layer}])(ask)

    def _turn(self, word: str, state: str) -> Any:
        def serve(ask: Ask) -> None:
            self.log.append(f"{word} {self.freezer.read_text()}")
            self.state = state
            reply(204)(ask)

        return serve

    def seen(self) -> ContainerState:
        (found,) = self.engine.list()
        return found.state


@pytest.fixture
def inner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def world(tmp_path: Path, inner: subprocess.Popen[bytes]) -> Iterator[World]:
    with FakeEngine() as fake:
        made = World(fake, tmp_path, inner.pid)
        assert made.seen() is ContainerState.RUNNING
        yield made


def unchecked(world: World) -> None:
    """None of its containers has a health check."""
    listing = world._list

    def serve(ask: Ask) -> None:
        reply(200, [])(ask) if "health" in ask.target else listing(ask)

    world.fake.on("GET", f"{V}/containers/json", serve)


def test_its_group_stands_still_from_its_pause_to_its_unpause(world: World) -> None:
    unchecked(world)
    world.engine.freeze(OWN)
    assert world.freezer.read_text() == "FROZEN"
    world.engine.thaw(OWN)
    assert world.freezer.read_text() == "THAWED"
    # Whoever is killed in between leaves an agent that is paused, by its group or by the Engine.
    assert world.log == ["pause FROZEN", "unpause THAWED"]


def test_whom_the_engine_does_not_pause_stands_still_with_its_group(world: World) -> None:
    """As runc says it of what makes processes faster than they are frozen."""
    paused: list[str] = []

    def other(ask: Ask) -> None:
        paused.append(ask.target)
        reply(204)(ask)

    said = {"message": "runc did not terminate successfully: unable to freeze"}
    world.fake.on("POST", f"{V}/containers/{OWN}/pause", reply(500, said))
    world.fake.on("POST", f"{V}/containers/{DB}/pause", other)
    with pytest.raises(Passing, match="unable to freeze"):
        world.engine.freeze(OWN)
    assert world.freezer.read_text() == "FROZEN"
    assert len(paused) == 1, "its containers are told of all the same"
    (world.freezer.parent / "freezer.self_freezing").write_text("1\n")
    assert world.seen() is ContainerState.PAUSED


def test_one_that_is_not_unpaused_keeps_the_agent_from_nothing(world: World) -> None:
    world.fake.on("POST", f"{V}/containers/{DB}/pause", reply(204))
    world.fake.on("POST", f"{V}/containers/{DB}/unpause", reply(500, {"message": "out of order"}))
    world.engine.freeze(OWN)
    with pytest.raises(Passing, match="out of order"):
        world.engine.thaw(OWN)
    assert world.freezer.read_text() == "THAWED"
    assert world.state == "running"


def test_whom_a_person_has_unpaused_by_hand_is_shown_as_what_it_is(world: World) -> None:
    unchecked(world)
    world.engine.freeze(OWN)
    (world.freezer.parent / "freezer.self_freezing").write_text("1\n")
    world.state = "running"
    assert world.seen() is ContainerState.PAUSED
    # A look of another manager's finds it, too.
    world.engine.thaw(OWN)
    (world.freezer.parent / "freezer.self_freezing").write_text("0\n")
    assert world.seen() is ContainerState.RUNNING


@pytest.mark.parametrize("fails", [False, True])
def test_with_its_container_goes_what_runs_in_those_that_it_has_made(
    world: World, inner: subprocess.Popen[bytes], *, fails: bool
) -> None:
    """Also where it stands still, and where its own does not die."""
    world.freezer.write_text("FROZEN")
    if fails:
        said = {"message": "could not kill container: tried to kill container, but did not receive"}
        world.fake.on("DELETE", f"{V}/containers/{OWN}", reply(500, said))
        with pytest.raises(Passing):
            world.engine.remove(OWN)
    else:
        world.engine.remove(OWN)
        assert world.log == ["remove THAWED"]
    assert inner.wait(30) == -9


def test_what_is_cleared_up_after_is_ended_first(
    world: World, inner: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """Also where the Engine says nothing."""
    world.freezer.write_text("FROZEN")
    world.fake.on("GET", f"{V}/containers/json", reply(500, {"message": "out of order"}))
    with pytest.raises(Passing):
        world.engine.clear(tmp_path, HostId("host"), AGENT, "seal")
    assert inner.wait(30) == -9
    assert world.freezer.read_text() == "THAWED"


def test_it_is_measured_with_where_it_works_and_what_it_has_made(world: World) -> None:
    alone = world.engine.size(OWN)
    assert alone is not None
    assert MIB + 7 <= alone < MIB + MIB // 2
    together = world.engine.size(OWN, made=True)
    assert together == alone + 5 * MIB


def test_its_layer_that_the_engine_cannot_count_is_not_taken_for_an_empty_one(world: World) -> None:
    world.layer = -1
    with pytest.raises(Unmeasured, match="cannot count the files"):
        world.engine.size(OWN)


def test_groups_that_nobody_needs_go_once_in_the_run_of_a_manager(world: World) -> None:
    world.fake.on("GET", f"{V}/networks", reply(200, []))
    old, later = (
        world.home / "cgroup/memory/mayfly" / f"{base36(number, 8)}00000" for number in (1, 2)
    )
    old.mkdir()
    world.engine.sweep(lambda _host, _pool: False)
    assert not old.exists()
    later.mkdir()
    world.engine.sweep(lambda _host, _pool: False)
    assert later.exists()


@pytest.mark.parametrize("options", ["rw,prjquota", "rw,noquota"])
def test_where_the_disk_keeps_sizes_it_all_has_a_wall_behind_its_limit(
    world: World, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """The agent, the volume that it works in, and, by its grant, whatever it makes."""
    mounts = world.home / "mountinfo"
    mounts.write_text(f"36 35 98:0 / / rw - xfs /dev/sda {options}\n")
    monkeypatch.setattr(mountinfo, "MOUNTINFO", mounts)
    asked: list[dict[str, Any]] = []

    def made(ask: Ask) -> None:
        ask.body()
        asked.append(ask.json)
        labels = ask.json.get("Labels")
        reply(201, {"Id": OWN, "Labels": labels, "Options": ask.json.get("DriverOpts")})(ask)

    world.fake.on("POST", f"{V}/volumes/create", made)
    world.fake.on("POST", f"{V}/containers/create", made)
    world.fake.on("GET", f"{V}/images/.*/json", reply(200, {"Id": "image", "Config": {}}))
    pool = replace(POOL, network="lab", limits=Limits(disk=1024 * MIB))
    plan = plan_of(replace(SPEC, pool=pool))
    (world.home / "cgroup/cpu").mkdir()
    (world.home / "cgroup/pids").mkdir()
    with pytest.raises(Fault):  # nobody attaches here
        world.engine.prepare(plan)
    (work,) = [one for one in asked if str(one.get("Name")).endswith("-work")]
    (agent,) = [one for one in asked if "OpenStdin" in one]
    grant = read_grant(world.engine.grant(plan, OWN))
    if options == "rw,prjquota":
        size = str(wall(1024 * MIB))
        assert work["DriverOpts"] == {"size": size}
        assert agent["HostConfig"]["StorageOpt"] == {"size": size}
        assert grant.limits.volume_options == {"size": size}
    else:
        assert work["DriverOpts"] == {}
        assert "StorageOpt" not in agent["HostConfig"]
        assert grant.limits.disk is None
