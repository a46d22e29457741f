"""What a hostile job tries beside creating containers, row by row, and what lists it is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.admission.grant import VolumePlace
from mayfly.core.admission.outcome import Answer, Forward, Refuse
from mayfly.core.admission.request import Request, request_head
from tests.core.admission.clients import GO_ENDPOINT, made
from tests.core.admission.engine import (
    DB,
    EXEC,
    THEIR_EXEC,
    THEIR_VOLUME,
    THEIRS,
    decided,
    engine,
    forwarded,
    numbered,
    refused,
)
from tests.core.admission.granted import AGENT, GRANT, HOLDER, PREFIX

# What goes another way than by a creation: method, path, body, status and what the sentence names.
PATHS: list[tuple[str, str, Any, int, str]] = [
    ("POST", f"/containers/{THEIRS}/exec", {"Cmd": ["sh"]}, 404, "No such container"),
    ("POST", "/containers/mf-0mzzzzzzzzzzz-db/exec", {"Cmd": ["sh"]}, 404, "No such container"),
    ("POST", "/containers/db/exec", {"Cmd": ["sh"], "Privileged": True}, 403, "Privileged"),
    ("POST", "/containers/db/exec", {"Cmd": ["sh"], "PRIVILEGED": True}, 403, "Privileged"),
    ("POST", "/containers/db/exec", {"Cmd": ["sh"], "Devices": ["x"]}, 403, "Devices"),
    ("POST", f"/containers/{AGENT}/exec", {"Cmd": ["sh"]}, 404, "No such container"),
    ("POST", f"/containers/{HOLDER}/exec", {"Cmd": ["sh"]}, 404, "No such container"),
    ("POST", f"/exec/{THEIR_EXEC}/start", {"Detach": False}, 404, "No such exec"),
    ("GET", f"/exec/{THEIR_EXEC}/json", None, 404, "No such exec"),
    *(
        ("POST", f"/containers/{THEIRS}/{verb}", None, 404, "No such container")
        for verb in (
            *("start", "stop", "restart", "kill", "pause", "unpause", "wait", "attach", "resize"),
            "rename?name=x",
        )
    ),
    *(
        ("GET", f"/containers/{THEIRS}/{what}", None, 404, "No such container")
        for what in ("json", "logs", "top", "changes", "export", "stats", "archive?path=/")
    ),
    ("HEAD", f"/containers/{THEIRS}/archive?path=/", None, 404, "No such container"),
    ("PUT", f"/containers/{THEIRS}/archive?path=/", None, 404, "No such container"),
    ("DELETE", f"/containers/{THEIRS}?force=1", None, 404, "No such container"),
    ("DELETE", "/containers/db?link=1", None, 403, "link"),
    ("DELETE", f"/networks/{numbered(0xBADC)}", None, 404, "not found"),
    ("DELETE", "/networks/pool-gpu", None, 404, "not found"),
    ("DELETE", "/networks/bridge", None, 403, "pre-defined"),
    ("GET", "/networks/host", None, 404, "not found"),
    ("GET", "/networks/none", None, 404, "not found"),
    ("POST", "/networks/net/connect", {"Container": THEIRS}, 404, "No such container"),
    ("POST", "/networks/pool-gpu/connect", {"Container": "db"}, 404, "not found"),
    ("POST", "/networks/host/connect", {"Container": "db"}, 404, "not found"),
    ("POST", "/networks/net/disconnect", {"Container": AGENT}, 404, "No such container"),
    (
        "POST",
        "/networks/net/connect",
        {"Container": "db", "EndpointConfig": {"MacAddress": "02:00:00:00:00:01"}},
        403,
        "MacAddress",
    ),
    ("POST", "/networks/create", {"Name": "x", "Driver": "macvlan"}, 403, "macvlan"),
    ("POST", "/networks/create", {"Name": "x", "Driver": "host"}, 403, "host"),
    ("POST", "/networks/create", {"Name": "x", "Options": {"parent": "eth0"}}, 403, "parent"),
    (
        "POST",
        "/networks/create",
        {"Name": "x", "Options": {"com.docker.network.bridge.name": "docker0"}},
        403,
        "bridge.name",
    ),
    (
        "POST",
        "/networks/create",
        {"Name": "x", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}},
        403,
        "IPAM.Config",
    ),
    ("POST", "/networks/create", {"Name": "x", "EnableIPv6": True}, 403, "EnableIPv6"),
    ("POST", "/networks/create", {"Name": "x", "Ingress": True}, 403, "Ingress"),
    ("POST", "/networks/create", {"Name": "x", "ConfigFrom": {"Network": "y"}}, 403, "ConfigFrom"),
    ("POST", "/networks/create", {"Name": "bridge"}, 403, "predefined"),
    ("POST", "/networks/create", {"Name": "a/b"}, 400, "name"),
    ("POST", "/networks/create", {"Name": "x", "Labels": {"io.mayfly.x": ""}}, 403, "io.mayfly."),
    (
        "POST",
        "/volumes/create",
        {"Name": "x", "DriverOpts": {"type": "none", "o": "bind", "device": "/"}},
        403,
        "DriverOpts",
    ),
    ("POST", "/volumes/create", {"Name": "x", "Driver": "nfs"}, 400, "Driver"),
    ("POST", "/volumes/create", {"Name": "../x"}, 400, "name"),
    (
        "POST",
        "/volumes/create",
        {"Name": "x", "Labels": {"io.mayfly.belongs": ""}},
        403,
        "io.mayfly.",
    ),
    ("DELETE", f"/volumes/{THEIR_VOLUME}", None, 404, "no such volume"),
    ("DELETE", "/volumes/mayfly-work-0mabcdefghijk", None, 404, "no such volume"),
    ("GET", "/volumes/mf-0mzzzzzzzzzzz-data", None, 404, "no such volume"),
    ("POST", "/commit?container=db&repo=x", None, 403, "no image is made"),
    ("POST", "/build?t=x", None, 403, "builds no images"),
    ("POST", "/session", None, 403, "builds no images"),
    ("POST", "/grpc", None, 403, "builds no images"),
    ("POST", "/images/load", None, 403, "docker pull"),
    ("POST", "/images/create?fromSrc=-&repo=x", None, 403, "fromSrc"),
    ("POST", "/images/create?fromImage=localhost:5000/x&tag=1", None, 403, "allowed_images"),
    ("POST", "/images/create?fromImage=169.254.169.254/x", None, 403, "allowed_images"),
    ("POST", "/images/create?fromImage=a/../b", None, 400, "fromImage"),
    ("POST", "/images/create?fromImage=alpine:3&tag=latest", None, 400, "fromImage"),
    ("POST", "/images/alpine/push", None, 403, "pushes nothing"),
    ("POST", "/images/alpine/tag?repo=x", None, 403, "the host's"),
    ("DELETE", "/images/alpine?force=1", None, 403, "the host's"),
    ("GET", "/images/alpine/get", None, 403, "docker pull"),
    ("GET", "/images/get?names=alpine", None, 403, "docker pull"),
    ("GET", "/images/lab/secret/json", None, 404, "No such image"),
    ("GET", "/distribution/alpine/json", None, 403, "registry"),
    ("POST", "/auth", {"serveraddress": "http://10.0.0.1"}, 403, "registry"),
    ("GET", "/system/df", None, 403, "disk"),
    ("GET", "/swarm", None, 403, "swarm"),
    ("POST", "/swarm/init", {"ListenAddr": "0.0.0.0"}, 403, "swarm"),
    ("POST", "/services/create", {"Name": "x"}, 403, "swarm"),
    ("GET", "/secrets/x", None, 403, "swarm"),
    ("GET", "/tasks/x/logs", None, 403, "swarm"),
    ("POST", "/plugins/pull?remote=x", None, 403, "plugins"),
    ("POST", "/plugins/x/enable", None, 403, "plugins"),
    ("POST", "/containers/db/update", {"Memory": 2**40}, 403, "docker run --cpus"),
    ("GET", "/containers/db/attach/ws", None, 403, "websocket"),
    ("POST", "/containers/db/checkpoints", None, 403, "not kept"),
    ("POST", "/containers/db/copy", {"Resource": "/etc"}, 404, "not known"),
    ("POST", "/debug/pprof/profile", None, 404, "not known"),
    ("GET", "/debug/pprof/", None, 400, "path"),
    ("GET", "/metrics", None, 404, "not known"),
    ("PUT", "/containers/create", made(), 405, "no method"),
    ("DELETE", "/containers/json", None, 404, "No such container"),
    ("GET", "/containers/db/top?ps_args=-eo%20args,pid", None, 400, "ps_args"),
    ("GET", "/containers/db/top?ps_args=-eo%20pid=x,args", None, 400, "ps_args"),
    ("GET", "/containers/db/top?ps_args=-C%20sshd", None, 400, "ps_args"),
    ("POST", "/containers/db/start?checkpoint=x", None, 403, "checkpoint"),
    ("POST", "/containers/db/kill?signal=9;x", None, 400, "query"),
    ("GET", "/containers/json?filters=%7B%22x%22%3A%5B%22y%22%5D%7D", None, 403, '"x"'),
    ("GET", "/events?filters=%7B%22volume%22%3A%5B%22%2Fvar%22%5D%7D", None, 400, "volume"),
    (
        "GET",
        "/events?filters=%7B%22label%22%3A%5B%22io.mayfly.seal%22%5D%7D",
        None,
        403,
        "io.mayfly.",
    ),
    ("GET", "/containers/json?filters=nothing", None, 400, "JSON"),
    (
        "GET",
        "/containers/json?filters=%7B%22label%22%3A%5B%22io.mayfly.pool%22%5D%7D",
        None,
        403,
        "io.mayfly.",
    ),
    (
        "POST",
        "/containers/prune?filters=%7B%22label!%22%3A%5B%22io.mayfly.belongs%22%5D%7D",
        None,
        403,
        "io.",
    ),
    ("GET", "/containers/db%2f..%2f..%2finfo/json", None, 400, "path"),
    ("GET", "/containers/../info", None, 400, "path"),
    ("GET", "//containers/json", None, 400, "path"),
    ("GET", "/v1.47//containers/json", None, 400, "path"),
    ("GET", "/containers/json?all=1&all=0", None, 400, "twice"),
    ("POST", "/containers/create?name=../x", made(), 400, "name"),
    ("POST", "/containers/create?name=mf-0mzzzzzzzzzzz-db", made(), 400, "Mayfly's own"),
    ("POST", "/containers/db/rename?name=mf-0mzzzzzzzzzzz-db", None, 400, "Mayfly's own"),
    ("POST", "/networks/create", {"Name": "mf-0mzzzzzzzzzzz-net"}, 400, "Mayfly's own"),
    ("POST", "/volumes/create", {"Name": "mf-0mzzzzzzzzzzz-work"}, 400, "Mayfly's own"),
    ("POST", "/containers/create?name=a%2Fb", made(), 400, "name"),
    ("POST", "/containers/create?platform=a%0Ab", made(), 400, "control"),
    ("POST", "/containers/create?Name=x", made(), 403, '"Name"'),
    ("POST", "/containers/db/rename?name=%2F", None, 400, "name"),
    ("POST", "/containers/create", b'{"Image": "alpine", "Image": "x"}', 400, "twice"),
    (
        "POST",
        "/containers/create",
        b'{"HostConfig": {"Binds": []}, "HostConfig": {}}',
        400,
        "twice",
    ),
    ("POST", "/containers/create", b"[" * 50_000, 400, "JSON"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [pytest.param(*row, id=f"{row[0]} {row[1][:60]} {number}") for number, row in enumerate(PATHS)],
)
def test_what_goes_round_a_creation_is_refused(
    method: str, path: str, body: Any, status: int, told: str
) -> None:
    outcome = refused(method, path, body)
    assert (outcome.status, told in outcome.sentence) == (status, True), outcome.sentence


def test_a_stranger_is_told_exactly_as_what_is_not_there() -> None:
    for method, path in (
        ("GET", "/containers/{}/json"),
        ("POST", "/containers/{}/exec"),
        ("GET", "/exec/{}/json"),
        ("GET", "/networks/{}"),
        ("GET", "/volumes/{}"),
    ):
        nobody = "f" * 64
        for stranger in (THEIRS, THEIR_EXEC, THEIR_VOLUME, AGENT):
            there, absent = (decided(method, path.format(name)) for name in (stranger, nobody))
            assert isinstance(there, Refuse)
            assert isinstance(absent, Refuse)
            assert there.sentence.replace(stranger, nobody) == absent.sentence
            assert (there.status, there.told) == (absent.status, absent.told) == (404, False)


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "tcp, h2c"])
@pytest.mark.parametrize("path", ["/containers/db/attach", "/_ping", f"/exec/{EXEC}/start"])
def test_no_connection_becomes_another_protocols(upgrade: str, path: str) -> None:
    method = "GET" if path == "/_ping" else "POST"
    outcome = refused(method, path, {}, headers=[("Upgrade", upgrade), ("Connection", "Upgrade")])
    assert outcome.status == 400
    if path == "/_ping":
        assert isinstance(decided("GET", path, headers=[("Upgrade", "tcp")]), Refuse)


def test_who_builds_by_a_connection_of_its_own_is_told_what_to_do_instead() -> None:
    for path in ("/session", "/grpc"):
        outcome = refused("POST", path, headers=[("Upgrade", "h2c"), ("Connection", "Upgrade")])
        assert "has no `builder`, an image whose containers may" in outcome.sentence


def test_lists_are_asked_for_with_the_agents_own_label() -> None:
    label = f"io.mayfly.belongs={GRANT.generation}"
    for method, path in (
        ("GET", "/containers/json?all=1"),
        ("GET", "/networks"),
        ("GET", "/volumes"),
        ("POST", "/containers/prune"),
        ("POST", "/networks/prune"),
        ("POST", "/volumes/prune"),
    ):
        for filters in (
            None,
            {"label": ["a=b"]},
            {"label": {"a=b": True}},
            {"label": {label + "x": False}},
        ):
            asked = json.dumps(filters).replace(" ", "") if filters else ""
            sign = "&" if "?" in path else "?"
            outcome = forwarded(method, f"{path}{sign}filters={_quoted(asked)}" if asked else path)
            assert label in _filters(outcome)["label"], path


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, {"container": {PREFIX: True}}),
        ({"type": ["network"]}, {"type": {"network": True}, "container": {PREFIX: True}}),
        ({"container": []}, {"container": {PREFIX: True}}),
        ({"container": ["db"]}, {"container": {DB: True}}),
        ({"container": [THEIRS]}, {"container": {PREFIX + THEIRS: True}}),
        ({"network": ["net", "x"]}, {"network": {f"{PREFIX}net": True, f"{PREFIX}x": True}}),
        (
            {"volume": ["data"], "label": ["a=b"]},
            {"volume": {f"{PREFIX}data": True}, "label": {"a=b": True}},
        ),
    ],
)
def test_events_are_asked_for_by_the_agents_own_prefix(
    asked: dict[str, list[str]], told: dict[str, Any]
) -> None:
    outcome = forwarded("GET", f"/events?filters={_quoted(json.dumps(asked))}")
    assert _filters(outcome) == told


def _quoted(text: str) -> str:
    return "".join(f"%{ord(one):02X}" if not one.isalnum() else one for one in text)


def _filters(outcome: Forward) -> dict[str, Any]:
    read = request_head(outcome.method, outcome.target, [])
    assert isinstance(read, Request)
    filters: dict[str, Any] = json.loads(read.query["filters"])
    return filters


def test_custom_networks_are_all_but_the_default_one() -> None:
    custom = _quoted(json.dumps({"type": ["custom"]}))
    assert forwarded("GET", f"/networks?filters={custom}").answer is Answer.CUSTOM_NETWORKS
    assert forwarded("GET", "/networks").answer is Answer.NETWORKS


def test_what_is_not_there_for_a_container_is_no_missing_image() -> None:
    """A client would fetch the image, and ask again."""
    for host in (
        {"VolumesFrom": ["nobody"]},
        {"NetworkMode": "nowhere"},
        {"PidMode": "container:x"},
    ):
        outcome = refused("POST", "/containers/create", made(host=host))
        assert (outcome.status, outcome.told) == (400, False)


def test_the_jobs_own_directory_has_its_name_alone() -> None:
    grant = replace(GRANT, work=VolumePlace("/w", f"{PREFIX}work"))
    bind = made(host={"Binds": ["work:/x"]})
    for method, path, body in (
        ("POST", "/volumes/create", {"Name": "work"}),
        ("POST", "/containers/create", bind),
    ):
        assert '"work"' in refused(method, path, body, grant=grant).sentence
    assert refused("DELETE", "/volumes/work", grant=grant).status == 404


def test_names_in_filters_are_the_agents_own() -> None:
    def asked(filters: dict[str, list[str]]) -> dict[str, Any]:
        target = f"/containers/json?filters={_quoted(json.dumps(filters))}"
        return _filters(forwarded("GET", target))

    assert asked({"name": ["^/db$"]})["name"] == {f"^/?{PREFIX}db$": True}
    assert asked({"name": ["db"]})["name"] == {"db": True}
    assert asked({"network": ["net"]})["network"] == {f"{PREFIX}net": True}
    assert asked({"network": ["pool-gpu"]})["network"] == {f"{PREFIX}pool-gpu": True}
    assert asked({"since": ["db"]})["since"] == {DB: True}
    assert asked({"since": [THEIRS]})["since"] == {PREFIX + THEIRS: True}


@pytest.mark.parametrize(
    "how", ["-ef", "aux", "auxww", "-o pid,cmd", "-eo pid,user,args", "axo pid,comm"]
)
def test_processes_are_listed_in_the_usual_ways(how: str) -> None:
    target = forwarded("GET", f"/containers/db/top?ps_args={_quoted(how)}").target
    assert target.endswith(f"/top?ps_args={_quoted(how)}".replace("%2D", "-"))


def test_a_stranger_is_not_even_looked_up_by_a_name() -> None:
    world = engine()
    decided("GET", "/containers/stranger/json", world=world)
    decided("POST", "/containers/create", made(networks={"pool-gpu": GO_ENDPOINT}), world=world)
    strangers = [path for path in world.asked if "stranger" in path or "pool-gpu" in path]
    assert strangers
    assert all(PREFIX in path for path in strangers)
