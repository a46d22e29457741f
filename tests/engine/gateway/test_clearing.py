"""What an agent made is removed by label and seal, in an order that works, until nothing is left."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from mayfly.core.admission.grant import VolumePlace
from mayfly.edge.faults import Passing
from mayfly.engines.docker.gateway.clearing import clear
from tests.engine.gateway.agent import GENERATION, HOST, SEAL, agent_place, given, granted
from tests.fakes.docker_engine import Ask, FakeEngine, reply

LABELS = {
    "io.mayfly.belongs": GENERATION,
    "io.mayfly.belongs.host": HOST,
    "io.mayfly.belongs.seal": SEAL,
}
NAME = f"mf-{GENERATION}-db"


class Things(FakeEngine):
    """An Engine that has things of each kind, and removes them."""

    def __init__(self) -> None:
        super().__init__()
        self.there: dict[str, list[dict[str, Any]]] = {
            "containers": [],
            "networks": [],
            "images": [],
            "volumes": [],
        }
        self.removed: list[str] = []
        self.refusals: list[tuple[int, str]] = []
        for kind in self.there:
            self.on("GET", f"/{kind}(/json)?", self._listing(kind))
            self.on("DELETE", f"/{kind}/.*", self._removing(kind))

    def _listing(self, kind: str) -> Any:
        def serve(ask: Ask) -> None:
            query = parse_qs(urlsplit(ask.target).query)
            labels = [one.split("=") for one in json.loads(query["filters"][0])["label"]]
            found = [
                one
                for one in self.there[kind]
                if all(one["Labels"].get(name) == value for name, value in labels)
            ]
            reply(200, {"Volumes": found} if kind == "volumes" else found)(ask)

        return serve

    def _removing(self, kind: str) -> Any:
        def serve(ask: Ask) -> None:
            wanted = urlsplit(ask.target).path.rpartition("/")[2]
            found = [one for one in self.there[kind] if wanted in (one.get("Id"), one.get("Name"))]
            if self.refusals:
                status, text = self.refusals.pop(0)
                reply(status, {"message": text})(ask)
            elif not found:
                reply(404, {"message": f"no such {kind}"})(ask)
            else:
                self.there[kind].remove(found[0])
                self.removed.append(f"{kind} {wanted}")
                reply(204)(ask)

        return serve


@pytest.fixture
def engine() -> Iterator[Things]:
    with Things() as made:
        made.there["containers"] = [
            {"Id": "c1", "Names": [f"/{NAME}"], "Labels": LABELS},
            {"Id": "c2", "Names": ["/someone"], "Labels": LABELS},
            {
                "Id": "c3",
                "Names": [f"/{NAME}2"],
                "Labels": {**LABELS, "io.mayfly.belongs.seal": "x"},
            },
            {"Id": "c4", "Names": [f"/{NAME}3"], "Labels": {"io.mayfly.belongs": "mb7x2k9qa0002"}},
        ]
        made.there["networks"] = [{"Id": "n1", "Name": f"mf-{GENERATION}-bridge", "Labels": LABELS}]
        made.there["images"] = [{"Id": "sha256:i1", "Labels": LABELS}]
        made.there["volumes"] = [
            {"Name": "work", "Labels": LABELS},
            {"Name": f"mf-{GENERATION}-data", "Labels": LABELS},
            {"Name": "other", "Labels": None} | {"Labels": {}},
        ]
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory of an agent that is over, and that has made something."""
    made = agent_place(tmp_path)
    given(made, granted(work=VolumePlace("/job", "work")))
    (made / "live/made").touch()
    (made / "live").rename(made / "over")
    return made


def cleared(engine: Things, place: Path) -> None:
    clear(engine.url, str(place.parents[2]), HOST, GENERATION, SEAL)


def test_all_of_it_goes_and_the_work_volume_last_and_nothing_of_a_stranger(
    engine: Things, place: Path
) -> None:
    cleared(engine, place)
    assert engine.removed == [
        "containers c1",
        "networks n1",
        "images sha256:i1",
        f"volumes mf-{GENERATION}-data",
        "volumes work",
    ]
    assert not place.exists()
    [asked] = engine.asked("DELETE", "/containers/c1")
    assert parse_qs(urlsplit(asked.target).query) == {"force": ["1"], "v": ["1"]}
    cleared(engine, place)
    assert len(engine.removed) == 5


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (409, "removal of container c1 is already in progress"),
        (500, "driver failed to remove root filesystem"),
        (403, "network has active endpoints"),
    ],
)
def test_what_cannot_be_removed_now_is_tried_again(
    engine: Things, place: Path, status: int, text: str
) -> None:
    engine.refusals = [(status, text)]
    with pytest.raises(Passing):
        cleared(engine, place)
    assert place.exists()
    cleared(engine, place)
    assert not place.exists()
    assert [len(engine.there[kind]) for kind in engine.there] == [3, 0, 0, 1]


