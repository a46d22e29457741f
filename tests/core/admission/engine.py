"""An Engine of a few things, as far as the policy asks it: what is there, and whose it is.

`decided` goes the gateway's way: the objects that a request names are looked up, what has to be made first is
made, and the request is admitted.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mayfly.core.admission.admit import admit, expects, objects
from mayfly.core.admission.grant import Grant
from mayfly.core.admission.objects import Known, Ref, found, lookups
from mayfly.core.admission.outcome import First, Forward, Outcome, Refuse
from mayfly.core.admission.request import request_head, with_body
from mayfly.core.admission.routes import Expects
from tests.core.admission.granted import GRANT, PREFIX

STRANGER = {"io.mayfly.belongs": "0mzzzzzzzzzzz", "io.mayfly.belongs.host": "host-1"}
TOKEN = "00112233aabb"


def numbered(number: int) -> str:
    """An id."""
    return f"{number:04x}" * 16


DB, WEB, THEIRS, AGENT = numbered(0xD0), numbered(0xD1), numbered(0xBAD), GRANT.container
EXEC, THEIR_EXEC = numbered(0xE0), numbered(0xBADE)
ANONYMOUS, THEIR_VOLUME = numbered(0xA0), numbered(0xBADA)
# The ids of what is the agent's own, and of images.
OWN = frozenset(
    {
        *(DB, WEB, EXEC, ANONYMOUS),
        *(numbered(number) for number in (0xB0, 0xC0, 0xC1, 0xC2, 0xC3)),
        *("sha256:" + numbered(number) for number in range(0x1A0, 0x1A6)),
    }
)
BUILDERS = "sha256:" + numbered(0x1A1)  # the image that is `alpine:3`


def _container(by_id: str, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Id": by_id,
        "Name": f"/{name}",
        "Config": {"Labels": dict(labels)},
        "State": {"Running": True},
    }


def _network(by_id: str, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"Id": by_id, "Name": name, "Labels": dict(labels)}


@dataclass
class Engine:
    """What it has, by the path of an inspection below ``/v1.45``."""

    things: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, kind: str, document: dict[str, Any], *names: str, rest: str = "") -> None:
        for name in names:
            self.things[f"/v1.45/{kind}/{name}{rest}"] = document

    def known(self, refs: Iterable[Ref], grant: Grant) -> dict[Ref, Known]:
        """As the gateway looks them up."""
        known = {}
        for ref in refs:
            for path in lookups(ref, grant):
                self.asked.append(path)
                document = self.things.get(path)
                if document is None:
                    continue
                container = self.things.get(f"/v1.45/containers/{document.get('ContainerID')}/json")
                thing = found(ref, document, grant, container, pulled=grant.pull != "always")
                if thing is not None:
                    known[ref] = thing
                    break
        return known

    def make(self, forward: Forward) -> None:
        """The network that has to be there first."""
        assert forward.target == "/v1.45/networks/create"
        assert forward.body is not None
        name = forward.body["Name"]
        self.add("networks", _network(numbered(0xB0), name, forward.body["Labels"]), name)


def engine() -> Engine:
    """One with things of this agent's, of another's, and the host's."""
    return Engine(dict(_things()))


@functools.cache
def _things() -> dict[str, Any]:
    made = Engine()
    own = GRANT.labels
    db = _container(DB, f"{PREFIX}db", own)
    made.add("containers", db, DB, DB[:12], f"{PREFIX}db", f"{PREFIX}runner-postgres", rest="/json")
    made.add("containers", _container(WEB, f"{PREFIX}web", own), WEB, f"{PREFIX}web", rest="/json")
    theirs = _container(THEIRS, "mf-0mzzzzzzzzzzz-db", STRANGER)
    made.add(
        "containers", theirs, THEIRS, THEIRS[:12], "mf-0mzzzzzzzzzzz-db", "stranger", rest="/json"
    )
    agent = _container(AGENT, "gpu-0", own)  # even where its labels said so
    made.add("containers", agent, AGENT, "gpu-0", rest="/json")
    made.add("exec", {"ID": EXEC, "ContainerID": DB}, EXEC, rest="/json")
    made.add("exec", {"ID": THEIR_EXEC, "ContainerID": THEIRS}, THEIR_EXEC, rest="/json")
    for number, name in enumerate(("net", "github_network_9c5e", "lab_default", "runner-net-1")):
        by_id = numbered(0xC0 + number)
        made.add("networks", _network(by_id, PREFIX + name, own), PREFIX + name, by_id)
    made.add("networks", _network(numbered(0xBADC), "pool-gpu", {}), "pool-gpu", numbered(0xBADC))
    made.add("networks", _network(numbered(0xBAD1), "bridge", {}), "bridge", "host", "none")
    made.add("volumes", {"Name": f"{PREFIX}data", "Labels": own}, f"{PREFIX}data")
    made.add("volumes", {"Name": ANONYMOUS, "Labels": own}, ANONYMOUS)
    made.add("volumes", {"Name": THEIR_VOLUME, "Labels": STRANGER}, THEIR_VOLUME)
    for number, name in enumerate(
        (
            "alpine:latest",
            "alpine:3",
            "postgres:16",
            "redis:7",
            "node:20",
            "testcontainers/ryuk:0.8.1",
        )
    ):
        image: dict[str, Any] = {
            "Id": "sha256:" + numbered(0x1A0 + number),
            "RepoTags": [name],
            "RepoDigests": [f"{name.partition(':')[0]}@sha256:{numbered(number)}"],
            "Config": {"Volumes": None, "ExposedPorts": None},
        }
        named = (name, name.removesuffix(":latest"), image["Id"], image["Id"][7:])
        made.add("images", image, *named, rest="/json")
    return made.things


def decided(
    method: str,
    target: str,
    body: Any = None,
    *,
    grant: Grant = GRANT,
    world: Engine | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> Outcome:
    """What becomes of the request; ``body`` is bytes, or what is made JSON of."""
    world = world if world is not None else engine()
    read = request_head(method, target, headers, token=TOKEN)
    if isinstance(read, Refuse):
        return read
    if expects(read) is Expects.JSON:
        raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        whole = with_body(read, raw)
        if isinstance(whole, Refuse):
            return whole
        read = whole
    for _ in range(3):
        outcome = admit(read, grant, world.known(objects(read), grant))
        if not isinstance(outcome, First):
            return outcome
        world.make(outcome.make)
    raise AssertionError("what has to be made first is never there")


def forwarded(method: str, target: str, body: Any = None, **more: Any) -> Forward:
    """The same, of one that goes out."""
    outcome = decided(method, target, body, **more)
    assert isinstance(outcome, Forward), outcome
    return outcome


def refused(method: str, target: str, body: Any = None, **more: Any) -> Refuse:
    """The same, of one that does not."""
    outcome = decided(method, target, body, **more)
    assert isinstance(outcome, Refuse), outcome
    return outcome
