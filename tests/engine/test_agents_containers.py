"""What an agent's own containers come to together with it, at an Engine that says what it is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mayfly.core.model import ContainerId, Generation
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.inner_containers import InnerContainers
from mayfly.edge.parent_groups import ParentGroups
from mayfly.engines.docker.agents_containers import RECORD, AgentsContainers
from mayfly.engines.protocol import Unmeasured
from tests.fakes.docker_engine import Ask, FakeEngine, reply

AGENT = Generation("mywpiww03hg4s")
OWN, DB, WEB = (ContainerId(letter * 64) for letter in "abc")
MIB = 1024 * 1024
STATES = {"pause": ("running", "paused"), "unpause": ("paused", "running")}


class World:
    """An Engine with an agent, and the files of its host."""

    def __init__(self, engine: FakeEngine, home: Path) -> None:
        self.engine, self.root, self.mounted = engine, home / "docker", home / "cgroup"
        self.there: dict[ContainerId, dict[str, Any]] = {}
        self.volumes: list[dict[str, str]] = []
        self.parents = ParentGroups(self.mounted, home / "units", home / "proc")
        self.of = self.made()
        self.freezer = self.mounted / "freezer/mayfly" / AGENT / "freezer.state"
        self.freezer.parent.mkdir(parents=True)
        self.freezer.write_text("THAWED")
        self.work = self.root / f"volumes/mf-{AGENT}-work/_data"
        self.work.mkdir(parents=True)
        self._group(OWN)
        engine.on("GET", "/containers/json", self._list)
        engine.on("GET", "/volumes", self._list_volumes)
        for word in STATES:
            engine.on("POST", f"/containers/.*/{word}", self._change(word))

    def made(self) -> AgentsContainers:
        """As a manager makes it that begins."""
        inner = InnerContainers(self.mounted, self.mounted)
        return AgentsContainers(self.engine.url, 30.0, self.parents, inner)

    def has(self, container: ContainerId, name: str = "x", *, checked: bool = False) -> None:
        """The agent has made it."""
        entry = {"Id": container, "Names": [f"/mf-{AGENT}-{name}"], "State": "running"}
        self.there[container] = {**entry, "Health": "healthy" if checked else "none", "SizeRw": 0}
        self._group(container)

    def _group(self, container: ContainerId) -> None:
        (self.mounted / "memory/mayfly" / AGENT / container).mkdir(parents=True)

    def log(self, container: ContainerId, text: bytes, name: str = "") -> Path:
        path = self.root / "containers" / container / f"{container}-json.log{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(text)
        return path

    def states(self) -> dict[str, str]:
        return {one["Id"][0]: one["State"] for one in self.there.values()}

    def _list(self, ask: Ask) -> None:
        wanted = json.loads(parse_qs(urlsplit(ask.target).query)["filters"][0])
        assert wanted["label"] == [f"io.mayfly.belongs={AGENT}"]
        found = [
            one
            for one in self.there.values()
            if one["State"] in wanted.get("status", [one["State"]])
            and one["Health"] in wanted.get("health", [one["Health"]])
        ]
        reply(200, found)(ask)

    def _list_volumes(self, ask: Ask) -> None:
        reply(200, {"Volumes": self.volumes})(ask)

    def _change(self, word: str) -> Callable[[Ask], None]:
        before, after = STATES[word]

        def serve(ask: Ask) -> None:
            entry = self.there.get(ContainerId(ask.target.split("/")[2]))
            if entry is None:
                reply(404, {"message": "No such container"})(ask)
            elif entry["State"] != before:
                said = "already paused" if word == "pause" else "is not paused"
                reply(409, {"message": f"Container {entry['Id']} is {said}"})(ask)
            else:
                entry["State"] = after
                reply(204)(ask)

        return serve


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with FakeEngine() as engine:
        yield World(engine, tmp_path)


def asked(world: World) -> int:
    return len(world.engine.asked("GET", ".*")) + len(world.engine.asked("POST", ".*"))


def size(world: World, *, made: bool) -> int:
    return world.of.size(AGENT, world.root, 60.0, made=made)


def test_who_has_made_nothing_is_measured_by_where_it_works_and_costs_the_engine_nothing(
    world: World,
) -> None:
    (world.work / "file").write_bytes(os.urandom(MIB))
    assert MIB <= size(world, made=False) < 2 * MIB
    assert asked(world) == 0


def test_layers_logs_and_volumes_of_what_it_has_made_count_and_a_file_in_two_of_them_once(
    world: World, tmp_path: Path
) -> None:
    world.has(DB)
    world.has(WEB)
    world.there[DB]["SizeRw"] = 100 * MIB
    world.there[WEB] |= {"SizeRw": 1000 * MIB, "Names": ["/of-an-image-with-such-labels"]}
    world.log(DB, os.urandom(2 * MIB))
    world.log(DB, os.urandom(MIB), ".1")
    (world.work / "file").write_bytes(os.urandom(4 * MIB))
    own = tmp_path / "docker/volumes/mf-own/_data"
    own.mkdir(parents=True)
    os.link(world.work / "file", own / "file")
    (own / "other").write_bytes(os.urandom(8 * MIB))
    world.volumes = [{"Mountpoint": str(own)}, {"Mountpoint": str(world.work)}]
    assert 115 * MIB <= size(world, made=True) < 116 * MIB


def test_what_cannot_be_seen_or_takes_too_long_is_not_taken_for_little(world: World) -> None:
    with pytest.raises(Unmeasured, match="not to be seen"):
        world.of.size(AGENT, world.root / "elsewhere", 60.0, made=False)
    with pytest.raises(Unmeasured, match="takes more than"):
        world.of.size(AGENT, world.root, -1.0, made=False)


def test_a_layer_that_the_engine_cannot_count_is_not_taken_for_an_empty_one(world: World) -> None:
    world.has(DB)
    world.there[DB]["SizeRw"] = -1
    with pytest.raises(Unmeasured, match="cannot count the files of container bbbbbbbbbbbb"):
        size(world, made=True)


def test_all_stand_still_at_once_and_only_those_whose_health_is_looked_at_cost_a_call(
    world: World,
) -> None:
    world.of.freeze(AGENT)
    assert world.freezer.read_text() == "FROZEN"
    assert asked(world) == 0, "it has made nothing"
    world.of.thaw(AGENT)
    assert world.freezer.read_text() == "THAWED"
    assert asked(world) == 0
    world.has(DB, checked=True)
    world.has(WEB)
    world.of.freeze(AGENT)
    assert world.freezer.read_text() == "FROZEN"
    assert world.states() == {"b": "paused", "c": "running"}
    world.of.thaw(AGENT)
    assert world.freezer.read_text() == "THAWED"
    assert world.states() == {"b": "running", "c": "running"}


def test_one_that_the_engine_does_not_pause_or_unpause_keeps_no_other_from_it(world: World) -> None:
    """As one that is started anew in a loop."""
    world.has(DB, checked=True)
    world.has(WEB, checked=True)
    said = {"message": f"Container {DB} is restarting, wait until the container is running"}
    world.engine.on("POST", f"/containers/{DB}/pause", reply(409, said))
    with pytest.raises((Passing, Refused), match="is restarting"):
        world.of.freeze(AGENT)
    assert world.freezer.read_text() == "FROZEN"
    assert world.states() == {"b": "running", "c": "paused"}
    world.of.thaw(AGENT)
    assert world.states() == {"b": "running", "c": "running"}
    world.engine.on("POST", f"/containers/{DB}/pause", world._change("pause"))
    world.of.freeze(AGENT)
    world.engine.on("POST", f"/containers/{DB}/unpause", reply(500, {"message": "out of order"}))
    with pytest.raises(Passing, match="out of order"):
        world.of.thaw(AGENT)
    assert world.states() == {"b": "paused", "c": "running"}
    world.engine.on("POST", f"/containers/{DB}/unpause", world._change("unpause"))
    world.of.thaw(AGENT)
    assert world.states() == {"b": "running", "c": "running"}


def test_an_engine_that_says_nothing_keeps_nobody_from_standing_still(world: World) -> None:
    world.has(DB, checked=True)
    world.engine.on("GET", "/containers/json", reply(500, {"message": "out of order"}))
    with pytest.raises(Passing):
        world.of.freeze(AGENT)
    assert world.freezer.read_text() == "FROZEN"


def test_whom_the_job_has_paused_stays_so_where_no_health_is_looked_at(world: World) -> None:
    world.has(WEB)
    world.there[WEB]["State"] = "paused"
    world.of.freeze(AGENT)
    world.of.thaw(AGENT)
    assert world.states() == {"c": "paused"}


def test_whom_the_job_has_paused_stays_so(world: World) -> None:
    world.has(DB, checked=True)
    world.has(WEB, checked=True)
    world.there[WEB]["State"] = "paused"
    world.of.freeze(AGENT)
    world.of.thaw(AGENT)
    assert world.states() == {"b": "running", "c": "paused"}
    world.of.thaw(AGENT)
    assert world.states() == {"b": "running", "c": "paused"}


def test_where_the_kernel_freezes_no_group_the_engine_is_told_of_each(world: World) -> None:
    world.freezer.unlink()
    world.has(DB, checked=True)
    world.has(WEB)
    world.of.freeze(AGENT)
    assert world.states() == {"b": "paused", "c": "paused"}
    world.of.thaw(AGENT)
    assert world.states() == {"b": "running", "c": "running"}


def test_a_manager_that_comes_after_one_that_was_killed_thaws_them(world: World) -> None:
    world.has(DB, checked=True)
    world.of.freeze(AGENT)
    world.of = world.made()
    world.of.thaw(AGENT)
    assert world.freezer.read_text() == "THAWED"
    assert world.states() == {"b": "running"}


def test_who_goes_meanwhile_is_a_success_and_an_engine_that_fails_is_told(world: World) -> None:
    world.has(DB, checked=True)
    world.of.freeze(AGENT)
    del world.there[DB]
    world.of.thaw(AGENT)
    world.engine.on("GET", "/containers/json", reply(500, {"message": "out of order"}))
    with pytest.raises(Passing):
        world.of.freeze(AGENT)


LINE = b'{"log":"y\\n","stream":"stdout","time":"2026-11-30T00:00:00.000000000Z"}\n'


def test_what_its_containers_print_is_told_as_their_logs_grow(world: World) -> None:
    """What was there when it was first looked at was printed before; who comes later counts whole."""
    world.has(DB)
    world.log(DB, LINE * 1000)
    assert world.of.printed(AGENT, world.root) == (0, 0)
    world.log(DB, LINE * 500)
    lines, printed = world.of.printed(AGENT, world.root)
    assert abs(lines - 500) <= 2
    assert printed == 500 * len(LINE) - RECORD * lines
    assert world.of.printed(AGENT, world.root) == (0, 0)
    world.has(WEB)
    world.log(WEB, b"x" * MIB + b"\n")
    lines, printed = world.of.printed(AGENT, world.root)
    assert lines <= 64
    assert printed >= MIB - 64 * RECORD


def test_a_log_that_was_turned_over_counts_as_far_as_it_is_there(world: World) -> None:
    world.has(DB)
    path = world.log(DB, b"x" * 1000)
    world.of.printed(AGENT, world.root)
    world.log(DB, b"y" * 5000)
    path.rename(path.with_name(f"{path.name}.1"))
    world.log(DB, b"z" * 300)
    assert world.of.printed(AGENT, world.root) == (0, 5300)
    path.unlink()
    assert world.of.printed(AGENT, world.root) == (0, 0), "it is gone"


def test_who_has_made_nothing_prints_nothing_inside(world: World) -> None:
    world.log(OWN, LINE)
    for _ in range(2):
        assert world.of.printed(AGENT, world.root) == (0, 0)
    assert asked(world) == 0