def test_an_end_that_a_killed_engine_has_forgotten_does_not_keep_a_network(
    engine: Things, place: Path
) -> None:
    """An Engine 28 that was killed as it removed a container: nobody that it knows is in the network."""
    ends = {"c9": {"Name": NAME}, "c8": {"Name": "somebody"}}
    removing = engine._removing("networks")

    def remove(ask: Ask) -> None:
        if any(end["Name"] == NAME for end in ends.values()):
            text = f'error while removing network: network n1 has active endpoints (name:"{NAME}")'
            reply(403, {"message": text})(ask)
        else:
            removing(ask)

    def disconnect(ask: Ask) -> None:
        asked = json.loads(ask.body())
        assert asked["Force"] is True
        del ends[next(key for key, end in ends.items() if end["Name"] == asked["Container"])]
        reply(200)(ask)

    engine.on("DELETE", "/networks/n1", remove)
    engine.on("GET", "/networks/n1", reply(200, {"Containers": ends}))
    engine.on("POST", "/networks/n1/disconnect", disconnect)
    cleared(engine, place)
    assert list(ends) == ["c8"]
    assert not place.exists()


def test_an_engine_that_does_not_answer_is_no_success(engine: Things, place: Path) -> None:
    with pytest.raises(Passing):
        clear(f"{engine.url}.not", str(place.parents[2]), HOST, GENERATION, SEAL)
    assert place.exists()


def test_a_container_that_comes_late_is_removed_too(engine: Things, place: Path) -> None:
    """A create that a gateway which died had under way."""
    first = engine.there["containers"].pop(0)
    looked = threading.Event()
    listing = engine._listing("containers")

    def serve(ask: Ask) -> None:
        listing(ask)
        if not looked.is_set():
            looked.set()
            engine.there["containers"].append(first)

    engine.on("GET", "/containers/json", serve)
    cleared(engine, place)
    assert engine.removed[0] == "containers c1"
    assert not place.exists()


def cleared_in_vain(engine: Things, place: Path) -> None:
    """While a gateway runs that does not answer."""
    home = place.parents[1]
    (home / "control.sock").touch()
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Passing, match="mayfly-gateway"):
            cleared(engine, place)


def test_a_gateway_that_runs_and_does_not_answer_is_waited_for(engine: Things, place: Path) -> None:
    cleared_in_vain(engine, place)
    assert place.exists()
    assert len(engine.there["volumes"]) == 3
    cleared(engine, place)
    assert not place.exists()


AGENTS = {"io.mayfly.generation": GENERATION, "io.mayfly.host": HOST}


def test_the_work_volume_goes_with_the_agent_s_container_while_that_is_there(
    engine: Things, place: Path
) -> None:
    """What its job is to bring back is taken from there, and may be after all else is cleared."""
    engine.there["containers"] += [
        {"Id": "a1", "Names": ["/p-0"], "Labels": AGENTS},
        {"Id": "a2", "Names": ["/p-1"], "Labels": {**AGENTS, "io.mayfly.generation": "x"}},
    ]
    for _ in range(2):  # whoever was killed before it was on record clears once more
        cleared(engine, place)
        assert "volumes work" not in engine.removed
        assert f"volumes mf-{GENERATION}-data" in engine.removed
        # Without its door the Engine would show no file of that container.
        assert {"door", "over"} <= {one.name for one in place.iterdir()}


@pytest.mark.parametrize("grant", [None, '{"of": "another version"}'], ids=["none", "unreadable"])
def test_the_door_stays_with_the_container_also_where_no_grant_tells_which_that_is(
    engine: Things, place: Path, grant: str | None
) -> None:
    """As of an agent whose manager was killed before it had let it in, or is of another version now."""
    told = place / "over/grant.json"
    told.unlink() if grant is None else told.write_text(grant)
    work = {"Name": f"mf-{GENERATION}-work", "Labels": LABELS}
    engine.there["volumes"].append(work)
    engine.there["containers"].append({"Id": "a1", "Names": ["/p-0"], "Labels": AGENTS})
    for _ in range(2):
        cleared(engine, place)
        assert (place / "door").is_dir()
        assert work in engine.there["volumes"]
    engine.there["containers"].clear()
    cleared(engine, place)
    assert not place.exists()
    assert work not in engine.there["volumes"]


def test_containers_are_ended_whatever_keeps_the_gateway(engine: Things, place: Path) -> None:
    """Nothing of a job that is over goes on; what else it made stays until nothing more can come."""
    cleared_in_vain(engine, place)
    assert engine.removed == ["containers c1"]
